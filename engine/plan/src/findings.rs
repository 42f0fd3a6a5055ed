//! The findings of a file's structure and of its plan together.

use millstream_spec::{Finding, Severity, codes, sort};

/// Whether a finding may only follow from another mistake: from what a broken node would have read or given.
pub(crate) fn may_follow(finding: &Finding) -> bool {
    [codes::UNREAD_NODE, codes::EMPTY_PATTERN].contains(&finding.code)
}

/// What was found in a file, in its order, each once; `parsed` comes from its structure and `planned` from its plan.
/// What may only follow from a mistake in the structure is left out.
pub fn findings(parsed: &[Finding], planned: &[Finding]) -> Vec<Finding> {
    let broken = parsed.iter().any(|f| f.severity == Severity::Error);
    let mut all = parsed.to_vec();
    for finding in planned.iter().filter(|f| !broken || !may_follow(f)) {
        if !all.contains(finding) {
            all.push(finding.clone());
        }
    }
    sort(&mut all);
    all
}
