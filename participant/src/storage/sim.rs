//! A durable store for tests: it keeps what is persisted apart from what is only applied, crashes and fails on
//! command.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::memory::State;
use super::{Batch, Cell, Mark, Storage, StorageError, Visit};
use crate::participant::KeyRange;
use crate::sync::Mutex;

/// A store that says of itself that it is durable, and knows what a crash would leave. Clones share it.
///
/// ```
/// use participant::storage::{Batch, Mark, SimStorage, Storage};
///
/// let store = SimStorage::new();
/// let batch = |ordinal| Batch { mark: Mark { ordinal, ..Mark::default() }, ..Batch::default() };
/// store.apply(batch(1))?;
/// store.persist()?;
/// store.apply(batch(2))?;
/// store.apply(batch(3))?;
/// assert_eq!(store.crash(1).mark().ordinal, 2);
/// assert_eq!(store.crash(0).mark().ordinal, 1);
/// # Ok::<(), participant::storage::StorageError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SimStorage {
    images: Arc<Mutex<Images>>,
}

#[derive(Debug, Default)]
struct Images {
    applied: State,
    persisted: State,
    /// Applied since.
    since: VecDeque<Batch>,
    writes: u64,
    fails_at: Option<u64>,
    reads_fail: bool,
}

impl SimStorage {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The store that a restart finds after a crash now: what is persisted, and the first `survivors` of the
    /// batches since (D2).
    #[must_use]
    pub fn crash(&self, survivors: usize) -> Self {
        let images = self.images.lock();
        let mut found = images.persisted.clone();
        for batch in images.since.iter().take(survivors) {
            found.apply(batch.clone());
        }
        drop(images);
        let images = Images {
            applied: found.clone(),
            persisted: found,
            ..Images::default()
        };
        Self {
            images: Arc::new(Mutex::new(images)),
        }
    }

    /// How many batches are applied and not persisted.
    #[must_use]
    pub fn unpersisted(&self) -> usize {
        self.images.lock().since.len()
    }

    /// How many writes and persists there were.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.images.lock().writes
    }

    /// The write or persist after the next `count` ones fails, and every later one.
    pub fn fail_after(&self, count: u64) {
        let mut images = self.images.lock();
        images.fails_at = Some(images.writes + count);
    }

    /// No write or persist is told to fail any more.
    pub fn mend(&self) {
        self.images.lock().fails_at = None;
    }

    /// Every read fails from now on.
    pub fn fail_reads(&self) {
        self.images.lock().reads_fail = true;
    }
}

impl Images {
    fn write(&mut self) -> Result<(), StorageError> {
        if self.fails_at.is_some_and(|at| self.writes >= at) {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        self.writes += 1;
        Ok(())
    }

    fn read(&self) -> Result<&State, StorageError> {
        if self.reads_fail {
            return Err(StorageError::Corrupt {
                what: "a read was told to fail",
            });
        }
        Ok(&self.applied)
    }
}

impl Storage for SimStorage {
    fn is_durable(&self) -> bool {
        true
    }

    fn mark(&self) -> Mark {
        self.images.lock().applied.mark
    }

    fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        Ok(self.images.lock().read()?.get(key))
    }

    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        self.images.lock().read()?.scan(range, visit);
        Ok(())
    }

    fn apply(&self, batch: Batch) -> Result<(), StorageError> {
        let mut images = self.images.lock();
        images.write()?;
        images.since.push_back(batch.clone());
        images.applied.apply(batch);
        Ok(())
    }

    fn persist(&self) -> Result<(), StorageError> {
        let mut images = self.images.lock();
        images.write()?;
        for batch in std::mem::take(&mut images.since) {
            images.persisted.apply(batch);
        }
        Ok(())
    }
}
