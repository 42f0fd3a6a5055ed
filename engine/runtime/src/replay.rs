//! Dead letters put to where they could not go: each removed from its queue only after that is done.
//!
//! ```text
//! queue -- letters --> rows of a table, one per key --> merged with the stored row --> table
//!   ^                                                                                    |
//!   +------------------------------- remove <---------- done ----------------------------+
//! ```
//! State of the pipeline is never opened: it may run meanwhile. What is put is the letter's row and version, by the rule
//! by which the pipeline puts its own ([`millstream_operators::upsert`]): a stored row that says more stays as it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use millstream_core::dead_letter::DeadLetter;
use millstream_core::error::{Error, Result};
use millstream_core::format::RecordFormat;
use millstream_core::operator::Output;
use millstream_core::sink::{BadRow, Delivery, Outage};
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableStore};
use millstream_core::time::EventTime;
use millstream_formats::declared;
use millstream_formats::value::row_json;
use millstream_operators::upsert::{DirtyRows, Upsert};

use crate::clock::Clock;
use crate::delivery::{Answer, put};
use crate::graph::{Graph, NodeKind, SinkNode, UpsertNode};

/// How dead letters are replayed.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Nothing is put and nothing removed.
    pub dry_run: bool,
    /// How long a table that does not answer is tried before the rest of the letters is left.
    pub give_up_after: Duration,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// What became of the letters of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many were read.
    pub read: u64,
    /// By table.
    pub tables: BTreeMap<String, PutLetters>,
    /// Letters that stay in the queue.
    pub left: Vec<Left>,
}

/// Letters that a table has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutLetters {
    /// The table was changed, or would be.
    pub written: u64,
    /// The table said as much already, or more.
    pub known: u64,
}

/// Letters that stay in the queue for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The port they left by: `trips.failed`.
    pub port: String,
    /// Why they are left.
    pub why: String,
    /// Whether a table was tried and did not take them.
    pub tried: bool,
    /// How many.
    pub count: u64,
    /// The first of them, as the queue calls it.
    pub first: String,
}

impl Replayed {
    /// Whether every letter that belongs to a table is in it.
    pub fn is_whole(&self) -> bool {
        self.left.iter().all(|left| !left.tried)
    }
    fn leave(&mut self, letter: &DeadLetter, why: impl Into<String>, tried: bool) {
        let (port, why) = (format!("{}.{}", letter.component, letter.port), why.into());
        match self.left.iter_mut().find(|left| left.port == port && left.why == why) {
            Some(left) => left.count += 1,
            None => self.left.push(Left { port, why, tried, count: 1, first: letter.id.clone() }),
        }
    }
}

/// A letter that is a row of a table.
struct TableLetter {
    letter: DeadLetter,
    row: RecordBatch,
    version: u64,
}

/// A letter that is no row of a table of the pipeline, and why.
struct NoRow {
    letter: DeadLetter,
    why: String,
}

impl NoRow {
    fn of(letter: DeadLetter, why: impl Into<String>) -> Box<Self> {
        Box::new(Self { letter, why: why.into() })
    }
}

/// Replays the dead letters that the sink with this id has put into its queue.
///
/// # Errors
/// `Config` where there is no such sink or it keeps no dead letters; `Environment`; `Unavailable` where the queue does
/// not answer: what was put until then is put.
pub async fn replay(graph: &Graph, sink: &str, options: &ReplayOptions) -> Result<Replayed> {
    let mut queue = {
        let SinkNode { connector, options, .. } = sink_of(graph, sink)?;
        connector.dead_letters(options).await?
    };
    let mut tables = Tables { graph, stores: HashMap::new(), down: HashMap::new(), options };
    let mut replayed = Replayed::default();
    loop {
        let letters = queue.next().await?;
        if letters.is_empty() {
            break;
        }
        replayed.read += letters.len() as u64;
        let mut by_table: BTreeMap<String, Vec<TableLetter>> = BTreeMap::new();
        for letter in letters {
            match tables.row(letter) {
                Ok(found) => by_table.entry(found.letter.component.clone()).or_default().push(found),
                Err(no) => replayed.leave(&no.letter, no.why, false),
            }
        }
        for (table, letters) in by_table {
            let done = tables.put(&table, letters, &mut replayed).await?;
            if !options.dry_run && !done.is_empty() {
                queue.remove(&done).await?;
            }
        }
    }
    if let Err(e) = queue.let_go().await {
        tracing::warn!("letters that were left may be hidden for a while: {e}");
    }
    Ok(replayed)
}

fn sink_of<'g>(graph: &'g Graph, id: &str) -> Result<&'g SinkNode> {
    let found = graph.nodes.iter().find(|node| node.id == id);
    match found.map(|node| &node.kind) {
        Some(NodeKind::Sink(sink)) => Ok(sink),
        _ => {
            let sinks = graph.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_)));
            let sinks: Vec<&str> = sinks.map(|n| n.id.as_str()).collect();
            Err(Error::config(format!("there is no sink `{id}`; sinks: {}", sinks.join(", "))))
        }
    }
}

/// The tables of a graph, each opened when its first letter comes.
struct Tables<'a> {
    graph: &'a Graph,
    stores: HashMap<String, Arc<dyn TableStore>>,
    /// Tables that do not answer, and what was said last: their other letters are left.
    down: HashMap<String, String>,
    options: &'a ReplayOptions,
}

impl<'a> Tables<'a> {
    fn upsert(&self, table: &str) -> Option<&'a UpsertNode> {
        self.graph.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Upsert(upsert) if upsert.table_id == table => Some(upsert),
            _ => None,
        })
    }

    /// The letter as a row of its table; with the reason where it is none.
    fn row(&self, letter: DeadLetter) -> Result<TableLetter, Box<NoRow>> {
        if !letter.pipeline.is_empty() && letter.pipeline != self.graph.name {
            let why = format!("it is of the pipeline `{}`", letter.pipeline);
            return Err(NoRow::of(letter, why));
        }
        let (Some(version), Some(text)) = (letter.version, &letter.row) else {
            let why = "it is no row of a table: put its record into a source again once its cause is mended";
            return Err(NoRow::of(letter, why));
        };
        let Some(upsert) = self.upsert(&letter.component) else {
            let why = format!("the pipeline has no table `{}`", letter.component);
            return Err(NoRow::of(letter, why));
        };
        match row_of(text, upsert) {
            Ok(row) => Ok(TableLetter { letter, row, version }),
            Err(e) => Err(NoRow::of(letter, format!("its row does not fit the table as it is now: {e}"))),
        }
    }

    async fn store(&mut self, upsert: &UpsertNode) -> Result<Arc<dyn TableStore>> {
        if let Some(store) = self.stores.get(&upsert.table_id) {
            return Ok(store.clone());
        }
        let store = upsert.connector.table(&upsert.table).await?;
        self.stores.insert(upsert.table_id.clone(), store.clone());
        Ok(store)
    }

    /// Puts letters of one table; gives the ids of those that are in it now.
    async fn put(&mut self, table: &str, letters: Vec<TableLetter>, replayed: &mut Replayed) -> Result<Vec<String>> {
        let Some(upsert) = self.upsert(table) else { return Ok(Vec::new()) };
        let store = self.store(upsert).await?;
        let mut done = Vec::new();
        for letters in one_per_key(letters, upsert)? {
            if let Some(why) = self.down.get(table) {
                letters.iter().for_each(|(_, l)| replayed.leave(&l.letter, why.clone(), true));
                continue;
            }
            let run = Run { upsert, store: store.as_ref(), options: self.options };
            let mut fates = run.play(&letters).await?;
            for (key, TableLetter { letter, .. }) in letters {
                let counts = replayed.tables.entry(table.to_owned()).or_default();
                match fates.remove(&key).unwrap_or(Fate::Known) {
                    Fate::Written => counts.written += 1,
                    Fate::Known => counts.known += 1,
                    Fate::Refused(why) => {
                        replayed.leave(&letter, why, true);
                        continue;
                    }
                    Fate::Down(why) => {
                        replayed.leave(&letter, why.clone(), true);
                        self.down.insert(table.to_owned(), why);
                        continue;
                    }
                }
                done.push(letter.id);
            }
        }
        Ok(done)
    }
}

/// What became of a letter's row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Written,
    Known,
    Refused(String),
    Down(String),
}

/// Rounds of letters, no key twice in one, in the order of the letters.
type Round = Vec<(String, TableLetter)>;

fn one_per_key(letters: Vec<TableLetter>, upsert: &UpsertNode) -> Result<Vec<Round>> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for letter in letters {
        let key = key_text(&letter.row, 0, upsert)?;
        let round = seen.entry(key.clone()).and_modify(|round| *round += 1).or_insert(0);
        match rounds.get_mut(*round) {
            Some(letters) => letters.push((key, letter)),
            None => rounds.push(vec![(key, letter)]),
        }
    }
    Ok(rounds)
}

/// The key of a row as text: equal exactly where keys are.
fn key_text(rows: &RecordBatch, row: usize, upsert: &UpsertNode) -> Result<String> {
    let key = upsert.table.key.iter().map(|name| rows.schema_ref().index_of(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(row_json(&rows.project(&key)?, row))
}

fn row_of(text: &str, upsert: &UpsertNode) -> Result<RecordBatch> {
    let buffer = Bytes::copy_from_slice(text.as_bytes());
    let len = u32::try_from(buffer.len()).map_err(|e| Error::environment("the row is too large").caused_by(e))?;
    let record = RawRecord { start: 0, len, position: Position::Offset(0), arrived_at: EventTime(0) };
    declared::decode(
        RecordFormat::Json,
        &upsert.table.columns,
        &RawRecords { buffer, records: vec![record], header: None },
    )
}

/// Letters of one table on their way, no key twice.
struct Run<'a> {
    upsert: &'a UpsertNode,
    store: &'a dyn TableStore,
    options: &'a ReplayOptions,
}

impl Run<'_> {
    /// What becomes of each key; one that is not named is in the table as it should be.
    async fn play(&self, letters: &[(String, TableLetter)]) -> Result<HashMap<String, Fate>> {
        let mut upsert = (self.upsert.make)()?;
        let rows: Vec<&RecordBatch> = letters.iter().map(|(_, l)| &l.row).collect();
        upsert.take_letters(&TableRows {
            rows: concat_batches(&self.upsert.table.columns, rows)?,
            versions: letters.iter().map(|(_, l)| l.version).collect(),
            stamps: letters.iter().map(|(_, l)| l.letter.stamps.clone()).collect(),
            truncated: vec![None; letters.len()],
        })?;
        let mut fates = HashMap::new();
        if self.options.dry_run {
            self.look(&mut upsert, &mut fates).await?;
            return Ok(fates);
        }
        self.write(&mut upsert, &mut fates).await?;
        upsert.raise_versions();
        self.write(&mut upsert, &mut fates).await?;
        Ok(fates)
    }

    /// Puts what is to be written until nothing is any more: stored rows are merged, and written again where they differ.
    async fn write(&self, upsert: &mut Upsert, fates: &mut HashMap<String, Fate>) -> Result<()> {
        let (clock, name) = (self.options.clock.as_ref(), format!("`{}`", self.upsert.table_id));
        while let Some(dirty) = upsert.take_dirty(usize::MAX)? {
            let answers = put(self.store, &dirty.rows, &self.delivery(), clock, &name).await?;
            self.judge(&dirty, &answers, fates)?;
            let outcomes = answers.into_iter().map(|(outcome, _)| outcome).collect();
            upsert.on_outcomes(dirty, outcomes, &mut Output::default())?;
        }
        Ok(())
    }

    /// Whatever the pipeline does about an outage, somebody waits here.
    fn delivery(&self) -> Delivery {
        Delivery {
            outage: Outage::Route,
            bad_row: BadRow::Route,
            give_up_after: self.options.give_up_after,
            ..self.upsert.delivery
        }
    }

    fn judge(&self, dirty: &DirtyRows, answers: &[Answer], fates: &mut HashMap<String, Fate>) -> Result<()> {
        for (row, (outcome, _)) in answers.iter().enumerate() {
            let version = dirty.rows.versions.get(row).copied().unwrap_or_default();
            let fate = match outcome {
                PutOutcome::Written => Fate::Written,
                PutOutcome::Stale(stored) if stored.version < version => {
                    Fate::Refused("the store has a row of a lower version and lets none be put over it".to_owned())
                }
                PutOutcome::Stale(_) | PutOutcome::Retry(_) => continue,
                PutOutcome::Refused(reason) => Fate::Refused(reason.clone()),
                PutOutcome::GivenUp(reason) => Fate::Down(reason.clone()),
            };
            fates.insert(key_text(&dirty.rows.rows, row, self.upsert)?, fate);
        }
        Ok(())
    }

    /// What putting the letters would do.
    async fn look(&self, upsert: &mut Upsert, fates: &mut HashMap<String, Fate>) -> Result<()> {
        let Some(dirty) = upsert.take_dirty(usize::MAX)? else { return Ok(()) };
        let rows = &dirty.rows.rows;
        let key = self.upsert.table.key.iter().map(|name| rows.schema_ref().index_of(name));
        let keys = rows.project(&key.collect::<Result<Vec<_>, _>>()?)?;
        let mut outcomes = Vec::with_capacity(rows.num_rows());
        for (row, stored) in self.store.get(&keys).await?.into_iter().enumerate() {
            outcomes.push(match stored {
                Some(stored) => {
                    let sent = dirty.rows.versions.get(row).copied().unwrap_or_default();
                    PutOutcome::Stale(Box::new(StoredRow { version: stored.version.max(sent), ..stored }))
                }
                None => {
                    fates.insert(key_text(rows, row, self.upsert)?, Fate::Written);
                    PutOutcome::Written
                }
            });
        }
        upsert.on_outcomes(dirty, outcomes, &mut Output::default())?;
        while let Some(dirty) = upsert.take_dirty(usize::MAX)? {
            for row in 0..dirty.rows.rows.num_rows() {
                fates.insert(key_text(&dirty.rows.rows, row, self.upsert)?, Fate::Written);
            }
        }
        Ok(())
    }
}
