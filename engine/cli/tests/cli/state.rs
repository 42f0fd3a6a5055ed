//! State from one start to the next: complete runs, fresh ones, checkpoints listed, pipelines changed, damage.

use std::path::PathBuf;

use crate::{Shell, shell};

/// A starter of few rows, run to its end.
fn ran() -> Shell {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 500")]);
    shell.run(&["run", "orders.yaml"]).ends(0).says(&["orders done in"]);
    shell
}

/// The files of the newest checkpoint in a folder of the store.
fn objects(shell: &Shell, folder: &str) -> Vec<PathBuf> {
    let folders = [shell.folder.path().join(".millstream"), shell.folder.path().join("out")];
    let find = |root: &PathBuf| {
        let stores = [root.join("orders.local"), root.join(".millstream/orders.local")];
        stores.into_iter().map(|s| s.join(folder)).find(|s| s.exists())
    };
    let store = folders.iter().find_map(find).expect("a store of checkpoints");
    let mut found: Vec<PathBuf> = std::fs::read_dir(store).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_finished_run_says_so_and_does_nothing_and_a_fresh_one_runs_anew() {
    let shell = ran();
    let again = shell.run(&["run", "orders.yaml"]).ends(0).says(&["orders is complete", "Nothing was done", "--fresh"]);
    assert!(!again.out.contains("Ledger"), "{}", again.out);
    let document = shell.run(&["run", "orders.yaml", "--json"]).ends(0).json();
    assert_eq!((&document["complete"], &document["checkpoint"]), (&true.into(), &1.into()));
    let query = ["query", "orders.yaml", "SELECT * FROM day_files ORDER BY day", "--format", "json"];
    let before = shell.run(&query).ends(0).out;
    shell.run(&["run", "orders.yaml", "--fresh"]).ends(0).says(&[
        "running anew over the same outputs: nothing is removed",
        "orders done in",
        "every row is accounted for",
    ]);
    assert_eq!(shell.run(&query).ends(0).out, before);
    shell.run(&["run", "orders.yaml"]).ends(0).says(&["is complete", "checkpoint 2"]);
}

#[test]
fn checkpoints_are_listed_with_age_size_and_positions() {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 500")]);
    shell.run(&["checkpoints", "orders.yaml"]).ends(0).says(&["no checkpoints in"]);
    shell.run(&["run", "orders.yaml", "--state", "kept"]).ends(0);
    let listed = shell.run(&["checkpoints", "orders.yaml", "--state", "kept"]).ends(0);
    listed.says(&["1 checkpoint in kept/orders.local", "age", "complete", "Positions", "rides_in", "the end"]);
    let document = shell.run(&["checkpoints", "orders.yaml", "--state", "kept", "--json"]).ends(0).json();
    let checkpoint = &document["checkpoints"][0];
    assert_eq!((&checkpoint["checkpoint"], &checkpoint["committed"]), (&1.into(), &true.into()));
    assert!(checkpoint["sources"]["rides_in"]["splits"].as_object().unwrap().values().all(|s| s["finished"] == true));
}

#[test]
fn state_that_does_not_fit_a_changed_pipeline_is_dropped_only_where_that_is_allowed() {
    let shell = ran();
    shell.run(&["check", "orders.yaml", "--state"]).ends(0).says(&["day_files", "keep it"]);
    let path = shell.folder.path().join("orders.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    shell.write("orders.yaml", &text.replace("day_files", "days"));
    let flag = "--allow-dropped-state day_files";
    shell.run(&["check", "orders.yaml", "--state"]).ends(2).says(&["refuse: the node is not in", "begin empty", flag]);
    shell.run(&["run", "orders.yaml"]).ends(2).says(&["does not fit this pipeline", "`day_files`", flag]);
    shell.run(&["run", "orders.yaml", "--allow-dropped-state", "day_files"]).ends(0);
}

#[test]
fn a_damaged_checkpoint_is_refused_with_the_choices_there_are() {
    let shell = ran();
    let manifest = objects(&shell, "manifests").pop().unwrap();
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&manifest, bytes).unwrap();
    let name = manifest.file_name().unwrap().to_string_lossy().into_owned();
    let refused = shell.run(&["run", "orders.yaml"]).ends(3);
    refused.says(&[&name, "is damaged", "Nothing was read or written", "--reset-state"]);
    let reset = shell.run(&["run", "orders.yaml", "--reset-state"]).ends(0);
    reset.says(&["warning", "read from their beginning", "every row is accounted for"]);
}

#[test]
fn a_part_that_is_cut_off_is_refused_and_an_earlier_checkpoint_can_be_gone_on_from() {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 500")]);
    let mut crashed = shell.command(&["run", "orders.yaml", "--workers", "1"]);
    crashed.env("MILLSTREAM_CRASH_AT", "garbage.after:1");
    assert_ne!(crashed.output().unwrap().status.code(), Some(0));
    let part = objects(&shell, "parts").pop().unwrap();
    let part = std::fs::read_dir(part).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let name = part.file_name().unwrap().to_string_lossy().into_owned();
    // It was complete: only a run that takes its state back reads the part.
    shell.run(&["run", "orders.yaml", "--from-checkpoint", "7"]).ends(3).says(&["no checkpoint 7", "kept are 1"]);
    shell.run(&["run", "orders.yaml", "--from-checkpoint", "1"]).ends(3).says(&[&name, "is damaged"]);
}
