//! How many bytes of records may be in memory: asked for before a call, given back when they are decoded.

use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted: a record of any size costs at least one.
const UNIT: u64 = 1 << 10;

/// Bytes that all shards of a source share.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

/// A part of it.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX)
}

impl Budget {
    pub(crate) fn new(bytes: u64) -> Self {
        let all = units(bytes).min(u32::MAX / 8);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits until so many bytes are free.
    ///
    /// # Errors
    /// `Bug` only.
    pub(crate) async fn take(&self, bytes: u64) -> Result<Share> {
        let units = units(bytes).min(self.all);
        let permit = self.units.clone().acquire_many_owned(units).await;
        permit.map(Share).map_err(|e| Error::bug("a budget was closed").caused_by(e))
    }

    /// Makes the share fit what came: gives back what is too much. What is too little is taken if it is free; an answer that
    /// is here cannot be sent back.
    pub(crate) fn fit(&self, share: &mut Share, bytes: u64) {
        let (have, need) = (share.0.num_permits(), units(bytes).min(self.all) as usize);
        if have > need {
            drop(share.0.split(have - need));
        } else if let Ok(more) =
            self.units.clone().try_acquire_many_owned(u32::try_from(need - have).unwrap_or(self.all))
        {
            share.0.merge(more);
        }
    }
}

impl Share {
    /// Keeps the share as long as the bytes are.
    pub(crate) fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_given_back_when_they_are_dropped() {
        let budget = Budget::new(10 << 10);
        let mut first = budget.take(8 << 10).await.unwrap();
        budget.fit(&mut first, 3 << 10);
        let held = first.hold(vec![1; 3 << 10]);
        let second = budget.take(7 << 10).await.unwrap();
        assert_eq!(budget.units.available_permits(), 0);
        assert_eq!(held.len(), 3 << 10);
        drop(held.slice(1..2));
        assert_eq!(budget.units.available_permits(), 0, "as long as any of them is there");
        drop(held);
        assert_eq!(budget.units.available_permits(), 3);
        drop(second);
        let mut all = budget.take(1 << 40).await.unwrap();
        budget.fit(&mut all, 1 << 40);
        assert_eq!(budget.units.available_permits(), 0, "what never fits takes all there is");
    }
}
