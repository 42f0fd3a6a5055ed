//! Reader tasks: one per open split, on tokio, feeding a source operator on its worker thread.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::error::{Error, ErrorKind};
use millstream_core::source::{Applied, Position, RawRecords, Read, Split, SplitSource};
use timely::scheduling::SyncActivator;
use tokio::sync::{Semaphore, mpsc};

use crate::acknowledge::{self, Acknowledged, ToReader};

/// How many splits of a bounded source one worker reads at a time: enough to hide the disk, few enough to bound
/// buffers.
pub(crate) const OPEN_SPLITS: usize = 4;

/// What a reader tells its source operator.
#[derive(Debug)]
pub(crate) enum FromReader {
    /// Records of the split with this number, where to go on behind them, and how far behind the stream's end it is.
    Records { split: usize, records: RawRecords, upto: Position, behind: Option<Duration> },
    /// The split is caught up.
    Idle(usize),
    /// The split is read to its end.
    Finished(usize),
    /// It cannot be read.
    Failed(Error),
}

/// Sends to a source operator and wakes its worker.
#[derive(Clone)]
pub(crate) struct ReaderSender {
    pub(crate) channel: mpsc::Sender<FromReader>,
    pub(crate) activator: Arc<SyncActivator>,
}

impl ReaderSender {
    /// Waits while the operator has enough: this is how back-pressure reaches the reader. `false` once the
    /// operator is gone.
    async fn send(&self, message: FromReader) -> bool {
        let sent = self.channel.send(message).await.is_ok();
        sent && self.activator.activate().is_ok()
    }
}

/// What a reader of a source that acknowledges needs beside: what was applied before, and how it is told of checkpoints.
pub(crate) struct Acknowledging {
    pub(crate) applied: Vec<Applied>,
    pub(crate) from_host: mpsc::UnboundedReceiver<ToReader>,
    pub(crate) to_host: mpsc::UnboundedSender<Acknowledged>,
}

/// Reads a split from `after` on to its end, or until the operator is gone.
pub(crate) async fn read(
    source: Arc<dyn SplitSource>,
    split: Split,
    after: Option<Position>,
    number: usize,
    permits: Option<Arc<Semaphore>>,
    to: ReaderSender,
    acknowledging: Option<Acknowledging>,
) {
    let _permit = match &permits {
        Some(p) => p.acquire().await.ok(),
        None => None,
    };
    let mut pause = Pause::default();
    let mut reader = loop {
        match source.open(&split, after.clone()).await {
            Ok(reader) => break reader,
            Err(e) if e.kind() == ErrorKind::Unavailable => pause.wait(&split, &e).await,
            Err(e) => {
                to.send(FromReader::Failed(e)).await;
                return;
            }
        }
    };
    if let Some(Acknowledging { applied, from_host, to_host }) = acknowledging {
        reader.applied(&applied);
        return acknowledge::read(reader, number, from_host, to, to_host, pause, split).await;
    }
    loop {
        let message = match reader.next().await {
            Ok(Read::Records { records, upto, behind }) => {
                pause = Pause::default();
                FromReader::Records { split: number, records, upto, behind }
            }
            Ok(Read::Idle) => FromReader::Idle(number),
            Ok(Read::Finished) => {
                to.send(FromReader::Finished(number)).await;
                return;
            }
            Err(e) if e.kind() == ErrorKind::Unavailable => {
                pause.wait(&split, &e).await;
                continue;
            }
            Err(e) => {
                to.send(FromReader::Failed(e)).await;
                return;
            }
        };
        if !to.send(message).await {
            return;
        }
    }
}

/// Doubling pauses between attempts to read.
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(100))
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self, split: &Split, why: &Error) {
        tracing::warn!(split = %split.id, "cannot be read now and is tried again: {why}");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(30));
    }
}
