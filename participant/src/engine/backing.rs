//! What both kinds of engine store keep below their recent versions: the storage, what waits to go there, and
//! whether it has failed.
//!
//! Invariants:
//! - B1 A durable storage gets a commit only after [`Stored::settle`] has said that the log holds it; until
//!   then, and until its rows are in the storage, the engine's store holds them in memory.
//! - B2 After the first failure nothing is read or written any more, and everybody who asks hears of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use co_core::Stamp;

use crate::engine::number;
use crate::participant::{Change, Key, KeyRange, Value};
use crate::storage::{Batch, Cell, Mark, Storage, StorageError, Visit};
use crate::sync::Mutex;

/// What a site asks of its engine's committed data.
pub trait Stored: Send + Sync {
    /// The ordinal of the newest commit that is visible: how many have changed something, in this life and
    /// those before.
    fn newest(&self) -> u64;

    /// The site's log holds all commits up to this ordinal: they may go to the storage (B1). A failure is kept
    /// ([`Stored::failure`]).
    fn settle(&self, through: u64);

    /// Where they go.
    fn storage(&self) -> &Arc<dyn Storage>;

    /// Makes durable what has gone there, and says how much that is.
    ///
    /// # Errors
    /// [`StorageError`], also if the storage has failed before. If [`Stored::failure`] says nothing, it is only not possible
    /// now, and nothing is lost but the time.
    fn persist(&self) -> Result<Mark, StorageError>;

    /// Why the storage has failed, if it has: from then on every operation that needs it is refused, and a
    /// commit stays as it is, neither visible nor undone, until a restart.
    fn failure(&self) -> Option<StorageError>;
}

#[derive(Debug)]
pub(crate) struct Backing {
    storage: Arc<dyn Storage>,
    durable: bool,
    failure: OnceLock<StorageError>,
    /// Commits that the storage has not, oldest first.
    waiting: Mutex<VecDeque<Batch>>,
    /// Held while some of them go there.
    settling: Mutex<()>,
}

/// A key's row: in memory above the storage, or in the storage.
pub(crate) enum Found<'a, T> {
    Recent(T),
    Stored(&'a Cell),
}

impl Backing {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            durable: storage.is_durable(),
            storage,
            failure: OnceLock::new(),
            waiting: Mutex::default(),
            settling: Mutex::default(),
        }
    }

    /// Whether commits wait before they go to the storage.
    pub(crate) const fn is_durable(&self) -> bool {
        self.durable
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn mark(&self) -> Mark {
        self.storage.mark()
    }

    pub(crate) fn failure(&self) -> Option<StorageError> {
        self.failure.get().cloned()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Cell, StorageError> {
        self.check()?;
        self.noted(self.storage.get(key))
    }

    /// Shows the rows of a range, `recent` ones, which come in order, in place of those in the storage.
    pub(crate) fn merged<'a, T>(
        &self,
        range: &KeyRange,
        recent: impl Iterator<Item = (&'a Key, T)>,
        mut visit: impl FnMut(&Key, Found<'_, T>) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.check()?;
        let mut recent = recent.peekable();
        let mut flow = ControlFlow::Continue(());
        let scanned = self.storage.scan(range, &mut |key, cell| {
            let mut replaced = false;
            while let Some((newer, found)) = recent.next_if(|(newer, _)| **newer <= *key) {
                replaced = newer == key;
                flow = visit(newer, Found::Recent(found));
                if flow.is_break() {
                    return flow;
                }
            }
            if !replaced {
                flow = visit(key, Found::Stored(cell));
            }
            flow
        });
        self.noted(scanned)?;
        for (key, found) in recent {
            if flow.is_break() {
                break;
            }
            flow = visit(key, Found::Recent(found));
        }
        Ok(())
    }

    /// Takes a commit: to wait for [`Backing::settle`], or to the storage at once if that is volatile.
    pub(crate) fn take(&self, batch: Batch) -> Result<(), StorageError> {
        self.check()?;
        if self.durable {
            self.waiting.lock().push_back(batch);
            return Ok(());
        }
        self.noted(self.storage.apply(batch))
    }

    /// Gives the storage the commits up to this ordinal, together; returns their rows.
    pub(crate) fn settle(&self, through: u64) -> Vec<(Key, Cell)> {
        let _one_at_a_time = self.settling.lock();
        let mut rows = BTreeMap::new();
        let mut mark = None;
        {
            let mut waiting = self.waiting.lock();
            while let Some(front) = waiting.front()
                && front.mark.ordinal <= through
                && let Some(batch) = waiting.pop_front()
            {
                mark = Some(batch.mark);
                rows.extend(batch.rows);
            }
        }
        let Some(mark) = mark else {
            return Vec::new();
        };
        let rows: Vec<_> = rows.into_iter().collect();
        let batch = Batch {
            rows: rows.clone(),
            mark,
        };
        let stored = self
            .check()
            .and_then(|()| self.noted(self.storage.apply(batch)));
        // What is not stored stays visible above it; nobody will be told of anything new.
        stored.map_or_else(|_kept| Vec::new(), |()| rows)
    }

    pub(crate) fn persist(&self) -> Result<Mark, StorageError> {
        self.check()?;
        let mark = self.mark();
        self.noted(self.storage.persist())?;
        Ok(mark)
    }

    /// Refuses if the storage has failed (B2).
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        self.failure.get().cloned().map_or(Ok(()), Err)
    }

    fn noted<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        result.inspect_err(|error| {
            self.failure.get_or_init(|| error.clone());
        })
    }
}

/// The value that a change leaves.
pub(crate) fn changed(change: &Change, before: Option<&Value>) -> Option<Value> {
    match change {
        Change::Put(_, value) => Some(Arc::clone(value)),
        Change::Delete(_) => None,
        Change::Increment(_, delta) => Some(number::add(before.map(|value| &**value), *delta)),
    }
}

/// The mark of a commit that follows `before`.
pub(crate) fn next_mark(before: Mark, stamp: Stamp) -> Mark {
    Mark {
        ordinal: before.ordinal + 1,
        stamp: before.stamp.max(stamp),
    }
}

/// A [`Visit`] that never ends early.
pub(crate) fn each(
    storage: &dyn Storage,
    mut visit: impl FnMut(&Key, &Cell),
) -> Result<(), StorageError> {
    let all = KeyRange {
        low: Key::from([].as_slice()),
        high: None,
    };
    let visit: Visit<'_> = &mut |key, cell| {
        visit(key, cell);
        ControlFlow::Continue(())
    };
    storage.scan(&all, visit)
}
