//! The store in memory: what it holds goes with the process.

use std::collections::BTreeMap;

use super::{Batch, Cell, Mark, Storage, StorageError, Visit};
use crate::participant::{Key, KeyRange};
use crate::sync::Mutex;

/// Committed data in memory.
///
/// ```
/// use participant::storage::{Batch, Cell, Mark, Memory, Storage};
///
/// let store = Memory::new();
/// let cell = Cell { version: 1, value: Some((*b"v").into()), ..Cell::default() };
/// let mark = Mark { ordinal: 1, ..Mark::default() };
/// store.apply(Batch { rows: vec![((*b"k").into(), cell.clone())], mark })?;
/// assert_eq!(store.get(b"k")?, cell);
/// assert_eq!(store.mark(), mark);
/// # Ok::<(), participant::storage::StorageError>(())
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    rows: BTreeMap<Key, Cell>,
    pub(super) mark: Mark,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl State {
    pub(super) fn get(&self, key: &[u8]) -> Cell {
        self.rows.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn scan(&self, range: &KeyRange, visit: Visit<'_>) {
        for (key, cell) in self.rows.range(range.bounds()) {
            if visit(key, cell).is_break() {
                return;
            }
        }
    }

    pub(super) fn apply(&mut self, batch: Batch) {
        assert!(
            self.mark.ordinal < batch.mark.ordinal,
            "D1: batches in order"
        );
        for (key, cell) in batch.rows {
            self.rows.insert(key, cell);
        }
        self.mark = batch.mark;
    }
}

impl Storage for Memory {
    fn is_durable(&self) -> bool {
        false
    }

    fn mark(&self) -> Mark {
        self.state.lock().mark
    }

    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        Ok(self.state.lock().get(key))
    }

    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        self.state.lock().scan(range, visit);
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        self.state.lock().apply(batch);
        Ok(())
    }

    fn persist(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
