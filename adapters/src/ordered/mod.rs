//! The mode `co`: commitment ordering over a database's prepared branches.
//!
//! The adapter tracks conflicts itself, with [`VersionOrder`]: who read which key, and who is going to write it. The database
//! keeps the rows and makes branches durable; it decides nothing about order, so it needs no isolation level of its own
//! beyond statements that see what is committed. That covers what comes through the adapter, by keys and ranges; SQL cannot
//! come through it.
//!
//! | step | here | in the database |
//! |---|---|---|
//! | read | a mark; then what is decided and on its way (`rows`), or | a statement of its own |
//! | write | the key's lock, an intent; the value is kept | nothing |
//! | asked for the vote | | the branch, with all its changes, is prepared |
//! | vote | withheld until all who precede it are decided | |
//! | commit | visible here at once, successors go on | the branch is committed in the background |
//! | abort | forgotten | the branch is rolled back in the background |
//!
//! Invariants:
//! - A1 Nothing is promised that a crash could take: a YES comes after the branch is durable, and the site's log has it only
//!   then. What the log has no YES of is rolled back after a crash, and what it says is committed is made so.
//! - A2 One undecided writer a key at a time: branches never wait for each other in the database, except for one that is
//!   decided and about to end.
//! - A3 What a transaction that is not doomed has read is the newest decided version: who installs a newer one had to wait
//!   for it. So it does not matter when the database ran the statement.

mod branches;
pub(crate) mod hot;
mod rows;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use co_core::{
    AbortReason, Footprint, Grant, LockMode, LockPolicy, LockTable, Reading, Scheduler, Stamp,
    VersionOrder, WriteKind,
};
use participant::engine::{
    Committed, Engine, Entry, Handle, Host, OnFortified, Options, Row, Stored, Workspace,
};
use participant::storage::{Mark, StorageError};
use participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, OperationError, Prepared, TxnName, Value};
use tokio::sync::oneshot;

use self::branches::{Branch, Branches};
use self::hot::HotKeys;
use self::rows::{Known, Rows};
use crate::backend::{Backend, BackendError, Ending, NotPrepared, failing};
use crate::branch::BranchName;
use crate::insist::{Complaints, Task, until_done};
use crate::progress::failed;
use crate::reach::Reach;
use crate::threads::Threads;

/// A database under a commit order.
pub type Ordered<B> = Host<CommitOrdered<B>>;

/// Why an adapter does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No thread could be started.
    #[error("no thread for the database's connections: {0}")]
    Runtime(#[from] std::io::Error),
    /// The database did not answer.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// The engine.
pub struct CommitOrdered<B> {
    scheduler: Scheduler,
    /// Which writer of a key is next; who reads a hot key waits here as well.
    locks: LockTable<Key>,
    order: VersionOrder<Key>,
    hot: HotKeys,
    recording: bool,
    /// What those in doubt since a former life are going to write.
    in_doubt: Mutex<BTreeSet<Key>>,
    link: Arc<Link<B>>,
}

/// What runs on threads of its own, so that a site of any kind can have such an engine.
struct Link<B> {
    backend: B,
    rows: Rows,
    branches: Branches,
    life: u64,
    /// What is on its way to the database.
    busy: Arc<Busy>,
    reach: Reach,
    /// Reads that the database refuses.
    refusals: Mutex<Complaints>,
    runtime: Threads,
}

/// How much is on its way.
#[derive(Debug, Default)]
struct Busy {
    count: Mutex<usize>,
    none: Condvar,
}

/// One thing that is on its way, until it is dropped.
struct OnItsWay(Arc<Busy>);

impl OnItsWay {
    fn new(busy: &Arc<Busy>) -> Self {
        *busy.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(busy))
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

fn keys_of(changes: &[Change]) -> Vec<Key> {
    let keys = changes.iter().map(|change| Key::clone(change.key()));
    keys.collect()
}

/// Puts a database under a commit order. `connect` is run on the adapter's own thread, and so is everything that the
/// backend does later. `life` tells the local transactions of this life from those of earlier ones: a clock will do.
///
/// # Errors
/// What `connect` says, and [`OpenError`].
pub fn open<B, E, F>(options: Options, life: u64, connect: F) -> Result<Ordered<B>, E>
where
    B: Backend,
    E: From<OpenError> + Send + 'static,
    F: Future<Output = Result<B, E>> + Send + 'static,
{
    let runtime = Threads::start().map_err(OpenError::Runtime)?;
    let opened = runtime.wait_for(async {
        let backend = connect.await?;
        let mark = backend.mark().await.map_err(OpenError::Backend)?;
        Ok::<_, E>((backend, mark))
    });
    let (backend, (ordinal, stamp)) = opened?;
    let mark = Mark {
        ordinal,
        stamp: Stamp(stamp),
    };
    let recording = options.recorder.is_on();
    let link = Arc::new_cyclic(|link: &Weak<Link<B>>| {
        let link = Weak::clone(link);
        let keep = move |mark: Mark| match link.upgrade() {
            Some(link) => link.keep_mark(mark),
            None => Err(failed("the adapter is closed")),
        };
        Link {
            backend,
            rows: Rows::new(mark, Box::new(keep), recording),
            branches: Branches::default(),
            life,
            busy: Arc::default(),
            reach: Reach::default(),
            refusals: Mutex::new(Complaints::new()),
            runtime,
        }
    });
    Ok(Host::with_engine(options, |scheduler, _| CommitOrdered {
        scheduler: scheduler.clone(),
        locks: LockTable::new(scheduler.clone(), LockPolicy::Ss2pl),
        order: VersionOrder::new(scheduler.clone()),
        hot: HotKeys::default(),
        recording,
        in_doubt: Mutex::default(),
        link,
    }))
}

fn storage_error(error: &BackendError) -> StorageError {
    failed(error.to_string())
}

impl<B: Backend> Link<B> {
    /// Commits a branch. One that is not there was committed by a request whose answer was lost, or was ended by hand:
    /// what was decided is made so in any case. Nobody else of the site can have written these keys since (R4).
    async fn commit(self: &Arc<Self>, branch: BranchName, changes: &[Change]) {
        let attempt = || async {
            failing("adapter: commit")?;
            let ending = self.noticed(self.backend.commit(branch).await)?;
            failing("adapter: committed")?;
            Ok::<_, BackendError>(ending)
        };
        let task = Task::end_branch(true, &self.backend.by_hand(true, branch));
        match until_done(task, attempt).await {
            Ending::Now => {}
            Ending::Before => self.redo(changes).await,
        }
    }

    async fn redo(self: &Arc<Self>, changes: &[Change]) {
        let attempt = || async { self.noticed(self.backend.redo(changes).await) };
        until_done(Task::redo(), attempt).await;
    }

    async fn prepare(
        self: &Arc<Self>,
        branch: BranchName,
        changes: &[Change],
    ) -> Result<(), NotPrepared> {
        let unknown = |error: BackendError| NotPrepared::Unknown(error.to_string());
        failing("adapter: prepare").map_err(unknown)?;
        let prepared = self.backend.prepare(branch, changes).await;
        if let Err(NotPrepared::Unknown(_) | NotPrepared::Away(_)) = prepared {
            self.suspect();
        }
        prepared?;
        failing("adapter: prepared").map_err(unknown)
    }

    /// The database could not be reached.
    fn suspect(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        let ask = move || {
            let link = link.upgrade();
            async move { Some(link?.backend.mark().await.map(drop)) }
        };
        self.reach.suspect(self.runtime.handle(), ask);
    }

    fn noticed<T>(self: &Arc<Self>, done: Result<T, BackendError>) -> Result<T, BackendError> {
        if done.as_ref().is_err_and(BackendError::is_away) {
            self.suspect();
        }
        done
    }

    /// A read was not answered. Its client hears only that; the operator hears what the database said.
    fn unanswered(self: &Arc<Self>, error: &BackendError) -> OperationError {
        if error.is_away() {
            self.suspect();
        } else {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.are_due(tokio::time::Instant::now()) {
                tracing::error!("cannot read: {error}; let the site's user read its table again");
            }
        }
        OperationError::DatabaseAway
    }

    fn keep_mark(self: &Arc<Self>, mark: Mark) -> Result<(), StorageError> {
        let link = Arc::clone(self);
        let kept = self
            .runtime
            .wait_for(async move { link.backend.set_mark(mark.ordinal, mark.stamp.0).await });
        kept.map_err(|error| storage_error(&error))
    }

    fn branch(&self, name: TxnName) -> BranchName {
        BranchName::of(name, self.life)
    }

    /// Does something on the adapter's thread.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let on_its_way = OnItsWay::new(&self.busy);
        self.runtime.spawn(async move {
            work.await;
            drop(on_its_way);
        });
    }

    /// Asks something on the adapter's thread.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Result<T, OperationError> {
        let (told, answer) = oneshot::channel();
        self.spawn(async move {
            // Whoever asked may have gone.
            let _gone = told.send(work.await);
        });
        match answer.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(BackendError::TooManyRows)) => Err(OperationError::TooManyRows),
            Ok(Err(error)) => Err(self.unanswered(&error)),
            Err(_) => Err(OperationError::DatabaseAway),
        }
    }

    fn roll_back(self: &Arc<Self>, name: TxnName, keys: Vec<Key>) {
        let link = Arc::clone(self);
        self.spawn(async move {
            let branch = link.branch(name);
            let attempt = || async {
                failing("adapter: roll back")?;
                let ending = link.noticed(link.backend.roll_back(branch).await)?;
                failing("adapter: rolled back")?;
                Ok::<_, BackendError>(ending)
            };
            let task = Task::end_branch(false, &link.backend.by_hand(false, branch));
            until_done(task, attempt).await;
            let beneath = link.rows.beneath(&keys);
            link.redo(&beneath).await;
            link.rows.left(&keys, &beneath);
        });
    }

    /// After a crash: what the log has no YES of is rolled back, and what it says is committed is made so.
    async fn settle(&self) -> Result<(), BackendError> {
        failing("adapter: settle")?;
        let in_doubt: Vec<BranchName> = self
            .branches
            .names()
            .into_iter()
            .map(|name| self.branch(name))
            .collect();
        for branch in self.backend.branches().await? {
            if !in_doubt.contains(&branch) {
                self.backend.roll_back(branch).await?;
            }
        }
        failing("adapter: settled")
    }
}

type Work = Workspace<()>;

impl<B: Backend> CommitOrdered<B> {
    /// The key's turn, or nothing if somebody else has it: no guard is held while waiting.
    async fn lock(&self, entry: &Entry<()>, key: &Key) -> Result<(), OperationError> {
        let asked = {
            let _active = entry.active()?;
            self.locks
                .acquire(entry.handle().txn(), key, LockMode::Write)
        };
        match asked.await {
            Grant::Aborted(reason) => Err(OperationError::Aborted(reason)),
            Grant::Granted => Ok(()),
        }
    }

    /// What the table cannot have is refused before anything waits for it.
    fn checked(&self, fits: Result<(), &'static str>) -> Result<(), OperationError> {
        fits.map_err(|what| OperationError::Unsupported {
            engine: self.link.backend.name(),
            what,
        })
    }

    async fn read_row(&self, key: &Key) -> Result<Option<Value>, OperationError> {
        let (link, key) = (Arc::clone(&self.link), Key::clone(key));
        self.link
            .ask(async move { link.backend.get(&key).await })
            .await
    }

    async fn read_rows(&self, range: &KeyRange) -> Result<Vec<(Key, Value)>, OperationError> {
        let (link, range) = (Arc::clone(&self.link), range.clone());
        let scan = async move { link.backend.scan(&range, MAX_SCAN_ROWS).await };
        self.link.ask(scan).await
    }
}

impl<B: Backend> Engine for CommitOrdered<B> {
    type Private = ();

    fn name(&self) -> &'static str {
        self.link.backend.name()
    }

    async fn get(&self, entry: &Entry<()>, key: &Key) -> Result<Option<Value>, OperationError> {
        self.checked(self.link.backend.check_key(key))?;
        let (own, fresh) = {
            let work = entry.active()?;
            (work.own_value(key), !work.covers(key))
        };
        if let Some(own) = own {
            return Ok(own);
        }
        if fresh && self.hot.take_turn(key) {
            self.lock(entry, key).await?;
        }
        loop {
            let turn = {
                let _active = entry.active()?;
                let reading = self.order.read(entry.handle().txn(), key);
                match reading.map_err(OperationError::Aborted)? {
                    Reading::Now(_) => break,
                    Reading::After(turn) => turn,
                }
            };
            if let Grant::Aborted(reason) = turn.await {
                return Err(OperationError::Aborted(reason));
            }
        }
        let (version, known) = self.link.rows.key(key);
        let value = match known {
            Known::Value(value) => value,
            Known::InDatabase => self.read_row(key).await?,
        };
        let mut work = entry.active()?;
        work.note_read(key, version);
        Ok(value)
    }

    async fn scan(
        &self,
        entry: &Entry<()>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        self.checked(self.link.backend.check_range(range))?;
        loop {
            let turn = {
                let _active = entry.active()?;
                let txn = entry.handle().txn();
                let reading = self.order.scan(txn, &range.low, range.high.as_ref());
                match reading.map_err(OperationError::Aborted)? {
                    Reading::Now(_) => break,
                    Reading::After(turn) => turn,
                }
            };
            if let Grant::Aborted(reason) = turn.await {
                return Err(OperationError::Aborted(reason));
            }
        }
        let above = self.link.rows.range(range);
        let mut rows = above.rows;
        for (key, value) in self.read_rows(range).await? {
            rows.entry(key).or_insert(Some(value));
        }
        let present = rows.into_iter();
        let rows: Vec<Row> = present
            .filter_map(|(key, value)| {
                let version = self.link.rows.version(&key);
                Some((key, version, value?))
            })
            .collect();
        if rows.len() > MAX_SCAN_ROWS {
            return Err(OperationError::TooManyRows);
        }
        let mut work = entry.active()?;
        work.note_scan(range, above.position, &rows);
        work.rows_on_top(range, rows)
    }

    /// An increment reads the number and writes the sum: two of them do not commute in the database.
    async fn change(&self, entry: &Entry<()>, change: Change) -> Result<(), OperationError> {
        self.checked(self.link.backend.check_change(&change))?;
        let key = Key::clone(change.key());
        self.lock(entry, &key).await?;
        let before = match change {
            Change::Increment(..) => Some(self.get(entry, &key).await?),
            Change::Put(..) | Change::Delete(_) => None,
        };
        let mut work = entry.active()?;
        if let Some(before) = before {
            let number = before.as_ref().map_or(8, |value| value.len());
            if number != 8 {
                return Err(OperationError::NotANumber { bytes: number });
            }
            work.change(match before {
                Some(value) => Change::Put(Key::clone(&key), value),
                None => Change::Delete(Key::clone(&key)),
            })?;
        }
        work.change(change)?;
        drop(work);
        let txn = entry.handle().txn();
        let intended = self.order.intend(txn, &key, WriteKind::Put);
        intended.map_err(OperationError::Aborted)
    }

    fn increments_commute(&self) -> bool {
        false
    }

    fn fortify(&self, entry: &Arc<Entry<()>>, done: OnFortified) {
        let name = entry.handle().name();
        let changes = match entry.changes() {
            Some(changes) if !changes.is_empty() => changes,
            Some(_) | None => return done(Ok(())),
        };
        self.link.branches.begin(name);
        let link = Arc::clone(&self.link);
        self.link.spawn(async move {
            let keys = keys_of(&changes);
            let wanted = || link.branches.is_wanted(name);
            if !link.rows.clear(&changes, wanted).await {
                link.branches.take(name);
                link.rows.left(&keys, &[]);
                done(Err(AbortReason::Requested));
                return;
            }
            match link.prepare(link.branch(name), &changes).await {
                Ok(()) => {
                    if !link.branches.prepared(name) {
                        link.roll_back(name, keys);
                    }
                    done(Ok(()));
                }
                Err(why) => {
                    let dropped = link.branches.take(name) == Some(Branch::Dropped);
                    if !dropped {
                        link.rows.leave(&keys);
                    }
                    let reason = why.reason();
                    match why {
                        NotPrepared::Unknown(_) => link.roll_back(name, keys),
                        NotPrepared::Refused(_) | NotPrepared::Away(_) => {
                            link.rows.left(&keys, &[]);
                        }
                    }
                    done(Err(reason));
                }
            }
        });
    }

    fn apply(
        &self,
        handle: &Handle,
        work: &Work,
        stamp: Stamp,
    ) -> Result<Option<u64>, StorageError> {
        if work.is_read_only() {
            return Ok(None);
        }
        if let Some(failure) = self.link.rows.progress().failure() {
            return Err(failure);
        }
        let changes = work.changes();
        let install = |_| self.link.rows.install(&changes, stamp);
        let Ok(ordinal) = self.order.install(handle.txn(), install) else {
            unreachable!("P2: {:?} has voted", handle.name());
        };
        let name = handle.name();
        let was = self.link.branches.take(name);
        assert_eq!(was, Some(Branch::Prepared), "A1: {name:?} has voted");
        let keys = keys_of(&changes);
        let link = Arc::clone(&self.link);
        self.link.spawn(async move {
            link.commit(link.branch(name), &changes).await;
            link.rows.arrive(ordinal, &keys);
        });
        Ok(Some(ordinal))
    }

    fn undo(&self, handle: &Handle, work: &Work) {
        let conflict = matches!(
            handle.txn().doomed(),
            Some(AbortReason::Cycle | AbortReason::Overtaken)
        );
        if conflict {
            self.hot.heat(work.reads().map(|(key, _)| key));
        }
        if work.is_read_only() {
            return;
        }
        let keys = keys_of(&work.changes());
        // Before anybody can find the branch dropped, so that who rolls it back takes these out again.
        self.link.rows.leave(&keys);
        match self.link.branches.abort(handle.name()) {
            None => self.link.rows.left(&keys, &[]),
            Some(Branch::Preparing | Branch::Dropped) => {}
            Some(Branch::Prepared) => self.link.roll_back(handle.name(), keys),
        }
    }

    fn release(&self, handle: &Handle, _: &Work) {
        let txn = handle.txn();
        self.order.retire(txn);
        self.locks.release(txn);
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        let txn = handle.txn();
        if !prepared.changes.is_empty() {
            self.link.branches.recover(handle.name());
        }
        let ranges = prepared.scans.iter();
        let writes = prepared.changes.iter();
        let footprint = Footprint {
            reads: prepared.reads.clone(),
            ranges: ranges
                .map(|range| (Key::clone(&range.low), range.high.clone()))
                .collect(),
            writes: writes
                .map(|change| (Key::clone(change.key()), WriteKind::Put))
                .collect(),
        };
        self.order.reinstate(txn, footprint);
        for change in &prepared.changes {
            self.locks.reinstate(txn, change.key(), LockMode::Write);
            let mut in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
            in_doubt.insert(Key::clone(change.key()));
        }
        Workspace::recovered(prepared, self.recording, self)
    }

    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        if let Some(failure) = self.link.rows.progress().failure() {
            return Err(failure);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let install = |_| self.link.rows.install(changes, stamp);
        Ok(Some(self.order.restore(install)))
    }

    fn recovered(&self) {
        let in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
        let redo = self.link.rows.restored(&in_doubt);
        let link = Arc::clone(&self.link);
        let done = self.link.runtime.wait_for(async move {
            link.settle().await?;
            link.backend.redo(&redo).await
        });
        match done {
            Ok(()) => self.link.rows.settled(&in_doubt),
            Err(error) => self.link.rows.fail(storage_error(&error)),
        }
    }

    fn quiesce(&self) -> bool {
        let busy = &self.link.busy;
        let mut count = busy.count.lock().unwrap_or_else(PoisonError::into_inner);
        let was = *count > 0;
        while *count > 0 {
            count = busy
                .none
                .wait(count)
                .unwrap_or_else(PoisonError::into_inner);
        }
        was
    }

    fn stored(&self) -> &dyn Stored {
        self.link.rows.progress()
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty() && self.order.is_empty() && self.link.branches.is_empty()
    }
}

impl<B: Backend> Committed for CommitOrdered<B> {
    fn position(&self) -> u64 {
        self.link.rows.position()
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.link.rows.version(key)
    }

    /// For the history alone.
    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        if !self.recording {
            return Vec::new();
        }
        let above = self.link.rows.range(range);
        let (link, asked) = (Arc::clone(&self.link), range.clone());
        let found = self
            .link
            .runtime
            .wait_for(async move { link.backend.scan(&asked, MAX_SCAN_ROWS).await });
        let mut rows = above.rows;
        match found {
            Ok(found) => found.into_iter().for_each(|(key, value)| {
                rows.entry(key).or_insert(Some(value));
            }),
            Err(error) => self.link.rows.fail(storage_error(&error)),
        }
        let present = rows.into_iter();
        present
            .filter_map(|(key, value)| {
                let version = self.version(&key);
                Some((key, version, value?))
            })
            .collect()
    }
}

impl<B> std::fmt::Debug for CommitOrdered<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitOrdered")
            .field("scheduler", &self.scheduler)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}
