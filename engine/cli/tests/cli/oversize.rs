//! Rows of a table that are too large, on a laptop as in production.

use crate::{Shell, shell};

const NOTES: &str = r#"
version: 1
name: notes
profiles:
  local:
    note_stream: { file: { path: notes.jsonl } }
    note_table: { embedded: { path: out/notes.db } }
    lake: { directory: { path: out } }
sources:
  notes_in: { read: note_stream, schema: { id: string, text: string } }
tables:
  notes: { store: note_table, key: id OVERSIZE }
transforms:
  kept: { upsert: { into: notes, set: { notes_in: "*" } } }
sinks:
  refused: { from: ["*.rejected", "*.failed"], write: lake, path: "refused/{batch_id}.jsonl" }
"#;

fn run(oversize: &str) -> (Shell, String) {
    let shell = shell();
    let large = "x".repeat(500 * 1024);
    shell.write(
        "notes.jsonl",
        &format!("{{\"id\":\"large\",\"text\":\"{large}\"}}\n{{\"id\":\"small\",\"text\":\"y\"}}\n"),
    );
    shell.write("notes.yaml", &NOTES.replace("OVERSIZE", oversize));
    let ran = shell.run(&["run", "notes.yaml"]).ends(0).says(&["every row is accounted for"]);
    let sql = "SELECT id, length(text) AS bytes FROM notes ORDER BY id";
    let rows = shell.run(&["query", "notes.yaml", sql, "--format", "csv"]).ends(0).out;
    (shell, format!("{}{rows}", ran.err))
}

#[test]
fn a_row_that_is_too_large_is_a_bad_row() {
    let (shell, rows) = run("");
    assert!(rows.ends_with("id,bytes\nsmall,1\n"), "{rows}");
    let folder = shell.folder.path().join("out/refused");
    let file = std::fs::read_dir(folder).unwrap().flatten().next().unwrap().path();
    let refused: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&refused["component"], &refused["rules"][0]), (&"notes".into(), &"refused".into()));
    let reason = refused["reasons"][0].as_str().unwrap();
    assert!(reason.contains("501 KB") && reason.contains("truncate"), "{reason}");
}

#[test]
fn or_it_is_cut_and_that_is_told() {
    let (_, rows) = run(", oversize: { truncate: [text] }");
    let large: usize = rows.lines().find_map(|l| l.strip_prefix("large,")).unwrap().parse().unwrap();
    assert!((395 * 1024..396 * 1024).contains(&large), "{large}");
    assert!(rows.contains("`notes`") && rows.contains("cut"), "{rows}");
}

#[test]
fn only_texts_outside_the_key_can_be_cut() {
    let shell = shell();
    shell.write("notes.jsonl", "");
    for (column, says) in [("id", "is a key"), ("texts", "did you mean `text`?")] {
        shell.write("notes.yaml", &NOTES.replace("OVERSIZE", &format!(", oversize: {{ truncate: [{column}] }}")));
        shell.run(&["check", "notes.yaml"]).ends(2).says(&[says]);
    }
}
