//! Any sequence of calls, sensible or not: nothing panics, nothing hangs, nothing stays behind.

use co_core::{
    AbortReason, EdgeKind, Footprint, Grant, LockFuture, LockMode, LockPolicy, LockTable, Outcome,
    Scheduler, State, Txn, Validator, Vote, VoteFuture, VoteRule, WriteKind,
};
use proptest::prelude::*;

use crate::fixture::{global, local};

const KINDS: [EdgeKind; 5] = [
    EdgeKind::ReadWrite,
    EdgeKind::WriteRead,
    EdgeKind::WriteWrite,
    EdgeKind::Predicate,
    EdgeKind::Semantic,
];
const MODES: [LockMode; 3] = [LockMode::Read, LockMode::Write, LockMode::Increment];

struct Chaos {
    scheduler: Scheduler,
    table: LockTable<u8>,
    validator: Validator<u8>,
    txns: Vec<Txn>,
    votes: Vec<(usize, VoteFuture)>,
    locks: Vec<(usize, LockFuture)>,
}

impl Chaos {
    fn new(rule: VoteRule, policy: LockPolicy) -> Self {
        let scheduler = Scheduler::new(rule);
        let mut txns: Vec<_> = (1..4).map(|number| global(&scheduler, number)).collect();
        txns.push(local(&scheduler, 4));
        Self {
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
        assert_eq!(self.scheduler.undecided(), 0, "I7");
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
        calls in prop::collection::vec((0..20_u8, 0..4_usize, 0..4_usize, 0..5_u8), 1..60),
        rule in prop::sample::select(vec![VoteRule::Withhold, VoteRule::LocalOnly, VoteRule::DangerIgnoreReads]),
        policy in prop::sample::select(vec![LockPolicy::Ss2pl, LockPolicy::Sco]),
    ) {
        let mut chaos = Chaos::new(rule, policy);
        for (call, one, two, key) in calls {
            chaos.call(call, one, two, key);
        }
        chaos.finish();
    }
}
