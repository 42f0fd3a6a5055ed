//! What a pipeline needs of S3: the bucket, and the actions on it and its objects.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use millstream_core::Result;
use millstream_core::resource::{Grant, Presence, Resource, Use};
use millstream_core::sink::WriteMode;
use serde_json::json;

use super::bucket::Bucket;
use super::config::{Encryption, S3Config};

/// The region whose buckets are made without naming it.
const FIRST_REGION: &str = "us-east-1";

/// The actions of a use on objects.
pub(super) fn on_objects(of: &Use<'_>) -> &'static [&'static str] {
    match of {
        Use::Source(_) => &["s3:GetObject"],
        Use::Sink(options) if options.mode == WriteMode::Append => {
            &["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"]
        }
        Use::Sink(_) => &["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:DeleteObject"],
        Use::Checkpoints(_) => &["s3:PutObject", "s3:GetObject", "s3:DeleteObject"],
        Use::Table(_) | Use::Metrics(_) => &[],
    }
}

/// The actions of a use on the bucket.
pub(super) fn on_bucket(of: &Use<'_>) -> &'static [&'static str] {
    match of {
        Use::Source(_) | Use::Checkpoints(_) => &["s3:ListBucket"],
        Use::Sink(_) => &["s3:ListBucket", "s3:ListBucketMultipartUploads"],
        Use::Table(_) | Use::Metrics(_) => &[],
    }
}

/// The bucket as something a pipeline needs.
pub(super) fn resource(config: &S3Config, of: &Use<'_>) -> Option<Resource> {
    if on_bucket(of).is_empty() {
        return None;
    }
    let bucket = match config.bucket.starts_with("arn:") {
        true => config.bucket.clone(),
        false => format!("arn:aws:s3:::{}", config.bucket),
    };
    let mut grants =
        vec![Grant::on(format!("{bucket}/{}*", config.root()), on_objects(of)), Grant::on(bucket, on_bucket(of))];
    if config.sse == Some(Encryption::Kms) && !matches!(of, Use::Source(_)) {
        grants.extend(config.kms_key.as_deref().map(key));
    }
    let mut properties = Vec::new();
    if !config.root().is_empty() {
        properties.push(format!("below {}", config.root()));
    }
    if matches!(of, Use::Sink(_)) {
        properties.push("a lifecycle rule that aborts incomplete uploads after some days".to_owned());
    }
    Some(Resource { kind: "S3 bucket", name: config.bucket.clone(), properties, grants })
}

/// The use of a key of KMS, by whatever names it.
fn key(key: &str) -> Grant {
    let actions = &["kms:GenerateDataKey", "kms:Decrypt"];
    match key.strip_prefix("alias/") {
        _ if key.starts_with("arn:") => Grant::on(key, actions),
        None => Grant::on(format!("arn:aws:kms:{{region}}:{{account}}:key/{key}"), actions),
        // Policies know keys, not their aliases.
        Some(_) => Grant {
            condition: Some(json!({ "ForAnyValue:StringEquals": { "kms:ResourceAliases": key } })),
            ..Grant::on("arn:aws:kms:{region}:{account}:key/*", actions)
        },
    }
}

/// Makes the bucket where it is not there.
pub(super) async fn create(bucket: &Bucket) -> Result<Presence> {
    let client = bucket.client().await?;
    let region = client.config().region().map(ToString::to_string).filter(|region| region != FIRST_REGION);
    let place = region.map(|region| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region.as_str()))
            .build()
    });
    match client.create_bucket().bucket(bucket.name()).set_create_bucket_configuration(place).send().await {
        Ok(_) => Ok(Presence::Created),
        Err(e) if e.code() == Some("BucketAlreadyOwnedByYou") => Ok(Presence::Exists),
        // Some other services say so of one's own, too.
        Err(_) if client.head_bucket().bucket(bucket.name()).send().await.is_ok() => Ok(Presence::Exists),
        Err(e) => Err(bucket.failed("CreateBucket", "", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_key_of_kms() {
        assert_eq!(key("arn:aws:kms:eu-west-1:1:key/x").arns, ["arn:aws:kms:eu-west-1:1:key/x"]);
        assert_eq!(key("1234").arns, ["arn:aws:kms:{region}:{account}:key/1234"]);
        let alias = key("alias/lake");
        assert_eq!(alias.condition.unwrap()["ForAnyValue:StringEquals"]["kms:ResourceAliases"], "alias/lake");
    }
}
