//! Queries as of a stamp: read-only, without vote, marks or aborts (§2.6; US patent 5,701,480).
//!
//! Stamps grow along every precedence (I6), so what was decided up to a stamp is a prefix of a serial order of
//! all sites, and whoever reads exactly that, at every site it reads, fits in behind it.
//!
//! Invariants:
//! - Q1 The clock stands at a query's stamp before the query looks at any vote, and a vote is cast before it is
//!   stamped. So a writer that a query does not find voted gets a later stamp than the query's.
//! - Q2 A query that waits has registered, or counted the changes so far, before it looks; whoever changes what
//!   it looks at wakes it after that. So no change is missed.
//! - Q3 No query runs below the floor, and the floor never passes a running query.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::graph::Kind;
use crate::id::{Outcome, Stamp, TxnId};
use crate::order::{Clock, Scheduler, Txn};
use crate::outcome::{Misuse, State};
use crate::sync::{Condvar, Mutex};
use crate::versions::order::VersionOrder;
use crate::versions::record::Range;

/// A stamp below the floor: versions that a query at it would need may be gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TooOld {
    /// The oldest stamp that can be asked for.
    pub oldest: Stamp,
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions before {} may be forgotten", self.oldest)
    }
}

impl std::error::Error for TooOld {}

#[derive(Default)]
struct Table {
    /// The stamps of undecided YES votes.
    votes: BTreeMap<TxnId, Stamp>,
    /// How many queries run at each stamp.
    running: BTreeMap<Stamp, usize>,
    floor: Stamp,
    /// How often something changed that a query may wait for.
    changes: u64,
    wakers: Vec<Waker>,
}

/// The queries of one site, its clock, and the stamps of its votes.
///
/// The engine stamps every YES with [`Queries::vote`], or tells it to [`Queries::recover`] after a restart;
/// a decision's stamp goes to [`Queries::learn`] before its versions are installed, and [`Queries::settle`]
/// comes when the decision has taken effect. A query then waits only while a writer of what it reads has voted
/// and may commit at or before its stamp.
///
/// ```
/// use co_core::{
///     Kind, Outcome, Priority, Queries, Scheduler, Stamp, VersionOrder, Vote, VoteRule, WriteKind,
/// };
///
/// let scheduler = Scheduler::new(VoteRule::Withhold);
/// let versions = VersionOrder::new(scheduler.clone());
/// let queries = Queries::new();
/// let writer = scheduler.begin(Kind::Local { priority: Priority(1) });
/// assert_eq!(versions.intend(&writer, &"x", WriteKind::Put), Ok(()));
/// assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
/// let stamp = queries.vote(&writer)?;
///
/// // As of the stamp before, the writer cannot matter; as of this one it may.
/// let before = queries.begin(&scheduler, Stamp(stamp.0 - 1))?;
/// assert!(before.settled(&versions, &"x", None).is_settled());
/// let query = queries.begin(&scheduler, stamp)?;
/// assert!(!query.settled(&versions, &"x", None).is_settled());
///
/// queries.learn(stamp); // a local commit's stamp is its vote's
/// versions.install(&writer, |_| { /* store the value with its stamp */ })?;
/// scheduler.decided(&writer, Outcome::Commit)?;
/// versions.retire(&writer);
/// queries.settle(&writer);
/// assert!(query.settled(&versions, &"x", None).is_settled());
/// // Read the newest version with a stamp up to the query's.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queries {
    clock: Clock,
    table: Mutex<Table>,
    changed: Condvar,
}

impl Default for Queries {
    fn default() -> Self {
        Self::new()
    }
}

impl Queries {
    /// No queries, and a clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Clock::new(),
            table: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The site's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Stamps a YES that was just cast (Q1). The vote carries the stamp to the coordinator; a local transaction
    /// commits with it.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when it has not voted YES.
    pub fn vote(&self, txn: &Txn) -> Result<Stamp, Misuse> {
        let state = txn.state();
        if state.is_unvoted() {
            let attempted = "stamp its vote";
            return Err(Misuse::WrongState { state, attempted });
        }
        let mut table = self.table.lock();
        let stamp = self.clock.tick();
        if txn.state() == State::Voted {
            // Else it is decided already, and nobody would take the stamp out again.
            table.votes.insert(txn.id(), stamp);
        }
        self.wake(table);
        Ok(stamp)
    }

    /// Restores the stamp of a transaction in doubt after a restart, before new work begins.
    pub fn recover(&self, txn: &Txn, stamp: Stamp) {
        self.clock.raise(stamp);
        if txn.state() == State::Voted {
            self.table.lock().votes.insert(txn.id(), stamp);
        }
    }

    /// A decision to commit at `stamp` has arrived: later votes get later stamps.
    pub fn learn(&self, stamp: Stamp) {
        self.clock.raise(stamp);
    }

    /// The decision on `txn` has taken effect: versions in place or dropped, the scheduler told.
    pub fn settle(&self, txn: &Txn) {
        let mut table = self.table.lock();
        table.votes.remove(&txn.id());
        self.wake(table);
    }

    /// Something changed that a query may wait for, by a table of stamps of the engine's own
    /// ([`Query::settled_with`]).
    pub fn progressed(&self) {
        self.wake(self.table.lock());
    }

    /// Begins a query as of `stamp`. From here on every vote is stamped later (Q1). An engine whose votes are
    /// stamped by another clock raises that one first.
    ///
    /// # Errors
    /// [`TooOld`] for a stamp below the floor that [`Queries::forget_before`] has set.
    pub fn begin(&self, scheduler: &Scheduler, stamp: Stamp) -> Result<Query<'_>, TooOld> {
        let mut table = self.table.lock();
        if stamp < table.floor {
            let oldest = table.floor;
            return Err(TooOld { oldest });
        }
        *table.running.entry(stamp).or_default() += 1;
        drop(table);
        self.clock.raise(stamp);
        Ok(Query {
            queries: self,
            scheduler: scheduler.clone(),
            txn: scheduler.begin(Kind::Query { stamp }),
            stamp,
        })
    }

    /// Raises the floor to `stamp`, or to the oldest running query if that is older, and returns it. The
    /// engine may then drop of every key the versions before the newest one that is stamped up to the floor, as
    /// far as [`VersionOrder::horizon`] allows.
    pub fn forget_before(&self, stamp: Stamp) -> Stamp {
        let mut table = self.table.lock();
        let oldest = table.running.first_key_value();
        let floor = oldest.map_or(stamp, |(oldest, _)| stamp.min(*oldest));
        table.floor = table.floor.max(floor);
        table.floor
    }

    /// Whether no vote is undecided and no query runs (I7).
    pub fn is_empty(&self) -> bool {
        let table = self.table.lock();
        table.votes.is_empty() && table.running.is_empty()
    }

    /// Whether a voted transaction may still commit at or before `stamp`.
    fn may_commit(&self, txn: &Txn, stamp: Stamp) -> bool {
        let table = self.table.lock();
        table.votes.get(&txn.id()).is_none_or(|vote| *vote <= stamp)
    }

    fn changes(&self) -> u64 {
        self.table.lock().changes
    }

    fn wait_for_change(&self, since: u64) {
        let mut table = self.table.lock();
        while table.changes == since {
            table = self.changed.wait(table);
        }
    }

    fn register(&self, waker: &Waker) {
        let mut table = self.table.lock();
        if !table.wakers.iter().any(|known| known.will_wake(waker)) {
            table.wakers.push(waker.clone());
        }
    }

    fn wake(&self, mut table: crate::sync::MutexGuard<'_, Table>) {
        table.changes += 1;
        let wakers = std::mem::take(&mut table.wakers);
        drop(table);
        self.changed.notify_all();
        for waker in wakers {
            waker.wake();
        }
    }
}

impl fmt::Debug for Queries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queries")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// One query: it reads as of its stamp at this site, until it is dropped.
#[derive(Debug)]
#[must_use = "a query ends when it is dropped"]
pub struct Query<'a> {
    queries: &'a Queries,
    scheduler: Scheduler,
    txn: Txn,
    stamp: Stamp,
}

impl<'a> Query<'a> {
    /// What it sees: all that was decided up to this stamp.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Its place in the scheduler, which orders it nowhere.
    #[must_use]
    pub fn txn(&self) -> &Txn {
        &self.txn
    }

    /// Waits until what was decided up to the stamp is in place for every key from `low` up to, not including,
    /// `high` (`None`: to the end). It stays so: read then.
    pub fn settled<'b, K: Ord + Clone + Hash + Send + Sync>(
        &'b self,
        versions: &'b VersionOrder<K>,
        low: &K,
        high: Option<&K>,
    ) -> Settled<'b> {
        let may_commit = |txn: &Txn| self.queries.may_commit(txn, self.stamp);
        self.settle(versions, low, high, may_commit)
    }

    /// [`Query::settled`] for an engine that keeps the stamps of votes itself: `vote_stamp` is `None` as long
    /// as it does not know, and [`Queries::progressed`] is called when that changes and after decisions.
    pub fn settled_with<'b, K: Ord + Clone + Hash + Send + Sync>(
        &'b self,
        versions: &'b VersionOrder<K>,
        low: &K,
        high: Option<&K>,
        vote_stamp: impl Fn(&Txn) -> Option<Stamp> + Send + Sync + 'b,
    ) -> Settled<'b> {
        let stamp = self.stamp;
        let may_commit = move |txn: &Txn| vote_stamp(txn).is_none_or(|vote| vote <= stamp);
        self.settle(versions, low, high, may_commit)
    }

    fn settle<'b, K: Ord + Clone + Hash + Send + Sync>(
        &'b self,
        versions: &'b VersionOrder<K>,
        low: &K,
        high: Option<&K>,
        may_commit: impl Fn(&Txn) -> bool + Send + Sync + 'b,
    ) -> Settled<'b> {
        let range = Range {
            low: low.clone(),
            high: high.cloned(),
        };
        Settled {
            queries: self.queries,
            unsettled: Box::new(move || versions.may_change(&range, &may_commit)),
        }
    }
}

impl Drop for Query<'_> {
    fn drop(&mut self) {
        let mut table = self.queries.table.lock();
        if let Some(count) = table.running.get_mut(&self.stamp) {
            *count -= 1;
            if *count == 0 {
                table.running.remove(&self.stamp);
            }
        }
        drop(table);
        // It changed nothing, so that it "aborts" says nothing but that it is over; it may be over already.
        let _ended = self.scheduler.decided(&self.txn, Outcome::Abort);
    }
}

/// The wait of a query for votes that may commit at or before its stamp.
///
/// # Cancel safety
/// Dropping it forgets nothing; ask again.
#[must_use = "what a query reads before this is ready may be incomplete"]
pub struct Settled<'a> {
    queries: &'a Queries,
    unsettled: Box<dyn Fn() -> bool + Send + Sync + 'a>,
}

impl Settled<'_> {
    /// Whether nothing has to be waited for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !(self.unsettled)()
    }

    /// Blocks the thread until nothing has to be waited for.
    pub fn wait(self) {
        loop {
            let changes = self.queries.changes(); // before the look (Q2)
            if self.is_settled() {
                return;
            }
            self.queries.wait_for_change(changes);
        }
    }
}

impl Future for Settled<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.queries.register(context.waker()); // before the look (Q2)
        if self.is_settled() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl fmt::Debug for Settled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settled")
            .field("is_settled", &self.is_settled())
            .finish()
    }
}
