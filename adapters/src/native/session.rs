//! What a database has to be able to do so that its own locks give the order: sessions that run transactions under locks
//! kept until the decision, and prepared branches that keep them.
//!
//! Invariants every backend keeps:
//! - N1 What a transaction has read or changed, nobody changes, and what it has changed nobody reads, until its branch is
//!   committed or rolled back. A wait for that ends by itself after a while ([`SessionError::Aborted`]).
//! - N2 [`SessionBackend::prepare`] says `Ok` only if the branch is prepared, with all its changes and its locks, and
//!   durable. After an error it is not there, or becomes so by [`SessionBackend::roll_back`].
//! - N3 A branch that is not there was finished before: to commit it or to roll it back is no error.
//! - N4 When [`SessionBackend::commit`] has said `Ok`, every operation that begins later sees the changes; one that comes
//!   before waits for the branch's locks.
//!
//! A backend whose mode breaks N1 on purpose, to show what that does, says so in its name.

use std::future::Future;

use co_core::AbortReason;
use participant::{Granularity, Key, KeyRange, OperationError, Table, Value};

use crate::backend::{BackendError, NotPrepared};
use crate::branch::BranchName;

/// A session, as the database's own tables of locks name it: PostgreSQL's process, MariaDB's thread.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// Who holds the lock that a session waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holder {
    /// A session at work, or one that waits before the other in the same queue.
    Session(SessionId),
    /// A prepared branch of this site.
    Branch(BranchName),
    /// Somebody who does not come through this site.
    Foreign,
}

/// A session that waits for a lock, and one who is in its way. There is one for each of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Wait {
    /// Who waits.
    pub waiter: SessionId,
    /// For whom.
    pub holder: Holder,
}

/// What a backend is, and can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// The engine's name, such as `postgres-lock`.
    pub name: &'static str,
    /// What transactions may wait for each other over.
    pub granularity: Granularity,
    /// Whether sessions run statements of the database's language.
    pub statements: bool,
    /// Whether a prepared branch keeps the locks of what it has only read when the server crashes. Where it does not, a
    /// site that has restarted begins nothing before all that is in doubt there is decided, and
    /// [`SessionBackend::lost`] has to notice such a crash.
    pub read_locks_survive: bool,
    /// Whether keys have to be declared.
    pub declares: bool,
    /// Whether reads take locks (N1, N4). Where they do not, for comparison, no history can be written, and a transaction
    /// begins when all that was decided before it is committed in the database.
    pub locks_reads: bool,
}

/// What a key is read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// To know its value.
    Read,
    /// To be written next.
    Write,
}

/// Why a session did not do what it was asked.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum SessionError {
    /// Somebody was in the transaction's way, and the database has ended it, or half of it: it has to abort. An outcome
    /// rather than a fault.
    Aborted(AbortReason),
    /// The connection is lost, and the transaction with it.
    Lost(String),
    /// It was refused and has left nothing behind: the transaction is as it was.
    Refused(OperationError),
}

/// A session in which a transaction runs. One operation at a time.
pub trait Session: Send + 'static {
    /// Which one.
    fn id(&self) -> SessionId;

    /// The value of a key, also its own; absence is kept from changing like a value (N1).
    fn get(
        &mut self,
        key: &Key,
        intent: Intent,
    ) -> impl Future<Output = Result<Option<Value>, SessionError>> + Send;

    /// The rows of a range, also its own, in the order of their keys; [`OperationError::TooManyRows`] beyond `limit`.
    fn scan(
        &mut self,
        range: &KeyRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>, SessionError>> + Send;

    /// Writes a value, or deletes the key, present or not.
    fn put(
        &mut self,
        key: &Key,
        value: Option<&Value>,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Locks all keys that the transaction is going to use; the first operation, if there is such a one. Sessions that
    /// need no declaration do nothing.
    fn declare(&mut self, keys: &[Key]) -> impl Future<Output = Result<(), SessionError>> + Send {
        let _ = keys;
        std::future::ready(Ok(()))
    }

    /// Runs one statement, if [`Traits::statements`] says that it can. One that fails leaves the transaction as it was.
    fn statement(
        &mut self,
        text: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Table, SessionError>> + Send;
}

/// A database with such sessions, and with prepared branches.
pub trait SessionBackend: Send + Sync + 'static {
    /// Its sessions.
    type Session: Session;

    /// What it is.
    fn traits(&self) -> Traits;

    /// Begins a transaction in a session of its own, without waiting for anybody's lock. Waits while all sessions are in
    /// use, but not for long: who holds one may wait for this transaction elsewhere.
    fn begin(
        &self,
        branch: BranchName,
    ) -> impl Future<Output = Result<Self::Session, SessionError>> + Send;

    /// Prepares the transaction of a session under its name (N2). What the session is good for afterwards is the
    /// backend's to know: some databases want it kept until the branch is finished.
    fn prepare(
        &self,
        branch: BranchName,
        session: Self::Session,
    ) -> impl Future<Output = Result<(), NotPrepared>> + Send;

    /// Undoes the transaction of a session that is not prepared, and gives the session back. If that fails, ends the
    /// session, so that the database undoes it.
    fn discard(&self, session: Self::Session) -> impl Future<Output = ()> + Send;

    /// Ends what a session is doing now, from another one: it then says [`SessionError::Aborted`]. When this is done
    /// nothing is on its way that could hit what the session does next.
    fn interrupt(
        &self,
        session: SessionId,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Commits a prepared branch (N3, N4).
    fn commit(&self, branch: BranchName) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Rolls a branch back (N3), also one whose preparation is still on its way.
    fn roll_back(
        &self,
        branch: BranchName,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// The statement with which somebody ends a branch that the site's user may not end.
    fn by_hand(&self, commits: bool, branch: BranchName) -> String;

    /// Ends what earlier lives of this site have left at work: when it is done, nothing of theirs can become prepared.
    fn take_over(&self) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// The branches of this site that are prepared.
    fn branches(&self) -> impl Future<Output = Result<Vec<BranchName>, BackendError>> + Send;

    /// Who waits for whom in the database now, as of one moment.
    fn waits(&self) -> impl Future<Output = Result<Vec<Wait>, BackendError>> + Send;

    /// Ends when locks of an undecided branch are known to be lost: the site then answers nothing any more until it is
    /// started again, and its votes that are not decided count for nothing.
    fn lost(&self) -> impl Future<Output = BackendError> + Send {
        std::future::pending()
    }

    /// How many commits of the site are known to be there, and the largest stamp among them.
    fn mark(&self) -> impl Future<Output = Result<(u64, u64), BackendError>> + Send;

    /// Remembers that, durably.
    fn set_mark(
        &self,
        ordinal: u64,
        stamp: u64,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;
}
