//! What every sink promises.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_core::batch::hidden_fields;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Outcome, Roll, Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, Origin};

use super::rows::{every_type, json_lines};

/// How a suite reaches a sink and what it wrote.
pub trait SinkUnderTest {
    /// Opens an instance of the sink.
    fn open(&self, options: &SinkOptions) -> impl Future<Output = Box<dyn Sink>>;
    /// What any reader can see of what the sink `options` has written, as batches of its user columns.
    fn visible(&self, options: &SinkOptions) -> impl Future<Output = Vec<RecordBatch>>;
}

/// Options of a sink `id` over rows of `user` columns with the hidden ones behind them.
pub fn sink_options(id: &str, user: &SchemaRef) -> SinkOptions {
    let mut fields: Vec<Field> = user.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(hidden_fields(arrow::datatypes::DataType::Utf8));
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
        generation: "g1".into(),
    }
}

/// Rows of user columns as a batch of `options`, that arrived one second apart.
pub(crate) fn batch(options: &SinkOptions, rows: &RecordBatch) -> Batch {
    let count = rows.num_rows();
    let arrived: TimestampMicrosecondArray =
        (0..count).map(|i| Some(1_716_650_000_000_000 + i as i64 * 1_000_000)).collect();
    let positions: StringArray = (0..count).map(|i| Some(i.to_string())).collect();
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns.extend([Arc::new(arrived.clone()) as ArrayRef, Arc::new(arrived), Arc::new(positions)]);
    let rows = RecordBatch::try_new(options.schema.clone(), columns).unwrap();
    Batch { rows, origin: Some(Arc::new(Origin { source: "events".into(), split: "0".into() })) }
}

async fn write_all(sink: &mut dyn Sink, batch: &Batch) {
    let outcomes = sink.write(batch).await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Done; batch.num_rows()], "one outcome per row");
}

/// The promises of `Sink` for appended rows.
pub async fn sink(under_test: &impl SinkUnderTest) {
    let all = every_type(0, 300);
    let options = sink_options("conformance_sink", &all.schema());
    let mut one = under_test.open(&SinkOptions { instances: 2, ..options.clone() }).await;
    let mut two = under_test.open(&SinkOptions { instance: 1, instances: 2, ..options.clone() }).await;
    one.commit().await.unwrap();
    write_all(one.as_mut(), &batch(&options, &all.slice(0, 100))).await;
    write_all(two.as_mut(), &batch(&options, &all.slice(100, 50))).await;
    write_all(one.as_mut(), &batch(&options, &all.slice(150, 50))).await;
    for sink in [&mut one, &mut two] {
        sink.commit().await.unwrap();
        sink.commit().await.unwrap();
    }
    let seen = json_lines(&under_test.visible(&options).await);
    assert_eq!(seen, json_lines(&[all.slice(0, 200)]), "committed rows are visible once");
    one.poll().await.unwrap();
    write_all(two.as_mut(), &batch(&options, &all.slice(200, 100))).await;
    two.commit().await.unwrap();
    drop((one, two));
    let seen = json_lines(&under_test.visible(&options).await);
    assert_eq!(seen, json_lines(&[all]), "later rows stand beside earlier ones");
}
