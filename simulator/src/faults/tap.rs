//! A site's engine and store, listened to, perhaps with a bug around them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use co_core::{Gtid, Priority, Stamp, Statistics};
use participant::engine::Stored;
use participant::storage::{Batch, Cell, Mark, SimStorage, Storage, StorageError, Visit};
use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Key, KeyRange, OnBallot,
    Operation, OperationError, Participant, Prepared, Recorder, Reply, TxnName, Value,
};

use super::bug::Bug;
use super::history::Stamps;

/// An engine that is listened to, perhaps with a bug around it.
pub(crate) struct Tap {
    pub(crate) engine: Arc<dyn Participant>,
    /// The stamps of its votes.
    pub(crate) stamps: Stamps,
    /// Transactions that the bug ends after their votes.
    pub(crate) ends_early: Arc<Mutex<Vec<(TxnName, Stamp)>>>,
    pub(crate) bug: Option<Bug>,
    pub(crate) amnesia: Amnesia,
}

/// What is stored, and, while the site opens, not a word of how much that is. For the bug alone.
pub(crate) struct Amnesia {
    engine: Arc<dyn Participant>,
    opening: AtomicBool,
}

impl Amnesia {
    pub(crate) fn of(engine: &Arc<dyn Participant>) -> Self {
        Self {
            engine: Arc::clone(engine),
            opening: AtomicBool::new(true),
        }
    }
}

impl Stored for Amnesia {
    fn newest(&self) -> u64 {
        if self.opening.load(Ordering::Relaxed) {
            return 0;
        }
        self.engine.stored().newest()
    }

    fn settle(&self, through: u64) {
        self.engine.stored().settle(through);
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        self.engine.stored().storage()
    }

    fn persist(&self) -> Result<Mark, StorageError> {
        self.engine.stored().persist()
    }

    fn failure(&self) -> Option<StorageError> {
        self.engine.stored().failure()
    }
}

/// A store that says that it has made all durable, and has not. For the bug alone.
#[derive(Debug)]
pub(crate) struct NeverPersists(pub(crate) SimStorage);

impl Storage for NeverPersists {
    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn mark(&self) -> Mark {
        self.0.mark()
    }

    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        self.0.get(key)
    }

    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        self.0.scan(range, visit)
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        self.0.apply(batch)
    }

    fn persist(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl Tap {
    /// The site is open.
    pub(crate) fn opened(&self) {
        self.amnesia.opening.store(false, Ordering::Relaxed);
    }

    /// Listens to a vote on its way to the site.
    fn listen(&self, name: TxnName, on_ballot: OnBallot) -> OnBallot {
        let stamps = Arc::clone(&self.stamps);
        let forgets = self.bug == Some(Bug::ReadOnlyForgotten);
        let hides = self.bug == Some(Bug::DependenciesHidden);
        let ends_early = forgets.then(|| Arc::clone(&self.ends_early));
        Box::new(move |ballot| {
            let (stamp, read_only) = match &ballot {
                Ballot::Yes {
                    stamp, read_only, ..
                } => (*stamp, *read_only),
                Ballot::No(_) => return on_ballot(ballot),
            };
            let mut known = stamps.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(name, stamp);
            drop(known);
            if let (Some(ends_early), true, TxnName::Global(_)) = (ends_early, read_only, name) {
                let mut list = ends_early.lock().unwrap_or_else(PoisonError::into_inner);
                list.push((name, stamp));
            }
            if hides {
                let depends = Dependencies::default();
                return on_ballot(Ballot::Yes {
                    stamp,
                    read_only,
                    depends,
                });
            }
            on_ballot(ballot);
        })
    }
}

impl Participant for Tap {
    fn engine(&self) -> &'static str {
        self.engine.engine()
    }

    fn begin(&self, begin: Begin) -> Result<(), OperationError> {
        self.engine.begin(begin)
    }

    fn execute<'a>(
        &'a self,
        name: TxnName,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>> {
        self.engine.execute(name, operation)
    }

    fn prepare(&self, name: TxnName, on_ballot: OnBallot) {
        self.engine.prepare(name, self.listen(name, on_ballot));
    }

    fn prepare_dependent(&self, name: TxnName, on_ballot: OnBallot) {
        let on_ballot = self.listen(name, on_ballot);
        self.engine.prepare_dependent(name, on_ballot);
    }

    fn reads_undecided(&self) -> bool {
        self.engine.reads_undecided()
    }

    fn prepared(&self, name: TxnName) -> Option<Prepared> {
        self.engine.prepared(name)
    }

    fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError> {
        let own = || {
            let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
            stamps.get(&name).copied()
        };
        match (self.bug, decision) {
            (Some(Bug::StampOfOwnVote), Decision::Commit(stamp)) => {
                let stamp = own().unwrap_or(stamp);
                self.engine.decide(name, Decision::Commit(stamp))
            }
            (Some(Bug::StoreBeforeLog), Decision::Commit(_)) => {
                let decided = self.engine.decide(name, decision);
                self.engine.stored().settle(u64::MAX);
                decided
            }
            _ => self.engine.decide(name, decision),
        }
    }

    fn query<'a>(
        &'a self,
        stamp: Stamp,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>> {
        self.engine.query(stamp, range)
    }

    fn blocked(&self) -> Vec<Blocked> {
        self.engine.blocked()
    }

    fn recover(&self, gtid: Gtid, priority: Priority, stamp: Stamp, prepared: Prepared) {
        self.engine.recover(gtid, priority, stamp, prepared);
    }

    fn recover_dependent(
        &self,
        gtid: Gtid,
        priority: Priority,
        stamp: Stamp,
        prepared: Prepared,
        depends: &Dependencies,
    ) {
        self.engine
            .recover_dependent(gtid, priority, stamp, prepared, depends);
    }

    fn restore(&self, stamp: Stamp, changes: Vec<Change>) {
        self.engine.restore(stamp, changes);
    }

    fn stored(&self) -> &dyn Stored {
        if self.bug == Some(Bug::OrdinalIgnored) {
            return &self.amnesia;
        }
        self.engine.stored()
    }

    fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }

    fn recorder(&self) -> &Recorder {
        self.engine.recorder()
    }
}
