//! Which run of a pipeline may replace the objects of a sink: a record beside them, changed only from what was read.
//!
//! Within a run the objects themselves tell their checkpoint. Runs cannot be told apart so: one that another has
//! followed (`--fresh`, or its state was removed) is told to stop when it first replaces, or meets an object of another.

use std::sync::atomic::{AtomicBool, Ordering};

use millstream_core::sink::SinkOptions;
use millstream_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::bucket::{If, Shared, Wrote};

/// The folder of records below a connector's prefix.
const FOLDER: &str = ".published";
/// Runs that are remembered after others have followed them.
const REMEMBERED: usize = 32;
/// How often the record is read again when others change it.
const ATTEMPTS: usize = 20;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    run: String,
    /// Runs that wrote before this one, the last of them last.
    followed: Vec<String>,
}

/// The record of a sink.
#[derive(Debug)]
pub(super) struct Fence {
    bucket: Shared,
    name: String,
    sink: String,
    run: String,
    passed: AtomicBool,
}

impl Fence {
    pub(super) fn new(bucket: Shared, options: &SinkOptions) -> Self {
        let name = format!("{FOLDER}/{}/{}.json", options.pipeline, options.id);
        Self { bucket, name, sink: options.id.clone(), run: options.run.clone(), passed: AtomicBool::new(false) }
    }

    /// Lets the process in that has not been let in yet.
    ///
    /// # Errors
    /// As `pass`.
    pub(super) async fn pass_once(&self) -> Result<()> {
        if !self.passed.load(Ordering::Relaxed) {
            self.pass().await?;
            self.passed.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets this run in, and remembers that it has followed the one before.
    ///
    /// # Errors
    /// `Fenced` where another has followed it.
    pub(super) async fn pass(&self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let (mut record, condition) = self.read().await?;
            if record.followed.contains(&self.run) {
                return Err(Error::new(
                    ErrorKind::Fenced,
                    format!(
                        "the objects of `{}` belong to the run {} now, which followed this one ({}): start with \
                         `--fresh`, or let this pipeline write below another prefix",
                        self.sink, record.run, self.run
                    ),
                ));
            }
            if record.run == self.run {
                return Ok(());
            }
            if !record.run.is_empty() {
                record.followed.push(std::mem::take(&mut record.run));
                let forgotten = record.followed.len().saturating_sub(REMEMBERED);
                record.followed.drain(..forgotten);
            }
            record.run.clone_from(&self.run);
            let text = serde_json::to_vec(&record)
                .map_err(|e| Error::bug("a record of objects cannot be written").caused_by(e))?;
            if self.bucket.put(&self.name, text.into(), &condition, &Vec::new()).await? == Wrote::Now {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("`{}` is changed by others again and again", self.bucket.url(&self.name))))
    }

    /// The record, and on what condition it may be changed.
    async fn read(&self) -> Result<(Record, If)> {
        let Some((bytes, etag)) = self.bucket.get_with_etag(&self.name).await? else {
            return Ok((Record::default(), If::Absent));
        };
        let record = serde_json::from_slice(&bytes).map_err(|e| {
            Error::environment(format!(
                "`{}`, which says who may replace objects here, is damaged: remove it if no other process writes here",
                self.bucket.url(&self.name)
            ))
            .caused_by(e)
        })?;
        Ok((record, If::Is(etag)))
    }
}
