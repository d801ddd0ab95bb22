//! Classes of schedules by what is recoverable: which of them a history of sites can show.
//!
//! The classes are those of Bernstein, Hadzilacos and Goodman (*Concurrency Control and Recovery in Database Systems*,
//! 1987), and rigorousness that of Breitbart, Georgakopoulos, Rusinkiewicz and Silberschatz (*On Rigorous Transaction
//! Scheduling*, 1991). Each is within the one before it:
//!
//! | class | in one sentence | what it says of decisions |
//! |---|---|---|
//! | recoverable | who reads from another commits after it | writer before reader |
//! | cascadeless | reads are of committed writes only | the same |
//! | strict | no read and no overwrite while the last writer is undecided | also, writer before overwriter |
//! | rigorous | also, no overwrite while a reader is undecided | also, reader before overwriter |
//!
//! A record tells whose version was read and when both transactions were decided (the stamps). It does not tell *when*
//! the read or the write took place, and that is all in which the last three differ from their last columns: a reader
//! that was decided after the writer may have read before or after the writer's decision. So recoverability is judged
//! either way; of the other three it can be said that they do not hold, but never that they do ([`Answer::Unknown`]).
//! To judge them, each operation would have to carry an instant that can be compared with the stamps.
//!
//! Reading one's own writes, and the initial state, is reading from nobody. A read of a sum of increments reads from
//! all of them, and increments do not overwrite each other.

use serde::Serialize;

use crate::verdict::{Anomaly, Doubt};

/// What is known of each class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Who reads from another commits after it.
    pub recoverable: Answer,
    /// Reads are of committed writes only; also called avoiding cascading aborts.
    pub cascadeless: Answer,
    /// No read and no overwrite while the last writer is undecided.
    pub strict: Answer,
    /// Strict, and no overwrite while a reader is undecided.
    pub rigorous: Answer,
}

/// Whether a class holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It does.
    Holds,
    /// It does not.
    Violated {
        /// A read that no committed transaction explains, or a conflict that disagrees with the decisions.
        by: Box<Anomaly>,
    },
    /// The histories do not tell.
    Unknown {
        /// Why not; never empty.
        because: Vec<Gap>,
    },
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "gap", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gap {
    /// The format does not tell when a read or a write took place.
    TimesOfOperations,
    /// Records or stamps are missing, as the doubt says.
    Doubt {
        /// The doubt.
        of: Doubt,
    },
    /// Something else is wrong with the histories, so that nothing can be said to hold.
    Anomaly {
        /// What.
        found: Box<Anomaly>,
    },
}
