//! Multi-version: reads from a snapshot, queries as of any stamp (§2.6).
//!
//! A transaction reads what was committed when it first read. It precedes every undecided writer of what it
//! reads, and if one of those commits first, it is overtaken and aborted (conditions A and B). Writers of one
//! key take turns under locks that readers do not see; a writer votes after the readers of what it overwrites
//! are decided (conditions C and D). Blind writes need no first-committer-wins check; a read before the write
//! makes one. All of this is [`VersionOrder`], which also sees to it that readers who keep coming do not delay a
//! writer for ever: only then does a read wait. Here are the values, and the writers' locks.
//!
//! A query reads as of a stamp, without marks and without a vote ([`Queries`]). Stamps grow along every
//! precedence, so what was decided up to a stamp is a prefix of a serial order.
//!
//! The newest versions are in the storage. The older ones of the last [`Options::kept_commits`] commits are kept
//! in memory, and those that a snapshot or a running query needs; a query of an earlier stamp is refused and told
//! which stamps can be read. A restart forgets all but the newest.
//!
//! Invariants M1, M2, M6 and M7 are in `store`, C1 and C2 in `version`, and
//! - M3 A transaction's intents go (`retire`) before its locks do, so the next writer of a key finds its version
//!   or nothing.
//! - M4 Under commitment ordering, what a transaction that is not doomed has read is the newest committed
//!   version, whatever the snapshot: who installs a newer one had to wait for it.
//! - M5 A writer is among `voters` before it leaves an intent, until its intents are gone: a query that waits for
//!   a vote finds its stamp.

mod store;
#[cfg(test)]
mod tests;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use co_core::{
    Footprint, Grant, LockMode, LockPolicy, LockTable, Queries, Reading, Scheduler, Stamp, TooOld,
    Txn, TxnId, VersionOrder, VoteRule, WriteKind,
};

use crate::engine::backing::Stored;
use crate::engine::host::{Engine, Host, Options, SiteParts};
use crate::engine::number;
use crate::engine::workspace::{Pending, Workspace};
use crate::error::OperationError;
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Prepared, Value};
use crate::registry::{Entry, Handle};
use crate::storage::StorageError;
use crate::sync::Mutex;

use store::Store;

/// A site with the multi-version engine.
///
/// ```
/// use participant::Participant;
/// use participant::engine::{Mvcc, Options};
///
/// let site = Mvcc::new(Options::default());
/// assert_eq!(site.engine(), "mvcc");
/// ```
pub type Mvcc = Host<MultiVersion>;

impl Host<MultiVersion> {
    /// A site with an empty store. Without vote ordering it is serializable in the way of snapshots
    /// ([`VoteRule::LocalSnapshot`]).
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        if options.rule == VoteRule::LocalOnly {
            options.rule = VoteRule::LocalSnapshot;
        }
        let kept = options.kept_commits;
        Self::with_engine(options, |scheduler, site| {
            MultiVersion::new(scheduler, site, kept)
        })
    }
}

/// The multi-version engine.
#[derive(Debug)]
pub struct MultiVersion {
    scheduler: Scheduler,
    /// Write and increment locks only: which writer of a key is next.
    locks: LockTable<Key>,
    order: VersionOrder<Key>,
    store: Store,
    kept_commits: usize,
    queries: Queries,
    /// Undecided writers: their votes are stamped by the host, in the handle.
    voters: Mutex<BTreeMap<TxnId, Arc<Handle>>>,
    recording: bool,
}

type Work = Workspace<()>;

impl MultiVersion {
    fn new(scheduler: &Scheduler, site: &SiteParts, kept_commits: usize) -> Self {
        let queries = Queries::new();
        // Of what was overwritten before this start nothing is left.
        queries.forget_before(site.storage.mark().stamp);
        Self {
            scheduler: scheduler.clone(),
            locks: LockTable::new(scheduler.clone(), LockPolicy::Ss2pl),
            order: VersionOrder::new(scheduler.clone()),
            store: Store::new(Arc::clone(&site.storage)),
            kept_commits,
            queries,
            voters: Mutex::default(),
            recording: site.recorder.is_on(),
        }
    }

    /// Forgets versions that are not kept for queries.
    fn forget(&self) {
        let raise = |stamp| self.queries.forget_before(stamp);
        self.store
            .forget(self.kept_commits, self.order.horizon(), raise);
    }

    /// Enters a writer among those whose votes queries may wait for (M5).
    fn enter_voter(&self, handle: &Arc<Handle>) {
        let mut voters = self.voters.lock();
        let entry = voters.entry(handle.txn().id());
        entry.or_insert_with(|| Arc::clone(handle));
    }

    /// The stamp of a writer's YES, if it is known.
    fn vote_stamp(&self, txn: &Txn) -> Option<Stamp> {
        let voters = self.voters.lock();
        voters.get(&txn.id())?.vote_stamp()
    }
}

/// The lock for a change of a key to which the transaction did `before`.
fn mode_for(change: &Change, before: Option<&Pending>) -> LockMode {
    match (change, before) {
        (Change::Increment(..), None | Some(Pending::Increment(_))) => LockMode::Increment,
        (Change::Put(..) | Change::Delete(_) | Change::Increment(..), _) => LockMode::Write,
    }
}

/// What a change does to its key; that an increment of an own write is a write is known to the version order.
fn kind_of(change: &Change) -> WriteKind {
    match change {
        Change::Put(..) | Change::Delete(_) => WriteKind::Put,
        Change::Increment(..) => WriteKind::Increment,
    }
}

impl Engine for MultiVersion {
    type Private = ();

    fn name(&self) -> &'static str {
        "mvcc"
    }

    async fn get(&self, entry: &Entry<()>, key: &Key) -> Result<Option<Value>, OperationError> {
        loop {
            let turn = {
                let mut work = entry.active()?;
                if let Some(own) = work.own_value(key) {
                    return Ok(own);
                }
                let reading = self.order.read(entry.handle().txn(), key);
                match reading.map_err(OperationError::Aborted)? {
                    Reading::Now(snapshot) => {
                        let (version, value) = self.store.at(key, snapshot.position())?;
                        work.note_read(key, version);
                        return Ok(work.on_top(key, value.as_ref()));
                    }
                    Reading::After(turn) => turn,
                }
            };
            if let Grant::Aborted(reason) = turn.await {
                return Err(OperationError::Aborted(reason));
            }
        }
    }

    async fn scan(
        &self,
        entry: &Entry<()>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        loop {
            let turn = {
                let mut work = entry.active()?;
                let txn = entry.handle().txn();
                let reading = self.order.scan(txn, &range.low, range.high.as_ref());
                match reading.map_err(OperationError::Aborted)? {
                    Reading::Now(snapshot) => {
                        let rows = self.store.rows_at(range, snapshot.position())?;
                        work.note_scan(range, self.store.number(snapshot.position()), &rows);
                        return work.rows_on_top(range, rows);
                    }
                    Reading::After(turn) => turn,
                }
            };
            if let Grant::Aborted(reason) = turn.await {
                return Err(OperationError::Aborted(reason));
            }
        }
    }

    async fn change(&self, entry: &Entry<()>, change: Change) -> Result<(), OperationError> {
        let key = Arc::clone(change.key());
        let handle = entry.handle();
        let asked = {
            let work = entry.active()?;
            let mode = mode_for(&change, work.pending(&key));
            self.locks.acquire(handle.txn(), &key, mode)
        };
        if let Grant::Aborted(reason) = asked.await {
            return Err(OperationError::Aborted(reason));
        }
        let mut work = entry.active()?;
        if matches!(change, Change::Increment(..)) && work.own_value(&key).is_none() {
            number::check(self.store.newest_cell(&key)?.value.as_deref())?;
        }
        let kind = kind_of(&change);
        work.change(change)?;
        self.enter_voter(handle);
        let intended = self.order.intend(handle.txn(), &key, kind);
        intended.map_err(OperationError::Aborted)
    }

    fn apply(
        &self,
        handle: &Handle,
        work: &Work,
        stamp: Stamp,
    ) -> Result<Option<u64>, StorageError> {
        if work.is_read_only() {
            return Ok(None);
        }
        if let Some(failure) = self.store.failure() {
            return Err(failure);
        }
        let changes = work.changes();
        let installed = self.order.install(handle.txn(), |position| {
            self.store.install(position, stamp, &changes)
        });
        let Ok(installed) = installed else {
            unreachable!("P2: {:?} has voted", handle.name());
        };
        self.forget();
        installed.map(Some)
    }

    fn release(&self, handle: &Handle, _: &Work) {
        let txn = handle.txn();
        self.order.retire(txn);
        self.voters.lock().remove(&txn.id());
        self.locks.release(txn);
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        let txn = handle.txn();
        self.enter_voter(handle);
        let ranges = prepared.scans.iter();
        let writes = prepared.changes.iter();
        let footprint = Footprint {
            reads: prepared.reads.clone(),
            ranges: ranges
                .map(|range| (Arc::clone(&range.low), range.high.clone()))
                .collect(),
            writes: writes
                .map(|change| (Arc::clone(change.key()), kind_of(change)))
                .collect(),
        };
        self.order.reinstate(txn, footprint);
        for change in &prepared.changes {
            self.locks
                .reinstate(txn, change.key(), mode_for(change, None));
        }
        Workspace::recovered(prepared, self.recording, &self.store)
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        if let Some(failure) = self.store.failure() {
            return Err(failure);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let install = |position| self.store.install(position, stamp, changes);
        let restored = self.order.restore(install);
        self.forget();
        restored.map(Some)
    }

    fn stored(&self) -> &dyn Stored {
        &self.store
    }

    async fn query(
        &self,
        stamp: Stamp,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let query = self.queries.begin(&self.scheduler, stamp);
        let query = query.map_err(|TooOld { oldest }| OperationError::TooOld { oldest })?;
        let high = range.high.as_ref();
        let stamps = |txn: &Txn| self.vote_stamp(txn);
        query
            .settled_with(&self.order, &range.low, high, stamps)
            .await;
        let rows = self.store.rows_as_of(range, stamp)?;
        drop(query);
        if rows.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        Ok(rows)
    }

    fn progressed(&self) {
        self.queries.progressed();
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty()
            && self.order.is_empty()
            && self.queries.is_empty()
            && self.voters.lock().is_empty()
    }
}
