//! Options of `s3`.

use millstream_core::format::{Compression, RecordFormat};
use millstream_core::units::{OneOrMany, Size};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `s3`: objects of a bucket.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct S3Config {
    /// The bucket.
    pub(super) bucket: String,
    /// What the keys of all objects begin with, such as `lake/taxi`. Default: nothing.
    #[serde(default)]
    pub(super) prefix: String,
    /// The AWS region. Default: that of the environment or of ~/.aws/config.
    pub(super) region: Option<String>,
    /// Another address than that of AWS, for what speaks its API; buckets are part of the path there. Default:
    /// AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else AWS.
    pub(super) endpoint: Option<String>,
    /// A role to take on for all calls.
    pub(super) role_arn: Option<String>,
    /// How objects are encrypted at rest: s3 (SSE-S3, AES-256) or kms (SSE-KMS). Default: what the bucket says.
    pub(super) sse: Option<Encryption>,
    /// The id or ARN of the key of `sse: kms`. Default: the account's key for S3.
    pub(super) kms_key: Option<String>,
    /// As a sink: larger files are uploaded in parts of this size while they are written; at least 5MiB. Default 8MiB.
    #[serde(default = "default_part_size")]
    pub(super) part_size: Size,
    /// As a sink: how many files each worker keeps open; beyond that the one that was idle longest is finished early.
    /// Each needs up to `part_size` of memory. Default 32.
    #[serde(default = "default_max_open_files")]
    pub(super) max_open_files: usize,
    /// As a sink: files up to this size are kept in the checkpoint until they are visible, up to 1MiB for each worker and
    /// checkpoint, instead of being uploaded before. Default 64KiB.
    #[serde(default = "default_inline")]
    pub(super) inline_size: Size,
    /// As a source: keys or globs such as `trips/*.jsonl`, below `prefix`. Default: all objects below it.
    pub(super) path: Option<OneOrMany>,
    /// As a source: how the records are encoded: json (one object per line), csv (the first line names the columns) or
    /// parquet. Default: what the path's suffix says, else json.
    pub(super) format: Option<RecordFormat>,
    /// As a source: how the objects are compressed. Default: what each key's suffix says (`.gz`, `.zst`).
    pub(super) compression: Option<Compression>,
    /// As a source: larger objects are read in parallel in ranges of this size. Default 64MiB.
    #[serde(default = "default_split_size")]
    pub(super) split_size: Size,
    /// As a source: whether quoted CSV fields may hold line breaks; such objects are not read in parallel. Default
    /// false.
    #[serde(default)]
    pub(super) multiline: bool,
    /// As a source: whether the records of an object come in event-time order up to `max_delay`, so that windows can
    /// close before the object ends. Default false.
    #[serde(default)]
    pub(super) ordered: bool,
}

/// Encryption at rest by the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encryption {
    /// SSE-S3: AES-256 with keys of the service.
    S3,
    /// SSE-KMS: with a key of AWS KMS, and one data key per bucket.
    Kms,
}

/// The least that S3 takes as a part that is not the last.
pub(super) const LEAST_PART: u64 = 5 << 20;

fn default_part_size() -> Size {
    Size(8 << 20)
}

fn default_max_open_files() -> usize {
    32
}

fn default_inline() -> Size {
    Size(64 << 10)
}

fn default_split_size() -> Size {
    Size(64 << 20)
}

impl S3Config {
    /// What the keys begin with, with a slash behind it where there is anything.
    pub(super) fn root(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// What is wrong with the options, for the user.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |wrong: bool, message: &str| problems.extend(wrong.then(|| message.to_owned()));
        say(self.bucket.trim().is_empty(), "`bucket` is empty: name a bucket");
        say(
            self.bucket.contains('/') && !self.bucket.starts_with("arn:"),
            "`bucket` has a slash: write what follows it as `prefix`",
        );
        say(self.prefix.split('/').any(|part| part == ".."), "`prefix` has a `..`, which means nothing in a key");
        say(
            self.kms_key.is_some() && self.sse != Some(Encryption::Kms),
            "`kms_key` is for `sse: kms`: write both, or leave the key out",
        );
        say(
            self.part_size.0 < LEAST_PART || self.part_size.0 > 5 << 30,
            "`part_size` is not between 5MiB and 5GiB, which is what S3 takes",
        );
        say(self.max_open_files == 0, "`max_open_files` is 0: a sink needs at least one open file");
        say(self.split_size.0 == 0, "`split_size` is 0: leave it out or give a size such as 64MiB");
        say(self.inline_size.0 > 1 << 20, "`inline_size` is more than 1MiB: checkpoints would grow with it");
        for path in self.path.iter().flat_map(|paths| &paths.0) {
            if let Err(e) = glob::Pattern::new(path) {
                problems.push(format!("`{path}` is not a glob: {}", e.msg));
            }
            if path.starts_with('/') {
                problems.push(format!("`{path}` begins with a slash: keys do not, and it stands below `prefix`"));
            }
        }
        problems
    }
}
