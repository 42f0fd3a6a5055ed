//! Asks S3 whether a pipeline could use a bucket: by calls that change nothing.
//!
//! Writing is tried with an object that is not there on the condition that it is: where it is allowed, the condition
//! refuses it.

use aws_sdk_s3::primitives::ByteStream;
use millstream_core::resource::{Obstacle, Use};

use super::bucket::Bucket;
use super::needs;
use crate::answer::Call;
use crate::probe::{Probe, absent, missing};

/// An object that nobody is meant to have.
const PROBE: &str = ".millstream/check-probe-9f2c";

/// What stands in the way of a use of a bucket.
pub(super) async fn obstacles(bucket: &Bucket, of: &Use<'_>) -> Vec<Obstacle> {
    let client = match bucket.client().await {
        Ok(client) => client,
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    };
    if let Err(error) = client.head_bucket().bucket(bucket.name()).send().await {
        let on = format!("the bucket {}", bucket.name());
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        let told = Call { service: "s3", operation: "ListBucket", on: &on }.error(error);
        return vec![match status {
            Some(404) => absent(&on),
            Some(301) => Obstacle::fatal(format!("{on} is in another region")).help("say `region` on the connector"),
            Some(403) => missing("s3:ListBucket", &told),
            _ => Obstacle::fatal(told.to_string()),
        }];
    }
    let mut obstacles = Vec::new();
    for action in needs::on_bucket(of).iter().chain(needs::on_objects(of)) {
        obstacles.extend(refused(bucket, client, action).await);
    }
    obstacles
}

/// What the answer to a call that needs the action says stands in the way.
async fn refused(bucket: &Bucket, client: &aws_sdk_s3::Client, action: &'static str) -> Option<Obstacle> {
    let (name, key, on) = (bucket.name(), bucket.key(PROBE), bucket.url(""));
    // What is asked for is not there, or the condition does not hold: it is allowed.
    let allowed = &["NoSuchKey", "NotFound", "PreconditionFailed", "NoSuchUpload"];
    let operation = action.strip_prefix("s3:").unwrap_or(action);
    let probe = Probe { call: Call { service: "s3", operation, on: &on }, action, allowed };
    match action {
        "s3:ListBucket" => {
            let call = client.list_objects_v2().bucket(name).prefix(bucket.key("")).max_keys(1);
            probe.obstacle(call.send().await)
        }
        "s3:ListBucketMultipartUploads" => {
            let call = client.list_multipart_uploads().bucket(name).prefix(bucket.key("")).max_uploads(1);
            probe.obstacle(call.send().await)
        }
        "s3:GetObject" => probe.obstacle(client.get_object().bucket(name).key(key).send().await),
        "s3:PutObject" => {
            let call = client.put_object().bucket(name).key(key).if_match("\"0\"");
            probe.obstacle(call.body(ByteStream::from_static(b"")).send().await)
        }
        "s3:AbortMultipartUpload" => {
            probe.obstacle(client.abort_multipart_upload().bucket(name).key(key).upload_id("0").send().await)
        }
        // A delete of what is not there leaves a mark in a bucket with versions: it cannot be tried.
        _ => None,
    }
}
