//! Whether anybody in doubt may have touched a key, in one load for each key and without a lock.
//!
//! Counters by hash: never zero for a key that is marked, and rarely anything else for one that is not.
//!
//! Invariants:
//! - F1 A mark is counted before its transaction's versions are checked and until it is gone.
//! - F2 Who marks and then looks at the versions, and who locks versions and then looks at the counters: at
//!   least one of the two sees the other. Both have a sequentially consistent fence between the two steps.

use crate::sync::{AtomicU64, Ordering, fence};

/// Few under loom, where each is a cost.
const COUNTERS: usize = if cfg!(co_loom) { 2 } else { 4096 };

#[derive(Debug)]
pub(super) struct Clearance {
    counters: Box<[AtomicU64]>,
    /// Marked transactions. Their marks on ranges are in nobody's counter.
    marked: AtomicU64,
    ranges: AtomicU64,
}

impl Clearance {
    pub(super) fn new() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            marked: AtomicU64::new(0),
            ranges: AtomicU64::new(0),
        }
    }

    pub(super) fn mark(&self, hashes: impl Iterator<Item = u64>, ranges: u64) {
        self.marked.fetch_add(1, Ordering::AcqRel);
        if ranges > 0 {
            self.ranges.fetch_add(ranges, Ordering::AcqRel);
        }
        for hash in hashes {
            self.counter(hash).fetch_add(1, Ordering::AcqRel);
        }
        fence(Ordering::SeqCst);
    }

    pub(super) fn unmark(&self, hashes: impl Iterator<Item = u64>, ranges: u64) {
        for hash in hashes {
            self.counter(hash).fetch_sub(1, Ordering::AcqRel);
        }
        if ranges > 0 {
            self.ranges.fetch_sub(ranges, Ordering::AcqRel);
        }
        self.marked.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether nobody has marked any of it.
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
        !scans && !ranges && hashes.all(|hash| self.counter(hash).load(Ordering::Acquire) == 0)
    }

    fn counter(&self, hash: u64) -> &AtomicU64 {
        let index = usize::try_from(hash % COUNTERS as u64);
        &self.counters[index.expect("a remainder of COUNTERS fits")]
    }
}
