//! What one transaction has done: its marks, as itself sees them.

use std::collections::{BTreeMap, BTreeSet};

use crate::order::Txn;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::validate::WriteKind;
use crate::versions::timeline::Snapshot;
use crate::versions::turn::Turns;

/// One transaction, as its marks name it.
pub(super) struct Record<K> {
    pub(super) txn: Txn,
    /// When it ended, if its read marks outlive it; [`UNDECIDED`] before.
    ended: AtomicU64,
    pub(super) turns: Mutex<Turns>,
    pub(super) marks: Mutex<Marks<K>>,
}

/// Later than every moment.
const UNDECIDED: u64 = u64::MAX;

/// What a transaction has to take away when it ends.
pub(super) struct Marks<K> {
    /// Its marks are gone: nothing may be added.
    pub(super) retired: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// It has waited for a writer since its snapshot was taken.
    pub(super) has_waited: bool,
    pub(super) reads: BTreeSet<K>,
    pub(super) ranges: Vec<Range<K>>,
    pub(super) writes: BTreeMap<K, WriteKind>,
}

/// All keys from `low` up to, not including, `high`.
#[derive(Clone)]
pub(super) struct Range<K> {
    pub(super) low: K,
    pub(super) high: Option<K>,
}

impl<K> Record<K> {
    pub(super) fn new(txn: &Txn) -> Arc<Self> {
        Arc::new(Self {
            txn: txn.clone(),
            ended: AtomicU64::new(UNDECIDED),
            turns: Mutex::default(),
            marks: Mutex::default(),
        })
    }

    pub(super) fn end_at(&self, moment: u64) {
        self.ended.store(moment, Ordering::Release);
    }

    /// Whether it is undecided, or ended after the snapshot of a writer was taken. A writer without one is
    /// concurrent with nobody that has ended.
    pub(super) fn is_concurrent(&self, snapshot: Option<Snapshot>) -> bool {
        match self.ended.load(Ordering::Acquire) {
            UNDECIDED => true,
            ended => snapshot.is_some_and(|snapshot| snapshot.taken < ended),
        }
    }
}

impl<K> Default for Marks<K> {
    fn default() -> Self {
        Self {
            retired: false,
            snapshot: None,
            has_waited: false,
            reads: BTreeSet::new(),
            ranges: Vec::new(),
            writes: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Marks<K> {
    /// Whether the key is marked as read, alone or in a range.
    pub(super) fn covers(&self, key: &K) -> bool {
        self.reads.contains(key) || self.ranges.iter().any(|range| range.contains(key))
    }

    pub(super) fn covers_range(&self, range: &Range<K>) -> bool {
        self.ranges.iter().any(|own| own.covers(range))
    }
}

impl<K: Ord> Range<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        *key >= self.low && self.high.as_ref().is_none_or(|high| key < high)
    }

    fn covers(&self, other: &Self) -> bool {
        let reaches = match (&self.high, &other.high) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        };
        self.low <= other.low && reaches
    }
}
