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

mod flagship;
mod full_disk;
mod left;
mod zombies;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::thread::{self, sleep};
use std::time::Duration;

use flagship::{
    FEW, MANY, REFERENCE, SMALL, STORE, assert_untouched, command, crash, errors, everything, newest, newest_epoch,
    start, to_the_end, told,
};
use left::Left;
use millstream_runtime::checkpoint::{CHECKPOINT_POINTS, RECOVERY_POINTS};
use millstream_tests::random::Random;
use tempfile::TempDir;

/// Kills in all, and how many of them find a checkpoint that counts.
const KILLS: usize = 20;
const AFTER_A_CLAIM: usize = 8;
const SEED: u64 = 20_240_525;

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
    for hit in 1..=3 {
        cases.extend(CHECKPOINT_POINTS.iter().map(|point| vec![format!("{point}:{hit}")]));
    }
    for point in RECOVERY_POINTS {
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
