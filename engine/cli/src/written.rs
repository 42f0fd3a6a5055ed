//! What a pipeline has written: read back for the summary.

use arrow::array::RecordBatch;
use millstream_core::sink::WriteMode;
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_spec::model::Pipeline;

/// A text among the options of what a profile binds to a name.
pub(crate) fn option(pipeline: &Pipeline, profile: Option<&str>, name: &str, option: &str) -> Option<String> {
    let (_, profile) = pipeline.profiles.iter().find(|(id, _)| profile.is_none_or(|p| id.value == p))?;
    let (_, binding) = profile.bindings.iter().find(|(id, _)| id.value == name)?;
    binding.options.value.get(option)?.as_str().map(str::to_owned)
}

/// The rows of every keyed sink whose connector can read them back, by the sink's id.
pub(crate) async fn keyed(graph: &Graph) -> Vec<(String, Vec<RecordBatch>)> {
    let mut all = Vec::new();
    for node in &graph.nodes {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        if sink.options.mode != WriteMode::Overwrite {
            continue;
        }
        match sink.connector.written(&sink.options).await {
            Ok(rows) => all.push((node.id.clone(), rows)),
            Err(e) => tracing::debug!("results of {} cannot be shown: {e}", node.id),
        }
    }
    all
}
