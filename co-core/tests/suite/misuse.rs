//! Any sequence of calls, sensible or not: nothing panics, nothing hangs, nothing stays behind.

use co_core::{
    AbortReason, EdgeKind, Footprint, Grant, Gtid, Kind, LockFuture, LockMode, LockPolicy, LockSet,
    LockTable, Outcome, Priority, Stamp, State, Txn, Validator, Vote, VoteFuture, VoteRule,
    WriteKind,
};
use proptest::prelude::*;

use crate::fixture::{Guarded, global, local, under};

const KINDS: [EdgeKind; 5] = [
    EdgeKind::ReadWrite,
    EdgeKind::WriteRead,
    EdgeKind::WriteWrite,
    EdgeKind::Predicate,
    EdgeKind::Semantic,
];
const MODES: [LockMode; 3] = [LockMode::Read, LockMode::Write, LockMode::Increment];

struct Chaos {
    scheduler: Guarded,
    table: LockTable<u8>,
    validator: Validator<u8>,
    txns: Vec<Txn>,
    /// Of transactions whose engine keeps its locks itself, as well as leaving some to the table.
    sets: Vec<Option<LockSet>>,
    votes: Vec<(usize, VoteFuture)>,
    locks: Vec<(usize, LockFuture)>,
}

impl Chaos {
    fn new(rule: VoteRule, policy: LockPolicy) -> Self {
        let scheduler = under(rule);
        let mut txns: Vec<_> = (1..4).map(|number| global(&scheduler, number)).collect();
        txns.push(local(&scheduler, 4));
        txns.push(scheduler.begin(Kind::Query { stamp: Stamp(1) }));
        txns.push(scheduler.recover(Gtid(9), Priority(9)));
        Self {
            sets: txns.iter().map(|_| None).collect(),
            table: LockTable::new(scheduler.clone(), policy),
            validator: Validator::new(scheduler.clone()),
            scheduler,
            txns,
            votes: Vec::new(),
            locks: Vec::new(),
        }
    }

    /// Errors are fine; that they are errors and not panics is the point.
    fn call(&mut self, call: u8, one: usize, two: usize, key: u8) {
        let (txn, other) = (&self.txns[one], &self.txns[two]);
        match call {
            0..=3 => drop(self.scheduler.edge(txn, other, KINDS[usize::from(key % 5)])),
            4 => drop(self.scheduler.wait(txn, other)),
            5 => self.scheduler.unwait(txn, other),
            6 => self.scheduler.blocked(txn),
            7 => drop(self.scheduler.ready(txn)),
            8 | 9 => self.votes.push((one, self.scheduler.request_vote(txn))),
            10 => drop(self.scheduler.decided(txn, Outcome::Commit)),
            11 => drop(self.scheduler.decided(txn, Outcome::Abort)),
            12 => {
                self.scheduler.doom(txn, AbortReason::Conflict);
            }
            13..=15 => self
                .locks
                .push((one, self.table.acquire(txn, &key, MODES[two % 3]))),
            16 => {
                let high = (two != 0).then_some(key + 2);
                self.locks
                    .push((one, self.table.acquire_range(txn, &key, high.as_ref())));
            }
            17 => self.table.release(txn),
            18 => {
                let footprint = Footprint {
                    reads: vec![key],
                    ranges: vec![(key, None)],
                    writes: vec![(key, WriteKind::Put)],
                };
                let _refusal = self.validator.admit(txn, footprint, || two != 0);
            }
            19 | 20 => {
                let set = self.sets[one].get_or_insert_with(|| self.table.begin(txn));
                let lock = self.table.lock(set, &key, MODES[two % 3]);
                self.locks.push((one, lock));
            }
            21 => {
                let set = self.sets[one].get_or_insert_with(|| self.table.begin(txn));
                self.locks
                    .push((one, self.table.lock_range(set, &key, None)));
            }
            22 => {
                if let Some(set) = self.sets[one].take() {
                    self.table.end(set);
                }
            }
            23 => self.table.reinstate(txn, &key, MODES[two % 3]),
            24 => {
                let footprint = Footprint {
                    reads: vec![key],
                    ranges: Vec::new(),
                    writes: vec![(key, WriteKind::Increment)],
                };
                let _clear = self.validator.is_clear(&footprint);
                self.validator.reinstate(txn, footprint);
            }
            _ => drop(self.scheduler.blocked_by(txn)),
        }
    }

    fn finish(self) {
        for txn in &self.txns {
            if txn.state().is_undecided() {
                self.scheduler.decided(txn, Outcome::Abort).unwrap();
            }
            self.table.release(txn);
            self.validator.retire(txn);
        }
        for set in self.sets.into_iter().flatten() {
            self.table.end(set);
        }
        assert!(self.scheduler.is_idle(), "I7");
        assert!(self.table.is_empty() && self.validator.is_empty(), "I7");
        for (index, vote) in self.votes {
            let vote = vote.peek().expect("every request for a vote is answered");
            let committed = self.txns[index].state() == State::Committed;
            assert!(
                !committed || vote == Vote::Yes,
                "a committed transaction was told {vote:?}"
            );
        }
        for (_, lock) in self.locks {
            let grant = lock.peek().expect("every request for a lock is answered");
            assert!(matches!(grant, Grant::Granted | Grant::Aborted(_)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_calls_panics_or_leaves_something_behind(
        calls in prop::collection::vec((0..26_u8, 0..6_usize, 0..6_usize, 0..5_u8), 1..60),
        rule in prop::sample::select(vec![
            VoteRule::Withhold, VoteRule::LocalOnly, VoteRule::LocalSnapshot, VoteRule::DangerIgnoreReads,
        ]),
        policy in prop::sample::select(vec![
            LockPolicy::Ss2pl, LockPolicy::Sco, LockPolicy::OrderedSharing { longest_chain: 2 },
        ]),
    ) {
        let mut chaos = Chaos::new(rule, policy);
        for (call, one, two, key) in calls {
            chaos.call(call, one, two, key);
        }
        chaos.finish();
    }
}
