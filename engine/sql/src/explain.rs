//! A planned query in words, for `explain` and for its golden tests.

use std::fmt::Write as _;

use crate::cut::Branch;
use crate::query::{PlannedQuery, Routing, Runs};
use crate::window::plan::WindowPlan;
use millstream_core::schema::type_name;

impl PlannedQuery {
    /// The plan, for people: what runs where, and what comes out.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        match &self.runs {
            Runs::Stateless { branches, .. } => {
                out.push_str("stateless: each row by itself\n");
                chains(&mut out, branches);
            }
            Runs::Calling { branches, .. } => {
                out.push_str("calling: each row by itself, when it is answered\n");
                chains(&mut out, branches);
            }
            Runs::Windowed { plan, .. } => self.windowed(&mut out, plan),
            Runs::Bounded { words, .. } => {
                out.push_str("bounded: all SQL, at the end of the inputs, on one worker\n");
                for line in words.lines() {
                    let _ = writeln!(out, "  {line}");
                }
            }
        }
        let users = millstream_core::batch::user_columns(&self.schema);
        let columns = self.schema.fields().iter().take(users);
        let columns: Vec<String> = columns.map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect();
        let _ = writeln!(out, "columns: {}", columns.join(", "));
        if !self.key.is_empty() {
            let _ = writeln!(out, "key: {}", self.key.join(", "));
        }
        out
    }

    fn windowed(&self, out: &mut String, plan: &WindowPlan) {
        let time = |d: std::time::Duration| match d.is_zero() {
            true => "none".to_owned(),
            false => crate::window::length::Length::Micros(millstream_core::time::micros(d)).to_string(),
        };
        let _ = writeln!(out, "windowed: {} over {}", plan.length, plan.time);
        chains(out, &plan.branches);
        let _ = writeln!(out, "  partial aggregate of each batch: {}", plan.words.aggregates.join(", "));
        let routing = match self.stages().last().map(|s| s.routing.clone()) {
            Some(Routing::Keys(columns)) => format!("by {} group columns", columns.len()),
            _ => "local".to_owned(),
        };
        let _ = writeln!(out, "  merge ({routing}): {}", plan.words.groups.join(", "));
        for words in &plan.words.above {
            let _ = writeln!(out, "  {words}");
        }
        let when =
            if plan.having { "once they cannot change any more" } else { "when the watermark passes the window's end" };
        let early = plan.emit.early.filter(|_| !plan.having).map(|e| format!("early every {}, ", time(e)));
        let _ = writeln!(
            out,
            "results: {}{when}; allowed lateness: {}, horizon: {}",
            early.unwrap_or_default(),
            time(plan.emit.allowed_lateness),
            time(plan.horizon)
        );
    }
}

fn chains(out: &mut String, branches: &[Branch]) {
    for branch in branches {
        let schema = &branch.chain.scan.schema;
        let columns = schema.fields().iter().take(crate::chain::visible(schema));
        let columns: Vec<&str> = columns.map(|f| f.name().as_str()).collect();
        let _ = writeln!(out, "  from {}: {}", branch.stream, columns.join(", "));
        for words in &branch.words {
            let _ = writeln!(out, "    {words}");
        }
    }
}
