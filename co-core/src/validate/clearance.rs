//! Whether anybody in doubt may have touched a key, in one load for each key and without a lock.
//!
//! Counters by hash, two for each key: never zero for a key that is marked, and rarely both anything else for
//! one that is not.
//!
//! Invariants:
//! - F1 A mark is counted before its transaction's versions are checked and until it is gone.
//! - F2 Who marks and then looks at the versions, and who locks versions and then looks at the counters: at
//!   least one of the two sees the other. Both have a sequentially consistent fence between the two steps.

use crate::sync::{AtomicU64, MODELLED, Ordering, fence};

/// Few in a model, where each is a cost.
const COUNTERS: usize = if MODELLED { 2 } else { 4096 };

#[derive(Debug)]
pub(super) struct Clearance {
    counters: Box<[AtomicU64; COUNTERS]>,
    /// Marked transactions. Their marks on ranges are in nobody's counter.
    marked: AtomicU64,
    ranges: AtomicU64,
}

impl Clearance {
    pub(super) fn new() -> Self {
        let counters: Box<[AtomicU64]> = (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self {
            counters: counters.try_into().expect("it was made of that length"),
            marked: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
        }
    }

    pub(super) fn mark(&self, hashes: impl Iterator<Item = u64>, ranges: u64) {
        self.marked.fetch_add(1, Ordering::AcqRel);
        if ranges > 0 {
            self.ranges.fetch_add(ranges, Ordering::AcqRel);
        }
        for counter in hashes.flat_map(|hash| self.counters(hash)) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
        fence(Ordering::SeqCst);
    }

    pub(super) fn unmark(&self, hashes: impl Iterator<Item = u64>, ranges: u64) {
        for counter in hashes.flat_map(|hash| self.counters(hash)) {
            counter.fetch_sub(1, Ordering::AcqRel);
        }
        if ranges > 0 {
            self.ranges.fetch_sub(ranges, Ordering::AcqRel);
        }
        self.marked.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether nobody has marked any of it. `false` may be a false alarm: two keys can share a counter.
    #[inline]
    pub(super) fn is_clear(
        &self,
        scans: bool,
        writes: bool,
        mut hashes: impl Iterator<Item = u64>,
    ) -> bool {
        fence(Ordering::SeqCst);
        if self.marked.load(Ordering::Acquire) == 0 {
            return true;
        }
        let ranges = writes && self.ranges.load(Ordering::Acquire) != 0;
        let zero = |counter: &AtomicU64| counter.load(Ordering::Acquire) == 0;
        let unmarked = |hash| self.counters(hash).into_iter().any(zero);
        !scans && !ranges && hashes.all(unmarked)
    }

    #[inline]
    fn counters(&self, hash: u64) -> [&AtomicU64; 2] {
        [hash, hash >> 32].map(|part| {
            let index = usize::try_from(part % COUNTERS as u64);
            &self.counters[index.expect("a remainder of COUNTERS fits")]
        })
    }
}
