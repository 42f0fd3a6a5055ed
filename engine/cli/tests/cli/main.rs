//! Drives the real binary as a person would: exit codes, messages, `--json`, and the way from `new` to `run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod looks;
mod mistakes;
mod runs;
mod state;

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The binary in a folder of its own.
struct Shell {
    folder: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(args).current_dir(self.folder.path()).env_remove("RUST_LOG").env_remove("NO_COLOR");
        command
    }
    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
    /// The starter pipeline, changed.
    fn starter(&self, name: &str, changes: &[(&str, &str)]) {
        assert_eq!(self.run(&["new", name]).code, 0);
        let path = format!("{name}.yaml");
        let mut text = std::fs::read_to_string(self.folder.path().join(&path)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "the starter has no `{from}`");
            text = text.replace(from, to);
        }
        self.write(&path, &text);
    }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
    /// The exit code is `code`; nothing looks like the inside of a Rust program.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        for inside in ["panicked", "RUST_BACKTRACE", "Some(", "Err(", "stack backtrace", "\u{1b}["] {
            assert!(!self.out.contains(inside) && !self.err.contains(inside), "{inside}:\n{}\n{}", self.out, self.err);
        }
        self
    }
    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text) || self.err.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        }
        self
    }
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}", self.out))
    }
}
