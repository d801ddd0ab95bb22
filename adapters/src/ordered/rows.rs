//! What is committed: in the database, and above it what is decided and on its way there.
//!
//! Invariants:
//! - R1 A row of a decided transaction is in `recent` until the database has said that the branch is committed. So who
//!   looks here first, and asks the database if there is nothing, sees every decided transaction.
//! - R2 A branch is prepared only when no other branch with one of its keys is left in the database: what the other one has
//!   inserted, for example, cannot be seen and would not be deleted.

use std::collections::{BTreeMap, BTreeSet};

use co_core::Stamp;
use participant::storage::{Mark, StorageError};
use participant::{Change, Key, KeyRange, Value};

use crate::progress::{KeepMark, Progress};

/// A row that is decided.
#[derive(Clone, Debug)]
struct Recent {
    ordinal: u64,
    value: Option<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    recent: BTreeMap<Key, Recent>,
    /// The keys of branches that are being rolled back, and how many times.
    leaving: BTreeMap<Key, u32>,
    /// The number of the newest commit of each key, for the history; kept only while one is written.
    versions: BTreeMap<Key, u64>,
}

fn change(key: &Key, row: &Recent) -> Change {
    match &row.value {
        Some(value) => Change::Put(Key::clone(key), Value::clone(value)),
        None => Change::Delete(Key::clone(key)),
    }
}

/// What is known of a key without asking the database.
pub(super) enum Known {
    /// Its value.
    Value(Option<Value>),
    /// The database has it.
    InDatabase,
}

/// What is known of a range: the newest commit, and the rows that replace those of the database.
pub(super) struct Above {
    pub(super) position: u64,
    pub(super) rows: BTreeMap<Key, Option<Value>>,
}

#[derive(Debug)]
pub(super) struct Rows(Progress<Kept>);

impl Rows {
    pub(super) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool) -> Self {
        Self(Progress::new(mark, keep, recording, Kept::default()))
    }

    /// How far the database is.
    pub(super) const fn progress(&self) -> &Progress<Kept> {
        &self.0
    }

    /// What is known of a key, and the number of its version.
    pub(super) fn key(&self, key: &Key) -> (u64, Known) {
        let state = self.0.lock();
        let version = state.kept.versions.get(key).copied().unwrap_or(0);
        match state.kept.recent.get(key) {
            Some(recent) => (version, Known::Value(recent.value.clone())),
            None => (version, Known::InDatabase),
        }
    }

    /// What is known of a range.
    pub(super) fn range(&self, range: &KeyRange) -> Above {
        let state = self.0.lock();
        let recent = state.kept.recent.range(range.bounds());
        Above {
            position: state.newest(),
            rows: recent
                .map(|(key, recent)| (Key::clone(key), recent.value.clone()))
                .collect(),
        }
    }

    /// The number of a key's version.
    pub(super) fn version(&self, key: &[u8]) -> u64 {
        self.0.lock().kept.versions.get(key).copied().unwrap_or(0)
    }

    /// The newest commit.
    pub(super) fn position(&self) -> u64 {
        self.0.lock().newest()
    }

    /// Installs the changes of a decided transaction as the next commit; [`Rows::arrive`] follows.
    pub(super) fn install(&self, changes: &[Change], stamp: Stamp) -> u64 {
        let mut state = self.0.lock();
        let ordinal = state.install(stamp);
        for change in changes {
            let value = match change {
                Change::Put(_, value) => Some(Value::clone(value)),
                Change::Delete(_) => None,
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            };
            let key = change.key();
            let recent = Recent { ordinal, value };
            state.kept.recent.insert(Key::clone(key), recent);
            if self.0.is_recording() {
                state.kept.versions.insert(Key::clone(key), ordinal);
            }
        }
        ordinal
    }

    /// The database has this commit.
    pub(super) fn arrive(&self, ordinal: u64, keys: &[Key]) {
        let mut state = self.0.lock();
        state.arrive(ordinal);
        let recent = &mut state.kept.recent;
        for key in keys {
            if recent.get(key).is_some_and(|row| row.ordinal == ordinal) {
                recent.remove(key);
            }
        }
        drop(state);
        self.0.wake();
    }

    /// A branch with these keys is going to be rolled back; [`Rows::left`] follows.
    pub(super) fn leave(&self, keys: &[Key]) {
        let mut state = self.0.lock();
        for key in keys {
            *state.kept.leaving.entry(Key::clone(key)).or_insert(0) += 1;
        }
        drop(state);
        // Who waits to prepare one of its own may have been aborted.
        self.0.wake();
    }

    /// It is gone, and the database has what was beneath it.
    pub(super) fn left(&self, keys: &[Key], beneath: &[Change]) {
        let mut state = self.0.lock();
        for change in beneath {
            state.kept.recent.remove(change.key());
        }
        for key in keys {
            if let Some(times) = state.kept.leaving.get_mut(key) {
                *times -= 1;
                if *times == 0 {
                    state.kept.leaving.remove(key);
                }
            }
        }
        drop(state);
        self.0.wake();
    }

    /// Waits until no branch with one of these keys is left in the database (R2). New ones cannot come: the keys are
    /// locked. Says whether to go on, which is asked of `wanted`.
    pub(super) async fn clear(&self, changes: &[Change], wanted: impl Fn() -> bool) -> bool {
        loop {
            let mut moved = std::pin::pin!(self.0.moved());
            moved.as_mut().enable();
            if !wanted() {
                return false;
            }
            let taken = {
                let state = self.0.lock();
                let taken = |key| {
                    state.kept.recent.contains_key(key) || state.kept.leaving.contains_key(key)
                };
                changes.iter().any(|change| taken(change.key()))
            };
            if !taken {
                return true;
            }
            moved.await;
        }
    }

    /// All that the log holds, as changes: after a crash. What the keys of those in doubt had before is left out: their
    /// branches, which hold these rows, were prepared only when it was there (R2).
    pub(super) fn restored(&self, in_doubt: &BTreeSet<Key>) -> Vec<Change> {
        let state = self.0.lock();
        let rows = state.kept.recent.iter();
        rows.filter(|(key, _)| !in_doubt.contains(*key))
            .map(|(key, row)| change(key, row))
            .collect()
    }

    /// The database has all of that. What the log says of the keys in doubt is still shown from here.
    pub(super) fn settled(&self, in_doubt: &BTreeSet<Key>) {
        let mut state = self.0.lock();
        state.arrive_all();
        state.kept.recent.retain(|key, _| in_doubt.contains(key));
        drop(state);
        self.0.wake();
    }

    /// What the log says of keys that were in doubt until now.
    pub(super) fn beneath(&self, keys: &[Key]) -> Vec<Change> {
        let state = self.0.lock();
        let rows = keys.iter();
        rows.filter_map(|key| Some(change(key, state.kept.recent.get(key)?)))
            .collect()
    }

    /// Something went wrong that a restart has to mend.
    pub(super) fn fail(&self, error: StorageError) {
        self.0.fail(error);
    }
}
