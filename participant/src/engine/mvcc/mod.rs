//! Multi-version: reads from a snapshot, queries as of any stamp (§2.6).
//!
//! A transaction reads what was committed when it first read. It never waits to read; it precedes every
//! undecided writer of what it reads, and if one of those commits first, it is overtaken and aborted
//! (conditions A and B, both by the scheduler). Writers of one key take turns under locks that
//! readers do not see; a writer votes after the readers of what it overwrites are decided (conditions C
//! and D). Blind writes need no first-committer-wins check; a read before the write makes one.
//!
//! A query reads as of a stamp, without marks and without a vote. Stamps grow along every precedence, so
//! what was decided up to a stamp is a prefix of a serial order.
//!
//! All versions are kept, so the store grows with every write: it is meant for runs that end.
//!
//! Invariants M1 to M3 are in `store`, C1 is in `version`, and
//! - M4 Under commitment ordering, what a transaction that is not doomed has read is the newest committed
//!   version, whatever the snapshot: who installs a newer one had to wait for it.

mod query;
mod store;
mod version;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use co_core::{Grant, LockMode, LockPolicy, LockTable, Scheduler, Stamp, VoteRule};

use crate::engine::host::{Engine, Host, Options};
use crate::engine::number;
use crate::engine::workspace::{Pending, Workspace};
use crate::error::OperationError;
use crate::history::Recorder;
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Prepared, Value};
use crate::registry::{Entry, Handle};
use crate::sync::Mutex;

use query::Waiters;
pub use store::Snapshot;
use store::Versions;

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
        Self::with_engine(options, MultiVersion::new)
    }
}

/// The multi-version engine.
#[derive(Debug)]
pub struct MultiVersion {
    /// Write and increment locks only: which writer of a key is next.
    locks: LockTable<Key>,
    versions: Mutex<Versions>,
    waiters: Waiters,
    recording: bool,
}

/// What a transaction sees; taken when it first reads.
type MaybeSnapshot = Option<Snapshot>;
type Work = Workspace<MaybeSnapshot>;

impl MultiVersion {
    fn new(scheduler: &Scheduler, recorder: &Recorder) -> Self {
        Self {
            locks: LockTable::new(scheduler.clone(), LockPolicy::Ss2pl),
            versions: Mutex::new(Versions::new(scheduler.clone())),
            waiters: Waiters::default(),
            recording: recorder.is_on(),
        }
    }
}

/// The lock for a change of a key to which the transaction did `before`.
fn mode_for(change: &Change, before: Option<&Pending>) -> LockMode {
    match (change, before) {
        (Change::Increment(..), None | Some(Pending::Increment(_))) => LockMode::Increment,
        (Change::Put(..) | Change::Delete(_) | Change::Increment(..), _) => LockMode::Write,
    }
}

impl Engine for MultiVersion {
    type Private = MaybeSnapshot;

    fn name(&self) -> &'static str {
        "mvcc"
    }

    async fn get(
        &self,
        entry: &Entry<MaybeSnapshot>,
        key: &Key,
    ) -> Result<Option<Value>, OperationError> {
        let mut work = entry.active()?;
        if let Some(own) = work.own_value(key) {
            return Ok(own);
        }
        let mut versions = self.versions.lock();
        let snapshot = *work.private.get_or_insert_with(|| versions.snapshot());
        let read = versions.read(entry.handle().txn(), snapshot, key);
        drop(versions);
        let (version, value) = read.map_err(OperationError::Aborted)?;
        work.note_read(key, version);
        Ok(work.on_top(key, value.as_ref()))
    }

    async fn scan(
        &self,
        entry: &Entry<MaybeSnapshot>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let mut work = entry.active()?;
        let mut versions = self.versions.lock();
        let snapshot = *work.private.get_or_insert_with(|| versions.snapshot());
        let read = versions.scan(entry.handle().txn(), snapshot, range);
        drop(versions);
        let rows = read.map_err(OperationError::Aborted)?;
        work.note_scan(range, snapshot.position, &rows);
        work.rows_on_top(range, rows)
    }

    async fn change(
        &self,
        entry: &Entry<MaybeSnapshot>,
        change: Change,
    ) -> Result<(), OperationError> {
        let key = Arc::clone(change.key());
        let asked = {
            let work = entry.active()?;
            let mode = mode_for(&change, work.pending(&key));
            self.locks.acquire(entry.handle().txn(), &key, mode)
        };
        if let Grant::Aborted(reason) = asked.await {
            return Err(OperationError::Aborted(reason));
        }
        let mut work = entry.active()?;
        let mut versions = self.versions.lock();
        if matches!(change, Change::Increment(..)) && work.own_value(&key).is_none() {
            number::check(versions.newest_value(&key).map(|value| &**value))?;
        }
        work.change(change.clone())?;
        versions.intend(entry.handle(), work.private, &change);
        drop(versions);
        if let Some(reason) = entry.handle().txn().doomed() {
            return Err(OperationError::Aborted(reason));
        }
        Ok(())
    }

    fn apply(&self, handle: &Handle, work: &Work, stamp: Stamp) -> Option<u64> {
        let mut versions = self.versions.lock();
        versions.install(Some(handle.txn()), stamp, &work.changes())
    }

    fn undo(&self, handle: &Handle, work: &Work) {
        let keys = work.writes().map(|(key, _)| key);
        self.versions.lock().withdraw(handle.txn(), keys);
    }

    fn release(&self, handle: &Handle, work: &Work) {
        let txn = handle.txn();
        let keys = work.reads().map(|(key, _)| key);
        self.versions.lock().unmark(txn, work.private, keys);
        self.locks.release(txn);
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        let txn = handle.txn();
        let mut versions = self.versions.lock();
        for key in &prepared.reads {
            versions.mark_read(txn, key);
        }
        for range in &prepared.scans {
            versions.mark_scanned(txn, range);
        }
        for change in &prepared.changes {
            self.locks
                .reinstate(txn, change.key(), mode_for(change, None));
            versions.reinstate(handle, change.key());
        }
        Workspace::recovered(prepared, self.recording, &*versions)
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Option<u64> {
        self.versions.lock().install(None, stamp, changes)
    }

    async fn query(
        &self,
        stamp: Stamp,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let rows = poll_fn(|context| {
            self.waiters.register(context.waker());
            let versions = self.versions.lock();
            if versions.may_change(range, stamp) {
                Poll::Pending
            } else {
                Poll::Ready(versions.rows_as_of(range, stamp))
            }
        })
        .await;
        if rows.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        Ok(rows)
    }

    fn progressed(&self) {
        self.waiters.wake_all();
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty() && self.versions.lock().is_unmarked()
    }
}
