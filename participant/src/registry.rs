//! The transactions of a site: by name, and by their number in the scheduler's graph.
//!
//! An entry passes through the phases
//!
//! ```text
//! Active → Preparing → Voted → Ending(commit) → Ended(commit)
//!    └─────────┴─────────┴───→ Ending(abort)  → Ended(abort)
//! ```
//!
//! | field      | who touches it                                   | holding                     |
//! |------------|--------------------------------------------------|-----------------------------|
//! | `phase`    | everybody                                        | the entry's mutex           |
//! | `work`     | the transaction's operation; who ends it         | the entry's mutex, or after claiming it |
//! | `vote`     | written once by the vote's callback, read by all | nothing                     |
//! | `told`     | set once when the YES has been answered          | nothing                     |
//! | `version`  | set once when the changes are visible            | nothing                     |
//!
//! Lock order: an entry's mutex comes before every lock of an engine, and no two entries' mutexes are held
//! together. No entry's mutex is held across [`Scheduler::decided`](co_core::Scheduler::decided) or a
//! request for a vote, because callbacks for other transactions run there.
//!
//! Invariants:
//! - R1 Exactly one caller moves an entry to Ending; it alone owns the workspace from then on.
//! - R2 A transaction asks for locks and leaves marks under its entry's mutex while it is Active, so
//!   nothing is left behind when it is undone by another thread.
//! - R3 A transaction that the site aborted stays by name, with its reason, until its client or
//!   coordinator has decided it; it does not count as live.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use co_core::{AbortReason, Stamp, Txn, TxnId};

use crate::engine::Workspace;
use crate::error::OperationError;
use crate::participant::{Change, Dependencies, OnBallot, TxnName};
use crate::sync::{Condvar, Mutex};

/// What everybody may know about a transaction.
#[derive(Debug)]
pub struct Handle {
    name: TxnName,
    txn: Txn,
    /// The stamp of the YES, zero before it.
    vote: AtomicU64,
    /// Whether whoever asked has got the YES.
    told: AtomicBool,
    /// The version of its changes, zero before they are visible.
    version: AtomicU64,
}

impl Handle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> TxnName {
        self.name
    }

    /// The transaction in the scheduler's graph.
    #[must_use]
    pub fn txn(&self) -> &Txn {
        &self.txn
    }

    /// The stamp of its YES, once it is known.
    #[must_use]
    pub fn vote_stamp(&self) -> Option<Stamp> {
        match self.vote.load(Ordering::Acquire) {
            0 => None,
            stamp => Some(Stamp(stamp)),
        }
    }

    /// Whether its YES has been given to whoever asked for it: others may name it from now on (P6).
    pub(crate) fn has_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    pub(crate) fn set_told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// The version of its changes, once they are visible.
    pub(crate) fn version(&self) -> Option<u64> {
        match self.version.load(Ordering::Acquire) {
            0 => None,
            version => Some(version),
        }
    }

    pub(crate) fn set_version(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    pub(crate) fn set_vote_stamp(&self, stamp: Stamp) {
        self.vote.store(stamp.0, Ordering::Release);
    }
}

/// How a transaction ended here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Committed,
    Aborted(AbortReason),
}

pub(crate) enum Phase {
    Active,
    Preparing(Vec<OnBallot>),
    Voted(Stamp),
    Ending(Fate),
    Ended(Fate),
}

pub(crate) struct Inner<P> {
    pub(crate) phase: Phase,
    pub(crate) work: Workspace<P>,
    /// Whether all who asked for the vote take one that depends on others.
    pub(crate) dependent: bool,
    /// What the YES depends on.
    pub(crate) depends: Dependencies,
}

/// One transaction at a site, with its workspace.
pub struct Entry<P> {
    handle: Arc<Handle>,
    inner: Mutex<Inner<P>>,
    ended: Condvar,
}

/// What the one who ends a transaction gets.
pub(crate) struct Claim<P> {
    pub(crate) work: Workspace<P>,
    pub(crate) ballots: Vec<OnBallot>,
    pub(crate) reason: AbortReason,
}

impl<P: Default> Entry<P> {
    pub(crate) fn new(name: TxnName, txn: Txn, recording: bool) -> Self {
        Self::with(name, txn, Phase::Active, Workspace::new(recording))
    }

    /// A transaction in doubt; its workspace is the engine's to restore.
    pub(crate) fn recovered(name: TxnName, txn: Txn, stamp: Stamp) -> Self {
        let entry = Self::with(name, txn, Phase::Voted(stamp), Workspace::default());
        entry.handle.set_vote_stamp(stamp);
        entry.handle.set_told();
        entry
    }

    fn with(name: TxnName, txn: Txn, phase: Phase, work: Workspace<P>) -> Self {
        let handle = Handle {
            name,
            txn,
            vote: AtomicU64::new(0),
            told: AtomicBool::new(false),
            version: AtomicU64::new(0),
        };
        Self {
            handle: Arc::new(handle),
            inner: Mutex::new(Inner {
                phase,
                work,
                dependent: false,
                depends: Dependencies::default(),
            }),
            ended: Condvar::default(),
        }
    }

    /// What everybody may know about the transaction.
    #[must_use]
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The workspace, while the transaction works. Hold the guard while locks are asked for and marks are
    /// left (R2), never while waiting.
    ///
    /// # Errors
    /// [`OperationError::Aborted`] if it is doomed, [`OperationError::AlreadyEnded`] if it was prepared.
    pub fn active(&self) -> Result<Active<'_, P>, OperationError> {
        let inner = self.inner.lock();
        match &inner.phase {
            Phase::Active => match self.handle.txn.doomed() {
                None => Ok(Active(inner)),
                Some(reason) => Err(OperationError::Aborted(reason)),
            },
            Phase::Ending(Fate::Aborted(reason)) | Phase::Ended(Fate::Aborted(reason)) => {
                Err(OperationError::Aborted(*reason))
            }
            Phase::Preparing(_) => match self.handle.txn.doomed() {
                None => Err(OperationError::AlreadyEnded),
                Some(reason) => Err(OperationError::Aborted(reason)),
            },
            Phase::Voted(_) | Phase::Ending(Fate::Committed) | Phase::Ended(Fate::Committed) => {
                Err(OperationError::AlreadyEnded)
            }
        }
    }

    /// The changes of a transaction whose vote is asked for; `None` if it ends, or was asked before.
    #[must_use]
    pub fn changes(&self) -> Option<Vec<Change>> {
        let inner = self.inner.lock();
        let preparing = matches!(inner.phase, Phase::Preparing(_));
        preparing.then(|| inner.work.changes())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner<P>> {
        self.inner.lock()
    }

    /// Takes the transaction over to abort it; `None` if somebody else ends it already.
    pub(crate) fn claim_abort(&self) -> Option<Claim<P>> {
        let mut inner = self.inner.lock();
        if matches!(inner.phase, Phase::Ending(_) | Phase::Ended(_)) {
            return None;
        }
        let reason = self.handle.txn.doomed().unwrap_or(AbortReason::Requested);
        let voted = matches!(inner.phase, Phase::Voted(_));
        assert!(
            !voted || matches!(reason, AbortReason::Requested | AbortReason::Cascade),
            "P6: {:?} has voted, and is doomed: {reason:?}",
            self.handle.name
        );
        let phase = std::mem::replace(&mut inner.phase, Phase::Ending(Fate::Aborted(reason)));
        let ballots = match phase {
            Phase::Preparing(ballots) => ballots,
            Phase::Active | Phase::Voted(_) | Phase::Ending(_) | Phase::Ended(_) => Vec::new(),
        };
        Some(Claim {
            work: std::mem::take(&mut inner.work),
            ballots,
            reason,
        })
    }

    /// Takes the transaction over to commit it; `None` if it has committed, or is being committed.
    pub(crate) fn claim_commit(&self) -> Result<Option<Workspace<P>>, OperationError> {
        let mut inner = self.inner.lock();
        match inner.phase {
            Phase::Voted(_) => {
                inner.phase = Phase::Ending(Fate::Committed);
                Ok(Some(std::mem::take(&mut inner.work)))
            }
            Phase::Ending(Fate::Committed) | Phase::Ended(Fate::Committed) => Ok(None),
            Phase::Active
            | Phase::Preparing(_)
            | Phase::Ending(Fate::Aborted(_))
            | Phase::Ended(Fate::Aborted(_)) => Err(OperationError::NotVoted),
        }
    }

    /// The claimed transaction has ended.
    pub(crate) fn finish(&self) {
        let mut inner = self.inner.lock();
        let Phase::Ending(fate) = inner.phase else {
            unreachable!("R1: only who claimed the transaction ends it");
        };
        inner.phase = Phase::Ended(fate);
        drop(inner);
        self.ended.notify_all();
    }

    /// Waits for whoever claimed the transaction: a matter of a few steps of another thread, which itself
    /// waits for nobody.
    pub(crate) fn wait_ended(&self) -> Fate {
        let mut inner = self.inner.lock();
        loop {
            match inner.phase {
                Phase::Ended(fate) => return fate,
                Phase::Active | Phase::Preparing(_) | Phase::Voted(_) | Phase::Ending(_) => {
                    inner = self.ended.wait(inner);
                }
            }
        }
    }
}

impl<P> fmt::Debug for Entry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// The workspace of a transaction that works, locked.
pub struct Active<'a, P>(MutexGuard<'a, Inner<P>>);

impl<P> Deref for Active<'_, P> {
    type Target = Workspace<P>;

    fn deref(&self) -> &Workspace<P> {
        &self.0.work
    }
}

impl<P> DerefMut for Active<'_, P> {
    fn deref_mut(&mut self) -> &mut Workspace<P> {
        &mut self.0.work
    }
}

impl<P> fmt::Debug for Active<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Active(..)")
    }
}

/// All transactions of a site.
pub(crate) struct Registry<P> {
    tables: Mutex<Tables<P>>,
}

struct Tables<P> {
    by_name: BTreeMap<TxnName, Arc<Entry<P>>>,
    live: BTreeMap<TxnId, Arc<Entry<P>>>,
}

impl<P: Default> Registry<P> {
    pub(crate) fn new() -> Self {
        let tables = Tables {
            by_name: BTreeMap::new(),
            live: BTreeMap::new(),
        };
        Self {
            tables: Mutex::new(tables),
        }
    }

    /// Enters a transaction, made by `make` if its name is free.
    pub(crate) fn enter(
        &self,
        name: TxnName,
        make: impl FnOnce() -> Entry<P>,
    ) -> Result<(), OperationError> {
        let mut tables = self.tables.lock();
        if tables.by_name.contains_key(&name) {
            return Err(OperationError::DuplicateBegin);
        }
        let entry = Arc::new(make());
        tables.by_name.insert(name, Arc::clone(&entry));
        tables.live.insert(entry.handle.txn.id(), entry);
        Ok(())
    }

    pub(crate) fn get(&self, name: TxnName) -> Option<Arc<Entry<P>>> {
        self.tables.lock().by_name.get(&name).cloned()
    }

    pub(crate) fn by_txn(&self, txn: TxnId) -> Option<Arc<Entry<P>>> {
        self.tables.lock().live.get(&txn).cloned()
    }

    /// The transaction holds nothing any more; its name stays (R3).
    pub(crate) fn bury(&self, txn: TxnId) {
        self.tables.lock().live.remove(&txn);
    }

    /// The transaction is decided: its name may be forgotten.
    pub(crate) fn forget(&self, name: TxnName) {
        self.tables.lock().by_name.remove(&name);
    }

    pub(crate) fn live(&self) -> Vec<Arc<Handle>> {
        let tables = self.tables.lock();
        let entries = tables.live.values();
        entries.map(|entry| Arc::clone(&entry.handle)).collect()
    }

    pub(crate) fn live_count(&self) -> usize {
        self.tables.lock().live.len()
    }
}
