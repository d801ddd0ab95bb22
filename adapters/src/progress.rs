//! How far the database is behind the decisions: the numbers of the site's commits, and those that are on their way.
//!
//! Invariants:
//! - W1 Commits have numbers without gaps, in the order in which they were installed.
//! - W2 A commit is on its way until the database has said that its branch is committed. A mark that is kept has none on its
//!   way below it.
//! - W3 After the first failure nothing is answered any more.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use co_core::Stamp;
use participant::KeyRange;
use participant::engine::Stored;
use participant::storage::{Batch, Cause, Cell, Mark, Storage, StorageError, Visit};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How long a checkpoint waits for commits that are on their way to the database: the site stands still meanwhile.
const PERSIST_PATIENCE: Duration = Duration::from_secs(2);

/// The commits, and what an engine keeps of them beside their numbers, under one lock.
#[derive(Debug)]
pub(crate) struct State<T> {
    /// The newest commit, and the largest stamp.
    mark: Mark,
    on_the_way: BTreeSet<u64>,
    pub(crate) kept: T,
}

impl<T> State<T> {
    /// The number of the newest commit.
    pub(crate) const fn newest(&self) -> u64 {
        self.mark.ordinal
    }

    /// The next commit has a number, and is on its way.
    pub(crate) fn install(&mut self, stamp: Stamp) -> u64 {
        self.mark.ordinal += 1;
        self.mark.stamp = self.mark.stamp.max(stamp);
        self.on_the_way.insert(self.mark.ordinal);
        self.mark.ordinal
    }

    /// The database has this commit.
    pub(crate) fn arrive(&mut self, ordinal: u64) {
        self.on_the_way.remove(&ordinal);
    }

    /// The database has all of them.
    pub(crate) fn arrive_all(&mut self) {
        self.on_the_way.clear();
    }

    /// The commits that are on their way: after a crash, those that the log has and the mark does not.
    pub(crate) fn unfinished(&self) -> Vec<u64> {
        self.on_the_way.iter().copied().collect()
    }

    fn has_all_up_to(&self, ordinal: u64) -> bool {
        self.on_the_way.range(..=ordinal).next().is_none()
    }
}

#[derive(Debug)]
pub(crate) struct Progress<T> {
    state: Mutex<State<T>>,
    /// Told when something has arrived in the database.
    arrived: Condvar,
    /// The same for who waits without a thread, and when anything else changes that they wait for.
    moved: Notify,
    failure: OnceLock<StorageError>,
    recording: bool,
    storage: Arc<dyn Storage>,
    marks: Arc<Marks>,
}

impl<T> Progress<T> {
    /// The database has all commits up to the mark. A site that is `recording` keeps what a history needs.
    pub(crate) fn new(mark: Mark, keep: Box<KeepMark>, recording: bool, kept: T) -> Self {
        let marks = Arc::new(Marks {
            mark: Mutex::new(mark),
            keep,
            recording,
        });
        let state = State {
            mark,
            on_the_way: BTreeSet::new(),
            kept,
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

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a history is written.
    pub(crate) const fn is_recording(&self) -> bool {
        self.recording
    }

    /// Wakes all who wait for something to arrive, or to change.
    pub(crate) fn wake(&self) {
        self.arrived.notify_all();
        self.moved.notify_waiters();
    }

    /// Is ready at the next [`Progress::wake`]. Who enables it before looking misses none.
    pub(crate) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Waits until the database has all commits that are decided now.
    pub(crate) async fn caught_up(&self) {
        let newest = self.lock().newest();
        loop {
            let mut moved = std::pin::pin!(self.moved());
            moved.as_mut().enable();
            if self.lock().has_all_up_to(newest) {
                return;
            }
            moved.await;
        }
    }

    /// Something went wrong that a restart has to mend (W3).
    pub(crate) fn fail(&self, error: StorageError) {
        self.failure.get_or_init(|| error);
        self.arrived.notify_all();
    }

    /// Waits until all commits up to the newest one are in the database, but not for one that is away.
    fn wait(&self) -> Result<Mark, StorageError> {
        let end = Instant::now() + PERSIST_PATIENCE;
        let mut state = self.lock();
        let mark = state.mark;
        while !state.has_all_up_to(mark.ordinal) {
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

impl<T: fmt::Debug + Send + Sync> Stored for Progress<T> {
    fn newest(&self) -> u64 {
        self.lock().newest()
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
struct Marks {
    mark: Mutex<Mark>,
    keep: Box<KeepMark>,
    recording: bool,
}

impl Marks {
    fn set(&self, mark: Mark) -> Result<(), StorageError> {
        (self.keep)(mark)?;
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        Ok(())
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
