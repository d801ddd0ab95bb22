//! The crate's errors, widened into one.
//!
//! Outcomes of transactions (abort, unknown, refused) are no errors: they are ordinary values of
//! [`protocol`](crate::protocol).

use crate::log::{LogError, RecordError};
use crate::protocol::{BeginRefused, RecoverError};

/// Whatever may go wrong here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A log could not be opened.
    #[cfg(feature = "file-log")]
    #[error(transparent)]
    Open(#[from] crate::log::OpenError),
    /// A record could not be appended.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record in the log is not one of ours.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A coordinator could not start from its log.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A coordinator takes no new transactions.
    #[error(transparent)]
    Begin(#[from] BeginRefused),
}
