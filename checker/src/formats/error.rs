//! What is wrong with a history file. Each message says what to do next.

use std::fmt;
use std::io;

use crate::observed::ObservedFault;

/// A fault in a history file: where it is, and what it is.
#[derive(Debug, thiserror::Error)]
#[error("{file}{place}: {fault}")]
pub struct FormatError {
    /// The name that the reader was given.
    pub file: String,
    /// Where.
    pub place: Place,
    /// What is wrong there.
    #[source]
    pub fault: FormatFault,
}

/// Where in a file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The line, from one.
    Line(u64),
    /// The byte, from zero, after decompression.
    Byte(u64),
    /// The file as a whole.
    File,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::File => Ok(()),
        }
    }
}

/// What is wrong with a history file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatFault {
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// No format is known that begins like this.
    #[error(
        "it begins like no format that is known (with {found:?}); name the format, if it is one of those that are read"
    )]
    Unrecognised {
        /// How it begins.
        found: String,
    },
    /// The history of one of this project's sites, which has versions and another reader.
    #[error(
        "this is the history of one of this project's sites (`co-history`), which has versions instead of values and a reader of its own"
    )]
    SitedHistory,
    /// A folder that is none of those that are read.
    #[error("this is {found}; it should be {expected}")]
    WrongKind {
        /// What it is.
        found: &'static str,
        /// What is read.
        expected: &'static str,
    },
    /// The version is not known.
    #[error("the format has version {found:?}, and this program reads version 1")]
    Version {
        /// As written.
        found: String,
    },
    /// Compressed data that is cut short or damaged.
    #[error(
        "the {compression} data is damaged or cut short ({reason}); fetch or make the file again"
    )]
    Damaged {
        /// `gzip` or `zstd`.
        compression: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// More bytes, after decompression, than [`Limits::bytes`](super::Limits::bytes).
    #[error(
        "the history has more than {limit} bytes after decompression; raise the limit if that is meant"
    )]
    TooManyBytes {
        /// The limit.
        limit: u64,
    },
    /// More than [`Limits::operations`](super::Limits::operations).
    #[error(
        "the history has more than {limit} transactions, operations and list elements; raise the limit if there is memory for more"
    )]
    TooManyOperations {
        /// The limit.
        limit: u64,
    },
    /// More than [`Limits::memory_bytes`](super::Limits::memory_bytes), by the estimate.
    #[error(
        "what was read of the history takes more than {limit} bytes of memory; raise the limit if there is more, or judge a part of it"
    )]
    TooMuchMemory {
        /// The limit.
        limit: u64,
    },
    /// A name that is longer than [`Limits::token_bytes`](super::Limits::token_bytes).
    #[error("a key, value or word is longer than {limit} bytes; is this the right format?")]
    TokenTooLong {
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than [`Limits::depth`](super::Limits::depth).
    #[error("collections are nested deeper than {limit}; histories are flat")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A key or value is not UTF-8.
    #[error("a key or value is not UTF-8")]
    NotUtf8,
    /// Something else than expected.
    #[error("{found:?} stands where {expected} should be")]
    Expected {
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The file ends too early.
    #[error("the file ends where {expected} should be; it was cut short")]
    CutShort {
        /// What should have come.
        expected: &'static str,
    },
    /// A transaction that was committed, and nothing of what it did.
    #[error(
        "the entry says `ok` and has no value, so it does not say what the transaction read: write the operations of the completion as its value"
    )]
    NothingCommitted,
    /// Something follows the end.
    #[error("something follows the end of the history; give one history a file")]
    AfterEnd,
    /// The footer counts otherwise.
    #[error(
        "the footer counts {stated} transactions and there are {counted}; lines were lost or added"
    )]
    FooterMismatch {
        /// What the footer says.
        stated: u64,
        /// How many there are.
        counted: u64,
    },
    /// A process invoked a transaction before its last one was completed.
    #[error(
        "process {process} invokes a transaction while the one it invoked in line {since} is open; a process runs one at a time"
    )]
    StillOpen {
        /// The process.
        process: String,
        /// Where it invoked the open one.
        since: u64,
    },
    /// A process completed a transaction twice.
    #[error(
        "process {process} completes a transaction that it has invoked and that line {since} has completed"
    )]
    CompletedTwice {
        /// The process.
        process: String,
        /// Where it was completed.
        since: u64,
    },
    /// The indexes of operations do not rise.
    #[error(
        "index {index} follows index {last}; an operation is there twice, or the file is not in order: sort it by index"
    )]
    IndexNotRising {
        /// The index.
        index: i64,
        /// The one before.
        last: i64,
    },
    /// Lists and registers in one history that can have only one of them.
    #[error(
        "{found} in a history of {kind}; Elle's histories are of lists or of registers, not of both"
    )]
    Mixed {
        /// The operation.
        found: &'static str,
        /// What the history has had so far.
        kind: &'static str,
    },
    /// One transaction in two sessions.
    #[error(
        "transaction {txn} is in session {session} here and in session {before} before; transaction numbers are for the whole history"
    )]
    TwoSessions {
        /// The transaction.
        txn: String,
        /// Its session here.
        session: String,
        /// Its session before.
        before: String,
    },
    /// A transaction that is there twice.
    #[error("transaction {txn} is there twice; is a log there under two names?")]
    Twice {
        /// What it is called.
        txn: String,
    },
    /// A binary record contradicts the ones before.
    #[error("{0}")]
    Record(&'static str),
    /// More than 32 bits can count.
    #[error(transparent)]
    TooLarge(#[from] ObservedFault),
}

impl FormatFault {
    pub(super) fn at(self, file: &str, place: Place) -> FormatError {
        FormatError {
            file: file.to_owned(),
            place,
            fault: self,
        }
    }
}
