//! What the keys of appended objects tell: pipeline, sink, the store of its checkpoints (as a hash), run, checkpoint,
//! worker, and which of its objects.

use millstream_core::sink::SinkOptions;
use xxhash_rust::xxh3::xxh3_64;

/// What the batch ids of a sink begin with.
pub(super) fn beginning(options: &SinkOptions) -> String {
    let state = xxh3_64(options.state.as_bytes()) >> 32;
    format!("{}-{}-{state:08x}", options.pipeline, options.id)
}

/// A batch id that was read out of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BatchName {
    pub(super) checkpoint: u64,
    pub(super) instance: usize,
}

impl BatchName {
    /// Finds the batch id in a key; the rest of the key may be anything.
    pub(super) fn find(key: &str, beginning: &str) -> Option<Self> {
        let mut from = 0;
        while let Some(at) = key.get(from..)?.find(beginning) {
            from += at + beginning.len();
            if let Some(found) = key.get(from..).and_then(Self::behind) {
                return Some(found);
            }
        }
        None
    }

    /// `-<run>-<checkpoint>-<instance>-<sequence>..`
    fn behind(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('-')?.splitn(4, '-');
        parts.next().filter(|run| !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric()))?;
        let checkpoint = parts.next().filter(|n| n.len() >= 6)?.parse().ok()?;
        let instance = parts.next()?.parse().ok()?;
        parts.next().filter(|rest| rest.bytes().take_while(u8::is_ascii_digit).count() >= 4)?;
        Some(Self { checkpoint, instance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_batch() {
        let found = |key: &str| BatchName::find(key, "trips-raw").map(|b| (b.checkpoint, b.instance));
        let expected = Some((41, 3));
        assert_eq!(found("raw/date=1/trips-raw-6a1x2b-000041-3-0001.jsonl.gz"), expected);
        assert_eq!(found("trips-raw/x-trips-raw-6a1x2b-000041-3-0001"), expected);
        assert_eq!(found("trips-raw-6a1x2b-1000041-12-10001/part").map(|b| b.0), Some(1_000_041));
        for other in [
            "",
            "trips-raw",
            "trips-raw-6a1x2b-41-3-0001",
            "trips-rawest-6a1x2b-000041-3-0001",
            "trips-raw--000041-3-0001",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
