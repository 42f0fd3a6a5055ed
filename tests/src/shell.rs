//! The real binary in a folder of its own, and what it said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Runs a binary as a person would, in a folder of its own.
pub struct Shell {
    binary: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    /// Where it runs.
    pub folder: TempDir,
}

impl Shell {
    /// For the binary `millstream` that stands there.
    pub fn of(binary: &Path) -> Self {
        Self { binary: binary.to_owned(), environment: Vec::new(), folder: tempfile::tempdir().unwrap() }
    }
    /// The same with a variable of the environment.
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }
    /// A command that has not run yet, without what the environment says of logs and colours.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.folder.path()).env_remove("RUST_LOG").env_remove("NO_COLOR");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }
    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
    /// Writes the starter pipeline `name`, changed.
    pub fn starter(&self, name: &str, changes: &[(&str, &str)]) {
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

/// What a command left.
pub struct Ran {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

impl Ran {
    /// Of a command that has ended.
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
    /// The exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
    /// The exit code is `code`, and nothing looks like the inside of a Rust program.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        for inside in ["panicked", "RUST_BACKTRACE", "Some(", "Err(", "stack backtrace", "\u{1b}["] {
            assert!(!self.out.contains(inside) && !self.err.contains(inside), "{inside}:\n{}\n{}", self.out, self.err);
        }
        self.exits(code)
    }
    /// One of its streams has each of these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text) || self.err.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        }
        self
    }
    /// Its stdout as a document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}", self.out))
    }
}
