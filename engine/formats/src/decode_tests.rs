//! What every rule of decoding means, record by record.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use bytes::Bytes;
use millstream_core::EventTime;
use millstream_core::format::{Decoded, RecordFormat};
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone};
use millstream_core::source::{Position, RawRecord, RawRecords};

use crate::decoder;
use crate::value::row_json;

pub(crate) fn column(name: &str, column_type: ColumnType, optional: bool) -> Column {
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

fn schema(columns: Vec<Column>) -> Arc<SourceSchema> {
    Arc::new(SourceSchema { columns, extra: ExtraFields::Ignore })
}

pub(crate) fn records(lines: &[&[u8]], header: Option<&str>) -> RawRecords {
    let mut buffer = Vec::new();
    let mut records = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        records.push(RawRecord {
            start: buffer.len() as u32,
            len: line.len() as u32,
            position: Position::Offset(i as u64),
            arrived_at: EventTime(0),
        });
        buffer.extend_from_slice(line);
        buffer.push(b'\n');
    }
    RawRecords { buffer: buffer.into(), records, header: header.map(|h| Bytes::from(h.to_owned())) }
}

fn decode_bytes(format: RecordFormat, schema: &Arc<SourceSchema>, lines: &[&[u8]], header: Option<&str>) -> Decoded {
    let decoded = decoder(format, schema.clone()).unwrap().decode(&records(lines, header)).unwrap();
    assert_eq!(decoded.rows.num_rows(), decoded.accepted.len());
    assert_eq!(decoded.accepted.len() + decoded.rejected.len(), lines.len());
    assert!(decoded.rejected.iter().all(|(_, reasons)| !reasons.is_empty()));
    decoded
}

/// The rows as JSON, and `rule: text` of every reason.
fn outcome(decoded: &Decoded) -> (Vec<String>, Vec<String>) {
    let rows = (0..decoded.rows.num_rows()).map(|i| row_json(&decoded.rows, i)).collect();
    let reasons = decoded.rejected.iter().flat_map(|(_, r)| r).map(|r| format!("{}: {}", r.rule, r.text)).collect();
    (rows, reasons)
}

fn json(schema: &Arc<SourceSchema>, lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let lines: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
    outcome(&decode_bytes(RecordFormat::Json, schema, &lines, None))
}

fn csv(schema: &Arc<SourceSchema>, header: &str, lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let lines: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
    outcome(&decode_bytes(RecordFormat::Csv, schema, &lines, Some(header)))
}

/// The one value of a column `v` of this type, or the one reason.
fn value(column: Column, text: &str) -> Result<String, String> {
    let (rows, reasons) =
        json(&schema(vec![Column { path: vec!["v".into()], ..column }]), &[&format!("{{\"v\":{text}}}")]);
    match (rows.as_slice(), reasons.as_slice()) {
        ([row], []) => Ok(row["{\"v\":".len()..row.len() - 1].to_owned()),
        ([], [reason]) => Err(reason.clone()),
        _ => panic!("{rows:?} {reasons:?}"),
    }
}

fn money(optional: bool) -> Column {
    Column { excess_digits: ExcessDigits::RoundHalfEven, ..column("v", ColumnType::Decimal(10, 2), optional) }
}

#[test]
fn a_bad_record_costs_nobody_else_anything_and_tells_everything() {
    let schema = schema(vec![
        column("id", ColumnType::String, false),
        column("n", ColumnType::Int, false),
        column("fare", ColumnType::Decimal(10, 2), false),
        column("note", ColumnType::String, true),
    ]);
    let (rows, reasons) = json(
        &schema,
        &[
            r#"{"id":"a","n":1,"fare":1.5,"note":"x"}"#,
            r#"{"id":7,"n":"many","note":"partly written"}"#,
            r#"{"id":"b","n":2,"fare":"abc"}"#,
            r#"{"id":"c","n":3,"fare":2.00"#,
            r#" { "fare" : 3 , "n" : 4 , "id" : "d" } "#,
        ],
    );
    assert_eq!(rows, [r#"{"id":"a","n":1,"fare":1.50,"note":"x"}"#, r#"{"id":"d","n":4,"fare":3.00,"note":null}"#]);
    assert_eq!(
        reasons,
        [
            "wrong_type: id 7 is not a string",
            "wrong_type: n \"many\" is not an int",
            "missing_field: fare is missing",
            "wrong_type: fare \"abc\" is not a decimal(10,2)",
            "bad_json: not valid JSON at byte 27: expected a comma or the end of the array or object",
        ]
    );
}

#[test]
fn integers() {
    let int = || column("v", ColumnType::Int, false);
    for text in ["5", "5.0", "\"5\"", "\"5.0\"", "5e0", "50e-1"] {
        assert_eq!(value(int(), text).unwrap(), "5", "{text}");
    }
    assert_eq!(value(int(), "5.5").unwrap_err(), "wrong_type: v 5.5 is not an int");
    assert_eq!(value(int(), "\"5.5\"").unwrap_err(), "wrong_type: v \"5.5\" is not an int");
    assert_eq!(value(int(), "2147483648").unwrap_err(), "out_of_range: v 2147483648 is out of the range of int");
    assert_eq!(value(int(), "-2147483648").unwrap(), "-2147483648");
    assert_eq!(value(int(), "true").unwrap_err(), "wrong_type: v true is not an int");
    assert_eq!(value(int(), "{\"a\":[1]}").unwrap_err(), "wrong_type: v {\"a\":[1]} is not an int");
    let bigint = || column("v", ColumnType::Bigint, false);
    assert_eq!(value(bigint(), "9223372036854775807").unwrap(), "9223372036854775807");
    assert!(value(bigint(), "9223372036854775808").unwrap_err().starts_with("out_of_range"));
}

#[test]
fn decimals_are_read_from_their_text() {
    assert_eq!(value(money(false), "40.09620692463166").unwrap(), "40.10");
    assert_eq!(value(money(false), "\"40.09620692463166\"").unwrap(), "40.10");
    assert_eq!(value(money(false), "1.5e2").unwrap(), "150.00");
    assert!(value(money(false), "123456789").unwrap_err().starts_with("decimal_overflow: v 123456789 has more digits"));
    let exact = column("v", ColumnType::Decimal(10, 2), false);
    assert_eq!(
        value(exact, "1.005").unwrap_err(),
        "excess_digits: v 1.005 has more digits behind the point than decimal(10,2)"
    );
}

#[test]
fn null_and_empty() {
    assert_eq!(value(money(true), "null").unwrap(), "null");
    assert_eq!(value(money(true), "\"\"").unwrap(), "null");
    assert_eq!(value(money(false), "null").unwrap_err(), "missing_field: v is null");
    assert_eq!(value(money(false), "\"\"").unwrap_err(), "missing_field: v is empty");
    let text = |optional| column("v", ColumnType::String, optional);
    assert_eq!(value(text(true), "\"\"").unwrap(), "\"\"", "an optional string of JSON keeps what it has");
    assert_eq!(value(text(true), "null").unwrap(), "null");
    assert_eq!(value(text(false), "\"\"").unwrap(), "\"\"", "rules decide whether an empty id is one");
    assert_eq!(value(text(false), "null").unwrap_err(), "missing_field: v is null");
    let (rows, _) = json(&schema(vec![money(true)]), &["{}"]);
    assert_eq!(rows, [r#"{"v":null}"#]);
}

#[test]
fn times() {
    let mut time = column("v", ColumnType::Timestamp, true);
    assert_eq!(value(time.clone(), "\"2024-05-25T12:00:00+02:00\"").unwrap(), "\"2024-05-25T10:00:00Z\"");
    assert_eq!(value(time.clone(), "\"\"").unwrap(), "null");
    assert_eq!(value(time.clone(), "5").unwrap_err(), "wrong_type: v 5 is not a timestamp");
    time.formats = vec!["%Y-%m-%d %H:%M:%S".into(), "%d-%m-%Y %H:%M".into()];
    assert_eq!(value(time.clone(), "\"25-05-2024 13:19\"").unwrap(), "\"2024-05-25T13:19:00Z\"");
    assert_eq!(
        value(time.clone(), "\"yesterday\"").unwrap_err(),
        "bad_timestamp: v \"yesterday\" is not a time of the form %Y-%m-%d %H:%M:%S or %d-%m-%Y %H:%M"
    );
    assert!(value(time.clone(), "\"2024-02-30 00:00:00\"").unwrap_err().starts_with("bad_timestamp"));
    time.zone = Zone::Named("America/New_York".into());
    assert_eq!(value(time.clone(), "\"25-05-2024 13:19\"").unwrap(), "\"2024-05-25T17:19:00Z\"");
    assert!(value(time.clone(), "\"10-03-2024 02:30\"").unwrap_err().starts_with("bad_timestamp"), "skipped");
    time.formats = vec!["epoch_ms".into()];
    assert_eq!(value(time.clone(), "1716643147250").unwrap(), "\"2024-05-25T13:19:07.25Z\"");
    assert_eq!(value(time.clone(), "\"1716643147250\"").unwrap(), "\"2024-05-25T13:19:07.25Z\"");
    assert!(value(time, "1e300").unwrap_err().starts_with("bad_timestamp"));
    let date = || column("v", ColumnType::Date, false);
    assert_eq!(value(date(), "\"2024-05-25\"").unwrap(), "\"2024-05-25\"");
    assert_eq!(
        value(date(), "\"25.5.2024\"").unwrap_err(),
        "bad_date: v \"25.5.2024\" is not a date of the form %Y-%m-%d"
    );
}

#[test]
fn other_types() {
    let of = |t: ColumnType, text: &str| value(column("v", t, false), text);
    assert_eq!(of(ColumnType::Double, "0.1").unwrap(), "0.1");
    assert_eq!(of(ColumnType::Double, "\"-1e-7\"").unwrap(), "-1e-7");
    assert!(of(ColumnType::Double, "1e999").unwrap_err().starts_with("out_of_range"));
    assert!(of(ColumnType::Double, "\"NaN\"").unwrap_err().starts_with("wrong_type"));
    assert_eq!(of(ColumnType::Bool, "true").unwrap(), "true");
    assert!(of(ColumnType::Bool, "\"true\"").unwrap_err().starts_with("wrong_type"));
    assert_eq!(of(ColumnType::Bytes, "\"aGk=\"").unwrap(), "\"hi\"");
    assert_eq!(of(ColumnType::Bytes, "\"/w\"").unwrap(), "{\"base64\":\"/w==\"}");
    assert_eq!(of(ColumnType::Bytes, "\"?\"").unwrap_err(), "wrong_type: v \"?\" is not a base64 text");
    assert_eq!(of(ColumnType::Json, r#"{"a":[1,"\u0041"]}"#).unwrap(), r#"{"a":[1,"\u0041"]}"#);
    assert_eq!(of(ColumnType::Json, "\"\"").unwrap(), "\"\"");
    assert_eq!(of(ColumnType::String, r#""a\"\u00e9""#).unwrap(), r#""a\"é""#);
    assert_eq!(of(ColumnType::String, "5").unwrap_err(), "wrong_type: v 5 is not a string");
}

#[test]
fn nested_values_and_paths() {
    let place =
        ColumnType::Struct(vec![("lat".into(), ColumnType::Double, false), ("note".into(), ColumnType::String, true)]);
    let schema = schema(vec![
        column("place", place.clone(), true),
        column("tags", ColumnType::List(Box::new(ColumnType::Int), true), false),
        column("stops", ColumnType::List(Box::new(place), false), true),
        Column { path: vec!["driver".into(), "id".into()], ..column("driver_id", ColumnType::String, true) },
        Column { path: vec!["driver".into()], ..column("driver", ColumnType::Json, true) },
    ]);
    let (rows, reasons) = json(
        &schema,
        &[
            r#"{"place":{"note":"x","lat":1.5,"more":[{}]},"tags":[1,null,"3"],"stops":[{"lat":1},{"lat":2}],"driver":{"id":"d","x":1}}"#,
            r#"{"place":null,"tags":[]}"#,
            r#"{"place":{"note":"x"},"tags":["y"],"stops":[null],"driver":5}"#,
            r#"{"tags":[7],"driver":null}"#,
        ],
    );
    assert_eq!(
        rows,
        [
            r#"{"place":{"lat":1.5,"note":"x"},"tags":[1,null,3],"stops":[{"lat":1.0,"note":null},{"lat":2.0,"note":null}],"driver_id":"d","driver":{"id":"d","x":1}}"#,
            r#"{"place":null,"tags":[],"stops":null,"driver_id":null,"driver":null}"#,
            r#"{"place":null,"tags":[7],"stops":null,"driver_id":null,"driver":null}"#,
        ]
    );
    assert_eq!(
        reasons,
        [
            "missing_field: place.lat is missing",
            "wrong_type: tags[] \"y\" is not an int",
            "missing_field: stops[] is null",
            "wrong_type: driver_id 5 is not a string",
        ]
    );
}

#[test]
fn a_field_given_twice_is_refused() {
    let schema = schema(vec![column("v", ColumnType::Int, false), column("w", ColumnType::Int, false)]);
    let (rows, reasons) = json(&schema, &[r#"{"v":1,"v":2}"#, r#"{"x":1,"x":2,"v":3,"w":4}"#]);
    assert_eq!(rows, [r#"{"v":3,"w":4}"#]);
    assert_eq!(reasons, ["duplicate_field: v is given more than once", "missing_field: w is missing"]);
}

#[test]
fn undeclared_fields() {
    let columns = vec![column("v", ColumnType::Int, false)];
    let strict = Arc::new(SourceSchema { columns: columns.clone(), extra: ExtraFields::Reject });
    let lines = [r#"{"v":1,"x":{"y":[1,2]},"\u0077":null}"#, r#"{"v":1,"x":2}"#];
    assert_eq!(json(&schema(columns), &lines).0.len(), 2);
    let (_, reasons) = json(&strict, &lines);
    assert_eq!(
        reasons,
        ["extra_field: x is not declared", "extra_field: w is not declared", "extra_field: x is not declared"]
    );
}

#[test]
fn extra_fields_within_paths_and_structs() {
    let place = ColumnType::Struct(vec![("x".into(), ColumnType::Int, true)]);
    let columns = vec![
        Column { path: vec!["driver".into(), "id".into()], ..column("id", ColumnType::Int, true) },
        column("place", place, true),
    ];
    let strict = Arc::new(SourceSchema { columns, extra: ExtraFields::Reject });
    let (rows, reasons) = json(
        &strict,
        &[r#"{"driver":{"id":1},"place":{"x":2}}"#, r#"{"driver":{"id":1,"name":"Ann"},"place":{"x":2,"y":3}}"#],
    );
    assert_eq!(rows, [r#"{"id":1,"place":{"x":2}}"#]);
    assert_eq!(reasons, ["extra_field: name is not declared", "extra_field: y is not declared"]);
}

#[test]
fn a_schema_without_columns_counts_records() {
    let decoded = decode_bytes(RecordFormat::Json, &schema(vec![]), &[b"{}", b"{\"a\":1}", b"x"], None);
    assert_eq!((decoded.rows.num_rows(), decoded.rejected.len()), (2, 1));
}

#[test]
fn what_is_not_json() {
    let schema = schema(vec![column("v", ColumnType::Int, true)]);
    let deep = format!("{{\"x\":{}}}", "[".repeat(100));
    let lines = [
        "",
        "  ",
        "[1]",
        "5",
        "{",
        "{}x",
        "{}{}",
        "{\"v\":}",
        "{\"v\":1,}",
        "{v:1}",
        "{\"v\":01}",
        "{\"v\":+1}",
        "{\"v\":nul}",
        "{\"x\":\"\\ud800\"}",
        "{\"x\":\"a\tb\"}",
        "{\"v\":1 \"x\":2}",
        "nonsense",
        &deep,
    ];
    for line in lines {
        let (rows, reasons) = json(&schema, &[line]);
        assert!(rows.is_empty(), "{line}");
        assert!(reasons[0].starts_with("bad_json: "), "{line}: {reasons:?}");
    }
    assert_eq!(json(&schema, &["\u{feff}{\"v\":1}", "\t{ } "]).0.len(), 2);
}

#[test]
fn invalid_utf8_is_only_one_records_problem() {
    let schema = schema(vec![column("v", ColumnType::String, true)]);
    let lines: [&[u8]; 4] = [b"{\"v\":\"\xc3\xa9\"}", b"{\"v\":\"\xff\"}", b"{\"v\":\"ok\"}", b"{\"v\":\"\xc3"];
    let decoded = decode_bytes(RecordFormat::Json, &schema, &lines, None);
    assert_eq!(decoded.accepted, [0, 2]);
    let (_, reasons) = outcome(&decoded);
    assert_eq!(reasons, ["invalid_utf8: byte 6 is not valid UTF-8", "invalid_utf8: byte 6 is not valid UTF-8"]);
}

#[test]
fn csv_values() {
    let schema = schema(vec![
        column("id", ColumnType::String, false),
        column("note", ColumnType::String, true),
        column("n", ColumnType::Int, true),
        column("flag", ColumnType::Bool, true),
        column("tags", ColumnType::List(Box::new(ColumnType::Int), false), true),
        Column { path: vec!["driver".into(), "id".into()], ..column("driver", ColumnType::Int, true) },
    ]);
    let (rows, reasons) = csv(
        &schema,
        "\u{feff}n,note,\"id\",flag,tags,unused,driver.id\r",
        &[
            "5.0,\"say \"\"hi\"\", or\nnot\",a,1,\"[1,2]\",?,7",
            ",,,,,,",
            "x,,b,yes,[1,",
            "x,\"y\"z,b,true,,,",
            "x,,b,maybe,oops,,",
            " 6 ,\"open,c,0,,,",
        ],
    );
    assert_eq!(
        rows,
        [
            r#"{"id":"a","note":"say \"hi\", or\nnot","n":5,"flag":true,"tags":[1,2],"driver":7}"#,
            r#"{"id":"","note":null,"n":null,"flag":null,"tags":null,"driver":null}"#,
        ]
    );
    assert_eq!(
        reasons,
        [
            "bad_csv: 6 fields where the header has 7",
            "wrong_type: n \"x\" is not an int",
            "bad_csv: text behind a closing quote",
            "wrong_type: n \"x\" is not an int",
            "wrong_type: flag \"maybe\" is not a bool",
            "wrong_type: tags \"oops\" is not a list (a JSON array)",
            "bad_csv: a quoted field does not end",
        ]
    );
}

#[test]
fn csv_headers() {
    let schema = schema(vec![column("a", ColumnType::Int, false), column("b", ColumnType::Int, true)]);
    assert_eq!(csv(&schema, "a", &["1"]).0, [r#"{"a":1,"b":null}"#]);
    assert_eq!(csv(&schema, "b", &["1"]).1, ["missing_field: a is not in the header (b)"]);
    assert_eq!(csv(&schema, "a,a", &["1,2"]).1, ["duplicate_field: the header names a more than once"]);
    let none = decode_bytes(RecordFormat::Csv, &schema, &[b"1,2"], None);
    assert_eq!(outcome(&none).1, ["bad_csv: the input has no header line"]);
    let mut decoder = decoder(RecordFormat::Csv, schema).unwrap();
    let first = decoder.decode(&records(&[b"1,2"], Some("a,b"))).unwrap();
    let second = decoder.decode(&records(&[b"1,2"], Some("b,a"))).unwrap();
    assert_eq!(outcome(&first).0, [r#"{"a":1,"b":2}"#]);
    assert_eq!(outcome(&second).0, [r#"{"a":2,"b":1}"#]);
}

#[test]
fn raw_records_keep_their_bytes() {
    let schema = schema(vec![column("raw", ColumnType::Bytes, false)]);
    let decoded = decode_bytes(RecordFormat::Raw, &schema, &[b"\xff\x00", b""], None);
    let mut out = Vec::new();
    let mut encoder =
        crate::encoder(RecordFormat::Raw, &decoded.rows.schema(), &crate::EncodeOptions::default()).unwrap();
    encoder.encode(&decoded.rows, &mut out).unwrap();
    assert_eq!(out, b"\xff\x00\n\n");
    assert!(
        decoder(RecordFormat::Raw, Arc::new(SourceSchema { columns: vec![], extra: ExtraFields::Ignore })).is_err()
    );
}

#[test]
fn a_decoder_is_used_again_and_again() {
    let schema = schema(vec![column("v", ColumnType::String, true), column("b", ColumnType::Bool, true)]);
    let mut decoder = decoder(RecordFormat::Json, schema).unwrap();
    let mut seen: Vec<RecordBatch> = Vec::new();
    for lines in [&[&br#"{"v":"a","b":true}"#[..], b"{", b"{}"][..], &[], &[br#"{"b":false}"#]] {
        seen.push(decoder.decode(&records(lines, None)).unwrap().rows);
    }
    assert_eq!(seen.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 0, 1]);
    assert!(seen[2].column(0).is_null(0));
    assert_eq!(row_json(&seen[0], 0), r#"{"v":"a","b":true}"#);
}

#[test]
fn bad_declarations_are_config_errors() {
    let mut bad = column("v", ColumnType::Timestamp, false);
    bad.formats = vec!["%Q".into()];
    let error = decoder(RecordFormat::Json, schema(vec![bad])).err().unwrap();
    assert_eq!(error.kind(), millstream_core::ErrorKind::Config);
    assert_eq!(error.message(), "column `v`: `%Q` is not a strftime format");
}
