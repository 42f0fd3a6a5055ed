use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use millstream_core::ErrorKind;
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::{Position, Read, Split};
use serde_json::{Value, json};

use super::*;

fn options() -> SourceOptions {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    SourceOptions { id: "s".into(), pipeline: "p".into(), schema }
}

async fn source(options_json: Value) -> Box<dyn SplitSource> {
    (kind().parse)(options_json).unwrap().source(&options()).await.unwrap()
}

async fn splits(source: &dyn SplitSource) -> Vec<Split> {
    source.discover(&BTreeSet::new()).await.unwrap()
}

/// The records of a split with their positions, until it is idle or finished.
async fn read(source: &dyn SplitSource, split: &Split, after: Option<Position>) -> Vec<(String, Position)> {
    let mut reader = source.open(split, after).await.unwrap();
    let mut found = Vec::new();
    while let Read::Records { records, .. } = reader.next().await.unwrap() {
        for (i, r) in records.records.iter().enumerate() {
            found.push((String::from_utf8(records.bytes(i).to_vec()).unwrap(), r.position.clone()));
        }
    }
    found
}

fn texts(found: &[(String, Position)]) -> Vec<&str> {
    found.iter().map(|f| f.0.as_str()).collect()
}

fn path(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn ranges_own_the_lines_that_start_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..120).map(|i| format!("{{\"n\":{i},\"x\":\"{}\"}}", "y".repeat(i % 37))).collect();
    for (ending, last) in [("\n", ""), ("\r\n", "\r\n"), ("\n\n", "\n")] {
        let file = path(dir.path(), "a.jsonl", lines.join(ending) + last);
        for split_size in [1, 7, 64, 1000, 1 << 20] {
            let source = source(json!({ "path": file, "split_size": split_size })).await;
            let mut all = Vec::new();
            for split in splits(source.as_ref()).await {
                all.extend(read(source.as_ref(), &split, None).await);
            }
            assert_eq!(texts(&all), lines, "split_size {split_size}");
        }
    }
}

#[tokio::test]
async fn csv_ranges_share_the_header() {
    let dir = tempfile::tempdir().unwrap();
    let body: String = (0..50).map(|i| format!("{i},name{i}\n")).collect();
    let file = path(dir.path(), "a.csv", format!("\u{feff}id,a long name of a column\n{body}"));
    for split_size in [5, 30, 4096] {
        let source = source(json!({ "path": file, "split_size": split_size })).await;
        assert_eq!(source.format(), RecordFormat::Csv);
        let mut all = Vec::new();
        for split in splits(source.as_ref()).await {
            let mut reader = source.open(&split, None).await.unwrap();
            while let Read::Records { records, .. } = reader.next().await.unwrap() {
                assert_eq!(records.header.as_deref(), Some("id,a long name of a column".as_bytes()));
                all.extend((0..records.records.len()).map(|i| records.bytes(i).to_vec()));
            }
        }
        assert_eq!(all.len(), 50, "split_size {split_size}");
        assert_eq!(all[49], b"49,name49");
    }
}

#[tokio::test]
async fn reading_goes_on_behind_any_record() {
    let dir = tempfile::tempdir().unwrap();
    let body: String = (0..40).map(|i| format!("{{\"n\":{i}}}\n")).collect();
    let plain = path(dir.path(), "a.jsonl", &body);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = path(dir.path(), "b.jsonl.gz", gzip.finish().unwrap());
    let csv = path(dir.path(), "c.csv", format!("n\n{body}"));
    for options in [json!({"path": plain, "split_size": 100}), json!({"path": gzip}), json!({"path": csv})] {
        let source = source(options).await;
        for split in splits(source.as_ref()).await {
            let all = read(source.as_ref(), &split, None).await;
            for (i, (_, position)) in all.iter().enumerate() {
                assert_eq!(read(source.as_ref(), &split, Some(position.clone())).await, all[i + 1..]);
            }
        }
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..20_000).map(|i| format!("{{\"n\":{i}}}")).collect();
    let plain = path(dir.path(), "a.jsonl", lines.join("\n"));
    let rows = crate::conformance::every_type(0, 10_000);
    let parquet = dir.path().join("b.parquet");
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&parquet).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let expected = lines.iter().map(|l| l.as_bytes().to_vec()).collect();
    let options = json!({ "path": plain, "split_size": 50_000 });
    crate::conformance::source(async || source(options.clone()).await, Some(expected)).await;
    let expected = crate::conformance::json_lines(&[rows]).into_iter().map(String::into_bytes).collect();
    let options = json!({ "path": parquet.to_str().unwrap() });
    crate::conformance::source(async || source(options.clone()).await, Some(expected)).await;
}

#[tokio::test]
async fn empty_files_and_missing_files() {
    let dir = tempfile::tempdir().unwrap();
    let empty = path(dir.path(), "empty.csv", "");
    let header = path(dir.path(), "header.csv", "a,b\n");
    let source = source(json!({ "path": [empty, header] })).await;
    for split in splits(source.as_ref()).await {
        assert!(read(source.as_ref(), &split, None).await.is_empty());
    }
    for missing in [dir.path().join("none*.csv").to_str().unwrap(), "/nowhere/trips.csv", "nowhere.csv"] {
        let source = super::tests::source(json!({ "path": missing })).await;
        let error = source.discover(&BTreeSet::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.to_string().contains(missing), "{error}");
    }
    let folder = dir.path().to_str().unwrap();
    let source = super::tests::source(json!({ "path": folder })).await;
    assert!(source.discover(&BTreeSet::new()).await.unwrap_err().to_string().contains("*.jsonl"));
}

#[tokio::test]
async fn globs_list_files_by_name_and_not_hidden_ones() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.jsonl", "a.jsonl", ".hidden.jsonl", "c.txt"] {
        path(dir.path(), name, format!("{name}\n"));
    }
    let source = source(json!({ "path": dir.path().join("*.jsonl").to_str().unwrap() })).await;
    let mut all = Vec::new();
    for split in splits(source.as_ref()).await {
        all.extend(read(source.as_ref(), &split, None).await);
    }
    assert_eq!(texts(&all), ["a.jsonl", "b.jsonl"]);
}

#[tokio::test]
async fn quoted_line_breaks_with_multiline() {
    let dir = tempfile::tempdir().unwrap();
    let file = path(dir.path(), "a.csv", "id,note\n1,\"two\nlines\"\n2,one\n");
    let source = source(json!({ "path": file, "multiline": true, "split_size": 4 })).await;
    let all = read(source.as_ref(), &splits(source.as_ref()).await[0], None).await;
    assert_eq!(texts(&all), ["1,\"two\nlines\"", "2,one"]);
}

#[tokio::test]
async fn a_damaged_archive_is_not_retried_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let file = path(dir.path(), "a.jsonl.gz", "this is not gzip\n");
    let source = source(json!({ "path": file })).await;
    let mut reader = source.open(&splits(source.as_ref()).await[0], None).await.unwrap();
    assert_eq!(reader.next().await.unwrap_err().kind(), ErrorKind::Environment);
}

async fn next_text(reader: &mut dyn millstream_core::source::SplitReader) -> Vec<String> {
    loop {
        if let Read::Records { records, .. } = reader.next().await.unwrap() {
            return (0..records.records.len()).map(|i| String::from_utf8_lossy(records.bytes(i)).into()).collect();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn following_waits_for_the_rest_and_survives_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let file = path(dir.path(), "log.csv", "h\none\ntw");
    let source = source(json!({ "path": file, "follow": true })).await;
    assert!(!source.bounded() && source.ordered());
    let split = &splits(source.as_ref()).await[0];
    let mut reader = source.open(split, None).await.unwrap();
    assert_eq!(next_text(reader.as_mut()).await, ["one"]);
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    let mut append = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    append.write_all(b"o\nthree\n").unwrap();
    assert_eq!(next_text(reader.as_mut()).await, ["two", "three"]);
    append.write_all(b"unfinished").unwrap();
    std::fs::rename(&file, dir.path().join("log.old")).unwrap();
    path(dir.path(), "log.csv", "h\nnew\n");
    assert_eq!(next_text(reader.as_mut()).await, ["unfinished"]);
    assert_eq!(next_text(reader.as_mut()).await, ["new"]);
    std::fs::File::create(&file).unwrap();
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    path(dir.path(), "log.csv", "h\nx\n");
    assert_eq!(next_text(reader.as_mut()).await, ["x"]);
    // A new reader goes on behind the record, with the header.
    let mut again = source.open(split, Some(Position::Offset(2))).await.unwrap();
    let Read::Records { records, .. } = again.next().await.unwrap() else { panic!() };
    assert_eq!((records.bytes(0), records.header.as_deref()), (&b"x"[..], Some(&b"h"[..])));
}
