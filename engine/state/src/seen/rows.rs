//! Seen ids as rows of a snapshot, and back.
//!
//! An id never changes and goes by time only, so what is new since the last snapshot is all that changed, and whoever
//! restores leaves out what is forgotten at the watermark restored.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType, UInt64Type};
use millstream_core::batch::TIMESTAMP;
use millstream_core::snapshot::HASH;
use millstream_core::{Error, Result};

use super::{Seen, SeenIds};
use crate::bits::Bits;
use crate::slots::Slot;

/// The high half of an id; the low half is its key's hash, [`HASH`].
const HIGH: &str = "id_high";
const CONTENT: &str = "content";
/// Null where the row had none.
const TIME: &str = "time";
/// Rows per batch.
const BATCH: usize = 1 << 14;

impl SeenIds {
    /// The ids first seen since the last call or restored before it, or all of them (`whole`):
    /// `__hash, id_high, content, time`. No batch is empty.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn snapshot(&mut self, whole: bool) -> Result<Vec<RecordBatch>> {
        let mut taken = std::mem::take(&mut self.new);
        if whole {
            taken = Bits::default();
            self.index.iter().for_each(|i| taken.set(*i as usize));
        }
        let fields = [
            Field::new(HASH, DataType::UInt64, false),
            Field::new(HIGH, DataType::UInt64, false),
            Field::new(CONTENT, DataType::UInt64, false),
            Field::new(TIME, TIMESTAMP, true),
        ];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let batch = |slots: &[Slot]| {
            let seen = || slots.iter().map(|s| self.entries.get(s.index()));
            let numbers = |of: fn(Seen) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(seen().map(of))) };
            let times: TimestampMicrosecondArray = seen().map(|s| (s.time != i64::MIN).then_some(s.time)).collect();
            let columns = vec![
                numbers(|s| s.id as u64),
                numbers(|s| (s.id >> 64) as u64),
                numbers(|s| s.content),
                Arc::new(times),
            ];
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        };
        taken.ones().chunks(BATCH).map(batch).collect()
    }
    /// Takes rows of [`SeenIds::snapshot`] back, but for those that are forgotten once [`SeenIds::forget_before`] was
    /// told `limit`. An id that is there already stays as it is.
    ///
    /// # Errors
    /// `Bug` where they are rows of something else.
    pub fn restore(&mut self, rows: &RecordBatch, limit: Option<i64>) -> Result<()> {
        let column = |name: &str, data_type: &DataType| {
            let column = rows.column_by_name(name).filter(|c| c.data_type() == data_type);
            column.ok_or_else(|| Error::bug(format!("the state of a dedup has no column `{name}` of type {data_type}")))
        };
        let numbers = |name| Ok::<_, Error>(column(name, &DataType::UInt64)?.as_primitive::<UInt64Type>());
        let (low, high, content) = (numbers(HASH)?, numbers(HIGH)?, numbers(CONTENT)?);
        let times = column(TIME, &TIMESTAMP)?.as_primitive::<TimestampMicrosecondType>();
        for row in 0..rows.num_rows() {
            let time = times.is_valid(row).then(|| times.value(row));
            if time.zip(limit).is_some_and(|(time, limit)| self.times.is_before(time, limit)) {
                continue;
            }
            let id = (u128::from(high.value(row)) << 64) | u128::from(low.value(row));
            self.put_back(Seen { id, content: content.value(row), time: time.unwrap_or(i64::MIN) }, time);
        }
        Ok(())
    }
    fn put_back(&mut self, seen: Seen, time: Option<i64>) {
        let hash = Self::hash(seen.id);
        let same = |i: &u32| {
            let held = self.entries.get(*i as usize);
            held.id == seen.id && held.time == seen.time
        };
        if self.index.find(hash, same).is_none() {
            let slot = self.remember(hash, seen, time);
            self.new.clear(slot.index());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sighting;

    fn restored(layers: &[Vec<RecordBatch>], limit: Option<i64>) -> SeenIds {
        let mut ids = SeenIds::new(10, 1);
        for rows in layers.iter().flatten() {
            ids.restore(rows, limit).unwrap();
        }
        ids
    }

    fn count(rows: &[RecordBatch]) -> usize {
        rows.iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn each_id_is_in_one_snapshot_of_changes_and_in_every_whole_one() {
        let mut ids = SeenIds::new(10, 1);
        ids.see(u128::MAX - 5, 7, Some(100));
        ids.see(2, 7, None);
        let first = ids.snapshot(false).unwrap();
        ids.see(2, 7, None);
        ids.see(u128::MAX - 5, 8, Some(200));
        let second = ids.snapshot(false).unwrap();
        assert_eq!((count(&first), count(&second), ids.snapshot(false).unwrap().len()), (2, 1, 0));
        let whole = ids.snapshot(true).unwrap();
        assert_eq!((count(&whole), ids.snapshot(false).unwrap().len()), (3, 0));
        for mut again in [restored(&[first, second], None), restored(&[whole], None)] {
            assert_eq!(again.len(), 3);
            assert_eq!(again.snapshot(false).unwrap().len(), 0, "what was restored is not new");
            assert_eq!(again.see(u128::MAX - 5, 7, Some(105)), Sighting::Duplicate);
            assert_eq!(again.see(u128::MAX - 5, 7, Some(205)), Sighting::Conflict);
            assert_eq!(again.see(2, 7, None), Sighting::Duplicate);
            again.forget_before(150);
            assert_eq!(again.len(), 2);
        }
    }

    #[test]
    fn what_is_forgotten_is_not_taken_back_and_what_took_its_place_is() {
        let mut ids = SeenIds::new(0, 10);
        for i in 0..100 {
            ids.see(i, 0, Some(i as i64));
        }
        let old = ids.snapshot(false).unwrap();
        ids.see(500, 0, Some(3));
        ids.forget_before(55);
        ids.see(600, 0, Some(60));
        let new = ids.snapshot(false).unwrap();
        assert_eq!(count(&new), 1, "an id that went before the snapshot is not in it");
        let mut again = SeenIds::new(0, 10);
        for rows in old.iter().chain(&new) {
            again.restore(rows, Some(55)).unwrap();
        }
        assert_eq!((again.len(), ids.len()), (51, 51), "the same ones, to the width of a bucket");
    }
}
