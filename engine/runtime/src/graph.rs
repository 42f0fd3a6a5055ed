//! The resolved pipeline: what the `plan` crate makes of a file and the runtime runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use millstream_core::caller::{Caller, Wake};
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::error::Result;
use millstream_core::operator::Operator;
use millstream_core::refusal;
use millstream_core::sink::{Delivery, SinkOptions};
use millstream_core::table::TableSchema;
use millstream_operators::upsert::Upsert;

/// Which port of which node, by index into [`Graph::nodes`] and [`Node::ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRef {
    /// The node.
    pub node: usize,
    /// Its port.
    pub port: usize,
}

/// An output of a node.
#[derive(Debug, Clone)]
pub struct Port {
    /// Empty for the main port, else what follows the dot: `rejected`.
    pub name: String,
    /// User columns, then hidden ones.
    pub schema: SchemaRef,
    /// User columns that identify a row; empty where nothing does. A later row of a key replaces earlier ones.
    pub key: Vec<String>,
}

impl Port {
    /// Whether refused rows leave by it.
    pub fn is_refused(&self) -> bool {
        matches!(self.name.as_str(), "rejected" | "late" | "failed") && self.schema == refusal::schema()
    }
}

/// A node of the graph.
#[derive(Debug)]
pub struct Node {
    /// Its id in the pipeline file.
    pub id: String,
    /// What it does.
    pub kind: NodeKind,
    /// What it reads: the index is the operator's `InPort`.
    pub inputs: Vec<PortRef>,
    /// What it gives: the index is the operator's `OutPort`.
    pub ports: Vec<Port>,
    /// The source nodes its rows come from: their least watermark is its watermark.
    pub sources: Vec<usize>,
}

impl Node {
    /// `id` or `id.port`.
    pub fn port_name(&self, port: usize) -> String {
        match self.ports.get(port) {
            Some(p) if !p.name.is_empty() => format!("{}.{}", self.id, p.name),
            _ => self.id.clone(),
        }
    }
}

/// Where the rows of an input are worked on.
#[derive(Debug, Clone)]
pub enum Routing {
    /// On the worker they are on.
    Local,
    /// By the key group of these columns.
    Keys(Vec<usize>),
    /// All on worker 0.
    Single,
}

/// Makes a worker's instance of an operator.
pub type MakeOperator = Arc<dyn Fn() -> Result<Box<dyn Operator>> + Send + Sync>;

/// One step of a node's work; a node with several runs them in sequence, the last one owning the node's ports, the
/// others passing batches on by `OutPort(0)` and everything else by the node's ports.
#[derive(Clone)]
pub struct Stage {
    /// By input of the node for the first stage; one element for the others.
    pub routing: Vec<Routing>,
    /// Makes it.
    pub make: MakeOperator,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("routing", &self.routing).finish_non_exhaustive()
    }
}

/// What a node does.
pub enum NodeKind {
    /// Reads records and decodes them. Ports: rows, `raw`, `rejected`, `late`.
    Source(SourceNode),
    /// Pure work.
    Operator(Vec<Stage>),
    /// Asks elsewhere, row by row. Ports: as of an operator.
    Caller(CallerNode),
    /// Merges rows into a table and writes it through. Ports: one per status, then the table's `failed`.
    Upsert(UpsertNode),
    /// Writes rows. Ports: `failed`, unless it reads refused rows.
    Sink(SinkNode),
}

impl fmt::Debug for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl NodeKind {
    /// The kind in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Operator(_) => "operator",
            Self::Caller(_) => "caller",
            Self::Upsert(_) => "upsert",
            Self::Sink(_) => "sink",
        }
    }
}

/// Port numbers of a source.
pub mod source_port {
    /// Decoded rows.
    pub const ROWS: usize = 0;
    /// Records as bytes.
    pub const RAW: usize = 1;
    /// Records that do not decode.
    pub const REJECTED: usize = 2;
    /// Rows behind the watermark.
    pub const LATE: usize = 3;
}

/// How event time is taken from a source's rows.
#[derive(Debug, Clone)]
pub struct EventTime {
    /// Index of the timestamp column.
    pub column: usize,
    /// Its name.
    pub name: String,
    /// How far rows may be out of order within a split.
    pub max_delay: Duration,
    /// How far behind the split's watermark a row is still accepted.
    pub late_after: Duration,
    /// How long a caught-up split may be silent before it stops holding the watermark back.
    pub idle_after: Duration,
    /// How far past its arrival an event time may lie.
    pub max_future: Duration,
}

/// A source.
pub struct SourceNode {
    /// The connector it reads from.
    pub connector: Arc<dyn Connector>,
    /// What the connector is told.
    pub options: SourceOptions,
    /// Its event time, if it has one.
    pub event_time: Option<EventTime>,
    /// Whether anything reads the `raw` port.
    pub raw_is_read: bool,
}

/// Makes a worker's instance of a caller, which wakes its host when there are answers.
pub type MakeCaller = Arc<dyn Fn(Wake) -> Result<Box<dyn Caller>> + Send + Sync>;

/// A node that asks elsewhere.
pub struct CallerNode {
    /// By input.
    pub routing: Vec<Routing>,
    /// Makes it.
    pub make: MakeCaller,
}

/// An upsert with its table.
pub struct UpsertNode {
    /// By input.
    pub routing: Vec<Routing>,
    /// Makes a worker's instance.
    pub make: Arc<dyn Fn() -> Result<Upsert> + Send + Sync>,
    /// Id of the table.
    pub table_id: String,
    /// The store's connector.
    pub connector: Arc<dyn Connector>,
    /// What the store is told.
    pub table: TableSchema,
    /// How trouble is dealt with.
    pub delivery: Delivery,
    /// Rows are written only after a checkpoint holds them: another attempt at the same input may give others.
    pub after_checkpoint: bool,
}

/// A sink.
pub struct SinkNode {
    /// The connector it writes to.
    pub connector: Arc<dyn Connector>,
    /// What the connector is told; `instance` and `instances` are filled in per worker.
    pub options: SinkOptions,
    /// Where its rows are written.
    pub routing: Routing,
    /// Work before the writing, such as a digest.
    pub before: Option<MakeOperator>,
    /// How trouble is dealt with.
    pub delivery: Delivery,
    /// Whether refused rows leave by a `failed` port; else they can only block or stop the pipeline.
    pub has_failed_port: bool,
}

/// The resolved pipeline. Nodes come after all the nodes they read.
#[derive(Debug)]
pub struct Graph {
    /// The pipeline's name.
    pub name: String,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Time between checkpoints; without a store, between commits of what sinks have staged.
    pub checkpoint_every: Duration,
}

impl Graph {
    /// Who reads a port, as (node, in-port).
    pub fn readers(&self, port: PortRef) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.nodes.iter().enumerate().flat_map(move |(n, node)| {
            node.inputs.iter().enumerate().filter(move |(_, p)| **p == port).map(move |(i, _)| (n, i))
        })
    }
}

impl Node {
    /// The table an upsert writes to.
    pub fn table_id(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Upsert(u) => Some(&u.table_id),
            _ => None,
        }
    }
}
