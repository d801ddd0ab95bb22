//! What the reader of a site hands to the one who replays it: many records at a time, in buffers that go round.

use std::sync::Arc;

use crate::index::Install;

use super::key::Key;

/// Commit records, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Commit>,
    pub(super) reads: Vec<Read>,
    pub(super) installs: Vec<(Key, Install)>,
    pub(super) scans: Vec<ScanOf>,
    /// What is new of the names of long keys.
    pub(super) names: Vec<u8>,
}

/// A commit; its operations end where it says, and begin where those of the one before end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) stamp: u64,
    /// 0 if it installed nothing.
    pub(super) seq: u64,
    pub(super) ends: Ends,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) reads: usize,
    pub(super) installs: usize,
    pub(super) scans: usize,
}

/// A read of a version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub(super) key: Key,
    pub(super) version: u64,
}

/// A scan whose keys are within its range, ascend and do not repeat.
#[derive(Debug)]
pub(super) struct ScanOf {
    pub(super) lo: Arc<[u8]>,
    pub(super) hi: Option<Arc<[u8]>>,
    pub(super) pos: u64,
    pub(super) found: Vec<Read>,
}

impl ScanOf {
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        key >= &*self.lo && self.hi.as_ref().is_none_or(|hi| key < &**hi)
    }
}

/// A batch is full with so many operations,
const FULL_OPS: usize = 4096;
/// or so many records.
const FULL_RECORDS: usize = 1024;

impl Batch {
    /// Where the operations end so far.
    pub(super) fn ends(&self) -> Ends {
        Ends {
            reads: self.reads.len(),
            installs: self.installs.len(),
            scans: self.scans.len(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= FULL_RECORDS || self.reads.len() + self.installs.len() >= FULL_OPS
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.reads.clear();
        self.installs.clear();
        self.scans.clear();
        self.names.clear();
    }

    /// Drops the operations from there on.
    pub(super) fn cut_back(&mut self, to: Ends) {
        self.reads.truncate(to.reads);
        self.installs.truncate(to.installs);
        self.scans.truncate(to.scans);
    }

    /// Where the operations of a record begin.
    pub(super) fn begin(&self, record: usize) -> Ends {
        let before = record.checked_sub(1);
        before.map_or_else(Ends::default, |before| self.records[before].ends)
    }
}
