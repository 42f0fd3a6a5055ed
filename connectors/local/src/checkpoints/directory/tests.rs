use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use millstream_core::{ErrorKind, EventTime};

use super::*;
use crate::checkpoints::{Holds, default_store};
use crate::clock::ManualClock;
use crate::conformance;

const FIRST: Bytes = Bytes::from_static(b"first");

fn store(path: &Path) -> DirectoryCheckpoints {
    DirectoryCheckpoints::open(path).unwrap()
}

/// The names of all files and folders at the top of a folder.
fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn keeps_the_promises_of_a_checkpoint_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/state");
    conformance::checkpoints(async || default_store(&root, "trips").unwrap(), Holds::Exclusive).await;
    assert_eq!(files(&root.join("trips")), ["LOCK"], "neither hidden files nor empty folders are left");
}

#[tokio::test]
async fn who_only_reads_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("a/b"));
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.get("x/y").await.unwrap(), None);
    store.delete("x/y").await.unwrap();
    assert_eq!(files(folder.path()), [""; 0]);
    assert_eq!(store.create("x/y", FIRST).await.unwrap(), Created::New);
    assert_eq!(fs::read(store.place("x/y")).unwrap(), FIRST, "the place of an object is its file");
    assert_eq!(store.get("x/y").await.unwrap(), Some(FIRST));
}

#[tokio::test]
async fn what_dead_processes_left_is_no_object_and_goes_with_the_next_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    store.create("epochs/1", FIRST).await.unwrap();
    fs::write(folder.path().join(".new-0123456789abcdef-7"), "half of an obj").unwrap();
    for foreign in [".hidden", "epochs/.DS_Store", "notes of mine.txt"] {
        fs::write(folder.path().join(foreign), "mine").unwrap();
    }
    let names = store.list("").await.unwrap().into_iter().map(|o| o.name).collect::<Vec<_>>();
    assert_eq!(names, ["epochs/1"]);
    let _hold = store.hold("trips").await.unwrap();
    assert_eq!(files(folder.path()), [".hidden", "LOCK", "epochs", "notes of mine.txt"], "only ours are removed");
    assert_eq!(files(&folder.path().join("epochs")), [".DS_Store", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_file_that_is_swept_away_under_a_living_writer_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, sweeper) = (store(folder.path()), store(folder.path()));
    let bytes = Bytes::from(vec![7; 1 << 20]);
    let expected = bytes.clone();
    let writing = tokio::spawn(async move {
        for i in 0..40 {
            assert_eq!(writer.create(&format!("a/{i}"), bytes.clone()).await.unwrap(), Created::New);
        }
    });
    // Fewer times than a writer puts up with, however slow the disk is.
    for _ in 0..90 {
        drop(sweeper.hold("another").await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    writing.await.unwrap();
    for i in 0..40 {
        assert!(sweeper.get(&format!("a/{i}")).await.unwrap().is_some_and(|found| found == expected));
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DirectoryCheckpoints::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    let store = store(folder.path());
    store.create("a/b", FIRST).await.unwrap();
    // Never told that it exists: nobody could read it.
    for name in ["a", "a/b/c"] {
        assert_eq!(store.create(name, FIRST).await.unwrap_err().kind(), ErrorKind::Environment, "{name}");
    }
    assert_eq!(default_store(folder.path(), "../x").unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(store.create("LOCK", FIRST).await.unwrap_err().kind(), ErrorKind::Bug);
    fs::create_dir(folder.path().join("LOCK")).unwrap();
    assert_eq!(store.hold("trips").await.unwrap_err().kind(), ErrorKind::Environment);
}

#[tokio::test]
async fn whoever_finds_it_held_is_told_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(EventTime(1_700_000_000_000_000));
    let open = || DirectoryCheckpoints::with_clock(folder.path(), Arc::new(clock.clone())).unwrap();
    let hold = open().hold("pipeline `trips`").await.unwrap();
    clock.advance(Duration::from_secs(192));
    let error = open().hold("another").await.unwrap_err();
    let (kind, message) = (error.kind(), error.to_string());
    assert_eq!(kind, ErrorKind::Fenced);
    let process = format!("process {} on ", std::process::id());
    let where_and_since = ["2023-11-14T22:13:20Z, 3m 12s ago", "pipeline `trips`", "stop that process", &process];
    for part in where_and_since.into_iter().chain([folder.path().to_str().unwrap()]) {
        assert!(message.contains(part), "{part} is missing: {message}");
    }
    let lock = folder.path().join("LOCK");
    let text: serde_json::Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    assert_eq!(text["process"], std::process::id());
    // Also of one that could not write down who it is.
    fs::write(&lock, "").unwrap();
    let error = open().hold("another").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    drop(hold);
    // A lock that names a process which was killed is no lock.
    fs::write(&lock, text.to_string()).unwrap();
    let hold = open().hold("x").await.unwrap();
    assert!(fs::read_to_string(&lock).unwrap().contains("\"x\""), "nothing is left of the longer text before it");
    drop(hold);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "", "a lock that nobody holds names nobody");
}

/// Names the folder that a child process of this test is to hold.
const HELD: &str = "MILLSTREAM_TEST_HELD_FOLDER";

/// Not a test of its own: what the child process of the next one does.
#[tokio::test]
async fn child_that_holds_until_it_is_killed() {
    let Some(folder) = std::env::var_os(HELD) else { return };
    let hold = store(Path::new(&folder)).hold("the child").await.unwrap();
    println!("\nholding");
    // Until its parent is gone at the latest.
    let _ = io::stdin().read_line(&mut String::new());
    drop(hold);
}

#[tokio::test]
async fn a_killed_process_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let module = module_path!().split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("{module}::child_that_holds_until_it_is_killed"), "--exact", "--nocapture"])
        .env(HELD, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).any(|line| line == "holding");
    assert!(said, "the child holds the folder");
    let store = store(folder.path());
    let error = store.hold("the parent").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("the child since "), "{error}");
    assert!(error.message().contains(&format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    store.hold("the parent").await.unwrap();
}
