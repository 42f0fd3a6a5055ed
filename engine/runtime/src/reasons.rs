//! Why rows were refused, for people: by port and rule how often in this run, and one example.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray};
use millstream_core::batch::Batch;

use crate::graph::Node;
use crate::snapshot::ReasonSnapshot;

/// The rules of a file and of the engine are few; what came with a row must not fill the memory.
const MOST: usize = 200;

/// Reasons of one node.
#[derive(Debug, Default)]
pub(crate) struct Reasons(BTreeMap<(usize, String), Reason>);

#[derive(Debug)]
struct Reason {
    rows: u64,
    example: String,
}

impl Reasons {
    /// Rows of [`millstream_core::refusal::schema`] left by a port.
    pub(crate) fn add(&mut self, port: usize, refused: &Batch) {
        let lists = |name| refused.column(name).and_then(ArrayRef::as_list_opt::<i32>);
        let (Some(rules), Some(reasons)) = (lists("rules"), lists("reasons")) else { return };
        for row in 0..refused.num_rows() {
            let (rules, texts) = (texts(rules, row), texts(reasons, row));
            let mut seen: Vec<String> = Vec::new();
            for (rule, text) in rules.iter().flatten().zip(texts.iter().flatten()) {
                let rule = rule.unwrap_or_default();
                // A row that breaks a rule in two columns is one row.
                if !seen.iter().any(|s| s == rule) {
                    self.count(port, rule, text.unwrap_or_default());
                    seen.push(rule.to_owned());
                }
            }
        }
    }

    fn count(&mut self, port: usize, rule: &str, text: &str) {
        let key = (port, rule.to_owned());
        if let Some(reason) = self.0.get_mut(&key) {
            reason.rows += 1;
            // The least text, so that any order of rows gives the same.
            if text < reason.example.as_str() {
                text.clone_into(&mut reason.example);
            }
        } else if self.0.len() < MOST {
            self.0.insert(key, Reason { rows: 1, example: text.to_owned() });
        }
    }

    /// By port, the most frequent first.
    pub(crate) fn snapshot(&self, node: &Node) -> Vec<ReasonSnapshot> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|((port, _), reason)| (*port, std::cmp::Reverse(reason.rows)));
        all.into_iter()
            .map(|((port, rule), reason)| ReasonSnapshot {
                port: node.port_name(*port),
                rule: rule.clone(),
                rows: reason.rows,
                example: reason.example.clone(),
            })
            .collect()
    }
}

fn texts(lists: &ListArray, row: usize) -> Option<StringArray> {
    lists.is_valid(row).then(|| lists.value(row)).and_then(|l| l.as_string_opt::<i32>().cloned())
}

#[cfg(test)]
mod tests {
    use millstream_core::EventTime;
    use millstream_core::format;
    use millstream_core::refusal::{Refusal, batch};

    use super::*;
    use crate::graph::{NodeKind, Port};

    fn refusal(reasons: &[(&str, &str)]) -> Refusal {
        let reason = |(rule, text): &(&str, &str)| format::Reason { rule: (*rule).into(), text: (*text).into() };
        Refusal::new("rides", "rejected", reasons.iter().map(reason).collect(), EventTime(0))
    }

    #[test]
    fn a_row_counts_once_for_each_of_its_rules() {
        let rows = [
            refusal(&[("missing_field", "`b` is missing")]),
            refusal(&[("wrong_type", "`c` is text"), ("missing_field", "`b` is missing"), ("missing_field", "`a` is")]),
        ];
        let mut reasons = Reasons::default();
        reasons.add(0, &batch(&rows).unwrap());
        reasons.add(0, &batch(&[refusal(&[("missing_field", "`a` is missing")])]).unwrap());
        let ports = vec![Port { name: "rejected".into(), schema: millstream_core::refusal::schema(), key: Vec::new() }];
        let kind = NodeKind::Operator(Vec::new());
        let node = Node { id: "rides".into(), kind, inputs: Vec::new(), ports, sources: Vec::new() };
        let told: Vec<_> = reasons.snapshot(&node).into_iter().map(|r| (r.port, r.rule, r.rows, r.example)).collect();
        let reason = |rule: &str, rows, example: &str| ("rides.rejected".to_owned(), rule.into(), rows, example.into());
        assert_eq!(told, [reason("missing_field", 3, "`a` is missing"), reason("wrong_type", 1, "`c` is text")]);
    }
}
