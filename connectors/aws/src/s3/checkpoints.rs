//! Checkpoints as objects of a bucket: created on the condition that there is none of the name.
//!
//! Invariants: an object is whole or not there; of several that create a name the service lets one win. Nobody can tell
//! whether who holds a store still lives, so everybody gets a hold, and the claims of checkpoints keep processes apart.

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::checkpoint::{CheckpointStore, Created, Hold, Object, names};
use millstream_core::{ErrorKind, Result};

use super::bucket::{If, Shared, Wrote};

/// The folder of checkpoints below a connector's prefix: hidden, since it is no output.
const FOLDER: &str = ".millstream";
/// How often an object is tried to be created while others do the same.
const ATTEMPTS: u64 = 20;

/// The checkpoints of one pipeline.
#[derive(Debug)]
pub(super) struct S3Checkpoints {
    bucket: Shared,
    /// What the names of its objects begin with, below the bucket's root.
    folder: String,
}

/// Lets everybody in.
#[derive(Debug)]
struct Everybody;

impl Hold for Everybody {}

impl S3Checkpoints {
    pub(super) fn new(bucket: Shared, pipeline: &str) -> Result<Self> {
        names::check_part(pipeline)?;
        Ok(Self { bucket, folder: format!("{FOLDER}/{pipeline}/") })
    }

    fn place_of(&self, name: &str) -> Result<String> {
        names::check(name)?;
        Ok(format!("{}{name}", self.folder))
    }
}

#[async_trait]
impl CheckpointStore for S3Checkpoints {
    async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let place = self.place_of(name)?;
        let mut attempt = 1;
        loop {
            match self.bucket.put(&place, bytes.clone(), &If::Absent, &Vec::new()).await {
                Ok(Wrote::Now) => return Ok(Created::New),
                Ok(Wrote::Not) => return Ok(Created::Exists),
                // Nothing was done: another creates it, or the service wants fewer calls.
                Err(e) if e.kind() == ErrorKind::Unavailable && attempt < ATTEMPTS => {
                    if self.bucket.head(&place).await?.is_some() {
                        return Ok(Created::Exists);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10 * attempt)).await;
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
    async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        self.bucket.get(&self.place_of(name)?, None, None).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        // What no name begins with is not asked for: `../` would mean something to some services.
        if prefix.split('/').rev().skip(1).any(|part| !names::is_part(part)) || prefix.starts_with('.') {
            return Ok(Vec::new());
        }
        let listed = self.bucket.list(&format!("{}{prefix}", self.folder)).await?;
        let objects = listed.into_iter().filter_map(|object| {
            let name = object.name.strip_prefix(&self.folder)?;
            names::is_name(name).then(|| Object { name: name.to_owned(), bytes: object.bytes })
        });
        Ok(objects.collect())
    }
    async fn delete(&self, name: &str) -> Result<()> {
        self.bucket.delete(&self.place_of(name)?).await
    }
    async fn hold(&self, _holder: &str) -> Result<Box<dyn Hold>> {
        Ok(Box::new(Everybody))
    }
    fn location(&self) -> String {
        self.bucket.url(self.folder.trim_end_matches('/'))
    }
    fn place(&self, name: &str) -> String {
        self.bucket.url(&format!("{}{name}", self.folder))
    }
}
