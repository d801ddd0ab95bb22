//! The contract of a resource manager: what a site does for transactions that commit in an agreed order.
//!
//! A participant keeps ordered byte keys and byte values, runs operations of many transactions at once
//! under a concurrency control of its own, and tells its [`Scheduler`](co_core::Scheduler) which
//! transaction precedes which. The site's voter (`coco::protocol::Voter`) asks it to prepare and tells it
//! the decisions; it never decides a voted transaction itself.
//!
//! Invariants every implementation keeps (the conformance suite checks them):
//! - P1 Reads return committed data or the transaction's own; where the engine says so
//!   ([`Participant::reads_undecided`]), also what a predecessor has written that is not decided: the reader then
//!   depends on it, gives no ordinary YES before it has committed, and falls with it.
//! - P2 Between the YES and the decision nothing ends the transaction but the decision.
//! - P3 When [`Participant::decide`] returns, the effects are visible to later operations, locks and
//!   marks are gone, and whoever waited for them may go on.
//! - P4 A transaction the scheduler dooms is undone at once, whether or not its client is there.
//! - P6 What a YES depends on has given its own YES here before, and its `if_committed` are those whose undecided
//!   writes were read. After that YES nothing comes to precede the transaction any more, and only the abort of one
//!   of those ends it without a decision.
//! - P5 When every transaction is decided the engine holds nothing: [`Participant::in_flight`] is zero.

use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;

use co_core::{AbortReason, Gtid, Priority, Stamp, Statistics};
pub use coco::protocol::Dependencies;

use crate::engine::Stored;
use crate::error::OperationError;
use crate::history::Recorder;

/// A key: bytes, ordered lexicographically, at most [`MAX_KEY_BYTES`] long.
pub type Key = Arc<[u8]>;
/// A value: bytes, at most [`MAX_VALUE_BYTES`] long.
pub type Value = Arc<[u8]>;

/// Longest key that a site accepts, in bytes.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// Longest value that a site accepts, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Most rows that one scan returns; a scan that would return more is refused.
pub const MAX_SCAN_ROWS: usize = 100_000;
/// Most keys that one transaction declares at a site.
pub const MAX_DECLARED_KEYS: usize = 10_000;
/// Longest statement that a site accepts, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 1024 * 1024;

/// A transaction's name at a site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TxnName {
    /// A global transaction, the same at all sites.
    Global(Gtid),
    /// A transaction of this site alone, named by the site's server.
    Local(u64),
}

/// How a transaction begins at a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// Its name.
    pub name: TxnName,
    /// Its age; a retry keeps that of its first attempt.
    pub priority: Priority,
}

/// A half-open range of keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyRange {
    /// First key of the range.
    pub low: Key,
    /// First key after the range; `None` is the end of all keys.
    pub high: Option<Key>,
}

impl KeyRange {
    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.low <= *key && self.high.as_ref().is_none_or(|high| *key < **high)
    }

    /// Whether the whole of `other` lies in the range.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let reaches = match (&self.high, &other.high) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        };
        self.low <= other.low && reaches
    }

    /// The range as bounds of an ordered map.
    #[must_use]
    pub fn bounds(&self) -> (Bound<Key>, Bound<Key>) {
        let high = self.high.clone().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(Arc::clone(&self.low)), high)
    }
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Reads one key.
    Get(Key),
    /// Writes one key, whether it exists or not.
    Put(Key, Value),
    /// Removes one key, whether it exists or not.
    Delete(Key),
    /// Reads all present keys of a range, in order; phantoms are prevented.
    Scan(KeyRange),
    /// Adds to a number stored as eight little-endian bytes; an absent key counts as zero. Increments of
    /// one key commute: they do not wait for each other and do not order their transactions
    /// (but see [`Participant::increments_commute`]).
    Increment(Key, i64),
    /// Names, before all other operations, every key that the transaction is going to use. Engines that lock what is
    /// declared do it now, in one order for all, and refuse what is not; the others have nothing to do, and say
    /// [`Reply::Done`].
    Declare(Vec<Key>),
    /// Runs one statement in the language of the site's database, without parameters. What controls transactions or
    /// sessions is refused; engines without such a language answer [`OperationError::Unsupported`].
    Sql(String),
}

/// What an operation answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The value read, if the key exists.
    Value(Option<Value>),
    /// The rows of a scan.
    Rows(Vec<(Key, Value)>),
    /// A write or an increment was done.
    Done,
    /// What a statement returned.
    Table(Table),
}

/// What a statement of the database's language returned, as text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// The names of the columns; none if the statement returns no rows.
    pub columns: Vec<String>,
    /// The rows: one cell for each column, `None` where the value is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows it returned or changed, as the database counts.
    pub affected: u64,
}

/// What two transactions may have to wait for each other over, at the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Granularity {
    /// A key, present or not, or a range that it lies in: who works on different ones never waits.
    Key,
    /// All keys together: who reads what is not there, or a range, may wait for whoever writes anything.
    Table,
    /// The site: one transaction at a time, from its first operation to its decision.
    Site,
}

/// What a vote says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ballot {
    /// The order permits the commit.
    Yes {
        /// The site's clock at the vote.
        stamp: Stamp,
        /// It wrote nothing at this site.
        read_only: bool,
        /// Who has to be decided first (P6): nobody, unless the vote was asked for by
        /// [`Participant::prepare_dependent`].
        depends: Dependencies,
    },
    /// It has aborted here.
    No(AbortReason),
}

/// The decision on a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Committed at this place in the order of all sites.
    Commit(Stamp),
    /// Aborted.
    Abort,
}

/// A change that a prepared transaction makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The key gets this value.
    Put(Key, Value),
    /// The key goes.
    Delete(Key),
    /// The number grows by this much.
    Increment(Key, i64),
}

impl Change {
    /// The key it changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::Increment(key, _) => key,
        }
    }
}

/// All that a site must remember of a voted transaction over a crash: its changes, and its read marks,
/// because its reads order others until it is decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prepared {
    /// Its changes, one per key.
    pub changes: Vec<Change>,
    /// The keys it read.
    pub reads: Vec<Key>,
    /// The ranges it scanned.
    pub scans: Vec<KeyRange>,
}

/// A transaction that waits, and the global transactions it waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Who waits.
    pub gtid: Gtid,
    /// Its age.
    pub priority: Priority,
    /// Whom it waits for.
    pub by: Vec<(Gtid, Priority)>,
}

/// A boxed future, so that one server drives any participant.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Called once with the vote; must not call back into the participant from within.
pub type OnBallot = Box<dyn FnOnce(Ballot) + Send>;

/// A resource manager. All methods may be called from any thread; one transaction has one operation at a
/// time.
pub trait Participant: Send + Sync + 'static {
    /// The engine's name: `ss2pl`, `optimistic`, ...
    fn engine(&self) -> &'static str;

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`OperationError::DuplicateBegin`] if the name is in use.
    fn begin(&self, begin: Begin) -> Result<(), OperationError>;

    /// Runs one operation. It may wait: for a lock, never for a clock.
    ///
    /// # Errors
    /// [`OperationError::Aborted`] when the transaction is (now) aborted here: it is undone already.
    /// Other errors leave the transaction as it was.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a lock request behind; abort the transaction.
    fn execute<'a>(
        &'a self,
        name: TxnName,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>>;

    /// Asks for the vote; `on_ballot` is called once, when the order permits or the transaction is doomed
    /// (or unknown). A NO has undone the transaction already.
    fn prepare(&self, name: TxnName, on_ballot: OnBallot);

    /// [`Participant::prepare`] of a global transaction whose YES may come before its predecessors are decided, and
    /// then names them: as soon as each of them is a global transaction that has given its own YES here. Engines
    /// that cannot do that vote as ever.
    fn prepare_dependent(&self, name: TxnName, on_ballot: OnBallot) {
        self.prepare(name, on_ballot);
    }

    /// Whether a read may see what a predecessor has written that is not decided (P1), and a YES may depend on
    /// such predecessors (P6).
    fn reads_undecided(&self) -> bool {
        false
    }

    /// Whether increments of one key neither wait for each other nor order their transactions. Where they do not
    /// ([`Operation::Increment`]), each is a read and a write.
    fn increments_commute(&self) -> bool {
        true
    }

    /// What transactions may have to wait for each other over.
    fn granularity(&self) -> Granularity {
        Granularity::Key
    }

    /// Whether prepared transactions are in the site's database, where they outlive the site, rather than in its log
    /// alone. Such a site makes nothing again when it starts: [`Participant::restore`] and [`Participant::recover`] say
    /// what is to become of what lies there, and what does not lie there was finished before.
    fn keeps_branches(&self) -> bool {
        false
    }

    /// What to write to the log before a YES leaves the site; `None` unless the transaction has voted, and is not
    /// undone since because it depended on one that was aborted.
    fn prepared(&self, name: TxnName) -> Option<Prepared>;

    /// The decision: the coordinator's, or the site's own for a local transaction. An abort is possible
    /// at any time before the decision; unknown names are ignored (the decision may be a repetition).
    ///
    /// # Errors
    /// [`OperationError::NotVoted`] for a commit of a transaction that has not voted YES;
    /// [`OperationError::StorageFailed`] for one that cannot be stored: it stays as it is until a restart.
    fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError>;

    /// Reads all present keys of a range as of `stamp`: everything decided up to there and nothing later,
    /// without a vote and without ever aborting. Waits for voted transactions that may still commit at or
    /// before `stamp`.
    ///
    /// # Errors
    /// [`OperationError::Unsupported`] where the engine keeps no old versions,
    /// [`OperationError::TooOld`] where it has forgotten those of that stamp;
    /// [`OperationError::TooFarAhead`] of a stamp that no commit can have.
    fn query<'a>(
        &'a self,
        stamp: Stamp,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>>;

    /// Global transactions that wait here now.
    fn blocked(&self) -> Vec<Blocked>;

    /// Re-creates a transaction in doubt after a restart, with its locks and read marks. Call it before
    /// the first [`Participant::begin`], and after [`Participant::restore`] of all that committed earlier.
    fn recover(&self, gtid: Gtid, priority: Priority, stamp: Stamp, prepared: Prepared);

    /// [`Participant::recover`] of a transaction whose YES depends on others, all of them recovered before. Called
    /// of engines only that read undecided data.
    fn recover_dependent(
        &self,
        gtid: Gtid,
        priority: Priority,
        stamp: Stamp,
        prepared: Prepared,
        depends: &Dependencies,
    ) {
        assert!(
            depends.is_empty(),
            "P6: this engine gives no votes that depend on others"
        );
        self.recover(gtid, priority, stamp, prepared);
    }

    /// Applies the changes of a transaction that had committed before a restart and is not in the storage. If
    /// that fails, [`Stored::failure`] says so.
    fn restore(&self, stamp: Stamp, changes: Vec<Change>);

    /// The log has the commit of this transaction: what is left of it in a database ([`Participant::keeps_branches`]) has
    /// to be committed. Told before [`Participant::recovered`].
    fn restoring(&self, name: TxnName) {
        let _ = name;
    }

    /// All that the log holds has been told by [`Participant::restore`] and [`Participant::recover`]; transactions may
    /// begin after this. What fails here is said by [`Stored::failure`].
    fn recovered(&self) {}

    /// The committed data.
    fn stored(&self) -> &dyn Stored;

    /// How many transactions have begun and are not decided (P5).
    fn in_flight(&self) -> usize;

    /// Waits until nothing that an earlier call has begun is on its way to a database. Says whether anything was. What
    /// waits after that waits for another transaction; sites that have their data themselves always are that far.
    fn quiesce(&self) -> bool {
        false
    }

    /// What the scheduler of this site has done.
    fn statistics(&self) -> Statistics;

    /// Where committed and aborted transactions are recorded for the checker.
    fn recorder(&self) -> &Recorder;
}
