//! Which lock an operation needs, and what the answer to a request means.

use co_core::{Grant, LockFuture, LockMode};

use crate::engine::workspace::Pending;
use crate::error::OperationError;
use crate::participant::Change;

/// The lock for a change of a key to which the transaction did `before`. An increment of what it has put
/// or deleted is part of that write, whose lock it holds.
pub(super) fn mode_for(change: &Change, before: Option<&Pending>) -> LockMode {
    match (change, before) {
        (Change::Increment(..), None | Some(Pending::Increment(_))) => LockMode::Increment,
        (Change::Put(..) | Change::Delete(_) | Change::Increment(..), _) => LockMode::Write,
    }
}

/// Waits for the lock.
pub(super) async fn granted(asked: LockFuture) -> Result<(), OperationError> {
    match asked.await {
        Grant::Granted => Ok(()),
        Grant::Aborted(reason) => Err(OperationError::Aborted(reason)),
    }
}
