//! The state of a windowed query: per group its columns and its aggregates' states.
//!
//! Groups are slots; a slot points at a row of a chunk. Merging never changes a chunk: the rows of all touched
//! groups become a new chunk, and what nothing points at any more is dropped when chunks are compacted.
//!
//! ```text
//! key bytes -> slot -> (chunk, row) -> window_start | keys.. | states.. | arrived_at | event_time
//! ```
//!
//! Invariants:
//! 1. Each group has one slot, and each slot is in the list of exactly one window.
//! 2. A chunk's columns are those of the plan's partial batches, without the position.
//! 3. Chunks hold at most twice the live rows (and [`SLACK`] more).
//! 4. There are at most [`CHUNKS`] and one chunks: the youngest are merged into one, as far back as that one is not
//!    much smaller than the next, so that each row is copied a few times only.

mod remember;

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use hashbrown::HashTable;
use millstream_core::key::{hash_rows, key_bytes};

use self::remember::Unsaved;
use super::partial::greatest;
use super::plan::WindowPlan;

/// Dead rows that are not worth a compaction.
const SLACK: usize = 4096;
/// The most chunks that are kept apart.
const CHUNKS: usize = 64;

/// Rows written together.
struct Chunk {
    columns: Vec<ArrayRef>,
    /// For each row, the slot it was written for; the row is live while the slot still points at it.
    slots: Vec<usize>,
}

/// One group.
#[derive(Debug)]
struct Slot {
    key: Box<[u8]>,
    hash: u64,
    chunk: usize,
    row: usize,
    window: i64,
    /// Changed since its result was last given.
    changed: bool,
}

/// A window and its groups.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Its slots.
    pub(crate) slots: Vec<usize>,
    /// Whether its final results were given.
    pub(crate) fired: bool,
}

/// All groups of one worker.
pub(crate) struct Groups {
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    table: HashTable<usize>,
    slots: Vec<Slot>,
    /// Slots of forgotten groups, to be used again.
    free: Vec<usize>,
    chunks: Vec<Chunk>,
    chunk_rows: usize,
    key_bytes: usize,
    /// By start.
    pub(crate) windows: BTreeMap<i64, Window>,
    changed: Vec<usize>,
    unsaved: Unsaved,
}

/// What a merge touches: for each row of the batch which of the touched groups it belongs to.
///
/// Groups that had a row before come first: accumulators take every group below the number they are told for one
/// that they have seen, so the old states must be merged before new groups are counted.
struct Touched {
    indices: Vec<usize>,
    slots: Vec<usize>,
    /// Per touched group, the first row of the batch that belongs to it.
    first: Vec<usize>,
    /// How many had a row before.
    known: usize,
}

impl Touched {
    /// From groups in the order they were met, and whether each had a row before.
    fn known_first(mut indices: Vec<usize>, met: &[(usize, usize, bool)]) -> Self {
        let mut order: Vec<usize> = (0..met.len()).collect();
        order.sort_by_key(|&g| met.get(g).is_none_or(|m| !m.2));
        let mut numbers = vec![0; met.len()];
        for (new, &old) in order.iter().enumerate() {
            if let Some(number) = numbers.get_mut(old) {
                *number = new;
            }
        }
        for index in &mut indices {
            *index = numbers.get(*index).copied().unwrap_or_default();
        }
        let met = || order.iter().filter_map(|&g| met.get(g));
        Self {
            indices,
            slots: met().map(|m| m.0).collect(),
            first: met().map(|m| m.1).collect(),
            known: met().filter(|m| m.2).count(),
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "slots and chunks are indices into this state's own vectors")]
impl Groups {
    pub(crate) fn new(plan: &WindowPlan) -> DfResult<Self> {
        Ok(Self {
            accumulators: super::aggregate::accumulators(&plan.aggregates)?,
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            chunks: Vec::new(),
            chunk_rows: 0,
            key_bytes: 0,
            windows: BTreeMap::new(),
            changed: Vec::new(),
            unsaved: Unsaved::default(),
        })
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.chunks.iter().flat_map(|c| &c.columns).map(|c| c.get_array_memory_size()).sum::<usize>();
        let slots = self.slots.len() * size_of::<Slot>() + self.chunk_rows * size_of::<usize>();
        columns + self.key_bytes + slots + self.unsaved.bytes() + self.table.capacity() * size_of::<usize>()
    }

    /// Merges a partial batch.
    pub(crate) fn merge(&mut self, plan: &WindowPlan, partial: &RecordBatch) -> DfResult<()> {
        let touched = self.touch(plan, partial)?;
        let groups = touched.slots.len();
        let known: Vec<usize> = (0..touched.known).collect();
        let old = self.gather(&touched.slots[..touched.known])?;
        let mut columns = group_values(plan, partial, &touched)?;
        let mut at = plan.group_columns();
        for (aggregate, accumulator) in plan.aggregates.iter().zip(&mut self.accumulators) {
            let states = at..at + aggregate.state.len();
            at = states.end;
            if !known.is_empty() {
                accumulator.merge_batch(&old[states.clone()], &known, known.len())?;
            }
            accumulator.merge_batch(&partial.columns()[states], &touched.indices, groups)?;
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        for time in [at, at + 1] {
            let new = greatest(partial.column(time), &touched.indices, groups)?;
            columns.push(match old.get(time) {
                Some(old) if !known.is_empty() => {
                    let both = arrow::compute::concat(&[new.as_ref(), old.as_ref()])?;
                    greatest(&both, &(0..groups).chain(known.iter().copied()).collect::<Vec<_>>(), groups)?
                }
                _ => new,
            });
        }
        self.store(columns, touched.slots);
        self.tidy()
    }

    /// Finds or makes the slots of a batch's groups.
    fn touch(&mut self, plan: &WindowPlan, partial: &RecordBatch) -> DfResult<Touched> {
        let columns: Vec<usize> = (0..plan.group_columns()).collect();
        let hashes = hash_rows(partial, &columns).map_err(|e| exec_datafusion_err!("{e}"))?;
        let windows = (partial.column(0).as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| exec_datafusion_err!("a partial batch without windows"))?;
        let mut met: Vec<(usize, usize, bool)> = Vec::new();
        let mut indices = Vec::with_capacity(hashes.len());
        let mut numbers: hashbrown::HashMap<usize, usize> = hashbrown::HashMap::with_capacity(hashes.len());
        let mut key = Vec::new();
        for (row, &hash) in hashes.iter().enumerate() {
            key.clear();
            key_bytes(partial, &columns, row, &mut key).map_err(|e| exec_datafusion_err!("{e}"))?;
            let (slot, is_known) = self.find_or_insert(&key, hash, windows.value(row));
            indices.push(*numbers.entry(slot).or_insert_with(|| {
                met.push((slot, row, is_known));
                met.len() - 1
            }));
        }
        let touched = Touched::known_first(indices, &met);
        for &slot in &touched.slots {
            self.unsaved.mark(slot);
            if !std::mem::replace(&mut self.slots[slot].changed, true) {
                self.changed.push(slot);
            }
        }
        Ok(touched)
    }

    /// The slot of a group, and whether there was one.
    fn find_or_insert(&mut self, key: &[u8], hash: u64, window: i64) -> (usize, bool) {
        match self.table.find(hash, |&s| *self.slots[s].key == *key) {
            Some(&slot) => (slot, true),
            None => (self.insert(key, hash, window), false),
        }
    }

    fn insert(&mut self, key: &[u8], hash: u64, window: i64) -> usize {
        let slot = Slot { key: key.into(), hash, chunk: usize::MAX, row: 0, window, changed: false };
        self.key_bytes += key.len();
        let index = match self.free.pop() {
            Some(free) => {
                self.slots[free] = slot;
                free
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |&s| slots[s].hash);
        self.windows.entry(window).or_default().slots.push(index);
        index
    }

    fn store(&mut self, columns: Vec<ArrayRef>, slots: Vec<usize>) {
        let chunk = self.chunks.len();
        self.chunk_rows += slots.len();
        for (row, &slot) in slots.iter().enumerate() {
            (self.slots[slot].chunk, self.slots[slot].row) = (chunk, row);
        }
        self.chunks.push(Chunk { columns, slots });
    }

    /// The columns of some groups, in the order of `slots`.
    pub(crate) fn gather(&self, slots: &[usize]) -> DfResult<Vec<ArrayRef>> {
        let Some(first) = self.chunks.first() else { return Ok(Vec::new()) };
        let places: Vec<(usize, usize)> = slots.iter().map(|&s| (self.slots[s].chunk, self.slots[s].row)).collect();
        let column = |c: usize| {
            let chunks: Vec<&dyn Array> = self.chunks.iter().map(|chunk| chunk.columns[c].as_ref()).collect();
            Ok(interleave(&chunks, &places)?)
        };
        (0..first.columns.len()).map(column).collect()
    }

    /// Keeps the third and the fourth invariant.
    fn tidy(&mut self) -> DfResult<()> {
        if self.chunk_rows > 2 * self.len() + SLACK {
            return self.compact(0);
        }
        if self.chunks.len() <= CHUNKS {
            return Ok(());
        }
        let mut from = CHUNKS / 2;
        let mut rows = self.chunks[from..].iter().map(|c| c.slots.len()).sum::<usize>();
        while from > 0 && self.chunks[from - 1].slots.len() <= 2 * rows {
            from -= 1;
            rows += self.chunks[from].slots.len();
        }
        self.compact(from)
    }

    /// Writes the live rows of the chunks from `from` on into one.
    fn compact(&mut self, from: usize) -> DfResult<()> {
        let mut live = Vec::new();
        for (chunk, index) in self.chunks[from..].iter().zip(from..) {
            let rows = chunk.slots.iter().enumerate();
            let is_live =
                |(row, slot): &(usize, &usize)| (self.slots[**slot].chunk, self.slots[**slot].row) == (index, *row);
            live.extend(rows.filter(is_live).map(|(_, &slot)| slot));
        }
        let columns = if live.is_empty() { Vec::new() } else { self.gather(&live)? };
        self.chunks.truncate(from);
        self.chunk_rows = self.chunks.iter().map(|c| c.slots.len()).sum();
        if !live.is_empty() {
            self.store(columns, live);
        }
        Ok(())
    }

    /// Whether any group changed since its result was given.
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The groups that changed since their result was given, of windows that `want`s; they count as given.
    pub(crate) fn take_changed(&mut self, want: impl Fn(&Window) -> bool) -> Vec<usize> {
        let (taken, kept) = std::mem::take(&mut self.changed)
            .into_iter()
            .partition(|&slot| self.windows.get(&self.slots[slot].window).is_some_and(&want));
        self.changed = kept;
        self.given(&taken);
        taken
    }

    fn given(&mut self, slots: &[usize]) {
        for &slot in slots {
            self.slots[slot].changed = false;
        }
    }

    /// All groups of windows that `due` says are complete and that have not fired; they have now.
    pub(crate) fn fire(&mut self, due: impl Fn(i64) -> bool) -> Vec<usize> {
        let mut slots = Vec::new();
        // Windows are ordered by start, and so by when they are due.
        for (_, window) in self.windows.iter_mut().take_while(|(start, _)| due(**start)).filter(|(_, w)| !w.fired) {
            window.fired = true;
            slots.extend_from_slice(&window.slots);
        }
        if !slots.is_empty() {
            self.given(&slots);
            self.changed.retain(|&s| self.slots[s].changed);
        }
        slots
    }

    /// Drops all groups of windows that are `settled`.
    pub(crate) fn forget(&mut self, settled: impl Fn(i64) -> bool) -> DfResult<()> {
        let gone: Vec<i64> = self.windows.keys().copied().take_while(|&start| settled(start)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for window in gone.iter().filter_map(|start| self.windows.remove(start)) {
            for slot in window.slots {
                let hash = self.slots[slot].hash;
                if let Ok(entry) = self.table.find_entry(hash, |&s| s == slot) {
                    entry.remove();
                }
                let forgotten = &mut self.slots[slot];
                self.key_bytes -= std::mem::take(&mut forgotten.key).len();
                (forgotten.chunk, forgotten.changed) = (usize::MAX, false);
                self.free.push(slot);
            }
        }
        let windows = &self.windows;
        self.changed.retain(|&s| self.slots[s].changed && windows.contains_key(&self.slots[s].window));
        self.tidy()
    }
}

/// The group columns of the touched groups. Equal keys have equal values, so the batch's serve old groups as well.
fn group_values(plan: &WindowPlan, partial: &RecordBatch, touched: &Touched) -> DfResult<Vec<ArrayRef>> {
    let first: Vec<u32> = touched.first.iter().filter_map(|&r| u32::try_from(r).ok()).collect();
    let first = arrow::array::UInt32Array::from(first);
    let take = |c: &ArrayRef| Ok(arrow::compute::take(c.as_ref(), &first, None)?);
    partial.columns().iter().take(plan.group_columns()).map(take).collect()
}
