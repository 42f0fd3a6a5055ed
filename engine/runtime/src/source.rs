//! What a source does with records: decodes them, gives them event time, and decides once what is late.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, RecordBatch, StringBuilder, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use millstream_core::batch::{Batch, Origin};
use millstream_core::error::{Error, Result};
use millstream_core::format::{Decoded, Decoder, Reason};
use millstream_core::ledger::Counts;
use millstream_core::planted::{Bug, is_planted};
use millstream_core::refusal::{self, Refusal};
use millstream_core::source::{Position, RawRecords, SplitId};
use millstream_core::time::{EventTime, Watermark, micros};
use millstream_formats::value::row_json;
use millstream_state::checkpoint::SplitState;

use crate::control::Assignment;
use crate::graph::{self, source_port};

/// Rows per batch at most.
const BATCH_ROWS: usize = 8192;

/// A split as its source operator knows it.
#[derive(Debug)]
pub(crate) struct ReadSplit {
    pub(crate) origin: Arc<Origin>,
    /// Behind the last record that was given.
    position: Option<Position>,
    size: Option<u64>,
    parents: Vec<SplitId>,
    /// Greatest event time seen, in microseconds.
    seen: i64,
    /// The watermark never falls below this: where the stream was when the split began or woke up.
    floor: i64,
    pub(crate) finished: bool,
    /// Finished, and its children are not there yet: it holds the watermark back for them.
    pub(crate) awaits_children: bool,
    /// Caught up and silent since this wall-clock time, in microseconds.
    pub(crate) silent_since: Option<u64>,
    pub(crate) idle: bool,
}

/// Decodes the records of one source's splits on one worker.
pub(crate) struct SourceWorker {
    pub(crate) component: String,
    decoder: Box<dyn Decoder>,
    event_time: Option<graph::EventTime>,
    offsets: bool,
    raw_is_read: bool,
    rows_schema: SchemaRef,
    raw_schema: SchemaRef,
    /// Whether watermarks follow the rows; else they move only at a split's end.
    ordered: bool,
    /// Whether they follow the records' arrival, and a row is late by that: what was read before it has no say.
    pub(crate) late_by_arrival: bool,
    pub(crate) splits: BTreeMap<usize, ReadSplit>,
}

/// Batches by port, and the counts that go with them.
#[derive(Debug, Default)]
pub(crate) struct SourceOutput {
    pub(crate) batches: Vec<(usize, Batch)>,
    pub(crate) counts: Counts,
}

impl SourceWorker {
    pub(crate) fn new(node: &graph::Node, source: &graph::SourceNode, ordered: bool) -> Result<Self> {
        let schema = |port: usize| {
            let port = node.ports.get(port).ok_or_else(|| Error::bug("a source lacks a port"))?;
            Ok::<_, Error>(port.schema.clone())
        };
        let format = source.connector.record_format();
        Ok(Self {
            component: node.id.clone(),
            decoder: millstream_formats::decoder(format, source.options.schema.clone())?,
            event_time: source.event_time.clone(),
            offsets: source.connector.positions_are_offsets(),
            raw_is_read: source.raw_is_read,
            rows_schema: schema(source_port::ROWS)?,
            raw_schema: schema(source_port::RAW)?,
            ordered,
            late_by_arrival: false,
            splits: BTreeMap::new(),
        })
    }

    /// Takes a split on; its watermark starts where it was at the checkpoint; else where the stream's is, and its parents'
    /// were at their ends.
    pub(crate) fn add_split(&mut self, number: usize, assignment: &Assignment, stream: Watermark) {
        let Assignment { split, resume, start, floor, .. } = assignment;
        let origin = Arc::new(Origin { source: self.component.clone(), split: split.id.0.clone() });
        let floor = if self.ordered { stream.0.0.max(floor.map_or(i64::MIN, |t| t.0)) } else { i64::MIN };
        let mut state = ReadSplit {
            origin,
            position: start.clone(),
            size: split.size,
            parents: split.parents.clone(),
            seen: i64::MIN,
            floor,
            finished: false,
            awaits_children: false,
            silent_since: None,
            idle: false,
        };
        if let Some(before) = resume {
            // What is late depends on nothing but the split's own rows: not on where the stream is by now.
            state.floor = before.floor.map_or(i64::MIN, |t| t.0);
            state.seen = before.seen.filter(|_| !is_planted(Bug::ForgetSeen)).map_or(i64::MIN, |t| t.0);
            state.position.clone_from(&before.position);
            state.finished = before.finished;
            // Only those whose children are to come are handed out again.
            state.awaits_children = before.finished;
        }
        self.splits.insert(number, state);
    }

    /// How far each split has been read.
    pub(crate) fn read_upto(&self) -> BTreeMap<SplitId, SplitState> {
        let time = |t: i64| (t != i64::MIN).then_some(EventTime(t));
        let state = |s: &ReadSplit| SplitState {
            position: s.position.clone(),
            seen: time(s.seen),
            floor: time(s.floor),
            finished: s.finished,
            size: s.size,
            applied: Vec::new(),
            parents: s.parents.clone(),
        };
        let told = self.splits.values().filter(|s| !(s.finished && is_planted(Bug::ForgetFinishedSplit)));
        told.map(|s| (SplitId(s.origin.split.clone()), state(s))).collect()
    }

    /// The name of a split.
    pub(crate) fn name(&self, number: usize) -> String {
        self.splits.get(&number).map(|s| s.origin.split.clone()).unwrap_or_default()
    }

    /// Moves every split's watermark at least here.
    pub(crate) fn advance(&mut self, to: EventTime) {
        self.splits.values_mut().for_each(|s| s.floor = s.floor.max(to.0));
    }

    /// A silent split has records again: nothing before where the stream is now may move the watermark back.
    pub(crate) fn wake(&mut self, number: usize, stream: Watermark) {
        if let Some(split) = self.splits.get_mut(&number) {
            split.silent_since = None;
            if std::mem::take(&mut split.idle) {
                split.floor = split.floor.max(stream.0.0);
            }
        }
    }

    /// A split was read to its end. Gives its last watermark.
    pub(crate) fn finish(&mut self, number: usize, awaits_children: bool) -> EventTime {
        let Some(split) = self.splits.get_mut(&number) else { return EventTime::MIN };
        split.finished = true;
        split.awaits_children = awaits_children;
        split.silent_since = None;
        self.splits.get(&number).map_or(EventTime::MIN, |s| EventTime(self.split_watermark(s)))
    }

    /// The children of these splits are there. Gives how many of this worker's have waited for that.
    pub(crate) fn succeeded<'a>(&mut self, parents: impl Iterator<Item = &'a SplitId>) -> usize {
        let mut released = 0;
        for parent in parents {
            for split in self.splits.values_mut().filter(|s| s.origin.split == parent.0) {
                released += usize::from(std::mem::take(&mut split.awaits_children));
            }
        }
        released
    }

    /// The least watermark over this worker's splits; `None` while all that are not finished are idle.
    /// `all_known` says that no split will be added.
    pub(crate) fn watermark(&self, all_known: bool) -> Option<Watermark> {
        let open = || self.splits.values().filter(|s| !s.finished || s.awaits_children);
        if open().next().is_none() {
            return all_known.then_some(Watermark::COMPLETE);
        }
        open().filter(|s| !s.idle).map(|s| Watermark(EventTime(self.split_watermark(s)))).min()
    }

    fn split_watermark(&self, split: &ReadSplit) -> i64 {
        if !self.ordered || split.seen == i64::MIN {
            return split.floor;
        }
        let delay = self.event_time.as_ref().map_or(0, |e| micros(e.max_delay));
        split.floor.max(split.seen.saturating_sub(delay))
    }

    /// Decodes a run of records of a split, behind which its position is `upto`.
    pub(crate) fn decode(&mut self, number: usize, raw: &RawRecords, upto: Position) -> Result<SourceOutput> {
        let mut out = SourceOutput::default();
        out.counts.input = raw.records.len() as u64;
        let Some(split) = self.splits.get_mut(&number) else {
            return Err(Error::bug("records of a split that was never assigned"));
        };
        split.position = Some(upto);
        if raw.records.is_empty() {
            return Ok(out);
        }
        let origin = split.origin.clone();
        let decoded = self.decoder.decode(raw)?;
        debug_assert_eq!(decoded.accepted.len() + decoded.rejected.len(), raw.records.len());
        if self.raw_is_read {
            out.batches.push((source_port::RAW, self.raw_batch(raw, &origin)?));
            out.counts.produced += raw.records.len() as u64;
        }
        self.reject_undecoded(raw, &decoded, &origin, &mut out)?;
        if !decoded.accepted.is_empty() {
            self.accept(number, raw, decoded, &origin, &mut out)?;
        }
        Ok(out)
    }

    fn positions(&self, raw: &RawRecords, of: &[u32]) -> ArrayRef {
        let records = of.iter().filter_map(|i| raw.records.get(*i as usize));
        if self.offsets {
            let offset = |p: &Position| match p {
                Position::Offset(n) => *n,
                Position::Text(_) => 0,
            };
            return Arc::new(UInt64Array::from_iter_values(records.map(|r| offset(&r.position))));
        }
        let mut text = StringBuilder::new();
        records.for_each(|r| text.append_value(r.position.to_string()));
        Arc::new(text.finish())
    }

    fn raw_batch(&self, raw: &RawRecords, origin: &Arc<Origin>) -> Result<Batch> {
        let mut bytes = BinaryBuilder::with_capacity(raw.records.len(), raw.total_bytes() as usize);
        (0..raw.records.len()).for_each(|i| bytes.append_value(raw.bytes(i)));
        let all: Vec<u32> = (0..raw.records.len() as u32).collect();
        let arrived = TimestampMicrosecondArray::from_iter_values(raw.records.iter().map(|r| r.arrived_at.0));
        let event_time = TimestampMicrosecondArray::new_null(raw.records.len());
        let columns: Vec<ArrayRef> =
            vec![Arc::new(bytes.finish()), Arc::new(arrived), Arc::new(event_time), self.positions(raw, &all)];
        let rows = RecordBatch::try_new(self.raw_schema.clone(), columns)?;
        Ok(Batch { rows, origin: Some(origin.clone()) })
    }

    fn reject_undecoded(
        &self,
        raw: &RawRecords,
        decoded: &Decoded,
        origin: &Arc<Origin>,
        out: &mut SourceOutput,
    ) -> Result<()> {
        if decoded.rejected.is_empty() {
            return Ok(());
        }
        let refusals: Vec<Refusal> = decoded
            .rejected
            .iter()
            .map(|(record, reasons)| Refusal {
                raw: Some(raw.bytes(*record as usize).to_vec()),
                ..self.refusal("rejected", raw, *record, reasons.clone(), origin)
            })
            .collect();
        out.counts.rejected += refusals.len() as u64;
        out.batches.push((source_port::REJECTED, refusal::batch(&refusals)?));
        Ok(())
    }

    fn refusal(
        &self,
        port: &'static str,
        raw: &RawRecords,
        record: u32,
        reasons: Vec<Reason>,
        origin: &Arc<Origin>,
    ) -> Refusal {
        let found = raw.records.get(record as usize);
        let arrived_at = found.map_or(EventTime(0), |r| r.arrived_at);
        Refusal {
            source: Some(origin.source.clone()),
            split: Some(origin.split.clone()),
            position: found.map(|r| r.position.to_string()),
            ..Refusal::new(&self.component, port, reasons, arrived_at)
        }
    }

    /// Gives decoded rows their hidden columns, and refuses those whose event time is impossible or late.
    fn accept(
        &mut self,
        number: usize,
        raw: &RawRecords,
        decoded: Decoded,
        origin: &Arc<Origin>,
        out: &mut SourceOutput,
    ) -> Result<()> {
        let Decoded { rows, accepted, .. } = decoded;
        let arrived = TimestampMicrosecondArray::from_iter_values(
            accepted.iter().map(|i| raw.records.get(*i as usize).map_or(0, |r| r.arrived_at.0)),
        );
        let event_time = match &self.event_time {
            Some(e) => rows.column(e.column).as_primitive::<TimestampMicrosecondType>().clone(),
            None => arrived.clone(),
        };
        let verdicts = self.judge(number, &arrived, &event_time);
        let mut columns = rows.columns().to_vec();
        let positions = self.positions(raw, &accepted);
        columns.extend([Arc::new(arrived) as ArrayRef, Arc::new(event_time.clone()), positions]);
        let full = RecordBatch::try_new(self.rows_schema.clone(), columns)?;
        let mut batch = Batch { rows: full, origin: Some(origin.clone()) };
        if !verdicts.is_empty() {
            self.refuse_by_time(raw, &accepted, &rows, &event_time, &verdicts, origin, out)?;
            let kept = (0..accepted.len()).filter(|i| !verdicts.contains_key(i)).map(|i| i as u32);
            batch = batch.take(&UInt32Array::from_iter_values(kept))?;
        }
        out.counts.out += batch.num_rows() as u64;
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let rows = batch.rows.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            out.batches.push((source_port::ROWS, batch.with_rows(rows)));
        }
        Ok(())
    }

    /// The rows that time refuses, by index. A pure function of the rows and the earlier rows of their split.
    fn judge(
        &mut self,
        number: usize,
        arrived: &TimestampMicrosecondArray,
        event_time: &TimestampMicrosecondArray,
    ) -> BTreeMap<usize, Verdict> {
        let mut verdicts = BTreeMap::new();
        let (ordered, by_arrival, spec) = (self.ordered, self.late_by_arrival, self.event_time.clone());
        let Some(split) = self.splits.get_mut(&number) else { return verdicts };
        let late_after = spec.as_ref().map(|e| micros(e.late_after));
        let max_delay = spec.as_ref().map_or(0, |e| micros(e.max_delay));
        let max_future = spec.as_ref().map_or(i64::MAX, |e| micros(e.max_future));
        for (row, arrived) in arrived.values().iter().enumerate() {
            if event_time.is_null(row) {
                verdicts.insert(row, Verdict::NoEventTime);
                continue;
            }
            let t = event_time.value(row);
            if t > arrived.saturating_add(max_future) {
                verdicts.insert(row, Verdict::Future);
                continue;
            }
            if let Some(late_after) = late_after
                && ordered
            {
                let watermark = match by_arrival {
                    true => arrived.saturating_sub(max_delay),
                    false => split.floor.max(split.seen.saturating_sub(max_delay)),
                };
                if t < watermark.saturating_sub(late_after) {
                    verdicts.insert(row, Verdict::Late(watermark));
                    continue;
                }
            }
            split.seen = split.seen.max(if by_arrival { *arrived } else { t });
        }
        verdicts
    }

    /// The greatest event time seen in any split.
    pub(crate) fn seen(&self) -> i64 {
        self.splits.values().map(|s| s.seen).max().unwrap_or(i64::MIN)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one run of records, used together once")]
    fn refuse_by_time(
        &self,
        raw: &RawRecords,
        accepted: &[u32],
        rows: &RecordBatch,
        event_time: &TimestampMicrosecondArray,
        verdicts: &BTreeMap<usize, Verdict>,
        origin: &Arc<Origin>,
        out: &mut SourceOutput,
    ) -> Result<()> {
        let column = self.event_time.as_ref().map_or("event time", |e| e.name.as_str());
        let (mut rejected, mut late) = (Vec::new(), Vec::new());
        for (row, verdict) in verdicts {
            let time = (!event_time.is_null(*row)).then(|| EventTime(event_time.value(*row)));
            let shown = time.map(|t| t.to_string()).unwrap_or_default();
            let (rule, text) = match verdict {
                Verdict::NoEventTime => ("no_event_time", format!("{column} is null, and it is the event time")),
                Verdict::Future => {
                    ("future_event_time", format!("{column} {shown} is further ahead of its arrival than max_future"))
                }
                Verdict::Late(watermark) => (
                    "late",
                    format!("{column} {shown} is more than late_after behind the watermark {}", EventTime(*watermark)),
                ),
            };
            let port = if matches!(verdict, Verdict::Late(_)) { "late" } else { "rejected" };
            let record = accepted.get(*row).copied().unwrap_or_default();
            let reasons = vec![Reason { rule: rule.into(), text }];
            let refusal = Refusal {
                row: Some(row_json(rows, *row)),
                event_time: time,
                ..self.refusal(port, raw, record, reasons, origin)
            };
            if port == "late" { late.push(refusal) } else { rejected.push(refusal) }
        }
        out.counts.late += late.len() as u64;
        out.counts.rejected += rejected.len() as u64;
        if !rejected.is_empty() {
            out.batches.push((source_port::REJECTED, refusal::batch(&rejected)?));
        }
        if !late.is_empty() {
            out.batches.push((source_port::LATE, refusal::batch(&late)?));
        }
        Ok(())
    }
}

/// Why time refuses a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    NoEventTime,
    Future,
    /// Behind this watermark of its split by more than `late_after`.
    Late(i64),
}
