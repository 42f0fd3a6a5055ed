//! Where reading goes on in a shard, as text.
//!
//! ```text
//! SEQUENCE            behind this record
//! SEQUENCE/SUB        behind this user record of the aggregate SEQUENCE
//! ..@MILLIS           and everything that had arrived by this time is covered
//! @MILLIS             with the first record that arrived then or later
//! ```
//! A sequence number is text of 56 digits: it fits no integer, and is only ever compared for being the same.

use millstream_core::source::Position;
use millstream_core::{Error, Result};

/// A place in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The oldest record that is kept.
    Beginning,
    /// The first record that arrived then or later, in milliseconds.
    Time(i64),
    /// Behind a record.
    Behind {
        sequence: String,
        /// Of an aggregate: behind this user record in it.
        sub: Option<u64>,
        /// What had arrived by then, in milliseconds, is covered; unknown for positions of single records.
        until: Option<i64>,
    },
}

impl Place {
    /// Reads the position of a checkpoint, or of a record.
    ///
    /// # Errors
    /// `Environment` where it is none of this connector.
    pub(crate) fn parse(position: Option<&Position>) -> Result<Self> {
        let Some(position) = position else { return Ok(Self::Beginning) };
        let wrong = || Error::environment(format!("`{position}` is not a position in a Kinesis shard"));
        let Position::Text(text) = position else { return Err(wrong()) };
        let (record, time) = match text.split_once('@') {
            Some((record, time)) => (record, Some(time.parse::<i64>().map_err(|_| wrong())?)),
            None => (&**text, None),
        };
        if record.is_empty() {
            return time.map(Self::Time).ok_or_else(wrong);
        }
        let (sequence, sub) = match record.split_once('/') {
            Some((sequence, sub)) => (sequence, Some(sub.parse::<u64>().map_err(|_| wrong())?)),
            None => (record, None),
        };
        if sequence.is_empty() || !sequence.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        Ok(Self::Behind { sequence: sequence.to_owned(), sub, until: time })
    }

    /// For a checkpoint; `None` at the beginning.
    pub(crate) fn position(&self) -> Option<Position> {
        let text = match self {
            Self::Beginning => return None,
            Self::Time(millis) => format!("@{millis}"),
            Self::Behind { sequence, sub, until } => {
                let sub = sub.map(|s| format!("/{s}")).unwrap_or_default();
                let until = until.map(|t| format!("@{t}")).unwrap_or_default();
                format!("{sequence}{sub}{until}")
            }
        };
        Some(Position::Text(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: &str = "49590338271490256608559692538361571095921575989136588898";

    fn parse(text: &str) -> Result<Place> {
        Place::parse(Some(&Position::Text(text.into())))
    }

    #[test]
    fn positions_come_back() {
        let texts = ["", "/7", "@1716650000123", "/0@1"].map(|rest| format!("{SEQUENCE}{rest}"));
        for text in texts.iter().map(String::as_str).chain(["@1716650000123", "@-1"]) {
            let place = parse(text).unwrap();
            assert_eq!(place.position(), Some(Position::Text(text.into())));
        }
        assert_eq!(Place::parse(None).unwrap(), Place::Beginning);
        assert_eq!(Place::Beginning.position(), None);
        let place = Place::Behind { sequence: SEQUENCE.into(), sub: Some(3), until: Some(5) };
        assert_eq!(parse(&format!("{SEQUENCE}/3@5")).unwrap(), place);
    }

    #[test]
    fn other_texts_are_no_positions() {
        for text in ["", "@", "@x", "/1", "12a", "12/", "12/x", "12@", "-1", "trim_horizon"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(Place::parse(Some(&Position::Offset(5))).is_err());
    }
}
