//! Aggregates over windows of event time, in two stages.
//!
//! ```text
//! rows -> chain -> [late? failed?] -> partial aggregate of the batch --(by group)--> merged into state -> results
//!         `------------------- stage 0, where the rows are ------'                  `-- stage 1, one owner per group
//! ```
//!
//! Invariants:
//! 1. Whether a row is late is decided by its content alone: its window's end, the allowed lateness, and the
//!    greatest event time that went into it.
//! 2. A window is kept until no accepted row can reach it any more, so an accepted row always finds its window.
//! 3. State lives in [`groups::Groups`], never inside an accumulator: those only merge and evaluate.
//! 4. Results of one moment come in the order of their group's columns.

pub(crate) mod aggregate;
pub(crate) mod assign;
pub(crate) mod groups;
pub(crate) mod layout;
pub(crate) mod length;
pub(crate) mod meaning;
pub(crate) mod merge;
pub(crate) mod partial;
pub(crate) mod plan;
