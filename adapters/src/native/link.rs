//! What an engine has the database do, on threads of its own.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use co_core::AbortReason;
use participant::engine::OnFortified;
use participant::storage::{Mark, StorageError};
use participant::{Key, KeyRange, MAX_SCAN_ROWS, OperationError, Table, TxnName, Value};
use tokio::sync::oneshot;

use super::session::{Intent, Session, SessionBackend, SessionError, Traits};
use super::slots::{Job, Left, Ready, Slots, Watched};
use super::versions::Versions;
use crate::backend::{BackendError, NotPrepared, failing};
use crate::branch::BranchName;
use crate::insist::{Task, until_done};
use crate::progress::failed;
use crate::reach::Reach;
use crate::threads::Threads;

/// How long an operation takes before the database is asked whether it waits, and how long after each look.
const LOOK: Duration = Duration::from_millis(5);
/// How long after an interruption the operation is interrupted again, if it has not ended: the first one may have come
/// before it began in the database.
const AGAIN: Duration = Duration::from_millis(20);

/// What an operation asks of a session.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Get(Key, Intent),
    Scan(KeyRange),
    Put(Key, Option<Value>),
    Declare(Vec<Key>),
    Statement(String),
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Answer {
    Value(Option<Value>),
    Rows(Vec<(Key, Value)>),
    Table(Table),
    Done,
}

/// The answer, when it comes.
pub(super) type Answered = oneshot::Receiver<Result<Answer, SessionError>>;

pub(super) struct Link<B: SessionBackend> {
    pub(super) backend: Arc<B>,
    pub(super) traits: Traits,
    pub(super) slots: Arc<Slots<B::Session>>,
    pub(super) versions: Versions,
    pub(super) threads: Threads,
    life: u64,
    reach: Reach,
    /// Commits of the log that are not known to be in the database.
    committed: Mutex<BTreeSet<TxnName>>,
}

async fn perform<S: Session>(session: &mut S, ask: &Ask) -> Result<Answer, SessionError> {
    match ask {
        Ask::Get(key, intent) => session.get(key, *intent).await.map(Answer::Value),
        Ask::Scan(range) => session.scan(range, MAX_SCAN_ROWS).await.map(Answer::Rows),
        Ask::Put(key, value) => {
            let put = session.put(key, value.as_ref()).await;
            put.map(|()| Answer::Done)
        }
        Ask::Declare(keys) => session.declare(keys).await.map(|()| Answer::Done),
        Ask::Statement(text) => {
            let table = session.statement(text, MAX_SCAN_ROWS).await;
            table.map(Answer::Table)
        }
    }
}

impl<B: SessionBackend> Link<B> {
    pub(super) fn new(backend: Arc<B>, threads: Threads, life: u64, versions: Versions) -> Self {
        Self {
            traits: backend.traits(),
            backend,
            slots: Arc::new(Slots::new(life)),
            versions,
            threads,
            life,
            reach: Reach::default(),
            committed: Mutex::default(),
        }
    }

    fn branch(&self, name: TxnName) -> BranchName {
        BranchName::of(name, self.life)
    }

    /// Looks for waits as long as somebody may wait, and as long as the engine is there.
    pub(super) fn watch(self: &Arc<Self>) {
        let (backend, slots) = (Arc::clone(&self.backend), Arc::clone(&self.slots));
        self.threads.spawn(async move {
            loop {
                let Some(epoch) = slots.worth_a_look(LOOK).await else {
                    return;
                };
                let waits = backend.waits().await;
                slots.looked(epoch, &waits.unwrap_or_default());
                slots.pause(LOOK).await;
            }
        });
        let (backend, slots) = (Arc::clone(&self.backend), Arc::clone(&self.slots));
        let link = Arc::downgrade(self);
        self.threads.spawn(async move {
            let lost = tokio::select! {
                lost = backend.lost() => lost,
                () = slots.closed() => return,
            };
            if let Some(link) = link.upgrade() {
                link.versions.fail(storage_error(&lost));
            }
        });
    }

    pub(super) fn keep_mark(self: &Arc<Self>, mark: Mark) -> Result<(), StorageError> {
        let backend = Arc::clone(&self.backend);
        let kept = self
            .threads
            .wait_for(async move { backend.set_mark(mark.ordinal, mark.stamp.0).await });
        kept.map_err(|error| storage_error(&error))
    }

    /// Has an operation done, in the transaction's session or in a new one.
    pub(super) fn start(
        self: &Arc<Self>,
        name: TxnName,
        session: Option<B::Session>,
        ask: Ask,
        watched: Arc<Watched>,
    ) -> Answered {
        let (told, answer) = oneshot::channel();
        let link = Arc::clone(self);
        self.threads.spawn(async move {
            let done = link.work(name, session, &ask, &watched).await;
            if let Err(
                SessionError::Lost(_) | SessionError::Refused(OperationError::DatabaseAway),
            ) = done
            {
                link.suspect();
            }
            // Whoever asked may have gone.
            let _gone = told.send(done);
            // Not before the answer is there (S2).
            link.slots.answered();
        });
        answer
    }

    async fn work(
        &self,
        name: TxnName,
        session: Option<B::Session>,
        ask: &Ask,
        watched: &Watched,
    ) -> Result<Answer, SessionError> {
        let begun = match session {
            Some(session) => Ok(session),
            None => self.begin(name).await,
        };
        let mut session = match begun {
            Ok(session) => session,
            Err(error) => {
                self.slots.never_began(name);
                return Err(error);
            }
        };
        let done = if self.slots.at_work(name, session.id()) {
            self.perform(&mut session, ask, watched).await
        } else {
            Err(SessionError::Aborted(AbortReason::Requested))
        };
        let failed = matches!(done, Err(SessionError::Aborted(_) | SessionError::Lost(_)));
        if let Some(session) = self.slots.rest(name, session, failed) {
            let job = self.slots.job();
            self.backend.discard(session).await;
            drop(job);
        }
        done
    }

    async fn begin(&self, name: TxnName) -> Result<B::Session, SessionError> {
        if !self.traits.locks_reads {
            self.versions.caught_up().await;
        }
        self.backend.begin(self.branch(name)).await
    }

    /// Runs the operation, and interrupts it if its transaction is aborted meanwhile.
    async fn perform(
        &self,
        session: &mut B::Session,
        ask: &Ask,
        watched: &Watched,
    ) -> Result<Answer, SessionError> {
        let id = session.id();
        let mut performing = pin!(perform(session, ask));
        tokio::select! {
            biased;
            done = &mut performing => return done,
            () = watched.dropped.notified() => {}
        }
        loop {
            // If the server is away the operation ends all the same.
            let _interrupted = self.backend.interrupt(id).await;
            if let Ok(done) = tokio::time::timeout(AGAIN, &mut performing).await {
                return done;
            }
        }
    }

    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let job: Job<B::Session> = self.slots.job();
        self.threads.spawn(async move {
            work.await;
            drop(job);
        });
    }

    /// Prepares what the transaction has in the database; nothing if it has nothing.
    pub(super) fn prepare(self: &Arc<Self>, name: TxnName, done: OnFortified) {
        let session = match self.slots.prepare(name) {
            Ready::Nothing => return done(Ok(())),
            Ready::Unfit => return done(Err(AbortReason::Requested)),
            Ready::Session(session) => session,
        };
        let link = Arc::clone(self);
        self.spawn(async move {
            let branch = link.branch(name);
            let unknown = |error: BackendError| NotPrepared::Unknown(error.to_string());
            let prepared = async {
                failing("adapter: prepare").map_err(unknown)?;
                link.backend.prepare(branch, session).await?;
                failing("adapter: prepared").map_err(unknown)
            };
            match prepared.await {
                Ok(()) => {
                    if !link.slots.prepared(name) {
                        link.roll_back(branch);
                    }
                    done(Ok(()));
                }
                Err(why) => {
                    link.slots.not_prepared(name);
                    let reason = why.reason();
                    match why {
                        NotPrepared::Refused(_) => {}
                        NotPrepared::Away(_) => link.suspect(),
                        NotPrepared::Unknown(_) => {
                            link.suspect();
                            link.roll_back(branch);
                        }
                    }
                    done(Err(reason));
                }
            }
        });
    }

    fn roll_back(self: &Arc<Self>, branch: BranchName) {
        let link = Arc::clone(self);
        self.spawn(async move {
            let task = Task::end_branch(false, &link.backend.by_hand(false, branch));
            let attempt = || async { link.known(link.backend.roll_back(branch).await) };
            until_done(task, attempt).await;
        });
    }

    /// A database that is away comes back; one that refuses to finish a branch has to be seen to, and until then nobody is
    /// told that all is well.
    fn known(self: &Arc<Self>, done: Result<(), BackendError>) -> Result<(), BackendError> {
        match &done {
            Ok(()) => {}
            Err(error) if error.is_away() => self.suspect(),
            Err(error) => self.versions.fail(storage_error(error)),
        }
        done
    }

    /// The database could not be reached.
    fn suspect(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        let ask = move || {
            let link = link.upgrade();
            async move { Some(link?.backend.mark().await.map(drop)) }
        };
        self.reach.suspect(self.threads.handle(), ask);
    }

    /// Undoes what the transaction has in the database.
    pub(super) fn undo(self: &Arc<Self>, name: TxnName) {
        match self.slots.abort(name) {
            Left::Nothing => {}
            Left::Session(session) => {
                let link = Arc::clone(self);
                self.spawn(async move { link.backend.discard(session).await });
            }
            Left::Branch => self.roll_back(self.branch(name)),
        }
    }

    /// Commits the branch, if there is one; `ordinal` is its number if it changes anything.
    pub(super) fn commit(self: &Arc<Self>, name: TxnName, ordinal: Option<u64>) {
        let prepared = self.slots.take_prepared(name);
        assert!(prepared || ordinal.is_none(), "N2: {name:?} has voted");
        if !prepared {
            return;
        }
        let link = Arc::clone(self);
        let branch = self.branch(name);
        self.spawn(async move {
            let task = Task::end_branch(true, &link.backend.by_hand(true, branch));
            let attempt = || async {
                failing("adapter: commit")?;
                link.known(link.backend.commit(branch).await)?;
                failing("adapter: committed")
            };
            until_done(task, attempt).await;
            if let Some(ordinal) = ordinal {
                link.versions.arrive(ordinal);
            }
        });
    }

    /// The log says that it is committed.
    pub(super) fn committed(&self, name: TxnName) {
        let mut committed = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        committed.insert(name);
    }

    /// Makes the database agree with the log: says which of those in doubt have no branch there. `in_doubt` are all
    /// that have.
    pub(super) async fn settle(
        &self,
        in_doubt: BTreeSet<TxnName>,
    ) -> Result<BTreeSet<TxnName>, BackendError> {
        self.backend.take_over().await?;
        let committed = {
            let mut committed = self
                .committed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *committed)
        };
        let mut missing = in_doubt;
        for branch in self.backend.branches().await? {
            // A local transaction's number stands for it in whichever life it was given.
            let name = match branch {
                BranchName::Global(gtid) => TxnName::Global(gtid),
                BranchName::Local { number, .. } => TxnName::Local(number),
            };
            if committed.contains(&name) {
                self.backend.commit(branch).await?;
            } else if !missing.remove(&name) {
                self.backend.roll_back(branch).await?;
            }
        }
        Ok(missing)
    }
}

pub(super) fn storage_error(error: &BackendError) -> StorageError {
    failed(error.to_string())
}

/// What an error of a session means to the client.
pub(super) fn outcome(error: SessionError) -> OperationError {
    match error {
        SessionError::Aborted(reason) => OperationError::Aborted(reason),
        // What the transaction has done is gone.
        SessionError::Lost(_) => OperationError::Aborted(AbortReason::Unavailable),
        SessionError::Refused(error) => error,
    }
}
