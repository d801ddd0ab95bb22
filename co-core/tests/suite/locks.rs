//! The lock table: one fact each.

use std::thread;

use co_core::{
    AbortReason, Grant, Gtid, LockFuture, LockMode, LockPolicy, LockTable, Outcome, Priority,
    State, Txn, Vote,
};

use crate::fixture::{Guarded, abort, commit, doomed, global, withheld, withhold};

use LockMode::{Increment, Read, Write};

struct Bank {
    scheduler: Guarded,
    table: LockTable<u32>,
    txns: Vec<Txn>,
}

/// With the transactions gone, so are their locks (I7).
impl Drop for Bank {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        for txn in &self.txns {
            if txn.state().is_undecided() {
                abort(&self.scheduler, txn);
            }
            self.table.release(txn);
        }
        assert!(self.table.is_empty(), "I7");
    }
}

impl Bank {
    fn new(policy: LockPolicy, count: u64) -> Self {
        let scheduler = withhold();
        Self {
            table: LockTable::new(scheduler.clone(), policy),
            txns: (1..=count)
                .map(|number| global(&scheduler, number))
                .collect(),
            scheduler,
        }
    }

    fn ask(&self, txn: usize, key: u32, mode: LockMode) -> LockFuture {
        self.table.acquire(&self.txns[txn - 1], &key, mode)
    }

    fn scan(&self, txn: usize, low: u32, high: impl Into<Option<u32>>) -> LockFuture {
        self.table
            .acquire_range(&self.txns[txn - 1], &low, high.into().as_ref())
    }

    fn granted(&self, txn: usize, key: u32, mode: LockMode) {
        assert_eq!(
            self.ask(txn, key, mode).peek(),
            Some(Grant::Granted),
            "T{txn} {mode:?} {key}"
        );
    }

    fn waits(&self, txn: usize, key: u32, mode: LockMode) -> LockFuture {
        let future = self.ask(txn, key, mode);
        assert_eq!(future.peek(), None, "T{txn} {mode:?} {key}");
        future
    }

    fn commit(&self, txn: usize) {
        let txn = &self.txns[txn - 1];
        if txn.state() == State::Voted {
            self.scheduler.decided(txn, Outcome::Commit).unwrap();
        } else {
            commit(&self.scheduler, txn);
        }
        self.table.release(txn);
    }

    fn abort(&self, txn: usize) {
        abort(&self.scheduler, &self.txns[txn - 1]);
        self.table.release(&self.txns[txn - 1]);
    }

    fn blockers(&self, txn: usize) -> Vec<u64> {
        let found = self.scheduler.blocked_by(&self.txns[txn - 1]);
        found.into_iter().map(|(Gtid(number), _)| number).collect()
    }

    /// Ends whatever is left and checks that nothing stays behind (I7).
    fn close(self) {
        for (index, txn) in self.txns.iter().enumerate() {
            if txn.state().is_undecided() {
                self.abort(index + 1);
            }
        }
        assert!(self.table.is_empty());
        assert_eq!(self.scheduler.undecided(), 0);
    }
}

const GRANTED: Option<Grant> = Some(Grant::Granted);

#[test]
fn a_reader_does_not_overtake_a_waiting_writer() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 7, Read);
    let writer = bank.waits(2, 7, Write);
    let reader = bank.waits(3, 7, Read);
    assert_eq!(bank.blockers(3), [2], "a waiter is waited for as well");
    bank.commit(1);
    assert_eq!((writer.peek(), reader.peek()), (GRANTED, None));
    bank.commit(2);
    assert_eq!(reader.peek(), GRANTED);
    bank.close();
}

#[test]
fn a_release_grants_all_that_is_compatible() {
    let bank = Bank::new(LockPolicy::Ss2pl, 5);
    bank.granted(1, 7, Write);
    let readers = [2, 3].map(|txn| bank.waits(txn, 7, Read));
    let adders = [4, 5].map(|txn| bank.waits(txn, 7, Increment));
    bank.commit(1);
    assert!(readers.iter().all(|reader| reader.peek() == GRANTED));
    assert!(adders.iter().all(|adder| adder.peek().is_none()));
    bank.commit(2);
    bank.abort(3);
    assert!(
        adders.iter().all(|adder| adder.peek() == GRANTED),
        "increments commute"
    );
    bank.close();
}

#[test]
fn an_upgrade_passes_those_that_wait() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 7, Read);
    let queued = bank.waits(2, 7, Write);
    bank.granted(1, 7, Write);
    assert!(doomed(&bank.scheduler).is_empty(), "L3");
    bank.granted(1, 7, Read);
    bank.granted(1, 7, Increment);
    bank.commit(1);
    assert_eq!(queued.peek(), GRANTED);
    bank.close();
}

#[test]
fn an_upgrade_waits_for_other_readers_and_goes_before_the_queue() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 7, Read);
    bank.granted(2, 7, Read);
    let queued = bank.waits(3, 7, Write);
    let upgrade = bank.waits(1, 7, Write);
    bank.commit(2);
    assert_eq!((upgrade.peek(), queued.peek()), (GRANTED, None));
    bank.commit(1);
    assert_eq!(queued.peek(), GRANTED);
    bank.close();
}

/// The lost update: both read, both want to write.
#[test]
fn two_upgrades_are_a_deadlock_seen_at_once() {
    for policy in [LockPolicy::Ss2pl, LockPolicy::Sco] {
        let bank = Bank::new(policy, 2);
        bank.granted(1, 7, Read);
        bank.granted(2, 7, Read);
        let first = bank.ask(1, 7, Write);
        let second = bank.ask(2, 7, Write);
        assert_eq!(
            second.peek(),
            Some(Grant::Aborted(AbortReason::Cycle)),
            "{policy:?}"
        );
        assert_eq!(doomed(&bank.scheduler), [bank.txns[1].clone()]);
        bank.abort(2);
        assert_eq!(first.peek(), GRANTED);
        bank.commit(1);
        bank.close();
    }
}

/// Trap 1 of strict commitment ordering: by the matrix the second read would wait for the writer, whose
/// vote waits for the reader.
#[test]
fn a_reader_that_was_overtaken_reads_again() {
    let bank = Bank::new(LockPolicy::Sco, 3);
    bank.granted(1, 7, Read);
    bank.granted(2, 7, Write);
    bank.granted(1, 7, Read);
    let newcomer = bank.waits(3, 7, Read);
    let vote = withheld(&bank.scheduler, &bank.txns[1]);
    bank.commit(1);
    assert_eq!((vote.peek(), newcomer.peek()), (Some(Vote::Yes), None));
    bank.commit(2);
    assert_eq!(newcomer.peek(), GRANTED);
    bank.close();
}

#[test]
fn under_sco_writers_still_wait_for_writers() {
    let bank = Bank::new(LockPolicy::Sco, 3);
    bank.granted(1, 7, Read);
    bank.granted(2, 7, Increment);
    let writer = bank.waits(3, 7, Write);
    assert_eq!(
        bank.blockers(3),
        [1, 2],
        "it follows the reader and waits for the increment"
    );
    bank.commit(1);
    bank.commit(2);
    assert_eq!(writer.peek(), GRANTED);
    bank.commit(3);
    bank.close();
}

#[test]
fn a_scan_and_a_later_write_meet() {
    let bank = Bank::new(LockPolicy::Ss2pl, 4);
    assert_eq!(bank.scan(1, 10, 20).peek(), GRANTED);
    bank.granted(2, 9, Write);
    bank.granted(2, 20, Write);
    let inside = bank.waits(2, 19, Write);
    bank.granted(3, 15, Read);
    assert_eq!(bank.scan(4, 30, None).peek(), GRANTED);
    let beyond = bank.waits(3, u32::MAX, Increment);
    bank.commit(1);
    assert_eq!((inside.peek(), beyond.peek()), (GRANTED, None));
    bank.commit(4);
    assert_eq!(beyond.peek(), GRANTED);
    bank.close();
}

#[test]
fn a_write_and_a_later_scan_meet() {
    let bank = Bank::new(LockPolicy::Ss2pl, 4);
    bank.granted(1, 15, Write);
    bank.granted(2, 16, Increment);
    bank.granted(2, 20, Write);
    let scan = bank.scan(3, 10, 20);
    assert_eq!(scan.peek(), None);
    assert_eq!(bank.blockers(3), [1, 2]);
    assert_eq!(
        bank.scan(4, 16, 16).peek(),
        GRANTED,
        "an empty range holds nothing"
    );
    let behind = bank.waits(4, 12, Write);
    bank.commit(2);
    assert_eq!(scan.peek(), None);
    bank.commit(1);
    assert_eq!(
        (scan.peek(), behind.peek()),
        (GRANTED, None),
        "a waiting scan keeps its place"
    );
    bank.commit(3);
    assert_eq!(behind.peek(), GRANTED);
    bank.close();
}

#[test]
fn under_sco_a_write_into_a_scan_is_ordered_not_blocked() {
    let bank = Bank::new(LockPolicy::Sco, 2);
    assert_eq!(bank.scan(1, 10, 20).peek(), GRANTED);
    bank.granted(2, 15, Write);
    bank.granted(1, 15, Read);
    assert_eq!(
        bank.scan(1, 12, 18).peek(),
        GRANTED,
        "it has that range already"
    );
    let vote = withheld(&bank.scheduler, &bank.txns[1]);
    bank.commit(1);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    bank.close();
}

#[test]
fn a_scanner_that_writes_passes_those_that_wait_for_its_scan() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    assert_eq!(bank.scan(1, 10, 20).peek(), GRANTED);
    let queued = bank.waits(2, 15, Write);
    bank.granted(1, 15, Write);
    let wider = bank.scan(1, 5, 30);
    assert_eq!(wider.peek(), GRANTED, "a wider scan passes them too");
    assert!(doomed(&bank.scheduler).is_empty());
    bank.commit(1);
    assert_eq!(queued.peek(), GRANTED);
    bank.close();
}

#[test]
fn a_scan_that_waits_is_passed_by_the_holder_it_waits_for() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 15, Increment);
    bank.granted(3, 17, Write);
    let scan = bank.scan(2, 10, 20);
    assert_eq!(scan.peek(), None);
    bank.granted(1, 15, Write);
    assert!(doomed(&bank.scheduler).is_empty());
    bank.commit(1);
    assert_eq!(scan.peek(), None);
    bank.commit(3);
    assert_eq!(scan.peek(), GRANTED);
    bank.close();
}

#[test]
fn a_cycle_over_keys_and_ranges_is_broken() {
    let bank = Bank::new(LockPolicy::Ss2pl, 2);
    bank.granted(1, 1, Write);
    assert_eq!(bank.scan(2, 10, None).peek(), GRANTED);
    let first = bank.waits(1, 12, Write);
    let second = bank.scan(2, 0, 5);
    assert_eq!(second.peek(), Some(Grant::Aborted(AbortReason::Cycle)));
    bank.abort(2);
    assert_eq!(first.peek(), GRANTED);
    bank.close();
}

#[test]
fn the_doom_of_a_waiter_reaches_its_thread() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 7, Write);
    let waiting = bank.waits(2, 7, Write);
    let behind = bank.waits(3, 7, Write);
    thread::scope(|scope| {
        let blocked = scope.spawn(|| waiting.wait());
        assert!(bank.scheduler.doom(&bank.txns[1], AbortReason::Requested));
        assert_eq!(
            blocked.join().unwrap(),
            Grant::Aborted(AbortReason::Requested)
        );
    });
    bank.granted_never_to_the_doomed(2);
    bank.abort(2);
    assert_eq!(bank.blockers(3), [1], "the place in the queue is gone");
    bank.commit(1);
    assert_eq!(behind.peek(), GRANTED);
    bank.close();
}

impl Bank {
    fn granted_never_to_the_doomed(&self, txn: usize) {
        let refusal = Some(Grant::Aborted(AbortReason::Requested));
        assert_eq!(self.ask(txn, 99, Read).peek(), refusal);
        assert_eq!(self.scan(txn, 0, None).peek(), refusal);
    }
}

#[test]
fn who_was_asked_to_vote_gets_no_more_locks() {
    let bank = Bank::new(LockPolicy::Sco, 2);
    bank.granted(1, 7, Read);
    bank.granted(2, 7, Write);
    let vote = withheld(&bank.scheduler, &bank.txns[1]);
    // A waiting request of a withheld transaction used to take the place of its vote, which nobody heard
    // of then.
    bank.granted_never_to_the_doomed(2);
    bank.commit(1);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    bank.granted_never_to_the_doomed(2);
    bank.close();
}

/// A request that waits while its transaction is asked to vote was never answered, not even by the release.
#[test]
fn a_release_answers_the_transactions_own_waiting_request() {
    let bank = Bank::new(LockPolicy::Ss2pl, 2);
    bank.granted(1, 7, Write);
    let waiting = bank.waits(2, 7, Write);
    let scan = bank.scan(2, 0, None);
    assert_eq!(bank.scheduler.request_vote(&bank.txns[1]).peek(), None);
    bank.abort(2);
    assert_eq!(waiting.peek(), Some(Grant::Aborted(AbortReason::Requested)));
    assert_eq!(scan.peek(), Some(Grant::Aborted(AbortReason::Requested)));
    bank.close();
}

/// A lock that is granted after its transaction was aborted from elsewhere is no lock.
#[test]
fn nothing_is_granted_to_an_aborted_transaction() {
    let bank = Bank::new(LockPolicy::Ss2pl, 2);
    bank.granted(1, 7, Write);
    let waiting = bank.waits(2, 7, Write);
    bank.commit(1);
    abort(&bank.scheduler, &bank.txns[1]);
    assert_eq!(waiting.peek(), Some(Grant::Aborted(AbortReason::Requested)));
    bank.table.release(&bank.txns[1]);
    bank.close();
}

#[test]
fn reinstated_locks_hold_like_any_other() {
    let bank = Bank::new(LockPolicy::Ss2pl, 2);
    let recovered = bank.scheduler.recover(Gtid(9), Priority(9));
    bank.table.reinstate(&recovered, &7, Write);
    bank.table.reinstate_range(&recovered, &10, Some(&20));
    let reader = bank.waits(1, 7, Read);
    let writer = bank.waits(2, 15, Write);
    assert_eq!((bank.blockers(1), bank.blockers(2)), (vec![9], vec![9]));
    bank.granted(1, 20, Write);
    bank.scheduler.decided(&recovered, Outcome::Commit).unwrap();
    bank.table.release(&recovered);
    assert_eq!((reader.peek(), writer.peek()), (GRANTED, GRANTED));
    bank.close();
}

#[test]
fn keys_of_all_shards_are_in_the_range() {
    let bank = Bank::new(LockPolicy::Ss2pl, 2);
    for key in 0..500 {
        bank.granted(1, key, Write);
    }
    assert_eq!(bank.scan(2, 499, 500).peek(), None);
    bank.commit(1);
    bank.close();
}

/// The upgrade may be in the way of a waiter that did not wait for its transaction before.
#[test]
fn a_waiter_that_is_passed_waits_for_who_passed_it() {
    let bank = Bank::new(LockPolicy::Ss2pl, 3);
    bank.granted(1, 7, Increment);
    let _writer = bank.waits(2, 7, Write);
    bank.granted(3, 8, Write);
    let adder = bank.waits(3, 7, Increment);
    assert_eq!(
        bank.blockers(3),
        [2],
        "increments commute, but it came after the writer"
    );
    bank.granted(1, 7, Write);
    bank.abort(2);
    assert_eq!((adder.peek(), bank.blockers(3)), (None, vec![1]));
    let crossing = bank.ask(1, 8, Read);
    assert_eq!(
        adder.peek(),
        Some(Grant::Aborted(AbortReason::Cycle)),
        "that wait closes cycles too"
    );
    bank.abort(3);
    assert_eq!(crossing.peek(), GRANTED);
    bank.close();
}

#[test]
fn under_sco_a_waiter_that_is_passed_comes_after_who_passed_it() {
    let bank = Bank::new(LockPolicy::Sco, 3);
    bank.granted(1, 7, Increment);
    let _writer = bank.waits(2, 7, Write);
    let adder = bank.waits(3, 7, Increment);
    bank.granted(1, 7, Read);
    bank.abort(2);
    assert_eq!(adder.peek(), GRANTED);
    let vote = withheld(&bank.scheduler, &bank.txns[2]);
    bank.commit(1);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    bank.close();
}
