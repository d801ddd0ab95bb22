//! Locks with ordered sharing (§2.4): nobody waits for a lock, reads see what predecessors have not committed yet,
//! and votes come in the order of the requests, or name whom they depend on.
//!
//! Undecided changes lie in `layers` on top of the committed data, and in the workspaces of their transactions. A
//! read sees the newest layers of those before it; an abort takes its layer out, and everybody who saw it falls with
//! it (co-core dooms them); a commit installs its own.
//!
//! Invariants:
//! - O1 A request and its access are one step under the engine's latch, if the request is granted at once. One that
//!   had to wait is alone with the key until it tells the lock table that the access is made.
//! - O2 What a transaction has read of a key it reads again: from its own memory, because others may have changed
//!   the key after it.
//! - O3 What is added to is a number: an increment on top of an undecided write reads that write first, and so
//!   falls with it.
//! - O5 What the transaction has replaced itself it does not read: neither in a range, nor in the record of one.
//! - O4 A commit becomes visible under the latch, in one step with the end of its layers.
//!
//! What is deliberately not here: any rule about order, as in [`ss2pl`](crate::engine::ss2pl). The latch is one for
//! all keys: an operation holds it for a few look-ups, and never while it waits.

mod layers;
mod lock;

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use co_core::{AbortReason, LockMode, LockPolicy, LockTable, Scheduler, Stamp};

use self::layers::{Layers, Visible};
use crate::engine::backing::Stored;
use crate::engine::host::{Engine, Host, Options, SiteParts};
use crate::engine::number;
use crate::engine::store::Store;
use crate::engine::workspace::{Committed, Row, Seen, Workspace};
use crate::error::OperationError;
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Prepared, Value};
use crate::registry::{Entry, Handle};
use crate::storage::StorageError;
use crate::sync::Mutex;

/// A site with the engine of ordered sharing.
///
/// ```
/// use participant::Participant;
/// use participant::engine::{Options, Shared};
///
/// let site = Shared::new(Options::default());
/// assert_eq!(site.engine(), "shared");
/// assert!(site.reads_undecided());
/// ```
pub type Shared = Host<Sharing>;

/// How many transactions fall together at most, each of which has read from the one before.
const LONGEST_CHAIN: u8 = 64;

impl Host<Sharing> {
    /// A site with what its storage holds, under ordered sharing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_engine(options, Sharing::new)
    }
}

/// The engine of ordered sharing.
#[derive(Debug)]
pub struct Sharing {
    locks: LockTable<Key>,
    store: Store,
    /// The latch (O1).
    layers: Mutex<Layers>,
    recording: bool,
}

/// What a transaction has read, without its own changes (O2). A key that is not there, in a range that it has
/// scanned, was absent.
#[derive(Debug, Default)]
pub struct Read(BTreeMap<Key, Option<Value>>);

type Work = Workspace<Read>;

impl Sharing {
    fn new(scheduler: &Scheduler, site: &SiteParts) -> Self {
        let policy = LockPolicy::OrderedSharing {
            longest_chain: LONGEST_CHAIN,
        };
        Self {
            locks: LockTable::new(scheduler.clone(), policy),
            store: Store::new(Arc::clone(&site.storage)),
            layers: Mutex::default(),
            recording: site.recorder.is_on(),
        }
    }

    /// Reads a key on which a read lock is held.
    fn see(
        &self,
        work: &mut Work,
        layers: &Layers,
        key: &Key,
        reader: &Handle,
    ) -> Result<Option<Value>, OperationError> {
        let visible = layers.visible(key, self.store.get(key)?, reader);
        work.note_read(key, visible.version);
        let writers = visible.writers.into_iter();
        work.note_undecided(writers.map(|writer| Seen { row: None, writer }));
        let value = work.on_top(key, visible.value.as_ref());
        work.private.0.insert(Arc::clone(key), visible.value);
        Ok(value)
    }

    /// Reads a range on which a read lock is held.
    fn see_range(
        &self,
        work: &mut Work,
        layers: &Layers,
        range: &KeyRange,
        reader: &Handle,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let (position, committed) = self.store.scan(range)?;
        if committed.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        let version = |key: &Key| self.store.version(key);
        let found = layers.range(range, committed, version, reader);
        if found.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        work.cover_range(range, position);
        for part in work.not_replaced(range) {
            note_part(work, &part, position, &found);
        }
        for (key, visible) in found {
            work.private.0.entry(key).or_insert(visible.value);
        }
        remembered_rows(work, range)
    }

    /// Makes a change for which the lock is held.
    fn lay(
        &self,
        work: &mut Work,
        mut layers: MutexGuard<'_, Layers>,
        change: Change,
        owner: &Arc<Handle>,
    ) -> Result<(), OperationError> {
        let key = Arc::clone(change.key());
        if matches!(change, Change::Increment(..)) && work.own_value(&key).is_none() {
            match remembered(work, &key) {
                Some(read) => number::check(read.as_deref())?,
                None => number::check(self.store.get(&key)?.value.as_deref())?,
            }
        }
        work.change(change)?;
        let pending = work.pending(&key).cloned();
        layers.lay(&key, owner, pending.expect("it was just changed"));
        Ok(())
    }
}

/// Records what was found in a part of a range.
fn note_part(work: &mut Work, part: &KeyRange, position: u64, found: &BTreeMap<Key, Visible>) {
    let (mut rows, mut seen) = (Vec::new(), Vec::new());
    for (key, visible) in found.range(part.bounds()) {
        let row = visible.value.is_some().then_some(rows.len());
        let value = visible.value.iter();
        rows.extend(value.map(|value| (Arc::clone(key), visible.version, Arc::clone(value))));
        let writers = visible.writers.iter().map(Arc::clone);
        seen.extend(writers.map(|writer| Seen { row, writer }));
    }
    work.record_scan(part, position, &rows);
    work.note_undecided(seen);
}

/// What the transaction has read of a key (O2); `None` if it has not.
fn remembered(work: &Work, key: &Key) -> Option<Option<Value>> {
    let read = work.private.0.get(key).cloned();
    read.or_else(|| work.covers(key).then_some(None))
}

/// What the transaction has read of a range that it has scanned, with its own changes on top.
fn remembered_rows(work: &Work, range: &KeyRange) -> Result<Vec<(Key, Value)>, OperationError> {
    let read = work.private.0.range(range.bounds());
    let present = read.filter_map(|(key, value)| Some((Arc::clone(key), 0, value.clone()?)));
    let rows: Vec<Row> = present.collect();
    work.rows_on_top(range, rows)
}

/// Whether an increment has to read first what it adds to (O3).
fn adds_to_undecided(work: &Work, layers: &Layers, change: &Change, owner: &Handle) -> bool {
    let key = change.key();
    matches!(change, Change::Increment(..))
        && work.own_value(key).is_none()
        && !work.covers(key)
        && layers.is_replaced(key, owner)
}

impl Engine for Sharing {
    type Private = Read;

    fn name(&self) -> &'static str {
        "shared"
    }

    fn reads_undecided(&self) -> bool {
        true
    }

    async fn get(&self, entry: &Entry<Read>, key: &Key) -> Result<Option<Value>, OperationError> {
        let reader = entry.handle();
        let asked = {
            let mut work = entry.active()?;
            if let Some(own) = work.own_value(key) {
                return Ok(own);
            }
            if let Some(read) = remembered(&work, key) {
                return Ok(work.on_top(key, read.as_ref()));
            }
            let layers = self.layers.lock();
            let asked = self.locks.acquire(reader.txn(), key, LockMode::Read);
            match lock::at_once(asked)? {
                None => return self.see(&mut work, &layers, key, reader),
                Some(asked) => asked,
            }
        };
        lock::granted(asked).await?;
        let seen = {
            let mut work = entry.active()?;
            let layers = self.layers.lock();
            self.see(&mut work, &layers, key, reader)
        };
        self.locks.accessed(reader.txn());
        seen
    }

    async fn scan(
        &self,
        entry: &Entry<Read>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let reader = entry.handle();
        let asked = {
            let mut work = entry.active()?;
            if work.covers_range(range) {
                return remembered_rows(&work, range);
            }
            let layers = self.layers.lock();
            let (low, high) = (&range.low, range.high.as_ref());
            let asked = self.locks.acquire_range(reader.txn(), low, high);
            match lock::at_once(asked)? {
                None => return self.see_range(&mut work, &layers, range, reader),
                Some(asked) => asked,
            }
        };
        lock::granted(asked).await?;
        let seen = {
            let mut work = entry.active()?;
            let layers = self.layers.lock();
            self.see_range(&mut work, &layers, range, reader)
        };
        self.locks.accessed(reader.txn());
        seen
    }

    async fn change(&self, entry: &Entry<Read>, change: Change) -> Result<(), OperationError> {
        let (owner, key) = (entry.handle(), change.key());
        loop {
            let asked = {
                let mut work = entry.active()?;
                let layers = self.layers.lock();
                if adds_to_undecided(&work, &layers, &change, owner) {
                    None
                } else {
                    let mode = lock::mode_for(&change, work.pending(key));
                    let asked = self.locks.acquire(owner.txn(), key, mode);
                    match lock::at_once(asked)? {
                        None => return self.lay(&mut work, layers, change, owner),
                        asked @ Some(_) => asked,
                    }
                }
            };
            match asked {
                None => drop(self.get(entry, key).await?),
                Some(asked) => {
                    lock::granted(asked).await?;
                    let laid = {
                        let mut work = entry.active()?;
                        let layers = self.layers.lock();
                        if adds_to_undecided(&work, &layers, &change, owner) {
                            // To ask for the read now would say that the increment is made (O1).
                            return Err(OperationError::Aborted(AbortReason::Conflict));
                        }
                        self.lay(&mut work, layers, change, owner)
                    };
                    self.locks.accessed(owner.txn());
                    return laid;
                }
            }
        }
    }

    fn apply(
        &self,
        handle: &Handle,
        work: &Work,
        stamp: Stamp,
    ) -> Result<Option<u64>, StorageError> {
        let mut layers = self.layers.lock();
        let version = self.store.install(stamp, &work.changes())?;
        if let Some(version) = version {
            handle.set_version(version);
        }
        for (key, _) in work.writes() {
            layers.take(key, handle);
        }
        Ok(version)
    }

    fn undo(&self, handle: &Handle, work: &Work) {
        let mut layers = self.layers.lock();
        for (key, _) in work.writes() {
            layers.take(key, handle);
        }
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
            let (low, high) = (&range.low, range.high.as_ref());
            self.locks.reinstate_range(txn, low, high);
        }
        for change in &prepared.changes {
            let mode = lock::mode_for(change, None);
            self.locks.reinstate(txn, change.key(), mode);
        }
        let mut work = Work::new(self.recording);
        let mut layers = self.layers.lock();
        // What cannot be read is kept as a failure, and the site does not open.
        for key in &prepared.reads {
            drop(self.see(&mut work, &layers, key, handle));
        }
        let mut changed = Vec::with_capacity(prepared.changes.len());
        for change in prepared.changes {
            changed.push(Arc::clone(change.key()));
            let done = work.change(change);
            assert!(done.is_ok(), "a log record holds one change of each key");
        }
        for range in &prepared.scans {
            drop(self.see_range(&mut work, &layers, range, handle));
        }
        for key in changed {
            if let Some(pending) = work.pending(&key) {
                layers.lay(&key, handle, pending.clone());
            }
        }
        work
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        self.store.install(stamp, changes)
    }

    fn stored(&self) -> &dyn Stored {
        &self.store
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty() && self.layers.lock().is_empty()
    }
}
