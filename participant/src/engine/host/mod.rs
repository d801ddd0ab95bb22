//! What the engines have in common: names, phases, votes, decisions, undoing of doomed transactions.
//!
//! An [`Engine`] runs operations and applies or undoes a transaction's changes; its [`Host`] calls it in
//! the right order and is the [`Participant`].
//!
//! Invariants:
//! - H1 A commit goes: clock up to the stamp, versions installed and recorded, scheduler told, locks and
//!   marks released. So whoever is released by it sees its versions and votes with a later stamp.
//! - H2 An abort goes: changes dropped, scheduler told, locks and marks released, ballots answered.
//! - H3 Before a call returns or an operation starts to wait, every transaction that it doomed is undone,
//!   or is being undone by another thread: nobody waits for a victim whose client is idle (P4).
//! - H4 A ballot is answered once: YES by the callback of the vote, NO by whoever claims the transaction.
//!   The callback of a refused vote does nothing, since it may run under an engine's lock.
//! - H5 A YES that depends on others is given when each of them has given its own; whoever gives or ends one looks
//!   at those who wait for that (`dependent`).

mod dependent;
mod ending;
mod limits;
mod voting;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use co_core::{
    AbortReason, Clock, Gtid, Kind, Priority, Scheduler, Stamp, Statistics, Txn, VoteRule,
};

use self::dependent::Watchers;
use crate::engine::Workspace;
use crate::engine::backing::Stored;
use crate::error::OperationError;
use crate::history::Recorder;
use crate::participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Granularity, Key, KeyRange,
    OnBallot, Operation, Participant, Prepared, Reply, Table, TxnName, Value,
};
use crate::registry::{Entry, Handle, Registry};
use crate::storage::{Memory, Storage, StorageError};

/// How far a query's stamp may lie beyond the site's clock: more than sites' clocks differ after thousands
/// of restarts of one of them, and too little for one client to use up the stamps there are.
const MAX_AHEAD: u64 = 1 << 44;

/// Called once when a transaction's changes are safe, or with the reason why they cannot be.
pub type OnFortified = Box<dyn FnOnce(Result<(), AbortReason>) + Send>;

/// What an engine does for its [`Host`].
///
/// Wakers and callbacks of other transactions may run inside the calls an engine makes to its scheduler,
/// lock table or validator; they never come back into the engine.
pub trait Engine: Send + Sync + 'static {
    /// What the engine keeps of one transaction besides its [`Workspace`].
    type Private: Default + Send + 'static;

    /// The engine's name.
    fn name(&self) -> &'static str;

    /// Reads one key. Locks are asked for and marks are left while [`Entry::active`] is held, and it is
    /// not held while waiting; the same goes for the other operations.
    ///
    /// # Errors
    /// As [`Participant::execute`]; with [`OperationError::Aborted`] the host undoes the transaction.
    fn get(
        &self,
        entry: &Entry<Self::Private>,
        key: &Key,
    ) -> impl Future<Output = Result<Option<Value>, OperationError>> + Send;

    /// Reads all present keys of a range.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn scan(
        &self,
        entry: &Entry<Self::Private>,
        range: &KeyRange,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>, OperationError>> + Send;

    /// Changes one key.
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn change(
        &self,
        entry: &Entry<Self::Private>,
        change: Change,
    ) -> impl Future<Output = Result<(), OperationError>> + Send;

    /// As [`Operation::Declare`].
    ///
    /// # Errors
    /// As [`Engine::get`].
    fn declare(
        &self,
        entry: &Entry<Self::Private>,
        keys: &[Key],
    ) -> impl Future<Output = Result<(), OperationError>> + Send {
        let _ = keys;
        std::future::ready(entry.active().map(drop))
    }

    /// As [`Operation::Sql`].
    ///
    /// # Errors
    /// As [`Engine::get`]; [`OperationError::Unsupported`] of engines without a language.
    fn sql(
        &self,
        entry: &Entry<Self::Private>,
        statement: &str,
    ) -> impl Future<Output = Result<Table, OperationError>> + Send {
        let _ = (entry, statement);
        let error = OperationError::Unsupported {
            engine: self.name(),
            what: "run statements",
        };
        std::future::ready(Err(error))
    }

    /// All operations are done and the vote is asked for next: the last chance to find conflicts.
    ///
    /// # Errors
    /// The reason to abort the transaction with.
    fn admit(&self, txn: &Txn, work: &Workspace<Self::Private>) -> Result<(), AbortReason> {
        let _ = (txn, work);
        Ok(())
    }

    /// Asked after [`Engine::admit`], before the vote: makes sure that the changes can be applied whatever happens, and
    /// calls `done` once, now or later, on any thread. Engines whose changes are safe with the site's log have nothing
    /// to do. If the transaction is undone meanwhile, `done` is called all the same, and means nothing.
    fn fortify(&self, entry: &Arc<Entry<Self::Private>>, done: OnFortified) {
        let _ = entry;
        done(Ok(()));
    }

    /// Makes the changes visible, all at once, as the site's next version; `None` if there are none.
    ///
    /// # Errors
    /// [`StorageError`] if they cannot be stored: nothing is visible then, and nothing will be before a restart.
    fn apply(
        &self,
        handle: &Handle,
        work: &Workspace<Self::Private>,
        stamp: Stamp,
    ) -> Result<Option<u64>, StorageError>;

    /// Drops what the changes of an aborted transaction left outside its workspace.
    fn undo(&self, handle: &Handle, work: &Workspace<Self::Private>) {
        let _ = (handle, work);
    }

    /// The transaction is decided, and the scheduler knows: its locks and marks go.
    fn release(&self, handle: &Handle, work: &Workspace<Self::Private>);

    /// As [`Participant::reads_undecided`]. Such an engine finds all conflicts by locking: nothing comes to precede a
    /// transaction whose operations are done.
    fn reads_undecided(&self) -> bool {
        false
    }

    /// Restores the locks and marks of a transaction in doubt, and its workspace. Those whose votes came earlier are
    /// restored already.
    fn recover(&self, handle: &Arc<Handle>, prepared: Prepared) -> Workspace<Self::Private>;

    /// Applies changes that had committed before a restart; the version, `None` if there are no changes.
    ///
    /// # Errors
    /// [`StorageError`] if they cannot be stored.
    fn restore(&self, stamp: Stamp, changes: &[Change]) -> Result<Option<u64>, StorageError>;

    /// As [`Participant::increments_commute`].
    fn increments_commute(&self) -> bool {
        true
    }

    /// As [`Participant::granularity`].
    fn granularity(&self) -> Granularity {
        Granularity::Key
    }

    /// As [`Participant::keeps_branches`].
    fn keeps_branches(&self) -> bool {
        false
    }

    /// Whether a transaction waits now. Engines that know of waits which they do not have their scheduler answer (those
    /// of a database) say more than it does, and tell it of whom such a transaction waits for.
    fn waits(&self, handle: &Handle) -> bool {
        handle.txn().is_waiting()
    }

    /// As [`Participant::restoring`].
    fn restoring(&self, name: TxnName) {
        let _ = name;
    }

    /// As [`Participant::recovered`].
    fn recovered(&self) {}

    /// As [`Participant::quiesce`].
    fn quiesce(&self) -> bool {
        false
    }

    /// Its committed data.
    fn stored(&self) -> &dyn Stored;

    /// Reads as of `stamp`; the clock is there already.
    ///
    /// # Errors
    /// As [`Participant::query`].
    fn query(
        &self,
        stamp: Stamp,
        range: &KeyRange,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>, OperationError>> + Send {
        let _ = (stamp, range);
        let error = OperationError::Unsupported {
            engine: self.name(),
            what: "read as of a stamp",
        };
        std::future::ready(Err(error))
    }

    /// A vote was stamped or a decision applied: queries may have waited for it.
    fn progressed(&self) {}

    /// Whether no locks, marks or waiters are left (I7).
    fn is_idle(&self) -> bool;
}

/// An [`Engine`] as a [`Participant`].
pub struct Host<E: Engine> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Engine> {
    engine: E,
    scheduler: Scheduler,
    clock: Clock,
    registry: Registry<E::Private>,
    watchers: Watchers<E::Private>,
    recorder: Recorder,
}

/// What every engine is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    /// When its transactions may vote.
    pub rule: VoteRule,
    /// Where they are recorded.
    pub recorder: Recorder,
    /// Where its committed data is.
    pub storage: Arc<dyn Storage>,
    /// Of how many commits, at least, an engine that answers queries of the past keeps what they overwrote.
    pub kept_commits: usize,
}

impl Default for Options {
    /// Nothing recorded, an empty store in memory, the past of 65 536 commits.
    fn default() -> Self {
        Self {
            rule: VoteRule::default(),
            recorder: Recorder::off(),
            storage: Arc::new(Memory::new()),
            kept_commits: 1 << 16,
        }
    }
}

/// What an engine works with besides its scheduler.
#[derive(Clone, Debug)]
pub struct SiteParts {
    /// Where transactions are recorded; the host does it.
    pub recorder: Recorder,
    /// Where committed data is.
    pub storage: Arc<dyn Storage>,
}

impl<E: Engine> Host<E> {
    /// A participant with the engine that `make` builds on the site's scheduler.
    pub fn with_engine(options: Options, make: impl FnOnce(&Scheduler, &SiteParts) -> E) -> Self {
        let scheduler = Scheduler::new(options.rule);
        let parts = SiteParts {
            recorder: options.recorder.clone(),
            storage: options.storage,
        };
        let engine = make(&scheduler, &parts);
        let shared = Shared {
            engine,
            scheduler,
            clock: Clock::new(),
            registry: Registry::new(),
            watchers: Watchers::default(),
            recorder: options.recorder,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Whether no transaction is undecided, and the engine's tables are empty (I7).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.registry.live_count() == 0
            && self.shared.scheduler.undecided() == 0
            && self.shared.watchers.is_empty()
            && self.shared.engine.is_idle()
    }
}

impl<E: Engine> Participant for Host<E> {
    fn engine(&self) -> &'static str {
        self.shared.engine.name()
    }

    fn begin(&self, begin: Begin) -> Result<(), OperationError> {
        let priority = begin.priority;
        let kind = match begin.name {
            TxnName::Global(gtid) => Kind::Global { gtid, priority },
            TxnName::Local(_) => Kind::Local { priority },
        };
        let shared = &self.shared;
        shared.registry.enter(begin.name, || {
            let txn = shared.scheduler.begin(kind);
            Entry::new(begin.name, txn, shared.recorder.is_on())
        })
    }

    fn execute<'a>(
        &'a self,
        name: TxnName,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>> {
        let shared = &self.shared;
        Box::pin(async move {
            limits::check(operation)?;
            let entry = shared.registry.get(name);
            let entry = entry.ok_or(OperationError::UnknownTransaction)?;
            let mut work = pin!(run(&shared.engine, &entry, operation));
            // Whom the operation doomed is undone before it waits (H3), which may be whom it waits for.
            let answer = poll_fn(|context| {
                loop {
                    let progress = work.as_mut().poll(context);
                    if !shared.reap() || progress.is_ready() {
                        return progress;
                    }
                }
            })
            .await;
            let txn = entry.handle().txn();
            if let Err(OperationError::Aborted(reason)) = &answer {
                shared.scheduler.doom(txn, *reason);
            }
            // An answer to a doomed transaction counts for nothing, and what it says need not be so.
            let Some(reason) = txn.doomed() else {
                return answer;
            };
            shared.abort(&entry);
            shared.reap();
            Err(OperationError::Aborted(reason))
        })
    }

    fn prepare(&self, name: TxnName, on_ballot: OnBallot) {
        Shared::prepare(&self.shared, name, false, on_ballot);
        self.shared.reap();
    }

    fn prepare_dependent(&self, name: TxnName, on_ballot: OnBallot) {
        let dependent = self.reads_undecided() && matches!(name, TxnName::Global(_));
        Shared::prepare(&self.shared, name, dependent, on_ballot);
        self.shared.reap();
    }

    fn reads_undecided(&self) -> bool {
        self.shared.engine.reads_undecided()
    }

    fn prepared(&self, name: TxnName) -> Option<Prepared> {
        self.shared.prepared(name)
    }

    fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError> {
        let decided = self.shared.decide(name, decision);
        self.shared.reap();
        decided
    }

    fn query<'a>(
        &'a self,
        stamp: Stamp,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>> {
        let shared = &self.shared;
        Box::pin(async move {
            limits::check_range(range)?;
            let latest = Stamp(shared.clock.now().0.saturating_add(MAX_AHEAD));
            if stamp > latest {
                return Err(OperationError::TooFarAhead { latest });
            }
            // From here on every vote is stamped later than the query.
            shared.clock.raise(stamp);
            shared.engine.query(stamp, range).await
        })
    }

    fn blocked(&self) -> Vec<Blocked> {
        let live = self.shared.registry.live();
        // Who has given a YES that depends on others is told of by that.
        let waiting = live
            .iter()
            .filter(|handle| self.shared.engine.waits(handle) && handle.vote_stamp().is_none());
        waiting
            .filter_map(|handle| {
                let TxnName::Global(gtid) = handle.name() else {
                    return None;
                };
                let by = self.shared.scheduler.blocked_by(handle.txn());
                let priority = handle.txn().kind().priority();
                (!by.is_empty()).then_some(Blocked { gtid, priority, by })
            })
            .collect()
    }

    fn recover(&self, gtid: Gtid, priority: Priority, stamp: Stamp, prepared: Prepared) {
        let depends = Dependencies::default();
        Shared::recover(&self.shared, (gtid, priority, stamp), prepared, &depends);
    }

    fn recover_dependent(
        &self,
        gtid: Gtid,
        priority: Priority,
        stamp: Stamp,
        prepared: Prepared,
        depends: &Dependencies,
    ) {
        assert!(
            depends.is_empty() || self.reads_undecided(),
            "P6: this engine gives no votes that depend on others"
        );
        Shared::recover(&self.shared, (gtid, priority, stamp), prepared, depends);
    }

    fn restore(&self, stamp: Stamp, changes: Vec<Change>) {
        self.shared.clock.raise(stamp);
        // A failure is kept: whoever opens the site asks for it ([`Stored::failure`]).
        if let Ok(Some(version)) = self.shared.engine.restore(stamp, &changes) {
            self.shared.recorder.restored(stamp, version, &changes);
        }
    }

    fn increments_commute(&self) -> bool {
        self.shared.engine.increments_commute()
    }

    fn granularity(&self) -> Granularity {
        self.shared.engine.granularity()
    }

    fn keeps_branches(&self) -> bool {
        self.shared.engine.keeps_branches()
    }

    fn restoring(&self, name: TxnName) {
        self.shared.engine.restoring(name);
    }

    fn recovered(&self) {
        self.shared.engine.recovered();
    }

    fn quiesce(&self) -> bool {
        self.shared.engine.quiesce()
    }

    fn stored(&self) -> &dyn Stored {
        self.shared.engine.stored()
    }

    fn in_flight(&self) -> usize {
        self.shared.registry.live_count()
    }

    fn statistics(&self) -> Statistics {
        self.shared.scheduler.statistics()
    }

    fn recorder(&self) -> &Recorder {
        &self.shared.recorder
    }
}

impl<E: Engine> fmt::Debug for Host<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("engine", &self.engine())
            .field("scheduler", &self.shared.scheduler)
            .finish_non_exhaustive()
    }
}

async fn run<E: Engine>(
    engine: &E,
    entry: &Entry<E::Private>,
    operation: &Operation,
) -> Result<Reply, OperationError> {
    let change = match operation {
        Operation::Get(key) => return engine.get(entry, key).await.map(Reply::Value),
        Operation::Scan(range) => return engine.scan(entry, range).await.map(Reply::Rows),
        Operation::Put(key, value) => Change::Put(Arc::clone(key), Arc::clone(value)),
        Operation::Delete(key) => Change::Delete(Arc::clone(key)),
        Operation::Increment(key, delta) => Change::Increment(Arc::clone(key), *delta),
        Operation::Declare(keys) => return engine.declare(entry, keys).await.map(|()| Reply::Done),
        Operation::Sql(statement) => return engine.sql(entry, statement).await.map(Reply::Table),
    };
    engine.change(entry, change).await.map(|()| Reply::Done)
}

/// Answers everybody who asked for the vote.
fn answer(ballots: Vec<OnBallot>, ballot: &Ballot) {
    for on_ballot in ballots {
        on_ballot(ballot.clone());
    }
}
