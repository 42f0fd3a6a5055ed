//! The conformance suite finds what can be wrong with a store: each test here plants one bug and expects to be told.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object};
use millstream_core::{Error, Result};

use super::{Damage, Holds, MemoryCheckpoints};
use crate::conformance;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    LooksThenCreates,
    TornWhileWritten,
    Overwrites,
    LastByteLost,
    MissingIsAnError,
    ListsByFolder,
    ListsInOtherOrder,
    DeletesByPrefix,
    TakesAnyName,
    EverybodyHolds,
    HoldIsKept,
}

#[derive(Debug)]
struct Buggy(MemoryCheckpoints, Bug);

#[derive(Debug)]
struct Free;
impl Hold for Free {}

#[async_trait]
impl CheckpointStore for Buggy {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        match self.1 {
            Bug::LooksThenCreates => {
                if self.0.get(name).await?.is_some() {
                    return Ok(Created::Exists);
                }
                tokio::task::yield_now().await;
                self.0.create(name, bytes).await?;
                Ok(Created::New)
            }
            Bug::TornWhileWritten if bytes.len() > 1 && name.ends_with(".claim") => {
                let created = self.0.create(name, bytes.slice(..bytes.len() / 2)).await?;
                if created == Created::New {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    self.0.remove(name);
                    self.0.create(name, bytes).await?;
                }
                Ok(created)
            }
            Bug::Overwrites => {
                let there = self.0.remove(name);
                self.0.create(name, bytes).await?;
                Ok(if there { Created::Exists } else { Created::New })
            }
            Bug::LastByteLost => {
                let created = self.0.create(name, bytes.clone()).await;
                self.0.damage(name, Damage::Truncate((64 << 10) - 1));
                created
            }
            _ => self.0.create(name, bytes).await,
        }
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        match self.0.get(name).await {
            Ok(None) if self.1 == Bug::MissingIsAnError => Err(Error::environment("it is not there")),
            Err(_) if self.1 == Bug::TakesAnyName => Ok(None),
            found => found,
        }
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let folder = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
        let mut objects = match self.1 {
            Bug::ListsByFolder => self.0.list(folder).await?,
            _ => self.0.list(prefix).await?,
        };
        if self.1 == Bug::ListsInOtherOrder {
            objects.sort_by_key(|o| o.name.to_lowercase());
        }
        Ok(objects)
    }
    async fn delete(&self, name: &str) -> Result<()> {
        if self.1 == Bug::DeletesByPrefix {
            for object in self.0.list(name).await? {
                self.0.remove(&object.name);
            }
        }
        self.0.delete(name).await
    }
    async fn hold(&self, holder: &str) -> Result<Box<dyn Hold>> {
        match self.1 {
            Bug::EverybodyHolds => Ok(Box::new(Free)),
            Bug::HoldIsKept => {
                std::mem::forget(self.0.hold(holder).await?);
                Ok(Box::new(Free))
            }
            _ => self.0.hold(holder).await,
        }
    }
    fn location(&self) -> String {
        self.0.location()
    }
}

async fn suite(bug: Bug) {
    let memory = MemoryCheckpoints::new(Holds::Exclusive);
    let open = async || Arc::new(Buggy(memory.clone(), bug)) as Arc<dyn CheckpointStore>;
    conformance::checkpoints(open, Holds::Exclusive).await;
}

/// What the suite says of a store with a bug.
async fn finds(bug: Bug, expected: &str) {
    let failure = AssertUnwindSafe(suite(bug)).catch_unwind().await.expect_err("the suite finds the bug");
    let said = failure.downcast_ref::<String>().cloned();
    let said = said.or_else(|| failure.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap();
    assert!(said.contains(expected), "{bug:?}: {said}");
}

#[tokio::test]
async fn the_suite_finds_planted_bugs() {
    finds(Bug::LooksThenCreates, "exactly one of 8 creators").await;
    finds(Bug::TornWhileWritten, "nobody reads a part of an object").await;
    finds(Bug::Overwrites, "an object never changes").await;
    finds(Bug::LastByteLost, "65536 bytes come back").await;
    finds(Bug::MissingIsAnError, "it is not there").await;
    finds(Bug::ListsByFolder, "a prefix need not end with a part").await;
    finds(Bug::ListsInOtherOrder, "byte by byte").await;
    finds(Bug::DeletesByPrefix, "deleting a part of a name").await;
    finds(Bug::TakesAnyName, "is not a name").await;
    finds(Bug::EverybodyHolds, "a second one is told").await;
    finds(Bug::HoldIsKept, "a store that was let go can be held").await;
}
