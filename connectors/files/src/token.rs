//! Entries of files as a checkpoint keeps them.

use millstream_core::{Error, Result};
use serde_json::Value;

use crate::store::Store;

/// Entries as a checkpoint keeps them; `None` for none.
pub(crate) fn of_entries<S: Store>(entries: &[S::Entry]) -> Result<Option<Value>> {
    if entries.is_empty() {
        return Ok(None);
    }
    let token = serde_json::to_value(entries);
    token.map(Some).map_err(|e| Error::bug("staged files cannot be described").caused_by(e))
}

/// The entries of a checkpoint.
///
/// # Errors
/// `Environment` where it is no list of entries of files below the sink's root.
pub(crate) fn entries<S: Store>(token: &Value, store: &S, sink: &str) -> Result<Vec<S::Entry>> {
    let damaged = || Error::environment(format!("what the checkpoint says of the files of `{sink}` is damaged"));
    let entries: Vec<S::Entry> = serde_json::from_value(token.clone()).map_err(|e| damaged().caused_by(e))?;
    if entries.iter().all(|entry| store.is_own(entry)) { Ok(entries) } else { Err(damaged()) }
}
