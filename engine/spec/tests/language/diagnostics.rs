//! Golden findings: for every `tests/diagnostics/*.yaml` the rendered findings stand in the `.stderr` beside it.
//!
//! `MILLSTREAM_BLESS=1 cargo test -p millstream-spec` rewrites them. A comment `# run`, `# profile: NAME` or
//! `# set: path=value` at the top of a file says how it is read; `TOKEN` and `TRIPS` are set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millstream_spec::{Parsed, codes, render, to_json};

use crate::{check, read};

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cret-token.exe".to_owned()),
        "TRIPS" => Some("many".to_owned()),
        _ => None,
    }
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    cases.sort();
    cases
}

fn parsed(text: &str) -> Parsed {
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("# {name}")).map(str::to_owned));
    let profile = header("profile: ");
    let set = header("set: ");
    let set: Vec<(&str, &str)> = set.iter().filter_map(|set| set.split_once('=')).collect();
    read(text, &environment, header("run").is_some(), profile.as_deref(), &set)
}

#[test]
fn findings_look_as_they_should() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let findings = parsed(&text).findings;
        seen.extend(findings.iter().map(|finding| finding.code));
        let name = case.file_name().unwrap().to_string_lossy();
        let rendered = render(&findings, &name, &text, false);
        assert!(!rendered.contains("s3cret"), "{name} shows a secret");
        let expected = case.with_extension("stderr");
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            fs::write(&expected, &rendered).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != rendered {
            wrong.push(format!("{name}:\n{rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // E0029 is told only where the checks and the types disagree; the codes from E02 on are told by the plan, but
    // for those about one source or transform alone.
    let here = ["E0206", "E0207", "E0214"];
    let ours = codes::ALL.iter().map(|(code, _)| *code).filter(|code| {
        (code.starts_with("E00") || code.starts_with("E01") || code.starts_with("W01") || here.contains(code))
            && *code != codes::UNREADABLE
    });
    let missing: Vec<&str> = ours.filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}

#[test]
fn findings_come_in_the_order_of_the_file() {
    for case in cases() {
        let findings = parsed(&fs::read_to_string(&case).unwrap()).findings;
        assert!(findings.is_sorted_by_key(|finding| finding.span.start), "{}", case.display());
    }
}

#[test]
fn json_says_the_same() {
    let text = "version: 1\nname: é x\n";
    let findings = check(text).findings;
    let json = to_json(&findings, "a.yaml", text);
    let name = json.as_array().unwrap().iter().find(|f| f["path"] == "name").unwrap();
    assert_eq!((&name["line"], &name["column"], &name["end"]["column"]), (&2.into(), &7.into(), &10.into()));
    assert_eq!((&name["file"], &name["code"], &name["severity"]), (&"a.yaml".into(), &"E0022".into(), &"error".into()));
}

/// Whatever the text: no panic, and every place is within it.
#[test]
fn broken_texts_are_findings() {
    let text = include_str!("../fixtures/taxi_trips.yaml");
    let cuts = (0..text.len()).step_by(37).filter(|cut| text.is_char_boundary(*cut));
    for cut in cuts {
        for broken in [text[..cut].to_owned(), format!("{}{}", &text[..cut], &text[(cut + 9).min(text.len())..])] {
            let findings = check(&broken).findings;
            assert!(findings.iter().all(|f| f.span.start <= f.span.end && f.span.end <= broken.len()));
            render(&findings, "f", &broken, false);
            to_json(&findings, "f", &broken);
        }
    }
}

/// Aliases of aliases are stopped long before they fill the memory.
#[test]
fn bombs_do_not_explode() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..30 {
        let uses = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{uses}]\n"));
    }
    assert_eq!(check(&text).findings[0].code, "E0004");
    let deep = "[".repeat(100_000);
    assert_eq!(check(&deep).findings[0].code, "E0001");
}
