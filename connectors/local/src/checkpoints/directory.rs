//! Checkpoints as files below a folder of this machine.
//!
//! ```text
//! <root>/epochs/7.claim     an object: a whole file, never changed
//! <root>/.new-<..>          an object being written: a hard link makes it visible under its name
//! <root>/LOCK               locked by who holds the store; its text is for people
//! ```
//!
//! 1. A file under an object's name is complete and on the disk: it is linked there after it was forced out.
//! 2. What `create` has answered for survives the machine: all folders down to the object are forced out, too.
//! 3. Links never replace a file, so of several that create a name one wins; the kernel drops the lock with its process.

mod create;
mod lock;
mod walk;

use std::fs;
use std::hash::BuildHasher as _;
use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object, names};
use millstream_core::{Error, Result};

use crate::clock::{self, Clock};
use crate::io_error::io_error;
use create::{HIDDEN, create};

/// From this size on, files are written and read on a thread that may block: below it that costs more than the file.
const LARGE: u64 = 64 << 10;

/// A store in a folder.
#[derive(Debug)]
pub struct DirectoryCheckpoints {
    root: PathBuf,
    /// The nearest folder above or at the root that was there when this was opened: those below it are new.
    existing: PathBuf,
    clock: Arc<dyn Clock>,
    /// In the names of hidden files, so that they are unique on all machines that share the folder.
    unique: u64,
    next: AtomicU64,
}

impl DirectoryCheckpoints {
    /// The store in the folder `path`. It is made with the first object or hold: who only reads leaves no trace.
    ///
    /// # Errors
    /// `Environment` where something else is in its place or it may not be looked at.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_clock(path, clock::system())
    }

    /// The same with another clock, by which the age of a hold is told.
    ///
    /// # Errors
    /// As `open`.
    pub fn with_clock(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut existing = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let root = existing.to_owned();
        loop {
            match fs::metadata(existing) {
                Ok(meta) if meta.is_dir() => break,
                Ok(_) => return Err(io_error("keep checkpoints in", existing, Io::NotADirectory.into())),
                Err(e) if e.kind() == Io::NotFound => existing = above(existing),
                Err(e) => return Err(io_error("keep checkpoints in", existing, e)),
            }
        }
        let unique = std::hash::RandomState::new().hash_one(std::process::id());
        Ok(Self { existing: existing.to_owned(), root, clock, unique, next: AtomicU64::new(0) })
    }

    /// A name for a file that nobody sees, used once.
    fn hidden(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.root.join(format!("{HIDDEN}{:016x}-{number}", self.unique))
    }
}

/// The folder that `path` is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        // The root of the file system has nothing above it, and is always there.
        None => path,
        Some(_) => Path::new("."),
    }
}

/// Does I/O of so many `bytes` where it disturbs nobody. Small I/O is done at once, also so that the order of things
/// in a simulation does not depend on threads; without a runtime, all is.
async fn io<T: Send + 'static>(bytes: u64, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if bytes >= LARGE => runtime
            .spawn_blocking(work)
            .await
            .map_err(|e| Error::bug("reading or writing a checkpoint panicked").caused_by(e))?,
        _ => work(),
    }
}

/// Whether an error means that there is no object of this name: a part of the name may be an object itself, and the
/// whole of it a folder.
fn no_object(error: &io::Error) -> bool {
    matches!(error.kind(), Io::NotFound | Io::NotADirectory | Io::IsADirectory)
}

#[async_trait]
impl CheckpointStore for DirectoryCheckpoints {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        names::check(name)?;
        let (root, existing, name) = (self.root.clone(), self.existing.clone(), name.to_owned());
        let hidden = self.hidden();
        io(bytes.len() as u64, move || create(&root, &existing, &name, &hidden, &bytes)).await
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        names::check(name)?;
        let path = self.root.join(name);
        let size = match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => return Ok(None),
            Ok(meta) => meta.len(),
            Err(e) if no_object(&e) => return Ok(None),
            Err(e) => return Err(io_error("read", &path, e)),
        };
        io(size, move || match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if no_object(&e) => Ok(None),
            Err(e) => Err(io_error("read", &path, e)),
        })
        .await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        walk::objects(&self.root, prefix)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        names::check(name)?;
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if no_object(&e) => return Ok(()),
            // Not all systems say that it is a folder.
            Err(_) if path.is_dir() => return Ok(()),
            Err(e) => return Err(io_error("delete", &path, e)),
        }
        // Folders without objects are no part of the contract; whoever creates in one now makes it again.
        let mut folder = above(&path);
        while folder != self.root && fs::remove_dir(folder).is_ok() {
            folder = above(folder);
        }
        Ok(())
    }
    async fn hold(&self, holder: &str) -> Result<Box<dyn Hold>> {
        Ok(Box::new(lock::hold(&self.root, &self.existing, holder, self.clock.now())?))
    }
    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests;
