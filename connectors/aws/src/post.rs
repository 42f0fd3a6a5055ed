//! Messages to a queue or a topic, ten a call.
//!
//! 1. A call that succeeds says what became of each of its messages; only those that failed are sent again, under the same
//!    ids.
//! 2. Where order counts, a call has one message of a group, and the next one of the group is sent only when that got
//!    through: nothing overtakes a message that failed.
//! 3. A call that the service refuses as a whole is taken apart until the message it refuses stands alone.

use std::collections::{HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use futures::StreamExt as _;
use millstream_core::sink::{Outcome, SinkOptions};
use millstream_core::{Error, ErrorKind, Result};

use crate::answer::is_throttle;
use crate::message::Attributes;

/// Messages of one call at most.
pub(crate) const BATCH: usize = 10;
/// Calls under way at a time.
const CALLS: usize = 8;

/// A row on its way to a queue or a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// Its index in the batch that was given.
    pub(crate) row: usize,
    /// Names it, whenever it is sent.
    pub(crate) id: String,
    /// The group within which order counts, where the service knows groups.
    pub(crate) group: Option<String>,
    /// Of an alert.
    pub(crate) subject: Option<String>,
    pub(crate) body: String,
    pub(crate) attributes: Attributes,
}

impl Outgoing {
    /// Bytes that count against the service's limit.
    pub(crate) fn bytes(&self) -> usize {
        self.subject.as_ref().map_or(0, String::len) + self.body.len() + self.attributes.bytes()
    }
}

/// Names rows that are written without an id of the outbox: no two of them, nor of another process, have one name.
#[derive(Debug)]
pub(crate) struct Names {
    own: String,
    given: u64,
}

impl Names {
    pub(crate) fn new(options: &SinkOptions) -> Self {
        Self { own: format!("{}-{}", options.generation, options.instance), given: 0 }
    }
    /// Names for the next rows.
    pub(crate) fn next(&mut self, rows: usize) -> Vec<String> {
        let from = self.given;
        self.given += rows as u64;
        (from..self.given).map(|row| format!("{}-w{row}", self.own)).collect()
    }
}

/// What a service said of one message of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Done,
    /// It may succeed another time.
    Again(String),
    /// It never will.
    Never(String),
}

/// Where messages go.
#[async_trait]
pub(crate) trait Post: Send + Sync {
    /// Bytes of a message, and of all messages of a call.
    fn limit(&self) -> usize;
    /// Makes one call: what became of each message.
    ///
    /// # Errors
    /// As [`crate::answer::Call::error`]: nothing is known of any of them.
    async fn post(&self, call: &[Outgoing]) -> Result<Vec<Entry>>;
}

/// Sends messages in any order; sets the outcome of each message's row.
///
/// # Errors
/// What the service says that does not pass by itself.
pub(crate) async fn send_all(to: &dyn Post, messages: Vec<Outgoing>, outcomes: &mut [Option<Outcome>]) -> Result<()> {
    let calls = futures::stream::iter(calls(messages, to.limit())).map(|call| send_call(to, call));
    let answers: Vec<Result<Vec<(usize, Outcome)>>> = calls.buffer_unordered(CALLS).collect().await;
    for answer in answers {
        answer?.into_iter().for_each(|(row, outcome)| set(outcomes, row, outcome));
    }
    Ok(())
}

/// Sends messages so that those of a group stay in order.
///
/// # Errors
/// As [`send_all`].
pub(crate) async fn send_in_order(
    to: &dyn Post,
    messages: Vec<Outgoing>,
    outcomes: &mut [Option<Outcome>],
) -> Result<()> {
    let mut left = VecDeque::from(messages);
    let mut held: HashMap<String, String> = HashMap::new();
    while !left.is_empty() {
        let (mut round, mut later, mut seen) = (Vec::new(), VecDeque::new(), HashSet::new());
        for message in left {
            let group = message.group.clone().unwrap_or_default();
            match held.get(&group) {
                Some(why) => {
                    let why = format!("an earlier message of its group did not get through: {why}");
                    set(outcomes, message.row, Outcome::Retry(why));
                }
                None if seen.insert(group) => round.push(message),
                None => later.push_back(message),
            }
        }
        let groups: Vec<(usize, String)> = round.iter().map(|m| (m.row, m.group.clone().unwrap_or_default())).collect();
        send_all(to, round, outcomes).await?;
        for (row, group) in groups {
            if let Some(Some(Outcome::Retry(why))) = outcomes.get(row) {
                held.insert(group, why.clone());
            }
        }
        left = later;
    }
    Ok(())
}

/// Sends the messages of one call.
async fn send_call(to: &dyn Post, call: Vec<Outgoing>) -> Result<Vec<(usize, Outcome)>> {
    let mut calls = VecDeque::from([call]);
    let mut all = Vec::new();
    while let Some(mut call) = calls.pop_front() {
        match to.post(&call).await {
            Ok(entries) => all.extend(call.iter().zip(entries).map(|(message, entry)| {
                let outcome = match entry {
                    Entry::Done => Outcome::Done,
                    Entry::Again(why) => Outcome::Retry(why),
                    Entry::Never(why) => Outcome::Refused(why),
                };
                (message.row, outcome)
            })),
            Err(e) if may_pass(&e) => {
                all.extend(call.iter().map(|message| (message.row, Outcome::Retry(e.to_string()))));
            }
            Err(e) if e.kind() == ErrorKind::Config && call.len() > 1 => {
                let second = call.split_off(call.len() / 2);
                calls.extend([call, second]);
            }
            Err(e) if e.kind() == ErrorKind::Config => {
                all.extend(call.iter().map(|message| (message.row, Outcome::Refused(e.to_string()))));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

/// Says what became of a row.
pub(crate) fn set(outcomes: &mut [Option<Outcome>], row: usize, outcome: Outcome) {
    if let Some(place) = outcomes.get_mut(row) {
        *place = Some(outcome);
    }
}

/// The outcome of each row.
///
/// # Errors
/// `Bug` where one has none.
pub(crate) fn every(outcomes: Vec<Option<Outcome>>) -> Result<Vec<Outcome>> {
    outcomes.into_iter().collect::<Option<_>>().ok_or_else(|| Error::bug("a message has no outcome"))
}

/// Whether a call may succeed the next time.
pub(crate) fn may_pass(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate)
}

/// Messages in calls of at most [`BATCH`] messages and `limit` bytes, in order.
fn calls(messages: Vec<Outgoing>, limit: usize) -> Vec<Vec<Outgoing>> {
    let mut calls: Vec<Vec<Outgoing>> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let more = message.bytes();
        match calls.last_mut() {
            Some(call) if call.len() < BATCH && bytes + more <= limit => {
                bytes += more;
                call.push(message);
            }
            _ => {
                bytes = more;
                calls.push(vec![message]);
            }
        }
    }
    calls
}

/// What became of `count` entries named by their places. One that the answer does not name may have been done or not:
/// again.
pub(crate) fn outcomes<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>, bool)>,
) -> Vec<Entry> {
    let mut outcomes = vec![Entry::Again("the answer does not say what became of it".to_owned()); count];
    let place = |id: &str| id.parse::<usize>().unwrap_or(usize::MAX);
    for id in successful {
        if let Some(outcome) = outcomes.get_mut(place(id)) {
            *outcome = Entry::Done;
        }
    }
    for (id, code, message, sender_fault) in failed {
        let text = format!("{code}: {}", message.unwrap_or("no message"));
        if let Some(outcome) = outcomes.get_mut(place(id)) {
            // Being asked for fewer calls is called the sender's fault, too.
            *outcome = if sender_fault && !is_throttle(code) { Entry::Never(text) } else { Entry::Again(text) };
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_entry_has_an_outcome_whatever_the_answer_names() {
        let failed = [("1", "InternalError", None, false), ("2", "InvalidMessageContents", Some("no"), true)];
        let throttled = [("3", "RequestThrottled", None, true), ("77", "x", None, true)];
        let all = outcomes(5, ["0"].into_iter(), failed.into_iter().chain(throttled));
        assert_eq!(all[0], Entry::Done);
        assert!(matches!(&all[1], Entry::Again(why) if why.contains("InternalError")));
        assert_eq!(all[2], Entry::Never("InvalidMessageContents: no".into()));
        assert!(matches!(all[3], Entry::Again(_)) && matches!(all[4], Entry::Again(_)));
    }

    fn message(row: usize, group: &str, body: &str) -> Outgoing {
        let group = Some(group.to_owned());
        Outgoing {
            row,
            id: row.to_string(),
            group,
            subject: None,
            body: body.into(),
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn calls_have_ten_messages_and_as_many_bytes_as_the_service_takes() {
        let small: Vec<Outgoing> = (0..25).map(|row| message(row, "g", "x")).collect();
        assert_eq!(calls(small, 1000).iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        let large: Vec<Outgoing> = (0..5).map(|row| message(row, "g", &"x".repeat(500))).collect();
        assert_eq!(calls(large, 1000).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(calls(vec![message(0, "g", &"x".repeat(1000)), message(1, "g", "x")], 1000).len(), 2);
    }

    /// Takes messages; each body says how often it fails first.
    #[derive(Default)]
    struct Letterbox {
        taken: Mutex<Vec<String>>,
        fails: HashSet<String>,
        poison: Option<String>,
    }

    #[async_trait]
    impl Post for Letterbox {
        fn limit(&self) -> usize {
            1000
        }
        async fn post(&self, call: &[Outgoing]) -> Result<Vec<Entry>> {
            if call.iter().any(|m| self.poison.as_ref() == Some(&m.body)) {
                return Err(Error::config("one of them is wrong"));
            }
            let entry = |m: &Outgoing| match self.fails.contains(&m.body) {
                true => Entry::Again("busy".into()),
                false => {
                    self.taken.lock().unwrap().push(m.body.clone());
                    Entry::Done
                }
            };
            Ok(call.iter().map(entry).collect())
        }
    }

    #[tokio::test]
    async fn nothing_overtakes_a_message_of_its_group_that_failed() {
        let to = Letterbox { fails: HashSet::from(["a2".to_owned()]), ..Letterbox::default() };
        let bodies = [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("a", "a3"), ("c", "c1")];
        let messages = bodies.iter().enumerate().map(|(row, (group, body))| message(row, group, body)).collect();
        let mut outcomes = vec![None; 6];
        send_in_order(&to, messages, &mut outcomes).await.unwrap();
        let retried: Vec<bool> = every(outcomes).unwrap().iter().map(|o| matches!(o, Outcome::Retry(_))).collect();
        assert_eq!(retried, [false, false, true, false, true, false]);
        assert_eq!(*to.taken.lock().unwrap(), ["a1", "b1", "c1", "b2"]);
    }

    #[tokio::test]
    async fn a_message_that_the_service_refuses_stands_alone() {
        let to = Letterbox { poison: Some("m7".into()), ..Letterbox::default() };
        let messages = (0..20).map(|row| message(row, "g", &format!("m{row}"))).collect();
        let mut outcomes = vec![None; 20];
        send_all(&to, messages, &mut outcomes).await.unwrap();
        let outcomes = every(outcomes).unwrap();
        assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Done).count(), 19);
        assert_eq!(outcomes[7], Outcome::Refused("one of them is wrong".into()));
    }
}
