//! The version order of one engine: its marks, from the first operation to the decision.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use crate::graph::{EdgeKind, Kind};
use crate::id::TxnId;
use crate::order::{Scheduler, Txn};
use crate::outcome::{AbortReason, Misuse, State};
use crate::sync::{Arc, AtomicU64, MODELLED, Mutex, MutexGuard, Ordering};
use crate::versions::item::Item;
use crate::versions::record::{Marks, Range, Record};
use crate::versions::timeline::{Position, Snapshot, Timeline};
use crate::versions::turn::Turn;

/// Keys and transactions are spread over this many mutexes; few in a model, so that they collide there.
const SHARDS: usize = if MODELLED { 1 } else { 64 };

/// How many late readers a ready writer waits for, unless the engine says otherwise.
const LATE_READERS: usize = 8;

/// The answer to a reader.
#[derive(Debug)]
#[must_use = "a reader may have to wait for its turn"]
pub enum Reading {
    /// Its mark stands: read the newest version that this snapshot shows.
    Now(Snapshot),
    /// A writer has waited for late readers long enough: wait for its end, then ask again.
    After(Turn),
}

type Shard<K> = BTreeMap<K, Item<K>>;
type Records<K> = BTreeMap<TxnId, Arc<Record<K>>>;
type Ranges<K> = Vec<(Range<K>, Arc<Record<K>>)>;

/// Who read which version and who is going to write the next one, for an engine with snapshots.
///
/// It holds marks, not values. In the order of a transaction's life the engine calls
/// [`VersionOrder::read`] and [`VersionOrder::scan`] before it reads, [`VersionOrder::intend`] before it votes
/// on a change, [`VersionOrder::install`] and then [`Scheduler::decided`] for a commit, and
/// [`VersionOrder::retire`] after every decision. After a restart [`VersionOrder::reinstate`] comes before new
/// work. Calls for one transaction come one after another, calls for different ones at any time.
///
/// # Who waits for whom
///
/// Nobody waits to read or to write; votes wait. A writer's vote waits for the undecided readers of what it
/// overwrites. A reader of a version that is no longer the newest is overtaken, one of a version that a voted
/// writer is about to replace waits with its vote for that writer's decision.
///
/// Readers may keep coming, and a writer that is ready would then wait for ever. A reader is *late* for a
/// writer if its snapshot was taken after somebody met that writer ready and not voted. When a writer has let a
/// number of late readers past ([`VersionOrder::with_late_readers`]), the next one is answered
/// [`Reading::After`]: it waits for the writer's end, and then reads again, on a snapshot moved past the
/// writer's commit if all it has read is unchanged. So a writer waits for the readers that were at work when it
/// became ready, and for a bounded number of others. This applies under
/// [`VoteRule::Withhold`](crate::VoteRule) only: under the other rules votes do not wait for readers.
///
/// A reader's wait is an edge of the graph like the wait for a lock: a deadlock through it is found, and the
/// youngest transaction on the cycle doomed. How often one reader has to wait is not bounded, since every
/// writer it meets may have had its fill; what it has waited for has ended each time.
///
/// # What a read sees
///
/// What a [`Snapshot`] shows is fixed, so the engine reads the value after [`Reading::Now`] without any lock of
/// this type; versions that [`VersionOrder::horizon`] protects must stay. An answer to a transaction that is
/// doomed counts for nothing.
///
/// # Locks of the engine
///
/// Under [`VoteRule::Withhold`](crate::VoteRule) writers need no locks: versions of a key are installed in the
/// order of the intents, and a later writer's vote waits for the earlier one's decision. Under
/// [`VoteRule::LocalSnapshot`](crate::VoteRule) a writer must hold the key's write lock before it intends, as
/// first-updater-wins demands.
///
/// ```
/// use co_core::{
///     Kind, Outcome, Position, Priority, Reading, Scheduler, VersionOrder, Vote, VoteRule, WriteKind,
/// };
///
/// let scheduler = Scheduler::new(VoteRule::Withhold);
/// let versions = VersionOrder::new(scheduler.clone());
/// let [reader, writer] =
///     [1, 2].map(|age| scheduler.begin(Kind::Local { priority: Priority(age) }));
///
/// // Neither waits for the other, but the writer's vote waits for the reader, who saw the version before.
/// assert_eq!(versions.intend(&writer, &"x", WriteKind::Put), Ok(()));
/// let Ok(Reading::Now(snapshot)) = versions.read(&reader, &"x") else { panic!("nobody stands in its way") };
/// assert_eq!(snapshot.position(), Position(0)); // the newest version to read
/// let vote = scheduler.request_vote(&writer);
/// assert_eq!(vote.peek(), None);
///
/// assert_eq!(scheduler.request_vote_blocking(&reader), Vote::Yes);
/// scheduler.decided(&reader, Outcome::Commit)?;
/// versions.retire(&reader);
///
/// assert_eq!(vote.wait(), Vote::Yes);
/// let stored = versions.install(&writer, |position| position /* store the value as this version */)?;
/// assert_eq!(stored, Position(1));
/// scheduler.decided(&writer, Outcome::Commit)?;
/// versions.retire(&writer);
/// assert!(versions.is_empty());
/// # Ok::<(), co_core::Misuse>(())
/// ```
pub struct VersionOrder<K> {
    pub(super) scheduler: Scheduler,
    pub(super) late_readers: usize,
    records: Box<[Mutex<Records<K>>]>,
    pub(super) ranges: Mutex<Ranges<K>>,
    /// How many ranges are marked; raised before the mark is looked for (MV3).
    pub(super) range_count: AtomicU64,
    pub(super) timeline: Mutex<Timeline<K>>,
    /// When the newest snapshot was taken; written under the timeline's mutex.
    latest: AtomicU64,
    pub(super) shards: Box<[Mutex<Shard<K>>]>,
}

impl<K: Ord + Clone + Hash> VersionOrder<K> {
    /// No marks, and only the initial version of every key. A ready writer waits for eight late readers.
    #[must_use]
    pub fn new(scheduler: Scheduler) -> Self {
        Self::with_late_readers(scheduler, LATE_READERS)
    }

    /// [`VersionOrder::new`] with another number of late readers that a ready writer waits for. With zero every
    /// late reader waits; with [`usize::MAX`] no reader ever does, and a writer may starve.
    #[must_use]
    pub fn with_late_readers(scheduler: Scheduler, late_readers: usize) -> Self {
        Self {
            scheduler,
            late_readers,
            records: (0..SHARDS).map(|_| Mutex::default()).collect(),
            ranges: Mutex::new(Vec::new()),
            range_count: AtomicU64::new(0),
            timeline: Mutex::default(),
            latest: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The newest commit.
    pub fn newest(&self) -> Position {
        self.timeline.lock().newest()
    }

    /// The oldest position that a snapshot shows, now or later. Of a key's versions the engine may drop those
    /// before the newest one at or before it, as far as its queries allow.
    pub fn horizon(&self) -> Position {
        self.timeline.lock().horizon()
    }

    /// Whether no transaction is marked and no version is remembered (I7).
    pub fn is_empty(&self) -> bool {
        self.ranges.lock().is_empty()
            && self.timeline.lock().is_empty()
            && self.records.iter().all(|records| records.lock().is_empty())
            && self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// Whether a writer of a key from `low` up to, not including, `high` has voted, and for all that
    /// `vote_stamp` knows may commit at or before `stamp`.
    pub(super) fn may_change(&self, range: &Range<K>, may_commit: impl Fn(&Txn) -> bool) -> bool {
        if range.is_empty() {
            return false;
        }
        let mut shards = self.shards.iter();
        shards.any(|shard| {
            let shard = shard.lock();
            let mut items = shard.range(bounds(range));
            items.any(|(_, item)| {
                let mut writers = item.writers();
                writers.any(|writer| writer.state() == State::Voted && may_commit(writer))
            })
        })
    }

    /// The record of a transaction that works.
    pub(super) fn enter(&self, txn: &Txn) -> Result<Arc<Record<K>>, AbortReason> {
        refusal(txn).map_or_else(|| Ok(self.record(txn)), Err)
    }

    /// The record of a transaction, made if there is none; whoever uses it checks that it still counts.
    pub(super) fn record(&self, txn: &Txn) -> Arc<Record<K>> {
        let mut records = self.records(txn).lock();
        if !txn.state().is_undecided() {
            // Nobody would take it out of the map again.
            let known = records.get(&txn.id()).cloned();
            return known.unwrap_or_else(|| Record::new(txn));
        }
        let record = records.entry(txn.id()).or_insert_with(|| Record::new(txn));
        Arc::clone(record)
    }

    /// Tells the scheduler that `from` precedes `to`. It refuses only what was reported after a vote.
    pub(super) fn order(&self, from: &Txn, to: &Txn, kind: EdgeKind) -> Result<(), AbortReason> {
        let ordered = self.scheduler.edge(from, to, kind);
        ordered.map_err(|Misuse::WrongState { .. }| AbortReason::Requested)
    }

    pub(super) fn take_snapshot(&self, timeline: &mut Timeline<K>) -> Snapshot {
        let snapshot = timeline.take_snapshot();
        self.latest.store(snapshot.taken, Ordering::Release);
        snapshot
    }

    /// A moment that every snapshot taken so far is not after.
    pub(super) fn now(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    pub(super) fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.shards[index(hasher.finish())]
    }

    pub(super) fn records(&self, txn: &Txn) -> &Mutex<Records<K>> {
        &self.records[index(txn.id().0)]
    }

    /// Changes an item, and drops it if nothing is left of it.
    pub(super) fn change_item(&self, key: &K, change: impl FnOnce(&mut Item<K>)) {
        let mut shard = self.shard(key).lock();
        if let Some(item) = shard.get_mut(key) {
            change(item);
            if item.is_empty() {
                shard.remove(key);
            }
        }
    }
}

/// The marks of a transaction that works, locked. Seen working under this mutex it has not been retired, and
/// will be (MV1).
pub(super) fn working<K>(record: &Record<K>) -> Result<MutexGuard<'_, Marks<K>>, AbortReason> {
    let marks = record.marks.lock();
    let retired = marks.retired.then_some(AbortReason::Requested);
    refusal(&record.txn).or(retired).map_or(Ok(marks), Err)
}

/// Why `txn` can leave no mark, if so.
fn refusal(txn: &Txn) -> Option<AbortReason> {
    let works = matches!(txn.state(), State::Active | State::Ready);
    let query = matches!(txn.kind(), Kind::Query { .. });
    txn.doomed()
        .or_else(|| (!works || query).then_some(AbortReason::Requested))
}

fn index(hash: u64) -> usize {
    usize::try_from(hash % SHARDS as u64).expect("a remainder of SHARDS fits")
}

pub(super) fn bounds<K>(range: &Range<K>) -> (Bound<&K>, Bound<&K>) {
    let high = range.high.as_ref();
    (
        Bound::Included(&range.low),
        high.map_or(Bound::Unbounded, Bound::Excluded),
    )
}

impl<K> fmt::Debug for VersionOrder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionOrder")
            .field("late_readers", &self.late_readers)
            .finish_non_exhaustive()
    }
}
