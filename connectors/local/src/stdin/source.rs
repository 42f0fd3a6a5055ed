//! Reading the standard input on a thread of its own.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, RawRecords, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc::{Sender, channel};

use super::config::StdinConfig;
use crate::clock::Clock;
use crate::live::{Live, RunCutter, WAITING};
use millstream_files::line_file::fill;

/// Where the bytes come from.
pub(crate) type Input = Box<dyn std::io::Read + Send>;

/// The one split of the standard input.
pub(crate) struct StdinSource {
    config: StdinConfig,
    input: Mutex<Option<Input>>,
    clock: Arc<dyn Clock>,
}

impl StdinSource {
    /// A source that reads the process's standard input, which only one can.
    pub(crate) fn claim(config: StdinConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        if CLAIMED.swap(true, Ordering::SeqCst) {
            return Err(Error::config("two sources read `stdin`: only one can"));
        }
        Ok(Self::over(config, Box::new(std::io::stdin()), clock))
    }
    /// A source that reads any input.
    pub(crate) fn over(config: StdinConfig, input: Input, clock: Arc<dyn Clock>) -> Self {
        Self { config, input: Mutex::new(Some(input)), clock }
    }
}

/// Reads `input` to its end or until nobody wants more.
fn read_all(mut input: Input, format: RecordFormat, clock: &dyn Clock, runs: &Sender<Result<RawRecords>>) {
    let mut cutter = RunCutter::new(format);
    loop {
        loop {
            match cutter.run(clock.now()) {
                Ok(None) => break,
                Ok(Some(run)) => {
                    if runs.blocking_send(Ok(run)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = runs.blocking_send(Err(error));
                    return;
                }
            }
        }
        if cutter.cutter.exhausted() {
            return;
        }
        match fill(input.by_ref(), cutter.cutter.buffer()) {
            Ok(0) => cutter.cutter.end(),
            Ok(_) => {}
            Err(e) => {
                let error = Error::new(ErrorKind::Environment, "cannot read the standard input").caused_by(e);
                let _ = runs.blocking_send(Err(error));
                return;
            }
        }
    }
}

#[async_trait]
impl SplitSource for StdinSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let split = Split { id: SplitId("stdin".into()), parents: Vec::new(), size: None };
        Ok(if finished.contains(&split.id) { Vec::new() } else { vec![split] })
    }

    async fn open(&self, _split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let input = self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
        let input = input.ok_or_else(|| Error::environment("the standard input cannot be read a second time"))?;
        let (sender, runs) = channel(WAITING);
        let (format, clock) = (self.config.format, self.clock.clone());
        // Not a task of tokio: it may wait for input for ever, and must not hold up the end of the process.
        std::thread::Builder::new()
            .name("millstream-stdin".into())
            .spawn(move || read_all(input, format, clock.as_ref(), &sender))
            .map_err(|e| Error::environment("cannot start the thread of the standard input").caused_by(e))?;
        Ok(Box::new(Live::new(runs, after.as_ref(), None)))
    }

    fn bounded(&self) -> bool {
        true
    }
    fn ordered(&self) -> bool {
        self.config.ordered
    }
    fn format(&self) -> RecordFormat {
        self.config.format
    }
}
