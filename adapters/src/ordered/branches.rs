//! The branches of undecided transactions, and what becomes of each.
//!
//! ```text
//!            prepare                       commit
//!   (none) ─────────► Preparing ─► Prepared ─────► committed in the background, until it is
//!                         │           │
//!                         │ abort     │ abort
//!                         ▼           ▼
//!                      Dropped ───► rolled back in the background, until it is
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use participant::TxnName;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Branch {
    /// The database is at it.
    Preparing,
    /// It is durable.
    Prepared,
    /// The transaction was aborted while the database was at it.
    Dropped,
}

#[derive(Debug, Default)]
pub(super) struct Branches(Mutex<BTreeMap<TxnName, Branch>>);

impl Branches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TxnName, Branch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, name: TxnName) {
        self.lock().insert(name, Branch::Preparing);
    }

    /// The database has prepared it. Says whether it is still wanted; if not it is forgotten here.
    pub(super) fn prepared(&self, name: TxnName) -> bool {
        let mut branches = self.lock();
        let wanted = branches.get(&name) != Some(&Branch::Dropped);
        if wanted {
            branches.insert(name, Branch::Prepared);
        } else {
            branches.remove(&name);
        }
        wanted
    }

    /// Whether the transaction still wants it.
    pub(super) fn is_wanted(&self, name: TxnName) -> bool {
        self.lock().get(&name) == Some(&Branch::Preparing)
    }

    /// Takes it out: the transaction is decided, or was not prepared.
    pub(super) fn take(&self, name: TxnName) -> Option<Branch> {
        self.lock().remove(&name)
    }

    /// The transaction is aborted. Says how far the branch was: one that was prepared is forgotten here, and has to be
    /// rolled back now; one that is being prepared is dropped when that is done.
    pub(super) fn abort(&self, name: TxnName) -> Option<Branch> {
        let mut branches = self.lock();
        let branch = branches.get_mut(&name)?;
        let was = *branch;
        match was {
            Branch::Preparing => *branch = Branch::Dropped,
            Branch::Prepared => drop(branches.remove(&name)),
            Branch::Dropped => {}
        }
        Some(was)
    }

    /// It is in doubt since a former life.
    pub(super) fn recover(&self, name: TxnName) {
        self.lock().insert(name, Branch::Prepared);
    }

    pub(super) fn names(&self) -> Vec<TxnName> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}
