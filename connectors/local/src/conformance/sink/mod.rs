//! What every sink promises, by what it makes of a crash.
//!
//! A crash is an instance that is dropped, or one that lives on and is late; a restart is an instance of another
//! generation, which commits what the last claimed checkpoint has staged, takes back its state and goes on.

mod direct;
mod outbox;
mod staged;
mod state;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::hidden_fields;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Commitment, Outcome, Prepared, Roll, Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, Origin};

use super::rows::{every_type, json_lines};

/// How a suite reaches a sink and what it wrote.
pub trait SinkUnderTest {
    /// Opens an instance of the sink.
    fn open(&self, options: &SinkOptions) -> impl Future<Output = Box<dyn Sink>>;
    /// What its connector says of it.
    fn commitment(&self, options: &SinkOptions) -> Commitment;
    /// What any reader can see of what the sink `options` has written, as batches of its user columns.
    fn visible(&self, options: &SinkOptions) -> impl Future<Output = Vec<RecordBatch>>;
    /// How much is staged for the sink `options` and not visible, in whatever unit; 0 where nothing is.
    fn staged(&self, options: &SinkOptions) -> impl Future<Output = usize> {
        let _ = options;
        async { 0 }
    }
    /// Whether all that is staged stands in the checkpoint itself: then nothing of it can be gone, or be left behind.
    fn staged_is_in_the_checkpoint(&self) -> bool {
        false
    }
    /// How many of its instances get rows.
    fn instances(&self) -> usize {
        2
    }
}

/// Options of a sink `id` over rows of `user` columns with the hidden ones behind them.
pub fn sink_options(id: &str, user: &SchemaRef) -> SinkOptions {
    let mut fields: Vec<Field> = user.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(hidden_fields(DataType::Utf8));
    SinkOptions {
        id: id.into(),
        pipeline: "conformance".into(),
        schema: Arc::new(Schema::new(fields)),
        key: Vec::new(),
        format: RecordFormat::Json,
        compression: Compression::None,
        path: None,
        mode: WriteMode::Append,
        roll: Roll { bytes: 64 << 20, every: Duration::from_secs(300) },
        subject: None,
        message: None,
        decimals_as_strings: false,
        instance: 0,
        instances: 1,
        state: "s1".into(),
        run: "r1".into(),
        generation: "g1".into(),
        checkpoint: 1,
    }
}

/// Rows of user columns as a batch of `options`, that arrived one second apart.
pub fn batch(options: &SinkOptions, rows: &RecordBatch) -> Batch {
    let count = rows.num_rows();
    let arrived: TimestampMicrosecondArray =
        (0..count).map(|i| Some(1_716_650_000_000_000 + i as i64 * 1_000_000)).collect();
    let positions: StringArray = (0..count).map(|i| Some(i.to_string())).collect();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.extend([Arc::new(arrived.clone()) as ArrayRef, Arc::new(arrived), Arc::new(positions)]);
    let rows = RecordBatch::try_new(options.schema.clone(), columns).unwrap();
    Batch { rows, origin: Some(Arc::new(Origin { source: "events".into(), split: "0".into() })) }
}

/// The promises of `Sink`, as far as they go with its commitment.
pub async fn sink(under_test: &impl SinkUnderTest) {
    let case = |id: &str| Case::new(under_test, id);
    match under_test.commitment(&case("asked").options) {
        Commitment::Direct => direct::rows_are_out_at_once(&case("direct")).await,
        Commitment::Keyed => direct::rows_replace_those_of_their_key(&case("keyed")).await,
        Commitment::Staged => {
            staged::rows_are_visible_at_their_commit(&case("commits")).await;
            staged::a_crash_before_the_checkpoint_leaves_nothing(&case("unclaimed")).await;
            staged::any_process_can_commit(&case("claimed")).await;
            staged::a_late_commit_changes_nothing(&case("late")).await;
            staged::cleaning_leaves_what_others_will_commit(&case("paused")).await;
            if !under_test.staged_is_in_the_checkpoint() {
                staged::cleaning_removes_what_others_staged(&case("cleaned")).await;
                staged::what_is_gone_is_told(&case("lost")).await;
            }
            for (i, whole) in [[false, false], [true, false], [false, true]].into_iter().enumerate() {
                state::layers_give_the_state_back(&case(&format!("state{i}")), whole).await;
            }
        }
        Commitment::Outbox { deduplicates } => {
            outbox::rows_are_out_when_they_are_sent(&case("sent")).await;
            outbox::a_second_sending(&case("again"), deduplicates).await;
            outbox::rows_are_told_apart(&case("apart"), deduplicates).await;
        }
    }
}

/// One sink of its own and what a test does with it.
struct Case<'a, T> {
    under_test: &'a T,
    options: SinkOptions,
    rows: RecordBatch,
}

impl<'a, T: SinkUnderTest> Case<'a, T> {
    fn new(under_test: &'a T, id: &str) -> Self {
        let rows = every_type(0, 300);
        let options = SinkOptions { instances: under_test.instances(), ..sink_options(id, &rows.schema()) };
        Self { under_test, options, rows }
    }

    /// All instances of a process of the generation `generation`, whose first checkpoint is `checkpoint`.
    async fn start(&self, generation: &str, checkpoint: u64) -> Vec<Box<dyn Sink>> {
        self.start_on(&self.options.state, generation, checkpoint).await
    }

    /// The same with checkpoints in the store `state`.
    async fn start_on(&self, state: &str, generation: &str, checkpoint: u64) -> Vec<Box<dyn Sink>> {
        let mut sinks = Vec::new();
        for instance in 0..self.options.instances {
            let (state, generation) = (state.to_owned(), generation.to_owned());
            let options = SinkOptions { state, generation, checkpoint, instance, ..self.options.clone() };
            sinks.push(self.under_test.open(&options).await);
        }
        sinks
    }

    fn batch(&self, rows: &RecordBatch) -> Batch {
        batch(&self.options, rows)
    }

    /// Writes the rows `from..to`, spread over the instances in two batches each.
    async fn write(&self, sinks: &mut [Box<dyn Sink>], from: usize, to: usize) {
        self.write_rows(sinks, &self.rows.slice(from, to - from)).await;
    }

    async fn write_rows(&self, sinks: &mut [Box<dyn Sink>], rows: &RecordBatch) {
        let (count, pieces) = (rows.num_rows(), 2 * sinks.len());
        for piece in 0..pieces {
            let (from, to) = (piece * count / pieces, (piece + 1) * count / pieces);
            let sink = piece % sinks.len();
            let outcomes = sinks[sink].write(&self.batch(&rows.slice(from, to - from))).await.unwrap();
            assert_eq!(outcomes, vec![Outcome::Done; to - from], "one outcome per row");
        }
    }

    /// Asserts that exactly these rows are visible.
    async fn sees(&self, rows: &[RecordBatch], why: &str) {
        let visible = json_lines(&self.under_test.visible(&self.options).await);
        let expected = json_lines(rows);
        assert_eq!(visible.len(), expected.len(), "{}: {why}", self.options.id);
        assert_eq!(visible, expected, "{}: {why}", self.options.id);
    }

    /// Asserts that exactly the rows `0..to` are visible.
    async fn sees_first(&self, to: usize, why: &str) {
        self.sees(&[self.rows.slice(0, to)], why).await;
    }
}

async fn prepare(sinks: &mut [Box<dyn Sink>], checkpoint: u64, whole: bool) -> Vec<Prepared> {
    let mut prepared = Vec::new();
    for sink in sinks {
        prepared.push(sink.prepare(checkpoint, whole).await.unwrap());
    }
    prepared
}

async fn commit(sinks: &mut [Box<dyn Sink>], checkpoint: u64, prepared: &[Prepared]) {
    for (sink, prepared) in sinks.iter_mut().zip(prepared) {
        if let Some(staged) = &prepared.staged {
            sink.commit(checkpoint, staged).await.unwrap();
        }
    }
}
