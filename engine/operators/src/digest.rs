//! `digest`: one row per group and time instead of one per row, for alerts.
//!
//! Groups are by the text of columns. Over refused rows, `rule` is each of the row's failed rules: a row counts in the
//! group of each. A digest is given when a tick comes at least `every` after the one before, and at the end. Port: 0.
//!
//! What is being gathered lives on one worker and is small: a snapshot has all of it.

mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use millstream_core::batch::{TIMESTAMP, hidden_fields};
use millstream_core::operator::{InPort, Operator, OutPort, Output, StateSize};
use millstream_core::schema::JSON_METADATA;
use millstream_core::snapshot::{Snapshot, StateLayout, StateTable};
use millstream_core::time::micros;
use millstream_core::{Batch, Result, Tick, Watermark, refusal};
use millstream_formats::value::row_json;

/// Name by which `by` means each of a refused row's rules.
const RULE: &str = "rule";
/// The column of refused rows that lists them.
const RULES: &str = "rules";

#[derive(Debug, Default)]
struct Group {
    count: i64,
    samples: Vec<String>,
    arrived_at: i64,
    event_time: Option<i64>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Digest {
    by: Vec<String>,
    every: i64,
    samples: usize,
    tick_ms: u64,
    schema: SchemaRef,
    groups: BTreeMap<Vec<Option<String>>, Group>,
    /// The wall time of the last tick, in microseconds; none before the first.
    now: Option<i64>,
    /// When the digest being gathered began.
    since: Option<i64>,
    /// Whether the last snapshot has groups.
    remembered: bool,
}

impl Digest {
    /// A digest every `every` of wall time by the columns `by`, each with the first `samples` rows; a tick lasts
    /// `tick_ms`.
    pub fn new(by: Vec<String>, every: Duration, samples: usize, tick_ms: u64) -> Self {
        Self {
            schema: Self::schema(&by),
            by,
            every: micros(every),
            samples,
            tick_ms,
            groups: BTreeMap::new(),
            now: None,
            since: None,
            remembered: false,
        }
    }
    /// The columns of a digest by these columns: `from, to`, the columns as text, `count, samples` (JSON texts), then
    /// the hidden ones.
    pub fn schema(by: &[String]) -> SchemaRef {
        let mut fields = vec![Field::new("from", TIMESTAMP, false), Field::new("to", TIMESTAMP, false)];
        fields.extend(by.iter().map(|name| Field::new(name, DataType::Utf8, true)));
        fields.push(Field::new("count", DataType::Int64, false));
        fields.push(Field::new("samples", DataType::List(Arc::new(sample_field())), false));
        fields.extend(hidden_fields(DataType::Utf8));
        Arc::new(Schema::new(fields))
    }
    /// Gives what was gathered so far.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn flush(&mut self, out: &mut Output) -> Result<()> {
        let groups = std::mem::take(&mut self.groups);
        let latest = groups.values().map(|g| g.arrived_at).max().unwrap_or_default();
        let to = self.now.unwrap_or(latest).max(self.since.unwrap_or(i64::MIN));
        let from = self.since.take().unwrap_or(to);
        if groups.is_empty() {
            return Ok(());
        }
        out.counts.produced += groups.len() as u64;
        let times = |t: i64| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![t; groups.len()])) };
        let mut columns = vec![times(from), times(to)];
        for i in 0..self.by.len() {
            let text = groups.keys().map(|key| key.get(i).cloned().flatten());
            columns.push(Arc::new(text.collect::<StringArray>()));
        }
        columns.push(Arc::new(groups.values().map(|g| g.count).collect::<Int64Array>()));
        let mut samples = ListBuilder::new(StringBuilder::new()).with_field(sample_field());
        for group in groups.values() {
            samples.append_value(group.samples.iter().map(Some));
        }
        columns.push(Arc::new(samples.finish()));
        columns.push(Arc::new(groups.values().map(|g| Some(g.arrived_at)).collect::<TimestampMicrosecondArray>()));
        columns.push(Arc::new(groups.values().map(|g| g.event_time).collect::<TimestampMicrosecondArray>()));
        columns.push(new_null_array(&DataType::Utf8, groups.len()));
        out.give(OutPort(0), Batch::new(RecordBatch::try_new(self.schema.clone(), columns)?));
        Ok(())
    }
    /// The groups a row belongs to.
    fn keys(&self, batch: &Batch, row: usize) -> Result<Vec<Vec<Option<String>>>> {
        let mut keys = vec![Vec::with_capacity(self.by.len())];
        for name in &self.by {
            let values = values(batch, name, row)?;
            let longer = |key: &Vec<Option<String>>| {
                let key = key.clone();
                values.iter().map(move |value| key.iter().cloned().chain([value.clone()]).collect()).collect::<Vec<_>>()
            };
            keys = keys.iter().flat_map(longer).collect();
        }
        Ok(keys)
    }
}

fn sample_field() -> Field {
    Field::new("item", DataType::Utf8, true).with_metadata([(JSON_METADATA.0.into(), JSON_METADATA.1.into())].into())
}

/// The texts of a column at a row: one, but for the rules of a refused row.
fn values(batch: &Batch, name: &str, row: usize) -> Result<Vec<Option<String>>> {
    let refused = batch.rows.schema_ref().fields() == refusal::schema().fields();
    if name == RULE
        && refused
        && let Some(rules) = batch.column(RULES)
    {
        let rules = rules.as_list::<i32>().value(row);
        let mut rules: Vec<_> = rules.as_string::<i32>().iter().map(|r| r.map(str::to_owned)).collect();
        rules.sort();
        rules.dedup();
        return Ok(rules);
    }
    Ok(match batch.column(name).filter(|c| c.is_valid(row)) {
        Some(column) => vec![Some(array_value_to_string(column, row)?)],
        None => vec![None],
    })
}

impl Operator for Digest {
    fn on_batch(&mut self, _port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let (arrived, event_times) = (batch.arrived_at()?.clone(), batch.event_time()?.clone());
        out.counts.merged += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            let arrived = arrived.value(row);
            let since = self.since.get_or_insert(self.now.unwrap_or(arrived));
            if self.now.is_none() {
                *since = (*since).min(arrived);
            }
            for key in self.keys(&batch, row)? {
                let group = self.groups.entry(key).or_default();
                group.count += 1;
                group.arrived_at = group.arrived_at.max(arrived);
                group.event_time = group.event_time.max(event_times.is_valid(row).then(|| event_times.value(row)));
                if group.samples.len() < self.samples {
                    group.samples.push(row_json(&batch.rows, row));
                }
            }
        }
        Ok(())
    }
    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        let millis = tick.0.saturating_mul(self.tick_ms);
        let now = i64::try_from(millis).unwrap_or(i64::MAX).saturating_mul(1000);
        self.now = Some(now);
        if self.since.is_some_and(|since| now.saturating_sub(since) >= self.every) {
            self.flush(out)?;
        }
        Ok(())
    }
    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        if watermark.is_complete() { self.flush(out) } else { Ok(()) }
    }
    /// Whoever stops a pipeline should not wait for the next start to be told.
    fn on_end(&mut self, out: &mut Output) -> Result<()> {
        self.flush(out)
    }
    fn layout(&self) -> Option<StateLayout> {
        Some(StateLayout::new("digest").fixed("by", self.by.join(", ")))
    }
    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        self.remember(whole)
    }
    fn restore(&mut self, tables: Vec<StateTable>, _watermark: Watermark) -> Result<()> {
        self.take_back(&tables)
    }
    fn state_size(&self) -> StateSize {
        let text = |s: &String| s.capacity() + size_of::<String>();
        let bytes = self.groups.iter().map(|(key, group)| {
            size_of::<Group>()
                + key.iter().flatten().map(text).sum::<usize>()
                + group.samples.iter().map(text).sum::<usize>()
        });
        StateSize { bytes: bytes.sum(), keys: self.groups.len(), open_windows: 0 }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use millstream_core::EventTime;
    use millstream_core::format::Reason;
    use millstream_core::refusal::Refusal;
    use millstream_core::snapshot::Layer;

    use super::*;
    use crate::testing::{batch, run, text_of};

    fn counts(batch: &Batch) -> Vec<i64> {
        batch.column("count").unwrap().as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn groups_are_given_when_their_time_has_come() {
        let mut d = Digest::new(vec!["id".into()], Duration::from_secs(1), 2, 10);
        let mut out = Output::default();
        d.on_tick(Tick(100), &mut out).unwrap();
        let taken = run(&mut d, batch(&[("b", Some(1), 5), ("a", Some(2), 6), ("b", Some(3), 7), ("b", None, 8)]));
        assert_eq!(taken.counts.merged, 4);
        d.on_tick(Tick(199), &mut out).unwrap();
        assert!(out.batches.is_empty());
        d.on_tick(Tick(200), &mut out).unwrap();
        let digest = &out.batches[0].1;
        assert_eq!((text_of(digest, "id"), counts(digest)), (vec!["a".into(), "b".into()], vec![1, 3]));
        let samples = digest.column("samples").unwrap().as_list::<i32>().value(1);
        let samples: Vec<_> = samples.as_string::<i32>().iter().flatten().collect();
        assert_eq!(samples, [r#"{"id":"b","n":1}"#, r#"{"id":"b","n":3}"#]);
        let time = |c: &str| digest.column(c).unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!((time("from"), time("to")), (1_000_000, 2_000_000));
        assert_eq!(out.counts.produced, 2);
        d.on_watermark(Watermark::COMPLETE, &mut out).unwrap();
        assert_eq!(out.batches.len(), 1, "nothing was left");
        run(&mut d, batch(&[("c", Some(1), 9)]));
        d.on_end(&mut out).unwrap();
        assert_eq!(text_of(&out.batches[1].1, "id"), ["c"], "a stop tells what was gathered until then");
        assert_eq!(d.snapshot(false).unwrap().num_rows(), 0, "and the next start does not tell it again");
    }

    #[test]
    fn every_rule_of_a_refused_row_is_counted() {
        let refused = |rules: &[&str]| {
            let reasons = rules.iter().map(|r| Reason { rule: (*r).into(), text: "because".into() }).collect();
            Refusal { row: Some("{}".into()), ..Refusal::new("v", "rejected", reasons, EventTime(3)) }
        };
        let mut d = Digest::new(vec!["component".into(), "rule".into()], Duration::from_secs(60), 1, 10);
        run(&mut d, refusal::batch(&[refused(&["x", "y"]), refused(&["y"])]).unwrap());
        let mut out = Output::default();
        d.on_watermark(Watermark::COMPLETE, &mut out).unwrap();
        let digest = &out.batches[0].1;
        assert_eq!((text_of(digest, "rule"), counts(digest)), (vec!["x".into(), "y".into()], vec![1, 2]));
    }

    #[test]
    fn what_is_being_gathered_survives_and_what_was_given_does_not() {
        let new = || Digest::new(vec!["id".into(), "n".into()], Duration::from_secs(1), 2, 10);
        let (mut d, mut out) = (new(), Output::default());
        assert!(d.snapshot(false).unwrap().is_nothing());
        d.on_tick(Tick(100), &mut out).unwrap();
        run(&mut d, batch(&[("b", Some(1), 5), ("a", None, 6), ("b", Some(1), 7), ("b", Some(1), 8)]));
        let snapshot = d.snapshot(false).unwrap();
        assert_eq!(snapshot.layer, Layer::Whole);
        assert_eq!(d.snapshot(false).unwrap(), snapshot, "all of it, each time");
        let mut again = new();
        again.restore(snapshot.tables, Watermark::START).unwrap();
        for digest in [&mut d, &mut again] {
            digest.on_tick(Tick(150), &mut out).unwrap();
            run(digest, batch(&[("b", Some(1), 9)]));
            digest.on_tick(Tick(200), &mut out).unwrap();
        }
        assert_eq!(out.batches.len(), 2);
        assert_eq!((out.batches[0].1.rows.num_rows(), &out.batches[0].1.rows), (2, &out.batches[1].1.rows));
        for mut digest in [d, again] {
            let empty = digest.snapshot(false).unwrap();
            assert_eq!((empty.layer, empty.num_rows()), (Layer::Whole, 0), "it takes the place of the one before");
            assert!(digest.snapshot(false).unwrap().is_nothing());
        }
    }
}
