//! Options of `stdout`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `stdout`: rows as lines on the standard output, in the sink's `format`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutConfig {}
