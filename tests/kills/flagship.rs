//! The flagship pipeline as a process, in a folder of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use millstream_tests::binary::{binary, root};
use tempfile::TempDir;

use crate::left::Left;

/// Trips of a run that is killed by the clock, and of one that dies by itself.
pub(crate) const MANY: u32 = 20_000;
pub(crate) const FEW: u32 = 5_000;
/// The checkpoints of the pipeline on its profile.
pub(crate) const STORE: &str = "out/.millstream/taxi_trips.local";
/// `SIGABRT`: the process died at its crash point.
const ABORTED: i32 = 6;
/// The flagship pipeline in a folder.
pub(crate) fn command(folder: &Path, trips: u32, workers: u64) -> Command {
    let mut command = Command::new(binary());
    command.arg("run").arg(root().join("pipelines/taxi_trips.yaml")).current_dir(folder);
    for stream in ["start_stream", "end_stream"] {
        command.arg("--set").arg(format!("profiles.local.{stream}.generate.trips={trips}"));
    }
    command.args(["--set", "checkpoint.every=100ms", "--workers", &workers.to_string()]);
    command.env("NO_COLOR", "1").env("RUST_LOG", "error").env_remove("MILLSTREAM_CRASH_AT");
    command
}

/// Runs to the end. The binary itself fails where its ledger does not add up.
pub(crate) fn to_the_end(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, told(&output));
    told(&output)
}

pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs until a crash point; whether it came there.
pub(crate) fn crash(command: &mut Command, at: &str) -> bool {
    let output = command.env("MILLSTREAM_CRASH_AT", at).output().unwrap();
    let (status, crashed) = (output.status, output.status.signal() == Some(ABORTED));
    assert!(crashed || status.success(), "{at}: {command:?}: {status}\n{}", told(&output));
    crashed
}

/// A run that nobody disturbs.
pub(crate) struct Reference {
    pub(crate) left: Left,
    /// Until the first checkpoint counts.
    pub(crate) claimed: Duration,
}

impl Reference {
    pub(crate) fn of(trips: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let began = Instant::now();
        let mut child = start(&mut command(folder.path(), trips, 2), folder.path());
        while newest_epoch(folder.path()).is_none() && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        let claimed = began.elapsed();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", errors(folder.path()));
        assert!(newest_epoch(folder.path()).is_some(), "no checkpoints in {STORE}");
        let left = Left::of(folder.path());
        assert_eq!(left.kpis.len(), 7);
        assert!(left.table.len() > trips as usize * 9 / 10 && !left.rejects.is_empty(), "{} rows", left.table.len());
        assert!(left.raw.values().sum::<usize>() > 2 * trips as usize);
        assert_eq!(left.dead_letters, 0);
        Self { left, claimed }
    }
}

pub(crate) static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::of(MANY));
pub(crate) static SMALL: LazyLock<Reference> = LazyLock::new(|| Reference::of(FEW));

pub(crate) fn start(command: &mut Command, folder: &Path) -> Child {
    let errors = File::create(folder.join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
}

pub(crate) fn errors(folder: &Path) -> String {
    fs::read_to_string(folder.join("stderr")).unwrap_or_default()
}

/// The newest checkpoint that was claimed.
pub(crate) fn newest_epoch(folder: &Path) -> Option<String> {
    newest(&folder.join(STORE).join("epochs")).map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
}

/// The greatest name in a folder of the store.
pub(crate) fn newest(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().is_some_and(|n| !n.to_string_lossy().starts_with('.'))).max()
}

/// Every file, hidden ones too, but for the one that says who holds the checkpoints.
pub(crate) fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_none_or(|name| name != "LOCK") {
                found.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    found
}

pub(crate) fn assert_untouched(before: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    let after = everything(folder);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(|p| before.get(*p) != after.get(*p)).collect();
    assert!(changed.is_empty(), "{changed:?} changed");
}
