//! Blocking readers behind the asynchronous trait, one run ahead of what was asked for.
//!
//! Invariants: runs come in order; a dropped `next` loses none, because the read under way lives in the reader
//! and not in the future; at most one run waits, so memory is bounded by two runs per open split.

use async_trait::async_trait;
use millstream_core::source::{Read, SplitReader};
use millstream_core::{Error, Result};
use tokio::task::{JoinHandle, spawn_blocking};

/// Reads the runs of a bounded split on the calling thread.
pub trait RunReader: Send + 'static {
    /// The next run, or [`Read::Finished`].
    ///
    /// # Errors
    /// As [`SplitReader::next`].
    fn read(&mut self) -> Result<Read>;
}

/// Drives a [`RunReader`] on tokio's blocking threads.
#[derive(Debug)]
pub struct ReadAhead<R> {
    idle: Option<R>,
    running: Option<JoinHandle<(R, Result<Read>)>>,
}

impl<R: RunReader> ReadAhead<R> {
    /// Drives `reader`.
    pub fn new(reader: R) -> Self {
        Self { idle: Some(reader), running: None }
    }

    fn start(&mut self) {
        if self.running.is_none()
            && let Some(mut reader) = self.idle.take()
        {
            self.running = Some(spawn_blocking(move || {
                let run = reader.read();
                (reader, run)
            }));
        }
    }
}

#[async_trait]
impl<R: RunReader> SplitReader for ReadAhead<R> {
    async fn next(&mut self) -> Result<Read> {
        self.start();
        let Some(running) = self.running.as_mut() else {
            return Err(Error::bug("a split was read after its reader was lost"));
        };
        let joined = running.await;
        self.running = None;
        let (reader, run) = joined.map_err(|e| Error::bug("a reader of a split panicked").caused_by(e))?;
        self.idle = Some(reader);
        if matches!(run, Ok(Read::Records { .. })) {
            self.start();
        }
        run
    }
}
