//! `vectors.json` was made once by the PyPI package aws-kinesis-agg 1.2.3: for each case `AggRecord.add_user_record` of
//! the records that stand there, then `get_contents`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vector {
    aggregate: String,
    records: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    partition_key: String,
    explicit_hash_key: Option<String>,
    data: String,
}

fn decode(text: &str) -> Bytes {
    STANDARD.decode(text).unwrap().into()
}

fn vectors() -> Vec<(Bytes, Vec<UserRecord>)> {
    let vectors: std::collections::BTreeMap<String, Vector> =
        serde_json::from_str(include_str!("vectors.json")).unwrap();
    let user = |e: &Expected| UserRecord {
        data: decode(&e.data),
        hash_key: match &e.explicit_hash_key {
            Some(key) => key.parse().unwrap(),
            None => hash_key(&e.partition_key),
        },
    };
    vectors.values().map(|v| (decode(&v.aggregate), v.records.iter().map(user).collect())).collect()
}

/// An aggregate of a message, as another producer would write it.
pub(crate) fn aggregate(message: &[u8]) -> Bytes {
    let digest = Md5::digest(message);
    [&MAGIC[..], message, digest.as_slice()].concat().into()
}

pub(crate) fn of_records(records: &[(&str, &str)]) -> Bytes {
    let record = |(i, (_, data)): (usize, &(&str, &str))| Record {
        partition_key_index: Some(i as u64),
        explicit_hash_key_index: None,
        data: Some(Bytes::from((*data).to_owned())),
    };
    let message = AggregatedRecord {
        partition_key_table: records.iter().map(|(key, _)| (*key).to_owned()).collect(),
        explicit_hash_key_table: vec![],
        records: records.iter().enumerate().map(record).collect(),
    };
    aggregate(&message.encode_to_vec())
}

#[test]
fn aggregates_of_another_implementation_are_unpacked() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 4);
    for (aggregate, expected) in vectors {
        assert_eq!(user_records(&aggregate), Some(expected));
    }
}

#[test]
fn the_hash_of_a_partition_key_is_its_md5() {
    // From `md5sum`.
    assert_eq!(hash_key(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    assert_eq!(hash_key("abc"), 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
}

#[test]
fn what_is_not_exactly_an_aggregate_is_none() {
    let whole = of_records(&[("a", "1"), ("b", "2")]);
    assert_eq!(user_records(&whole).map(|r| r.len()), Some(2));
    for end in 0..whole.len() {
        assert_eq!(user_records(&whole.slice(..end)), None, "cut at {end}");
    }
    for byte in 0..whole.len() {
        let mut broken = whole.to_vec();
        broken[byte] ^= 1;
        assert_eq!(user_records(&broken.into()), None, "byte {byte} flipped");
    }
    let key = |index| Record { partition_key_index: index, explicit_hash_key_index: None, data: Some("x".into()) };
    let message = |record: Record| {
        let keys = vec!["a".to_owned()];
        let message = AggregatedRecord {
            partition_key_table: keys,
            explicit_hash_key_table: vec!["1".into(), "-1".into(), (1_u128 << 127).to_string() + "0"],
            records: vec![record],
        };
        aggregate(&message.encode_to_vec())
    };
    assert!(user_records(&message(key(Some(0)))).is_some());
    assert_eq!(user_records(&message(key(Some(1)))), None, "no such key");
    assert_eq!(user_records(&message(key(Some(u64::MAX)))), None);
    assert_eq!(user_records(&message(key(None))), None, "a field that is required is missing");
    assert_eq!(user_records(&message(Record { data: None, ..key(Some(0)) })), None);
    for hash_key in [1, 2, 3] {
        let record = Record { explicit_hash_key_index: Some(hash_key), ..key(Some(0)) };
        assert_eq!(user_records(&message(record)), None, "hash key {hash_key} is no number of 128 bits, or not there");
    }
    assert_eq!(user_records(&aggregate(b"\xff\xff\xff")), None, "the digest fits, the message is none");
    assert_eq!(user_records(&aggregate(b"")), Some(vec![]), "an aggregate of nothing has no records");
}

proptest! {
    #[test]
    fn any_bytes_are_an_aggregate_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200), digest in any::<bool>()) {
        let record = if digest { aggregate(&bytes) } else { Bytes::from([&MAGIC[..], &bytes].concat()) };
        if let Some(records) = user_records(&record) {
            prop_assert!(records.iter().map(|r| r.data.len()).sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn what_is_packed_comes_out(records in prop::collection::vec((".{0,20}", ".{0,50}"), 0..20)) {
        let borrowed: Vec<_> = records.iter().map(|(k, d)| (k.as_str(), d.as_str())).collect();
        let expected: Vec<_> = records
            .iter()
            .map(|(k, d)| UserRecord { data: Bytes::from(d.clone()), hash_key: hash_key(k) })
            .collect();
        prop_assert_eq!(user_records(&of_records(&borrowed)), Some(expected));
    }
}
