//! Where checkpoints are kept on this machine: a folder, or the memory of this process.

mod directory;
mod holder;
mod memory;

use std::path::Path;
use std::sync::Arc;

use millstream_core::Result;
use millstream_core::checkpoint::{CheckpointStore, names};

pub use directory::DirectoryCheckpoints;
pub use memory::{Damage, MemoryCheckpoints, MemoryStores, memory_stores};

/// The folder of checkpoints below the root of a `directory` connector: hidden, since it is no output.
pub(crate) const FOLDER: &str = ".millstream";

/// Whether a store tells holders apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// One holder at a time, as a folder on a file system with locks.
    Exclusive,
    /// Everybody gets a hold, as from a store that cannot know whether a holder still lives.
    Shared,
}

/// The checkpoints of `pipeline` in the folder of that name below `dir`: what `--state DIR` means, and `.millstream`
/// where there is neither that nor `checkpoint.store`. Nothing is written before the first object or hold.
///
/// # Errors
/// `Environment` where something else than a folder is in its place; `Bug` where `pipeline` is not a name.
pub fn default_store(dir: &Path, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
    names::check_part(pipeline)?;
    Ok(Arc::new(DirectoryCheckpoints::open(&dir.join(pipeline))?))
}

#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;
