//! The command: what it prints, and how it ends.

use std::path::Path;
use std::process::{Command, Output};

use millstream_tests::binary::binary;

use crate::{ORDERS, PAYMENTS, inputs, pipeline};

fn millstream(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).current_dir(folder).env_remove("RUST_LOG").output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, texts: &[&str]) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "no `{text}` in\n{said}");
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const QUERY: [&str; 5] =
    ["query", "shop.yaml", "SELECT id, status, total FROM shop_state ORDER BY id", "--format", "json"];

#[test]
fn rows_that_a_table_refuses_are_put_once_it_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("shop.yaml"), pipeline(folder)).unwrap();
    inputs(folder, &ORDERS, &PAYMENTS);
    // Somebody's trigger refuses two of three.
    let db = rusqlite::Connection::open(folder.join("table.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE shop_state (id TEXT NOT NULL PRIMARY KEY);
         CREATE TRIGGER closed BEFORE INSERT ON shop_state WHEN NEW.id <> 'a'
         BEGIN SELECT RAISE(ABORT, 'the month is closed'); END",
    )
    .unwrap();
    ends(&millstream(folder, &["replay", "shop.yaml", "dead_letter"]), 3, &["letters were ever put"]);
    ends(&millstream(folder, &["run", "shop.yaml"]), 0, &["shop done in"]);
    let looked = ends(&millstream(folder, &["replay", "shop.yaml", "dead_letter", "--dry-run"]), 0, &[]);
    assert!(looked.contains("would be put to `shop_state`") && looked.contains("nothing was written"), "{looked}");
    let kept = ends(&millstream(folder, &["replay", "shop.yaml", "dead_letter"]), 1, &["the month is closed", "left"]);
    assert!(kept.contains("of shop_state.failed"), "{kept}");
    assert_eq!(ends(&millstream(folder, &QUERY), 0, &[]).lines().count(), 1);
    db.execute_batch("DROP TRIGGER closed").unwrap();
    let done = millstream(folder, &["replay", "shop.yaml", "dead_letter", "--json"]);
    let done: serde_json::Value = serde_json::from_str(&ends(&done, 0, &[])).unwrap();
    assert_eq!(done["left"], serde_json::json!([]));
    assert!(done["tables"]["shop_state"]["written"].as_u64().unwrap() >= 2, "{done}");
    let rows = ends(&millstream(folder, &QUERY), 0, &[]);
    let expected = [
        r#"{"id":"a","status":"OPEN","total":10.10}"#,
        r#"{"id":"b","status":"PAID","total":20.20}"#,
        r#"{"id":"c","status":"PAID","total":30.30}"#,
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    ends(&millstream(folder, &["replay", "shop.yaml", "dead_letter"]), 0, &["dead_letter has no dead letters"]);
}

#[test]
fn a_sink_that_keeps_no_letters_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("shop.yaml"), pipeline(folder)).unwrap();
    inputs(folder, &ORDERS, &PAYMENTS);
    ends(&millstream(folder, &["replay", "shop.yaml", "dead_leter"]), 2, &["no sink `dead_leter`", "`dead_letter`?"]);
    ends(&millstream(folder, &["replay", "shop.yaml", "done"]), 2, &["`directory` keeps no dead letters"]);
}
