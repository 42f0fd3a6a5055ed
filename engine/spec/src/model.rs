//! The pipeline file as typed values, each with its place in the text.
//!
//! This is what a file *says*; names are not resolved and SQL is not planned here (that is the `plan` crate).

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_core::format::{Compression, RecordFormat};
use millstream_core::schema::SourceSchema;
use millstream_core::sink::{Delivery, WriteMode};

use crate::span::{Span, Spanned};

/// A map that keeps the order of the file.
pub type OrderedMap<T> = Vec<(Spanned<String>, T)>;

/// A whole pipeline file.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// `name:`.
    pub name: Spanned<String>,
    /// `profiles:`, in the order of the file; the first is the default.
    pub profiles: OrderedMap<Profile>,
    /// `checkpoint:`.
    pub checkpoint: Checkpoint,
    /// `metrics:`.
    pub metrics: Option<Metrics>,
    /// `sources:`.
    pub sources: OrderedMap<Source>,
    /// `tables:`.
    pub tables: OrderedMap<Table>,
    /// `udfs:`.
    pub udfs: OrderedMap<UdfSpec>,
    /// `transforms:`.
    pub transforms: OrderedMap<Transform>,
    /// `sinks:`.
    pub sinks: OrderedMap<SinkSpec>,
    /// Ports (or `*.port` globs) of refused rows that are declared `drop`: `drop: ["*.late"]` at the top level.
    pub drop: Vec<Spanned<String>>,
    /// `tests:`.
    pub tests: Vec<Test>,
}

/// One profile: names bound to connectors.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// In the order of the file.
    pub bindings: OrderedMap<Binding>,
}

/// A name bound to a connector: one key with its options.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The connector's name, at its key.
    pub connector: Spanned<String>,
    /// Its options with `${VAR}` substituted, at their map; checked against the connector's own schema.
    pub options: Spanned<serde_json::Value>,
}

/// `checkpoint:`.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Time between checkpoints; default 10 s.
    pub every: Duration,
    /// A name bound by the profile, or none.
    pub store: Option<Spanned<String>>,
    /// How many are kept; default 3.
    pub keep: u32,
}

/// `metrics:`.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// A name bound by the profile.
    pub write: Spanned<String>,
    /// Time between two reports; default 1 m.
    pub every: Duration,
}

/// One source.
#[derive(Debug, Clone)]
pub struct Source {
    /// A name bound by the profile.
    pub read: Spanned<String>,
    /// The declared schema.
    pub schema: SourceSchema,
    /// Where each declared column stands in the file, by name.
    pub column_spans: BTreeMap<String, Span>,
    /// `event_time:`.
    pub event_time: Option<EventTimeSpec>,
}

/// `event_time:` of a source.
#[derive(Debug, Clone)]
pub struct EventTimeSpec {
    /// A timestamp column of the source.
    pub column: Spanned<String>,
    /// How far rows may be out of order within a split; default 0.
    pub max_delay: Duration,
    /// How far behind the split's watermark a row is still accepted; default 0.
    pub late_after: Duration,
    /// How long a caught-up split may be silent before it stops holding the watermark back; default 30 s.
    pub idle_after: Duration,
    /// How far past its arrival an event time may lie; default 1 h.
    pub max_future: Duration,
}

/// One table.
#[derive(Debug, Clone)]
pub struct Table {
    /// A name bound by the profile.
    pub store: Spanned<String>,
    /// Columns that identify a row: at least one.
    pub key: Vec<Spanned<String>>,
    /// How long after its last write a row expires in the store.
    pub ttl: Option<Duration>,
    /// How long after its last event the engine forgets a key.
    pub forget_after: Option<Duration>,
    /// What to do with rows the store finds too large.
    pub oversize: Oversize,
    /// The pipeline's delivery, as this table overrides it.
    pub delivery: Delivery,
}

/// `oversize:` of a table.
#[derive(Debug, Clone, Default)]
pub enum Oversize {
    /// The row is a bad row.
    #[default]
    FailRow,
    /// These columns are cut until it fits.
    Truncate(Vec<Spanned<String>>),
}

/// One function of the user's.
#[derive(Debug, Clone)]
pub struct UdfSpec {
    /// Where it comes from.
    pub from: UdfFrom,
    /// `ordered:`.
    pub ordered: Option<bool>,
    /// `timeout:`.
    pub timeout: Option<Duration>,
    /// `max_in_flight:`.
    pub max_in_flight: Option<u32>,
    /// `deterministic:`.
    pub deterministic: Option<bool>,
}

/// Where a UDF comes from.
#[derive(Debug, Clone)]
pub enum UdfFrom {
    /// A crate to be built.
    Crate(Spanned<String>),
    /// A built library.
    Library {
        /// The file.
        path: Spanned<String>,
        /// Name of each argument's type, and whether the function sees nulls of it.
        args: Vec<(String, bool)>,
        /// Name of the result's type.
        returns: String,
        /// `scalar`, `aggregate`, `async`.
        kind: &'static str,
    },
}

/// One transform.
#[derive(Debug, Clone)]
pub struct Transform {
    /// What it does.
    pub kind: TransformKind,
    /// The place of the key that says so (`validate:`, `sql:`).
    pub span: Span,
    /// `emit:`, for windowed SQL.
    pub emit: Option<Emit>,
}

/// What a transform does.
#[derive(Debug, Clone)]
pub enum TransformKind {
    /// Rows that fail a rule leave by `.rejected` with every failed rule.
    Validate {
        /// The input port.
        from: Spanned<String>,
        /// By id, in order.
        rules: OrderedMap<Rule>,
    },
    /// Rows whose key was seen within a time are dropped.
    Dedup {
        /// The input port.
        from: Spanned<String>,
        /// Columns that identify a row.
        key: Vec<Spanned<String>>,
        /// How long a key is remembered, in event time.
        within: Duration,
    },
    /// Rows are merged by key into a table; status transitions are ports.
    Upsert {
        /// A table.
        into: Spanned<String>,
        /// By input port.
        set: OrderedMap<SetSpec>,
        /// Status -> SQL predicate over the table's columns, first true wins.
        status: OrderedMap<Spanned<SqlText>>,
    },
    /// Rows go to the port of their case.
    Route {
        /// The input port.
        from: Spanned<String>,
        /// A column.
        on: Spanned<String>,
        /// Port -> value of the column.
        cases: OrderedMap<Spanned<String>>,
        /// What happens to the rest.
        otherwise: RouteElse,
    },
    /// SQL over the ports it names.
    Sql(Spanned<SqlText>),
}

/// What a route does with rows that fit no case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteElse {
    /// They leave by `.rejected`.
    #[default]
    Reject,
    /// They are counted as filtered.
    Drop,
}

/// A rule of a `validate`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// A boolean SQL expression; NULL fails.
    pub check: Spanned<SqlText>,
    /// A template over the row's columns; default: the rule's id and its check.
    pub reason: Option<Spanned<String>>,
}

/// What one input of an upsert sets.
#[derive(Debug, Clone)]
pub struct SetSpec {
    /// The columns; `None` is `"*"`: all of the input's columns.
    pub columns: Option<Vec<Spanned<String>>>,
    /// The column whose greater value wins, where inputs share columns.
    pub latest_by: Option<Spanned<String>>,
    /// Whether a null overwrites (`nulls: write`); by default it does not.
    pub write_nulls: bool,
    /// The place of the input's name.
    pub span: Span,
}

/// SQL as the user wrote it, with the place of each of its lines, so that an error inside a block scalar points
/// into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlText {
    /// The SQL.
    pub text: String,
    /// For each byte of `text`, nothing; for each line of `text`, the byte offset in the file where it begins.
    /// Empty where the scalar cannot be mapped (folded or escaped): the whole scalar is then the place.
    pub line_offsets: Vec<usize>,
    /// The whole scalar.
    pub span: Span,
}

/// `emit:` of a windowed SQL node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emit {
    /// Give preliminary results this often (wall clock).
    pub early: Option<Duration>,
    /// How long after a window's end rows are still accepted into it, measured by the rows' own event time.
    pub allowed_lateness: Duration,
}

/// One sink.
#[derive(Debug, Clone)]
pub struct SinkSpec {
    /// Ports or `*.port` globs.
    pub from: Vec<Spanned<String>>,
    /// A name bound by the profile.
    pub write: Spanned<String>,
    /// How rows are encoded; default json.
    pub format: Option<Spanned<RecordFormat>>,
    /// How files are compressed; default none.
    pub compression: Compression,
    /// Path template.
    pub path: Option<Spanned<String>>,
    /// `append` or `overwrite`.
    pub mode: WriteMode,
    /// When append files roll: bytes, time. Default 64 MiB, 5 min.
    pub roll: millstream_core::sink::Roll,
    /// Alerts as digests.
    pub digest: Option<Digest>,
    /// Subject template of alerts.
    pub subject: Option<Spanned<String>>,
    /// Message template of alerts.
    pub message: Option<Spanned<String>>,
    /// `decimals: string`.
    pub decimals_as_strings: bool,
    /// The pipeline's delivery, as this sink overrides it.
    pub delivery: Delivery,
}

/// `digest:` of a sink: one message per group and time instead of one per row.
#[derive(Debug, Clone)]
pub struct Digest {
    /// Wall-clock time between digests.
    pub every: Duration,
    /// Columns to group by (`component`, `rule`, or columns of the input).
    pub by: Vec<Spanned<String>>,
    /// How many rows are shown in each.
    pub samples: usize,
}

/// One inline test.
#[derive(Debug, Clone)]
pub struct Test {
    /// `name:`.
    pub name: Spanned<String>,
    /// `steps:`.
    pub steps: Vec<Spanned<Step>>,
    /// `expect:`: a table, a port, a `*.port` glob -> the rows, each column to its value; compared by listed columns.
    pub expect: OrderedMap<Vec<Spanned<serde_json::Value>>>,
}

/// A step of an inline test.
#[derive(Debug, Clone)]
pub enum Step {
    /// A record (or records) for a source: an object is encoded in the source's format, a string is taken as the
    /// record's bytes.
    Record {
        /// The source.
        source: Spanned<String>,
        /// The record.
        value: serde_json::Value,
    },
    /// All sources' watermarks move to this time.
    Watermark(String),
    /// The next calls at a binding fail.
    Fault {
        /// A name bound by the profile.
        at: Spanned<String>,
        /// `throttled`, `unavailable`, `refused`.
        kind: Spanned<String>,
        /// How many calls; default 1.
        times: u32,
    },
    /// A crash: `now`, `before_checkpoint`, `after_checkpoint`.
    Crash(String),
    /// A restart with another number of workers.
    Restart {
        /// How many.
        workers: usize,
    },
}
