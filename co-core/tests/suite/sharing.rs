//! Ordered sharing, and operations of the engine's own: one fact each.

use co_core::{
    AbortReason, Commutativity, Effect, Grant, LockFuture, LockMode, LockPolicy, LockTable,
    Outcome, Statistics, Txn, Vote,
};

use crate::fixture::{Guarded, abort, commit, global, withheld, withhold};

use LockMode::{Increment, Read, Write};

struct Shop {
    scheduler: Guarded,
    table: LockTable<u32>,
    txns: Vec<Txn>,
}

/// With the transactions gone, so are their locks (I7).
impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
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

impl Shop {
    fn new(longest_chain: u8) -> Self {
        Self::with(
            LockPolicy::OrderedSharing { longest_chain },
            Commutativity::new(),
        )
    }

    fn with(policy: LockPolicy, operations: Commutativity) -> Self {
        let scheduler = withhold();
        Self {
            table: LockTable::with_operations(scheduler.clone(), policy, operations),
            txns: (1..=6).map(|number| global(&scheduler, number)).collect(),
            scheduler,
        }
    }

    fn txn(&self, number: usize) -> &Txn {
        &self.txns[number - 1]
    }

    fn ask(&self, number: usize, key: u32, mode: LockMode) -> LockFuture {
        self.table.acquire(self.txn(number), &key, mode)
    }

    fn granted(&self, number: usize, key: u32, mode: LockMode) {
        let answer = self.ask(number, key, mode).peek();
        assert_eq!(answer, Some(Grant::Granted), "T{number} {mode:?} {key}");
    }

    fn waits(&self, number: usize, key: u32, mode: LockMode) -> LockFuture {
        let future = self.ask(number, key, mode);
        assert_eq!(future.peek(), None, "T{number} {mode:?} {key}");
        future
    }

    fn end(&self, number: usize, outcome: Outcome) {
        let txn = self.txn(number);
        match outcome {
            Outcome::Commit => commit(&self.scheduler, txn),
            Outcome::Abort => self.scheduler.decided(txn, Outcome::Abort).unwrap(),
        }
        self.table.release(txn);
    }

    fn statistics(&self) -> Statistics {
        self.scheduler.statistics()
    }
}

#[test]
fn a_chain_of_writers_shares_a_key_and_commits_in_order() {
    let shop = Shop::new(8);
    for number in 1..=4 {
        shop.granted(number, 7, Write);
    }
    let last = withheld(&shop.scheduler, shop.txn(4));
    for number in 1..=3 {
        assert_eq!(last.peek(), None);
        shop.end(number, Outcome::Commit);
    }
    assert_eq!(last.peek(), Some(Vote::Yes));
    assert_eq!(shop.statistics().longest_chain, 0, "nobody read");
}

#[test]
fn an_abort_takes_those_who_read_with_it_and_nobody_else() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 7, Read);
    shop.granted(2, 8, Write);
    shop.granted(3, 8, Read);
    shop.granted(4, 7, Write); // overwrites what T1 wrote, having read nothing
    shop.end(1, Outcome::Abort);
    for fallen in [2, 3] {
        assert_eq!(shop.txn(fallen).doomed(), Some(AbortReason::Cascade));
    }
    assert_eq!(shop.txn(4).doomed(), None);
    let statistics = shop.statistics();
    assert_eq!((statistics.cascades, statistics.cascaded), (1, 2));
    assert_eq!(statistics.longest_chain, 3);
}

#[test]
fn a_read_falls_with_the_newest_change_and_not_with_one_that_was_replaced() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 7, Write);
    shop.granted(3, 7, Read);
    shop.end(1, Outcome::Abort);
    assert_eq!(shop.txn(3).doomed(), None);
    shop.end(2, Outcome::Abort);
    assert_eq!(shop.txn(3).doomed(), Some(AbortReason::Cascade));
}

#[test]
fn a_sum_falls_with_each_of_its_increments() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Increment);
    shop.granted(2, 7, Increment);
    shop.granted(3, 7, Read);
    shop.end(1, Outcome::Abort);
    assert_eq!(shop.txn(3).doomed(), Some(AbortReason::Cascade));
    shop.end(2, Outcome::Commit);
}

/// What a read waits for is not what it will see: the change before that is, when the newest one goes.
#[test]
fn a_read_that_waits_for_the_newest_change_falls_with_the_one_before() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 7, Write);
    assert!(shop.scheduler.doom(shop.txn(2), AbortReason::Requested));
    let read = shop.waits(3, 7, Read);
    shop.end(2, Outcome::Abort);
    assert_eq!(read.peek(), Some(Grant::Granted));
    shop.end(1, Outcome::Abort);
    assert_eq!(shop.txn(3).doomed(), Some(AbortReason::Cascade));
}

#[test]
fn a_chain_grows_to_its_bound_and_then_waits() {
    let shop = Shop::new(3);
    for number in 1..=3 {
        if number > 1 {
            shop.granted(number, 6 + u32::try_from(number).unwrap(), Read);
        }
        shop.granted(number, 7 + u32::try_from(number).unwrap(), Write);
    }
    let fourth = shop.waits(4, 10, Read);
    shop.end(1, Outcome::Commit);
    assert_eq!(
        fourth.peek(),
        None,
        "who has waited waits for the whole change"
    );
    shop.granted(5, 9, Read); // behind T2, and the chain is shorter now
    for number in [2, 3] {
        shop.end(number, Outcome::Commit);
    }
    assert_eq!(fourth.peek(), Some(Grant::Granted));
    assert_eq!(shop.statistics().longest_chain, 3);
}

#[test]
fn with_a_chain_of_one_nothing_undecided_is_read() {
    let shop = Shop::new(1);
    shop.granted(1, 7, Write);
    shop.granted(2, 7, Write);
    let read = shop.waits(3, 7, Read);
    shop.end(1, Outcome::Commit);
    shop.end(2, Outcome::Commit);
    assert_eq!(read.peek(), Some(Grant::Granted));
}

#[test]
fn who_is_depended_on_reads_nothing_undecided_any_more() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 8, Write);
    shop.granted(3, 8, Read);
    let _read = shop.waits(2, 7, Read);
    shop.end(1, Outcome::Commit);
}

/// `w1 r2 w1`: the second change comes after the read, and both orders cannot be.
#[test]
fn a_second_change_after_somebody_has_read_the_first_is_a_cycle() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 7, Read);
    let _second = shop.ask(1, 7, Write);
    assert_eq!(shop.txn(2).doomed(), Some(AbortReason::Cycle));
    assert_eq!(shop.txn(1).doomed(), None);
}

/// The scan is in another list than the requests, and was overlooked: it had seen what was then changed again.
#[test]
fn a_second_change_after_somebody_has_scanned_the_first_is_a_cycle() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    let scan = shop.table.acquire_range(shop.txn(2), &0, None);
    assert_eq!(scan.peek(), Some(Grant::Granted));
    let _second = shop.ask(1, 7, Write);
    assert_eq!(shop.txn(2).doomed(), Some(AbortReason::Cycle));
    assert_eq!(shop.txn(1).doomed(), None);
}

#[test]
fn a_cycle_of_shared_keys_is_found_when_it_closes() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 8, Write);
    shop.granted(2, 7, Write);
    let _closing = shop.ask(1, 8, Write);
    assert_eq!(shop.txn(2).doomed(), Some(AbortReason::Cycle));
}

#[test]
fn a_scan_falls_with_what_it_found() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    let scan = shop.table.acquire_range(shop.txn(2), &0, None);
    assert_eq!(scan.peek(), Some(Grant::Granted));
    shop.end(1, Outcome::Abort);
    assert_eq!(shop.txn(2).doomed(), Some(AbortReason::Cascade));
}

/// A set: insertions commute with each other, and with removals of nothing in particular; a membership test
/// with neither.
#[test]
fn operations_that_commute_share_under_every_policy() {
    for policy in [
        LockPolicy::Ss2pl,
        LockPolicy::Sco,
        LockPolicy::OrderedSharing { longest_chain: 4 },
    ] {
        let mut operations = Commutativity::new();
        let insert = operations.define(Effect::Adjusts).unwrap();
        let test = operations.define(Effect::Observes).unwrap();
        operations.commute(insert, insert);
        operations.commute(test, test);
        operations.commute(test, Read);
        let shop = Shop::with(policy, operations);
        shop.granted(1, 7, insert);
        shop.granted(2, 7, insert);
        shop.end(2, Outcome::Commit);
        let tested = shop.ask(3, 7, test);
        if policy == (LockPolicy::OrderedSharing { longest_chain: 4 }) {
            assert_eq!(tested.peek(), Some(Grant::Granted));
            let vote = withheld(&shop.scheduler, shop.txn(3));
            shop.end(1, Outcome::Abort);
            assert_eq!(vote.peek(), Some(Vote::No(AbortReason::Cascade)));
        } else {
            assert_eq!(tested.peek(), None, "{policy:?}");
            shop.end(1, Outcome::Commit);
            assert_eq!(tested.peek(), Some(Grant::Granted));
            shop.granted(4, 7, Read);
            shop.end(3, Outcome::Commit);
        }
    }
}

#[test]
fn an_observation_is_overtaken_under_sco_by_an_operation_of_ones_own() {
    let mut operations = Commutativity::new();
    let pop = operations.define(Effect::ObservesAndChanges).unwrap();
    let shop = Shop::with(LockPolicy::Sco, operations);
    shop.granted(1, 7, Read);
    shop.granted(2, 7, pop);
    let vote = withheld(&shop.scheduler, shop.txn(2));
    let _other = shop.waits(3, 7, pop);
    shop.end(1, Outcome::Commit);
    assert_eq!(vote.peek(), Some(Vote::Yes));
}

#[test]
fn who_stands_ahead_is_told_once_and_by_what() {
    let shop = Shop::new(8);
    shop.granted(1, 7, Write);
    shop.granted(2, 8, Read);
    shop.granted(4, 9, Write);
    shop.granted(3, 7, Read);
    shop.granted(3, 7, Write);
    shop.granted(3, 8, Write);
    shop.granted(3, 9, Write);
    let ahead = || {
        let found = shop.scheduler.predecessors(shop.txn(3));
        let found = found.iter().map(|it| (it.txn.clone(), it.is_read));
        found.collect::<Vec<_>>()
    };
    let [one, two, four] = [1, 2, 4].map(|number| shop.txn(number).clone());
    assert_eq!(ahead(), [(one, true), (two, false), (four, false)]);
    shop.end(1, Outcome::Commit);
    assert_eq!(ahead().len(), 3, "who is decided is told too");
    shop.end(2, Outcome::Commit);
    shop.end(4, Outcome::Abort);
    shop.end(3, Outcome::Abort);
    assert_eq!(ahead(), []);
}

/// A request that has waited holds up those behind it only until its access is made.
#[test]
fn who_says_that_the_access_is_made_lets_those_behind_go_on() {
    let shop = Shop::new(1);
    shop.granted(1, 7, Write);
    let read = shop.waits(2, 7, Read);
    let behind = shop.waits(3, 7, Write);
    shop.end(1, Outcome::Commit);
    assert_eq!(read.peek(), Some(Grant::Granted));
    assert_eq!(behind.peek(), None);
    shop.table.accessed(shop.txn(2));
    assert_eq!(behind.peek(), Some(Grant::Granted));
}
