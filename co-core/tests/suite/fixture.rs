//! Shorthand that the unit tests share.

use std::task::{Context, Waker};

use co_core::{Gtid, Kind, Outcome, Priority, Scheduler, Txn, VoteFuture, VoteRule};

/// A scheduler under the rule that everything here is about.
pub(crate) fn withhold() -> Scheduler {
    Scheduler::new(VoteRule::Withhold)
}

/// A global transaction named and aged `number`.
pub(crate) fn global(scheduler: &Scheduler, number: u64) -> Txn {
    scheduler.begin(Kind::Global {
        gtid: Gtid(number),
        priority: Priority(number),
    })
}

/// A local transaction aged `number`.
pub(crate) fn local(scheduler: &Scheduler, number: u64) -> Txn {
    scheduler.begin(Kind::Local {
        priority: Priority(number),
    })
}

/// Asks for the vote on `txn`, which must be released at once, and commits.
pub(crate) fn commit(scheduler: &Scheduler, txn: &Txn) {
    let vote = scheduler.request_vote(txn);
    assert_eq!(vote.peek(), Some(co_core::Vote::Yes), "{txn:?}");
    scheduler.decided(txn, Outcome::Commit).unwrap();
}

pub(crate) fn abort(scheduler: &Scheduler, txn: &Txn) {
    scheduler.decided(txn, Outcome::Abort).unwrap();
}

/// Polls once with `waker`.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Option<F::Output> {
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(waker)) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

/// The names of the transactions doomed since the last call.
pub(crate) fn doomed(scheduler: &Scheduler) -> Vec<Txn> {
    scheduler.take_doomed()
}

/// A vote that must not be cast yet.
pub(crate) fn withheld(scheduler: &Scheduler, txn: &Txn) -> VoteFuture {
    let vote = scheduler.request_vote(txn);
    assert_eq!(vote.peek(), None, "{txn:?} should be withheld");
    vote
}
