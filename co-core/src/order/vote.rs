//! A vote that is on its way: a future, or a call that blocks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::order::Cell;
use crate::outcome::Vote;
use crate::sync::Arc;

/// The vote of one transaction, cast as soon as the order permits.
///
/// # Cancel safety
/// Dropping it does not take the request back: the vote is cast all the same and shows in
/// [`Txn::state`](crate::Txn::state).
#[derive(Debug, Clone)]
#[must_use = "a vote decides nothing unless somebody waits for it"]
pub struct VoteFuture(Answer);

#[derive(Debug, Clone)]
enum Answer {
    Cast(Vote),
    Awaited(Arc<Cell<Vote>>),
}

impl VoteFuture {
    pub(crate) fn new(cell: Arc<Cell<Vote>>) -> Self {
        Self(Answer::Awaited(cell))
    }

    pub(crate) fn cast(vote: Vote) -> Self {
        Self(Answer::Cast(vote))
    }

    /// Blocks the thread until the vote is cast.
    pub fn wait(self) -> Vote {
        match self.0 {
            Answer::Cast(vote) => vote,
            Answer::Awaited(cell) => cell.wait(),
        }
    }

    /// The vote, if it is cast.
    pub fn peek(&self) -> Option<Vote> {
        match &self.0 {
            Answer::Cast(vote) => Some(*vote),
            Answer::Awaited(cell) => cell.peek(),
        }
    }

    pub(crate) fn on_vote(self, callback: Box<dyn FnOnce(Vote) + Send>) {
        match self.0 {
            Answer::Cast(vote) => callback(vote),
            Answer::Awaited(cell) => cell.on_value(callback),
        }
    }
}

impl Future for VoteFuture {
    type Output = Vote;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vote> {
        match &self.0 {
            Answer::Cast(vote) => Poll::Ready(*vote),
            Answer::Awaited(cell) => cell.poll(context),
        }
    }
}
