//! A source that reads what a test pushes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::connector::SourceOptions;
use millstream_core::format::RecordFormat;
use millstream_core::schema::SourceSchema;
use millstream_core::source::{Position, RawRecord, RawRecords, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::time::EventTime;
use millstream_core::{Error, Result};

use super::Stage;

/// The records of one source, and whether more will come.
#[derive(Debug, Default)]
pub(super) struct Feed {
    pub(super) records: Vec<(Vec<u8>, EventTime)>,
    /// How many of them can be read now.
    pub(super) open: usize,
    pub(super) ended: bool,
}

/// Reads a [`Feed`] as one split.
pub(super) struct FeedSource {
    stage: Stage,
    source: String,
    format: RecordFormat,
    header: Option<Bytes>,
}

impl FeedSource {
    pub(super) fn new(stage: Stage, options: &SourceOptions, format: RecordFormat) -> Self {
        let header = (format == RecordFormat::Csv).then(|| csv_header(&options.schema));
        Self { stage, source: options.id.clone(), format, header }
    }
}

/// A text as a field of a CSV record.
pub(crate) fn csv_field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// The header line that names a schema's columns.
pub(crate) fn csv_header(schema: &SourceSchema) -> Bytes {
    Bytes::from(schema.columns.iter().map(|c| csv_field(&c.path.join("."))).collect::<Vec<_>>().join(","))
}

#[async_trait]
impl SplitSource for FeedSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let id = SplitId("test".to_owned());
        let splits = if finished.contains(&id) { vec![] } else { vec![Split { id, parents: Vec::new(), size: None }] };
        Ok(splits)
    }
    async fn open(&self, _split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let done = match after {
            None => 0,
            Some(Position::Offset(n)) => n,
            Some(Position::Text(t)) => return Err(Error::environment(format!("`{t}` is not a position of a test"))),
        };
        Ok(Box::new(FeedReader {
            stage: self.stage.clone(),
            source: self.source.clone(),
            header: self.header.clone(),
            done,
        }))
    }
    fn bounded(&self) -> bool {
        true
    }
    fn ordered(&self) -> bool {
        true
    }
    fn format(&self) -> RecordFormat {
        self.format
    }
}

struct FeedReader {
    stage: Stage,
    source: String,
    header: Option<Bytes>,
    done: u64,
}

impl FeedReader {
    fn take(&mut self) -> Option<Result<Read>> {
        let contents = self.stage.lock();
        let feed = contents.feeds.get(&self.source)?;
        let next = self.done as usize;
        let (record, arrived_at) = match feed.records.get(next) {
            Some(_) if next >= feed.open => return None,
            Some(record) => record.clone(),
            None => return feed.ended.then_some(Ok(Read::Finished)),
        };
        self.done += 1;
        let position = Position::Offset(self.done);
        let records = vec![RawRecord { start: 0, len: record.len() as u32, position: position.clone(), arrived_at }];
        let records = RawRecords { buffer: Bytes::from(record), records, header: self.header.clone() };
        Some(Ok(Read::Records { records, upto: position, behind: None }))
    }
}

#[async_trait]
impl SplitReader for FeedReader {
    async fn next(&mut self) -> Result<Read> {
        let changed = self.stage.changed.clone();
        loop {
            let notified = changed.notified();
            if let Some(read) = self.take() {
                return read;
            }
            notified.await;
        }
    }
}
