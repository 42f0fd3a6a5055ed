//! The own tests of the example crates and of those to start from, which are workspaces of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use millstream_udf::{Kind, starter};

/// Runs a crate's own tests.
fn passes(folder: &Path) {
    // Beside the libraries that the other tests build, with the same dependencies.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("udfs/target");
    let manifest = folder.join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--release", "--lib", "--quiet", "--manifest-path"]).arg(&manifest);
    cargo.arg("--target-dir").arg(&target).env_remove("CARGO_TARGET_DIR");
    let output = cargo.output().unwrap();
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}:\n{}", manifest.display(), said());
}

#[test]
fn their_own_tests_pass() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../udfs");
    let mut tested = 0;
    for example in std::fs::read_dir(examples).unwrap().flatten().filter(|e| e.path().join("Cargo.toml").is_file()) {
        passes(&example.path());
        tested += 1;
    }
    assert!(tested >= 4, "{tested} examples");
    for (name, kind) in [("scaled", Kind::Scalar), ("spread", Kind::Aggregate), ("name_of", Kind::Async)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        for (path, text) in starter(name, kind) {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        passes(folder.path());
    }
}
