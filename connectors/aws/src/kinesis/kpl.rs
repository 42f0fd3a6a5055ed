//! Aggregates of the Kinesis Producer Library: many user records in one record of a stream.
//!
//! ```text
//! F3 89 9A C2 | message AggregatedRecord (protobuf) | MD5 of the message
//! ```
//! The format is published by Amazon as "KPL Aggregated Record Format". What is not exactly that is a record of its
//! own, whatever it begins with.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::Message;

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// Length of what stands behind the message.
const DIGEST: usize = 16;

/// Fields that the format requires are optional here, so that one that is missing is seen.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint64, optional, tag = "1")]
    partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// One of the records in an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserRecord {
    pub(crate) data: Bytes,
    /// Where it belongs among the shards: its explicit hash key, else the hash of its partition key.
    pub(crate) hash_key: u128,
}

/// The user records of an aggregate, in order; `None` where the record is none.
pub(crate) fn user_records(record: &Bytes) -> Option<Vec<UserRecord>> {
    let end = record.len().checked_sub(DIGEST).filter(|end| *end >= MAGIC.len())?;
    if !record.starts_with(&MAGIC) {
        return None;
    }
    let message = record.slice(MAGIC.len()..end);
    if Md5::digest(&message).as_slice() != record.get(end..)? {
        return None;
    }
    let AggregatedRecord { partition_key_table, explicit_hash_key_table, records } =
        AggregatedRecord::decode(message).ok()?;
    let user = |record: Record| {
        let partition_key = partition_key_table.get(usize::try_from(record.partition_key_index?).ok()?)?;
        let hash_key = match record.explicit_hash_key_index {
            Some(index) => explicit_hash_key_table.get(usize::try_from(index).ok()?)?.parse().ok()?,
            None => hash_key(partition_key),
        };
        Some(UserRecord { data: record.data?, hash_key })
    };
    records.into_iter().map(user).collect()
}

/// The hash by which the service finds the shard of a partition key: its MD5 as a number.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    let mut bytes = [0; DIGEST];
    bytes.copy_from_slice(Md5::digest(partition_key.as_bytes()).as_slice());
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
pub(super) mod tests;
