//! Plays the steps of a test, each only after everything the one before it led to.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::format::RecordFormat;
use millstream_core::schema::SourceSchema;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::time::EventTime;
use millstream_formats::decoder;
use millstream_local::fault::Fault;
use millstream_plan::Bind as _;
use millstream_plan::Profile;
use millstream_runtime::clock::Clock;
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_runtime::run::{Handle, Running};
use millstream_runtime::{RunOptions, start};
use millstream_spec::model::{Pipeline, Step, Test};
use millstream_spec::{Span, Spanned};
use serde_json::Value;
use tokio::time::Instant;

use super::Problem;
use super::expect::{self, Expected};
use crate::ledger;
use crate::load;
use crate::stage::{Names, OnStage, Stage, capture, csv_field};

/// Time between two looks at whether a step is done.
const LOOK: Duration = Duration::from_millis(1);
/// A step that takes longer than this never ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// 2024-01-01T00:00:00Z: the wall clock of every test begins here, so that nothing that fires by the minute does so by
/// chance.
const BEGIN: u64 = 1_704_067_200_000_000;
/// Pauses between attempts in a test: services that fail on order need no rest.
const BACKOFF: Duration = Duration::from_millis(1);
const MAX_BACKOFF: Duration = Duration::from_millis(10);
/// How long a test tries before it gives up, whatever the file says: more than 100 faults in a row.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// Real time, moved to [`BEGIN`].
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn micros(&self) -> u64 {
        BEGIN + self.0.elapsed().as_micros() as u64
    }
}

/// A test on its way.
struct Player<'a> {
    pipeline: &'a Pipeline,
    profile: &'a Profile<'a>,
    stage: Stage,
    handle: Handle,
    /// When the newest record arrived, for records without a time.
    now: EventTime,
}

/// Runs a test; says everything that is not as it says.
pub(super) async fn run(pipeline: &Pipeline, profile: &Profile<'_>, test: &Test, workers: usize) -> Vec<Problem> {
    if let Some(problem) = test.steps.iter().find_map(needs_checkpoints) {
        return vec![problem];
    }
    let stage = Stage::default();
    let bind = OnStage { profile, stage: &stage, real_sources: false };
    let Some(mut graph) = load::plan(pipeline, &bind, true).graph else {
        return vec![Problem::new(test.name.span, "the pipeline cannot be planned for a test")];
    };
    hurry(&mut graph);
    let expected = match watch(&mut graph, test, pipeline, &stage) {
        Ok(expected) => expected,
        Err(problems) => return problems,
    };
    let options = RunOptions { workers, clock: Arc::new(TestClock(Instant::now())), ..RunOptions::default() };
    let running = match start(graph, options).await {
        Ok(running) => running,
        Err(e) => return vec![Problem::new(test.name.span, format!("the pipeline does not start: {e}"))],
    };
    let handle = running.handle();
    let mut player = Player { pipeline, profile, stage, handle, now: EventTime(0) };
    let mut problems = player.play(test).await;
    // With watermarks a test says how far time has come; without, everything ends, as files do.
    let timed = test.steps.iter().any(|s| matches!(s.value, Step::Watermark(_)));
    if timed && problems.is_empty() {
        problems = expect::compare(pipeline, &player.stage, &expected).await;
    }
    problems.extend(player.finish(running, test.name.span).await);
    if !timed && problems.is_empty() {
        problems = expect::compare(pipeline, &player.stage, &expected).await;
    }
    problems
}

/// Steps that only checkpoints make possible.
fn needs_checkpoints(step: &Spanned<Step>) -> Option<Problem> {
    let name = match &step.value {
        Step::Crash(_) => "crash",
        Step::Restart { .. } => "restart",
        _ => return None,
    };
    let mut problem =
        Problem::new(step.span, format!("`{name}` needs checkpoints, which this build does not have yet"));
    problem.help = Some(format!("without the step `{name}` the rest of the test can run"));
    Some(problem)
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

impl Player<'_> {
    /// Plays all steps.
    async fn play(&mut self, test: &Test) -> Vec<Problem> {
        if let Some(problem) = self.ready(test.name.span).await {
            return vec![problem];
        }
        for step in &test.steps {
            if let Some(problem) = self.step(step).await {
                return vec![problem];
            }
        }
        Vec::new()
    }

    async fn step(&mut self, step: &Spanned<Step>) -> Option<Problem> {
        match &step.value {
            Step::Record { source, value } => self.record(&source.value, value, step.span).await,
            Step::Watermark(text) => {
                let Some(time) = millstream_spec::instant(text) else {
                    return Some(Problem::new(step.span, format!("`{text}` is not a time")));
                };
                self.now = self.now.max(time);
                self.handle.advance(time);
                self.settle(step.span).await
            }
            Step::Fault { at, kind, times } => match kind.value.parse::<Fault>() {
                Ok(fault) => {
                    self.stage.fail(&at.value, fault, *times);
                    None
                }
                Err(message) => Some(Problem::new(kind.span, message)),
            },
            Step::Crash(_) | Step::Restart { .. } => needs_checkpoints(step),
        }
    }

    async fn record(&mut self, source: &str, value: &Value, span: Span) -> Option<Problem> {
        let Some((_, declared)) = self.pipeline.sources.iter().find(|(id, _)| id.value == source) else {
            return Some(Problem::new(span, format!("no source named `{source}`")));
        };
        let bound = self.profile.bind(&declared.read.value).and_then(|b| b.connector);
        let format = match bound.map(|c| c.record_format()) {
            Some(RecordFormat::Csv) => RecordFormat::Csv,
            _ => RecordFormat::Json,
        };
        let records = match value {
            Value::Array(several) => several.iter().collect(),
            one => vec![one],
        };
        for record in records {
            let bytes = encode(record, format, &declared.schema);
            let column = declared.event_time.as_ref().map(|e| e.column.value.as_str());
            let arrived = self.arrival(&bytes, format, &declared.schema, column);
            let before = self.read(source);
            self.stage.push(source, bytes, arrived);
            let read = self.until(span, |p| p.read(source) > before, "the record was never read").await;
            if read.is_some() {
                return read;
            }
        }
        self.settle(span).await
    }

    /// When a record arrives: at its own event time, so that a test means the same on every day; but no record
    /// comes from the future.
    fn arrival(
        &mut self,
        bytes: &[u8],
        format: RecordFormat,
        schema: &SourceSchema,
        column: Option<&str>,
    ) -> EventTime {
        let real = millstream_local::clock::Clock::now(&millstream_local::clock::SystemClock);
        let own = column.and_then(|column| event_time(bytes, format, schema, column));
        self.now = own.unwrap_or(self.now).min(real).max(EventTime(0));
        self.now
    }

    fn read(&self, source: &str) -> u64 {
        let snapshot = self.handle.snapshot();
        snapshot.nodes.iter().find(|n| n.id == source).map_or(0, |n| n.counts.input)
    }

    /// Waits until every source has its split.
    async fn ready(&mut self, span: Span) -> Option<Problem> {
        let all = |p: &Self| p.handle.snapshot().nodes.iter().filter(|n| n.kind == "source").all(|n| n.splits > 0);
        let problem = self.until(span, all, "the sources do not start").await;
        if problem.is_some() { problem } else { self.settle(span).await }
    }

    /// Waits until nothing that was given so far is in flight.
    async fn settle(&mut self, span: Span) -> Option<Problem> {
        // A command takes effect at the next tick, and what it leads to may be told at the one behind that.
        let tick = self.handle.current_tick() + 2;
        self.until(span, |p| p.handle.completed_tick() >= tick, "the step never ends: rows are still in flight").await
    }

    async fn until(&mut self, span: Span, done: impl Fn(&Self) -> bool, otherwise: &str) -> Option<Problem> {
        let began = Instant::now();
        while !done(self) {
            if self.handle.has_failed() {
                // What failed is told at the end.
                return Some(Problem::new(span, "the pipeline fails at this step"));
            }
            if began.elapsed() > PATIENCE {
                return Some(Problem::new(span, otherwise));
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    /// Ends all sources: their watermarks are then complete.
    fn end(&self) {
        self.stage.end(self.pipeline.sources.iter().map(|(id, _)| id.value.clone()));
    }

    /// Ends the run, and accounts for every row.
    async fn finish(&self, running: Running, span: Span) -> Vec<Problem> {
        self.end();
        let wait = tokio::time::timeout(PATIENCE, running.wait());
        match wait.await {
            Err(_) => vec![Problem::new(span, "the pipeline does not end when its sources do")],
            Ok(Err(e)) => vec![Problem::new(span, format!("the pipeline failed: {e}"))],
            Ok(Ok(snapshot)) => match ledger::verdict(&snapshot) {
                Ok(_) => Vec::new(),
                Err(wrong) => vec![Problem::new(span, format!("the ledger does not add up: {}", wrong.join("; ")))],
            },
        }
    }
}

/// The event time of a record, where it can be decoded.
fn event_time(bytes: &[u8], format: RecordFormat, schema: &SourceSchema, column: &str) -> Option<EventTime> {
    use arrow::array::AsArray as _;
    use arrow::datatypes::TimestampMicrosecondType;
    let record =
        RawRecord { start: 0, len: bytes.len() as u32, position: Position::Offset(0), arrived_at: EventTime(0) };
    let header = (format == RecordFormat::Csv).then(|| crate::stage::csv_header(schema));
    let raw = RawRecords { buffer: bytes.to_vec().into(), records: vec![record], header };
    let decoded = decoder(format, Arc::new(schema.clone())).ok()?.decode(&raw).ok()?;
    let times = decoded.rows.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?.clone();
    times.iter().next().flatten().map(EventTime)
}

/// The bytes of a record: a text as it is, a map in the source's format.
fn encode(record: &Value, format: RecordFormat, schema: &SourceSchema) -> Vec<u8> {
    match (record, format) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (Value::Object(_), RecordFormat::Csv) => {
            let field = |path: &Vec<String>| {
                let pointer: String =
                    path.iter().map(|p| format!("/{}", p.replace('~', "~0").replace('/', "~1"))).collect();
                // A record may be written with its path as one key, as the header has it.
                let value = record.pointer(&pointer).or_else(|| record.get(path.join(".")));
                match value {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => csv_field(text),
                    Some(other) => csv_field(&other.to_string()),
                }
            };
            schema.columns.iter().map(|c| field(&c.path)).collect::<Vec<_>>().join(",").into_bytes()
        }
        (other, _) => other.to_string().into_bytes(),
    }
}
