//! What the sinks of files need of the place where the files are: the one thing in which connectors of files differ.
//!
//! ```text
//! begin(NewFile) -> Hidden -- append*, complete --> Entry -- in a checkpoint --> publish | replace | discard
//! ```
//! An entry outlives its process: it stands in a checkpoint, and whoever goes on from that makes it visible.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::writer::Contents;

/// A file that is begun.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Names it while it is hidden: no other file of the sink in this process is ever named so, but for one that is
    /// staged again for the same checkpoint.
    pub hidden: String,
    /// Where it becomes visible, below the sink's root.
    pub target: String,
    /// The checkpoint that covers its rows.
    pub checkpoint: u64,
}

/// A file that nobody sees yet, while it is written.
#[async_trait]
pub trait Hidden: Send {
    /// What a checkpoint says of it.
    type Entry;
    /// How many bytes are gathered before they are worth a call of `append`.
    fn chunk(&self) -> usize;
    /// Takes bytes off the front of `bytes`: those that need not be kept any more.
    ///
    /// # Errors
    /// `Unavailable`, `Indeterminate`: what is left in `bytes` is given again.
    async fn append(&mut self, bytes: &mut Vec<u8>) -> Result<()>;
    /// Takes all of `bytes`, the last of the file, and makes the file durable, still hidden. May be called again after
    /// it failed.
    ///
    /// # Errors
    /// As `append`.
    async fn complete(&mut self, bytes: &mut Vec<u8>, contents: Contents) -> Result<Self::Entry>;
}

/// Where the files of one instance of a sink are.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What a checkpoint says of a file.
    type Entry: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync;
    /// A file being written.
    type File: Hidden<Entry = Self::Entry>;

    /// Begins a file.
    ///
    /// # Errors
    /// `Unavailable`; `Environment` where there can be none.
    fn begin(&self, file: NewFile) -> Result<Self::File>;
    /// How many files are completed at once.
    fn at_once(&self) -> usize {
        1
    }
    /// How a path that has no rows any more is made visible as such; `None`: by a file without rows.
    fn removal(&self, target: &str) -> Option<Self::Entry> {
        let _ = target;
        None
    }
    /// Whether an entry of a checkpoint names files where those of the sink are.
    fn is_own(&self, entry: &Self::Entry) -> bool;
    /// All files of a checkpoint are complete: makes sure that they are durable, and can be cleaned away.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn staged(&self, checkpoint: u64, entries: &[Self::Entry]) -> Result<()> {
        let _ = (checkpoint, entries);
        Ok(())
    }
    /// Makes new files visible; those that are already stay as they are.
    ///
    /// # Errors
    /// `Environment` where something else has taken the place of one, or one is gone.
    async fn publish(&self, entries: Vec<Self::Entry>) -> Result<()>;
    /// Makes files visible in the place of those before them. What a later checkpoint made visible stays as it is.
    ///
    /// # Errors
    /// `Environment` where one is gone; `Fenced` where another run has followed this one.
    async fn replace(&self, checkpoint: u64, entries: Vec<Self::Entry>) -> Result<()>;
    /// Forgets files that were staged in vain, as far as their names are not used again.
    async fn discard(&self, entries: Vec<Self::Entry>) {
        let _ = entries;
    }
    /// Removes what earlier processes have staged: see [`millstream_core::sink::Sink::clean`].
    ///
    /// # Errors
    /// `Unavailable`.
    async fn clean(&self) -> Result<()>;
    /// What people read at the end of a run.
    fn summary(&self) -> String;
}

/// The files that became visible, by all instances of a sink: for people.
#[derive(Debug, Default)]
pub struct Visible(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    new: u64,
    replaced: BTreeSet<String>,
}

impl Visible {
    /// A new file is visible.
    pub fn new_file(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).new += 1;
    }
    /// The file at `target` is visible, perhaps in the place of one before it.
    pub fn replaced(&self, target: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.replaced.contains(target) {
            counts.replaced.insert(target.to_owned());
        }
    }
    /// So many files are visible below `place`, in words.
    pub fn below(&self, place: impl fmt::Display) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let files = counts.new + counts.replaced.len() as u64;
        format!("{files} file{} under {place}", if files == 1 { "" } else { "s" })
    }
}

/// What publishing an entry came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is visible now.
    Now,
    /// It was there: a commit is repeated.
    Before,
}
