//! A store in memory that keeps one version of each key: for engines that read committed data as it is.
//!
//! Every install takes the site's next sequence number, and all keys of one transaction get the same. A
//! deleted key leaves a tombstone with its number for ever, so that a reader of the absence is told apart
//! from a reader of an earlier absence.
//!
//! Invariants:
//! - S1 An install is visible as a whole or not at all, and so is its number.
//! - S2 The numbers of a key only grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::number;
use crate::engine::workspace::{Committed, Row, Scanned};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Value};
use crate::sync::Mutex;

/// The committed version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cell {
    /// Its number, zero if there never was one.
    pub(crate) version: u64,
    /// Its value, `None` if the key is absent.
    pub(crate) value: Option<Value>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    newest: u64,
    cells: BTreeMap<Key, Cell>,
}

impl Store {
    /// The committed version of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Cell {
        self.state
            .lock()
            .cells
            .get(key)
            .cloned()
            .unwrap_or_default()
    }

    /// The rows of a range, and the newest version of the site at that moment.
    pub(crate) fn scan(&self, range: &KeyRange) -> (u64, Vec<Row>) {
        let state = self.state.lock();
        let cells = state.cells.range(range.bounds());
        let rows = cells.filter_map(|(key, cell)| {
            let value = cell.value.as_ref()?;
            Some((Arc::clone(key), cell.version, Arc::clone(value)))
        });
        (state.newest, rows.take(MAX_SCAN_ROWS + 1).collect())
    }

    /// Installs changes as the next version; `None` if there are none.
    pub(crate) fn install(&self, changes: &[Change]) -> Option<u64> {
        if changes.is_empty() {
            return None;
        }
        let mut state = self.state.lock();
        state.newest += 1;
        let version = state.newest;
        for change in changes {
            let (key, value) = match change {
                Change::Put(key, value) => (key, Some(Arc::clone(value))),
                Change::Delete(key) => (key, None),
                Change::Increment(key, delta) => {
                    let cell = state.cells.get(key);
                    let before = cell.and_then(|cell| cell.value.as_deref());
                    (key, Some(number::add(before, *delta)))
                }
            };
            let before = state.cells.insert(Arc::clone(key), Cell { version, value });
            debug_assert!(before.is_none_or(|cell| cell.version < version), "S2");
        }
        Some(version)
    }

    /// Whether every version that was read is still the newest, and nothing was installed in the ranges
    /// since they were scanned.
    pub(crate) fn unchanged<'a>(
        &self,
        mut reads: impl Iterator<Item = (&'a Key, u64)>,
        scans: &[Scanned],
    ) -> bool {
        let state = self.state.lock();
        let version = |key: &Key| state.cells.get(key).map_or(0, |cell| cell.version);
        reads.all(|(key, read)| version(key) == read)
            && scans.iter().all(|scan| {
                let mut cells = state.cells.range(scan.range.bounds());
                cells.all(|(_, cell)| cell.version <= scan.position)
            })
    }
}

impl Committed for Store {
    fn position(&self) -> u64 {
        self.state.lock().newest
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.get(key).version
    }

    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        self.scan(range).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    #[test]
    fn a_tombstone_keeps_its_number_and_is_no_row() {
        let store = Store::default();
        let value = Value::from(b"v".as_slice());
        assert_eq!(store.install(&[]), None);
        assert_eq!(store.install(&[Change::Put(key("a"), value)]), Some(1));
        let range = KeyRange {
            low: key("a"),
            high: None,
        };
        let (position, rows) = store.scan(&range);
        assert_eq!((position, rows.len()), (1, 1));
        assert_eq!(store.install(&[Change::Delete(key("a"))]), Some(2));
        assert_eq!(
            store.get(b"a"),
            Cell {
                version: 2,
                value: None
            }
        );
        assert!(store.scan(&range).1.is_empty());
        let scanned = Scanned { range, position };
        assert!(!store.unchanged(std::iter::empty(), &[scanned]));
    }
}
