//! Condition D without starvation: late readers of a writer that is ready, and their turns.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::id::TxnId;
use crate::order::{Cell, Txn};
use crate::outcome::{AbortReason, Grant, State};
use crate::sync::Arc;
use crate::versions::timeline::Snapshot;

/// A writer's late readers.
#[derive(Default)]
pub(super) struct Turns {
    /// A moment after it was met ready for the first time.
    ready: Option<u64>,
    /// Late readers that were let past it.
    passed: Vec<TxnId>,
    waiters: Vec<(Txn, Arc<Cell<Grant>>)>,
    /// It has ended: nobody waits for it any more (MV7).
    closed: bool,
}

impl Turns {
    /// Lets a reader past the writer, or does not: then it has to wait for its turn. `now` is no earlier
    /// than the snapshot.
    pub(super) fn admit(
        &mut self,
        reader: &Txn,
        snapshot: Snapshot,
        now: u64,
        limit: usize,
    ) -> bool {
        let ready = *self.ready.get_or_insert(now);
        if snapshot.taken <= ready || self.passed.contains(&reader.id()) {
            return true;
        }
        if self.passed.len() < limit {
            self.passed.push(reader.id());
            return true;
        }
        false
    }

    /// Joins the waiters; not if the writer has ended.
    pub(super) fn join(&mut self, reader: &Txn, cell: &Arc<Cell<Grant>>) -> bool {
        if !self.closed {
            self.waiters.push((reader.clone(), Arc::clone(cell)));
        }
        !self.closed
    }

    /// The writer has ended: who has to be told.
    pub(super) fn close(&mut self) -> Vec<(Txn, Arc<Cell<Grant>>)> {
        self.closed = true;
        std::mem::take(&mut self.waiters)
    }
}

/// A reader's wait for the end of a writer that has waited for others long enough. When it is granted, read
/// again.
///
/// # Cancel safety
/// Dropping it forgets nothing: the wait stands in the graph until the writer ends. Abort the transaction, or
/// read again.
#[must_use = "nothing was read yet"]
pub struct Turn {
    txn: Txn,
    cell: Arc<Cell<Grant>>,
}

impl Turn {
    pub(super) fn new(txn: &Txn, cell: Arc<Cell<Grant>>) -> Self {
        Self {
            txn: txn.clone(),
            cell,
        }
    }

    /// Blocks the thread until the writer has ended, or the reader must abort.
    pub fn wait(self) -> Grant {
        self.unless_doomed(self.cell.wait())
    }

    /// The answer, if there is one.
    #[must_use]
    pub fn peek(&self) -> Option<Grant> {
        self.cell.peek().map(|grant| self.unless_doomed(grant))
    }

    /// A turn may come just when its transaction is doomed or aborted: that is what counts.
    fn unless_doomed(&self, grant: Grant) -> Grant {
        let aborted = (self.txn.state() == State::Aborted).then_some(AbortReason::Requested);
        self.txn.doomed().or(aborted).map_or(grant, Grant::Aborted)
    }
}

impl Future for Turn {
    type Output = Grant;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Grant> {
        self.cell
            .poll(context)
            .map(|grant| self.unless_doomed(grant))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("txn", &self.txn)
            .field("answer", &self.peek())
            .finish()
    }
}
