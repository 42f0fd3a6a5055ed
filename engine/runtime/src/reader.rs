//! Reader tasks: one per open split, on tokio, feeding a source operator on its worker thread.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::error::Error;
use millstream_core::source::{Applied, Position, RawRecords, Read, Split, SplitSource};
use timely::scheduling::SyncActivator;
use tokio::sync::{Semaphore, mpsc};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::acknowledge::{self, Acknowledged, ToReader};
use crate::clock::Clock;
use crate::delivery::passing;

/// How many splits of a bounded source one worker reads at a time: enough to hide the disk, few enough to bound
/// buffers.
pub(crate) const OPEN_SPLITS: usize = 4;

/// What a reader tells its source operator.
#[derive(Debug)]
pub(crate) enum FromReader {
    /// Records of the split with this number, where to go on behind them, and how far behind the stream's end it is.
    Records { split: usize, records: RawRecords, upto: Position, behind: Option<Duration> },
    /// The split is caught up.
    Idle(usize),
    /// Nothing now, and so far behind.
    Behind(usize, Duration),
    /// The split is read to its end.
    Finished(usize),
    /// It cannot be read.
    Failed(Error),
}

/// Sends to a source operator and wakes its worker.
#[derive(Clone)]
pub(crate) struct ReaderSender {
    /// With each message, when it was sent, in microseconds of wall clock.
    pub(crate) channel: mpsc::Sender<(u64, FromReader)>,
    pub(crate) activator: Arc<SyncActivator>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ReaderSender {
    /// Waits while the operator has enough: this is how back-pressure reaches the reader. `false` once the
    /// operator is gone.
    async fn send(&self, message: FromReader) -> bool {
        let sent = self.channel.send((self.clock.micros(), message)).await.is_ok();
        sent && self.activator.activate().is_ok()
    }
}

/// What a reader of a source that acknowledges needs beside: what was applied before, and how it is told of checkpoints.
pub(crate) struct Acknowledging {
    pub(crate) applied: Vec<Applied>,
    pub(crate) from_host: mpsc::UnboundedReceiver<ToReader>,
    pub(crate) to_host: mpsc::UnboundedSender<Acknowledged>,
}

/// Reads a split from `after` on to its end, or until the operator is gone.
#[expect(clippy::too_many_arguments, reason = "what a task owns for as long as it lives")]
pub(crate) async fn read(
    source: Arc<dyn SplitSource>,
    split: Split,
    after: Option<Position>,
    number: usize,
    permits: Option<Arc<Semaphore>>,
    to: ReaderSender,
    acknowledging: Option<Acknowledging>,
    retried: impl Fn() + Send,
) {
    let _permit = match &permits {
        Some(p) => p.acquire().await.ok(),
        None => None,
    };
    let mut pause = Pause::new(&split.id.0);
    let mut reader = loop {
        match source.open(&split, after.clone()).await {
            Ok(reader) => break reader,
            Err(e) if passing(&e) => {
                retried();
                pause.wait("the split cannot be opened", &e).await;
            }
            Err(e) => {
                to.send(FromReader::Failed(e)).await;
                return;
            }
        }
    };
    if let Some(Acknowledging { applied, from_host, to_host }) = acknowledging {
        reader.applied(&applied);
        return acknowledge::read(reader, number, from_host, to, to_host, pause).await;
    }
    loop {
        let message = match reader.next().await {
            Ok(Read::Records { records, upto, behind }) => {
                pause.reset();
                FromReader::Records { split: number, records, upto, behind }
            }
            Ok(Read::Idle) => {
                pause.reset();
                FromReader::Idle(number)
            }
            Ok(Read::Behind(behind)) => {
                pause.reset();
                FromReader::Behind(number, behind)
            }
            Ok(Read::Finished) => {
                to.send(FromReader::Finished(number)).await;
                return;
            }
            // Reading changes nothing: whether it happened does not matter.
            Err(e) if passing(&e) => {
                retried();
                pause.wait("the split cannot be read", &e).await;
                continue;
            }
            Err(e) => {
                to.send(FromReader::Failed(e)).await;
                return;
            }
        };
        if !to.send(message).await {
            return;
        }
    }
}

/// Growing pauses between attempts that never end, spread over their whole length: readers that were refused together
/// do not come back together.
pub(crate) struct Pause {
    who: String,
    most: Duration,
    count: u64,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(30);

    /// Pauses of someone of this name.
    pub(crate) fn new(who: &str) -> Self {
        Self { who: who.to_owned(), most: Self::FIRST, count: 0 }
    }
    /// What was tried has succeeded.
    pub(crate) fn reset(&mut self) {
        (self.most, self.count) = (Self::FIRST, 0);
    }
    /// Waits before the next attempt.
    pub(crate) async fn wait(&mut self, what: &str, why: &Error) {
        self.count += 1;
        if self.count.is_power_of_two() {
            tracing::warn!(of = %self.who, attempt = self.count, "{what} now and is tried again: {why}");
        }
        tokio::time::sleep(self.next()).await;
    }
    fn next(&mut self) -> Duration {
        let spread = xxh3_64_with_seed(self.who.as_bytes(), self.count) % 1000;
        let pause = self.most.mul_f64(spread as f64 / 1000.0);
        self.most = (self.most * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_spread() {
        let all: Vec<Vec<Duration>> = (0..50)
            .map(|i| {
                let mut pause = Pause::new(&format!("shard-{i}"));
                (0..12).map(|n| (pause.count = n, pause.next()).1).collect()
            })
            .collect();
        for n in 0..12 {
            let most = (Pause::FIRST * 2_u32.pow(n)).min(Pause::LONGEST);
            let of_round: Vec<Duration> = all.iter().map(|p| p[n as usize]).collect();
            assert!(of_round.iter().all(|p| *p < most));
            assert!(of_round.iter().any(|p| *p < most / 4) && of_round.iter().any(|p| *p > most * 3 / 4));
        }
    }
}
