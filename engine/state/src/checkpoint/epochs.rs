//! Claims: which checkpoints there are, and whose they are.

use std::sync::Arc;

use bytes::Bytes;
use millstream_core::checkpoint::{CheckpointStore, Created};
use millstream_core::planted::{Bug, is_planted};
use millstream_core::snapshot::Snapshot;
use millstream_core::{Error, EventTime, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::manifest::{Manifest, PartRef};
use super::part;

const EPOCHS: &str = "epochs/";
const COMMITTED: &str = "committed/";
const IDENTITY: &str = "identity";

/// A claim as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The number of the checkpoint.
    pub checkpoint: u64,
    /// The process that claimed it.
    pub generation: String,
    /// The manifest's name.
    pub manifest: String,
    /// The manifest's `xxh3`, in hex.
    pub checksum: String,
    /// When, by the wall clock.
    pub at: EventTime,
}

/// What came of claiming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The checkpoint counts.
    Ours,
    /// Another process has claimed this number or a later one: this process is over.
    Theirs(Claim),
}

/// A checkpoint in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub checkpoint: u64,
    /// Whether everything it covers has been made visible.
    pub committed: bool,
}

/// The checkpoints of one pipeline in a store.
#[derive(Debug, Clone)]
pub struct Epochs {
    pub(super) store: Arc<dyn CheckpointStore>,
}

/// The name of a numbered object; names sort as numbers do.
fn numbered(prefix: &str, checkpoint: u64) -> String {
    format!("{prefix}{checkpoint:012}")
}

/// The number behind a prefix, up to the first character that is no digit.
pub(super) fn number_of(name: &str, prefix: &str) -> Option<u64> {
    let rest = name.strip_prefix(prefix)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Epochs {
    /// The checkpoints in `store`.
    pub fn new(store: Arc<dyn CheckpointStore>) -> Self {
        Self { store }
    }
    /// The store.
    pub fn store(&self) -> &Arc<dyn CheckpointStore> {
        &self.store
    }
    /// A name for what is in this store that no other store's has. Whoever asks first gives its own, and everybody after
    /// that gets the same.
    ///
    /// # Errors
    /// As the store; `Environment` where it is damaged.
    pub async fn identity(&self, own: &str) -> Result<String> {
        if self.store.create(IDENTITY, Bytes::from(own.to_owned())).await? == Created::New {
            return Ok(own.to_owned());
        }
        let bytes = self.read(IDENTITY).await?;
        String::from_utf8(bytes.into()).map_err(|_| self.damaged(IDENTITY, "it is not text"))
    }
    /// All claimed checkpoints, oldest first.
    ///
    /// # Errors
    /// As the store.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let committed = self.store.list(COMMITTED).await?;
        let committed: Vec<u64> = committed.iter().filter_map(|o| number_of(&o.name, COMMITTED)).collect();
        let claims = self.store.list(EPOCHS).await?;
        let numbers = claims.iter().filter_map(|o| number_of(&o.name, EPOCHS));
        Ok(numbers.map(|n| Listed { checkpoint: n, committed: committed.contains(&n) }).collect())
    }
    /// The newest claimed checkpoint, if there is one.
    ///
    /// # Errors
    /// As the store.
    pub async fn latest(&self) -> Result<Option<Listed>> {
        let mut latest = self.list().await?.pop();
        if let Some(latest) = &mut latest {
            // A later claim is made only after all before it were committed, so only the newest may not be.
            latest.committed = self.store.get(&numbered(COMMITTED, latest.checkpoint)).await?.is_some();
        }
        Ok(latest)
    }
    /// The claim of a checkpoint.
    ///
    /// # Errors
    /// `Environment` where it is damaged or not there.
    pub async fn claim_of(&self, checkpoint: u64) -> Result<Claim> {
        let name = numbered(EPOCHS, checkpoint);
        let bytes = self.read(&name).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.damaged(&name, "it cannot be read").caused_by(e))
    }
    /// The manifest of a claimed checkpoint.
    ///
    /// # Errors
    /// `Environment` that names the object, where one is damaged or not there.
    pub async fn manifest(&self, checkpoint: u64) -> Result<Manifest> {
        let claim = self.claim_of(checkpoint).await?;
        let bytes = self.read(&claim.manifest).await?;
        if hex(&bytes) != claim.checksum {
            return Err(self.damaged(&claim.manifest, "its checksum is not the one that was claimed"));
        }
        let format = |v: &serde_json::Value| v.get("format").and_then(serde_json::Value::as_u64);
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|e| self.damaged(&claim.manifest, "it cannot be read").caused_by(e))?;
        if format(&value) != Some(u64::from(Manifest::FORMAT)) {
            let found = format(&value).map_or("no".to_owned(), |f| format!("version {f}"));
            return Err(Error::environment(format!(
                "{} has {found} format of a checkpoint, and this binary reads version {}: run the binary that \
                 wrote it, or begin anew with --reset-state",
                self.store.place(&claim.manifest),
                Manifest::FORMAT,
            )));
        }
        serde_json::from_value(value).map_err(|e| self.damaged(&claim.manifest, "it cannot be read").caused_by(e))
    }
    /// A part of a checkpoint.
    ///
    /// # Errors
    /// As [`Epochs::manifest`].
    pub async fn part(&self, part: &PartRef) -> Result<Snapshot> {
        let bytes = self.read(&part.object).await?;
        part::decode(&bytes).map_err(|e| self.damaged(&part.object, &e.to_string()))
    }
    /// Stores a part. One that is there already was stored by this process.
    ///
    /// # Errors
    /// As the store.
    pub async fn put_part(
        &self,
        checkpoint: u64,
        generation: &str,
        place: &str,
        worker: usize,
        snapshot: &Snapshot,
        bytes: Vec<u8>,
    ) -> Result<PartRef> {
        let object = format!("{}-{generation}/{}.{worker}", numbered("parts/", checkpoint), safe(place));
        let size = bytes.len() as u64;
        self.store.create(&object, bytes.into()).await?;
        Ok(PartRef { object, layer: snapshot.layer, checkpoint, bytes: size, rows: snapshot.num_rows() as u64 })
    }
    /// Stores a manifest. It does not count before it is claimed.
    ///
    /// # Errors
    /// As the store.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<Claim> {
        let bytes = serde_json::to_vec_pretty(manifest).map_err(|e| Error::bug(format!("a manifest: {e}")))?;
        let claim = Claim {
            checkpoint: manifest.checkpoint,
            generation: manifest.generation.clone(),
            manifest: format!("{}-{}", numbered("manifests/", manifest.checkpoint), manifest.generation),
            checksum: hex(&bytes),
            at: manifest.at,
        };
        self.store.create(&claim.manifest, bytes.into()).await?;
        Ok(claim)
    }
    /// Claims a checkpoint: from then on it counts. Claiming again what this process has claimed is no matter.
    ///
    /// # Errors
    /// As the store; `Indeterminate` is to be tried again.
    pub async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let name = numbered(EPOCHS, claim.checkpoint);
        let bytes = serde_json::to_vec_pretty(claim).map_err(|e| Error::bug(format!("a claim: {e}")))?;
        if self.store.create(&name, Bytes::from(bytes)).await? == Created::Exists {
            let theirs = self.claim_of(claim.checkpoint).await?;
            if theirs.generation != claim.generation {
                return Ok(Claimed::Theirs(theirs));
            }
        }
        // Old claims are removed in time: one that slept while others went on must not take a number again.
        let newest = self.store.list(EPOCHS).await?.iter().filter_map(|o| number_of(&o.name, EPOCHS)).max();
        match newest.filter(|newest| *newest > claim.checkpoint && !is_planted(Bug::ClaimBlindly)) {
            None => Ok(Claimed::Ours),
            Some(newest) => Ok(Claimed::Theirs(self.claim_of(newest).await?)),
        }
    }
    /// Says that everything a claimed checkpoint covers is visible.
    ///
    /// # Errors
    /// As the store.
    pub async fn mark_committed(&self, claim: &Claim) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(claim).map_err(|e| Error::bug(format!("a claim: {e}")))?;
        self.store.create(&numbered(COMMITTED, claim.checkpoint), Bytes::from(bytes)).await?;
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Bytes> {
        self.store.get(name).await?.ok_or_else(|| self.damaged(name, "it is not there"))
    }
    fn damaged(&self, name: &str, what: &str) -> Error {
        Error::environment(format!("the checkpoint object {} is damaged: {what}", self.store.place(name)))
    }
}

fn hex(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// A place as a part of a name; places are ids with a stage, which have no other characters that matter.
fn safe(place: &str) -> String {
    place.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' }).collect()
}
