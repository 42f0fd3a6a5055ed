//! Golden findings of the whole product: for every `diagnostics/*.yaml`, what a person sees stands in the `.stderr`
//! beside it. `UPDATE_EXPECT=1 cargo test -p millstream-tests --test diagnostics` rewrites them; then read them.
//!
//! A file `e0203_what.yaml` has one mistake, and exactly one finding, of that code; `mixed_*.yaml` have several. Lines
//! at the top say how a file is read: `# run`, `# profile: NAME`, `# set: path=value`, `# findings: NUMBER`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use millstream_spec::codes;
use millstream_tests::binary::udf_cache;
use millstream_tests::check::{Checked, Reading, check};

/// Codes that no file can provoke, each with the reason.
const UNPROVOKED: &[(&str, &str)] = &[
    (codes::UNREADABLE, "told only where the checks and the types disagree, which would be a bug"),
    (codes::NOT_BUILT_IN, "this binary has every connector it knows"),
    (codes::NOT_BUILT_IN_HERE, "this binary has every connector it knows"),
    (codes::SERVICE_REFUSES, "told by `check --online` only"),
    (codes::SERVICE_WARNS, "told by `check --online` only"),
];

/// What would give away how the engine is made instead of helping.
const INNARDS: &[&str] = &[
    "Some(",
    "Ok(",
    "Err(",
    "DataFusion",
    "Utf8",
    "Int32",
    "Int64",
    "Float64",
    "Decimal128",
    "Timestamp(",
    "LogicalPlan",
    "ParserError",
    "SchemaError",
    "TypeSignature",
    "Boolean",
    "Null)",
    "panicked",
    "unwrap",
];

struct Case {
    name: String,
    path: PathBuf,
    text: String,
}

impl Case {
    fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.lines().take_while(|line| line.starts_with('#'));
        head.filter_map(|line| line.strip_prefix("# ")?.strip_prefix(name)).next().map(str::trim)
    }
    fn reading(&self) -> Reading {
        let set = self.header("set: ").and_then(|set| set.split_once('='));
        Reading {
            profile: self.header("profile: ").map(str::to_owned),
            set: set.map(|(path, value)| (path.to_owned(), value.to_owned())).into_iter().collect(),
            run: self.header("run").is_some(),
            environment: vec![("TOKEN".to_owned(), "s3cret-token".to_owned())],
        }
    }
    fn checked(&self) -> Checked {
        millstream_udf::compile::keep_in(udf_cache());
        check(&self.text, &self.reading())
    }
    /// The code in the file's name.
    fn code(&self) -> Option<String> {
        let code = self.name.split('_').next().unwrap_or_default().to_uppercase();
        codes::ALL.iter().any(|(known, _)| *known == code).then_some(code)
    }
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("diagnostics");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "yaml"));
    paths.sort();
    let case = |path: PathBuf| Case {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).unwrap(),
        path,
    };
    paths.into_iter().map(case).collect()
}

#[test]
fn findings_look_as_they_should() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let rendered = case.checked().rendered(&case.name, &case.text);
        let expected = case.path.with_extension("stderr");
        if update {
            fs::write(&expected, &rendered).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != rendered {
            wrong.push(format!("{}:\n{rendered}", case.name));
        }
    }
    assert!(wrong.is_empty(), "not as in the .stderr files:\n{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_file() {
    let found: BTreeSet<String> = cases().iter().filter_map(Case::code).collect();
    let excused = |code: &str| UNPROVOKED.iter().any(|(unprovoked, _)| *unprovoked == code);
    let missing: Vec<&str> =
        codes::ALL.iter().map(|(code, _)| *code).filter(|code| !found.contains(*code) && !excused(code)).collect();
    assert!(missing.is_empty(), "no file provokes {missing:?}");
}

#[test]
fn one_mistake_is_one_finding() {
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(code) = case.code() else { continue };
        let expected = case.header("findings: ").map_or(1, |n| n.parse().unwrap());
        let checked = case.checked();
        if checked.findings.len() != expected || checked.findings.iter().any(|f| f.code != code) {
            wrong.push(format!("{}:\n{}", case.name, checked.rendered(&case.name, &case.text)));
        }
    }
    assert!(wrong.is_empty(), "more or less than the one finding:\n{}", wrong.join("\n"));
}

#[test]
fn several_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let mut mixed = 0;
    for case in cases() {
        let findings = case.checked().findings;
        assert!(findings.is_sorted_by_key(|f| f.span.start), "{}", case.name);
        if case.name.starts_with("mixed_") {
            let expected: usize = case.header("findings: ").expect("a number of findings").parse().unwrap();
            let codes: BTreeMap<_, usize> = findings.iter().fold(BTreeMap::new(), |mut codes, f| {
                *codes.entry(f.code).or_default() += 1;
                codes
            });
            assert_eq!(findings.len(), expected, "{}: {codes:?}", case.name);
            mixed += 1;
        }
    }
    assert!(mixed > 1);
}

#[test]
fn nothing_of_the_engines_innards_shows() {
    for case in cases() {
        for finding in case.checked().findings {
            let said = [Some(&finding.message), finding.label.as_ref(), finding.help.as_ref()];
            for said in said.into_iter().flatten() {
                assert!(!INNARDS.iter().any(|innards| said.contains(innards)), "{}: {said}", case.name);
                assert!(!said.contains("s3cret"), "{}: a secret shows: {said}", case.name);
                assert!(!said.ends_with('.') || said.ends_with(".."), "{}: ends with a full stop: {said}", case.name);
            }
            assert!(finding.help.is_some(), "{}: {} does not say what to do", case.name, finding.message);
        }
    }
}
