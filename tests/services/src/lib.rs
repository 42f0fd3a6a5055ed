//! Local servers that speak the APIs of AWS, for tests, and a proxy before them that fails as AWS does.
//!
//! ```text
//! test -> services::kinesis() -> (first user: serve.sh keep) -> http://127.0.0.1:PORT
//!    \-> Proxy::start(&url, seed) -> rules: throttle, partial failure, lost answer, .. -> the server
//! ```
//! A server is started by its first user and shared by all processes that use the same folder (the target folder, or
//! `MILLSTREAM_SERVICES`): each holds a shared lock on a file, whether it ends well or is killed, and the server's keeper
//! (`serve.sh`) stops it a minute after the last is gone. So a test takes names nobody else has: [`name`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "servers are started and waited for by the wall clock")]

pub mod client;
pub mod proxy;
mod ready;
mod server;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

pub use proxy::{Fault, Proxy, Rule};
use server::Server;

/// The region all requests may name.
pub const REGION: &str = "us-east-1";

/// Kinesis: right about reshards, child shards and expiry; about 1,000 records a second, no fan-out.
pub fn kinesis() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("kinesis")).url()
}

/// DynamoDB.
pub fn dynamodb() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("dynamodb")).url()
}

/// S3. Its address is a number, so that clients ask for buckets by path.
pub fn s3() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("s3")).url()
}

/// SQS, SNS and CloudWatch; and Kinesis with fan-out and 19,000 records a second, where a split's parents vanish.
pub fn ministack() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("ministack")).url()
}

/// SQS: [`ministack`].
pub fn sqs() -> &'static str {
    ministack()
}

/// SNS: [`ministack`].
pub fn sns() -> &'static str {
    ministack()
}

/// CloudWatch: [`ministack`].
pub fn cloudwatch() -> &'static str {
    ministack()
}

/// What a process needs in its environment to use all servers, and no other credentials or settings.
pub fn environment() -> Vec<(String, String)> {
    // They start beside each other.
    thread::scope(|scope| {
        for start in [kinesis, dynamodb, s3, ministack] {
            scope.spawn(start);
        }
    });
    let endpoints = [
        ("KINESIS", kinesis()),
        ("DYNAMODB", dynamodb()),
        ("S3", s3()),
        ("SQS", sqs()),
        ("SNS", sns()),
        ("CLOUDWATCH", cloudwatch()),
    ];
    let mut all: Vec<(String, String)> =
        endpoints.iter().map(|(service, url)| (format!("AWS_ENDPOINT_URL_{service}"), (*url).to_owned())).collect();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ] {
        all.push((name.to_owned(), value.to_owned()));
    }
    all
}

/// A name for a stream, table, bucket, queue or topic that no other test has.
pub fn name(of: &str) -> String {
    static COUNTED: AtomicU32 = AtomicU32::new(0);
    let counted = COUNTED.fetch_add(1, Ordering::Relaxed);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    format!("{of}-{:x}-{:x}-{counted:x}", since.as_millis(), std::process::id())
}
