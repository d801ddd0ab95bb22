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
pub struct LockFuture {
    txn: Txn,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Now(Grant),
    Later(Arc<Cell<Grant>>),
}

impl LockFuture {
    pub(super) fn granted(txn: &Txn) -> Self {
        Self {
            txn: txn.clone(),
            answer: Answer::Now(Grant::Granted),
        }
    }

    pub(super) fn refused(txn: &Txn, reason: AbortReason) -> Self {
        Self {
            txn: txn.clone(),
            answer: Answer::Now(Grant::Aborted(reason)),
        }
    }

    pub(super) fn waiting(txn: &Txn, cell: Arc<Cell<Grant>>) -> Self {
        Self {
            txn: txn.clone(),
            answer: Answer::Later(cell),
        }
    }

    /// Blocks the thread until the request is answered.
    pub fn wait(self) -> Grant {
        match &self.answer {
            Answer::Now(grant) => *grant,
            Answer::Later(cell) => self.unless_doomed(cell.wait()),
        }
    }

    /// The answer, if there is one.
    pub fn peek(&self) -> Option<Grant> {
        match &self.answer {
            Answer::Now(grant) => Some(*grant),
            Answer::Later(cell) => cell.peek().map(|grant| self.unless_doomed(grant)),
        }
    }

    /// A lock may be granted just when its transaction is doomed or aborted: that is what counts.
    fn unless_doomed(&self, grant: Grant) -> Grant {
        let aborted = (self.txn.state() == State::Aborted).then_some(AbortReason::Requested);
        self.txn.doomed().or(aborted).map_or(grant, Grant::Aborted)
    }
}

impl Future for LockFuture {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant> {
        match &self.answer {
            Answer::Now(grant) => Poll::Ready(*grant),
            Answer::Later(cell) => cell.poll(context).map(|grant| self.unless_doomed(grant)),
        }
    }
}
