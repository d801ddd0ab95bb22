//! What a database has to be able to do to be put under a commit order: read rows, and prepare, commit and roll back
//! branches that survive its own crash.
//!
//! Invariants every backend keeps:
//! - B1 [`Backend::prepare`] says `Ok` only if the branch is prepared, with all its changes, and durable. After an error
//!   the branch is not there, or becomes so by [`Backend::roll_back`].
//! - B2 When [`Backend::commit`] has said `Ok`, every read that begins later sees the changes.
//! - B3 A branch that is not there was finished before: that is no error, but [`Ending::Before`].

use std::future::Future;
use std::sync::Arc;

use co_core::AbortReason;
use coco::failpoint;
use participant::{Change, Key, KeyRange, Value};

use crate::branch::BranchName;

/// Why a database did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// It cannot be reached now, or the connection broke: what was asked may have been done or not.
    #[error("{database} cannot be reached: {why}")]
    Away {
        /// Which.
        database: String,
        /// Why.
        why: String,
    },
    /// It refused the statement.
    #[error("{database} refused: {why} ({code})")]
    Refused {
        /// Which.
        database: String,
        /// Its code for the error.
        code: String,
        /// What it said.
        why: String,
    },
    /// More rows than asked for.
    #[error("the scan finds too many rows; scan smaller ranges")]
    TooManyRows,
}

impl BackendError {
    /// The database's own code for the error, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Away { .. } | Self::TooManyRows => None,
        }
    }

    /// Whether it may be asked again.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

/// As if the database could not be reached, where a test says so.
pub(crate) fn failing(point: &'static str) -> Result<(), BackendError> {
    let away = |error: std::io::Error| BackendError::Away {
        database: "the database".to_owned(),
        why: error.to_string(),
    };
    failpoint::io(point).map_err(away)
}

/// Why a branch was not prepared: the transaction aborts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotPrepared {
    /// Somebody who does not come through the adapter was in its way, or it is forbidden by a constraint.
    Refused(String),
    /// Nobody knows whether it is there: it has to be rolled back when the database can be reached.
    Unknown(String),
    /// The database could not be reached, and nothing was begun there.
    Away(String),
}

impl NotPrepared {
    /// There was no session to begin it in.
    pub(crate) fn without_session(error: &BackendError) -> Self {
        if error.is_away() {
            Self::Away(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }

    /// What the transaction is told.
    #[must_use]
    pub const fn reason(&self) -> AbortReason {
        match self {
            Self::Refused(_) => AbortReason::Conflict,
            Self::Unknown(_) | Self::Away(_) => AbortReason::Unavailable,
        }
    }
}

/// What became of a branch that was to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It has ended so now.
    Now,
    /// It was not there: it had ended before, and the database does not say how.
    Before,
}

/// A database with prepared branches.
pub trait Backend: Send + Sync + 'static {
    /// The engine's name, such as `postgres`.
    fn name(&self) -> &'static str;

    /// Whether the table can have such a key; if not, what it is that cannot be done. Asked before all else.
    ///
    /// # Errors
    /// The words after "the engine cannot".
    fn check_key(&self, key: &Key) -> Result<(), &'static str>;

    /// The same for a range.
    ///
    /// # Errors
    /// As [`Backend::check_key`].
    fn check_range(&self, range: &KeyRange) -> Result<(), &'static str>;

    /// The same for a change.
    ///
    /// # Errors
    /// As [`Backend::check_key`].
    fn check_change(&self, change: &Change) -> Result<(), &'static str>;

    /// The newest committed value of a key.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Value>, BackendError>> + Send;

    /// The newest committed rows of a range, as of one moment, in the order of their keys.
    fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Key, Value)>, BackendError>> + Send;

    /// Makes the changes in a branch and prepares it (B1). There is no increment among them.
    fn prepare(
        &self,
        branch: BranchName,
        changes: &[Change],
    ) -> impl Future<Output = Result<(), NotPrepared>> + Send;

    /// Commits a prepared branch (B2, B3).
    fn commit(
        &self,
        branch: BranchName,
    ) -> impl Future<Output = Result<Ending, BackendError>> + Send;

    /// Rolls a branch back (B3), also one whose preparation is still on its way.
    fn roll_back(
        &self,
        branch: BranchName,
    ) -> impl Future<Output = Result<Ending, BackendError>> + Send;

    /// The statement with which somebody ends a branch that the site's user may not end.
    fn by_hand(&self, commits: bool, branch: BranchName) -> String;

    /// The branches of this site that are prepared.
    fn branches(&self) -> impl Future<Output = Result<Vec<BranchName>, BackendError>> + Send;

    /// Makes changes that had committed before a crash, all at once; that they are there already changes nothing.
    fn redo(&self, changes: &[Change]) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// How many commits of the site are known to be there, and the largest stamp among them.
    fn mark(&self) -> impl Future<Output = Result<(u64, u64), BackendError>> + Send;

    /// Remembers that, durably.
    fn set_mark(
        &self,
        ordinal: u64,
        stamp: u64,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// One database behind several engines, one after the other.
impl<B: Backend> Backend for Arc<B> {
    fn name(&self) -> &'static str {
        B::name(self)
    }

    fn check_key(&self, key: &Key) -> Result<(), &'static str> {
        B::check_key(self, key)
    }

    fn check_range(&self, range: &KeyRange) -> Result<(), &'static str> {
        B::check_range(self, range)
    }

    fn check_change(&self, change: &Change) -> Result<(), &'static str> {
        B::check_change(self, change)
    }

    async fn get(&self, key: &Key) -> Result<Option<Value>, BackendError> {
        B::get(self, key).await
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, BackendError> {
        B::scan(self, range, limit).await
    }

    async fn prepare(&self, branch: BranchName, changes: &[Change]) -> Result<(), NotPrepared> {
        B::prepare(self, branch, changes).await
    }

    async fn commit(&self, branch: BranchName) -> Result<Ending, BackendError> {
        B::commit(self, branch).await
    }

    async fn roll_back(&self, branch: BranchName) -> Result<Ending, BackendError> {
        B::roll_back(self, branch).await
    }

    fn by_hand(&self, commits: bool, branch: BranchName) -> String {
        B::by_hand(self, commits, branch)
    }

    async fn branches(&self) -> Result<Vec<BranchName>, BackendError> {
        B::branches(self).await
    }

    async fn redo(&self, changes: &[Change]) -> Result<(), BackendError> {
        B::redo(self, changes).await
    }

    async fn mark(&self) -> Result<(u64, u64), BackendError> {
        B::mark(self).await
    }

    async fn set_mark(&self, ordinal: u64, stamp: u64) -> Result<(), BackendError> {
        B::set_mark(self, ordinal, stamp).await
    }
}
