//! What one transaction has done so far: its private changes, what it read, and the record of both.
//!
//! Changes are applied at commit, so nobody sees another's undecided write (P1) and undoing is dropping; an engine
//! that shows them keeps them elsewhere besides.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::number;
use crate::error::OperationError;
use crate::history::{Dirty, Op, Record};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Prepared, Value};
use crate::registry::Handle;

/// The net change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pending {
    /// It gets this value.
    Put(Value),
    /// It goes.
    Delete,
    /// It grows by this much.
    Increment(i64),
}

/// A range that was scanned, and the newest version of the site that the scan saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// The range.
    pub range: KeyRange,
    /// The newest version.
    pub position: u64,
}

/// An undecided change that the last operation of the record has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Of which row of a scan; `None` for a read, or where the change left no row.
    pub(crate) row: Option<usize>,
    /// Whose it is.
    pub(crate) writer: Arc<Handle>,
}

#[derive(Debug)]
struct Sight {
    op: usize,
    seen: Seen,
}

/// A committed row and the number of its version.
pub type Row = (Key, u64, Value);

/// The newest committed state of a store.
pub trait Committed {
    /// The site's newest version.
    fn position(&self) -> u64;
    /// The newest version of a key, zero if there never was one.
    fn version(&self, key: &[u8]) -> u64;
    /// The present rows of a range; may stop after [`MAX_SCAN_ROWS`] and one more.
    fn rows(&self, range: &KeyRange) -> Vec<Row>;
}

/// The workspace of one transaction; `P` is what its engine keeps besides.
#[derive(Debug, Default)]
pub struct Workspace<P> {
    writes: BTreeMap<Key, Pending>,
    reads: BTreeMap<Key, u64>,
    scans: Vec<Scanned>,
    record: Vec<Op>,
    /// What of the record was written by transactions that were undecided when it was read.
    undecided: Vec<Sight>,
    recording: bool,
    /// What the engine keeps besides.
    pub private: P,
}

impl<P: Default> Workspace<P> {
    pub(crate) fn new(recording: bool) -> Self {
        Self {
            recording,
            ..Self::default()
        }
    }

    /// The workspace of a transaction in doubt, re-created from the log. What it read is the newest
    /// `committed` state: nothing that it read could change while it was in doubt.
    ///
    /// # Panics
    /// If it holds changes that cannot be made one after another.
    pub fn recovered(prepared: Prepared, recording: bool, committed: &impl Committed) -> Self {
        let mut work = Self::new(recording);
        for key in prepared.reads {
            work.note_read(&key, committed.version(&key));
        }
        for range in prepared.scans {
            work.note_scan(&range, committed.position(), &committed.rows(&range));
        }
        for change in prepared.changes {
            let changed = work.change(change);
            assert!(changed.is_ok(), "a log record holds one change of each key");
        }
        work
    }

    /// Makes a change, on top of what the transaction did to the key before.
    ///
    /// # Errors
    /// [`OperationError::NotANumber`] if it has put something else where it increments.
    pub fn change(&mut self, change: Change) -> Result<(), OperationError> {
        match change {
            Change::Put(key, value) => self.writes.insert(key, Pending::Put(value)),
            Change::Delete(key) => self.writes.insert(key, Pending::Delete),
            Change::Increment(key, delta) => {
                let pending = match self.writes.get(&key) {
                    None => Pending::Increment(delta),
                    Some(Pending::Increment(sum)) => Pending::Increment(sum.wrapping_add(delta)),
                    Some(Pending::Delete) => Pending::Put(number::add(None, delta)),
                    Some(Pending::Put(value)) => {
                        number::check(Some(value))?;
                        Pending::Put(number::add(Some(value), delta))
                    }
                };
                self.writes.insert(key, pending)
            }
        };
        Ok(())
    }

    /// Records that the transaction read `version` of a key.
    pub fn note_read(&mut self, key: &Key, version: u64) {
        let before = self.reads.insert(Arc::clone(key), version);
        if self.recording && before != Some(version) {
            self.record.push(Op::Read(Arc::clone(key), version));
        }
    }

    /// Records that the transaction scanned a range when `position` was the newest version it could see.
    pub fn note_scan(&mut self, range: &KeyRange, position: u64, rows: &[Row]) {
        self.record_scan(range, position, rows);
        self.cover_range(range, position);
    }

    pub(crate) fn record_scan(&mut self, range: &KeyRange, position: u64, rows: &[Row]) {
        if self.recording {
            let rows = rows.iter();
            self.record.push(Op::Scan {
                range: range.clone(),
                position,
                rows: rows
                    .map(|(key, version, _)| (Arc::clone(key), *version))
                    .collect(),
            });
        }
    }

    pub(crate) fn cover_range(&mut self, range: &KeyRange, position: u64) {
        let range = range.clone();
        self.scans.push(Scanned { range, position });
    }

    /// The range without the keys that the transaction has put or deleted.
    pub(crate) fn not_replaced(&self, range: &KeyRange) -> Vec<KeyRange> {
        let mut parts = Vec::new();
        let mut low = Arc::clone(&range.low);
        for (key, pending) in self.writes.range(range.bounds()) {
            if matches!(pending, Pending::Increment(_)) {
                continue;
            }
            if low < *key {
                let high = Some(Arc::clone(key));
                parts.push(KeyRange { low, high });
            }
            // The first key after it.
            low = [&**key, &[0]].concat().into();
        }
        let high = range.high.clone();
        if high.as_ref().is_none_or(|high| low < *high) {
            parts.push(KeyRange { low, high });
        }
        parts
    }

    /// What was just noted was read with these undecided changes on top.
    pub(crate) fn note_undecided(&mut self, seen: impl IntoIterator<Item = Seen>) {
        if self.recording
            && let Some(op) = self.record.len().checked_sub(1)
        {
            let sights = seen.into_iter().map(|seen| Sight { op, seen });
            self.undecided.extend(sights);
        }
    }

    /// Whether it has read the key, alone or in a range.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        self.reads.contains_key(key) || self.scans.iter().any(|scan| scan.range.contains(key))
    }

    /// Whether it has read the whole range with one scan.
    #[must_use]
    pub fn covers_range(&self, range: &KeyRange) -> bool {
        self.scans.iter().any(|scan| scan.range.covers(range))
    }

    /// What the transaction did to a key.
    #[must_use]
    pub fn pending(&self, key: &[u8]) -> Option<&Pending> {
        self.writes.get(key)
    }

    /// The value of a key as the transaction left it, unless that depends on the committed value.
    #[must_use]
    pub fn own_value(&self, key: &[u8]) -> Option<Option<Value>> {
        match self.writes.get(key)? {
            Pending::Put(value) => Some(Some(Arc::clone(value))),
            Pending::Delete => Some(None),
            Pending::Increment(_) => None,
        }
    }

    /// The committed value of a key with the transaction's own change on top.
    #[must_use]
    pub fn on_top(&self, key: &[u8], committed: Option<&Value>) -> Option<Value> {
        match self.writes.get(key) {
            None => committed.cloned(),
            Some(Pending::Put(value)) => Some(Arc::clone(value)),
            Some(Pending::Delete) => None,
            Some(Pending::Increment(delta)) => {
                Some(number::add(committed.map(|value| &**value), *delta))
            }
        }
    }

    /// Committed rows of a range with the transaction's own changes on top.
    ///
    /// # Errors
    /// [`OperationError::TooManyRows`].
    pub fn rows_on_top(
        &self,
        range: &KeyRange,
        committed: Vec<Row>,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let mut own = self.writes.range(range.bounds()).peekable();
        let rows = if own.peek().is_none() {
            let rows = committed.into_iter();
            rows.map(|(key, _, value)| (key, value)).collect()
        } else {
            let rows = committed.into_iter();
            let mut rows: BTreeMap<_, _> = rows.map(|(key, _, value)| (key, value)).collect();
            for (key, _) in own {
                match self.on_top(key, rows.get(key)) {
                    Some(value) => rows.insert(Arc::clone(key), value),
                    None => rows.remove(key),
                };
            }
            rows.into_iter().collect::<Vec<_>>()
        };
        if rows.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        Ok(rows)
    }

    /// The keys it read, one by one, and their versions.
    pub fn reads(&self) -> impl Iterator<Item = (&Key, u64)> {
        self.reads.iter().map(|(key, version)| (key, *version))
    }

    /// The version that it saw of a key it read alone.
    #[must_use]
    pub fn version_read(&self, key: &[u8]) -> Option<u64> {
        self.reads.get(key).copied()
    }

    /// The ranges it scanned.
    #[must_use]
    pub fn scans(&self) -> &[Scanned] {
        &self.scans
    }

    /// The keys it changes, and how.
    pub fn writes(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        self.writes.iter()
    }

    /// Whether it changes nothing here.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// Its changes, one for each key.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let writes = self.writes.iter();
        writes
            .map(|(key, pending)| {
                let key = Arc::clone(key);
                match pending {
                    Pending::Put(value) => Change::Put(key, Arc::clone(value)),
                    Pending::Delete => Change::Delete(key),
                    Pending::Increment(delta) => Change::Increment(key, *delta),
                }
            })
            .collect()
    }

    /// What has to be in the log before a YES is sent.
    #[must_use]
    pub fn prepared(&self) -> Prepared {
        let mut scans: Vec<_> = self.scans.iter().map(|scan| scan.range.clone()).collect();
        scans.sort_unstable();
        scans.dedup();
        Prepared {
            changes: self.changes(),
            reads: self.reads.keys().cloned().collect(),
            scans,
        }
    }

    /// What the history says of it: its reads in order, then its net changes, which take effect together
    /// at commit.
    pub(crate) fn take_record(&mut self) -> Record {
        let mut record = Record::from(std::mem::take(&mut self.record));
        for Sight { op, seen } in std::mem::take(&mut self.undecided) {
            let dirty = Dirty {
                op,
                row: seen.row,
                writer: seen.writer.name(),
            };
            match seen.writer.version() {
                Some(version) => record.settle(&dirty, version),
                None => record.dirty.push(dirty),
            }
        }
        record.ops.extend(self.changes().iter().map(Op::from));
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    #[test]
    fn an_increment_on_top_of_an_own_write_is_a_write() {
        let mut work = Workspace::<()>::new(false);
        let n = key("n");
        let add = |delta| Change::Increment(key("n"), delta);
        work.change(add(2)).unwrap();
        work.change(add(3)).unwrap();
        assert_eq!(work.changes(), [add(5)]);
        work.change(Change::Delete(key("n"))).unwrap();
        work.change(add(4)).unwrap();
        assert_eq!(work.changes(), [Change::Put(key("n"), number::encode(4))]);
        work.change(Change::Put(n, Value::from(b"text".as_slice())))
            .unwrap();
        let refused = work.change(add(1));
        assert_eq!(refused, Err(OperationError::NotANumber { bytes: 4 }));
    }

    #[test]
    fn own_changes_lie_on_top_of_scanned_rows() {
        let mut work = Workspace::<()>::new(false);
        let one = Value::from(b"1".as_slice());
        for change in [
            Change::Put(key("b"), Arc::clone(&one)),
            Change::Delete(key("c")),
            Change::Increment(key("n"), 7),
            Change::Put(key("z"), Arc::clone(&one)),
        ] {
            work.change(change).unwrap();
        }
        let committed = ["a", "c", "d"].map(|name| (key(name), 1, Arc::clone(&one)));
        let range = KeyRange {
            low: key("a"),
            high: Some(key("x")),
        };
        let rows = work.rows_on_top(&range, committed.to_vec()).unwrap();
        let names: Vec<_> = rows.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(names, ["a", "b", "d", "n"].map(key));
        assert_eq!(rows[3].1, number::encode(7));
    }
}
