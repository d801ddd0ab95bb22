//! The operations whose cost is budgeted, each with its baseline, for the benches and for `budget`.

use std::hint::black_box;
use std::sync::Arc;

use co_core::{
    EdgeKind, Footprint, Grant, Gtid, Kind, LockMode, LockPolicy, LockTable, Outcome, Priority,
    Scheduler, Txn, Validator, VoteRule, WriteKind,
};

use crate::lean::{LeanTable, LeanTxn};
use crate::optimistic::{Optimistic, Work};

/// Accesses of a transaction.
pub const ACCESSES: u64 = 16;

fn local(scheduler: &Scheduler) -> Txn {
    scheduler.begin(Kind::Local {
        priority: Priority(1),
    })
}

fn vote_and_commit(scheduler: &Scheduler, txn: &Txn) {
    black_box(scheduler.request_vote_blocking(txn));
    scheduler
        .decided(txn, Outcome::Commit)
        .expect("nobody precedes it, so it has voted");
}

/// Locks and unlocks one mutex.
pub fn mutex_pair(mutex: &parking_lot::Mutex<u64>) {
    *black_box(mutex).lock() += 1;
}

/// Begin, ready, vote, decide.
///
/// # Panics
/// When the scheduler is broken.
pub fn unconflicted(scheduler: &Scheduler) {
    let txn = local(scheduler);
    scheduler.ready(&txn).expect("it has just begun");
    vote_and_commit(scheduler, &txn);
}

/// A transaction that reads and writes [`ACCESSES`] distinct keys by turns, from `first` on.
///
/// # Panics
/// When somebody else holds one of them.
pub fn lean_accesses(table: &LeanTable<u64>, first: u64) {
    let mut txn = LeanTxn::new(first);
    for key in first..first + ACCESSES {
        assert!(table.lock(&mut txn, &black_box(key), key % 2 == 0));
    }
    table.end(txn);
}

/// The same through the lock table of co-core, begun, voted and decided.
///
/// # Panics
/// When somebody else holds one of them.
pub fn tracked_accesses(scheduler: &Scheduler, table: &LockTable<u64>, first: u64) {
    let txn = local(scheduler);
    let mut locks = table.begin(&txn);
    for key in first..first + ACCESSES {
        let mode = if key % 2 == 0 {
            LockMode::Write
        } else {
            LockMode::Read
        };
        let grant = table.lock(&mut locks, &black_box(key), mode).wait();
        assert_eq!(grant, Grant::Granted);
    }
    vote_and_commit(scheduler, &txn);
    table.end(locks);
}

/// A transaction that reads and writes [`ACCESSES`] distinct keys by turns, from `first` on, and commits.
///
/// # Panics
/// When it does not.
pub fn optimistic_accesses(
    engine: &Optimistic,
    work: &mut Work,
    first: u64,
    validator: Option<&Validator<u64>>,
) {
    work.clear();
    for key in first..first + ACCESSES {
        if key % 2 == 0 {
            engine.write(work, black_box(key), key);
        } else {
            black_box(engine.read(work, black_box(key)));
        }
    }
    assert_eq!(engine.commit(work, validator), Some(true));
}

/// A validator with `count` transactions in doubt, of [`ACCESSES`] keys each, from `first` on.
///
/// # Panics
/// When the scheduler is broken.
#[must_use]
pub fn in_doubt(count: u64, first: u64) -> Validator<u64> {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let validator = Validator::new(scheduler.clone());
    for number in 0..count {
        let txn = scheduler.begin(Kind::Global {
            gtid: Gtid(number),
            priority: Priority(number),
        });
        let keys = (0..ACCESSES).map(|index| first + number * ACCESSES + index);
        let (writes, reads) = keys.partition::<Vec<_>, _>(|key| key % 2 == 0);
        let footprint = Footprint {
            reads,
            ranges: Vec::new(),
            writes: writes
                .into_iter()
                .map(|key| (key, WriteKind::Put))
                .collect(),
        };
        validator
            .admit(&txn, footprint, || true)
            .expect("nobody else has touched its keys");
        drop(scheduler.request_vote(&txn));
    }
    validator
}

/// A scheduler and a lock table in which `count` undecided transactions hold one key each, and each of which
/// follows the one before.
#[derive(Debug)]
pub struct Crowd {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// Keys `0..count` are held.
    pub table: LockTable<u64>,
    /// The transactions.
    pub txns: Vec<Txn>,
}

impl Crowd {
    /// Begins them.
    ///
    /// # Panics
    /// When the scheduler is broken.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let table = LockTable::new(scheduler.clone(), LockPolicy::Sco);
        let txns: Vec<_> = (0..count).map(|_| local(&scheduler)).collect();
        for (key, txn) in (0..).zip(&txns) {
            drop(table.acquire(txn, &key, LockMode::Write));
        }
        for pair in txns.windows(2) {
            scheduler
                .edge(&pair[0], &pair[1], EdgeKind::ReadWrite)
                .expect("nobody has voted");
        }
        Self {
            scheduler,
            table,
            txns,
        }
    }

    /// A transaction that comes and goes among them: it follows one of them, which it waits for, and is taken
    /// back.
    ///
    /// # Panics
    /// When the scheduler is broken.
    pub fn pass(&self, first: u64) {
        let txn = local(&self.scheduler);
        let mut locks = self.table.begin(&txn);
        for key in first..first + ACCESSES {
            drop(
                self.table
                    .lock(&mut locks, &black_box(key), LockMode::Write),
            );
        }
        let last = self.txns.last().expect("there is a crowd");
        self.scheduler
            .edge(last, &txn, EdgeKind::ReadWrite)
            .expect("neither has voted");
        drop(self.scheduler.request_vote(&txn));
        self.scheduler
            .decided(&txn, Outcome::Abort)
            .expect("it is undecided");
        self.table.end(locks);
    }
}

/// A chain of `length` transactions on one hot key, all asked to vote, the first of them released.
///
/// # Panics
/// When the scheduler is broken.
#[must_use]
pub fn withheld_chain(length: usize) -> (Arc<Scheduler>, Vec<Txn>) {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let chain: Vec<_> = (0..length).map(|_| local(&scheduler)).collect();
    for pair in chain.windows(2) {
        scheduler
            .edge(&pair[0], &pair[1], EdgeKind::ReadWrite)
            .expect("nobody has voted");
    }
    for txn in &chain {
        drop(scheduler.request_vote(txn));
    }
    (Arc::new(scheduler), chain)
}

/// Decides a chain from its first transaction on.
///
/// # Panics
/// When one of them is not released by the one before.
pub fn release_chain(scheduler: &Scheduler, chain: &[Txn]) {
    for txn in chain {
        scheduler
            .decided(txn, Outcome::Commit)
            .expect("its predecessor is gone");
    }
}
