//! Modes in which the database's own locks give the order: each transaction has a session of its own in the database, and
//! its locks stay until it is decided. That is strong strict two-phase locking, whose order of commits is an order of its
//! conflicts: the site votes YES as soon as the branch is prepared.
//!
//! | step | here | in the database |
//! |---|---|---|
//! | operation | waits are made known, as edges of the scheduler's graph | a statement in the transaction's session |
//! | asked for the vote | | the branch is prepared, if there is one, read-only ones too: it keeps their locks |
//! | vote | YES at once | |
//! | commit | the keys have their new versions | the branch is committed in the background; readers wait for its locks |
//! | abort | | a statement that runs is interrupted, the session or the branch rolled back, in the background |
//!
//! Against the mode `co` ([`crate::ordered`]): others may use the database too, as long as they take locks as well;
//! statements can be run where the backend has a language; and whoever fights over a row waits where `co` goes on.
//!
//! What a statement of the database's language reads and changes is not known here. In the history, and in the site's log,
//! such a transaction has written one key that stands for all that: at a site that runs one transaction at a time
//! ([`Granularity::Site`]) it is the same for all, and was read as well; elsewhere it is the transaction's own, so the
//! history says nothing about conflicts of such statements, and a judge has to be given observations of the application's.
//! A client's keys that look like it do no harm.
//!
//! Two transactions that both read a key and then write it stand in a circle. Where that has happened, the next ones take
//! the writer's lock when they read (`ordered::hot`). The same goes for a key that was read by a transaction that was
//! aborted while another waited to write the key: a database lets readers pass a writer that waits for other readers, and two
//! that are aborted for its sake by turns, and come again at once, would keep it waiting for ever. Who reads ranges, or
//! by statements, takes no turns.
//!
//! Invariants:
//! - D1 Nothing is promised that a crash could take: a YES comes after the branch is durable, and the site's log has it
//!   only then.
//! - D2 After a crash the log decides, and the database has the changes. A branch without a YES in the log is rolled back;
//!   one whose commit is in the log is committed; one in doubt stays as it is, with its locks. **Nothing is done again**: a
//!   branch that is not there was finished before, because only a decision removes it, and its changes may have been
//!   overwritten since by others, of whom the log need not know. So redoing a change could be right only if the branch is
//!   missing and it is proved that it was never finished, and no such proof exists.
//! - D3 What is in doubt by the log and has no branch was decided just before the crash, and its coordinator says so again.
//!   Until then nothing else begins, because others could see what it has changed before it is given its place. The same
//!   goes for all in doubt where read locks do not survive a crash ([`Traits::read_locks_survive`]). Where they do, as
//!   in PostgreSQL, no fence is needed: the locks of a prepared branch are part of it.
//! - D4 Waits that the database knows of become edges of the scheduler's graph soon after they begin, and cycles through
//!   them are broken like all others. The database's own search and its limit for waits remain behind that.

mod link;
mod session;
mod slots;
mod versions;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use co_core::{AbortReason, Grant, LockMode, LockPolicy, LockTable, Scheduler, Stamp, Txn};
use participant::engine::{
    Committed, Engine, Entry, Handle, Host, OnFortified, Options, Stored, Workspace,
};
use participant::storage::{Mark, StorageError};
use participant::{
    Change, Granularity, Key, KeyRange, OperationError, Prepared, Table, TxnName, Value,
};

use self::link::{Answer, Ask, Link, outcome, storage_error};
use self::versions::Versions;
use crate::backend::BackendError;
use crate::ordered::hot::HotKeys;
use crate::progress::failed;
use crate::threads::Threads;

pub use session::{Holder, Intent, Session, SessionBackend, SessionError, SessionId, Traits, Wait};

/// A database whose locks give the order.
pub type Native<B> = Host<DatabaseLocks<B>>;

/// What the changes that a statement has made are called in the site's log and history.
const STATEMENT: &str = "(sql)";

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
    /// A history was asked for where nobody knows which versions are read.
    #[error(
        "{engine} reads without locks, so nobody can tell which versions it reads; open it without a history, and judge \
         what the application has seen"
    )]
    NoHistory {
        /// The engine.
        engine: &'static str,
    },
}

/// The engine.
pub struct DatabaseLocks<B: SessionBackend> {
    scheduler: Scheduler,
    recording: bool,
    /// Who reads one of these first takes the lock of who writes it: in many databases readers pass a writer that waits
    /// for other readers, and it might wait for ever.
    hot: HotKeys,
    /// In doubt since a former life, and not yet sorted out; and whether they change anything.
    in_doubt: Mutex<Vec<(Arc<Handle>, bool)>>,
    /// Whom all others wait for before they begin (D3): they hold the one lock there is.
    fence: LockTable<()>,
    fenced_by: AtomicUsize,
    fencing: Mutex<BTreeSet<TxnName>>,
    link: Arc<Link<B>>,
}

type Work = Workspace<()>;

/// Puts a database's locks under a site, on threads of its own. `connect` is run there, and so is everything that the
/// backend does later. `life` tells the local transactions of this life from those of earlier ones: a clock will do.
///
/// # Errors
/// What `connect` says, and [`OpenError`].
pub fn open<B, E, F>(options: Options, life: u64, connect: F) -> Result<Native<B>, E>
where
    B: SessionBackend,
    E: From<OpenError> + Send + 'static,
    F: Future<Output = Result<B, E>> + Send + 'static,
{
    let threads = Threads::start().map_err(OpenError::Runtime)?;
    let backend = threads.wait_for(connect)?;
    Ok(open_on(options, life, &threads, &Arc::new(backend))?)
}

/// [`open`] on a backend that is connected on these threads already.
///
/// # Errors
/// [`OpenError`].
pub fn open_on<B: SessionBackend>(
    options: Options,
    life: u64,
    threads: &Threads,
    backend: &Arc<B>,
) -> Result<Native<B>, OpenError> {
    let recording = options.recorder.is_on();
    let traits = backend.traits();
    if recording && !traits.locks_reads {
        return Err(OpenError::NoHistory {
            engine: traits.name,
        });
    }
    let asked = Arc::clone(backend);
    let (ordinal, stamp) = threads.wait_for(async move { asked.mark().await })?;
    let mark = Mark {
        ordinal,
        stamp: Stamp(stamp),
    };
    let link = Arc::new_cyclic(|link: &Weak<Link<B>>| {
        let link = Weak::clone(link);
        let keep = move |mark: Mark| match link.upgrade() {
            Some(link) => link.keep_mark(mark),
            None => Err(failed("the adapter is closed")),
        };
        let versions = Versions::new(mark, Box::new(keep), recording);
        Link::new(Arc::clone(backend), threads.clone(), life, versions)
    });
    link.watch();
    Ok(Host::with_engine(options, |scheduler, _| DatabaseLocks {
        scheduler: scheduler.clone(),
        recording,
        hot: HotKeys::default(),
        in_doubt: Mutex::default(),
        fence: LockTable::new(scheduler.clone(), LockPolicy::Ss2pl),
        fenced_by: AtomicUsize::new(0),
        fencing: Mutex::default(),
        link,
    }))
}

/// The waits of one operation, as edges of the scheduler's graph until it is dropped.
struct Waits<'a> {
    scheduler: &'a Scheduler,
    waiter: &'a Txn,
    holders: Vec<Arc<Handle>>,
}

impl Waits<'_> {
    fn replace(&mut self, now: Vec<Arc<Handle>>) {
        let before = std::mem::take(&mut self.holders);
        let is_in = |holder: &Arc<Handle>, list: &[Arc<Handle>]| {
            list.iter().any(|other| Arc::ptr_eq(holder, other))
        };
        for holder in before.iter().filter(|holder| !is_in(holder, &now)) {
            self.scheduler.unwait(self.waiter, holder.txn());
        }
        for holder in now.iter().filter(|holder| !is_in(holder, &before)) {
            // Who has voted waits for nobody: then the operation is over, and so is the wait.
            let _over = self.scheduler.wait(self.waiter, holder.txn());
        }
        self.holders = now;
        self.scheduler.blocked(self.waiter);
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        for holder in &self.holders {
            self.scheduler.unwait(self.waiter, holder.txn());
        }
    }
}

/// Notes that nobody takes the answer, unless somebody does.
struct Torn<'a, B: SessionBackend>(Option<(&'a Link<B>, TxnName)>);

impl<B: SessionBackend> Drop for Torn<'_, B> {
    fn drop(&mut self) {
        if let Some((link, name)) = self.0.take() {
            link.slots.tear(name);
        }
    }
}

impl<B: SessionBackend> DatabaseLocks<B> {
    /// Has an operation done in the transaction's session, on behalf of a write of this key. What it waits for meanwhile
    /// is made known.
    async fn ask(
        &self,
        entry: &Entry<()>,
        ask: Ask,
        writes: Option<&Key>,
    ) -> Result<Answer, OperationError> {
        if let Some(failure) = self.link.versions.progress().failure() {
            return Err(failure.into());
        }
        self.pass_fence(entry).await?;
        let handle = entry.handle();
        let (mut answer, watched) = {
            let _active = entry.active()?;
            let entered = self.link.slots.enter(handle, writes.cloned());
            let (session, watched) = entered.ok_or(OperationError::AlreadyEnded)?;
            let name = handle.name();
            let answer = self.link.start(name, session, ask, Arc::clone(&watched));
            (answer, watched)
        };
        let mut torn = Torn(Some((&*self.link, handle.name())));
        let mut waits = Waits {
            scheduler: &self.scheduler,
            waiter: handle.txn(),
            holders: Vec::new(),
        };
        let done = loop {
            tokio::select! {
                biased;
                done = &mut answer => break done,
                () = watched.news.notified() => self.look(entry, &mut waits)?,
            }
        };
        drop(waits);
        let done = done.map_err(|_gone| OperationError::DatabaseAway)?;
        let _active = entry.active()?;
        torn.0 = None;
        done.map_err(outcome)
    }

    /// The operation waits for others than before, or its transaction is aborted.
    fn look(&self, entry: &Entry<()>, waits: &mut Waits<'_>) -> Result<(), OperationError> {
        let _active = entry.active()?;
        let holders = self.link.slots.holders(entry.handle().name());
        waits.replace(holders);
        match entry.handle().txn().doomed() {
            None => Ok(()),
            Some(reason) => Err(OperationError::Aborted(reason)),
        }
    }

    /// Waits for those whom the database cannot keep others from (D3).
    async fn pass_fence(&self, entry: &Entry<()>) -> Result<(), OperationError> {
        if self.fenced_by.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let asked = {
            let _active = entry.active()?;
            let txn = entry.handle().txn();
            self.fence.acquire(txn, &(), LockMode::Read)
        };
        match asked.await {
            Grant::Granted => Ok(()),
            Grant::Aborted(reason) => Err(OperationError::Aborted(reason)),
        }
    }

    async fn read(
        &self,
        entry: &Entry<()>,
        key: &Key,
        intent: Intent,
        writes: Option<&Key>,
    ) -> Result<Option<Value>, OperationError> {
        let own = entry.active()?.own_value(key);
        if let Some(own) = own {
            return Ok(own);
        }
        let ask = Ask::Get(Key::clone(key), intent);
        let answer = self.ask(entry, ask, writes).await?;
        let Answer::Value(value) = answer else {
            unreachable!("a get answers with a value");
        };
        // Under the database's lock by now (V1).
        let version = self.link.versions.read(key, value.is_some());
        entry.active()?.note_read(key, version);
        Ok(value)
    }

    fn unsupported(&self, what: &'static str) -> OperationError {
        OperationError::Unsupported {
            engine: self.link.traits.name,
            what,
        }
    }

    fn statement_key(&self, name: TxnName) -> Key {
        let shared = self.link.traits.granularity == Granularity::Site;
        let key = match name {
            _ if shared => STATEMENT.to_owned(),
            TxnName::Global(gtid) => format!("{STATEMENT} {gtid}"),
            TxnName::Local(number) => format!("{STATEMENT} L{number}"),
        };
        Key::from(key.as_bytes())
    }

    fn raise_fence(&self, handles: Vec<Arc<Handle>>) {
        let mut fencing = self.fencing.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in handles {
            self.fence.reinstate(handle.txn(), &(), LockMode::Write);
            fencing.insert(handle.name());
        }
        self.fenced_by.store(fencing.len(), Ordering::Release);
    }
}

impl<B: SessionBackend> Engine for DatabaseLocks<B> {
    type Private = ();

    fn name(&self) -> &'static str {
        self.link.traits.name
    }

    async fn get(&self, entry: &Entry<()>, key: &Key) -> Result<Option<Value>, OperationError> {
        let intent = if self.hot.take_turn(key) {
            Intent::Write
        } else {
            Intent::Read
        };
        self.read(entry, key, intent, None).await
    }

    async fn scan(
        &self,
        entry: &Entry<()>,
        range: &KeyRange,
    ) -> Result<Vec<(Key, Value)>, OperationError> {
        let answer = self.ask(entry, Ask::Scan(range.clone()), None).await?;
        let Answer::Rows(rows) = answer else {
            unreachable!("a scan answers with rows");
        };
        let mut work = entry.active()?;
        let own = work.writes().map(|(key, _)| Key::clone(key));
        let own: Vec<Key> = own.filter(|key| range.contains(key)).collect();
        let (position, seen) = self.link.versions.seen(&rows, own.into_iter());
        work.note_scan(range, position, &seen);
        Ok(rows)
    }

    /// An increment reads the number and writes the sum: two of them do not commute in the database.
    async fn change(&self, entry: &Entry<()>, change: Change) -> Result<(), OperationError> {
        let (key, value) = match change {
            Change::Put(key, value) => (key, Some(value)),
            Change::Delete(key) => (key, None),
            Change::Increment(key, by) => {
                let before = self.read(entry, &key, Intent::Write, Some(&key)).await?;
                let sum = add(before.as_deref(), by)?;
                (key, Some(sum))
            }
        };
        let ask = Ask::Put(Key::clone(&key), value.clone());
        self.ask(entry, ask, Some(&key)).await?;
        let change = match value {
            Some(value) => Change::Put(key, value),
            None => Change::Delete(key),
        };
        entry.active()?.change(change)
    }

    async fn declare(&self, entry: &Entry<()>, keys: &[Key]) -> Result<(), OperationError> {
        if !self.link.traits.declares {
            return entry.active().map(drop);
        }
        let ask = Ask::Declare(keys.to_vec());
        self.ask(entry, ask, None).await.map(drop)
    }

    async fn sql(&self, entry: &Entry<()>, statement: &str) -> Result<Table, OperationError> {
        if !self.link.traits.statements {
            return Err(self.unsupported("run statements"));
        }
        let ask = Ask::Statement(statement.to_owned());
        let Answer::Table(table) = self.ask(entry, ask, None).await? else {
            unreachable!("a statement answers with a table");
        };
        let key = self.statement_key(entry.handle().name());
        let version = self.link.versions.version(&key);
        let mut work = entry.active()?;
        if self.link.traits.granularity == Granularity::Site {
            work.note_read(&key, version);
        }
        work.change(Change::Put(key, Value::from([])))?;
        Ok(table)
    }

    fn increments_commute(&self) -> bool {
        false
    }

    fn granularity(&self) -> Granularity {
        self.link.traits.granularity
    }

    fn keeps_branches(&self) -> bool {
        true
    }

    fn waits(&self, handle: &Handle) -> bool {
        handle.txn().is_waiting() || self.link.slots.is_waiting(handle.name())
    }

    fn fortify(&self, entry: &Arc<Entry<()>>, done: OnFortified) {
        self.link.prepare(entry.handle().name(), done);
    }

    fn apply(
        &self,
        handle: &Handle,
        work: &Work,
        stamp: Stamp,
    ) -> Result<Option<u64>, StorageError> {
        if work.is_read_only() {
            self.link.commit(handle.name(), None);
            return Ok(None);
        }
        if let Some(failure) = self.link.versions.progress().failure() {
            return Err(failure);
        }
        let ordinal = self.link.versions.install(&work.changes(), stamp);
        self.link.commit(handle.name(), Some(ordinal));
        Ok(Some(ordinal))
    }

    fn undo(&self, handle: &Handle, work: &Work) {
        let read = work.reads().map(|(key, _)| key);
        if handle.txn().doomed() == Some(AbortReason::Cycle) {
            self.hot.heat(read);
        } else {
            // A circle over several sites is found elsewhere, and then the reason does not say so.
            let wanted = self.link.slots.wanted_from(handle.name());
            self.hot.heat(read.filter(|key| wanted.contains(*key)));
        }
        self.link.undo(handle.name());
    }

    fn release(&self, handle: &Handle, _: &Work) {
        if self.fenced_by.load(Ordering::Acquire) > 0 {
            let mut fencing = self.fencing.lock().unwrap_or_else(PoisonError::into_inner);
            fencing.remove(&handle.name());
            self.fenced_by.store(fencing.len(), Ordering::Release);
        }
        self.fence.release(handle.txn());
    }

    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Work {
        self.link.slots.recover(handle);
        let mut in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
        in_doubt.push((Arc::clone(handle), !prepared.changes.is_empty()));
        Workspace::recovered(prepared, self.recording, &self.link.versions)
    }

    /// The changes are in the database, or in a branch that [`Engine::recovered`] commits (D2).
    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError> {
        if let Some(failure) = self.link.versions.progress().failure() {
            return Err(failure);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.link.versions.install(changes, stamp)))
    }

    fn restoring(&self, name: TxnName) {
        self.link.committed(name);
    }

    fn recovered(&self) {
        let in_doubt = {
            let mut in_doubt = self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *in_doubt)
        };
        let names: BTreeSet<TxnName> = in_doubt.iter().map(|(handle, _)| handle.name()).collect();
        let ordinals = self.link.versions.unfinished();
        let link = Arc::clone(&self.link);
        let settled = self
            .link
            .threads
            .wait_for(async move { link.settle(names).await });
        match settled {
            Ok(missing) => {
                let all = !self.link.traits.read_locks_survive;
                let lost = |handle: &Handle, changes| changes && missing.contains(&handle.name());
                let fences = in_doubt
                    .into_iter()
                    .filter(|(handle, changes)| all || lost(handle, *changes));
                self.raise_fence(fences.map(|(handle, _)| handle).collect());
                for ordinal in ordinals {
                    self.link.versions.arrive(ordinal);
                }
            }
            Err(error) => self.link.versions.fail(storage_error(&error)),
        }
    }

    fn quiesce(&self) -> bool {
        self.link.slots.quiesce()
    }

    fn stored(&self) -> &dyn Stored {
        self.link.versions.progress()
    }

    fn is_idle(&self) -> bool {
        self.link.slots.is_empty() && self.fence.is_empty()
    }
}

/// A number grown by some; an absent one is zero.
fn add(before: Option<&[u8]>, by: i64) -> Result<Value, OperationError> {
    let bytes = before.unwrap_or(&[0; 8]);
    let number: [u8; 8] = bytes
        .try_into()
        .map_err(|_| OperationError::NotANumber { bytes: bytes.len() })?;
    let sum = i64::from_le_bytes(number).wrapping_add(by);
    Ok(Value::from(sum.to_le_bytes().as_slice()))
}

impl<B: SessionBackend> Drop for DatabaseLocks<B> {
    fn drop(&mut self) {
        self.link.slots.close();
    }
}

impl<B: SessionBackend> std::fmt::Debug for DatabaseLocks<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseLocks")
            .field("scheduler", &self.scheduler)
            .field("traits", &self.link.traits)
            .finish_non_exhaustive()
    }
}
