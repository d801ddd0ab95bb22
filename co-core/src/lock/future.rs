//! A lock request that may have to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::order::{Cell, Txn};
use crate::outcome::{AbortReason, Grant, State};
use crate::sync::Arc;

/// The answer to a lock request.
///
/// # Cancel safety
/// Dropping it leaves the request in its queue until the transaction's locks are released; abort the
/// transaction.
#[derive(Debug)]
#[must_use = "a lock is not held before it is granted"]
pub struct LockFuture(Answer);

#[derive(Debug)]
enum Answer {
    Now(Grant),
    Later(Txn, Arc<Cell<Grant>>),
}

impl LockFuture {
    pub(super) const fn granted() -> Self {
        Self(Answer::Now(Grant::Granted))
    }

    pub(super) const fn refused(reason: AbortReason) -> Self {
        Self(Answer::Now(Grant::Aborted(reason)))
    }

    pub(super) fn waiting(txn: &Txn, cell: Arc<Cell<Grant>>) -> Self {
        Self(Answer::Later(txn.clone(), cell))
    }

    /// Blocks the thread until the request is answered.
    pub fn wait(self) -> Grant {
        match &self.0 {
            Answer::Now(grant) => *grant,
            Answer::Later(txn, cell) => unless_doomed(txn, cell.wait()),
        }
    }

    /// The answer, if there is one.
    pub fn peek(&self) -> Option<Grant> {
        match &self.0 {
            Answer::Now(grant) => Some(*grant),
            Answer::Later(txn, cell) => cell.peek().map(|grant| unless_doomed(txn, grant)),
        }
    }
}

impl Future for LockFuture {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant> {
        match &self.0 {
            Answer::Now(grant) => Poll::Ready(*grant),
            Answer::Later(txn, cell) => cell.poll(context).map(|grant| unless_doomed(txn, grant)),
        }
    }
}

/// A lock may be granted just when its transaction is doomed or aborted: that is what counts.
fn unless_doomed(txn: &Txn, grant: Grant) -> Grant {
    let aborted = (txn.state() == State::Aborted).then_some(AbortReason::Requested);
    txn.doomed().or(aborted).map_or(grant, Grant::Aborted)
}
