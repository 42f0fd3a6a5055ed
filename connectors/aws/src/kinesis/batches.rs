//! Which rows go into one call: in order per key, within what a call may hold.

use std::collections::HashSet;

/// Records of one call.
const CALL_RECORDS: usize = 500;
/// Bytes of one call, partition keys included.
const CALL_BYTES: usize = 10 << 20;
/// Bytes of one record, its partition key included: the most that a stream can be set to take.
const RECORD_BYTES: usize = 10 << 20;
/// Characters of a partition key.
const KEY_CHARS: usize = 256;

/// A row as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The row's place in its batch.
    pub(crate) row: usize,
    pub(crate) key: String,
    pub(crate) data: Vec<u8>,
}

impl Entry {
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.data.len()
    }
    /// The same, if the service can take it; else why it never will.
    pub(crate) fn checked(self) -> Result<Self, String> {
        match self.bytes() {
            _ if self.key.is_empty() => Err("its partition key is empty".to_owned()),
            _ if self.key.chars().count() > KEY_CHARS => {
                Err(format!("its partition key has more than {KEY_CHARS} characters"))
            }
            bytes if bytes > RECORD_BYTES => {
                Err(format!("it has {bytes} bytes with its key, and a record may have {RECORD_BYTES}"))
            }
            _ => Ok(self),
        }
    }
}

/// Rows that wait to be sent, in order. While a row of a key is in a call, no other of that key is: had it failed, the
/// later one would come first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    entries: Vec<Entry>,
    /// Whether the order of rows of a key counts.
    ordered: bool,
}

impl Waiting {
    pub(crate) fn new(entries: Vec<Entry>, ordered: bool) -> Self {
        Self { entries, ordered }
    }

    /// Takes the rows of the next call; none where nothing waits.
    pub(crate) fn next_call(&mut self) -> Vec<Entry> {
        let (mut call, mut rest) = (Vec::new(), Vec::new());
        let (mut bytes, mut keys) = (0, HashSet::new());
        for entry in self.entries.drain(..) {
            let fits = call.len() < CALL_RECORDS && bytes + entry.bytes() <= CALL_BYTES;
            let held = self.ordered && !keys.insert(entry.key.clone());
            if held || !fits {
                rest.push(entry);
            } else {
                bytes += entry.bytes();
                call.push(entry);
            }
        }
        self.entries = rest;
        call
    }

    /// A row of this key was not taken: those behind it have to wait with it. Gives the rows that do.
    pub(crate) fn hold_back(&mut self, key: &str) -> Vec<usize> {
        if !self.ordered {
            return Vec::new();
        }
        let (held, rest) = std::mem::take(&mut self.entries).into_iter().partition(|e: &Entry| e.key == key);
        self.entries = rest;
        held.into_iter().map(|e| e.row).collect()
    }

    /// All that wait.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries.iter().map(|e| e.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(keys: &[&str], size: usize, ordered: bool) -> Waiting {
        let entry = |(row, key): (usize, &&str)| Entry { row, key: (*key).to_owned(), data: vec![0; size] };
        Waiting::new(keys.iter().enumerate().map(entry).collect(), ordered)
    }
    fn rows(call: &[Entry]) -> Vec<usize> {
        call.iter().map(|e| e.row).collect()
    }

    #[test]
    fn what_the_service_never_takes_is_known_before() {
        let checked = |key: &str, size| Entry { row: 0, key: key.to_owned(), data: vec![0; size] }.checked();
        assert!(checked("k", RECORD_BYTES - 1).is_ok() && checked(&"é".repeat(KEY_CHARS), 0).is_ok());
        assert!(checked("k", RECORD_BYTES).unwrap_err().contains("10485761 bytes"));
        assert!(checked("", 1).unwrap_err().contains("empty"));
        assert!(checked(&"k".repeat(KEY_CHARS + 1), 1).unwrap_err().contains("256 characters"));
    }

    #[test]
    fn a_key_is_in_a_call_once() {
        let mut waiting = waiting(&["a", "b", "a", "c", "a", "b"], 1, true);
        assert_eq!(rows(&waiting.next_call()), [0, 1, 3]);
        assert_eq!(rows(&waiting.next_call()), [2, 5]);
        assert_eq!(rows(&waiting.next_call()), [4]);
        assert!(waiting.next_call().is_empty());
    }

    #[test]
    fn rows_behind_one_that_failed_wait_with_it() {
        let mut waiting = waiting(&["a", "b", "a", "b", "a"], 1, true);
        waiting.next_call();
        assert_eq!(waiting.hold_back("a"), [2, 4]);
        assert_eq!(rows(&waiting.next_call()), [3]);
    }

    #[test]
    fn a_call_holds_what_the_service_takes() {
        let keys = vec!["k"; 1201];
        let mut small = waiting(&keys, 1, false);
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(small.next_call().len()).filter(|n| *n > 0)).collect();
        assert_eq!(sizes, [500, 500, 201]);
        let mut large = waiting(&keys[..7], (4 << 20) - 1, false);
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(large.next_call().len()).filter(|n| *n > 0)).collect();
        assert_eq!(sizes, [2, 2, 2, 1]);
    }

    #[test]
    fn a_row_that_did_not_fit_holds_its_key() {
        let entry = |row, key: &str, size| Entry { row, key: key.to_owned(), data: vec![0; size] };
        let entries = vec![entry(0, "a", 6 << 20), entry(1, "b", 6 << 20), entry(2, "b", 1), entry(3, "c", 1)];
        let mut waiting = Waiting::new(entries, true);
        assert_eq!(rows(&waiting.next_call()), [0, 3], "row 2 is behind row 1");
        assert_eq!(rows(&waiting.next_call()), [1]);
        assert_eq!(rows(&waiting.next_call()), [2]);
    }
}
