//! The objects of a sink as rows again, for queries.

use arrow::array::RecordBatch;
use futures::{StreamExt as _, TryStreamExt as _};
use millstream_core::sink::SinkOptions;
use millstream_core::{Error, Result};
use millstream_files::{Written, naming, read_back};

use super::bucket::Shared;

/// How many objects are read at once.
const AT_ONCE: usize = 8;

/// The visible rows of the sink `options`: its user columns.
pub(super) async fn rows(bucket: &Shared, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let template = naming::template(options);
    let written = Written::by(&template)?;
    let literal = template.split(['{', '}']).next().unwrap_or_default();
    let listed = bucket.list(literal).await?;
    let mut names: Vec<String> = listed.into_iter().map(|object| object.name).collect();
    names.retain(|name| written.matches(name));
    let reading = names.into_iter().map(|name| one(bucket, name, options));
    let reading = futures::stream::iter(reading).buffered(AT_ONCE);
    let batches: Vec<Vec<RecordBatch>> = reading.try_collect().await?;
    Ok(batches.into_iter().flatten().collect())
}

async fn one(bucket: &Shared, name: String, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let url = bucket.url(&name);
    // One that is not there any more was replaced or deleted since it was listed.
    let Some(bytes) = bucket.get(&name, None, None).await? else { return Ok(Vec::new()) };
    let options = options.clone();
    tokio::task::spawn_blocking(move || read_back::rows_of_bytes(bytes, &options))
        .await
        .map_err(|e| Error::bug("reading objects back panicked").caused_by(e))?
        .map_err(|e| Error::new(e.kind(), format!("cannot read `{url}` back")).caused_by(e))
}
