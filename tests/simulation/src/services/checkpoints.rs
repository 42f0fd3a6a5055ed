//! A checkpoint store that fails, and in which every checkpoint has one owner and a ledger that adds up.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object};
use millstream_core::{Error, ErrorKind, Result};
use millstream_state::checkpoint::{Claim, Manifest};

use crate::invariants;
use crate::planted::ServiceBug;
use crate::world::{Fault, World};

#[derive(Debug)]
pub(crate) struct SimulatedCheckpoints {
    pub(crate) inner: Arc<dyn CheckpointStore>,
    pub(crate) world: Arc<World>,
}

const SERVICE: &str = "checkpoints";

impl SimulatedCheckpoints {
    async fn reach(&self) -> Result<bool> {
        match self.world.call(SERVICE, &[Fault::Unavailable, Fault::AnswerLost]).await {
            None => Ok(false),
            Some(Fault::AnswerLost) => Ok(true),
            Some(_) => Err(Error::unavailable("down on purpose")),
        }
    }

    /// An object is there now.
    fn watch(&self, name: &str, bytes: &[u8]) {
        if let Some(number) = name.strip_prefix("epochs/") {
            let claim: Claim = serde_json::from_slice(bytes).expect("a claim is JSON");
            self.world.note(&format!("claims {number} for {}", claim.generation));
            self.world.claimed(claim.checkpoint, claim.generation);
        } else if name.starts_with("committed/") {
            let claim: Claim = serde_json::from_slice(bytes).expect("a marker is JSON");
            let owner = self.world.claim(claim.checkpoint);
            if owner.as_ref() != Some(&claim.generation) {
                let (checkpoint, generation) = (claim.checkpoint, &claim.generation);
                self.world.broken(format!("{generation} commits checkpoint {checkpoint} of {owner:?}"));
            }
            self.world.note(&format!("{name} of {}", claim.generation));
        } else if name.starts_with("manifests/") {
            let manifest: Manifest = serde_json::from_slice(bytes).expect("a manifest is JSON");
            self.world.note(&format!("{name} at tick {}", manifest.tick));
            invariants::ledger_of(&manifest).into_iter().for_each(|e| self.world.broken(format!("{name}: {e}")));
        } else {
            self.world.note(&format!("{name}, {} bytes", bytes.len()));
        }
    }
}

#[async_trait]
impl CheckpointStore for SimulatedCheckpoints {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let answer_lost = self.reach().await?;
        let created = self.inner.create(name, bytes.clone()).await?;
        if created == Created::New {
            self.watch(name, &bytes);
        }
        tokio::task::yield_now().await;
        match answer_lost {
            true => Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose")),
            false if self.world.has(ServiceBug::TheirsIsOurs) && name.starts_with("epochs/") => Ok(Created::New),
            false => Ok(created),
        }
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        match self.reach().await? {
            true => Err(Error::unavailable("the answer was lost on purpose")),
            false => self.inner.get(name).await,
        }
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        match self.reach().await? {
            true => Err(Error::unavailable("the answer was lost on purpose")),
            false => self.inner.list(prefix).await,
        }
    }
    async fn delete(&self, name: &str) -> Result<()> {
        let answer_lost = self.reach().await?;
        self.inner.delete(name).await?;
        self.world.note(&format!("{name} is removed"));
        match answer_lost {
            true => Err(Error::unavailable("the answer was lost on purpose")),
            false => Ok(()),
        }
    }
    async fn hold(&self, holder: &str) -> Result<Box<dyn Hold>> {
        self.inner.hold(holder).await
    }
    fn location(&self) -> String {
        self.inner.location()
    }
    fn place(&self, name: &str) -> String {
        self.inner.place(name)
    }
}
