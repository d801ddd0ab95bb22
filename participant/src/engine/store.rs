//! A store that keeps one version of each key: for engines that read committed data as it is.
//!
//! Every install takes the site's next sequence number, and all keys of one transaction get the same. A
//! deleted key leaves a tombstone with its number for ever, so that a reader of the absence is told apart
//! from a reader of an earlier absence.
//!
//! Above a durable storage lie, in memory, the rows of commits that the log is not known to hold.
//!
//! Invariants (and those of `backing`):
//! - S1 An install is visible as a whole or not at all, and so is its number.
//! - S2 The numbers of a key only grow.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use co_core::Stamp;

use crate::engine::backing::{Backing, Found, Stored, changed, next_mark};
use crate::engine::workspace::{Committed, Row, Scanned};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS};
use crate::storage::{Batch, Cell, Mark, Storage, StorageError};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    backing: Backing,
}

#[derive(Debug)]
struct State {
    newest: Mark,
    /// Rows that a durable storage has not.
    recent: BTreeMap<Key, Cell>,
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        let state = State {
            newest: storage.mark(),
            recent: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            backing: Backing::new(storage),
        }
    }

    /// The committed version of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        // What leaves `recent` is in the storage before it does.
        self.backing.check()?;
        if self.backing.is_durable()
            && let Some(cell) = self.state.lock().recent.get(key)
        {
            return Ok(cell.clone());
        }
        self.backing.get(key)
    }

    fn get_in(&self, state: &State, key: &[u8]) -> Result<Cell, StorageError> {
        match state.recent.get(key) {
            Some(cell) => Ok(cell.clone()),
            None => self.backing.get(key),
        }
    }

    fn each(
        &self,
        state: &State,
        range: &KeyRange,
        mut visit: impl FnMut(&Key, &Cell) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let recent = state.recent.range(range.bounds());
        self.backing
            .merged(range, recent, |key, found| match found {
                Found::Recent(cell) | Found::Stored(cell) => visit(key, cell),
            })
    }

    /// The rows of a range, and the newest version of the site at that moment.
    pub(crate) fn scan(&self, range: &KeyRange) -> Result<(u64, Vec<Row>), StorageError> {
        let state = self.state.lock();
        let mut rows = Vec::new();
        self.each(&state, range, |key, cell| {
            if let Some(value) = &cell.value {
                rows.push((Arc::clone(key), cell.version, Arc::clone(value)));
            }
            if rows.len() > MAX_SCAN_ROWS {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok((state.newest.ordinal, rows))
    }

    /// Installs changes as the next version; `None` if there are none. A failure changes nothing that anybody
    /// sees.
    pub(crate) fn install(
        &self,
        stamp: Stamp,
        changes: &[Change],
    ) -> Result<Option<u64>, StorageError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let mut state = self.state.lock();
        let mark = next_mark(state.newest, stamp);
        let version = mark.ordinal;
        let mut rows = Vec::with_capacity(changes.len());
        for change in changes {
            let key = change.key();
            let before = match change {
                Change::Increment(..) => self.get_in(&state, key)?,
                Change::Put(..) | Change::Delete(_) => Cell::default(),
            };
            debug_assert!(before.version < version, "S2");
            let value = changed(change, before.value.as_ref());
            let cell = Cell {
                version,
                stamp,
                value,
            };
            rows.push((Arc::clone(key), cell));
        }
        if self.backing.is_durable() {
            self.backing.check()?;
            state.recent.extend(rows.iter().cloned());
        }
        self.backing.take(Batch { rows, mark })?;
        state.newest = mark;
        Ok(Some(version))
    }

    /// Whether every version that was read is still the newest, and nothing was installed in the ranges
    /// since they were scanned.
    pub(crate) fn unchanged<'a>(
        &self,
        reads: impl Iterator<Item = (&'a Key, u64)>,
        scans: &[Scanned],
    ) -> Result<bool, StorageError> {
        let state = self.state.lock();
        for (key, read) in reads {
            if self.get_in(&state, key)?.version != read {
                return Ok(false);
            }
        }
        let mut unchanged = true;
        for scan in scans {
            self.each(&state, &scan.range, |_, cell| {
                unchanged &= cell.version <= scan.position;
                if unchanged {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
        }
        Ok(unchanged)
    }
}

impl Stored for Store {
    fn newest(&self) -> u64 {
        self.state.lock().newest.ordinal
    }

    fn settle(&self, through: u64) {
        for (key, cell) in self.backing.settle(through) {
            let mut state = self.state.lock();
            let newest = state.recent.get(&key).map(|newest| newest.version);
            if newest == Some(cell.version) {
                state.recent.remove(&key);
            }
        }
    }

    fn storage(&self) -> &Arc<dyn Storage> {
        self.backing.storage()
    }

    fn persist(&self) -> Result<Mark, StorageError> {
        self.backing.persist()
    }

    fn failure(&self) -> Option<StorageError> {
        self.backing.failure()
    }
}

/// What cannot be read counts as absent: the failure is kept, and the site does not open.
impl Committed for Store {
    fn position(&self) -> u64 {
        self.newest()
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.get(key).unwrap_or_default().version
    }

    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        self.scan(range).unwrap_or_default().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::Value;
    use crate::storage::{Memory, SimStorage};

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    fn put(name: &str, value: &str) -> Change {
        Change::Put(key(name), Value::from(value.as_bytes()))
    }

    fn all() -> KeyRange {
        KeyRange {
            low: key("a"),
            high: None,
        }
    }

    #[test]
    fn a_tombstone_keeps_its_number_and_is_no_row() {
        let storages: [Arc<dyn Storage>; 2] =
            [Arc::new(Memory::new()), Arc::new(SimStorage::new())];
        for storage in storages {
            let store = Store::new(storage);
            let install = |changes: &[Change]| store.install(Stamp(1), changes).unwrap();
            assert_eq!(install(&[]), None);
            assert_eq!(install(&[put("a", "v")]), Some(1));
            let (position, rows) = store.scan(&all()).unwrap();
            assert_eq!((position, rows.len()), (1, 1));
            assert_eq!(install(&[Change::Delete(key("a"))]), Some(2));
            let gone = store.get(b"a").unwrap();
            assert_eq!((gone.version, gone.value), (2, None));
            assert!(store.scan(&all()).unwrap().1.is_empty());
            let range = all();
            let scanned = Scanned { range, position };
            assert!(!store.unchanged(std::iter::empty(), &[scanned]).unwrap());
        }
    }

    #[test]
    fn a_durable_storage_gets_what_the_log_holds_and_no_more() {
        let storage = SimStorage::new();
        let store = Store::new(Arc::new(storage.clone()));
        for (stamp, value) in [(3, "1"), (9, "2"), (7, "3")] {
            let changes = [put("a", value), put(value, value)];
            store.install(Stamp(stamp), &changes).unwrap();
        }
        assert_eq!(storage.mark(), Mark::default());
        store.settle(2);
        let (ordinal, stamp) = (2, Stamp(9));
        assert_eq!(storage.mark(), Mark { ordinal, stamp });
        assert_eq!(storage.get(b"a").unwrap().version, 2);
        assert_eq!(store.get(b"a").unwrap().version, 3);
        let rows = store.scan(&all()).unwrap().1;
        let versions: Vec<_> = rows
            .iter()
            .map(|(key, version, _)| (key[0], *version))
            .collect();
        assert_eq!(versions, [(b'a', 3)]);
        store.settle(3);
        assert!(store.state.lock().recent.is_empty());
        assert_eq!(store.get(b"a").unwrap().version, 3);
    }

    #[test]
    fn a_failed_storage_answers_nothing_any_more() {
        let storage = SimStorage::new();
        let store = Store::new(Arc::new(storage.clone()));
        store.install(Stamp(1), &[put("a", "1")]).unwrap();
        storage.fail_after(0);
        store.settle(1);
        assert!(matches!(store.failure(), Some(StorageError::NoSpace(_))));
        assert!(store.install(Stamp(2), &[put("b", "1")]).is_err());
        assert!(store.get(b"b").is_err());
        assert_eq!(store.newest(), 1);
    }
}
