//! The bytes of a part: the tables of one snapshot.
//!
//! ```text
//! "MSPART1\n" | length of the header: u32 | header: JSON | per table: Arrow IPC stream, zstd | xxh3 of all before: u64
//! ```
//! Numbers are little-endian. The header says the layer and, per table, its name, rows and bytes.

use std::io::Cursor;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millstream_core::snapshot::{Layer, Snapshot, StateTable};
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"MSPART1\n";
/// Of zstd: parts are read rarely and written often.
const LEVEL: i32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    layer: Layer,
    tables: Vec<TableHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableHeader {
    name: String,
    rows: usize,
    bytes: usize,
}

/// The bytes of a snapshot. Tables without batches are left out.
///
/// # Errors
/// `Bug` where rows cannot be expressed.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let broken = |e: &dyn std::fmt::Display| Error::bug(format!("state cannot be encoded: {e}"));
    let mut header = Header { layer: snapshot.layer, tables: Vec::new() };
    let mut blocks = Vec::new();
    for table in &snapshot.tables {
        let Some(first) = table.rows.first() else { continue };
        let compressor = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|e| broken(&e))?;
        let mut writer = StreamWriter::try_new(compressor, first.schema_ref()).map_err(|e| broken(&e))?;
        for rows in &table.rows {
            writer.write(rows).map_err(|e| broken(&e))?;
        }
        let compressor = writer.into_inner().map_err(|e| broken(&e))?;
        let block = compressor.finish().map_err(|e| broken(&e))?;
        header.tables.push(TableHeader { name: table.name.clone(), rows: table.num_rows(), bytes: block.len() });
        blocks.push(block);
    }
    let header = serde_json::to_vec(&header).map_err(|e| broken(&e))?;
    let mut out = Vec::with_capacity(24 + header.len() + blocks.iter().map(Vec::len).sum::<usize>());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(&header);
    blocks.iter().for_each(|b| out.extend_from_slice(b));
    out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
    Ok(out)
}

/// The snapshot that [`encode`] made bytes of.
///
/// # Errors
/// `Environment` with what is wrong, where the bytes are not those of a part: they were damaged, or are of a version
/// that this one does not know.
pub fn decode(bytes: &[u8]) -> Result<Snapshot> {
    let damaged = |what: &str| Error::environment(what.to_owned());
    let (body, sum) = bytes.split_last_chunk::<8>().ok_or_else(|| damaged("it is cut off"))?;
    let rest = body.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as a part of a checkpoint does"))?;
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return Err(damaged("its checksum is wrong"));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut off"))?;
    let (header, mut rest) =
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(|| damaged("it is cut off"))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|e| damaged("its header cannot be read").caused_by(e))?;
    let mut snapshot = Snapshot { layer: header.layer, tables: Vec::new() };
    for table in header.tables {
        let (block, behind) = rest.split_at_checked(table.bytes).ok_or_else(|| damaged("it is cut off"))?;
        rest = behind;
        let decompressed = zstd::decode_all(Cursor::new(block)).map_err(|e| damaged("it is broken").caused_by(e))?;
        let reader =
            StreamReader::try_new(Cursor::new(decompressed), None).map_err(|e| damaged("it is broken").caused_by(e))?;
        let rows = reader.collect::<Result<Vec<_>, _>>().map_err(|e| damaged("it is broken").caused_by(e))?;
        snapshot.tables.push(StateTable { name: table.name, rows });
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn snapshot(ids: &[i64]) -> Snapshot {
        let names: Vec<String> = ids.iter().map(|i| format!("name of {i}")).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(ids.to_vec()))),
            ("name", Arc::new(StringArray::from_iter_values(&names))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        Snapshot::changes(vec![
            StateTable { name: "a".into(), rows: vec![rows.clone(), rows.slice(0, ids.len() / 2)] },
            StateTable { name: "none".into(), rows: Vec::new() },
            StateTable::new("b", rows),
        ])
    }

    proptest! {
        #[test]
        fn a_part_is_read_back_and_any_damage_is_seen(ids in prop::collection::vec(any::<i64>(), 0..50), at: usize, bit in 0..8_u8) {
            let snapshot = snapshot(&ids);
            let bytes = encode(&snapshot).unwrap();
            let mut expected = snapshot;
            expected.tables.remove(1);
            prop_assert_eq!(decode(&bytes).unwrap(), expected);
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= 1 << bit;
            prop_assert!(decode(&flipped).is_err());
            prop_assert!(decode(&bytes[..at]).is_err());
        }
    }
}
