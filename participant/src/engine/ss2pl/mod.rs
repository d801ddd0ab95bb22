//! Locks held until the decision: strong strict two-phase locking, and strict commitment ordering.
//!
//! The two are one engine with another lock matrix ([`LockPolicy`]; §2.3). Changes are private until they
//! are applied at commit, under write or increment locks, so a re-read sees the before-image: also that of
//! a reader which a writer has overtaken under strict commitment ordering.
//!
//! Invariants:
//! - P1 A value is read under a read lock on its key or on a range around it.
//! - P2 A key that was read is not asked for again: the lock is held, and asking could put the reader
//!   behind a writer that itself waits for the reader.
//! - P3 The committed value of a key cannot change between the operation that locked it for an increment
//!   and the decision, except by other increments: so it stays a number.
//!
//! What is deliberately not here: any rule about order. Who waits for whom is the lock table's business,
//! who votes when is the scheduler's.

mod lock;

use std::sync::Arc;

use co_core::{LockMode, LockPolicy, LockTable, Scheduler, Stamp};

use crate::engine::backing::Stored;
use crate::engine::host::{Engine, Host, Options, SiteParts};
use crate::engine::number;
use crate::engine::store::Store;
use crate::engine::workspace::Workspace;
use crate::error::OperationError;
use crate::participant::{Change, Key, KeyRange, Prepared, Value};
use crate::registry::{Entry, Handle};
use crate::storage::StorageError;

/// A site with the locking engine.
///
/// ```
/// use participant::Participant;
/// use participant::engine::{Options, Ss2pl};
///
/// assert_eq!(Ss2pl::new(Options::default()).engine(), "ss2pl");
/// assert_eq!(Ss2pl::strict_commit_order(Options::default()).engine(), "sco");
/// ```
pub type Ss2pl = Host<Locking>;

impl Host<Locking> {
    /// A site with an empty store, under strong strict two-phase locking.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_engine(options, |scheduler, site| {
            Locking::new("ss2pl", scheduler, LockPolicy::Ss2pl, site)
        })
    }

    /// A site with an empty store, under strict commitment ordering.
    #[must_use]
    pub fn strict_commit_order(options: Options) -> Self {
        Self::with_engine(options, |scheduler, site| {
            Locking::new("sco", scheduler, LockPolicy::Sco, site)
        })
    }
}

/// The locking engine.
#[derive(Debug)]
pub struct Locking {
    name: &'static str,
    locks: LockTable<Key>,
    store: Store,
    recording: bool,
}

type Work = Workspace<()>;

impl Locking {
    fn new(
        name: &'static str,
        scheduler: &Scheduler,
        policy: LockPolicy,
        site: &SiteParts,
    ) -> Self {
        Self {
            name,
            locks: LockTable::new(scheduler.clone(), policy),
            store: Store::new(Arc::clone(&site.storage)),
            recording: site.recorder.is_on(),
        }
    }
}

impl Engine for Locking {
    type Private = ();

    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, entry: &Entry<()>, key: &Key) -> Result<Option<Value>, OperationError> {
        let asked = {
            let work = entry.active()?;
            if let Some(own) = work.own_value(key) {
                return Ok(own);
            }
            if work.covers(key) {
                None
            } else {
                let txn = entry.handle().txn();
                Some(self.locks.acquire(txn, key, LockMode::Read))
            }
        };
        if let Some(asked) = asked {
            lock::granted(asked).await?;
        }
        let mut work = entry.active()?;
        let cell = self.store.get(key)?;
        work.note_read(key, cell.version);
        Ok(work.on_top(key, cell.value.as_ref()))
    }

    async fn scan(
        &self,
        entry: &Entry<()>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let asked = {
            let work = entry.active()?;
            if work.covers_range(range) {
                None
            } else {
                let (txn, high) = (entry.handle().txn(), range.high.as_ref());
                Some(self.locks.acquire_range(txn, &range.low, high))
            }
        };
        if let Some(asked) = asked {
            lock::granted(asked).await?;
        }
        let mut work = entry.active()?;
        let (position, rows) = self.store.scan(range)?;
        work.note_scan(range, position, &rows);
        work.rows_on_top(range, rows)
    }

    async fn change(&self, entry: &Entry<()>, change: Change) -> Result<(), OperationError> {
        let key = change.key();
        let asked = {
            let work = entry.active()?;
            let mode = lock::mode_for(&change, work.pending(key));
            self.locks.acquire(entry.handle().txn(), key, mode)
        };
        lock::granted(asked).await?;
        let mut work = entry.active()?;
        if matches!(change, Change::Increment(..)) && work.own_value(key).is_none() {
            number::check(self.store.get(key)?.value.as_deref())?;
        }
        work.change(change)
    }

    fn apply(&self, _: &Handle, work: &Work, stamp: Stamp) -> Result<Option<u64>, StorageError> {
        self.store.install(stamp, &work.changes())
    }

    fn release(&self, handle: &Handle, _: &Work) {
        self.locks.release(handle.txn());
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        let txn = handle.txn();
        for key in &prepared.reads {
            self.locks.reinstate(txn, key, LockMode::Read);
        }
        for range in &prepared.scans {
            self.locks
                .reinstate_range(txn, &range.low, range.high.as_ref());
        }
        for change in &prepared.changes {
            let mode = lock::mode_for(change, None);
            self.locks.reinstate(txn, change.key(), mode);
        }
        Workspace::recovered(prepared, self.recording, &self.store)
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        self.store.install(stamp, changes)
    }

    fn stored(&self) -> &dyn Stored {
        &self.store
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty()
    }
}
