//! `docs/diagnostics.md` explains every code.

use millstream_spec::codes;

const PAGE: &str = include_str!("../../../../docs/diagnostics.md");

#[test]
fn every_code_is_documented_once_and_no_other() {
    for (code, meaning) in codes::ALL {
        let heading = format!("\n## {code}: ");
        assert_eq!(PAGE.matches(&heading).count(), 1, "{code}: {meaning}");
        let section = PAGE.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
        assert!(section.contains("Fix: "), "{code} does not say what to do");
        assert!(section.contains("```"), "{code} has no example");
    }
    for line in PAGE.lines().filter(|line| line.starts_with("## E") || line.starts_with("## W")) {
        let code = line[3..].split(':').next().unwrap();
        assert!(codes::ALL.iter().any(|(known, _)| *known == code), "{code} does not exist");
    }
}

#[test]
fn codes_are_in_order_and_unique() {
    let order: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(order, sorted);
}
