//! Shorthand that the unit tests share.

use std::ops::Deref;
use std::sync::Mutex;
use std::task::{Context, Waker};

use co_core::{Gtid, Kind, Outcome, Priority, Scheduler, Txn, VoteFuture, VoteRule};

/// A scheduler of a test. When the test is over, what it left undecided is aborted, and nothing may be left
/// of anybody then (I7).
#[derive(Debug)]
pub(crate) struct Guarded {
    scheduler: Scheduler,
    begun: Mutex<Vec<Txn>>,
}

impl Guarded {
    fn begin(&self, kind: Kind) -> Txn {
        let txn = self.scheduler.begin(kind);
        self.begun.lock().unwrap().push(txn.clone());
        txn
    }
}

impl Deref for Guarded {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // a second panic would hide the first
        }
        for txn in std::mem::take(self.begun.get_mut().unwrap()) {
            if txn.state().is_undecided() {
                abort(&self.scheduler, &txn);
            }
        }
        assert!(self.scheduler.is_idle(), "I7: {:?}", self.scheduler);
    }
}

/// A scheduler under the rule that everything here is about.
pub(crate) fn withhold() -> Guarded {
    under(VoteRule::Withhold)
}

/// A scheduler under any rule.
pub(crate) fn under(rule: VoteRule) -> Guarded {
    Guarded {
        scheduler: Scheduler::new(rule),
        begun: Mutex::default(),
    }
}

/// A global transaction named and aged `number`.
pub(crate) fn global(site: &Guarded, number: u64) -> Txn {
    site.begin(Kind::Global {
        gtid: Gtid(number),
        priority: Priority(number),
    })
}

/// A local transaction aged `number`.
pub(crate) fn local(site: &Guarded, number: u64) -> Txn {
    site.begin(Kind::Local {
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
