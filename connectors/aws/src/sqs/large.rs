//! The bucket of bodies that are too large for a message, as something a pipeline needs.

use std::sync::Arc;

use millstream_core::connector::Connector;
use millstream_core::resource::{Obstacle, Presence, Use};
use millstream_core::{Error, Result};
use serde_json::json;

use super::config::SqsConfig;
use crate::s3;

/// What is done in it.
pub(super) const ACTIONS: [&str; 2] = ["s3:PutObject", "s3:GetObject"];
/// Of all uses of a bucket the one that asks for these, and for little else.
const LIKE: Use<'static> = Use::Checkpoints("");

/// The connector over it, where the options name one.
fn bucket(config: &SqsConfig) -> Result<Option<Arc<dyn Connector>>> {
    let Some(oversize) = &config.oversize else { return Ok(None) };
    let options = json!({
        "bucket": oversize.bucket.trim(),
        "prefix": oversize.prefix(),
        "region": oversize.region.as_ref().or(config.region.as_ref()),
        "endpoint": oversize.endpoint,
        "role_arn": config.role_arn,
    });
    (s3::kind().parse)(options).map(Some).map_err(|e| Error::config(format!("`oversize`: {e}")))
}

/// What stands in the way of its use.
pub(super) async fn obstacles(config: &SqsConfig) -> Vec<Obstacle> {
    let bucket = match bucket(config) {
        Ok(Some(bucket)) => bucket,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    };
    let needed = |o: &Obstacle| o.action.as_deref().is_none_or(|action| ACTIONS.contains(&action));
    bucket.online(&LIKE).await.into_iter().filter(needed).collect()
}

/// Makes it where it is not there.
pub(super) async fn create(config: &SqsConfig) -> Result<Presence> {
    match bucket(config)? {
        Some(bucket) => bucket.create(&LIKE).await,
        None => Ok(Presence::Exists),
    }
}
