//! A file that is under its name completely, durably and once, or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Write as _};
use std::path::Path;

use millstream_core::checkpoint::Created;
use millstream_core::{Error, ErrorKind, Result};

use super::above;
use crate::io_error::io_error;

/// What the names of files begin with that are being written.
pub(super) const HIDDEN: &str = ".new-";
/// How often a folder may be tidied away under our hands before that is an error.
const ATTEMPTS: usize = 100;

/// Creates `<root>/<name>`, by way of the file `hidden` of the same file system. `existing` is a folder at or above
/// the root that is durable.
pub(super) fn create(root: &Path, existing: &Path, name: &str, hidden: &Path, bytes: &[u8]) -> Result<Created> {
    let path = root.join(name);
    let mut attempts = 0;
    let created = loop {
        attempts += 1;
        // Nothing is written for a name that is taken. If it is free and taken meanwhile, the link says so.
        if taken(&path)? {
            break Created::Exists;
        }
        let linked = fs::create_dir_all(above(&path))
            .map_err(|e| (e, false))
            .and_then(|()| write(hidden, bytes).map_err(|e| (e, false)))
            .and_then(|()| fs::hard_link(hidden, &path).map_err(|e| (e, true)));
        // It has its name now or never will; where it stays, whoever holds the store next removes it.
        let _ = fs::remove_file(hidden);
        match linked {
            Ok(()) => break Created::New,
            // The last object of the folder was deleted by another process in between, and the folder with it: it is
            // missing now, or was there when it was made and not any more when it was looked at.
            Err((e, _)) if matches!(e.kind(), Io::NotFound | Io::AlreadyExists) && attempts < ATTEMPTS => {}
            Err((e, linking)) => return Err(failed(&path, e, linking)),
        }
    };
    // Also for one that was there: it may be ours, of a try that ended before this, or be new itself.
    force_folders(above(&path), existing).map_err(|e| unknown(&path, e))?;
    Ok(created)
}

/// Whether there is an object at `path`; a folder of its name is not one, and leaves no room for it.
fn taken(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io_error("create", path, Io::IsADirectory.into())),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Io::NotFound => Ok(false),
        Err(e) => Err(io_error("create", path, e)),
    }
}

fn write(hidden: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(hidden)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What a failure means: before the link nothing has happened, and most of a link's own failures are as clear.
fn failed(path: &Path, error: io::Error, linking: bool) -> Error {
    let full = matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded);
    let error = io_error("create", path, error);
    if linking && !full && error.kind() == ErrorKind::Unavailable { unknown(path, error) } else { error }
}

fn unknown(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = format!("`{}` may not have reached the disk", path.display());
    Error::new(ErrorKind::Indeterminate, message).caused_by(cause)
}

/// Forces the entries of `folder` and of all folders above it, up to `last`, to the disk.
pub(super) fn force_folders(folder: &Path, last: &Path) -> io::Result<()> {
    let mut folder = folder;
    loop {
        force_folder(folder)?;
        let next = above(folder);
        if folder == last || next == folder {
            return Ok(());
        }
        folder = next;
    }
}

/// Forces the entries of one folder to the disk, as far as its file system can.
pub(super) fn force_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Deleted meanwhile, with all that was in it; or it may be written and not read.
        Err(e) if matches!(e.kind(), Io::NotFound | Io::PermissionDenied) => Ok(()),
        // Some network file systems force folders by themselves and know no call for it.
        Err(e) if matches!(e.kind(), Io::InvalidInput | Io::Unsupported) => Ok(()),
        forced => forced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_whether_it_may_have_happened() {
        let path = Path::new("state/x");
        let kind = |error: io::Error, linking: bool| failed(path, error, linking).kind();
        let broken = || io::Error::from_raw_os_error(5);
        assert_eq!(kind(broken(), false), ErrorKind::Unavailable);
        assert_eq!(kind(broken(), true), ErrorKind::Indeterminate, "it may have its name");
        assert_eq!(kind(Io::StorageFull.into(), true), ErrorKind::Unavailable, "a full folder has no new name");
        assert_eq!(kind(Io::PermissionDenied.into(), true), ErrorKind::Environment);
        assert_eq!(kind(Io::CrossesDevices.into(), true), ErrorKind::Environment);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_something_to_wait_for() {
        let error = failed(Path::new("state/x"), std::fs::write("/dev/full", "x").unwrap_err(), false);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("`state/x`: the disk is full"), "{error}");
    }
}
