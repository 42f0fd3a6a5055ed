//! Who may overwrite the files of a sink: a record of the last checkpoint that did, which keeps a process that woke
//! up late from putting its old files over newer ones.
//!
//! A commit holds the record's lock from its first file to its last. Before the first, it writes down its run and the
//! number of its checkpoint. So:
//! 1. A checkpoint of the same run with a lower number changes nothing any more. It needs not: the next one was
//!    claimed only after all of its files were visible.
//! 2. A run that another one has followed (`--fresh`, or its state was removed) is told to stop, whatever its numbers.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream_core::sink::SinkOptions;
use millstream_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::io_error::io_error;

/// The folder of records below a root.
const FOLDER: &str = ".published";
/// Runs that are remembered after others have followed them.
const REMEMBERED: usize = 32;
/// How long another process may hold the record before that counts as an outage.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    run: String,
    checkpoint: u64,
    /// Runs that wrote before this one, the last of them last.
    followed: Vec<String>,
}

/// The record of a sink.
#[derive(Debug)]
pub(crate) struct Fence {
    folder: PathBuf,
    sink: String,
    run: String,
    fsync: bool,
}

/// The right to overwrite the sink's files, as long as it lives.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Closing it unlocks.
    _lock: File,
}

impl Fence {
    pub(crate) fn new(root: &Path, options: &SinkOptions, fsync: bool) -> Self {
        let folder = root.join(FOLDER).join(&options.pipeline);
        Self { folder, sink: options.id.clone(), run: options.run.clone(), fsync }
    }

    /// Begins to publish the files of a checkpoint; `None` where a later one has been there.
    ///
    /// # Errors
    /// `Fenced` where another run has followed; `Unavailable` while another process publishes.
    pub(crate) async fn turn(&self, checkpoint: u64) -> Result<Option<Turn>> {
        let lock = self.lock().await?;
        let path = self.folder.join(format!("{}.json", self.sink));
        let mut record = read(&path)?;
        if record.run == self.run && checkpoint < record.checkpoint {
            return Ok(None);
        }
        if record.followed.contains(&self.run) {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "the files of `{}` belong to the run {} now, which followed this one ({}): start with `--fresh`, \
                     or let this pipeline write to another folder",
                    self.sink, record.run, self.run
                ),
            ));
        }
        if record.run != self.run && !record.run.is_empty() {
            record.followed.push(std::mem::take(&mut record.run));
            let forgotten = record.followed.len().saturating_sub(REMEMBERED);
            record.followed.drain(..forgotten);
        }
        if record.run != self.run || record.checkpoint != checkpoint {
            record.run.clone_from(&self.run);
            record.checkpoint = checkpoint;
            self.write(&path, &record)?;
        }
        Ok(Some(Turn { _lock: lock }))
    }

    async fn lock(&self) -> Result<File> {
        let path = self.folder.join(format!("{}.lock", self.sink));
        let failed = |e| io_error("lock", &path, e);
        fs::create_dir_all(&self.folder).map_err(|e| io_error("create", &self.folder, e))?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
                Err(TryLockError::WouldBlock) if waited < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                    waited += PAUSE;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::unavailable(format!(
                        "another process is making files of `{}` visible and does not finish: it holds `{}`",
                        self.sink,
                        path.display()
                    )));
                }
            }
        }
    }

    fn write(&self, path: &Path, record: &Record) -> Result<()> {
        let text =
            serde_json::to_vec(record).map_err(|e| Error::bug("a record of files cannot be written").caused_by(e))?;
        let fresh = path.with_extension("json.new");
        let sync = |path: &Path| if self.fsync { File::open(path).and_then(|f| f.sync_all()) } else { Ok(()) };
        fs::write(&fresh, text)
            .and_then(|()| sync(&fresh))
            .and_then(|()| fs::rename(&fresh, path))
            .and_then(|()| sync(&self.folder))
            .map_err(|e| io_error("write", path, e))
    }
}

fn read(path: &Path) -> Result<Record> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| {
            let shown = path.display();
            Error::environment(format!(
                "`{shown}`, which says who may overwrite files here, is damaged: remove it if no other process writes \
                 here"
            ))
            .caused_by(e)
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(e) => Err(io_error("read", path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{every_type, sink_options};

    fn fence(root: &Path, run: &str) -> Fence {
        let options = SinkOptions { run: run.into(), ..sink_options("s", &every_type(0, 1).schema()) };
        Fence::new(root, &options, true)
    }

    #[tokio::test]
    async fn lower_checkpoints_and_followed_runs_have_no_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (fence(dir.path(), "a"), fence(dir.path(), "b"));
        for checkpoint in [1, 1, 7] {
            assert!(one.turn(checkpoint).await.unwrap().is_some());
        }
        assert!(one.turn(6).await.unwrap().is_none());
        // Its state was removed: it counts from 1 again.
        assert!(two.turn(1).await.unwrap().is_some());
        let error = one.turn(8).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert!(error.to_string().contains("the run b now"), "{error}");
        assert!(two.turn(2).await.unwrap().is_some());
        std::fs::write(dir.path().join(".published/conformance/s.json"), "{").unwrap();
        assert!(two.turn(3).await.unwrap_err().to_string().contains("s.json`"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let turn = fence(dir.path(), "a").turn(1).await.unwrap();
        let error = fence(dir.path(), "a").turn(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        drop(turn);
        assert!(fence(dir.path(), "a").turn(1).await.unwrap().is_some());
    }
}
