use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arrow::array::{Int8Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::hidden;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::schema::ColumnType;
use millstream_core::sink::Roll;
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
    root: std::path::PathBuf,
    directory: Directory,
    options: fn(SinkOptions) -> SinkOptions,
}

/// How many hidden files of sinks there are below `staging`.
fn hidden_files(staging: &Path) -> usize {
    glob::glob(&format!("{}/**/*", staging.display())).unwrap().flatten().filter(|p| p.is_file()).count()
}

/// A checkpoint of one sink.
async fn checkpoint(sink: &mut dyn Sink, number: u64) {
    if let Some(staged) = sink.prepare(number, false).await.unwrap().staged {
        sink.commit(number, &staged).await.unwrap();
    }
}

impl conformance::SinkUnderTest for Written {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        self.directory.sink(&(self.options)(options.clone())).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.directory.commitment(options)
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        self.directory.written(&(self.options)(options.clone())).await.unwrap()
    }
    async fn staged(&self, options: &SinkOptions) -> usize {
        hidden_files(&self.root.join(".staging/conformance").join(&options.id))
    }
    fn instances(&self) -> usize {
        let options = (self.options)(sink_options("s", &columns()));
        if options.mode == WriteMode::Overwrite { 1 } else { 2 }
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink_in_every_format() {
    let variants: [fn(SinkOptions) -> SinkOptions; 8] = [
        |o| o,
        |o| SinkOptions { compression: Compression::Gzip, ..o },
        |o| SinkOptions { compression: Compression::Zstd, format: RecordFormat::Json, decimals_as_strings: true, ..o },
        |o| SinkOptions { format: RecordFormat::Parquet, ..o },
        |o| SinkOptions { path: Some(format!("{}/{{bool}}/{{arrived_at:%H}}-{{batch_id}}.jsonl", o.id)), ..o },
        |o| SinkOptions { roll: Roll { bytes: 1_000, ..o.roll }, ..o },
        |o| SinkOptions { mode: WriteMode::Overwrite, key: vec!["id".into()], ..o },
        |o| SinkOptions {
            path: Some(format!("{}/{{bool}}.jsonl", o.id)),
            mode: WriteMode::Overwrite,
            key: vec!["id".into()],
            ..o
        },
    ];
    for (i, options) in variants.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = directory(dir.path(), clock::system());
        // Forcing to the disk is slow: once for each mode.
        directory.config.fsync = i % 6 == 0;
        conformance::sink(&Written { root: dir.path().to_owned(), directory, options }).await;
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
    let prepared = sink.prepare(1, false).await.unwrap();
    assert!(files(dir.path()).is_empty(), "nor before the checkpoint is claimed");
    sink.commit(1, &prepared.staged.unwrap()).await.unwrap();
    let found = files(dir.path());
    assert_eq!(found["a/s-r1-000001-0-0001.csv"], "k,v\na,1\na,3\n");
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
    assert!(files(dir.path()).is_empty(), "what is full waits for its checkpoint");
    checkpoint(sink.as_mut(), 1).await;
    let sizes: Vec<usize> = files(dir.path()).values().map(|text| text.lines().count()).collect();
    assert_eq!(sizes, [2, 2, 1, 1]);
}

#[tokio::test]
async fn names_tell_run_checkpoint_worker_and_sequence_and_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = SinkOptions { instance: 3, run: "r7".into(), checkpoint: 41, ..sink_options("s", &columns()) };
    let mut sink = directory.sink(&options).await.unwrap();
    for number in [41, 42] {
        sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
        checkpoint(sink.as_mut(), number).await;
    }
    // The same rows, as a process wrote them whose checkpoint was not claimed.
    let mut again = directory.sink(&SinkOptions { generation: "g2".into(), ..options.clone() }).await.unwrap();
    again.write(&rows(&options, &[("a", 1)])).await.unwrap();
    checkpoint(again.as_mut(), 41).await;
    assert_eq!(
        files(dir.path()).into_keys().collect::<Vec<_>>(),
        ["s/s-r7-000041-3-0001.jsonl", "s/s-r7-000042-3-0001.jsonl"]
    );
    assert!(!dir.path().join(".staging").exists(), "what is visible already is not left behind");
}

#[tokio::test]
async fn a_file_of_somebody_else_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = sink_options("s", &columns());
    let taken = dir.path().join("s/s-r1-000001-0-0001.jsonl");
    std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
    std::fs::write(&taken, "{\"k\":\"a\",\"v\":2}\n").unwrap();
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    let error = sink.commit(1, &staged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains("s-r1-000001-0-0001.jsonl` exists already"), "{error}");
    std::fs::remove_file(&taken).unwrap();
    sink.commit(1, &staged).await.unwrap();
    assert_eq!(files(dir.path()).into_values().collect::<Vec<_>>(), ["{\"k\":\"a\",\"v\":1}\n"]);
}

#[tokio::test]
async fn a_staged_file_that_was_cut_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = sink_options("s", &columns());
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    std::fs::write(dir.path().join(staged[0]["staged"].as_str().unwrap()), "").unwrap();
    let error = sink.commit(1, &staged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains("has 0 bytes where 16 were written"), "{error}");
}

/// Sinks that share a root tidy and create the same folders.
#[test]
fn folders_that_others_tidy_away_are_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let directory = directory(dir.path(), clock::system());
    std::thread::scope(|scope| {
        for sink in 0..4 {
            let directory = &directory;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let options = sink_options(&format!("s{sink}"), &columns());
                    let mut sink = directory.sink(&options).await.unwrap();
                    for number in 1..200 {
                        sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
                        checkpoint(sink.as_mut(), number).await;
                    }
                });
            });
        }
    });
    assert_eq!(files(dir.path()).len(), 4 * 199);
    assert!(!dir.path().join(".staging").exists());
}

#[tokio::test]
async fn overwritten_files_change_at_commits_only() {
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
    one.poll().await.unwrap();
    assert!(files(dir.path()).is_empty());
    assert_eq!(two.write(&rows(&options, &[("c", 3)])).await.unwrap_err().kind(), ErrorKind::Bug);
    checkpoint(one.as_mut(), 1).await;
    let line = |k, v| format!("{{\"k\":\"{k}\",\"v\":{v}}}\n");
    assert_eq!(files(dir.path())["all.json"], line("a", 2) + &line("b", 1));
    one.write(&rows(&options, &[("b", 7)])).await.unwrap();
    checkpoint(one.as_mut(), 2).await;
    assert_eq!(files(dir.path())["all.json"], line("a", 2) + &line("b", 7));
    assert_eq!(one.summary().unwrap(), format!("1 file under {}", dir.path().display()));
    assert_eq!(two.summary(), None);
    // Another run over the same folder, whose state was removed: it counts from 1 again, and the old one is stopped.
    let fresh = SinkOptions { run: "r2".into(), generation: "g2".into(), ..options.clone() };
    let mut fresh = directory.sink(&fresh).await.unwrap();
    fresh.write(&rows(&options, &[("c", 3)])).await.unwrap();
    checkpoint(fresh.as_mut(), 1).await;
    one.write(&rows(&options, &[("b", 8)])).await.unwrap();
    let late = one.prepare(3, false).await.unwrap().staged.unwrap();
    assert_eq!(one.commit(3, &late).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(files(dir.path())["all.json"], line("c", 3));
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
    let first = sink.prepare(1, false).await.unwrap();
    sink.commit(1, &first.staged.unwrap()).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    // The update of `a`, its new row first.
    sink.write(&signed(&[("a", 2), ("a", 1), ("b", 1)], vec![1, -1, -1])).await.unwrap();
    let second = sink.prepare(2, false).await.unwrap();
    sink.commit(2, &second.staged.unwrap()).await.unwrap();
    let found = files(dir.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found["v=2/rows.json"], "{\"k\":\"a\",\"v\":2}\n");
    // Another process knows that `b` is gone and where `a` is.
    let mut restored = directory.sink(&SinkOptions { generation: "g2".into(), ..options.clone() }).await.unwrap();
    restored.restore([first.state.tables, second.state.tables].concat()).await.unwrap();
    assert_eq!(restored.prepare(3, true).await.unwrap().state.num_rows(), 1);
    restored.write(&signed(&[("a", 2), ("b", 1)], vec![-1, -1])).await.unwrap();
    let third = restored.prepare(3, false).await.unwrap();
    restored.commit(3, third.staged.as_ref().unwrap()).await.unwrap();
    assert!(files(dir.path()).is_empty(), "a file without rows is removed");
    // The row comes back; whoever removed the file wakes up late and removes nothing.
    restored.write(&signed(&[("a", 2)], vec![1])).await.unwrap();
    checkpoint(restored.as_mut(), 4).await;
    sink.commit(3, third.staged.as_ref().unwrap()).await.unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    let mut empty = directory.sink(&SinkOptions { generation: "g3".into(), ..options.clone() }).await.unwrap();
    empty.restore(third.state.tables).await.unwrap();
    assert_eq!(empty.prepare(4, true).await.unwrap().state.num_rows(), 0);
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
        assert!(directory.sink_problem(&options).unwrap().1.contains(expected), "`check` knows it");
    }
}

#[tokio::test]
async fn a_place_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s"), "a file where the folder should be").unwrap();
    let directory = directory(dir.path(), clock::system());
    let options = sink_options("s", &columns());
    let mut sink = directory.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    let error = sink.commit(1, &staged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
}
