//! A process that is paused inside a commit and wakes up after another one has taken its place.
//!
//! A paused process keeps the lock of its checkpoints, so that on one machine nobody can take its place. Here the lock's
//! file is removed meanwhile: this is how it is where a store cannot tell who lives (another machine, S3), and only
//! claims and fences keep the two apart.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use millstream_runtime::checkpoint::CHECKPOINT_POINTS;
use tempfile::TempDir;

use crate::flagship::{FEW, SMALL, STORE, command, errors, start, to_the_end};
use crate::left::Left;

/// What becomes of the successor while the first process sleeps: it runs to its end, or sleeps too, at a point where
/// the first one's waking up could harm it most.
const SUCCESSORS: [Option<&str>; 3] = [None, Some("prepare.after:1"), Some("commit.before:1")];

/// A process that stops itself at a crash point.
struct Sleeper {
    child: Child,
    folder: std::path::PathBuf,
}

impl Sleeper {
    /// Starts a run, and waits until it sleeps at `point`, or ends without coming there.
    fn start(folder: &Path, workers: u64, point: Option<&str>, log: &str) -> Self {
        let own = folder.join(log);
        fs::create_dir_all(&own).unwrap();
        let mut command = command(folder, FEW, workers);
        if let Some(point) = point {
            command.env("MILLSTREAM_PAUSE_AT", point);
        }
        let mut child = start(&mut command, &own);
        while !sleeps(&child) && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        Self { child, folder: own }
    }

    /// Wakes it.
    fn wake(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let woken = Command::new("kill").args(["-CONT", &self.child.id().to_string()]).status().unwrap();
            assert!(woken.success());
        }
    }

    /// Waits for its end, but no longer than that.
    fn wait_for(&mut self, most: Duration) {
        let began = Instant::now();
        while began.elapsed() < most && self.child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end; whether it came to the end of its work, or else why not.
    fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().unwrap();
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", errors(&self.folder))) }
    }
}

/// Whether a process is stopped: `T` behind its name.
fn sleeps(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// What differs after a process slept at `point` while another one went on.
fn woken(point: &str, successor: Option<&str>, workers: u64) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let name = format!("asleep at {point}, its successor {}", successor.unwrap_or("at its end"));
    let mut first = Sleeper::start(folder.path(), workers, Some(point), "first");
    let _ = fs::remove_file(folder.path().join(STORE).join("LOCK"));
    let mut second = Sleeper::start(folder.path(), 1 + workers % 3, successor, "second");
    first.wake();
    // Where the sleeping successor holds a lock, the first one waits for it.
    first.wait_for(Duration::from_secs(5));
    second.wake();
    let ends = [first.end(), second.end()];
    let mut wrong = Vec::new();
    for end in &ends {
        // Who is too late says so, and does nothing else. So does who finds the table's file locked by the sleeper.
        if let Err(end) = end
            && !["another process", "are held by", "belong to the run", "database is locked"]
                .iter()
                .any(|why| end.contains(why))
        {
            wrong.push(format!("{name}: {end}"));
        }
    }
    if ends.iter().all(Result::is_err) {
        wrong.push(format!("{name}: neither came to its end: {ends:?}"));
    }
    let _ = fs::remove_file(folder.path().join(STORE).join("LOCK"));
    to_the_end(&mut command(folder.path(), FEW, 2));
    wrong.extend(Left::of(folder.path()).differences(&SMALL.left).into_iter().map(|d| format!("{name}: {d}")));
    wrong
}

#[test]
fn a_process_that_wakes_up_late_changes_nothing() {
    let _ = &*SMALL;
    let cases = CHECKPOINT_POINTS.iter().flat_map(|point| [1, 2].map(|hit| format!("{point}:{hit}")));
    let cases: Vec<_> = cases.zip(SUCCESSORS.into_iter().cycle()).zip((1..=3).cycle()).collect();
    let left = Mutex::new(cases.into_iter());
    let work = || {
        let mut failures = Vec::new();
        loop {
            let next = left.lock().unwrap().next();
            let Some(((point, successor), workers)) = next else { return failures };
            failures.extend(woken(&point, successor, workers));
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
