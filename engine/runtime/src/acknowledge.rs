//! Records of queues: they leave their stream once a checkpoint covers them.
//!
//! ```text
//! records given -> applied, in every checkpoint --[it counts]--> reader: acknowledge --gone--> forgotten
//! ```
//! A checkpoint that counts is finalised only when the readers have tried to let its records go. What they could not let
//! go stays in the next checkpoint's state, and is tried again.

use std::collections::HashMap;

use millstream_core::error::Result;
use millstream_core::source::{Applied, Position, RawRecords, Read, SplitReader};
use millstream_core::time::EventTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::delivery::passing;
use crate::reader::{FromReader, Pause, ReaderSender};

/// What a source operator tells a reader.
#[derive(Debug)]
pub(crate) enum ToReader {
    /// A checkpoint that counts covers these: they are to leave the stream.
    Covered(Vec<Position>),
    /// Nothing more is read; these were given and are not applied.
    Release(Vec<Position>),
}

/// What a reader has done about it: of the split with this number, the records that are gone for good.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) split: usize,
    pub(crate) gone: Result<Vec<Position>>,
}

/// The records of one split that are applied and not known to be gone.
#[derive(Debug)]
struct OfSplit {
    applied: HashMap<Position, EventTime>,
    /// Applied since the last boundary.
    since: Vec<Position>,
    /// What the boundary of this checkpoint covers, until it counts.
    covered: Option<(u64, Vec<Position>)>,
    to_reader: UnboundedSender<ToReader>,
}

/// The same of all splits of a source on one worker.
#[derive(Debug)]
pub(crate) struct Acknowledgements {
    splits: HashMap<usize, OfSplit>,
    pub(crate) to_host: UnboundedSender<Acknowledged>,
    from_readers: UnboundedReceiver<Acknowledged>,
    /// The checkpoint that is to be finalised, and how many readers have not answered yet.
    finalising: Option<(u64, usize)>,
}

impl Default for Acknowledgements {
    fn default() -> Self {
        let (to_host, from_readers) = unbounded_channel();
        Self { splits: HashMap::new(), to_host, from_readers, finalising: None }
    }
}

impl Acknowledgements {
    /// Takes a split on, with what was applied before; gives what its reader listens to.
    pub(crate) fn add(&mut self, split: usize, applied: &[Applied]) -> UnboundedReceiver<ToReader> {
        let (to_reader, from_host) = unbounded_channel();
        let applied: HashMap<Position, EventTime> =
            applied.iter().map(|a| (a.position.clone(), a.arrived_at)).collect();
        self.splits.insert(split, OfSplit { applied, since: Vec::new(), covered: None, to_reader });
        from_host
    }
    /// Records of a split are applied.
    pub(crate) fn apply(&mut self, split: usize, records: &RawRecords) {
        let Some(split) = self.splits.get_mut(&split) else { return };
        for record in &records.records {
            split.applied.insert(record.position.clone(), record.arrived_at);
            split.since.push(record.position.clone());
        }
    }
    /// The boundary of a checkpoint: what it covers, by split.
    pub(crate) fn boundary(&mut self, checkpoint: u64) -> HashMap<usize, Vec<Applied>> {
        let mut all = HashMap::new();
        for (number, split) in &mut self.splits {
            let mut covered = split.covered.take().map(|(_, covered)| covered).unwrap_or_default();
            covered.append(&mut split.since);
            split.covered = Some((checkpoint, covered));
            let applied = |(position, arrived_at): (&Position, &EventTime)| Applied {
                position: position.clone(),
                arrived_at: *arrived_at,
            };
            all.insert(*number, split.applied.iter().map(applied).collect());
        }
        all
    }
    /// A checkpoint counts: readers let go of what it covers.
    pub(crate) fn claimed(&mut self, checkpoint: u64) {
        let mut asked = 0;
        for split in self.splits.values_mut() {
            let covered = split.covered.take_if(|(n, _)| *n <= checkpoint).map(|(_, covered)| covered);
            // A reader that is gone has said why.
            asked += usize::from(split.to_reader.send(ToReader::Covered(covered.unwrap_or_default())).is_ok());
        }
        self.finalising = Some((checkpoint, asked));
    }
    /// Takes the answers of readers; gives the checkpoint that is finalised by them.
    ///
    /// # Errors
    /// What a reader says that does not pass by itself.
    pub(crate) fn answers(&mut self) -> Result<Option<u64>> {
        while let Ok(Acknowledged { split, gone }) = self.from_readers.try_recv() {
            if let Some(split) = self.splits.get_mut(&split) {
                for position in gone? {
                    split.applied.remove(&position);
                }
            }
            if let Some((_, asked)) = &mut self.finalising {
                *asked = asked.saturating_sub(1);
            }
        }
        Ok(self.finalising.take_if(|(_, asked)| *asked == 0).map(|(checkpoint, _)| checkpoint))
    }
    /// Nothing more is read: these records were given by readers and are not applied.
    pub(crate) fn release(&mut self, mut left: HashMap<usize, Vec<Position>>) {
        for (number, split) in &self.splits {
            let _ = split.to_reader.send(ToReader::Release(left.remove(number).unwrap_or_default()));
        }
    }
}

/// Reads a split of a source that acknowledges, and lets its records go; until its host is gone.
pub(crate) async fn read(
    mut reader: Box<dyn SplitReader>,
    split: usize,
    mut from_host: UnboundedReceiver<ToReader>,
    to: ReaderSender,
    to_host: UnboundedSender<Acknowledged>,
    mut pause: Pause,
) {
    let mut reads = true;
    loop {
        let next = async {
            match reads {
                true => reader.next().await,
                false => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            biased;
            told = from_host.recv() => told,
            read = next => {
                if read.is_ok() {
                    pause.reset();
                }
                let message = match read {
                    Ok(Read::Records { records, upto, behind }) => FromReader::Records { split, records, upto, behind },
                    Ok(Read::Idle) => FromReader::Idle(split),
                    Ok(Read::Behind(behind)) => FromReader::Behind(split, behind),
                    Ok(Read::Finished) => {
                        reads = false;
                        FromReader::Finished(split)
                    }
                    Err(e) if passing(&e) => {
                        pause.wait("the queue cannot be read", &e).await;
                        continue;
                    }
                    Err(e) => FromReader::Failed(e),
                };
                match give(message, &to, &mut from_host, reader.as_mut(), split, &to_host).await {
                    Given::Taken => continue,
                    Given::Released => {
                        reads = false;
                        continue;
                    }
                    Given::HostIsGone => return,
                }
            }
        };
        match told {
            None => return,
            Some(told) => reads &= act(told, reader.as_mut(), split, &to, &to_host).await,
        }
    }
}

/// What became of a message to the host.
enum Given {
    Taken,
    /// The host takes nothing more.
    Released,
    HostIsGone,
}

/// Gives a message to the host; while that has enough, records leave the stream all the same.
async fn give(
    message: FromReader,
    to: &ReaderSender,
    from_host: &mut UnboundedReceiver<ToReader>,
    reader: &mut dyn SplitReader,
    split: usize,
    to_host: &UnboundedSender<Acknowledged>,
) -> Given {
    let read_at = to.clock.micros();
    loop {
        let told = tokio::select! {
            biased;
            told = from_host.recv() => told,
            room = to.channel.reserve() => match room {
                Ok(room) => {
                    room.send((read_at, message));
                    let awake = to.activator.activate().is_ok();
                    return if awake { Given::Taken } else { Given::HostIsGone };
                }
                Err(_) => from_host.recv().await,
            },
        };
        match told {
            None => return Given::HostIsGone,
            Some(ToReader::Release(mut left)) => {
                left.extend(positions(&message));
                reader.release(&left).await;
                return Given::Released;
            }
            Some(told) => {
                act(told, reader, split, to, to_host).await;
            }
        }
    }
}

/// Does as the host says; whether there is more to read.
async fn act(
    told: ToReader,
    reader: &mut dyn SplitReader,
    split: usize,
    to: &ReaderSender,
    to_host: &UnboundedSender<Acknowledged>,
) -> bool {
    match told {
        ToReader::Covered(covered) => {
            let gone = reader.acknowledge(&covered).await;
            let _ = to_host.send(Acknowledged { split, gone });
            let _ = to.activator.activate();
            true
        }
        ToReader::Release(left) => {
            reader.release(&left).await;
            false
        }
    }
}

/// The records of a message that was not taken.
pub(crate) fn positions(message: &FromReader) -> Vec<Position> {
    match message {
        FromReader::Records { records, .. } => records.records.iter().map(|r| r.position.clone()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use millstream_core::source::RawRecord;

    use super::*;

    fn records(ids: &[u64]) -> RawRecords {
        let record =
            |id: &u64| RawRecord { start: 0, len: 0, position: Position::Offset(*id), arrived_at: EventTime(7) };
        RawRecords { buffer: Bytes::new(), records: ids.iter().map(record).collect(), header: None }
    }

    fn ids(applied: &[Applied]) -> Vec<u64> {
        let id = |a: &Applied| if let Position::Offset(id) = a.position { id } else { 0 };
        let mut ids: Vec<u64> = applied.iter().map(id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_record_is_in_checkpoints_until_it_is_gone() {
        let mut all = Acknowledgements::default();
        let before = [Applied { position: Position::Offset(1), arrived_at: EventTime(1) }];
        let mut told = all.add(0, &before);
        all.apply(0, &records(&[2, 3]));
        assert_eq!(ids(&all.boundary(5)[&0]), [1, 2, 3]);
        all.apply(0, &records(&[4]));
        all.claimed(5);
        let Ok(ToReader::Covered(covered)) = told.try_recv() else { panic!("the reader is told") };
        assert_eq!(covered, [Position::Offset(2), Position::Offset(3)], "not those behind the boundary");
        assert_eq!(all.answers().unwrap(), None, "the reader has not answered");
        all.to_host.send(Acknowledged { split: 0, gone: Ok(vec![Position::Offset(1), Position::Offset(3)]) }).unwrap();
        assert_eq!(all.answers().unwrap(), Some(5));
        assert_eq!(ids(&all.boundary(6)[&0]), [2, 4], "what could not leave, and what came since");
        all.claimed(6);
        let Ok(ToReader::Covered(covered)) = told.try_recv() else { panic!("the reader is told") };
        assert_eq!(covered, [Position::Offset(4)]);
    }

    #[test]
    fn a_worker_without_splits_holds_nothing_up() {
        let mut all = Acknowledgements::default();
        assert!(all.boundary(1).is_empty());
        all.claimed(1);
        assert_eq!(all.answers().unwrap(), Some(1));
        assert_eq!(all.answers().unwrap(), None);
    }
}
