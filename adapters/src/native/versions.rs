//! The site's commits: their numbers, and for the history, which of them wrote each key last.
//!
//! Invariants:
//! - V1 A commit has its number, and its keys have it as their version, before the database is told to commit the branch.
//!   Who reads a key under the database's lock looks its version up afterwards: it is that of the value.

use std::collections::{BTreeMap, BTreeSet};

use co_core::Stamp;
use participant::engine::{Committed, Row};
use participant::storage::{Mark, StorageError};
use participant::{Change, Key, KeyRange, Value};

use crate::progress::{KeepMark, Progress};

/// What wrote a key last.
#[derive(Clone, Copy, Debug)]
struct Version {
    ordinal: u64,
    present: bool,
}

/// Of every key; kept only while a history is written.
#[derive(Debug, Default)]
pub(super) struct Newest(BTreeMap<Key, Version>);

#[derive(Debug)]
pub(super) struct Versions(Progress<Newest>);

impl Newest {
    fn of(&self, key: &[u8]) -> u64 {
        self.0.get(key).map_or(0, |version| version.ordinal)
    }

    /// A row that nobody of this history has written is there: it was before the history began.
    fn existed(&mut self, key: &Key) {
        let before = Version {
            ordinal: 0,
            present: true,
        };
        self.0.entry(Key::clone(key)).or_insert(before);
    }
}

impl Versions {
    pub(super) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool) -> Self {
        Self(Progress::new(mark, keep, recording, Newest::default()))
    }

    /// How far the database is.
    pub(super) const fn progress(&self) -> &Progress<Newest> {
        &self.0
    }

    /// Gives a commit its number (V1); [`Versions::arrive`] follows.
    pub(super) fn install(&self, changes: &[Change], stamp: Stamp) -> u64 {
        let mut state = self.0.lock();
        let ordinal = state.install(stamp);
        if self.0.is_recording() {
            for change in changes {
                let present = !matches!(change, Change::Delete(_));
                let version = Version { ordinal, present };
                state.kept.0.insert(Key::clone(change.key()), version);
            }
        }
        ordinal
    }

    /// The database has this commit.
    pub(super) fn arrive(&self, ordinal: u64) {
        self.0.lock().arrive(ordinal);
        self.0.wake();
    }

    /// Waits until the database has all commits that are decided now.
    pub(super) async fn caught_up(&self) {
        self.0.caught_up().await;
    }

    /// The commits that are on their way.
    pub(super) fn unfinished(&self) -> Vec<u64> {
        self.0.lock().unfinished()
    }

    /// The version of a key that was read, and found or not.
    pub(super) fn read(&self, key: &Key, found: bool) -> u64 {
        let mut state = self.0.lock();
        if self.0.is_recording() && found {
            state.kept.existed(key);
        }
        state.kept.of(key)
    }

    /// The rows that a transaction has read in a range, as the history names them: without its own, and with what it
    /// has overwritten.
    pub(super) fn seen(
        &self,
        rows: &[(Key, Value)],
        own: impl Iterator<Item = Key>,
    ) -> (u64, Vec<Row>) {
        let mut state = self.0.lock();
        if !self.0.is_recording() {
            return (state.newest(), Vec::new());
        }
        let own: BTreeSet<Key> = own.collect();
        for (key, _) in rows.iter().filter(|(key, _)| !own.contains(key)) {
            state.kept.existed(key);
        }
        let rows = rows
            .iter()
            .map(|(key, value)| (Key::clone(key), Value::clone(value)));
        let mut seen: BTreeMap<Key, Value> = rows.collect();
        for key in own {
            seen.remove(&key);
            if state.kept.0.get(&key).is_some_and(|it| it.present) {
                // Only the version counts.
                seen.insert(key, Value::from([]));
            }
        }
        let version = |key: &Key| state.kept.of(key);
        let rows = seen.into_iter().map(|(key, value)| {
            let version = version(&key);
            (key, version, value)
        });
        (state.newest(), rows.collect())
    }

    /// Something went wrong that a restart has to mend.
    pub(super) fn fail(&self, error: StorageError) {
        self.0.fail(error);
    }
}

/// For the history alone.
impl Committed for Versions {
    fn position(&self) -> u64 {
        self.0.lock().newest()
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.0.lock().kept.of(key)
    }

    /// What the commits of the log have left; the values are nobody's concern.
    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        let state = self.0.lock();
        let inside = state.kept.0.range(range.bounds());
        inside
            .filter(|(_, version)| version.present)
            .map(|(key, version)| (Key::clone(key), version.ordinal, Value::from([])))
            .collect()
    }
}
