//! Optimistic: operations take no locks, prepare validates (§2.5).
//!
//! Reads see committed data, changes are private. At prepare the whole footprint is shown to
//! [`Validator`], which orders the transaction among those that are ready or in doubt, and what was read
//! is compared with what is committed now. Two voters that only overwrite what the other read, or each
//! other, are delayed, not aborted.
//!
//! A transaction may see one key before and another key after a commit of somebody else, and then fails
//! its validation. What it has read once it reads again, or it is aborted at the second read.
//!
//! Increments are blind: an increment is refused when the site sees that the value is no number, but
//! another transaction may put something else there before the increment is installed, and then it starts
//! from zero.
//!
//! Invariants:
//! - V1 Versions are installed before marks are retired (as [`Validator`] asks).
//! - V2 Reads that contradict an earlier read of the same transaction end it at once.

mod validate;

use std::sync::Arc;

use co_core::{AbortReason, Scheduler, Stamp, Txn, Validator};

use crate::engine::backing::Stored;
use crate::engine::host::{Engine, Host, Options, SiteParts};
use crate::engine::number;
use crate::engine::store::Store;
use crate::engine::workspace::{Pending, Workspace};
use crate::error::OperationError;
use crate::participant::{Change, Key, KeyRange, Prepared, Value};
use crate::registry::{Entry, Handle};
use crate::storage::StorageError;

/// A site with the optimistic engine.
///
/// ```
/// use participant::Participant;
/// use participant::engine::{Optimistic, Options};
///
/// let site = Optimistic::new(Options::default());
/// assert_eq!(site.engine(), "optimistic");
/// ```
pub type Optimistic = Host<Validating>;

impl Host<Validating> {
    /// A site with an empty store.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::with_engine(options, Validating::new)
    }
}

/// The optimistic engine.
#[derive(Debug)]
pub struct Validating {
    validator: Validator<Key>,
    store: Store,
    recording: bool,
}

type Work = Workspace<()>;

const CHANGED: OperationError = OperationError::Aborted(AbortReason::Conflict);

impl Validating {
    fn new(scheduler: &Scheduler, site: &SiteParts) -> Self {
        Self {
            validator: Validator::new(scheduler.clone()),
            store: Store::new(Arc::clone(&site.storage)),
            recording: site.recorder.is_on(),
        }
    }
}

impl Engine for Validating {
    type Private = ();

    fn name(&self) -> &'static str {
        "optimistic"
    }

    async fn get(&self, entry: &Entry<()>, key: &Key) -> Result<Option<Value>, OperationError> {
        let mut work = entry.active()?;
        if let Some(own) = work.own_value(key) {
            return Ok(own);
        }
        let cell = self.store.get(key)?;
        if validate::contradicts(&work, key, cell.version) {
            return Err(CHANGED);
        }
        work.note_read(key, cell.version);
        Ok(work.on_top(key, cell.value.as_ref()))
    }

    async fn scan(
        &self,
        entry: &Entry<()>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let mut work = entry.active()?;
        let (position, rows) = self.store.scan(range)?;
        // Versions only grow: what is unchanged after the scan was unchanged when it was evaluated.
        if !validate::unchanged_in(&self.store, &work, range)? {
            return Err(CHANGED);
        }
        work.note_scan(range, position, &rows);
        work.rows_on_top(range, rows)
    }

    async fn change(&self, entry: &Entry<()>, change: Change) -> Result<(), OperationError> {
        let mut work = entry.active()?;
        if let (Change::Increment(key, _), None | Some(Pending::Increment(_))) =
            (&change, work.pending(change.key()))
        {
            number::check(self.store.get(key)?.value.as_deref())?;
        }
        work.change(change)
    }

    fn admit(&self, txn: &Txn, work: &Work) -> Result<(), AbortReason> {
        let footprint = validate::footprint(&work.prepared());
        self.validator.admit(txn, footprint, || {
            // A storage that has failed answers nothing from now on: whatever the reason, it cannot commit.
            let unchanged = self.store.unchanged(work.reads(), work.scans());
            unchanged.unwrap_or(false)
        })
    }

    fn apply(&self, _: &Handle, work: &Work, stamp: Stamp) -> Result<Option<u64>, StorageError> {
        self.store.install(stamp, &work.changes())
    }

    fn release(&self, handle: &Handle, _: &Work) {
        self.validator.retire(handle.txn());
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        self.validator
            .reinstate(handle.txn(), validate::footprint(&prepared));
        Workspace::recovered(prepared, self.recording, &self.store)
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        self.store.install(stamp, changes)
    }

    fn stored(&self) -> &dyn Stored {
        &self.store
    }

    fn is_idle(&self) -> bool {
        self.validator.is_empty()
    }
}
