//! `dedup`: rows whose key was seen within a time are dropped.
//!
//! Two rows of one key are the same where their event times are at most `within` apart; the first one that comes
//! passes and is remembered with its time, later ones are compared with it. That is exact where rows of equal key
//! are equal rows (then any of them may pass), whatever the order. Where they are not, the first wins, and each
//! other row is counted as a conflict besides.
//!
//! A key is remembered until the watermark has passed its event time + `within` + the horizon, the time behind the
//! watermark at which sources still accept rows: a row that is accepted later cannot be within `within` of it. So
//! what happens to a row never depends on when a watermark comes. Rows without an event time are all of one time and
//! are remembered for ever. Port: 0.
//!
//! A snapshot has the ids first seen since the last one. None says which ids went: those forgotten at the watermark
//! restored are not taken back. What a row says beside its key may change with the pipeline: a duplicate of a row from
//! before is then counted as a conflict, and dropped all the same.

use std::time::Duration;

use millstream_core::batch::is_hidden;
use millstream_core::operator::{InPort, Operator, OutPort, Output, StateSize};
use millstream_core::planted::{Bug, is_planted};
use millstream_core::schema::type_name;
use millstream_core::snapshot::{Snapshot, StateLayout, StateTable};
use millstream_core::time::micros;
use millstream_core::{Batch, Error, Result, Watermark, key};
use millstream_state::{SeenIds, Sighting, content};

use arrow::array::{Array, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, Schema};

/// See the [module](self).
#[derive(Debug)]
pub struct Dedup {
    key: Vec<usize>,
    remember: Duration,
    ids: SeenIds,
    /// User columns of the input, found at the first batch.
    content: Vec<usize>,
    /// The key's columns with their types, for people.
    names: String,
}

/// The table of a dedup's snapshot.
const IDS: &str = "ids";

impl Dedup {
    /// A dedup over the columns at `key`; `horizon` is the greatest `late_after` of the sources upstream.
    pub fn new(key: Vec<usize>, within: Duration, horizon: Duration) -> Self {
        let remember = within.saturating_add(horizon);
        let slack = micros(remember) / 64;
        let names = format!("columns {key:?} of its input");
        Self { key, remember, ids: SeenIds::new(micros(within), slack), content: Vec::new(), names }
    }
    /// The same, knowing the schema of its input: its layout then tells the key by names and types, and not by places.
    #[must_use]
    pub fn named(mut self, input: &Schema) -> Self {
        let typed = |f: &Field| format!("{} {}", f.name(), type_name(f.data_type()));
        let names: Vec<String> = self.key.iter().filter_map(|k| input.fields().get(*k)).map(|f| typed(f)).collect();
        self.names = names.join(", ");
        self
    }
    /// Ids of an earlier event time are forgotten; none are at the end: nothing comes any more.
    fn limit(&self, watermark: Watermark) -> Option<i64> {
        let remember = if is_planted(Bug::ForgetIdsEarly) { self.remember / 16 } else { self.remember };
        (!watermark.is_complete()).then(|| watermark.0.minus(remember).0)
    }
}

impl Operator for Dedup {
    fn on_batch(&mut self, _port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        if self.content.is_empty() {
            let fields = batch.rows.schema_ref().fields();
            self.content = (0..fields.len()).filter(|i| fields.get(*i).is_some_and(|f| !is_hidden(f.name()))).collect();
        }
        let ids = key::identify_rows(&batch.rows, &self.key)?;
        let contents = content::hash_rows(&batch.rows, &self.content, 0)?;
        let times = batch.event_time()?;
        let mut first = vec![true; ids.len()];
        let mut duplicates = 0;
        for (row, (id, content)) in ids.iter().zip(&contents).enumerate() {
            let time = times.is_valid(row).then(|| times.value(row));
            let sighting = self.ids.see(*id, *content, time);
            if sighting != Sighting::First {
                duplicates += 1;
                out.counts.conflicts += u64::from(sighting == Sighting::Conflict);
                if let Some(f) = first.get_mut(row) {
                    *f = false;
                }
            }
        }
        out.counts.duplicate += duplicates;
        out.counts.out += ids.len() as u64 - duplicates;
        let kept = match duplicates {
            0 => batch,
            _ => batch.filter(&BooleanArray::new(BooleanBuffer::from(first), None))?,
        };
        out.give(OutPort(0), kept);
        Ok(())
    }
    fn on_watermark(&mut self, watermark: Watermark, _out: &mut Output) -> Result<()> {
        if let Some(limit) = self.limit(watermark) {
            self.ids.forget_before(limit);
        }
        Ok(())
    }
    fn layout(&self) -> Option<StateLayout> {
        Some(StateLayout::new("dedup").fixed("key", &self.names))
    }
    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        let rows = self.ids.snapshot(whole)?;
        let tables = if rows.is_empty() { Vec::new() } else { vec![StateTable { name: IDS.into(), rows }] };
        Ok(if whole { Snapshot::whole(tables) } else { Snapshot::changes(tables) })
    }
    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        let limit = self.limit(watermark);
        for table in tables.iter().filter(|_| !is_planted(Bug::ForgetIds)) {
            if table.name != IDS {
                return Err(Error::bug(format!("the state of a dedup has a table `{}`", table.name)));
            }
            table.rows.iter().try_for_each(|rows| self.ids.restore(rows, limit))?;
        }
        Ok(())
    }
    fn state_size(&self) -> StateSize {
        StateSize { bytes: self.ids.bytes(), keys: self.ids.len(), open_windows: 0 }
    }
}

#[cfg(test)]
#[path = "dedup_crash_tests.rs"]
mod crash_tests;

#[cfg(test)]
mod tests {
    use millstream_core::EventTime;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{batch, run, text_of};

    const SECOND: i64 = 1_000_000;

    fn dedup(within: u64, horizon: u64) -> Dedup {
        Dedup::new(vec![0], Duration::from_secs(within), Duration::from_secs(horizon))
    }

    #[test]
    fn the_first_row_of_a_key_passes_and_unequal_ones_are_conflicts() {
        let rows = batch(&[("a", Some(1), 0), ("a", Some(1), 0), ("b", Some(1), 0), ("a", Some(2), SECOND)]);
        let out = run(&mut dedup(10, 0), rows);
        assert_eq!(text_of(&out.batches[0].1, "id"), ["a", "b"]);
        assert_eq!((out.counts.out, out.counts.duplicate, out.counts.conflicts), (2, 2, 1));
    }

    #[test]
    fn memory_is_given_back_when_the_watermark_has_passed() {
        let mut d = dedup(10, 20);
        run(&mut d, batch(&[("a", Some(1), 0)]));
        d.on_watermark(Watermark(EventTime(30 * SECOND)), &mut Output::default()).unwrap();
        assert_eq!(d.state_size().keys, 1);
        d.on_watermark(Watermark(EventTime(32 * SECOND)), &mut Output::default()).unwrap();
        assert_eq!(d.state_size().keys, 0);
    }

    proptest! {
        /// Rows of few keys, in event-time order up to the horizon, with watermarks anywhere: as if nothing were ever
        /// forgotten.
        #[test]
        fn forgetting_changes_nothing(
            steps in prop::collection::vec((0..4_u8, 0..8_i64, 0..3_i64, any::<bool>()), 1..150),
            within in 0..6_u64, horizon in 0..8_u64,
        ) {
            let mut d = dedup(within, horizon);
            let mut seen: Vec<(String, i64)> = Vec::new();
            let (mut newest, mut watermark) = (0, i64::MIN);
            for (key, back, forward, move_on) in steps {
                newest += forward;
                let time = newest - back.min(horizon as i64);
                let id = format!("key {key}");
                let out = run(&mut d, batch(&[(&id, Some(0), time * SECOND)]));
                let known = seen.iter().any(|(k, t)| *k == id && t.abs_diff(time) <= within);
                prop_assert_eq!(out.counts.duplicate == 1, known, "{} at {}", id, time);
                if !known {
                    seen.push((id, time));
                }
                if move_on && newest > watermark {
                    watermark = newest;
                    d.on_watermark(Watermark(EventTime(newest * SECOND)), &mut Output::default()).unwrap();
                }
            }
        }
    }
}
