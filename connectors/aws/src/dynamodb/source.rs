//! A table as a bounded source: each segment of a scan is a split, the key of an item its position.
//!
//! What is written while it is read may be seen or not, as with any scan. The record of an item is its JSON, without the
//! attributes that the engine keeps for itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::clock::Clock;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, RawRecord, RawRecords, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::table::TECHNICAL;
use millstream_core::{Error, Result};

use super::client::{Item, Remote};
use super::config::DynamoDbConfig;
use super::json::{key_of_text, key_text, write_item};
use super::keys;
use super::scan::Scan;
use super::stored::is_alive;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct DynamoDbSource {
    reading: Arc<Reading>,
    /// Bytes of the table, as the service last counted them.
    size: Option<u64>,
}

#[derive(Debug)]
struct Reading {
    scan: Scan,
    key: Vec<String>,
    ttl_attribute: String,
    clock: Arc<dyn Clock>,
}

impl DynamoDbSource {
    pub(crate) async fn open(remote: Arc<Remote>, config: &DynamoDbConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let description = remote.describe().await?;
        let key = keys::of_table(&description).into_iter().map(|part| part.name).collect();
        let scan = Scan { remote, segments: config.segments.max(1), consistent: config.consistent, attributes: None };
        let reading = Reading { scan, key, ttl_attribute: config.ttl_attribute.clone(), clock };
        let size = description.table_size_bytes().and_then(|bytes| u64::try_from(bytes).ok());
        Ok(Self { reading: Arc::new(reading), size })
    }

    fn id(&self, segment: u16) -> SplitId {
        SplitId(format!("segment-{segment}-of-{}", self.reading.scan.segments))
    }
}

#[async_trait]
impl SplitSource for DynamoDbSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let segments = self.reading.scan.segments;
        let size = self.size.map(|size| size / u64::from(segments));
        let splits = (0..segments).map(|n| Split { id: self.id(n), parents: Vec::new(), size });
        Ok(splits.filter(|split| !finished.contains(&split.id)).collect())
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let segment = (0..self.reading.scan.segments).find(|n| self.id(*n) == split.id).ok_or_else(|| {
            let now = self.reading.scan.segments;
            Error::config(format!("the split `{}` is of another number of `segments` than {now}", split.id))
        })?;
        let after = match after {
            None => None,
            Some(Position::Text(text)) if key_of_text(&text).is_some() => key_of_text(&text),
            Some(other) => return Err(Error::bug(format!("`{other}` is no position in a DynamoDB table"))),
        };
        Ok(Box::new(SegmentReader { reading: self.reading.clone(), segment, after, ended: false }))
    }

    fn bounded(&self) -> bool {
        true
    }
    fn ordered(&self) -> bool {
        false
    }
    fn format(&self) -> RecordFormat {
        RecordFormat::Json
    }
}

/// Reads one segment.
#[derive(Debug)]
struct SegmentReader {
    reading: Arc<Reading>,
    segment: u16,
    /// The key of the last item read.
    after: Option<Item>,
    ended: bool,
}

#[async_trait]
impl SplitReader for SegmentReader {
    async fn next(&mut self) -> Result<Read> {
        if self.ended {
            return Ok(Read::Finished);
        }
        let reading = &self.reading;
        let page = reading.scan.page(self.segment, self.after.as_ref()).await?;
        let now = reading.clock.now();
        let position = |item: &Item| Position::Text(key_text(item, &reading.key).into());
        let upto = page.last.as_ref().or(page.items.last()).map(position);
        let (mut buffer, mut records) = (Vec::new(), Vec::with_capacity(page.items.len()));
        let seconds = now.0.div_euclid(1_000_000);
        for item in page.items.iter().filter(|item| is_alive(item, &reading.ttl_attribute, seconds)) {
            let start = buffer.len();
            write_item(item, &TECHNICAL, &mut buffer);
            records.push(RawRecord {
                start: start as u32,
                len: (buffer.len() - start) as u32,
                position: position(item),
                arrived_at: now,
            });
            buffer.push(b'\n');
        }
        // Nothing of the reader changes before the page is there: a dropped future loses nothing.
        self.ended = page.last.is_none();
        self.after = page.last;
        let Some(upto) = upto else { return Ok(if self.ended { Read::Finished } else { Read::Idle }) };
        let records = RawRecords { buffer: buffer.into(), records, header: None };
        Ok(Read::Records { records, upto, behind: None })
    }
}
