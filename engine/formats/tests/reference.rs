//! Decoding and encoding against references: arrow-json, and each other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use millstream_core::EventTime;
use millstream_core::format::{Decoded, RecordFormat};
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone};
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_formats::value::row_json;
use millstream_formats::{EncodeOptions, decoder, encoder, split};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn column(name: &str, column_type: ColumnType, optional: bool) -> Column {
    Column {
        name: name.into(),
        column_type,
        optional,
        path: vec![name.into()],
        formats: Vec::new(),
        zone: Zone::Utc,
        excess_digits: ExcessDigits::Reject,
    }
}

/// A column of every type; all optional, as every kind of row must be possible.
fn schema() -> Arc<SourceSchema> {
    let inner = vec![("x".to_owned(), ColumnType::Double, true), ("s".to_owned(), ColumnType::String, true)];
    let columns = vec![
        column("text", ColumnType::String, true),
        column("int", ColumnType::Int, true),
        column("big", ColumnType::Bigint, true),
        column("double", ColumnType::Double, true),
        column("flag", ColumnType::Bool, true),
        column("money", ColumnType::Decimal(20, 4), true),
        column("at", ColumnType::Timestamp, true),
        column("day", ColumnType::Date, true),
        column("place", ColumnType::Struct(inner), true),
        column("list", ColumnType::List(Box::new(ColumnType::Int), true), true),
    ];
    Arc::new(SourceSchema { columns, extra: ExtraFields::Ignore })
}

fn records(lines: &[Vec<u8>], header: Option<&[u8]>) -> RawRecords {
    let mut raw = RawRecords { header: header.map(|h| h.to_vec().into()), ..RawRecords::default() };
    let mut buffer = Vec::new();
    for line in lines {
        raw.records.push(RawRecord {
            start: buffer.len() as u32,
            len: line.len() as u32,
            position: Position::Offset(buffer.len() as u64),
            arrived_at: EventTime(0),
        });
        buffer.extend_from_slice(line);
        buffer.push(b'\n');
    }
    raw.buffer = buffer.into();
    raw
}

fn decode(format: RecordFormat, lines: &[Vec<u8>], header: Option<&[u8]>) -> Decoded {
    decoder(format, schema()).unwrap().decode(&records(lines, header)).unwrap()
}

/// A value or null or (given as `None`) nothing.
fn field(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![6 => value.prop_map(Some), 1 => Just(Some(Value::Null)), 1 => Just(None)].boxed()
}

fn record() -> impl Strategy<Value = Value> {
    let finite = || any::<f64>().prop_filter("finite", |x| x.is_finite());
    let fields = vec![
        ("text", field(any::<String>().prop_map(Value::from))),
        ("int", field(any::<i32>().prop_map(Value::from))),
        ("big", field(any::<i64>().prop_map(Value::from))),
        ("double", field(finite().prop_map(Value::from))),
        ("flag", field(any::<bool>().prop_map(Value::from))),
        (
            "money",
            field(
                (-10i64.pow(15)..10i64.pow(15)).prop_map(|m| json!(format!("{}.{:04}", m / 10_000, m.abs() % 10_000))),
            ),
        ),
        ("at", field((0i64..4_000_000_000).prop_map(|s| json!(EventTime(s * 1_000_000).to_string())))),
        ("day", field((1000..9999, 1..=12, 1..=28).prop_map(|(y, m, d)| json!(format!("{y:04}-{m:02}-{d:02}"))))),
        ("place", field((finite(), any::<String>()).prop_map(|(x, s)| json!({"x": x, "s": s, "more": [x, {}]})))),
        ("list", field(prop::collection::vec(any::<Option<i32>>(), 0..5).prop_map(|l| json!(l)))),
        ("undeclared", field(any::<String>().prop_map(|s| json!({"a": [s, 1.5, true, null]})))),
    ];
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let values: Vec<_> = fields.into_iter().map(|(_, value)| value).collect();
    values.prop_flat_map(move |values| {
        let pairs: Vec<_> = names.iter().zip(values).filter_map(|(n, v)| Some(((*n).to_owned(), v?))).collect();
        Just(pairs).prop_shuffle().prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
    })
}

fn lines(records: &[Value], pretty: bool) -> Vec<Vec<u8>> {
    let text = |r: &Value| if pretty { serde_json::to_vec_pretty(r) } else { serde_json::to_vec(r) };
    records.iter().map(|r| text(r).unwrap()).collect()
}

fn reference(lines: &[Vec<u8>]) -> RecordBatch {
    let bytes = lines.join(&b'\n');
    let mut reader = arrow::json::ReaderBuilder::new(schema().arrow())
        .with_batch_size(lines.len().max(1))
        .build(&bytes[..])
        .unwrap();
    reader.next().map_or_else(|| RecordBatch::new_empty(schema().arrow()), Result::unwrap)
}

/// Encodes and decodes again.
fn round_trip(format: RecordFormat, rows: &RecordBatch) -> RecordBatch {
    let mut encoder = encoder(format, &rows.schema(), &EncodeOptions::default()).unwrap();
    let mut bytes = Vec::new();
    let half = rows.num_rows() / 2;
    encoder.encode(&rows.slice(0, half), &mut bytes).unwrap();
    encoder.encode(&rows.slice(half, rows.num_rows() - half), &mut bytes).unwrap();
    encoder.finish(&mut bytes).unwrap();
    let cut: Vec<Vec<u8>> = match format {
        RecordFormat::Csv => split::csv_records(&bytes, 0, true).map(|r| bytes[r].to_vec()).collect(),
        _ => split::lines(&bytes, 0, true).map(|r| bytes[r].to_vec()).collect(),
    };
    let decoded = match format {
        RecordFormat::Csv => decode(format, &cut[1..], Some(&cut[0])),
        _ => decode(format, &cut, None),
    };
    assert_eq!(decoded.rejected, Vec::new());
    decoded.rows
}

proptest! {
    #[test]
    fn json_is_read_as_arrow_reads_it(records in prop::collection::vec(record(), 1..20), pretty: bool) {
        let lines = lines(&records, pretty);
        let decoded = decode(RecordFormat::Json, &lines, None);
        prop_assert_eq!(&decoded.rejected, &Vec::new());
        prop_assert_eq!(decoded.rows, reference(&lines));
    }

    #[test]
    fn json_is_written_and_read_back(records in prop::collection::vec(record(), 1..20)) {
        let rows = decode(RecordFormat::Json, &lines(&records, false), None).rows;
        prop_assert_eq!(round_trip(RecordFormat::Json, &rows), rows);
    }

    #[test]
    fn csv_is_written_and_read_back(records in prop::collection::vec(record(), 1..20)) {
        // CSV has one text for null and for an empty string: null.
        let records: Vec<Value> = records.into_iter().map(|mut r| {
            if r["text"] == json!("") {
                r["text"] = Value::Null;
            }
            r
        }).collect();
        let rows = decode(RecordFormat::Json, &lines(&records, false), None).rows;
        prop_assert_eq!(round_trip(RecordFormat::Csv, &rows), rows);
    }

    #[test]
    fn parquet_is_written_and_read_back(records in prop::collection::vec(record(), 1..20)) {
        let rows = decode(RecordFormat::Json, &lines(&records, false), None).rows;
        let mut encoder = encoder(RecordFormat::Parquet, &rows.schema(), &EncodeOptions::default()).unwrap();
        let mut bytes = Vec::new();
        encoder.encode(&rows, &mut bytes).unwrap();
        encoder.encode(&rows, &mut bytes).unwrap();
        encoder.finish(&mut bytes).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
        let read: Vec<RecordBatch> = reader.unwrap().build().unwrap().map(Result::unwrap).collect();
        let read = arrow::compute::concat_batches(&rows.schema(), &read).unwrap();
        let twice = arrow::compute::concat_batches(&rows.schema(), [&rows, &rows]).unwrap();
        prop_assert_eq!(read, twice);
    }

    /// Whatever stands beside them, good records are rows, bad ones are refused with reasons, and none is lost.
    #[test]
    fn any_bytes_are_accepted_or_refused(
        good in prop::collection::vec(record(), 1..6),
        noise in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "[\\[\\]{}\",:0-9a-z \\\\.e+-]{0,60}".prop_map(String::into_bytes),
        ], 0..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let good = lines(&good, false);
        let mut all = Vec::new();
        for (i, line) in good.iter().enumerate() {
            all.push(line.clone());
            all.extend(noise.get(i).cloned());
        }
        for (record, place, byte) in damage {
            let mut line = good[record.index(good.len())].clone();
            let place = place.index(line.len());
            line[place] = byte;
            all.push(line);
        }
        for format in [RecordFormat::Json, RecordFormat::Csv] {
            let decoded = decode(format, &all, Some(b"text,int,money,at,place,list,flag"));
            let mut seen: Vec<u32> = decoded.accepted.iter().copied().chain(decoded.rejected.iter().map(|r| r.0)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..all.len() as u32).collect::<Vec<_>>());
            prop_assert!(decoded.rejected.iter().all(|(_, reasons)| !reasons.is_empty()));
            prop_assert_eq!(decoded.rows.num_rows(), decoded.accepted.len());
            if format == RecordFormat::Json {
                // Each row is what its record gives alone.
                for (row, record) in decoded.accepted.iter().enumerate() {
                    let alone = decode(format, &all[*record as usize..=*record as usize], None);
                    prop_assert_eq!(row_json(&decoded.rows, row), row_json(&alone.rows, 0));
                }
            }
        }
    }

    #[test]
    fn rows_are_json(records in prop::collection::vec(record(), 1..10)) {
        let rows = decode(RecordFormat::Json, &lines(&records, false), None).rows;
        for (i, record) in records.iter().enumerate() {
            let written: Value = serde_json::from_str(&row_json(&rows, i)).unwrap();
            for name in ["text", "int", "big", "flag", "list", "day"] {
                prop_assert_eq!(&written[name], &record[name]);
            }
            prop_assert!(rows.column(0).len() > i);
        }
    }
}
