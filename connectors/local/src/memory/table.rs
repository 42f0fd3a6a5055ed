//! A table in memory: an index of keys over the batches as they were put.
//!
//! ```text
//! key hash -> (chunk, row, version)      chunks: [RecordBatch, RecordBatch, ..]
//! ```
//! Invariants: the index points at exactly one row per key; rows nothing points at are dead, and as soon as more
//! rows are dead than alive the living are gathered into fresh chunks, so that memory stays within about twice
//! the table and every put costs constant time on average.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use millstream_core::key::identify_rows;
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableSchema, TableStore};
use millstream_core::{Error, EventTime, Result};

use crate::clock::Clock;

/// Rows of one chunk when living rows are gathered.
const GATHERED: usize = 8192;

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: u32,
    row: u32,
    version: u64,
    expires_at: EventTime,
}

#[derive(Debug, Default)]
struct Rows {
    index: HashMap<u128, Place, BuildHasherDefault<Hashed>>,
    chunks: Vec<RecordBatch>,
    /// Rows in all chunks, dead ones included.
    stored: usize,
    stamps: HashMap<u128, String>,
}

/// A table in memory.
#[derive(Debug)]
pub struct MemoryTable {
    schema: TableSchema,
    key: Vec<usize>,
    clock: Arc<dyn Clock>,
    rows: Mutex<Rows>,
}

impl MemoryTable {
    /// An empty table.
    ///
    /// # Errors
    /// `Config` where a key is not a column.
    pub fn new(schema: &TableSchema, clock: Arc<dyn Clock>) -> Result<Self> {
        let index = |key: &String| {
            let message = || Error::config(format!("`{key}` is a key of the table `{}` but no column", schema.name));
            schema.columns.index_of(key).map_err(|_| message())
        };
        let key = schema.key.iter().map(index).collect::<Result<_>>()?;
        Ok(Self { schema: schema.clone(), key, clock, rows: Mutex::default() })
    }
    /// How many rows it has, expired ones included.
    pub fn len(&self) -> usize {
        self.lock().index.len()
    }
    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its declared shape.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }
    /// How many rows it holds in memory, dead ones included.
    #[cfg(test)]
    pub(crate) fn stored_rows(&self) -> usize {
        self.lock().stored
    }
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn row(&self, place: Place) -> Result<RecordBatch> {
        let chunk = self.chunks.get(place.chunk as usize).ok_or_else(|| Error::bug("a table lost a chunk"))?;
        Ok(chunk.slice(place.row as usize, 1))
    }
    fn stored_row(&self, key: u128, place: Place) -> Result<StoredRow> {
        let row = self.row(place)?;
        Ok(StoredRow { row, version: place.version, stamps: self.stamps.get(&key).cloned() })
    }
    /// Puts one row on the condition of its version.
    fn put(&mut self, key: u128, place: Place, stamps: Option<&String>, now: EventTime) -> Result<PutOutcome> {
        if let Some(old) = self.index.get(&key).copied()
            && old.version >= place.version
            && old.expires_at > now
        {
            return Ok(PutOutcome::Stale(Box::new(self.stored_row(key, old)?)));
        }
        self.index.insert(key, place);
        match stamps {
            Some(stamps) => drop(self.stamps.insert(key, stamps.clone())),
            None if self.stamps.is_empty() => {}
            None => drop(self.stamps.remove(&key)),
        }
        Ok(PutOutcome::Written)
    }
    /// Gathers the living rows where most are dead or expired.
    fn gather(&mut self, now: EventTime) -> Result<()> {
        if self.stored < 2 * self.index.len() + GATHERED {
            return Ok(());
        }
        self.index.retain(|_, place| place.expires_at > now);
        if !self.stamps.is_empty() {
            let index = &self.index;
            self.stamps.retain(|key, _| index.contains_key(key));
        }
        let chunks: Vec<&RecordBatch> = self.chunks.iter().collect();
        let mut places: Vec<&mut Place> = self.index.values_mut().collect();
        // In the order they were put, so that rows of one time stay together.
        places.sort_unstable_by_key(|p| (p.chunk, p.row));
        let mut gathered = Vec::with_capacity(places.len().div_ceil(GATHERED));
        for group in places.chunks_mut(GATHERED) {
            let from: Vec<_> = group.iter().map(|p| (p.chunk as usize, p.row as usize)).collect();
            let chunk = gathered.len() as u32;
            gathered.push(interleave_record_batch(&chunks, &from)?);
            for (row, place) in group.iter_mut().enumerate() {
                place.chunk = chunk;
                place.row = row as u32;
            }
        }
        self.chunks = gathered;
        self.stored = self.index.len();
        Ok(())
    }
}

#[async_trait]
impl TableStore for MemoryTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let keys = identify_rows(&rows.rows, &self.key)?;
        let now = self.clock.now();
        let expires_at = self.schema.ttl.map_or(EventTime::MAX, |ttl| now.plus(ttl));
        let mut table = self.lock();
        let chunk = table.chunks.len() as u32;
        table.chunks.push(rows.rows.clone());
        table.stored += rows.rows.num_rows();
        let mut outcomes = Vec::with_capacity(keys.len());
        for (row, ((key, version), stamps)) in keys.iter().zip(&rows.versions).zip(&rows.stamps).enumerate() {
            let place = Place { chunk, row: row as u32, version: *version, expires_at };
            outcomes.push(table.put(*key, place, stamps.as_ref(), now)?);
        }
        table.gather(now)?;
        Ok(outcomes)
    }

    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>> {
        let columns: Vec<usize> = (0..keys.num_columns()).collect();
        let keys = identify_rows(keys, &columns)?;
        let now = self.clock.now();
        let table = self.lock();
        let found = |key: &u128| match table.index.get(key) {
            Some(place) if place.expires_at > now => table.stored_row(*key, *place).map(Some),
            _ => Ok(None),
        };
        keys.iter().map(found).collect()
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let now = self.clock.now();
        let (chunks, mut places) = {
            let table = self.lock();
            let places: Vec<_> = table.index.values().filter(|p| p.expires_at > now).copied().collect();
            (table.chunks.clone(), places)
        };
        places.sort_unstable_by_key(|p| (p.chunk, p.row));
        let groups: Vec<Vec<(usize, usize)>> = places
            .chunks(GATHERED)
            .map(|group| group.iter().map(|p| (p.chunk as usize, p.row as usize)).collect())
            .collect();
        let gather = move |group: Vec<(usize, usize)>| {
            let chunks: Vec<&RecordBatch> = chunks.iter().collect();
            interleave_record_batch(&chunks, &group).map_err(Error::from)
        };
        Ok(stream::iter(groups).map(gather).boxed())
    }
}
