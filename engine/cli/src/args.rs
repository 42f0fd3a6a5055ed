//! What can be written on the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::exit::Failure;
use crate::state::{BeginArgs, StateArgs};
use crate::udf::UdfCommand;
use crate::{
    bench, check, checkpoints, docs, explain, list, new, preview, produce, query, replay, resources, run, schema, test,
    udf,
};

/// A streaming engine: one YAML file is a pipeline, this binary checks, tests and runs it.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    /// When to use colours; `auto` looks at the terminal and at NO_COLOR.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// What to log to stderr: `warn`, `info`, `debug`, or filters such as `millstream_runtime=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", hide_env = true)]
    pub(crate) log: Option<String>,
    /// How logs are written: lines for people to stderr, or one JSON object per line to stdout, the result of `run` among them.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line, for collectors of logs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a commented starter pipeline that runs.
    New(NewArgs),
    /// Finds everything wrong with pipeline files, without running anything.
    Check(CheckArgs),
    /// Runs the tests inside pipeline files.
    Test(TestArgs),
    /// Runs a pipeline; bounded inputs end by themselves.
    Run(RunArgs),
    /// Shows the resolved graph, the plans, and what each sink guarantees.
    Explain(ExplainArgs),
    /// Shows the first rows at any node or port; nothing is written anywhere.
    Preview(PreviewArgs),
    /// Runs SQL over the pipeline's tables and keyed files.
    Query(QueryArgs),
    /// Puts the records of a file into the stream that a source reads.
    Produce(ProduceArgs),
    /// Lists what a pipeline needs of its services: as a list, as a policy, or made for development.
    Resources(ResourcesArgs),
    /// Puts dead letters to where they could not go; each is removed only after that is done.
    Replay(ReplayArgs),
    /// Lists the checkpoints of a pipeline.
    Checkpoints(CheckpointsArgs),
    /// Runs a pipeline and measures it: rows a second and core, memory, latency. It writes for real.
    Bench(BenchArgs),
    /// Functions of your own for SQL, in Rust.
    #[command(subcommand)]
    Udf(UdfCommand),
    /// Lists the connectors, or the functions of a pipeline file.
    List(ListArgs),
    /// Shows the options of a connector.
    Docs(DocsArgs),
    /// Prints the JSON Schema of pipeline files, for editors.
    Schema,
}

impl Command {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        match self {
            Self::New(args) => new::execute(&args),
            Self::Check(args) => check::execute(&args),
            Self::Test(args) => test::execute(&args),
            Self::Run(args) => run::execute(&args),
            Self::Explain(args) => explain::execute(&args),
            Self::Preview(args) => preview::execute(&args),
            Self::Query(args) => query::execute(&args),
            Self::Produce(args) => produce::execute(&args),
            Self::Resources(args) => resources::execute(&args),
            Self::Replay(args) => replay::execute(&args),
            Self::Checkpoints(args) => checkpoints::execute(&args),
            Self::Bench(args) => bench::execute(&args),
            Self::Udf(command) => udf::execute(&command),
            Self::List(args) => list::execute(&args),
            Self::Docs(args) => docs::execute(&args),
            Self::Schema => schema::execute(),
        }
    }
    /// What is logged where nobody said: a command that only looks stays silent.
    pub(crate) fn default_log(&self) -> &'static str {
        match self {
            Self::Test(_) | Self::Preview(_) => "error",
            _ => "warn",
        }
    }
}

/// A pipeline file and how it is read.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct FileArgs {
    /// The pipeline file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) reading: ReadArgs,
}

/// How pipeline files are read.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ReadArgs {
    /// The profile that binds names to connectors; the first of the file by default.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Overrides a value that stands in the file, by its dotted path: `--set checkpoint.every=1m`, `--set
    /// sinks.refused.from.0=valid.rejected`. It adds no keys: write those into the file.
    #[arg(long, value_name = "PATH=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

/// Options of `run`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Worker threads; the machine's cores by default. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Stop as soon as every source is caught up and nothing is in flight.
    #[arg(long)]
    pub(crate) until_idle: bool,
    #[command(flatten)]
    pub(crate) begin: BeginArgs,
    /// Print the closing summary as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `resources`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ResourcesArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Make what is missing, empty and paid by use: for development.
    #[arg(long)]
    pub(crate) create: bool,
    /// Print an IAM policy that allows what the pipeline does, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub(crate) policy: bool,
    /// The region in the policy's ARNs, where the connectors do not say one.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", hide_env_values = true)]
    pub(crate) region: Option<String>,
    /// The account in the policy's ARNs.
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<String>,
    /// Print them as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `checkpoints`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CheckpointsArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    #[command(flatten)]
    pub(crate) place: StateArgs,
    /// Print them as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `new`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct NewArgs {
    /// Name of the pipeline: NAME.yaml is written.
    pub(crate) name: String,
}

/// Options of `check`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct CheckArgs {
    /// The pipeline files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadArgs,
    /// Also ask the services: credentials, existence, keys, permissions. Changes nothing.
    #[arg(long)]
    pub(crate) online: bool,
    /// Also say what the pipeline would keep or refuse of the state stored in this folder, or where a run would look.
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) state: Option<Option<PathBuf>>,
    /// Print the findings as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `test`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TestArgs {
    /// The pipeline files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadArgs,
    /// Only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Worker threads of each test.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: u16,
    /// Print the results as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `explain`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// How it is shown.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: GraphFormat,
}

/// How a graph is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For reading.
    Text,
    /// A Mermaid flow chart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// Everything, for programs.
    Yaml,
}

/// Options of `preview`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PreviewArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// A node or port: `trips.completed`, `trip_starts.rejected`.
    #[arg(value_name = "NODE_OR_PORT")]
    pub(crate) port: String,
    /// How many rows.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows: u32,
    /// How they are shown.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: RowFormat,
}

/// Options of `query`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// One SQL query over tables and keyed sinks: \"SELECT status, count(*) FROM trip_state GROUP BY status\".
    #[arg(value_name = "SQL")]
    pub(crate) sql: String,
    /// How the result is shown.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: RowFormat,
}

/// Options of `produce`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The source whose stream gets the records.
    pub(crate) source: String,
    /// The file: JSON lines, which are sent as they are, or CSV with a header or Parquet, whose rows become JSON objects;
    /// also compressed (`.gz`, `.zst`).
    #[arg(long, value_name = "DATA")]
    pub(crate) from: String,
    /// Most records a second; as fast as it goes by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// The column whose value decides the shard or message group; records of one value stay in order. By default each
    /// record goes anywhere.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) partition_key: Option<String>,
    /// Send in the order of the source's event time, as the events once came; the file is read whole before. By default
    /// in the order of the file, where many rows may be late.
    #[arg(long)]
    pub(crate) by_event_time: bool,
}

/// Options of `replay`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// The sink that refused rows were written to: `dead_letter`.
    #[arg(value_name = "SINK")]
    pub(crate) sink: String,
    /// Only say what would be done: nothing is written, and nothing removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long a table that does not answer is tried before the rest is left.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) give_up_after: std::time::Duration,
    /// Print what became of the letters as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// For reading.
    Table,
    /// One JSON object per line.
    Json,
    /// With a header.
    Csv,
}

/// Options of `bench`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Worker threads; the machine's cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Take checkpoints as the file says, in a temporary folder; else none but at the end are.
    #[arg(long)]
    pub(crate) durable: bool,
    /// How often it is run.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// Write the figures as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// Options of `list`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ListArgs {
    /// A pipeline file: its functions are listed, with what they take and give.
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadArgs,
    /// Print them as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `docs`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DocsArgs {
    /// A connector, such as `file`.
    pub(crate) connector: String,
    /// Print its JSON Schema.
    #[arg(long)]
    pub(crate) json: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("write it as `path=value`, such as `checkpoint.every=1m`".to_owned()),
    }
}
