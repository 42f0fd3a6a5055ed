//! Plays the steps of a test, each only after everything the one before it led to.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_core::format::RecordFormat;
use millstream_core::schema::SourceSchema;
use millstream_core::time::EventTime;
use millstream_local::fault::Fault;
use millstream_plan::Bind as _;
use millstream_plan::Profile;
use millstream_spec::model::{Pipeline, Step, Test};
use millstream_spec::{Span, Spanned};
use serde_json::Value;
use tokio::time::Instant;

use super::Problem;
use super::expect;
use super::process::{Machine, Process};
use super::record::{encode, event_time};
use super::scene::Scene;
use crate::ledger;
use crate::stage::Stage;

/// Time between two looks at whether a step is done.
const LOOK: Duration = Duration::from_millis(1);
/// A step that takes longer than this never ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Something a test has given to the process that runs.
#[derive(Debug)]
pub(super) enum Given {
    /// Records of a source: all of its records up to this many.
    Records(String, u64),
    /// A watermark.
    Watermark(EventTime),
}

/// A test on its way.
pub(super) struct Player<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) machine: Machine,
    /// `None` where none could be started.
    pub(super) process: Option<Process>,
    pub(super) workers: usize,
    /// When the newest record arrived, for records without a time.
    now: EventTime,
    /// Everything so far, in order.
    pub(super) given: Vec<Given>,
    /// How many records each source was given.
    records: BTreeMap<String, u64>,
}

/// Runs a test; says everything that is not as it says.
pub(super) async fn run(pipeline: &Pipeline, profile: &Profile<'_>, test: &Test, workers: usize) -> Vec<Problem> {
    let scene = Scene { pipeline, profile, test, stage: Stage::of_test() };
    let (graph, expected) = match scene.set() {
        Ok(set) => set,
        Err(problems) => return problems,
    };
    let machine = Machine::default();
    let process = match machine.start(graph, workers).await {
        Ok(process) => process,
        Err(e) => return vec![Problem::new(test.name.span, format!("the pipeline does not start: {e}"))],
    };
    let (given, records) = (Vec::new(), BTreeMap::new());
    let mut player = Player { scene, machine, process: Some(process), workers, now: EventTime(0), given, records };
    let mut problems = player.play(test).await;
    // With watermarks a test says how far time has come; without, everything ends, as files do.
    let timed = test.steps.iter().any(|s| matches!(s.value, Step::Watermark(_)));
    if timed && problems.is_empty() {
        problems.extend(player.checkpoint(test.name.span).await);
        if problems.is_empty() {
            problems = expect::compare(pipeline, &player.scene.stage, &expected).await;
        }
    }
    problems.extend(player.finish(test.name.span).await);
    if !timed && problems.is_empty() {
        problems = expect::compare(pipeline, &player.scene.stage, &expected).await;
    }
    problems
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
                self.given.push(Given::Watermark(time));
                self.advance(time, step.span).await
            }
            Step::Fault { at, kind, times } => match kind.value.parse::<Fault>() {
                Ok(fault) => {
                    self.scene.stage.fail(&at.value, fault, *times);
                    None
                }
                Err(message) => Some(Problem::new(kind.span, message)),
            },
            Step::Crash(when) => self.crash(when, step.span).await,
            Step::Restart { workers } => self.restart(*workers, step.span).await,
        }
    }

    async fn record(&mut self, source: &str, value: &Value, span: Span) -> Option<Problem> {
        let Some((_, declared)) = self.scene.pipeline.sources.iter().find(|(id, _)| id.value == source) else {
            return Some(Problem::new(span, format!("no source named `{source}`")));
        };
        let bound = self.scene.profile.bind(&declared.read.value).and_then(|b| b.connector);
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
            self.scene.stage.push(source, bytes, arrived);
            let count = self.records.entry(source.to_owned()).or_default();
            *count += 1;
            let count = *count;
            let read = self.until_read(source, count, span).await;
            if read.is_some() {
                return read;
            }
        }
        let count = self.records.get(source).copied().unwrap_or_default();
        self.given.push(Given::Records(source.to_owned(), count));
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

    /// How many records of a source were read by this process and those before it, as far as their checkpoints count.
    pub(super) fn read(&self, source: &str) -> u64 {
        let Some(process) = &self.process else { return 0 };
        let snapshot = process.handle.snapshot();
        snapshot.nodes.iter().find(|n| n.id == source).map_or(0, |n| n.counts.input)
    }

    /// Waits until a source has read so many records.
    pub(super) async fn until_read(&mut self, source: &str, count: u64, span: Span) -> Option<Problem> {
        self.until(span, |p| p.read(source) >= count, "the record was never read").await
    }

    /// Moves all watermarks.
    pub(super) async fn advance(&mut self, to: EventTime, span: Span) -> Option<Problem> {
        if let Some(process) = &self.process {
            process.handle.advance(to);
        }
        self.settle(span).await
    }

    /// Waits until every source has its split.
    pub(super) async fn ready(&mut self, span: Span) -> Option<Problem> {
        let all = |p: &Self| {
            let nodes = p.process.as_ref().map(|p| p.handle.snapshot().nodes).unwrap_or_default();
            nodes.iter().filter(|n| n.kind == "source").all(|n| n.splits > 0)
        };
        let problem = self.until(span, all, "the sources do not start").await;
        if problem.is_some() { problem } else { self.settle(span).await }
    }

    /// Waits until nothing that was given so far is in flight.
    pub(super) async fn settle(&mut self, span: Span) -> Option<Problem> {
        // A command takes effect at the next tick, and what it leads to may be told at the one behind that.
        let tick = self.process.as_ref().map_or(0, |p| p.handle.current_tick() + 2);
        let settled = |p: &Self| p.process.as_ref().is_some_and(|p| p.handle.completed_tick() >= tick);
        self.until(span, settled, "the step never ends: rows are still in flight").await
    }

    async fn until(&mut self, span: Span, done: impl Fn(&Self) -> bool, otherwise: &str) -> Option<Problem> {
        let began = Instant::now();
        while !done(self) {
            if self.process.as_ref().is_none_or(|p| p.handle.has_failed()) {
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

    /// Takes a checkpoint, and waits until what it covers is visible.
    pub(super) async fn checkpoint(&self, span: Span) -> Option<Problem> {
        let process = self.process.as_ref()?;
        let failed = async {
            while !process.handle.has_failed() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            taken = process.handle.checkpoint() => match taken {
                Some(_) => None,
                None => Some(Problem::new(span, "the pipeline ends before its checkpoint is taken")),
            },
            () = failed => Some(Problem::new(span, "the pipeline fails at this checkpoint")),
            () = tokio::time::sleep(PATIENCE) => Some(Problem::new(span, "the checkpoint never ends")),
        }
    }

    /// Ends all sources, whose watermarks are then complete, and with them the run; accounts for every row.
    async fn finish(&mut self, span: Span) -> Vec<Problem> {
        self.scene.stage.end(self.scene.pipeline.sources.iter().map(|(id, _)| id.value.clone()));
        let Some(process) = self.process.take() else { return Vec::new() };
        match process.ended().await {
            None => vec![Problem::new(span, "the pipeline does not end when its sources do")],
            Some(Err(e)) => vec![Problem::new(span, format!("the pipeline failed: {e}"))],
            Some(Ok(snapshot)) => match ledger::verdict(&snapshot) {
                Ok(_) => Vec::new(),
                Err(wrong) => vec![Problem::new(span, format!("the ledger does not add up: {}", wrong.join("; ")))],
            },
        }
    }
}
