//! The records of a file, as they go into a stream: JSON lines as they are, CSV as JSON objects.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::connector::Registry;
use millstream_core::format::RecordFormat;
use millstream_core::producer::NewRecord;
use millstream_core::schema::SourceSchema;
use millstream_core::source::{RawRecords, Read, Split, SplitReader, SplitSource};
use millstream_runtime::graph::SourceNode;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::args::ProduceArgs;
use crate::exit::Failure;
use crate::produce::object::Objects;
use crate::produce::order::by_event_time;
use crate::terminal;

/// How many unreadable records are told one by one.
const TOLD: u64 = 3;
/// How many sorted records are given at once.
const SOME: usize = 1000;

/// Reads a file from its beginning to its end.
pub(crate) struct Records {
    source: Box<dyn SplitSource>,
    splits: VecDeque<Split>,
    reader: Option<Box<dyn SplitReader>>,
    format: RecordFormat,
    schema: Arc<SourceSchema>,
    partition_key: Option<String>,
    /// Of the header read last.
    header: Option<(Bytes, Header)>,
    size: Option<u64>,
    read: u64,
    unreadable: u64,
    /// Records made so far.
    made: u64,
    /// All records, where their order is another than the file's.
    sorted: Option<VecDeque<NewRecord>>,
}

/// The header of a CSV file.
struct Header {
    names: Vec<String>,
    objects: Objects,
    /// The field that is the key.
    key: Option<usize>,
}

impl Records {
    /// Opens what `--from` names, for the stream that a source will read.
    pub(crate) async fn open(args: &ProduceArgs, node: &SourceNode, registry: &Registry) -> Result<Self, Failure> {
        let kind = registry.kind("file").ok_or_else(|| Failure::new(Failure::RUNNING, "this binary reads no files"))?;
        let file = |multiline: bool| {
            // One range, so that records come in the order of the file.
            let config = json!({ "path": args.from, "split_size": "1TiB", "multiline": multiline });
            (kind.parse)(config).map_err(|problem| Failure::new(Failure::FILE, problem))
        };
        let file = match file(false)? {
            csv if csv.record_format() == RecordFormat::Csv => file(true)?,
            other => other,
        };
        if let Some(problem) = file.problems().into_iter().next() {
            return Err(Failure::new(Failure::FILE, problem));
        }
        let source = file.source(&node.options).await?;
        let splits: VecDeque<Split> = source.discover(&BTreeSet::new()).await?.into();
        let mut records = Self {
            format: source.format(),
            size: splits.iter().map(|split| split.size).sum(),
            source,
            splits,
            reader: None,
            schema: Arc::clone(&node.options.schema),
            partition_key: args.partition_key.clone(),
            header: None,
            read: 0,
            unreadable: 0,
            made: 0,
            sorted: None,
        };
        if args.by_event_time {
            let time = node.event_time.as_ref().ok_or_else(|| {
                let message = format!("`{}` declares no `event_time` to send by", node.options.id);
                Failure::new(Failure::FILE, message).help("leave `--by-event-time` out: rows go in the file's order")
            })?;
            let mut all = Vec::new();
            while let Some(some) = records.read_on().await? {
                all.extend(some);
            }
            let sorted = by_event_time(all, Arc::clone(&records.schema), time.column)?;
            (records.sorted, records.read) = (Some(sorted), 0);
        }
        Ok(records)
    }
    /// Bytes there are to read, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }
    /// Bytes read so far, about.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }
    /// Records that could not be made a JSON object, which are told and left out.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next records; nothing at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<NewRecord>>, Failure> {
        match &mut self.sorted {
            Some(sorted) => {
                let some: Vec<NewRecord> = sorted.drain(..sorted.len().min(SOME)).collect();
                self.read += some.iter().map(|record| record.data.len() as u64).sum::<u64>();
                Ok(Some(some).filter(|some| !some.is_empty()))
            }
            None => self.read_on().await,
        }
    }

    /// The next records of the file.
    async fn read_on(&mut self) -> Result<Option<Vec<NewRecord>>, Failure> {
        loop {
            if self.reader.is_none() {
                let Some(split) = self.splits.pop_front() else { return Ok(None) };
                self.reader = Some(self.source.open(&split, None).await?);
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match reader.next().await? {
                Read::Records { records, .. } => return self.records(&records).map(Some),
                Read::Finished => self.reader = None,
                // Nothing to be put.
                _ => {}
            }
        }
    }

    fn records(&mut self, raw: &RawRecords) -> Result<Vec<NewRecord>, Failure> {
        self.read += raw.total_bytes() + raw.records.len() as u64;
        let csv = self.format == RecordFormat::Csv;
        if csv {
            self.use_header(raw.header.as_ref())?;
        }
        let mut all = Vec::with_capacity(raw.records.len());
        for (index, record) in raw.records.iter().enumerate() {
            let bytes = raw.bytes(index);
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let made = if csv { self.of_csv(bytes) } else { Ok(self.of_json(bytes)) };
            match made {
                Ok((key, data)) => {
                    all.push(NewRecord { number: self.made, key, data });
                    self.made += 1;
                }
                Err(problem) => {
                    self.unreadable += 1;
                    if self.unreadable <= TOLD {
                        terminal::note(&format!("the record at {} is left out: {problem}\n", record.position));
                    }
                }
            }
        }
        Ok(all)
    }

    fn use_header(&mut self, line: Option<&Bytes>) -> Result<(), Failure> {
        let line = line.ok_or_else(|| Failure::new(Failure::FILE, "the file has no header line"))?;
        if self.header.as_ref().is_some_and(|(known, _)| known == line) {
            return Ok(());
        }
        let names = millstream_formats::csv_header(line)
            .map_err(|problem| Failure::new(Failure::FILE, format!("the header line cannot be read: {problem}")))?;
        let key = match &self.partition_key {
            None => None,
            Some(wanted) => Some(names.iter().position(|name| name == wanted).ok_or_else(|| {
                Failure::new(Failure::FILE, format!("the file has no column `{wanted}`"))
                    .help(format!("its columns: {}", names.join(", ")))
            })?),
        };
        let objects = Objects::new(&names, &self.schema);
        self.header = Some((line.clone(), Header { names, objects, key }));
        Ok(())
    }

    fn of_csv(&self, bytes: &[u8]) -> Result<(String, Bytes), String> {
        let Some((_, header)) = &self.header else { return Err("the file has no header line".to_owned()) };
        let values = millstream_formats::csv_fields(bytes)?;
        if values.len() != header.names.len() {
            return Err(format!("{} fields where the header has {}", values.len(), header.names.len()));
        }
        let data = Bytes::from(header.objects.json(&values));
        let key = header.key.and_then(|field| values.get(field)).filter(|key| !key.is_empty());
        Ok((key.cloned().unwrap_or_else(|| content(&data)), data))
    }

    /// A line as it is, broken or not: how the pipeline deals with it may be what is to be seen.
    fn of_json(&self, bytes: &[u8]) -> (String, Bytes) {
        let data = Bytes::copy_from_slice(bytes);
        let key = self.partition_key.as_ref().and_then(|column| {
            let object: Value = serde_json::from_slice(bytes).ok()?;
            match object.get(column)? {
                Value::String(text) if !text.is_empty() => Some(text.clone()),
                Value::String(_) | Value::Null => None,
                other => Some(other.to_string()),
            }
        });
        (key.unwrap_or_else(|| content(&data)), data)
    }
}

/// A key that spreads records evenly, and is the same for the same record.
fn content(data: &[u8]) -> String {
    format!("{:032x}", xxh3_128(data))
}
