//! Options of `dynamodb`.

use std::time::Duration;

use millstream_core::table::EXPIRES_AT;
use millstream_core::units::{Period, Rate};
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `dynamodb`: one item per key of a table.
///
/// As a table's store, each row is written with `UpdateItem` on the condition of its version, so that nothing is lost
/// over items of earlier runs or other programs; their other attributes stay. As a sink (`mode: overwrite`), items are
/// replaced whole with `BatchWriteItem`, without a condition. As a source, the table is scanned once.
///
/// Text is S, numbers are N with exactly their digits, bool is BOOL, bytes are B, structs are M, lists are L;
/// timestamps (RFC 3339), dates and json are S. A null column is an absent attribute. The table's key is the columns of
/// `key:` in their order: the partition key, then the sort key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DynamoDbConfig {
    /// The table: its name, or its ARN where it belongs to another account.
    pub(crate) table: String,
    /// The AWS region; by default that of the environment (`AWS_REGION`, `~/.aws/config`).
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// The address of the service, such as that of a local server; by default AWS's own, or `AWS_ENDPOINT_URL_DYNAMODB`
    /// or `AWS_ENDPOINT_URL`.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// A role to assume with the credentials of the environment.
    #[serde(default)]
    pub(crate) role_arn: Option<String>,
    /// Writes in flight at a time, one per key. Default: 50.
    #[serde(default = "in_flight")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) in_flight: u16,
    /// Writes a second at most, such as `500/s`. Default: as many as the table takes; where it throttles, writes slow down
    /// and then speed up again by themselves.
    #[serde(default)]
    pub(crate) max_rate: Option<Rate>,
    /// The attribute that holds when an item expires, in epoch seconds, of tables with a `ttl`: the one that DynamoDB's
    /// time to live is enabled on. Default: `_expires_at`.
    #[serde(default = "ttl_attribute")]
    pub(crate) ttl_attribute: String,
    /// How many parts a scan reads side by side; for a source, its splits: change it only with a fresh state. Default: 4.
    #[serde(default = "segments")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) segments: u16,
    /// Whether scans see every write that was acknowledged before them, at twice the read capacity. Default: false.
    /// Reads by key always do.
    #[serde(default)]
    pub(crate) consistent: bool,
    /// How long a call may take before it is tried again. Default: 10s.
    #[serde(default = "timeout")]
    pub(crate) timeout: Period,
}

fn in_flight() -> u16 {
    50
}

fn segments() -> u16 {
    4
}

fn ttl_attribute() -> String {
    EXPIRES_AT.to_owned()
}

fn timeout() -> Period {
    Period(Duration::from_secs(10))
}

impl DynamoDbConfig {
    /// What is wrong with the options beyond their types.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |wrong: bool, text: &str| {
            if wrong {
                problems.push(text.to_owned());
            }
        };
        // A name may still be a variable that is not set.
        say(self.table.trim().is_empty(), "`table` is empty: name the DynamoDB table");
        say(self.in_flight == 0, "`in_flight` is 0: nothing would be written");
        say(self.segments == 0, "`segments` is 0: nothing would be read");
        say(self.ttl_attribute.is_empty(), "`ttl_attribute` is empty: leave it out for `_expires_at`");
        say(self.timeout.0.is_zero(), "`timeout` is 0: no call would succeed");
        problems
    }

    /// The table's ARN, with `{region}` and `{account}` where the options do not say them.
    pub(crate) fn arn(&self) -> String {
        if self.table.starts_with("arn:") {
            return self.table.clone();
        }
        let region = self.region.as_deref().unwrap_or("{region}");
        format!("arn:aws:dynamodb:{region}:{{account}}:table/{}", self.table)
    }
}
