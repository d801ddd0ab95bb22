//! The site's commits: their numbers, and for the history, which of them wrote each key last.
//!
//! Invariants:
//! - V1 A commit has its number, and its keys have it as their version, before the database is told to commit the branch.
//!   Who reads a key under the database's lock looks its version up afterwards: it is that of the value.
//! - V2 Commits have numbers without gaps, in the order in which they were installed.
//! - V3 After the first failure nothing is answered any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use co_core::Stamp;
use participant::engine::{Committed, Row, Stored};
use participant::storage::{Mark, Storage, StorageError};
use participant::{Change, Key, KeyRange, Value};
use tokio::sync::Notify;

use crate::ordered::rows::{KeepMark, Marks, PERSIST_PATIENCE, failed};

/// What wrote a key last.
#[derive(Clone, Copy, Debug)]
struct Version {
    ordinal: u64,
    present: bool,
}

#[derive(Debug)]
struct State {
    newest: u64,
    stamp: Stamp,
    on_the_way: BTreeSet<u64>,
    /// Kept only while a history is written.
    versions: BTreeMap<Key, Version>,
}

#[derive(Debug)]
pub(super) struct Versions {
    state: Mutex<State>,
    /// Told when a commit has arrived in the database.
    arrived: Condvar,
    /// The same for who waits without a thread.
    moved: Notify,
    failure: OnceLock<StorageError>,
    recording: bool,
    storage: Arc<dyn Storage>,
    marks: Arc<Marks>,
}

impl State {
    /// A row that nobody of this history has written is there: it was before the history began.
    fn existed(&mut self, key: &Key) {
        let before = Version {
            ordinal: 0,
            present: true,
        };
        self.versions.entry(Key::clone(key)).or_insert(before);
    }
}

impl Versions {
    pub(super) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool) -> Self {
        let marks = Marks::new(mark, keep, recording);
        let state = State {
            newest: mark.ordinal,
            stamp: mark.stamp,
            on_the_way: BTreeSet::new(),
            versions: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            moved: Notify::new(),
            failure: OnceLock::new(),
            recording,
            storage: Arc::clone(&marks) as Arc<dyn Storage>,
            marks,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a commit its number (V1); [`Versions::arrive`] follows.
    pub(super) fn install(&self, changes: &[Change], stamp: Stamp) -> u64 {
        let mut state = self.lock();
        state.newest += 1;
        state.stamp = state.stamp.max(stamp);
        let ordinal = state.newest;
        state.on_the_way.insert(ordinal);
        if self.recording {
            for change in changes {
                let present = !matches!(change, Change::Delete(_));
                let version = Version { ordinal, present };
                state.versions.insert(Key::clone(change.key()), version);
            }
        }
        ordinal
    }

    /// The database has this commit.
    pub(super) fn arrive(&self, ordinal: u64) {
        self.lock().on_the_way.remove(&ordinal);
        self.arrived.notify_all();
        self.moved.notify_waiters();
    }

    /// Waits until the database has all commits that are decided now.
    pub(super) async fn caught_up(&self) {
        let newest = self.lock().newest;
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.lock().on_the_way.range(..=newest).next().is_none() {
                return;
            }
            moved.await;
        }
    }

    /// The commits that are on their way: after a crash, those that the log has and the mark does not.
    pub(super) fn unfinished(&self) -> Vec<u64> {
        self.lock().on_the_way.iter().copied().collect()
    }

    /// The version of a key that was read, and found or not.
    pub(super) fn read(&self, key: &Key, found: bool) -> u64 {
        let mut state = self.lock();
        if self.recording && found {
            state.existed(key);
        }
        state.versions.get(key).map_or(0, |it| it.ordinal)
    }

    /// The rows that a transaction has read in a range, as the history names them: without its own, and with what it
    /// has overwritten.
    pub(super) fn seen(
        &self,
        rows: &[(Key, Value)],
        own: impl Iterator<Item = Key>,
    ) -> (u64, Vec<Row>) {
        let mut state = self.lock();
        if !self.recording {
            return (state.newest, Vec::new());
        }
        let own: BTreeSet<Key> = own.collect();
        for (key, _) in rows.iter().filter(|(key, _)| !own.contains(key)) {
            state.existed(key);
        }
        let rows = rows
            .iter()
            .map(|(key, value)| (Key::clone(key), Value::clone(value)));
        let mut seen: BTreeMap<Key, Value> = rows.collect();
        for key in own {
            seen.remove(&key);
            if state.versions.get(&key).is_some_and(|it| it.present) {
                // Only the version counts.
                seen.insert(key, Value::from([]));
            }
        }
        let version = |key: &Key| state.versions.get(key).map_or(0, |it| it.ordinal);
        let rows = seen.into_iter().map(|(key, value)| {
            let version = version(&key);
            (key, version, value)
        });
        (state.newest, rows.collect())
    }

    /// Something went wrong that a restart has to mend (V3).
    pub(super) fn fail(&self, error: StorageError) {
        self.failure.get_or_init(|| error);
        self.arrived.notify_all();
    }

    /// Waits until all commits up to the newest one are in the database, but not for one that is away.
    fn wait(&self) -> Result<Mark, StorageError> {
        let end = Instant::now() + PERSIST_PATIENCE;
        let mut state = self.lock();
        let mark = Mark {
            ordinal: state.newest,
            stamp: state.stamp,
        };
        while state.on_the_way.range(..=mark.ordinal).next().is_some() {
            if let Some(failure) = self.failure.get() {
                return Err(failure.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed("the database has not got all commits yet"));
            }
            let woken = self.arrived.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(mark)
    }
}

/// For the history alone.
impl Committed for Versions {
    fn position(&self) -> u64 {
        self.lock().newest
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.lock().versions.get(key).map_or(0, |it| it.ordinal)
    }

    /// What the commits of the log have left; the values are nobody's concern.
    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        let state = self.lock();
        let inside = state.versions.range(range.bounds());
        inside
            .filter(|(_, version)| version.present)
            .map(|(key, version)| (Key::clone(key), version.ordinal, Value::from([])))
            .collect()
    }
}

impl Stored for Versions {
    fn newest(&self) -> u64 {
        self.position()
    }

    /// Nothing waits for it: a branch is committed as soon as that is decided. Should the site's log not have the
    /// decision after a crash, the transaction is in doubt, and its coordinator says it again.
    fn settle(&self, _: u64) {}

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn persist(&self) -> Result<Mark, StorageError> {
        if self.recording {
            // The numbers of the versions are in the site's log, and nowhere else.
            return Err(failed("a site that writes a history cannot forget its log"));
        }
        let mark = self.wait()?;
        self.marks.set(mark)?;
        Ok(mark)
    }

    fn failure(&self) -> Option<StorageError> {
        self.failure.get().cloned()
    }
}
