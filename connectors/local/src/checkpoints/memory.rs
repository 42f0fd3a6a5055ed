//! Checkpoints in the memory of this process: they outlive a simulated process, and can be damaged on purpose.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::Result;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object, names};

use super::Holds;
use super::holder::Holder;
use crate::clock::{self, Clock};

/// What can happen to the bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The lowest bit of the byte at this index, counted round the object's end, is the other one.
    FlipByte(usize),
    /// Only so many bytes are left.
    Truncate(usize),
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Bytes>,
    holder: Option<(u64, Holder)>,
    /// Holds so far: a hold lets go only of itself, never of one that came after its process was killed.
    holds: u64,
}

/// A store in memory; clones are the same store.
#[derive(Debug, Clone)]
pub struct MemoryCheckpoints {
    contents: Arc<Mutex<Contents>>,
    holds: Holds,
    location: String,
    clock: Arc<dyn Clock>,
}

impl MemoryCheckpoints {
    /// An empty store.
    pub fn new(holds: Holds) -> Self {
        Self { contents: Arc::default(), holds, location: "memory".to_owned(), clock: clock::system() }
    }
    /// The same store under another name for people.
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = location.into();
        self
    }
    /// The same store with another clock, by which the age of a hold is told.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
    /// Damages an object; whether its bytes are other ones now.
    pub fn damage(&self, name: &str, damage: Damage) -> bool {
        let mut contents = self.lock();
        let Some(object) = contents.objects.get_mut(name) else { return false };
        let mut bytes = object.to_vec();
        match damage {
            Damage::FlipByte(at) => {
                let at = at.checked_rem(bytes.len()).unwrap_or_default();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                }
            }
            Damage::Truncate(left) => bytes.truncate(left),
        }
        let changed = bytes != *object;
        *object = bytes.into();
        changed
    }
    /// Loses an object; whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().objects.remove(name).is_some()
    }
    /// Lets the store go as the kernel does when a holder is killed: its hold, if it still exists, has no effect.
    pub fn kill_holder(&self) {
        self.lock().holder = None;
    }
    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Whoever panicked while holding it has failed its own test; the contents are whole at every step.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        names::check(name)?;
        let mut contents = self.lock();
        if contents.objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        contents.objects.insert(name.to_owned(), bytes);
        Ok(Created::New)
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        names::check(name)?;
        Ok(self.lock().objects.get(name).cloned())
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let contents = self.lock();
        let objects = contents.objects.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        Ok(objects.map(|(name, bytes)| Object { name: name.clone(), bytes: bytes.len() as u64 }).collect())
    }
    async fn delete(&self, name: &str) -> Result<()> {
        names::check(name)?;
        self.lock().objects.remove(name);
        Ok(())
    }
    async fn hold(&self, holder: &str) -> Result<Box<dyn Hold>> {
        let now = self.clock.now();
        let mut contents = self.lock();
        contents.holds += 1;
        let id = contents.holds;
        if self.holds == Holds::Exclusive {
            if let Some((_, other)) = &contents.holder {
                return Err(other.fenced(&self.location, now));
            }
            contents.holder = Some((id, Holder::this_process(holder, now)));
        }
        Ok(Box::new(MemoryHold { store: self.clone(), id }))
    }
    fn location(&self) -> String {
        self.location.clone()
    }
}

#[derive(Debug)]
struct MemoryHold {
    store: MemoryCheckpoints,
    id: u64,
}

impl Hold for MemoryHold {}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        let mut contents = self.store.lock();
        if contents.holder.as_ref().is_some_and(|(id, _)| *id == self.id) {
            contents.holder = None;
        }
    }
}

/// The stores of one `memory` connector, by pipeline; clones are the same stores.
#[derive(Debug, Clone, Default)]
pub struct MemoryStores(Arc<Mutex<BTreeMap<String, MemoryCheckpoints>>>);

impl MemoryStores {
    /// The store of `pipeline`, which is exclusive.
    pub fn store(&self, pipeline: &str) -> MemoryCheckpoints {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || MemoryCheckpoints::new(Holds::Exclusive).at(format!("memory/{pipeline}"));
        stores.entry(pipeline.to_owned()).or_insert_with(fresh).clone()
    }
}

/// The stores that all `memory` connectors named `name` in this process share.
pub fn memory_stores(name: &str) -> MemoryStores {
    static NAMED: LazyLock<Mutex<HashMap<String, MemoryStores>>> = LazyLock::new(Mutex::default);
    NAMED.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millstream_core::{ErrorKind, EventTime};

    use super::*;
    use crate::clock::ManualClock;
    use crate::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn keeps_the_promises_of_a_checkpoint_store() {
        for holds in [Holds::Exclusive, Holds::Shared] {
            let memory = MemoryCheckpoints::new(holds);
            conformance::checkpoints(async || Arc::new(memory.clone()) as Arc<dyn CheckpointStore>, holds).await;
        }
    }

    #[tokio::test]
    async fn objects_can_be_damaged_and_lost() {
        let memory = MemoryCheckpoints::new(Holds::Exclusive);
        memory.create("a", Bytes::from_static(b"abc")).await.unwrap();
        let read = memory.get("a").await.unwrap().unwrap();
        assert!(memory.damage("a", Damage::FlipByte(4)));
        assert_eq!(memory.get("a").await.unwrap().unwrap(), "acc");
        assert_eq!(read, "abc", "what was read before is what it was");
        assert!(memory.damage("a", Damage::Truncate(1)));
        assert!(!memory.damage("a", Damage::Truncate(1)), "nothing has changed");
        assert_eq!(memory.get("a").await.unwrap().unwrap(), "a");
        assert!(memory.damage("a", Damage::Truncate(0)));
        assert!(!memory.damage("a", Damage::FlipByte(0)) && !memory.damage("none", Damage::FlipByte(0)));
        assert!(memory.remove("a") && !memory.remove("a"));
        assert_eq!(memory.get("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_killed_holder_does_not_let_its_successor_go() {
        let clock = ManualClock::at(EventTime(0));
        let memory = MemoryCheckpoints::new(Holds::Exclusive).at("memory/trips").with_clock(Arc::new(clock.clone()));
        let zombie = memory.hold("zombie").await.unwrap();
        memory.kill_holder();
        let _successor = memory.hold("successor").await.unwrap();
        drop(zombie);
        clock.advance(Duration::from_secs(60));
        let error = memory.hold("third").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        for part in ["`memory/trips`", "successor", "1m ago"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
}
