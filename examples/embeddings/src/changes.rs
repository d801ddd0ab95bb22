//! Which keys have changed since they were read: what a store that validates asks at the vote.
//!
//! Positions count commits since the store was opened, in memory: a transaction that was not in doubt does
//! not outlive the store, and one in doubt has been validated.
//!
//! Invariants:
//! - C1 A position is taken before the value is read, and moved after the values are visible: a read never
//!   claims to be newer than it is.
//! - C2 What is kept reaches back to the oldest read of any transaction at work.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use conformance::Key;

use crate::workspace::Workspace;

/// The newest change of each key.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    position: u64,
    by_key: BTreeMap<Key, u64>,
}

impl Changes {
    /// The position that a read which begins now may claim.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.lock().position
    }

    /// Whether nothing that the transaction has read has changed since.
    #[must_use]
    pub fn none_since(&self, work: &Workspace) -> bool {
        let newest = self.lock();
        let change = |key| newest.by_key.get(key).copied().unwrap_or(0);
        let mut ranges = work.ranges.iter();
        work.reads.iter().all(|(key, read)| change(key) <= *read)
            && ranges.all(|(low, high, read)| {
                let high = high.as_ref().map_or(Unbounded, Excluded);
                let mut changed = newest.by_key.range::<Key, _>((Included(low), high));
                changed.all(|(_, change)| change <= read)
            })
    }

    /// A commit has made its values visible. `idle`: no transaction is at work, so nobody will ask.
    pub fn add(&self, keys: impl Iterator<Item = Key>, idle: bool) {
        let mut newest = self.lock();
        newest.position += 1;
        let position = newest.position;
        newest.by_key.extend(keys.map(|key| (key, position)));
        if idle {
            newest.by_key.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
