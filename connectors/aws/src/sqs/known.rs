//! The messages of a queue that a process has received: their receipts, and what has become of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use millstream_core::clock::Clock;
use millstream_core::source::{Applied, Position};
use millstream_core::{EventTime, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::client::{Handle, Queue};
use super::config::SqsConfig;
use crate::post::{BATCH, Entry, may_pass};

/// SQS keeps no message longer than this: what was not deleted by then is gone.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Calls about messages under way at a time.
const CALLS: usize = 8;
/// How often a checkpoint's deletions are tried; what is left then is tried at the next one.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// Whether a message was received before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    First,
    Before,
}

/// A message.
#[derive(Debug)]
struct Entered {
    /// `None` where the last receipt is no good any more, and for what earlier processes received.
    handle: Option<Handle>,
    /// Until when it is hidden.
    until: Instant,
    /// A checkpoint that counts covers it.
    covered: bool,
    sent: EventTime,
    /// It takes a place of those that SQS allows.
    in_flight: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Known {
    queue: Queue,
    visibility: Duration,
    room: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    fifo: bool,
    messages: Mutex<HashMap<Arc<str>, Entered>>,
    /// The last call brought nothing new.
    empty: AtomicBool,
}

impl Known {
    pub(crate) fn new(queue: Queue, config: &SqsConfig, room: Arc<Semaphore>, clock: Arc<dyn Clock>) -> Self {
        let (visibility, fifo) = (config.visibility(), config.is_fifo());
        Self { queue, visibility, room, clock, fifo, messages: Mutex::default(), empty: AtomicBool::new(false) }
    }

    fn messages(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entered>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the machine.
    pub(crate) fn now(&self) -> EventTime {
        self.clock.now()
    }

    /// A call for messages has ended: whether it says that the queue has nothing that is not known.
    pub(crate) fn found_nothing_new(&self, nothing: bool) {
        self.empty.store(nothing, Ordering::Relaxed);
    }
    /// Whether the queue had nothing new the last time it was asked. A FIFO queue shows what follows in a group only when what
    /// was received of it is deleted.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.empty.load(Ordering::Relaxed) && !(self.fifo && self.messages().values().any(|m| m.in_flight))
    }

    /// Takes note of a message that was received.
    pub(crate) fn see(&self, id: &Arc<str>, handle: Handle, sent: EventTime) -> Seen {
        let until = Instant::now() + self.visibility;
        let mut messages = self.messages();
        match messages.get_mut(id) {
            Some(entered) => {
                (entered.handle, entered.until) = (Some(handle), until);
                Seen::Before
            }
            None => {
                let entered = Entered { handle: Some(handle), until, covered: false, sent, in_flight: true };
                messages.insert(id.clone(), entered);
                Seen::First
            }
        }
    }

    /// Takes note of messages that earlier processes have applied: a checkpoint covers them.
    pub(crate) fn restore(&self, records: &[Applied]) {
        let until = Instant::now();
        let mut messages = self.messages();
        for record in records {
            if let Position::Text(id) = &record.position {
                let sent = record.arrived_at;
                let entered = Entered { handle: None, until, covered: true, sent, in_flight: false };
                messages.insert(id.clone(), entered);
            }
        }
    }

    /// A checkpoint that counts covers these.
    pub(crate) fn cover(&self, covered: &[Position]) {
        let mut messages = self.messages();
        for position in covered {
            if let Position::Text(id) = position
                && let Some(entered) = messages.get_mut(id)
            {
                entered.covered = true;
            }
        }
    }

    /// Deletes what is covered, as far as that can be done now; gives the messages that never come back.
    ///
    /// # Errors
    /// What the service says that does not pass by itself.
    pub(crate) async fn delete_covered(&self) -> Result<Vec<Position>> {
        let mut gone = self.expired();
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let handles = self.handles(|entered| entered.covered);
            if handles.is_empty() {
                break;
            }
            let mut again = false;
            let answers: Vec<_> = futures::stream::iter(calls(&handles))
                .map(|call| {
                    let queue = self.queue.clone();
                    async move {
                        let answer = queue.delete(&call).await;
                        (call, answer)
                    }
                })
                .buffer_unordered(CALLS)
                .collect()
                .await;
            for (call, answer) in answers {
                match answer {
                    Ok(entries) => {
                        for (handle, entry) in call.iter().zip(entries) {
                            match entry {
                                Entry::Done => gone.extend(self.deleted(handle)),
                                Entry::Again(_) => again = true,
                                // Its receipt has run out: it comes back with another, and is known then.
                                Entry::Never(_) => self.lose_receipt(handle),
                            }
                        }
                    }
                    Err(e) if may_pass(&e) => {
                        again = true;
                        tracing::debug!("messages cannot be deleted now: {e}");
                    }
                    Err(e) => return Err(e),
                }
            }
            if !again {
                break;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Ok(gone)
    }

    /// Lets others have messages that were received and not applied.
    pub(crate) async fn let_go(&self, records: &[Position]) {
        let ids = records.iter().filter_map(|p| if let Position::Text(id) = p { Some(id.clone()) } else { None });
        let handles: Vec<Handle> = {
            let mut messages = self.messages();
            ids.filter_map(|id| messages.remove(&id)?.handle).collect()
        };
        for call in handles.chunks(BATCH) {
            // They come back by themselves, only later.
            if let Err(e) = self.queue.hide(call, 0).await {
                tracing::debug!("messages that were read ahead stay hidden for a while: {e}");
            }
        }
    }

    /// Hides what is pending for longer, before its time runs out; ends with the reader.
    pub(crate) async fn keep_hidden(self: Arc<Self>) {
        let seconds = i32::try_from(self.visibility.as_secs()).unwrap_or(i32::MAX);
        let mut look = tokio::time::interval(self.visibility / 4);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let soon = Instant::now() + self.visibility / 2;
            let handles = self.handles(|entered| entered.in_flight && entered.until <= soon);
            let answers: Vec<_> = futures::stream::iter(calls(&handles))
                .map(|call| {
                    let queue = self.queue.clone();
                    async move {
                        let began = Instant::now();
                        let answer = queue.hide(&call, seconds).await;
                        (call, began, answer)
                    }
                })
                .buffer_unordered(CALLS)
                .collect()
                .await;
            for (call, began, answer) in answers {
                match answer {
                    Ok(entries) => {
                        for (handle, entry) in call.iter().zip(entries) {
                            match entry {
                                Entry::Done => self.hidden(handle, began + self.visibility),
                                Entry::Again(_) => {}
                                Entry::Never(_) => self.lose_receipt(handle),
                            }
                        }
                    }
                    Err(e) => tracing::warn!("messages cannot be kept hidden now, and may come back: {e}"),
                }
            }
        }
    }

    fn handles(&self, wanted: impl Fn(&Entered) -> bool) -> Vec<Handle> {
        self.messages().values().filter(|e| wanted(e)).filter_map(|e| e.handle.clone()).collect()
    }

    fn hidden(&self, handle: &Handle, until: Instant) {
        if let Some(entered) = self.messages().get_mut(handle.id.as_str())
            && entered.handle.as_ref().is_some_and(|h| h.receipt == handle.receipt)
        {
            entered.until = until;
        }
    }

    fn lose_receipt(&self, handle: &Handle) {
        if let Some(entered) = self.messages().get_mut(handle.id.as_str())
            && entered.handle.as_ref().is_some_and(|h| h.receipt == handle.receipt)
        {
            entered.handle = None;
        }
    }

    /// The service has acknowledged a deletion. It does so for an old receipt, too, and then may not have deleted anything: the
    /// message is gone only where it was still hidden by this receipt.
    fn deleted(&self, handle: &Handle) -> Option<Position> {
        let (same, hidden) = {
            let messages = self.messages();
            let entered = messages.get(handle.id.as_str())?;
            let same = entered.handle.as_ref().is_some_and(|h| h.receipt == handle.receipt);
            (same, Instant::now() < entered.until)
        };
        if same && hidden {
            return self.forget(&handle.id);
        }
        if same {
            self.lose_receipt(handle);
        }
        None
    }

    /// A message is not in the queue any more.
    fn forget(&self, id: &str) -> Option<Position> {
        let (id, entered) = self.messages().remove_entry(id)?;
        if entered.in_flight {
            self.room.add_permits(1);
        }
        Some(Position::Text(id))
    }

    /// Messages that are covered and that SQS cannot have any more.
    fn expired(&self) -> Vec<Position> {
        let limit = self.clock.now().minus(RETENTION);
        let old = |(id, entered): (&Arc<str>, &Entered)| (entered.covered && entered.sent < limit).then(|| id.clone());
        let old: Vec<Arc<str>> = self.messages().iter().filter_map(old).collect();
        old.iter().filter_map(|id| self.forget(id)).collect()
    }
}

/// Messages in calls, each with its own.
fn calls(handles: &[Handle]) -> Vec<Vec<Handle>> {
    handles.chunks(BATCH).map(<[Handle]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use millstream_core::clock;
    use serde_json::json;

    use super::*;
    use crate::access::Access;

    fn known(visibility: &str) -> Known {
        let config = serde_json::from_value(json!({ "queue_url": "q", "visibility": visibility })).unwrap();
        let queue = Queue::new(Arc::new(Access::new(None, None, None)), &config);
        Known::new(queue, &config, Arc::new(Semaphore::new(100)), clock::system())
    }
    fn handle(receipt: &str) -> Handle {
        Handle { id: "m".into(), receipt: receipt.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_by_an_old_receipt_proves_nothing() {
        let id: Arc<str> = "m".into();
        let known = known("1m");
        assert_eq!(known.see(&id, handle("first"), EventTime(0)), Seen::First);
        // It comes back while the deletion by its first receipt is under way.
        assert_eq!(known.see(&id, handle("second"), EventTime(0)), Seen::Before);
        assert_eq!(known.deleted(&handle("first")), None);
        assert_eq!(known.see(&id, handle("third"), EventTime(0)), Seen::Before, "it is still known");
        assert!(known.deleted(&handle("third")).is_some());
        assert_eq!(known.see(&id, handle("fourth"), EventTime(0)), Seen::First, "now it would be a new one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_of_what_was_not_hidden_any_more_proves_nothing() {
        let id: Arc<str> = "m".into();
        let known = known("1m");
        known.see(&id, handle("first"), EventTime(0));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(known.deleted(&handle("first")), None, "another consumer may have it");
        assert_eq!(known.see(&id, handle("second"), EventTime(0)), Seen::Before);
    }
}
