//! `produce`: puts the records of a file into the stream that a source reads.
//!
//! ```text
//! file -> records (key, bytes) -> pending -> producer -> done | refused
//!                                   ^------- retry -------'
//! ```
//! Of a key, records get into the stream in the file's order: those to be retried stand before all later ones.

mod object;
mod order;
mod pace;
mod records;
mod show;

use std::collections::VecDeque;
use std::time::Duration;

use millstream_core::producer::{NewRecord, Producer};
use millstream_core::sink::Outcome;
use millstream_core::{Error, ErrorKind, EventTime};
use millstream_runtime::graph::{Graph, NodeKind, SourceNode};
use tokio::time::{Instant, sleep};

use crate::args::ProduceArgs;
use crate::exit::Failure;
use crate::{absent, number, registry, run, state, terminal};
use pace::Pace;
use records::Records;
use show::Show;

/// Most records and bytes given to the producer at once.
const RECORDS: usize = 500;
const BYTES: usize = 4 << 20;
/// The first pause after trouble, and the longest; each is up to twice the one before.
const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How many refused records are told one by one.
const TOLD: u64 = 3;

/// Runs the command.
pub(crate) fn execute(args: &ProduceArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let (_, graph, _) = absent::looked_at(&args.file, &registry)?;
    let source = source(&graph, &args.source)?;
    if source.connector.kind() == absent::ABSENT {
        let message = format!(
            "what `{}` reads is not part of this binary, or cannot be reached without variables that are not set",
            args.source
        );
        return Err(Failure::new(Failure::FILE, message).help("`--profile` picks another environment"));
    }
    run::play(async {
        let producer = source.connector.producer(&name()).await?;
        let records = Records::open(args, source, &registry).await?;
        let show = Show::new(&args.source, source.connector.kind(), records.size());
        Producing {
            producer,
            records,
            show,
            pace: Pace::new(args.rate, Instant::now()),
            pending: VecDeque::new(),
            random: random(),
            pause: BACKOFF,
        }
        .all()
        .await
    })
}

/// The source of this id.
fn source<'a>(graph: &'a Graph, id: &str) -> Result<&'a SourceNode, Failure> {
    let sources = graph.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Source(source) => Some((node.id.as_str(), source)),
        _ => None,
    });
    let sources: Vec<(&str, &SourceNode)> = sources.collect();
    if let Some((_, source)) = sources.iter().find(|(source, _)| *source == id) {
        return Ok(source);
    }
    let names: Vec<&str> = sources.iter().map(|(id, _)| *id).collect();
    let help = match millstream_spec::suggest::nearest(id, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("sources of this file: {}", names.join(", ")),
    };
    Err(Failure::new(Failure::FILE, format!("there is no source named `{id}`")).help(help))
}

/// A name that no other producer has.
fn name() -> String {
    let since_1970 = state::age(EventTime(0));
    format!("produce-{:x}-{:x}", since_1970.as_micros(), std::process::id())
}

/// For jitter only: two processes should not pause alike.
fn random() -> impl FnMut() -> f64 {
    let mut state = u64::from(std::process::id()) | 1;
    move || {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A file on its way into a stream.
struct Producing<R> {
    producer: Box<dyn Producer>,
    records: Records,
    show: Show,
    pace: Pace,
    /// What is not in the stream yet, in the order of the file.
    pending: VecDeque<NewRecord>,
    random: R,
    pause: Duration,
}

impl<R: FnMut() -> f64> Producing<R> {
    async fn all(mut self) -> Result<(), Failure> {
        loop {
            self.fill().await?;
            if self.pending.is_empty() {
                break;
            }
            let batch = self.next();
            self.pace.take(batch.len()).await;
            let result = self.producer.put(&batch).await;
            self.settle(batch, result).await?;
            self.show.update(self.records.read());
        }
        let refused = self.show.refused + self.records.unreadable();
        self.show.close(self.records.unreadable());
        if refused > 0 {
            let message = format!("{} could not be put into `{}`", number::of(refused, "record"), self.show.source);
            return Err(Failure::new(Failure::RUNNING, message));
        }
        Ok(())
    }

    /// Reads until a whole batch is pending.
    async fn fill(&mut self) -> Result<(), Failure> {
        while self.pending.len() < RECORDS {
            match self.records.next().await? {
                Some(records) => self.pending.extend(records),
                None => break,
            }
        }
        Ok(())
    }

    /// The next records to be put: at least one.
    fn next(&mut self) -> Vec<NewRecord> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let most = RECORDS.min(self.pace.at_once());
        while let Some(record) = self.pending.front() {
            bytes += record.data.len() + record.key.len();
            if !batch.is_empty() && (batch.len() >= most || bytes > BYTES) {
                break;
            }
            batch.extend(self.pending.pop_front());
        }
        batch
    }

    /// Notes what became of a batch; what is to be put again stands first.
    async fn settle(&mut self, batch: Vec<NewRecord>, result: Result<Vec<Outcome>, Error>) -> Result<(), Failure> {
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Indeterminate => {
                    vec![Outcome::Retry(error.to_string()); batch.len()]
                }
                _ => return Err(error.into()),
            },
        };
        let (mut again, mut why) = (Vec::new(), None);
        for (record, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Done => self.show.sent(&record),
                Outcome::Refused(reason) => {
                    self.show.refused += 1;
                    if self.show.refused <= TOLD {
                        terminal::note(&format!("a record of key `{}` is refused: {reason}\n", record.key));
                    }
                }
                Outcome::Retry(reason) => {
                    again.push(record);
                    why = Some(reason);
                }
            }
        }
        let Some(why) = why else {
            self.pause = BACKOFF;
            return Ok(());
        };
        self.show.again(again.len(), &why);
        for record in again.into_iter().rev() {
            self.pending.push_front(record);
        }
        sleep(self.pause.mul_f64((self.random)())).await;
        self.pause = (self.pause * 2).min(MAX_BACKOFF);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
