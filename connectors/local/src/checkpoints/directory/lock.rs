//! The hold of a folder: a lock of the kernel, which ends with the process however that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use millstream_core::checkpoint::Hold;
use millstream_core::{Error, EventTime, Result};

use super::create::force_folders;
use super::walk;
use crate::checkpoints::holder::{Holder, fenced_by_unknown};
use crate::io_error::io_error;
use millstream_core::checkpoint::names::LOCK;

/// A locked folder.
#[derive(Debug)]
pub(super) struct DirectoryHold(File);

impl Hold for DirectoryHold {}

impl Drop for DirectoryHold {
    fn drop(&mut self) {
        // The text would name a process that holds nothing. Unlocking, since a child process that is just being
        // started has a copy of the file for a moment, and closing ours would leave that one locked.
        let _ = self.0.set_len(0);
        let _ = self.0.unlock();
    }
}

/// Holds the store in `root` for `holder`, and puts it in order.
pub(super) fn hold(root: &Path, existing: &Path, holder: &str, now: EventTime) -> Result<DirectoryHold> {
    fs::create_dir_all(root).map_err(|e| io_error("create", root, e))?;
    let path = root.join(LOCK);
    // Never removed: two processes could then lock two files of this name.
    let opened = File::options().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|e| io_error("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(root, &path, now)),
        Err(TryLockError::Error(e)) => return Err(io_error("lock", &path, e)),
    }
    let held = DirectoryHold(file);
    if let Err(error) = introduce(&held.0, &Holder::this_process(holder, now)) {
        // It holds all the same: a disk that is full now may have room when the first checkpoint is due.
        tracing::warn!(path = %path.display(), %error, "could not write down who holds the checkpoints");
    }
    walk::sweep(root)
        .and_then(|()| walk::force_all(root))
        .and_then(|()| force_folders(root, existing))
        .map_err(|e| io_error("take over", root, e))?;
    Ok(held)
}

/// Writes down who holds the store.
fn introduce(mut file: &File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    let mut text = serde_json::to_vec_pretty(holder)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// `Fenced`, by whoever has written into the lock.
fn held(root: &Path, path: &Path, now: EventTime) -> Error {
    let location = root.display().to_string();
    match fs::read(path).ok().and_then(|text| serde_json::from_slice::<Holder>(&text).ok()) {
        Some(holder) => holder.fenced(&location, now),
        None => fenced_by_unknown(&location),
    }
}
