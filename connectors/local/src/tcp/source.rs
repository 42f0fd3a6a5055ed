//! Reading lines from connections.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, RawRecords, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, Result};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::config::TcpConfig;
use crate::clock::Clock;
use crate::live::{EndsWithReader, Live, RunCutter, WAITING};

/// Room that is made for what comes next.
const ROOM: usize = 256 << 10;
/// Less room than this is not worth a read.
const LEAST_ROOM: usize = 16 << 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which side calls.
#[derive(Debug, Clone)]
pub(crate) enum Side {
    Listen(Arc<TcpListener>),
    Connect(String),
}

/// The one split of all connections of an address.
#[derive(Debug)]
pub(crate) struct TcpSource {
    pub(crate) side: Side,
    pub(crate) name: String,
    pub(crate) config: TcpConfig,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Lines {
    runs: Sender<Result<RawRecords>>,
    format: RecordFormat,
    clock: Arc<dyn Clock>,
    until_close: bool,
}

impl Lines {
    /// Reads a connection until it is closed; an error is a way to close it.
    async fn read(&self, mut stream: TcpStream) {
        let mut cutter = RunCutter::new(self.format);
        loop {
            let buffer = cutter.cutter.buffer();
            if buffer.capacity() - buffer.len() < LEAST_ROOM {
                buffer.reserve(ROOM);
            }
            match stream.read_buf(buffer).await {
                Ok(0) => cutter.cutter.end(),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection broke");
                    cutter.cutter.end();
                }
            }
            loop {
                let run = match cutter.run(self.clock.now()) {
                    Ok(None) => break,
                    Ok(Some(run)) => Ok(run),
                    Err(error) => Err(error),
                };
                let failed = run.is_err();
                // While the pipeline is busy this waits, and the connection is not read.
                if self.runs.send(run).await.is_err() || failed {
                    return;
                }
            }
            if cutter.cutter.exhausted() {
                return;
            }
        }
    }

    async fn listen(self, listener: Arc<TcpListener>) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        tracing::debug!(%peer, "a client connected");
                        let lines = self.clone();
                        clients.spawn(async move { lines.read(stream).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(FIRST_PAUSE).await;
                    }
                },
                Some(_) = clients.join_next(), if !clients.is_empty() => {
                    if self.until_close {
                        return;
                    }
                }
            }
        }
    }

    async fn connect(self, address: String) {
        let mut pause = FIRST_PAUSE;
        loop {
            match TcpStream::connect(&address).await {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    self.read(stream).await;
                    if self.until_close || self.runs.is_closed() {
                        return;
                    }
                }
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%address, %error, "nobody is there yet");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

#[async_trait]
impl SplitSource for TcpSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let split = Split { id: SplitId(self.name.clone()), parents: Vec::new(), size: None };
        Ok(if finished.contains(&split.id) { Vec::new() } else { vec![split] })
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        if split.id.0 != self.name {
            return Err(Error::environment(format!("`{}` is not the address `{}`", split.id, self.name)));
        }
        let (sender, runs) = channel(WAITING);
        let lines = Lines {
            runs: sender,
            format: self.config.format,
            clock: self.clock.clone(),
            until_close: self.config.until_close,
        };
        let task = match self.side.clone() {
            Side::Listen(listener) => tokio::spawn(lines.listen(listener)),
            Side::Connect(address) => tokio::spawn(lines.connect(address)),
        };
        Ok(Box::new(Live::new(runs, after.as_ref(), Some(EndsWithReader(task.abort_handle())))))
    }

    fn bounded(&self) -> bool {
        self.config.until_close
    }
    fn ordered(&self) -> bool {
        self.config.ordered
    }
    fn format(&self) -> RecordFormat {
        self.config.format
    }
}
