//! A store in memory that remembers in which order values were put into it: what a site shows, and what that replaces.

use std::sync::{Mutex, PoisonError};

use participant::storage::{Batch, Cell, Mark, Memory, Storage, StorageError, Visit};
use participant::{Key, KeyRange, Value};

/// The store of one site.
#[derive(Debug)]
pub(crate) struct Watched {
    memory: Memory,
    unseen: Mutex<Vec<(Key, Value)>>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            memory: Memory::new(),
            unseen: Mutex::default(),
        }
    }

    /// What was put since the last call.
    pub(crate) fn take_unseen(&self) -> Vec<(Key, Value)> {
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *unseen)
    }
}

impl Storage for Watched {
    fn is_durable(&self) -> bool {
        self.memory.is_durable()
    }

    fn mark(&self) -> Mark {
        self.memory.mark()
    }

    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        self.memory.get(key)
    }

    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        self.memory.scan(range, visit)
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        let values = batch
            .rows
            .iter()
            .filter_map(|(key, cell)| Some((key.clone(), cell.value.clone()?)));
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.extend(values);
        drop(unseen);
        self.memory.apply(batch)
    }

    fn persist(&self) -> Result<(), StorageError> {
        self.memory.persist()
    }
}
