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

/// The lock, or the future to wait for.
pub(super) fn at_once(asked: LockFuture) -> Result<Option<LockFuture>, OperationError> {
    match asked.peek() {
        None => Ok(Some(asked)),
        Some(grant) => said(grant).map(|()| None),
    }
}

/// Waits for the lock.
pub(super) async fn granted(asked: LockFuture) -> Result<(), OperationError> {
    said(asked.await)
}

fn said(grant: Grant) -> Result<(), OperationError> {
    match grant {
        Grant::Granted => Ok(()),
        Grant::Aborted(reason) => Err(OperationError::Aborted(reason)),
    }
}
