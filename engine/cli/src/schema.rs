//! `schema`: the JSON Schema by which editors complete and check pipeline files.

use crate::exit::Failure;
use crate::{registry, terminal};

/// Runs the command.
pub(crate) fn execute() -> Result<(), Failure> {
    terminal::out(&text());
    Ok(())
}

/// The schema as the file `pipeline.schema.json` holds it.
pub(crate) fn text() -> String {
    format!("{:#}\n", millstream_spec::json_schema(&registry::registry()))
}
