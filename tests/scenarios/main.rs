//! Pipelines with their inline tests, through the binary a user has: every shipped pipeline, and those here that
//! exercise the language.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millstream_tests::binary::{binary, root, udf_cache};
use serde_json::Value;

fn pipelines(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "no pipelines in {}", folder.display());
    files
}

fn shipped() -> Vec<PathBuf> {
    pipelines(&root().join("pipelines"))
}

fn scenarios() -> Vec<PathBuf> {
    pipelines(&root().join("tests/scenarios"))
}

fn millstream(args: &[&str], file: &Path) -> Output {
    Command::new(binary())
        .args(args)
        .arg(file)
        .current_dir(root())
        .env("NO_COLOR", "1")
        .env("MILLSTREAM_UDF_CACHE", udf_cache())
        .output()
        .unwrap()
}

/// The JSON document a command gives.
fn document(args: &[&str], file: &Path) -> Value {
    let output = millstream(args, file);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        panic!("{} {}: {e}\n{out}\n{err}", args.join(" "), file.display())
    })
}

/// What is not right with the tests of a file.
fn failures(file: &Path, workers: &str) -> Vec<String> {
    let document = document(&["test", "--json", "--workers", workers], file);
    let of = |file: &Path, text: String| format!("{}, {workers} workers: {text}", file.display());
    let mut failures: Vec<String> =
        document["findings"].as_array().unwrap().iter().map(|finding| of(file, finding.to_string())).collect();
    let tests = document["files"][0]["tests"].as_array().unwrap();
    if tests.is_empty() {
        failures.push(of(file, "no test".to_owned()));
    }
    for test in tests.iter().filter(|test| test["ok"] != true) {
        failures.push(of(file, format!("{:#}", test)));
    }
    failures
}

fn all_pass(files: &[PathBuf], workers: &str) {
    binary();
    // Two at a time: most of a test is waiting.
    let (left, right) = files.split_at(files.len() / 2);
    let run = |files: &[PathBuf]| files.iter().flat_map(|file| failures(file, workers)).collect::<Vec<_>>();
    let all = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(right));
        let mut all = run(left);
        all.extend(other.join().unwrap());
        all
    });
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_tests_of_shipped_pipelines_pass() {
    all_pass(&shipped(), "1");
    all_pass(&shipped(), "3");
}

#[test]
fn the_tests_of_all_scenarios_pass() {
    all_pass(&scenarios(), "2");
}

#[test]
fn nothing_is_found_in_shipped_pipelines() {
    for file in shipped() {
        let document = document(&["check", "--json"], &file);
        assert_eq!(document["findings"], Value::Array(Vec::new()), "{}", file.display());
        assert!(millstream(&["check"], &file).status.success(), "{}", file.display());
    }
}
