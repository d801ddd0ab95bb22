//! The faults of a history file. Each message says what to do next.

use std::io;

use crate::history::RecordFault;
use crate::parse::MAX_LINE_BYTES;
use crate::token::TokenFault;

/// A fault in a history file: where it is, and what it is.
#[derive(Debug, thiserror::Error)]
#[error("{file}, line {line}: {fault}")]
pub struct ParseError {
    /// The name that was given to [`read_history`](crate::parse::read_history).
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong there.
    #[source]
    pub fault: ParseFault,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseFault {
    /// The text could not be read.
    #[error("cannot read on: {0}")]
    Io(#[from] io::Error),
    /// The line is longer than [`MAX_LINE_BYTES`].
    #[error("the line is longer than {MAX_LINE_BYTES} bytes; split the transaction or its scans")]
    LineTooLong,
    /// The line is not UTF-8.
    #[error("the line is not UTF-8; escape such bytes as %HH")]
    NotUtf8,
    /// The first line is not a header.
    #[error("the first line must be `co-history 1 <site>` (or 2); is this a history file?")]
    MissingHeader,
    /// The lines end in a carriage return and a line feed.
    #[error(
        "the lines end as Windows ends them (CR LF), and the format has line feeds alone; remove the carriage returns, as `tr -d '\\r'` does"
    )]
    WindowsLineEnds,
    /// The header names another version of the format.
    #[error("the file has format version `{found}`, and this program reads versions 1 and 2")]
    UnsupportedVersion {
        /// The version, as written.
        found: String,
    },
    /// The first word of the line is none of `c`, `a`, `u`, `end`.
    #[error("`{word}` starts no record; expected `c`, `a`, `u`, `end` or a comment")]
    UnknownRecord {
        /// The word.
        word: String,
    },
    /// The line ends too early.
    #[error("the line ends where {expected} should be")]
    MissingField {
        /// What should have come next.
        expected: &'static str,
    },
    /// The line goes on after its last field.
    #[error("`{text}` follows the last field of the line; fields are separated by one space")]
    ExtraField {
        /// The surplus.
        text: String,
    },
    /// A number was expected.
    #[error("`{text}` is not {expected}")]
    BadNumber {
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        text: String,
    },
    /// A transaction name was expected.
    #[error("`{text}` names no transaction; expected `G<number>` or `L<number>`")]
    BadTxn {
        /// What was there.
        text: String,
    },
    /// A key, a site or a reason is not escaped correctly.
    #[error("`{text}` is not an escaped token: {fault}")]
    BadToken {
        /// What was there.
        text: String,
        /// Why it is not a token.
        fault: TokenFault,
    },
    /// An operation does not have the shape of its kind.
    #[error("`{text}` is not an operation; expected {expected}")]
    BadOp {
        /// What was there.
        text: String,
        /// The shape of the operation.
        expected: &'static str,
    },
    /// A field about the client of a transaction does not have its shape.
    #[error("`{text}` is not a field of its kind; expected {expected}")]
    BadField {
        /// What was there.
        text: String,
        /// The shape of the field.
        expected: &'static str,
    },
    /// A field about the client of a transaction stands where an operation should be.
    #[error(
        "`{text}` stands where an operation should be; `p:` and then `t:` come before the operations, once each, in \
         files that begin with `co-history 2`"
    )]
    MisplacedField {
        /// What was there.
        text: String,
    },
    /// The record contradicts the records above it, or itself.
    #[error(transparent)]
    Record(#[from] RecordFault),
    /// The footer counts other than the records.
    #[error("the footer counts {stated} records and there are {counted}; lines were lost or added")]
    FooterMismatch {
        /// What the footer says.
        stated: u64,
        /// How many records precede it.
        counted: u64,
    },
    /// Something follows the footer.
    #[error("a record follows the footer; join files by passing them together, not end to end")]
    AfterFooter,
}
