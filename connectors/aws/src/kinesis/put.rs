//! Puts records into a stream: as few calls as the order per key allows, and what became of each record.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use millstream_core::sink::Outcome;
use millstream_core::{Error, ErrorKind, Result};

use super::batches::{Entry, Waiting};
use super::client::Stream;

/// Puts all entries, in their order; `ordered`: no record of a key is there before an earlier one of it. Sets the outcome of
/// each entry's row, and gives how many were put.
///
/// # Errors
/// `Unavailable` and `Indeterminate` only where no record is known to be there; what a person must fix.
pub(crate) async fn put_all(
    stream: &Stream,
    entries: Vec<Entry>,
    ordered: bool,
    outcomes: &mut [Outcome],
) -> Result<u64> {
    let mut putting = Putting { waiting: Waiting::new(entries, ordered), outcomes, put: 0 };
    let mut answered = false;
    loop {
        let call = putting.waiting.next_call();
        if call.is_empty() {
            return Ok(putting.put);
        }
        match put(stream, &call).await {
            Ok(answers) => putting.settle(&call, answers),
            Err(e) if e.kind() == ErrorKind::Config => putting.one_by_one(stream, call, e).await?,
            // Records before these are there: only what is left may be given again.
            Err(e) if answered && passes(&e) => {
                let left: Vec<usize> = call.iter().map(|e| e.row).chain(putting.waiting.rows()).collect();
                putting.set(&left, &Outcome::Retry(e.to_string()));
                return Ok(putting.put);
            }
            Err(e) => return Err(e),
        }
        answered = true;
    }
}

fn passes(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate)
}

struct Putting<'a> {
    waiting: Waiting,
    outcomes: &'a mut [Outcome],
    put: u64,
}

impl Putting<'_> {
    /// The service calls something in the call wrong, and does not say what: each record is put alone, to find it.
    async fn one_by_one(&mut self, stream: &Stream, call: Vec<Entry>, wrong: Error) -> Result<()> {
        if let [alone] = &call[..] {
            self.set(&[alone.row], &Outcome::Refused(wrong.to_string()));
            return Ok(());
        }
        for entry in call {
            let alone = std::slice::from_ref(&entry);
            let answers = match put(stream, alone).await {
                Ok(answers) => answers,
                Err(e) if e.kind() == ErrorKind::Config => vec![Outcome::Refused(e.to_string())],
                Err(e) if passes(&e) => vec![Outcome::Retry(e.to_string())],
                Err(e) => return Err(e),
            };
            self.settle(alone, answers);
        }
        Ok(())
    }

    fn settle(&mut self, call: &[Entry], answers: Vec<Outcome>) {
        for (entry, answer) in call.iter().zip(answers) {
            match &answer {
                Outcome::Done => self.put += 1,
                Outcome::Retry(_) => {
                    let behind = self.waiting.hold_back(&entry.key);
                    self.set(&behind, &Outcome::Retry("waits for an earlier record of its key".into()));
                }
                Outcome::Refused(_) => {}
            }
            self.set(&[entry.row], &answer);
        }
    }

    fn set(&mut self, rows: &[usize], to: &Outcome) {
        for row in rows {
            if let Some(outcome) = self.outcomes.get_mut(*row) {
                outcome.clone_from(to);
            }
        }
    }
}

/// One call: what became of each of its records.
async fn put(stream: &Stream, call: &[Entry]) -> Result<Vec<Outcome>> {
    let entry = |e: &Entry| {
        let builder = PutRecordsRequestEntry::builder().partition_key(&e.key).data(Blob::new(e.data.clone()));
        builder.build().map_err(|e| Error::bug("an entry").caused_by(e))
    };
    let entries = call.iter().map(entry).collect::<Result<Vec<_>>>()?;
    let put = stream.client().await?.put_records().set_records(Some(entries));
    let put = put.set_stream_name(stream.name()).set_stream_arn(stream.arn());
    let answer = put.send().await.map_err(|e| stream.write_error("PutRecords", e))?;
    // The call has succeeded; what it says of each record is what counts.
    let outcomes: Vec<Outcome> = answer
        .records()
        .iter()
        .map(|result| match result.error_code() {
            None => Outcome::Done,
            Some(code) => Outcome::Retry(format!("{code}: {}", result.error_message().unwrap_or("no message"))),
        })
        .collect();
    if outcomes.len() != call.len() {
        let (answers, records) = (outcomes.len(), call.len());
        let message = format!("PutRecords on {} answered for {answers} of {records} records", stream.on);
        return Err(Error::new(ErrorKind::Indeterminate, message));
    }
    Ok(outcomes)
}
