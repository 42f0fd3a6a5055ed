//! A test's pipeline on its stage: planned anew for every process, with captures where the test looks.

use std::time::Duration;

use millstream_plan::Profile;
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_spec::model::{Pipeline, Test};

use super::Problem;
use super::expect::Expected;
use crate::load;
use crate::stage::{Names, OnStage, Stage, capture};

/// Pauses between attempts in a test: services that fail on order need no rest.
const BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_millis(10);
/// How long a test tries before it gives up, whatever the file says: more than 100 faults in a row.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// What a test plays with, and where.
pub(super) struct Scene<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) profile: &'a Profile<'a>,
    pub(super) test: &'a Test,
    pub(super) stage: Stage,
}

impl Scene<'_> {
    /// A graph for one process, and what is expected of all of them.
    pub(super) fn set(&self) -> Result<(Graph, Vec<Expected>), Vec<Problem>> {
        let bind = OnStage { profile: self.profile, stage: &self.stage, real_sources: false };
        let Some(mut graph) = load::plan(self.pipeline, &bind, true).graph else {
            let message = "the pipeline cannot be planned for a test";
            return Err(vec![Problem::new(self.test.name.span, message)]);
        };
        hurry(&mut graph);
        let expected = watch(&mut graph, self.test, self.pipeline, &self.stage)?;
        Ok((graph, expected))
    }
}

/// Lets nodes try again quickly.
fn hurry(graph: &mut Graph) {
    for node in &mut graph.nodes {
        let delivery = match &mut node.kind {
            NodeKind::Upsert(u) => &mut u.delivery,
            NodeKind::Sink(s) => &mut s.delivery,
            _ => continue,
        };
        (delivery.backoff, delivery.max_backoff, delivery.give_up_after) = (BACKOFF, MAX_BACKOFF, GIVE_UP_AFTER);
    }
}

/// Captures every port the test expects something of.
fn watch(graph: &mut Graph, test: &Test, pipeline: &Pipeline, stage: &Stage) -> Result<Vec<Expected>, Vec<Problem>> {
    let names = Names::of(graph);
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for (name, rows) in &test.expect {
        let mut expected = Expected::new(name.clone(), rows.clone());
        if pipeline.tables.iter().any(|(id, _)| id.value == name.value) {
            expected.table = Some(name.value.clone());
            all.push(expected);
            continue;
        }
        let ports = names.matching(&name.value);
        if ports.is_empty() && !name.value.contains('*') {
            let mut problem = Problem::new(name.span, format!("no stream named `{}`", name.value));
            let near = millstream_spec::suggest::nearest(&name.value, names.all());
            problem.help = near.map(|near| format!("did you mean `{near}`?"));
            problems.push(problem);
            continue;
        }
        for (port, at) in ports {
            let found = graph.nodes.get(at.node).and_then(|n| n.ports.get(at.port)).cloned();
            let id = capture(graph, &port, at, stage.capturing());
            if let (Some(found), Some(id)) = (found, id) {
                expected.add_port(id, found);
            }
        }
        all.push(expected);
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}
