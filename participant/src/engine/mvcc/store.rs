//! The values: the newest ones in the storage, and above it the versions that a snapshot or a query may still
//! need. Who may read which one, and who waits for whom, is [`VersionOrder`](co_core::VersionOrder)'s business.
//!
//! Positions of the version order count from the start of this life; version numbers go on over all lives.
//!
//! Invariants (and those of `backing`):
//! - M1 A commit's values are all in the store before a snapshot shows its version, and before its writer's
//!   intents go; so neither a reader nor a query meets a part of it, or finds it gone from both.
//! - M2 Versions are never taken back or changed, so what a snapshot or a stamp shows stays, until it is
//!   forgotten.
//! - M6 A version is forgotten when a newer one of its key is shown by every snapshot and counts for every
//!   query of now or later, and is in the storage.
//! - M7 A key without versions here has not changed since the last commit that was forgotten: all snapshots and
//!   queries see what is in the storage.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use co_core::{Position, Stamp};

use super::version::Chain;
use crate::engine::backing::{Backing, Found, Stored, next_mark};
use crate::engine::workspace::{Committed, Row};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Value};
use crate::storage::{Batch, Cell, Mark, Storage, StorageError};
use crate::sync::Mutex;

#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<State>,
    backing: Backing,
    /// The version number before the first one of this life.
    base: u64,
}

#[derive(Debug)]
struct State {
    newest: Mark,
    chains: BTreeMap<Key, Chain>,
    /// Commits whose versions are kept, oldest first.
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    mark: Mark,
    keys: Vec<Key>,
}

impl Store {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        let newest = storage.mark();
        let state = State {
            newest,
            chains: BTreeMap::new(),
            kept: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            backing: Backing::new(storage),
            base: newest.ordinal,
        }
    }

    /// The number of the version that a snapshot shows last.
    pub(super) const fn number(&self, position: Position) -> u64 {
        self.base + position.0
    }

    /// Stores changes as the site's next version; says its number. A failure changes nothing.
    pub(super) fn install(
        &self,
        position: Position,
        stamp: Stamp,
        changes: &[Change],
    ) -> Result<u64, StorageError> {
        self.backing.check()?;
        let mut state = self.state.lock();
        let mark = next_mark(state.newest, stamp);
        assert_eq!(mark.ordinal, self.number(position), "M1: versions in order");
        let mut before = Vec::with_capacity(changes.len());
        for change in changes {
            let known = state.chains.contains_key(change.key());
            before.push(if known {
                None
            } else {
                Some(self.backing.get(change.key())?)
            });
        }
        let mut rows = Vec::with_capacity(changes.len());
        for (change, before) in changes.iter().zip(before) {
            let chain = state.chains.entry(Arc::clone(change.key())).or_default();
            if let Some(before) = before {
                chain.begin(before);
            }
            chain.install(mark.ordinal, stamp, change);
            rows.push((Arc::clone(change.key()), chain.newest()));
        }
        self.backing.take(Batch { rows, mark })?;
        state.newest = mark;
        let keys = changes.iter().map(|change| Arc::clone(change.key()));
        state.kept.push_back(Kept {
            mark,
            keys: keys.collect(),
        });
        Ok(mark.ordinal)
    }

    /// Forgets the oldest commits until only `keep` are left, as far as snapshots, queries and the storage
    /// allow (M6). `forget_before` raises the floor of the queries and says where it is then.
    pub(super) fn forget(
        &self,
        keep: usize,
        horizon: Position,
        forget_before: impl Fn(Stamp) -> Stamp,
    ) {
        let mut state = self.state.lock();
        if state.kept.len() <= keep {
            return;
        }
        let limit = self.number(horizon).min(self.backing.mark().ordinal);
        let State { chains, kept, .. } = &mut *state;
        while let Some(oldest) = kept.front()
            && kept.len() > keep
            && oldest.mark.ordinal <= limit
            && forget_before(oldest.mark.stamp) >= oldest.mark.stamp
            && let Some(forgotten) = kept.pop_front()
        {
            for key in &forgotten.keys {
                if let Some(chain) = chains.get_mut(key)
                    && chain.forget(forgotten.mark.ordinal)
                {
                    chains.remove(key);
                }
            }
        }
    }

    /// How many keys have versions here.
    #[cfg(test)]
    pub(super) fn chains(&self) -> usize {
        self.state.lock().chains.len()
    }

    /// What a snapshot at `position` shows of a key: the version, zero if there is none, and the value.
    pub(super) fn at(
        &self,
        key: &[u8],
        position: Position,
    ) -> Result<(u64, Option<Value>), StorageError> {
        self.backing.check()?;
        let state = self.state.lock();
        if let Some(chain) = state.chains.get(key) {
            let version = chain.at(self.number(position));
            return Ok(version.map_or((0, None), |version| {
                (version.sequence, version.value.clone())
            }));
        }
        let cell = self.backing.get(key)?;
        Ok((cell.version, cell.value))
    }

    /// The present rows of a range that a snapshot at `position` shows.
    pub(super) fn rows_at(
        &self,
        range: &KeyRange,
        position: Position,
    ) -> Result<Vec<Row>, StorageError> {
        let shown = self.number(position);
        self.rows_with(range, |key, found| {
            let (version, value) = match found {
                Found::Recent(chain) => {
                    let version = chain.at(shown)?;
                    (version.sequence, version.value.as_ref()?)
                }
                Found::Stored(cell) => (cell.version, cell.value.as_ref()?),
            };
            Some((Arc::clone(key), version, Arc::clone(value)))
        })
    }

    /// The rows of a range as everything decided up to `stamp` has left them.
    pub(super) fn rows_as_of(
        &self,
        range: &KeyRange,
        stamp: Stamp,
    ) -> Result<Vec<(Key, Value)>, StorageError> {
        self.rows_with(range, |key, found| {
            let value = match found {
                Found::Recent(chain) => chain.as_of(stamp)?,
                Found::Stored(cell) => {
                    debug_assert!(cell.stamp <= stamp, "M7: as old as the floor");
                    cell.value.clone()?
                }
            };
            Some((Arc::clone(key), value))
        })
    }

    /// What `row` makes of each key of a range; one more than a scan may return at most.
    fn rows_with<R>(
        &self,
        range: &KeyRange,
        mut row: impl FnMut(&Key, Found<'_, &Chain>) -> Option<R>,
    ) -> Result<Vec<R>, StorageError> {
        let state = self.state.lock();
        let recent = state.chains.range(range.bounds());
        let mut rows = Vec::new();
        self.backing.merged(range, recent, |key, found| {
            rows.extend(row(key, found));
            if rows.len() > MAX_SCAN_ROWS {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// The newest version of a key.
    pub(super) fn newest_cell(&self, key: &[u8]) -> Result<Cell, StorageError> {
        self.backing.check()?;
        let state = self.state.lock();
        match state.chains.get(key) {
            Some(chain) => Ok(chain.newest()),
            None => self.backing.get(key),
        }
    }
}

impl Stored for Store {
    fn newest(&self) -> u64 {
        self.state.lock().newest.ordinal
    }

    fn settle(&self, through: u64) {
        // The rows stay here until they are forgotten.
        drop(self.backing.settle(through));
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
        self.newest_cell(key).unwrap_or_default().version
    }

    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        let position = Position(self.newest() - self.base);
        self.rows_at(range, position).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimStorage;

    fn key(number: u64) -> Key {
        Key::from(number.to_be_bytes().as_slice())
    }

    #[test]
    fn versions_go_when_neither_snapshots_nor_queries_nor_the_storage_need_them() {
        let storage = SimStorage::new();
        let store = Store::new(Arc::new(storage.clone()));
        for number in 1..=8u64 {
            let value = Value::from(number.to_le_bytes().as_slice());
            let changes = [Change::Put(key(number % 3), value)];
            let installed = store.install(Position(number), Stamp(number * 10), &changes);
            assert_eq!(installed.unwrap(), number);
        }
        let all = |stamp: Stamp| stamp;
        store.forget(0, Position(8), all);
        assert_eq!(store.chains(), 3, "the storage has nothing");
        store.settle(8);
        store.forget(0, Position(8), |stamp| stamp.min(Stamp(0)));
        store.forget(0, Position(0), all);
        assert_eq!(store.chains(), 3, "a query and a snapshot need them");
        store.forget(3, Position(8), all);
        // The last three commits changed one key each; what they overwrote was at the edge.
        assert_eq!(store.chains(), 3);
        assert_eq!(store.at(&key(0), Position(5)).unwrap().0, 3);
        assert_eq!(store.at(&key(0), Position(6)).unwrap().0, 6);
        store.forget(1, Position(8), all);
        assert_eq!(store.chains(), 1);
        store.forget(0, Position(8), all);
        assert_eq!(store.chains(), 0);
        assert_eq!(store.at(&key(2), Position(8)).unwrap().0, 8);

        // The next life goes on from there.
        let store = Store::new(Arc::new(storage));
        let changes = [Change::Delete(key(2))];
        assert_eq!(store.install(Position(1), Stamp(90), &changes).unwrap(), 9);
        assert_eq!(store.at(&key(2), Position(0)).unwrap().0, 8);
        assert_eq!(store.at(&key(2), Position(1)).unwrap(), (9, None));
    }
}
