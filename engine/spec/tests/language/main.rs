//! The pipeline language from text to model and findings, over connectors of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod connectors;
mod diagnostics;
mod documentation;
mod editor;
mod model;

use std::path::Path;

use millstream_spec::{ParseOptions, Parsed, parse};

/// Reads `text` as `check` does: no variable is set, nothing has to be.
pub(crate) fn check(text: &str) -> Parsed {
    read(text, &|_| None, false, None, &[])
}

/// Reads `text` with everything said.
pub(crate) fn read(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    run: bool,
    profile: Option<&str>,
    set: &[(&str, &str)],
) -> Parsed {
    let registry = connectors::registry();
    let set: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let options = ParseOptions {
        environment,
        pipeline_dir: Path::new("pipelines"),
        require_variables: run,
        for_run: run,
        registry: &registry,
        profile,
        set: &set,
    };
    parse(text, &options)
}
