//! What is committed: in the database, and above it what is decided and on its way there.
//!
//! Invariants:
//! - R1 A row of a decided transaction is in `recent` until the database has said that the branch is committed. So who
//!   looks here first, and asks the database if there is nothing, sees every decided transaction.
//! - R2 Commits have numbers without gaps, in the order in which they were installed; `applied` is the largest below
//!   which none is on its way.
//! - R4 A branch is prepared only when no other branch with one of its keys is left in the database: what the other one has
//!   inserted, for example, cannot be seen and would not be deleted.
//! - R3 After the first failure nothing is answered any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use co_core::Stamp;
use participant::engine::Stored;
use participant::storage::{Batch, Cause, Cell, Mark, Storage, StorageError, Visit};
use participant::{Change, Key, KeyRange, Value};
use tokio::sync::Notify;

/// A row that is decided.
#[derive(Clone, Debug)]
struct Recent {
    ordinal: u64,
    value: Option<Value>,
}

#[derive(Debug, Default)]
struct State {
    newest: u64,
    stamp: Stamp,
    recent: BTreeMap<Key, Recent>,
    on_the_way: BTreeSet<u64>,
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

/// How long a checkpoint waits for commits that are on their way to the database: the site stands still meanwhile.
pub(crate) const PERSIST_PATIENCE: Duration = Duration::from_secs(2);

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
pub(super) struct Rows {
    state: Mutex<State>,
    /// Told when something has arrived in the database, or has left it.
    arrived: Condvar,
    /// The same for who waits without a thread.
    moved: Notify,
    failure: OnceLock<StorageError>,
    recording: bool,
    storage: Arc<dyn Storage>,
    marks: Arc<Marks>,
}

impl Rows {
    pub(super) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool) -> Self {
        let marks = Marks::new(mark, keep, recording);
        let state = State {
            newest: mark.ordinal,
            stamp: mark.stamp,
            ..State::default()
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

    /// What is known of a key, and the number of its version.
    pub(super) fn key(&self, key: &Key) -> (u64, Known) {
        let state = self.lock();
        let version = state.versions.get(key).copied().unwrap_or(0);
        match state.recent.get(key) {
            Some(recent) => (version, Known::Value(recent.value.clone())),
            None => (version, Known::InDatabase),
        }
    }

    /// What is known of a range.
    pub(super) fn range(&self, range: &KeyRange) -> Above {
        let state = self.lock();
        let recent = state.recent.range(range.bounds());
        Above {
            position: state.newest,
            rows: recent
                .map(|(key, recent)| (Key::clone(key), recent.value.clone()))
                .collect(),
        }
    }

    /// The number of a key's version.
    pub(super) fn version(&self, key: &[u8]) -> u64 {
        self.lock().versions.get(key).copied().unwrap_or(0)
    }

    /// The newest commit.
    pub(super) fn position(&self) -> u64 {
        self.lock().newest
    }

    /// Installs the changes of a decided transaction as the next commit; [`Rows::arrive`] follows.
    pub(super) fn install(&self, changes: &[Change], stamp: Stamp) -> u64 {
        let mut state = self.lock();
        state.newest += 1;
        state.stamp = state.stamp.max(stamp);
        let ordinal = state.newest;
        state.on_the_way.insert(ordinal);
        for change in changes {
            let value = match change {
                Change::Put(_, value) => Some(Value::clone(value)),
                Change::Delete(_) => None,
                Change::Increment(..) => unreachable!("the engine has made a put of it"),
            };
            let key = change.key();
            state
                .recent
                .insert(Key::clone(key), Recent { ordinal, value });
            if self.recording {
                state.versions.insert(Key::clone(key), ordinal);
            }
        }
        ordinal
    }

    /// The database has this commit.
    pub(super) fn arrive(&self, ordinal: u64, keys: &[Key]) {
        let mut state = self.lock();
        state.on_the_way.remove(&ordinal);
        for key in keys {
            if state
                .recent
                .get(key)
                .is_some_and(|row| row.ordinal == ordinal)
            {
                state.recent.remove(key);
            }
        }
        drop(state);
        self.arrived.notify_all();
        self.moved.notify_waiters();
    }

    /// A branch with these keys is going to be rolled back; [`Rows::left`] follows.
    pub(super) fn leave(&self, keys: &[Key]) {
        let mut state = self.lock();
        for key in keys {
            *state.leaving.entry(Key::clone(key)).or_insert(0) += 1;
        }
        drop(state);
        // Who waits to prepare one of its own may have been aborted.
        self.moved.notify_waiters();
    }

    /// It is gone, and the database has what was beneath it.
    pub(super) fn left(&self, keys: &[Key], beneath: &[Change]) {
        let mut state = self.lock();
        for change in beneath {
            state.recent.remove(change.key());
        }
        for key in keys {
            if let Some(times) = state.leaving.get_mut(key) {
                *times -= 1;
                if *times == 0 {
                    state.leaving.remove(key);
                }
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// Waits until no branch with one of these keys is left in the database (R4). New ones cannot come: the keys are
    /// locked. Says whether to go on, which is asked of `wanted`.
    pub(super) async fn clear(&self, changes: &[Change], wanted: impl Fn() -> bool) -> bool {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if !wanted() {
                return false;
            }
            let taken = {
                let state = self.lock();
                let taken = |key| state.recent.contains_key(key) || state.leaving.contains_key(key);
                changes.iter().any(|change| taken(change.key()))
            };
            if !taken {
                return true;
            }
            moved.await;
        }
    }

    /// All that the log holds, as changes: after a crash. What the keys of those in doubt had before is left out: their
    /// branches, which hold these rows, were prepared only when it was there (R4).
    pub(super) fn restored(&self, in_doubt: &BTreeSet<Key>) -> Vec<Change> {
        let state = self.lock();
        let rows = state.recent.iter();
        rows.filter(|(key, _)| !in_doubt.contains(*key))
            .map(|(key, row)| change(key, row))
            .collect()
    }

    /// The database has all of that. What the log says of the keys in doubt is still shown from here.
    pub(super) fn settled(&self, in_doubt: &BTreeSet<Key>) {
        let mut state = self.lock();
        state.on_the_way.clear();
        state.recent.retain(|key, _| in_doubt.contains(key));
        drop(state);
        self.arrived.notify_all();
        self.moved.notify_waiters();
    }

    /// What the log says of keys that were in doubt until now.
    pub(super) fn beneath(&self, keys: &[Key]) -> Vec<Change> {
        let state = self.lock();
        let rows = keys.iter();
        rows.filter_map(|key| Some(change(key, state.recent.get(key)?)))
            .collect()
    }

    /// Something went wrong that a restart has to mend (R3).
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

impl Stored for Rows {
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

/// Writes a mark into the database, and waits for that.
pub(crate) type KeepMark = dyn Fn(Mark) -> Result<(), StorageError> + Send + Sync;

/// The database as the site sees it: how far it is.
pub(crate) struct Marks {
    mark: Mutex<Mark>,
    keep: Box<KeepMark>,
    recording: bool,
}

impl Marks {
    /// A site that is `recording` cannot forget its log.
    pub(crate) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool) -> Arc<Self> {
        let mark = Mutex::new(mark);
        Arc::new(Self {
            mark,
            keep,
            recording,
        })
    }

    pub(crate) fn set(&self, mark: Mark) -> Result<(), StorageError> {
        (self.keep)(mark)?;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        Ok(())
    }
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

/// An error of the site's storage that has no error of the system behind it.
pub(crate) fn failed(why: impl Into<String>) -> StorageError {
    StorageError::Failed(Cause::new(std::io::Error::other(why.into())))
}

impl Storage for Marks {
    /// A site that writes a history keeps its log whole, as one whose data is nowhere else: it makes no checkpoints.
    fn is_durable(&self) -> bool {
        !self.recording
    }

    fn mark(&self) -> Mark {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, _: &[u8]) -> Result<Cell, StorageError> {
        Err(failed("rows are read through the engine"))
    }

    /// The site looks through its storage only to begin a history in the middle.
    fn scan(&self, _: &KeyRange, _: Visit<'_>) -> Result<(), StorageError> {
        Err(failed(
            "the database does not keep the numbers of versions: begin the history with the site's log",
        ))
    }

    fn apply(&self, _: Batch) -> Result<(), StorageError> {
        Err(failed("rows are written through branches"))
    }

    fn persist(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
