use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Int8Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::hidden;
use millstream_core::schema::ColumnType;
use millstream_core::sink::{Outcome, Roll};
use millstream_core::{Batch, ErrorKind, EventTime};

use super::*;
use crate::clock::ManualClock;
use crate::conformance::{self, sink_options};

fn directory(root: &Path, clock: Arc<dyn Clock>) -> Directory {
    let path = root.to_str().unwrap().to_owned();
    Directory::new(DirectoryConfig { path, fsync: false, max_open_files: 3 }, clock)
}

/// All visible files below a folder with their contents, by path.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in glob::glob(&format!("{}/**/*", root.display())).unwrap().flatten().filter(|p| p.is_file()) {
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if !name.starts_with('.') {
            found.insert(name, String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned());
        }
    }
    found
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![ColumnType::String.field("k", false), ColumnType::Bigint.field("v", true)]))
}

fn rows(options: &SinkOptions, rows: &[(&str, i64)]) -> Batch {
    let keys: StringArray = rows.iter().map(|(k, _)| Some(*k)).collect();
    let values: Int64Array = rows.iter().map(|(_, v)| Some(*v)).collect();
    let rows = RecordBatch::try_new(columns(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
    conformance::batch(options, &rows)
}

struct Written {
    directory: Directory,
    options: fn(SinkOptions) -> SinkOptions,
}

impl conformance::SinkUnderTest for Written {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        self.directory.sink(&(self.options)(options.clone())).await.unwrap()
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        self.directory.written(&(self.options)(options.clone())).await.unwrap()
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink_in_every_format() {
    let variants: [fn(SinkOptions) -> SinkOptions; 6] = [
        |o| o,
        |o| SinkOptions { compression: Compression::Gzip, ..o },
        |o| SinkOptions { compression: Compression::Zstd, format: RecordFormat::Json, decimals_as_strings: true, ..o },
        |o| SinkOptions { format: RecordFormat::Parquet, ..o },
        |o| SinkOptions { path: Some("x/{bool}/{arrived_at:%H}-{batch_id}.jsonl".into()), ..o },
        |o| SinkOptions { path: Some("all.jsonl".into()), mode: WriteMode::Overwrite, key: vec!["id".into()], ..o },
    ];
    for options in variants {
        let dir = tempfile::tempdir().unwrap();
        let under_test = Written { directory: directory(dir.path(), clock::system()), options };
        conformance::sink(&under_test).await;
        assert!(!dir.path().join(".staging").exists(), "nothing is left behind");
    }
}

#[tokio::test]
async fn csv_files_have_a_header_each_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = SinkOptions {
        format: RecordFormat::Csv,
        path: Some("{k}/{batch_id}.csv".into()),
        ..sink_options("s", &columns())
    };
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1), ("b/../c", 2), ("a", 3), ("d", 4), ("e", 5), ("f", 6)])).await.unwrap();
    assert!(files(dir.path()).is_empty(), "nothing is visible before the commit");
    sink.commit().await.unwrap();
    let found = files(dir.path());
    assert_eq!(found["a/s-g1-0-000001.csv"], "k,v\na,1\na,3\n");
    assert!(found.keys().any(|name| name.starts_with("b%2f..%2fc/")), "{found:?}");
    assert_eq!(sink.summary().unwrap(), format!("5 files under {}", dir.path().display()));
    let read = directory.written(&options).await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
}

#[tokio::test]
async fn files_roll_by_bytes_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(EventTime(0));
    let directory = directory(dir.path(), Arc::new(clock.clone()));
    let options =
        SinkOptions { roll: Roll { bytes: 40, every: Duration::from_secs(60) }, ..sink_options("s", &columns()) };
    let mut sink = directory.sink(&options).await.unwrap();
    for i in 0..4 {
        sink.write(&rows(&options, &[("abcdefgh", i)])).await.unwrap();
    }
    sink.write(&rows(&options, &[("x", 9)])).await.unwrap();
    clock.advance(Duration::from_secs(60));
    sink.poll().await.unwrap();
    sink.write(&rows(&options, &[("y", 9)])).await.unwrap();
    sink.commit().await.unwrap();
    let sizes: Vec<usize> = files(dir.path()).values().map(|text| text.lines().count()).collect();
    assert_eq!(sizes, [2, 2, 1, 1]);
}

#[tokio::test]
async fn overwritten_files_hold_the_current_rows_of_all_workers() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = SinkOptions {
        mode: WriteMode::Overwrite,
        key: vec!["k".into()],
        path: Some("all.json".into()),
        instances: 2,
        ..sink_options("s", &columns())
    };
    let mut two = directory.sink(&SinkOptions { instance: 1, ..options.clone() }).await.unwrap();
    let mut one = directory.sink(&options).await.unwrap();
    one.write(&rows(&options, &[("b", 1), ("a", 2)])).await.unwrap();
    two.write(&rows(&options, &[("c", 3)])).await.unwrap();
    two.poll().await.unwrap();
    let line = |k, v| format!("{{\"k\":\"{k}\",\"v\":{v}}}\n");
    assert_eq!(files(dir.path())["all.json"], line("a", 2) + &line("b", 1) + &line("c", 3));
    one.write(&rows(&options, &[("b", 7)])).await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(files(dir.path())["all.json"], line("a", 2) + &line("b", 7) + &line("c", 3));
    assert_eq!(one.summary().unwrap(), format!("1 file under {}", dir.path().display()));
    assert_eq!(two.summary(), None);
}

#[tokio::test]
async fn a_row_moves_between_files_and_a_retraction_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let mut fields: Vec<Field> =
        sink_options("s", &columns()).schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new(hidden::DIFF, DataType::Int8, false));
    let plain = sink_options("s", &columns());
    let options = SinkOptions {
        schema: Arc::new(Schema::new(fields)),
        mode: WriteMode::Overwrite,
        key: vec!["k".into()],
        path: Some("v={v}/rows.json".into()),
        ..plain.clone()
    };
    let signed = |list: &[(&str, i64)], diffs: Vec<i8>| {
        let batch = rows(&plain, list);
        let mut columns = batch.rows.columns().to_vec();
        columns.push(Arc::new(Int8Array::from(diffs)));
        Batch::new(RecordBatch::try_new(options.schema.clone(), columns).unwrap())
    };
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&signed(&[("a", 1), ("b", 1)], vec![1, 1])).await.unwrap();
    sink.commit().await.unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    // The update of `a`, its new row first.
    sink.write(&signed(&[("a", 2), ("a", 1), ("b", 1)], vec![1, -1, -1])).await.unwrap();
    sink.commit().await.unwrap();
    let found = files(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found["v=2/rows.json"], "{\"k\":\"a\",\"v\":2}\n");
}

#[tokio::test]
async fn wrong_options_say_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let base = sink_options("s", &columns());
    let wrong = [
        (SinkOptions { path: Some("a/all.json".into()), ..base.clone() }, "a/{batch_id}-all.json"),
        (SinkOptions { mode: WriteMode::Overwrite, ..base.clone() }, "GROUP BY"),
        (SinkOptions { path: Some("{dat}/{batch_id}".into()), ..base.clone() }, "`{dat}` is no column"),
        (SinkOptions { path: Some("{v:%F}/{batch_id}".into()), ..base.clone() }, "neither a timestamp nor a date"),
        (
            SinkOptions { compression: Compression::Gzip, format: RecordFormat::Parquet, ..base.clone() },
            "leave `compression` out",
        ),
        (SinkOptions { message: Some("x".into()), ..base.clone() }, "`message`"),
        (SinkOptions { format: RecordFormat::Raw, ..base.clone() }, "raw"),
        (SinkOptions { path: Some("../{batch_id}".into()), ..base.clone() }, "not below the folder"),
        (SinkOptions { path: Some("/tmp/{batch_id}".into()), ..base.clone() }, "not below the folder"),
    ];
    for (options, expected) in wrong {
        let error = directory.sink(&options).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = sink_options("s", &columns());
    let mut crashed = directory.sink(&SinkOptions { generation: "g0".into(), ..options.clone() }).await.unwrap();
    crashed.write(&rows(&options, &[("a", 1)])).await.unwrap();
    drop(crashed);
    let mut sink = directory.sink(&options).await.unwrap();
    assert_eq!(sink.write(&rows(&options, &[("b", 2)])).await.unwrap(), [Outcome::Done]);
    sink.commit().await.unwrap();
    assert_eq!(files(dir.path()).into_values().collect::<Vec<_>>(), ["{\"k\":\"b\",\"v\":2}\n"]);
    assert!(!dir.path().join(".staging").exists());
}

#[tokio::test]
async fn a_place_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s"), "a file where the folder should be").unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = sink_options("s", &columns());
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    let error = sink.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
}
