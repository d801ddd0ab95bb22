//! The optimistic validator (§2.5): orders transactions that are ready or in doubt by what they read and
//! wrote, while everything before that stays invisible to others.
//!
//! A transaction is admitted once, when its operations are done. From then until it is decided its marks
//! stand. Against each other marked transaction u, the one T being admitted gets
//!
//! | T did        | u did           | edge  | because                                               |
//! |--------------|-----------------|-------|-------------------------------------------------------|
//! | read         | write           | T → u | T read the version before u's                          |
//! | write        | read            | u → T | u read the version before T's: a delay, not an abort   |
//! | write        | write           | u → T | versions are installed in the order of admission       |
//! | increment    | increment       | none  | they commute                                           |
//!
//! and what a YES or a NO follows from these edges is the graph's business: if u has voted, T → u makes T
//! wait for u and abort if u commits.
//!
//! Invariants:
//! - V1 Marks are registered before `still_current` is asked, and an engine retires marks after it has
//!   installed the versions: so a committed change is seen as a mark, as a version, or as both.
//! - V2 A transaction's marks stand from admission to its decision, votes included (trap 4.5).

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use crate::graph::EdgeKind;
use crate::id::TxnId;
use crate::order::{Scheduler, Txn};
use crate::outcome::AbortReason;
use crate::sync::Mutex;

/// What a write does to a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum WriteKind {
    /// Replaces or removes the value.
    Put,
    /// Adds to it: commutes with other increments.
    Increment,
}

/// All that a transaction read and wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Footprint<K> {
    /// Keys it read, present or not.
    pub reads: Vec<K>,
    /// Ranges it scanned: first key, and first key after (`None`: to the end).
    pub ranges: Vec<(K, Option<K>)>,
    /// Keys it changes.
    pub writes: Vec<(K, WriteKind)>,
}

impl<K> Default for Footprint<K> {
    fn default() -> Self {
        Self {
            reads: Vec::new(),
            ranges: Vec::new(),
            writes: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write(WriteKind),
}

struct Marks<K> {
    by_key: BTreeMap<K, Vec<(Txn, Access)>>,
    ranges: Vec<(K, Option<K>, Txn)>,
    footprints: BTreeMap<TxnId, Footprint<K>>,
}

/// Marks of the ready and in-doubt transactions of one engine.
pub struct Validator<K> {
    scheduler: Scheduler,
    marks: Mutex<Marks<K>>,
}

impl<K: Ord + Clone> Validator<K> {
    /// A validator without marks.
    #[must_use]
    pub fn new(scheduler: Scheduler) -> Self {
        let marks = Marks {
            by_key: BTreeMap::new(),
            ranges: Vec::new(),
            footprints: BTreeMap::new(),
        };
        Self {
            scheduler,
            marks: Mutex::new(marks),
        }
    }

    /// Admits `txn`: marks its footprint, orders it among the marked transactions, and then asks
    /// `still_current` whether every version it read is still the newest committed one. Ask for the vote
    /// next. `still_current` runs under the validator's lock.
    ///
    /// # Errors
    /// The reason to abort `txn` with, when a version is not current any more or `txn` is doomed (or has
    /// voted or was admitted before); its marks are gone then.
    pub fn admit(
        &self,
        txn: &Txn,
        footprint: Footprint<K>,
        still_current: impl FnOnce() -> bool,
    ) -> Result<(), AbortReason> {
        if !txn.state().is_unvoted() {
            return Err(AbortReason::Requested);
        }
        let mut marks = self.marks.lock();
        if marks.footprints.contains_key(&txn.id()) {
            return Err(AbortReason::Requested);
        }
        self.order_reads(&marks, txn, &footprint);
        self.order_writes(&marks, txn, &footprint);
        marks.insert(txn, footprint);
        let refusal = match txn.doomed() {
            Some(reason) => Some(reason),
            None if still_current() => None,
            None => Some(AbortReason::Conflict),
        };
        match refusal {
            None => Ok(()),
            Some(reason) => {
                marks.remove(txn);
                Err(reason)
            }
        }
    }

    /// Restores the marks of a transaction in doubt after a restart, before new work begins.
    pub fn reinstate(&self, txn: &Txn, footprint: Footprint<K>) {
        self.marks.lock().insert(txn, footprint);
    }

    /// Removes the marks of a decided transaction, if it has any. For a commit: after its versions are
    /// installed (V1).
    pub fn retire(&self, txn: &Txn) {
        self.marks.lock().remove(txn);
    }

    /// Whether no transaction is marked (I7).
    pub fn is_empty(&self) -> bool {
        let marks = self.marks.lock();
        marks.by_key.is_empty() && marks.ranges.is_empty() && marks.footprints.is_empty()
    }

    fn order_reads(&self, marks: &Marks<K>, txn: &Txn, footprint: &Footprint<K>) {
        for key in &footprint.reads {
            for writer in marks.writers(key) {
                self.order(txn, writer, EdgeKind::ReadWrite);
            }
        }
        for (low, high) in &footprint.ranges {
            if high.as_ref().is_some_and(|high| high <= low) {
                continue;
            }
            let high = high.clone().map_or(Bound::Unbounded, Bound::Excluded);
            let keys = marks.by_key.range((Bound::Included(low.clone()), high));
            for (writer, _) in keys
                .flat_map(|(_, marks)| marks)
                .filter(|mark| mark.1.writes())
            {
                self.order(txn, writer, EdgeKind::Predicate);
            }
        }
    }

    fn order_writes(&self, marks: &Marks<K>, txn: &Txn, footprint: &Footprint<K>) {
        for (key, kind) in &footprint.writes {
            for (other, access) in marks.by_key.get(key).into_iter().flatten() {
                match (access, kind) {
                    (Access::Write(WriteKind::Increment), WriteKind::Increment) => {}
                    (Access::Write(_), _) => self.order(other, txn, EdgeKind::WriteWrite),
                    (Access::Read, _) => self.order(other, txn, EdgeKind::ReadWrite),
                }
            }
            for (low, high, reader) in &marks.ranges {
                if low <= key && high.as_ref().is_none_or(|high| key < high) {
                    self.order(reader, txn, EdgeKind::Predicate);
                }
            }
        }
    }

    fn order(&self, from: &Txn, to: &Txn, kind: EdgeKind) {
        // The transaction being admitted is one of the two and has not voted: no edge is refused.
        let _accepted = self.scheduler.edge(from, to, kind);
    }
}

impl Access {
    fn writes(self) -> bool {
        matches!(self, Self::Write(_))
    }
}

impl<K: Ord + Clone> Marks<K> {
    fn writers(&self, key: &K) -> impl Iterator<Item = &Txn> {
        let marks = self.by_key.get(key).into_iter().flatten();
        marks.filter(|mark| mark.1.writes()).map(|(txn, _)| txn)
    }

    fn insert(&mut self, txn: &Txn, footprint: Footprint<K>) {
        let reads = footprint.reads.iter().map(|key| (key, Access::Read));
        let writes = footprint
            .writes
            .iter()
            .map(|(key, kind)| (key, Access::Write(*kind)));
        for (key, access) in reads.chain(writes) {
            self.by_key
                .entry(key.clone())
                .or_default()
                .push((txn.clone(), access));
        }
        for (low, high) in &footprint.ranges {
            self.ranges.push((low.clone(), high.clone(), txn.clone()));
        }
        self.footprints.insert(txn.id(), footprint);
    }

    fn remove(&mut self, txn: &Txn) {
        let Some(footprint) = self.footprints.remove(&txn.id()) else {
            return;
        };
        let keys = footprint
            .reads
            .iter()
            .chain(footprint.writes.iter().map(|(key, _)| key));
        for key in keys {
            if let Some(marks) = self.by_key.get_mut(key) {
                marks.retain(|(other, _)| other != txn);
                if marks.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
        if !footprint.ranges.is_empty() {
            self.ranges.retain(|(_, _, other)| other != txn);
        }
    }
}

impl<K> fmt::Debug for Validator<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}
