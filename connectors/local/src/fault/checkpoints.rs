//! A checkpoint store whose calls fail on purpose.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object};
use millstream_core::{Error, ErrorKind, Result};

use super::{Fault, Faults};

/// Decorates a checkpoint store. All calls but `hold` take the next fault: with [`Fault::AppliedButError`] it is done
/// and the answer lost, which `create` calls `Indeterminate`, and the others, which may just be repeated,
/// `Unavailable`; every other fault means that nothing was done.
#[derive(Debug)]
pub struct FaultyCheckpoints {
    inner: Arc<dyn CheckpointStore>,
    faults: Faults,
}

impl FaultyCheckpoints {
    /// A store whose next calls fail as `faults` says.
    pub fn new(inner: Arc<dyn CheckpointStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }
    /// One call, whose answer is lost as an error of the kind `lost`.
    async fn call<T>(&self, call: impl Future<Output = Result<T>> + Send, lost: ErrorKind) -> Result<T> {
        match self.faults.take() {
            None => call.await,
            Some(Fault::AppliedButError) => {
                call.await?;
                Err(Error::new(lost, "the answer was lost on purpose"))
            }
            Some(_) => Err(Error::unavailable("down on purpose")),
        }
    }
}

#[async_trait]
impl CheckpointStore for FaultyCheckpoints {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        self.call(self.inner.create(name, bytes), ErrorKind::Indeterminate).await
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.call(self.inner.get(name), ErrorKind::Unavailable).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.call(self.inner.list(prefix), ErrorKind::Unavailable).await
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.call(self.inner.delete(name), ErrorKind::Unavailable).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoints::{Holds, MemoryCheckpoints};
    use crate::conformance;

    fn faulty() -> (FaultyCheckpoints, MemoryCheckpoints, Faults) {
        let (memory, faults) = (MemoryCheckpoints::new(Holds::Exclusive), Faults::default());
        (FaultyCheckpoints::new(Arc::new(memory.clone()), faults.clone()), memory, faults)
    }

    #[tokio::test]
    async fn nothing_is_done_where_it_is_down() {
        let (store, memory, faults) = faulty();
        faults.add(Fault::Unavailable, 2);
        for _ in 0..2 {
            let error = store.create("a", Bytes::from_static(b"1")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        assert_eq!(memory.list("").await.unwrap(), []);
        assert_eq!(store.create("a", Bytes::from_static(b"1")).await.unwrap(), Created::New);
        faults.add(Fault::Unavailable, 3);
        assert_eq!(store.get("a").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(store.list("").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(store.delete("a").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!((store.get("a").await.unwrap(), faults.left()), (Some(Bytes::from_static(b"1")), 0));
    }

    #[tokio::test]
    async fn it_is_done_where_the_answer_is_lost() {
        let (store, memory, faults) = faulty();
        faults.add(Fault::AppliedButError, 2);
        let error = store.create("a", Bytes::from_static(b"1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Indeterminate);
        assert_eq!(memory.get("a").await.unwrap(), Some(Bytes::from_static(b"1")));
        assert_eq!(store.delete("a").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!((memory.get("a").await.unwrap(), faults.left()), (None, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_faults_it_is_the_store_behind_it() {
        let (store, ..) = faulty();
        let store: Arc<dyn CheckpointStore> = Arc::new(store);
        conformance::checkpoints(async || store.clone(), Holds::Exclusive).await;
    }
}
