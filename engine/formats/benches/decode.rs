//! Decoding: events of about 250 bytes with seven to nine columns, as the flagship pipeline has them. Divide the time of a run
//! by its 8,192 records; throughput is given per record.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a benchmark may fail loudly")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream_core::EventTime;
use millstream_core::format::RecordFormat;
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone};
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_formats::{EncodeOptions, decoder, encoder};

const RECORDS: usize = 8192;

fn column(name: &str, column_type: ColumnType, optional: bool) -> Column {
    let formats = match column_type {
        ColumnType::Timestamp => vec!["%Y-%m-%d %H:%M:%S".to_owned(), "%d-%m-%Y %H:%M".to_owned()],
        _ => Vec::new(),
    };
    Column {
        name: name.into(),
        column_type,
        optional,
        path: vec![name.into()],
        formats,
        zone: Zone::Utc,
        excess_digits: ExcessDigits::RoundHalfEven,
    }
}

fn starts() -> Arc<SourceSchema> {
    let columns = vec![
        column("trip_id", ColumnType::String, false),
        column("pickup_location_id", ColumnType::Int, false),
        column("dropoff_location_id", ColumnType::Int, false),
        column("vendor_id", ColumnType::Int, true),
        column("pickup_datetime", ColumnType::Timestamp, false),
        column("estimated_dropoff_datetime", ColumnType::Timestamp, true),
        column("estimated_fare_amount", ColumnType::Decimal(10, 2), false),
    ];
    Arc::new(SourceSchema { columns, extra: ExtraFields::Ignore })
}

fn ends() -> Arc<SourceSchema> {
    let columns = vec![
        column("trip_id", ColumnType::String, false),
        column("dropoff_datetime", ColumnType::Timestamp, false),
        column("rate_code", ColumnType::Int, true),
        column("passenger_count", ColumnType::Int, true),
        column("trip_distance", ColumnType::Double, true),
        column("fare_amount", ColumnType::Decimal(10, 2), false),
        column("tip_amount", ColumnType::Decimal(10, 2), true),
        column("payment_type", ColumnType::Int, true),
        column("trip_type", ColumnType::Int, true),
    ];
    Arc::new(SourceSchema { columns, extra: ExtraFields::Ignore })
}

fn records(line: impl Fn(usize, &mut String), header: Option<&str>) -> RawRecords {
    let mut buffer = String::new();
    let mut records = Vec::new();
    for i in 0..RECORDS {
        let start = buffer.len();
        line(i, &mut buffer);
        records.push(RawRecord {
            start: start as u32,
            len: (buffer.len() - start) as u32,
            position: Position::Offset(start as u64),
            arrived_at: EventTime(0),
        });
        buffer.push('\n');
    }
    RawRecords { buffer: buffer.into(), records, header: header.map(|h| Bytes::from(h.to_owned())) }
}

fn start_json(i: usize, out: &mut String) {
    let (day, hour, minute) = (1 + i % 28, i % 24, i % 60);
    write!(
        out,
        r#"{{"trip_id":"{:010x}","pickup_location_id":{},"dropoff_location_id":{},"vendor_id":{},"pickup_datetime":"2024-05-{day:02} {hour:02}:{minute:02}:07","estimated_dropoff_datetime":"2024-05-{day:02} {hour:02}:{minute:02}:59","estimated_fare_amount":{}.{:08}}}"#,
        i.wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0xFF_FFFF_FFFF,
        1 + i % 265,
        1 + i * 7 % 265,
        1 + i % 2,
        10 + i % 90,
        i * 7919 % 100_000_000,
    )
    .unwrap();
}

fn end_json(i: usize, out: &mut String) {
    let (day, hour, minute) = (1 + i % 28, i % 24, i % 60);
    write!(
        out,
        r#"{{"trip_id":"{:010x}","dropoff_datetime":"2024-05-{day:02} {hour:02}:{minute:02}:07","rate_code":"5.0","passenger_count":{},"trip_distance":{}.{},"fare_amount":{}.{:014},"tip_amount":"{}.5","payment_type":3.0,"trip_type":2.0,"meter":"M-{:06}"}}"#,
        i.wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0xFF_FFFF_FFFF,
        i % 5,
        i % 20,
        i % 10,
        10 + i % 90,
        i * 7_919_321 % 100_000_000_000_000,
        i % 8,
        i % 1_000_000,
    )
    .unwrap();
}

fn end_csv(i: usize, out: &mut String) {
    let (day, hour, minute) = (1 + i % 28, i % 24, i % 60);
    write!(
        out,
        "2024-05-{day:02} {hour:02}:{minute:02}:07,5.0,{}.0,{}.{},{}.{:014},0.0,3.0,2.0,{:010x}",
        i % 5,
        i % 20,
        i % 10,
        10 + i % 90,
        i * 7_919_321 % 100_000_000_000_000,
        i.wrapping_mul(0x9E37_79B9_7F4A_7C15) & 0xFF_FFFF_FFFF,
    )
    .unwrap();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let header = "dropoff_datetime,rate_code,passenger_count,trip_distance,fare_amount,tip_amount,payment_type,trip_type,trip_id";
    let runs = [
        ("trip_start_json", RecordFormat::Json, starts(), records(start_json, None)),
        ("trip_end_json", RecordFormat::Json, ends(), records(end_json, None)),
        ("trip_end_csv", RecordFormat::Csv, ends(), records(end_csv, Some(header))),
    ];
    for (name, format, schema, raw) in runs {
        let mut decoder = decoder(format, schema).unwrap();
        let decoded = decoder.decode(&raw).unwrap();
        assert_eq!(decoded.rejected, Vec::new(), "{name}");
        eprintln!("{name}: {} bytes a record", raw.total_bytes() as usize / RECORDS);
        group.bench_function(name, |b| b.iter(|| black_box(decoder.decode(black_box(&raw)).unwrap())));
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let rows = decoder(RecordFormat::Json, ends()).unwrap().decode(&records(end_json, None)).unwrap().rows;
    for format in [RecordFormat::Json, RecordFormat::Csv] {
        let mut encoder = encoder(format, &rows.schema(), &EncodeOptions::default()).unwrap();
        let mut out = Vec::new();
        group.bench_function(format!("{format:?}"), |b| {
            b.iter(|| {
                out.clear();
                encoder.encode(black_box(&rows), &mut out).unwrap();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
