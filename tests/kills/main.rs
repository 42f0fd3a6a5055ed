//! The real binary on the flagship pipeline, killed: by SIGKILL at any time, at every crash point of a checkpoint,
//! beside a second process, and with a damaged object among its checkpoints. What it leaves at the end is what a run
//! that nobody disturbed leaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "processes are killed at moments of the wall clock")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use millstream_tests::binary::{binary, root};
use millstream_tests::random::Random;
use millstream_tests::rows::{self, Row};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use tempfile::TempDir;

/// Kills in all, and how many of them find a checkpoint that counts.
const KILLS: usize = 20;
const AFTER_A_CLAIM: usize = 8;
const SEED: u64 = 20_240_525;
/// Trips of a run that is killed by the clock, and of one that dies by itself.
const MANY: u32 = 20_000;
const FEW: u32 = 5_000;
/// The checkpoints of the pipeline on its profile.
const STORE: &str = "out/.millstream/taxi_trips.local";
/// `SIGABRT`: the process died at its crash point.
const ABORTED: i32 = 6;
const POINTS: [&str; 15] = [
    "freeze",
    "part.before",
    "part.after",
    "prepare.before",
    "prepare.after",
    "manifest.before",
    "claim.before",
    "claim.after",
    "commit.before",
    "commit.sent",
    "commit.after",
    "committed.before",
    "committed.after",
    "garbage.before",
    "garbage.after",
];

/// The flagship pipeline in a folder.
fn command(folder: &Path, trips: u32, workers: u64) -> Command {
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
fn to_the_end(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, told(&output));
    told(&output)
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs until a crash point; whether it came there.
fn crash(command: &mut Command, at: &str) -> bool {
    let output = command.env("MILLSTREAM_CRASH_AT", at).output().unwrap();
    let (status, crashed) = (output.status, output.status.signal() == Some(ABORTED));
    assert!(crashed || status.success(), "{at}: {command:?}: {status}\n{}", told(&output));
    crashed
}

/// What a run leaves, without what may differ between two runs: names of files and the engine's own columns.
#[derive(Debug, PartialEq)]
struct Left {
    kpis: BTreeMap<String, Vec<u8>>,
    /// Rows of `trip_state` by their key.
    table: BTreeMap<String, Vec<(String, Cell)>>,
    rejects: BTreeMap<String, usize>,
    late: BTreeMap<String, usize>,
    /// Lines by their source, and how often each is there.
    raw: BTreeMap<String, usize>,
    dead_letters: i64,
}

impl Left {
    fn of(folder: &Path) -> Self {
        let out = folder.join("out");
        let database = Connection::open(out.join("taxi_trips.db")).unwrap();
        let dead_letters = database.query_row("SELECT count(*) FROM dead_letter", [], |row| row.get(0)).unwrap();
        Self {
            kpis: rows::files(&out.join("kpis")),
            table: table(&database),
            rejects: rows::bag(rows::of_files(&rows::files(&out.join("rejects"))).into_iter().map(refusal)),
            late: rows::bag(rows::of_files(&rows::files(&out.join("late")))),
            raw: raw(&out.join("raw")),
            dead_letters,
        }
    }
    /// How it differs from what was expected; nothing where it does not.
    fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = self.results(expected);
        all.extend(unlike("rejects", &expected.rejects, &self.rejects));
        all.extend(unlike("late", &expected.late, &self.late));
        all.extend(unlike("raw", &expected.raw, &self.raw));
        if self.dead_letters != expected.dead_letters {
            all.push(format!("{} dead letters", self.dead_letters));
        }
        all
    }
    /// The same of what is overwritten by a run with empty state, where files of lines are added to.
    fn results(&self, expected: &Self) -> Vec<String> {
        let mut all = unlike("kpis", &expected.kpis, &self.kpis);
        all.extend(unlike("table", &expected.table, &self.table));
        all
    }
}

fn table(database: &Connection) -> BTreeMap<String, Vec<(String, Cell)>> {
    let mut select = database.prepare("SELECT * FROM trip_state ORDER BY trip_id").unwrap();
    let names: Vec<String> = select.column_names().map(str::to_owned).collect();
    let rows = select.query_map([], |row| {
        let cells = names.iter().enumerate().filter(|(_, name)| !name.starts_with('_'));
        let cells: Vec<(String, Cell)> =
            cells.map(|(i, name)| Ok((name.clone(), row.get(i)?))).collect::<Result<_, rusqlite::Error>>()?;
        Ok((row.get("trip_id")?, cells))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// What says which row was refused by whom and why.
fn refusal(mut row: Row) -> Row {
    row.retain(|name, _| {
        ["component", "rules", "reasons", "row", "raw", "source", "position"].contains(&name.as_str())
    });
    row
}

fn raw(folder: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for (path, bytes) in rows::files(folder) {
        let source = path.split('/').next().unwrap();
        let mut text = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap_or_else(|e| panic!("{path}: {e}"));
        for line in String::from_utf8_lossy(&text).lines() {
            *lines.entry(format!("{source}: {line}")).or_default() += 1;
        }
    }
    lines
}

/// Up to three entries that differ.
fn unlike<V: PartialEq + Debug>(what: &str, expected: &BTreeMap<String, V>, got: &BTreeMap<String, V>) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let unlike: Vec<&String> = all.into_iter().filter(|key| expected.get(*key) != got.get(*key)).collect();
    let shown = unlike.iter().take(3);
    shown
        .map(|key| {
            let (expected, got) = (expected.get(*key), got.get(*key));
            format!("{what}, one of {} that differ: {key}: expected {expected:?}, got {got:?}", unlike.len())
        })
        .collect()
}

/// A run that nobody disturbs.
struct Reference {
    left: Left,
    /// Until the first checkpoint counts.
    claimed: Duration,
}

impl Reference {
    fn of(trips: u32) -> Self {
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

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::of(MANY));
static SMALL: LazyLock<Reference> = LazyLock::new(|| Reference::of(FEW));

fn start(command: &mut Command, folder: &Path) -> Child {
    let errors = File::create(folder.join("stderr")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
}

fn errors(folder: &Path) -> String {
    fs::read_to_string(folder.join("stderr")).unwrap_or_default()
}

/// The newest checkpoint that was claimed.
fn newest_epoch(folder: &Path) -> Option<String> {
    newest(&folder.join(STORE).join("epochs")).map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
}

/// The greatest name in a folder of the store.
fn newest(folder: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().is_some_and(|n| !n.to_string_lossy().starts_with('.'))).max()
}

/// Every file, hidden ones too, but for the one that says who holds the checkpoints.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

fn assert_untouched(before: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    let after = everything(folder);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(|p| before.get(*p) != after.get(*p)).collect();
    assert!(changed.is_empty(), "{changed:?} changed");
}

/// Less than `of`.
fn some(random: &mut Random, of: Duration) -> Duration {
    Duration::from_micros(random.below(u64::try_from(of.as_micros()).unwrap()))
}

/// Starts a run and kills it: after any time, or soon after its next checkpoint counts. How it ended.
fn kill(folder: &Path, random: &mut Random, claimed: Duration) -> (String, ExitStatus) {
    let before = newest_epoch(folder);
    let workers = 1 + random.below(3);
    let blind = random.one_in(2);
    // Where it recovers, and where it is on its way to a checkpoint.
    let within = if random.one_in(3) { claimed / 5 } else { claimed * 6 / 5 };
    let wait = some(random, if blind { within } else { Duration::from_millis(60) });
    let mut child = start(&mut command(folder, MANY, workers), folder);
    while !blind && newest_epoch(folder) == before && child.try_wait().unwrap().is_none() {
        sleep(Duration::from_millis(1));
    }
    sleep(wait);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let when = if blind { "after" } else { "after the next claim and" };
    (format!("{workers} workers, {when} {wait:?}: {status}, checkpoint {:?}", newest_epoch(folder)), status)
}

#[test]
fn kills_at_any_time_change_nothing() {
    let reference = &*REFERENCE;
    let mut random = Random::new(SEED);
    let (mut kills, mut after_a_claim) = (0, 0);
    while kills < KILLS || after_a_claim < AFTER_A_CLAIM {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        let mut log = format!("seed {SEED}, {kills} kills before this folder\n");
        while kills < KILLS || after_a_claim < AFTER_A_CLAIM {
            let (how, status) = kill(folder, &mut random, reference.claimed);
            log += &format!("{how}\n");
            if status.signal().is_none() {
                assert!(status.success(), "{log}{}", errors(folder));
                break;
            }
            kills += 1;
            after_a_claim += usize::from(newest_epoch(folder).is_some());
        }
        let output = command(folder, MANY, 2).output().unwrap();
        assert!(output.status.success(), "{log}{}\n{}", output.status, told(&output));
        let differences = Left::of(folder).differences(&reference.left);
        assert!(differences.is_empty(), "{log}{}", differences.join("\n"));
        println!("{log}");

        let before = everything(&folder.join("out"));
        let again = to_the_end(&mut command(folder, MANY, 3));
        assert!(again.contains("taxi_trips is complete"), "{log}{again}");
        assert_untouched(&before, &folder.join("out"));

        if kills >= KILLS && after_a_claim >= AFTER_A_CLAIM {
            to_the_end(command(folder, MANY, 1).arg("--fresh"));
            let differences = Left::of(folder).results(&reference.left);
            assert!(differences.is_empty(), "{log}--fresh\n{}", differences.join("\n"));
        }
    }
}

/// Crashes at these points, one run after the other, then runs to the end; what differs.
fn after_crashes(at: &[String], workers: u64) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let name = format!("{}, {workers} workers", at.join(", "));
    for at in at {
        let crashed = crash(&mut command(folder.path(), FEW, workers), at);
        if !crashed && at.ends_with(":1") {
            return vec![format!("{name}: did not come to {at}")];
        }
    }
    let output = command(folder.path(), FEW, 1 + workers % 3).output().unwrap();
    if !output.status.success() {
        return vec![format!("{name}: {}\n{}", output.status, told(&output))];
    }
    Left::of(folder.path()).differences(&SMALL.left).into_iter().map(|d| format!("{name}: {d}")).collect()
}

#[test]
fn crashes_at_every_point_change_nothing() {
    let mut cases: Vec<Vec<String>> = Vec::new();
    for hit in 1..=2 {
        cases.extend(POINTS.iter().map(|point| vec![format!("{point}:{hit}")]));
    }
    for point in ["recovery.before", "recovery.after"] {
        cases.push(vec!["commit.before:1".to_owned(), format!("{point}:1")]);
    }
    let _ = &*SMALL;
    let left = Mutex::new(cases.iter().zip((1..=3).cycle()));
    let work = || {
        let mut failures = Vec::new();
        loop {
            let next = left.lock().unwrap().next();
            let Some((at, workers)) = next else { return failures };
            failures.extend(after_crashes(at, workers));
        }
    };
    let failures = thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut failures = work();
        failures.extend(other.join().unwrap());
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn of_two_processes_one_runs() {
    let folder = TempDir::new().unwrap();
    let run = || command(folder.path(), MANY, 1).output().unwrap();
    let outputs = thread::scope(|scope| {
        let other = scope.spawn(run);
        [run(), other.join().unwrap()]
    });
    let (ran, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    let all = outputs.iter().map(|o| format!("{}\n{}", o.status, told(o))).collect::<Vec<_>>().join("\n");
    assert_eq!((ran.len(), refused.len()), (1, 1), "{all}");
    assert!(refused[0].status.code().is_some_and(|code| code == 1 || code == 3), "{all}");
    assert!(told(refused[0]).contains("are held by"), "{all}");
    let differences = Left::of(folder.path()).differences(&REFERENCE.left);
    assert!(differences.is_empty(), "{}\n{all}", differences.join("\n"));
}

/// Damages the newest manifest of a run that died after so many checkpoints; what the next run says.
fn damaged(folder: &Path, checkpoints: u32) -> String {
    assert!(crash(&mut command(folder, MANY, 2), &format!("garbage.after:{checkpoints}")));
    let manifest = newest(&folder.join(STORE).join("manifests")).unwrap();
    let mut bytes = fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&manifest, bytes).unwrap();

    let before = everything(&folder.join("out"));
    let output = command(folder, MANY, 2).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains(&*manifest.file_name().unwrap().to_string_lossy()), "{told}");
    assert!(told.contains("--reset-state"), "{told}");
    assert_untouched(&before, &folder.join("out"));
    told
}

#[test]
fn a_damaged_checkpoint_is_told_and_never_gone_around() {
    for checkpoints in [1, 2] {
        let folder = TempDir::new().unwrap();
        let told = damaged(folder.path(), checkpoints);
        // Where there is an earlier one.
        assert_eq!(told.contains("--from-checkpoint"), checkpoints > 1, "{told}");
        to_the_end(command(folder.path(), MANY, 2).arg("--reset-state"));
        let differences = Left::of(folder.path()).results(&REFERENCE.left);
        assert!(differences.is_empty(), "{checkpoints} checkpoints: {}", differences.join("\n"));
    }
}
