//! `check --online`: asks the services that a pipeline uses whether it could.

use futures::future::join_all;
use millstream_core::connector::Registry;
use millstream_spec::{Finding, Severity, codes};

use crate::exit::Failure;
use crate::load::Loaded;
use crate::state;
use crate::uses::{Used, uses};

/// What stands in the way of a pipeline at its services, as findings at the bindings of its profile.
pub(crate) async fn findings(loaded: &Loaded, registry: &Registry) -> Result<Vec<Finding>, Failure> {
    let Some(graph) = loaded.planned.as_ref().and_then(|p| p.graph.as_ref()) else { return Ok(Vec::new()) };
    let state = state::name(loaded)?;
    let uses = uses(loaded, graph, &state, registry)?;
    let asked = uses.iter().map(|used| async move { (used, used.connector.online(&used.of).await) });
    let mut findings: Vec<Finding> = Vec::new();
    for (used, obstacles) in join_all(asked).await {
        for obstacle in obstacles {
            let finding = finding(used, obstacle);
            // Several sinks over one bucket meet the same obstacle.
            let known = |f: &Finding| f.message == finding.message && f.path == finding.path;
            if !findings.iter().any(known) {
                findings.push(finding);
            }
        }
    }
    Ok(findings)
}

fn finding(used: &Used<'_>, obstacle: millstream_core::resource::Obstacle) -> Finding {
    let (code, severity) = match obstacle.fatal {
        true => (codes::SERVICE_REFUSES, Severity::Error),
        false => (codes::SERVICE_WARNS, Severity::Warning),
    };
    Finding {
        code,
        severity,
        message: obstacle.message,
        span: used.span,
        label: Some(match &obstacle.action {
            Some(action) => format!("`{}` needs {action}", used.of.place()),
            None => format!("used by `{}`", used.of.place()),
        }),
        path: used.path.clone(),
        help: obstacle.help,
    }
}
