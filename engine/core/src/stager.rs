//! Which process has staged something, and when that can be removed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sink::SinkOptions;

/// The process that staged something. Its text is a part of a file's name: `<state>~<began>~<generation>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stager {
    /// See [`SinkOptions::state`].
    pub state: String,
    /// The first checkpoint the process may claim: see [`SinkOptions::checkpoint`].
    pub began: u64,
    /// See [`SinkOptions::generation`].
    pub generation: String,
}

impl Stager {
    /// The process that opens a sink with these options.
    pub fn of(options: &SinkOptions) -> Self {
        let SinkOptions { state, checkpoint, generation, .. } = options;
        Self { state: state.clone(), began: *checkpoint, generation: generation.clone() }
    }

    /// Whether what `other` has staged will never be committed, given that this process has claimed a checkpoint and
    /// finished what was claimed before.
    ///
    /// Who began later has gone on from a checkpoint of this process: this one has been paused meanwhile, and must not
    /// touch what its successor stages. What was staged for checkpoints in another store is not ours to judge.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.state == other.state && self.generation != other.generation && other.began <= self.began
    }
}

impl fmt::Display for Stager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:012}~{}", self.state, self.began, self.generation)
    }
}

/// The text names no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAStager;

impl FromStr for Stager {
    type Err = NotAStager;
    fn from_str(text: &str) -> Result<Self, NotAStager> {
        let mut parts = text.splitn(3, '~');
        let (Some(state), Some(began), Some(generation)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAStager);
        };
        let began = began.parse().map_err(|_| NotAStager)?;
        Ok(Self { state: state.to_owned(), began, generation: generation.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stager(state: &str, began: u64, generation: &str) -> Stager {
        Stager { state: state.into(), began, generation: generation.into() }
    }

    #[test]
    fn only_what_earlier_processes_on_the_same_state_staged_is_superseded() {
        let own = stager("r", 5, "g2");
        assert!(own.supersedes(&stager("r", 1, "g1")));
        assert!(own.supersedes(&stager("r", 5, "g1")), "it has lost the checkpoint this one has claimed");
        assert!(!own.supersedes(&stager("r", 6, "g3")), "the successor of a process that was paused");
        assert!(!own.supersedes(&own));
        assert!(!own.supersedes(&stager("q", 1, "g1")));
    }

    #[test]
    fn its_text_names_it() {
        let own = stager("r-1", 5, "g2~x");
        assert_eq!(own.to_string(), "r-1~000000000005~g2~x");
        assert_eq!(own.to_string().parse(), Ok(own));
        assert_eq!("g-0-000001".parse::<Stager>(), Err(NotAStager));
    }
}
