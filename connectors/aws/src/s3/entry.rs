//! What a checkpoint says of an object that is not visible yet: enough for any later process to make it so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::uploads::Upload;

/// An object of a checkpoint: small ones stand in the checkpoint itself, larger ones in an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its key below the connector's prefix.
    pub(super) target: String,
    /// The checkpoint that covers its rows.
    pub(super) checkpoint: u64,
    pub(super) bytes: u64,
    /// Hash of the contents: what is at the target already is this object or another one.
    pub(super) xxh3: String,
    /// The contents, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// The upload that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<Upload>,
}

impl Entry {
    pub(super) fn uploaded(target: String, checkpoint: u64, bytes: u64, xxh3: String, upload: Upload) -> Self {
        Self { target, checkpoint, bytes, xxh3, data: None, upload: Some(upload) }
    }

    pub(super) fn kept(target: String, checkpoint: u64, contents: &[u8], xxh3: String) -> Self {
        let data = Some(STANDARD.encode(contents));
        Self { target, checkpoint, bytes: contents.len() as u64, xxh3, data, upload: None }
    }

    /// The contents, where they stand in the checkpoint.
    ///
    /// # Errors
    /// `Environment` where they are damaged.
    pub(super) fn contents(&self) -> Result<Bytes> {
        let data = self.data.as_deref().unwrap_or_default();
        let bytes = STANDARD.decode(data).ok().filter(|bytes| bytes.len() as u64 == self.bytes);
        bytes
            .map(Bytes::from)
            .ok_or_else(|| Error::environment(format!("what the checkpoint says of `{}` is damaged", self.target)))
    }

    /// Whether its target is below the connector's prefix.
    pub(super) fn is_own(&self) -> bool {
        let parts = self.target.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        parts && self.data.is_some() != self.upload.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_outlive_their_process() {
        let entry = Entry::kept("a/b".into(), 3, b"x\n", "0".into());
        let text = serde_json::to_value(&entry).unwrap();
        assert_eq!(text, json!({ "target": "a/b", "checkpoint": 3, "bytes": 2, "xxh3": "0", "data": "eAo=" }));
        let again: Entry = serde_json::from_value(text).unwrap();
        assert!(again.is_own());
        assert_eq!(again.contents().unwrap(), &b"x\n"[..]);
        assert!(Entry { data: Some("eAo".into()), ..entry.clone() }.contents().is_err());
        for target in ["", "/a", "a/../b", "a//b", "./a"] {
            assert!(!Entry { target: target.into(), ..entry.clone() }.is_own(), "{target}");
        }
        assert!(!Entry { data: None, ..entry }.is_own(), "it has neither contents nor an upload");
    }
}
