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
//!
//! A transaction of this site alone, on keys that nobody in doubt has touched, needs none of this: the engine's
//! own validation orders it among the others of its kind. [`Validator::is_clear`] says when, without a lock.

mod clearance;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Bound;

use foldhash::fast::FixedState;

use crate::graph::EdgeKind;
use crate::id::TxnId;
use crate::order::{Scheduler, Txn};
use crate::outcome::AbortReason;
use crate::sync::Mutex;
use clearance::Clearance;

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
    clearance: Clearance,
    hasher: FixedState,
}

impl<K: Ord + Clone + Hash> Validator<K> {
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
            clearance: Clearance::new(),
            hasher: FixedState::default(),
        }
    }

    /// Whether a transaction of this site alone may commit by the engine's own validation, without being begun
    /// at the scheduler at all: nobody who has voted, or is about to, has touched any of its keys. When it is
    /// not, [`Scheduler::begin`] it and [`Validator::admit`] it like any other.
    ///
    /// The order of steps is what makes it right: the engine first locks the versions it is going to replace,
    /// in a way that `still_current` of every other transaction takes for a change; then it asks; then it
    /// checks what it has read, installs and unlocks. So of a transaction that is being admitted and this one
    /// at least one sees the other (invariant F2).
    ///
    /// It takes a lock only when somebody in doubt has touched a key of the same hash, or when it scans or
    /// writes while somebody in doubt has scanned.
    #[inline]
    pub fn is_clear(&self, footprint: &Footprint<K>) -> bool {
        let reads = footprint.reads.iter();
        let writes = footprint.writes.iter().map(|(key, _)| key);
        self.clearance.is_clear(
            !footprint.ranges.is_empty(),
            !footprint.writes.is_empty(),
            reads.chain(writes).map(|key| self.hasher.hash_one(key)),
        ) || !self.marks.lock().overlap(footprint)
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
        self.mark(&mut marks, txn, footprint);
        let refusal = match txn.doomed() {
            Some(reason) => Some(reason),
            None if still_current() => None,
            None => Some(AbortReason::Conflict),
        };
        match refusal {
            None => Ok(()),
            Some(reason) => {
                self.unmark(&mut marks, txn);
                Err(reason)
            }
        }
    }

    /// Restores the marks of a transaction in doubt after a restart, before new work begins. A transaction that
    /// is marked keeps its marks.
    pub fn reinstate(&self, txn: &Txn, footprint: Footprint<K>) {
        let mut marks = self.marks.lock();
        if !marks.footprints.contains_key(&txn.id()) {
            self.mark(&mut marks, txn, footprint);
        }
    }

    /// Removes the marks of a decided transaction, if it has any. For a commit: after its versions are
    /// installed (V1).
    pub fn retire(&self, txn: &Txn) {
        self.unmark(&mut self.marks.lock(), txn);
    }

    /// Whether no transaction is marked (I7).
    pub fn is_empty(&self) -> bool {
        let marks = self.marks.lock();
        marks.by_key.is_empty() && marks.ranges.is_empty() && marks.footprints.is_empty()
    }

    fn mark(&self, marks: &mut Marks<K>, txn: &Txn, footprint: Footprint<K>) {
        let ranges = footprint.ranges.len() as u64;
        self.clearance.mark(self.hashes(&footprint), ranges);
        marks.insert(txn, footprint);
    }

    fn unmark(&self, marks: &mut Marks<K>, txn: &Txn) {
        if let Some(footprint) = marks.remove(txn) {
            let ranges = footprint.ranges.len() as u64;
            self.clearance.unmark(self.hashes(&footprint), ranges);
        }
    }

    fn hashes(&self, footprint: &Footprint<K>) -> impl Iterator<Item = u64> {
        let writes = footprint.writes.iter().map(|(key, _)| key);
        let keys = footprint.reads.iter().chain(writes);
        keys.map(|key| self.hasher.hash_one(key))
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
                if in_range(key, low, high.as_ref()) {
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

    /// Whether somebody who is marked conflicts with it.
    fn overlap(&self, footprint: &Footprint<K>) -> bool {
        let read = |key| self.writers(key).next().is_some();
        let written = |(key, kind): &(K, WriteKind)| {
            let adds = Access::Write(WriteKind::Increment);
            let commutes = |access| *kind == WriteKind::Increment && access == adds;
            let marks = self.by_key.get(key).into_iter().flatten();
            marks.into_iter().any(|(_, access)| !commutes(*access))
                || self
                    .ranges
                    .iter()
                    .any(|range| in_range(key, &range.0, range.1.as_ref()))
        };
        let scanned = |(low, high): &(K, Option<K>)| {
            let mut keys = self.by_key.iter();
            keys.any(|(key, marks)| {
                in_range(key, low, high.as_ref()) && marks.iter().any(|mark| mark.1.writes())
            })
        };
        footprint.reads.iter().any(read)
            || footprint.writes.iter().any(written)
            || footprint.ranges.iter().any(scanned)
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

    fn remove(&mut self, txn: &Txn) -> Option<Footprint<K>> {
        let footprint = self.footprints.remove(&txn.id())?;
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
        Some(footprint)
    }
}

fn in_range<K: Ord>(key: &K, low: &K, high: Option<&K>) -> bool {
    low <= key && high.is_none_or(|high| key < high)
}

impl<K> fmt::Debug for Validator<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validator").finish_non_exhaustive()
    }
}
