//! Options of `tcp`.

use millstream_core::format::RecordFormat;
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `tcp`: lines over a connection. Exactly one of `listen` and `connect` is given.
///
/// A source reads no faster than the pipeline takes its records. A sink that listens gives every row to every client
/// that is connected, and waits while there is none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// The address to wait for connections at, such as `127.0.0.1:7001`.
    pub listen: Option<String>,
    /// The address to connect to, again and again until someone is there.
    pub connect: Option<String>,
    /// How the lines of a source are encoded: json (default), csv with a first line per connection, or raw.
    #[serde(default)]
    pub format: RecordFormat,
    /// Whether a source ends when its first connection is closed by the other side. Default false: it never ends.
    #[serde(default)]
    pub until_close: bool,
    /// Whether the lines come in event-time order up to `max_delay`. Default true.
    #[serde(default = "default_ordered")]
    pub ordered: bool,
}

fn default_ordered() -> bool {
    true
}
