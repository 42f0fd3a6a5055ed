//! For tests: an async function that takes its time, never answers, or panics.

use std::time::Duration;

use arroyo_udf_plugin::udf;

/// Twice `n`, after `n` milliseconds; never for 0, a panic for 13, null for less than 0.
#[udf]
async fn slowly(n: i64) -> Option<i64> {
    match n {
        0 => std::future::pending().await,
        13 => panic!("thirteen is bad luck"),
        n if n < 0 => None,
        n => {
            tokio::time::sleep(Duration::from_millis(n as u64)).await;
            Some(2 * n)
        }
    }
}
