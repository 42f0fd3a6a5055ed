//! Writing rows to the standard output.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::format::Encoder;
use millstream_core::sink::{Outcome, Sink};
use millstream_core::{Batch, Error, ErrorKind, Result};

/// One encoder for all workers, so that a CSV header comes once.
pub(crate) type SharedEncoder = Arc<Mutex<Box<dyn Encoder>>>;

/// Writes lines to `output`.
pub(crate) struct StdoutSink<W> {
    pub(crate) encoder: SharedEncoder,
    pub(crate) output: W,
}

#[async_trait]
impl<W: Write + Send> Sink for StdoutSink<W> {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        // The encoder stays locked while its bytes are written: lines of workers do not mix.
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        let mut bytes = Vec::new();
        if let Err(e) = encoder.encode(&batch.rows, &mut bytes) {
            if e.kind() != ErrorKind::BadRow {
                return Err(e);
            }
            bytes.clear();
            for (row, outcome) in outcomes.iter_mut().enumerate() {
                let before = bytes.len();
                if let Err(e) = encoder.encode(&batch.rows.slice(row, 1), &mut bytes) {
                    bytes.truncate(before);
                    *outcome = Outcome::Refused(e.to_string());
                }
            }
        }
        self.output.write_all(&bytes).and_then(|()| self.output.flush()).map_err(|e| {
            let closed = e.kind() == io::ErrorKind::BrokenPipe;
            let why = if closed { "the reader of the standard output has gone" } else { "cannot write to stdout" };
            Error::environment(why).caused_by(e)
        })?;
        Ok(outcomes)
    }
}
