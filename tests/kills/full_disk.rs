//! Writes that fail as on a full disk while checkpoints are taken, until there is room again.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::flagship::{MANY, REFERENCE, command, errors, newest_epoch, start};
use crate::left::Left;

/// Files may not grow beyond this (in blocks of 512 bytes, the unit of `ulimit -f`).
const BLOCKS: u32 = 64;
/// How long it may take until the first write fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The same command, whose process cannot let a file grow beyond [`BLOCKS`], and is told so by an error.
fn limited(of: &Command) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("trap '' XFSZ; ulimit -S -f {BLOCKS}; exec \"$0\" \"$@\""));
    command.arg(of.get_program()).args(of.get_args()).current_dir(of.get_current_dir().unwrap());
    for (name, value) in of.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("RUST_LOG", "warn");
    command
}

#[test]
fn no_room_for_a_checkpoint_holds_the_run_up_and_costs_nothing() {
    let folder = TempDir::new().unwrap();
    let mut child = start(&mut limited(&command(folder.path(), MANY, 2)), folder.path());
    let began = Instant::now();
    let stuck = || errors(folder.path()).contains("File too large");
    while !stuck() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", errors(folder.path()));
        assert!(began.elapsed() < PATIENCE, "nothing failed: {}", errors(folder.path()));
        sleep(Duration::from_millis(5));
    }
    // It waits; nothing that is too big to be stored counts.
    let claimed = newest_epoch(folder.path());
    sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "{}", errors(folder.path()));
    assert_eq!(newest_epoch(folder.path()), claimed, "a checkpoint counts that could not be stored");

    let room = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &child.id().to_string()]).status().unwrap();
    assert!(room.success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {}", errors(folder.path()));
    let differences = Left::of(folder.path()).differences(&REFERENCE.left);
    assert!(differences.is_empty(), "{}\n{}", differences.join("\n"), errors(folder.path()));
}
