//! What the workload needs of a database of several sites, so that it runs over real processes and,
//! in unit tests, over a map.
//!
//! An abort is an ordinary answer, never an error: the caller may retry. An unknown outcome is
//! neither commit nor abort, and nobody may take it for one.

use std::future::Future;

use co_core::Priority;
use coco::protocol::AbortCause;

use crate::schema::Key;
use crate::site::Site;

/// Where a transaction may work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// At all sites, with two-phase commit.
    Global,
    /// At one site, without the coordinator.
    Local(Site),
}

/// A half-open range of keys; without `high` it goes to the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) low: Key,
    pub(crate) high: Option<Key>,
}

/// One operation at one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Get(Key),
    Put(Key, Vec<u8>),
    Delete(Key),
    Scan(Range),
    Increment(Key, i64),
}

/// What one operation answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Value(Option<Vec<u8>>),
    Rows(Vec<(Key, Vec<u8>)>),
    Done,
}

/// Why a transaction did not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is aborted everywhere; a retry may succeed.
    Aborted(AbortCause),
    /// It was to commit and nobody can say now whether it did.
    Unknown(String),
    /// The database does not work.
    Failed(anyhow::Error),
}

/// A database of several sites.
pub(crate) trait Database: Send + Sync + 'static {
    /// Its transactions.
    type Txn: Transaction;

    /// Begins a transaction. A retry passes the age of its first attempt, so that it wins at last.
    fn begin(
        &self,
        scope: Scope,
        age: Option<Priority>,
    ) -> impl Future<Output = Result<Self::Txn, Stop>> + Send;
}

/// A transaction. Dropping it without commit aborts it.
pub(crate) trait Transaction: Send {
    /// Its age, to be passed on to a retry; `None` where ages are not kept.
    fn age(&self) -> Option<Priority>;

    /// Runs operations at one site, in order, and answers each.
    fn execute(
        &mut self,
        site: Site,
        ops: Vec<Op>,
    ) -> impl Future<Output = Result<Vec<Answer>, Stop>> + Send;

    /// Ends it.
    fn commit(self) -> impl Future<Output = Result<(), Stop>> + Send;
}
