//! What an operation or a history can answer instead of doing it. Every message says what to do.

use std::io;
use std::sync::Arc;

use co_core::{AbortReason, Stamp};

use crate::participant::{
    MAX_DECLARED_KEYS, MAX_KEY_BYTES, MAX_SCAN_ROWS, MAX_STATEMENT_BYTES, MAX_VALUE_BYTES,
};
use crate::storage::StorageError;

/// Why a call of a [`Participant`](crate::Participant) did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The transaction is aborted here and undone. An outcome rather than a fault.
    #[error("the transaction is aborted: it {0}; begin it again with the same priority")]
    Aborted(AbortReason),
    /// Nobody began the transaction at this site, or it is decided and forgotten.
    #[error("the site does not know the transaction; begin it first")]
    UnknownTransaction,
    /// The name is in use at this site.
    #[error("the transaction has begun at this site already; use a new name")]
    DuplicateBegin,
    /// The transaction was asked for its vote: its work is over.
    #[error("the transaction was prepared and accepts no more operations; begin another one")]
    AlreadyEnded,
    /// A commit of a transaction that has not voted YES.
    #[error("the transaction has not voted YES; prepare it and wait for its ballot")]
    NotVoted,
    /// A key without bytes.
    #[error("the key is empty; keys have at least one byte")]
    EmptyKey,
    /// A key beyond [`MAX_KEY_BYTES`].
    #[error("the key has {bytes} bytes; use at most {MAX_KEY_BYTES}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value beyond [`MAX_VALUE_BYTES`].
    #[error("the value has {bytes} bytes; use at most {MAX_VALUE_BYTES}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A scan that would return more than [`MAX_SCAN_ROWS`].
    #[error("the scan finds more than {MAX_SCAN_ROWS} rows; scan smaller ranges")]
    TooManyRows,
    /// A range that ends where it begins, or before.
    #[error("the range is empty; its end must come after its beginning")]
    InvalidRange,
    /// An increment of a value that is not eight bytes long.
    #[error("the value has {bytes} bytes and is not a number; put eight little-endian bytes first")]
    NotANumber {
        /// The length of the value.
        bytes: usize,
    },
    /// A query of a stamp whose versions are forgotten.
    #[error("the site has forgotten that stamp; ask for {} or a later one", oldest.0)]
    TooOld {
        /// The oldest stamp that can be asked for.
        oldest: Stamp,
    },
    /// A query of a stamp far beyond all that this site has seen.
    #[error("no commit has such a stamp yet; ask for {} at most, or for one that a commit was given", latest.0)]
    TooFarAhead {
        /// The latest stamp that can be asked for.
        latest: Stamp,
    },
    /// The site's storage has failed: it answers nothing that depends on committed data.
    #[error("the site's storage has failed; mend its disk and start the site again")]
    StorageFailed,
    /// The database behind the site cannot be reached, or refuses; the transaction is as it was.
    #[error(
        "the site's database does not answer; abort the transaction and begin again when it does"
    )]
    DatabaseAway,
    /// The transaction has declared its keys, and this is none of them; or it has declared none where that is needed.
    #[error(
        "the key was not declared; declare all keys of the transaction with its first operation at the site"
    )]
    NotDeclared,
    /// Keys are locked in one order for all, so they are declared all at once.
    #[error(
        "keys are declared once, with the transaction's first operation at the site; abort it, and declare all of them first"
    )]
    DeclaredLate,
    /// More than [`MAX_DECLARED_KEYS`].
    #[error("the transaction declares {keys} keys; declare at most {MAX_DECLARED_KEYS}")]
    TooManyKeys {
        /// How many.
        keys: usize,
    },
    /// A statement beyond [`MAX_STATEMENT_BYTES`].
    #[error("the statement has {bytes} bytes; use at most {MAX_STATEMENT_BYTES}")]
    StatementTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A statement that is not for the client to run: transactions and sessions belong to the site.
    #[error("the statement begins with {what}, and {instead}")]
    NotYours {
        /// What it begins with.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The database refused a statement; the transaction is as it was.
    #[error("the database refused the statement: {why} ({code}); the transaction is as it was")]
    Statement {
        /// The database's code for the error.
        code: String,
        /// What it said.
        why: String,
    },
    /// The engine has no such operation.
    #[error("the {engine} engine cannot {what}; use a site whose engine can")]
    Unsupported {
        /// The engine's name.
        engine: &'static str,
        /// What was asked of it.
        what: &'static str,
    },
}

impl From<StorageError> for OperationError {
    /// The storage keeps its error; clients hear only that there is one.
    fn from(_kept: StorageError) -> Self {
        Self::StorageFailed
    }
}

/// Why a history could not be written in full.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The sink refused bytes. The history is cut short there and has no footer.
    #[error("the history is cut short because its sink failed; free space and run again")]
    Sink(#[source] Arc<io::Error>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_limit_and_the_remedy() {
        let error = OperationError::KeyTooLong { bytes: 5000 };
        assert_eq!(
            error.to_string(),
            "the key has 5000 bytes; use at most 4096"
        );
        let error = OperationError::Aborted(AbortReason::Cycle);
        assert_eq!(
            error.to_string(),
            "the transaction is aborted: it stood on a cycle of conflicts and waits; \
             begin it again with the same priority"
        );
    }
}
