//! Services that fail: every call of a source, table, sink or checkpoint store passes through here.

mod checkpoints;
mod sink;
mod source;
mod table;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, Registry, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};
use millstream_plan::{Bind, Bound, Profile};
use millstream_spec::model::Pipeline;
use millstream_tests::rows;

pub(crate) use checkpoints::SimulatedCheckpoints;

use crate::world::World;

/// Names of services: those of the profile, and the checkpoint store.
pub(crate) const SERVICES: [&str; 8] = ["starts", "ends", "table", "lake", "audit", "alerts", "dead", "checkpoints"];

/// Binds a profile's connectors in decorated form.
pub(crate) struct Simulated<'a> {
    profile: Profile<'a>,
    world: Arc<World>,
}

impl<'a> Simulated<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, registry: &'a Registry, world: Arc<World>) -> Self {
        Self { profile: Profile::new(pipeline, None, registry), world }
    }
}

impl Bind for Simulated<'_> {
    fn bind(&self, name: &str) -> Option<Bound> {
        let Bound { connector, kind } = self.profile.bind(name)?;
        let service = SERVICES.into_iter().find(|s| *s == name)?;
        let connector = connector.map(|inner| Arc::new(Service { inner, service, world: self.world.clone() }) as _);
        Some(Bound { connector, kind })
    }
}

#[derive(Debug)]
struct Service {
    inner: Arc<dyn Connector>,
    service: &'static str,
    world: Arc<World>,
}

#[async_trait]
impl Connector for Service {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn record_format(&self) -> RecordFormat {
        self.inner.record_format()
    }
    fn positions_are_offsets(&self) -> bool {
        self.inner.positions_are_offsets()
    }
    fn bounded(&self) -> bool {
        self.inner.bounded()
    }
    fn problems(&self) -> Vec<String> {
        self.inner.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<(&'static str, String)> {
        self.inner.sink_problem(options)
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.inner.commitment(options)
    }
    async fn source(&self, options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        let inner = self.inner.source(options).await?.into();
        Ok(Box::new(source::SimulatedSource { inner, service: self.service, world: self.world.clone() }))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        let inner = self.inner.sink(options).await?;
        let commitment = self.inner.commitment(options);
        Ok(Box::new(sink::SimulatedSink::new(inner, self.service, options, commitment, self.world.clone())))
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        let (inner, key) = (self.inner.table(schema).await?, schema.key.clone());
        Ok(Arc::new(table::SimulatedTable { inner, key, service: self.service, world: self.world.clone() }))
    }
}

/// A few hex digits that stand for rows.
fn digest(rows: &RecordBatch) -> String {
    let text: Vec<String> = rows::of([rows]).into_iter().map(|r| serde_json::Value::Object(r).to_string()).collect();
    format!("{} rows {:08x}", text.len(), xxhash_rust::xxh3::xxh3_64(text.join("\n").as_bytes()) as u32)
}
