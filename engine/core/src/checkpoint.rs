//! Where checkpoints are kept: a small store of immutable objects.

pub mod names;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// What came of creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there now, durably, and was not before.
    New,
    /// There was one of this name, which is unchanged.
    Exists,
}

/// An object of a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Kept by whoever holds a store; dropping it, or the end of the process, lets the store go.
pub trait Hold: Send + Sync + fmt::Debug {}

/// Immutable objects by name: `/` between the parts of a name, each of letters, digits, `-`, `_` and `.`, none
/// beginning with a dot. Several processes may use a store at once, so creating is atomic: of several that create one
/// name, exactly one is told [`Created::New`], and nobody ever reads half an object.
#[async_trait]
pub trait CheckpointStore: Send + Sync + fmt::Debug {
    /// Creates an object; durable on return.
    ///
    /// # Errors
    /// `Unavailable` where it was not created, `Indeterminate` where it may have been: creating again and comparing
    /// what is there tells.
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created>;
    /// The bytes of an object; `None` where there is none.
    ///
    /// # Errors
    /// `Unavailable`; `Environment` where it may not be read.
    async fn get(&self, name: &str) -> Result<Option<Bytes>>;
    /// The objects whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// As `get`.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>>;
    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// As `get`.
    async fn delete(&self, name: &str) -> Result<()>;
    /// Holds the store for `holder` (in words for people) as long as the result lives, where the store can tell whether
    /// a holder still lives. Where it cannot, everybody gets a hold, and the claims of checkpoints keep them apart.
    ///
    /// # Errors
    /// `Fenced` where another process holds it: who, and since when.
    async fn hold(&self, holder: &str) -> Result<Box<dyn Hold>>;
    /// Where it is, for people: a folder, a URL.
    fn location(&self) -> String;
    /// Where one object is, for people.
    fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.location())
    }
}
