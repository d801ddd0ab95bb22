//! The lock table itself: requests, waits, release.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use crate::graph::EdgeKind;
use crate::id::TxnId;
use crate::lock::future::LockFuture;
use crate::lock::matrix::{Compatibility, LockMode, LockPolicy};
use crate::lock::range::{Scan, Wait};
use crate::order::{Cell, Scheduler, Txn};
use crate::outcome::{AbortReason, Grant, State};
use crate::sync::{Arc, Mutex, RwLock};

/// Keys are spread over this many mutexes; few under loom, so that they collide there.
const SHARDS: usize = if cfg!(co_loom) { 2 } else { 64 };

struct Request {
    txn: Txn,
    mode: LockMode,
    wait: Wait,
}

type Shard<K> = BTreeMap<K, Vec<Request>>;
type HeldByTxn<K> = BTreeMap<TxnId, Held<K>>;

/// What one transaction has asked for, so that it can be released.
struct Held<K> {
    keys: BTreeSet<K>,
    scans: bool,
}

impl<K> Default for Held<K> {
    fn default() -> Self {
        Self {
            keys: BTreeSet::new(),
            scans: false,
        }
    }
}

/// Whom a release has to tell, once the table's mutexes are free (L5).
#[derive(Default)]
struct Released {
    granted: Vec<(Txn, Arc<Cell<Grant>>)>,
    /// Requests of the released transaction itself that were never granted.
    refused: Vec<Arc<Cell<Grant>>>,
}

/// What stands in the way of a new request.
#[derive(Default)]
struct Obstacles {
    wait: Wait,
    holders: Vec<Txn>,
}

impl Obstacles {
    fn add(&mut self, holder: &Txn) {
        self.wait.block_on(holder.id());
        self.holders.push(holder.clone());
    }
}

/// Locks on ordered keys and on ranges of them, for transactions of one [`Scheduler`].
pub struct LockTable<K> {
    scheduler: Scheduler,
    policy: LockPolicy,
    shards: Box<[Mutex<Shard<K>>]>,
    scans: RwLock<Vec<Scan<K>>>,
    held: Box<[Mutex<HeldByTxn<K>>]>,
}

impl<K: Ord + Clone + Hash> LockTable<K> {
    /// An empty table.
    #[must_use]
    pub fn new(scheduler: Scheduler, policy: LockPolicy) -> Self {
        Self {
            scheduler,
            policy,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            scans: RwLock::new(Vec::new()),
            held: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Asks for a lock on `key`. What is held already is granted at once, and a transaction that holds
    /// a lock on the key passes those that wait for it (L3). When the request has to wait and that closes
    /// a cycle, the youngest transaction of the cycle is doomed, which may be `txn`. A transaction that is
    /// doomed, or was asked to vote, gets no lock. A transaction makes one request at a time.
    pub fn acquire(&self, txn: &Txn, key: &K, mode: LockMode) -> LockFuture {
        if let Some(reason) = refusal(txn) {
            return LockFuture::refused(txn, reason);
        }
        let scans = self.scans.read();
        let mut shard = self.shard(key).lock();
        let scanned = scans
            .iter()
            .any(|scan| scan.txn == *txn && scan.contains(key) && scan.is_granted());
        let own = |request: &&Request| request.txn == *txn && request.wait.is_granted();
        let requests = shard.get(key).map(Vec::as_slice).unwrap_or_default();
        let held = requests
            .iter()
            .filter(own)
            .any(|request| request.mode.covers(mode));
        if held || (scanned && mode == LockMode::Read) {
            return LockFuture::granted(txn);
        }
        let passes = scanned || requests.iter().any(|request| own(&request));

        let mut obstacles = Obstacles::default();
        let requests = shard.entry(key.clone()).or_default();
        for request in requests.iter_mut().filter(|request| request.txn != *txn) {
            let Request {
                txn: other,
                mode: theirs,
                wait,
            } = request;
            if passes && !wait.is_granted() {
                self.pass(txn, mode, other, *theirs, wait);
            } else {
                self.follow(
                    other,
                    *theirs,
                    txn,
                    mode,
                    EdgeKind::ReadWrite,
                    &mut obstacles,
                );
            }
        }
        for scan in scans
            .iter()
            .filter(|scan| scan.txn != *txn && scan.contains(key))
        {
            let mut wait = scan.wait.lock();
            if passes && !wait.is_granted() {
                self.pass(txn, mode, &scan.txn, LockMode::Read, &mut wait);
            } else {
                let kind = EdgeKind::Predicate;
                if self.follow(&scan.txn, LockMode::Read, txn, mode, kind, &mut obstacles) {
                    scan.blocking.lock().insert(key.clone());
                }
            }
        }
        let cell = self.begin_wait(txn, &mut obstacles);
        requests.push(Request {
            txn: txn.clone(),
            mode,
            wait: obstacles.wait,
        });
        self.held(txn)
            .lock()
            .entry(txn.id())
            .or_default()
            .keys
            .insert(key.clone());
        drop(shard);
        drop(scans);
        self.answer(txn, cell)
    }

    /// Asks for a read lock on every key from `low` up to, not including, `high` (`None`: to the end),
    /// whether the key exists or not.
    pub fn acquire_range(&self, txn: &Txn, low: &K, high: Option<&K>) -> LockFuture {
        if let Some(reason) = refusal(txn) {
            return LockFuture::refused(txn, reason);
        }
        let mut scans = self.scans.write();
        let covered =
            |scan: &Scan<K>| scan.txn == *txn && scan.covers(low, high) && scan.is_granted();
        if high.is_some_and(|high| high <= low) || scans.iter().any(covered) {
            return LockFuture::granted(txn);
        }
        let mut obstacles = Obstacles::default();
        let mut blocking = BTreeSet::new();
        for shard in &self.shards {
            for (key, requests) in shard.lock().range_mut(bounds(low, high)) {
                let passes = requests
                    .iter()
                    .any(|own| own.txn == *txn && own.wait.is_granted())
                    || scans
                        .iter()
                        .any(|scan| scan.txn == *txn && scan.contains(key));
                for request in requests.iter_mut().filter(|request| request.txn != *txn) {
                    let Request {
                        txn: other,
                        mode,
                        wait,
                    } = request;
                    if passes && !wait.is_granted() {
                        self.pass(txn, LockMode::Read, other, *mode, wait);
                        blocking.insert(key.clone());
                    } else {
                        let kind = EdgeKind::Predicate;
                        self.follow(other, *mode, txn, LockMode::Read, kind, &mut obstacles);
                    }
                }
            }
        }
        let cell = self.begin_wait(txn, &mut obstacles);
        scans.push(Scan {
            txn: txn.clone(),
            low: low.clone(),
            high: high.cloned(),
            wait: Mutex::new(obstacles.wait),
            blocking: Mutex::new(blocking),
        });
        self.held(txn).lock().entry(txn.id()).or_default().scans = true;
        drop(scans);
        self.answer(txn, cell)
    }

    /// Restores a lock of a transaction in doubt after a restart, before new work begins: granted without
    /// asking.
    pub fn reinstate(&self, txn: &Txn, key: &K, mode: LockMode) {
        let request = Request {
            txn: txn.clone(),
            mode,
            wait: Wait::default(),
        };
        self.shard(key)
            .lock()
            .entry(key.clone())
            .or_default()
            .push(request);
        self.held(txn)
            .lock()
            .entry(txn.id())
            .or_default()
            .keys
            .insert(key.clone());
    }

    /// Restores a read lock on a range after a restart.
    pub fn reinstate_range(&self, txn: &Txn, low: &K, high: Option<&K>) {
        self.scans.write().push(Scan {
            txn: txn.clone(),
            low: low.clone(),
            high: high.cloned(),
            wait: Mutex::default(),
            blocking: Mutex::default(),
        });
        self.held(txn).lock().entry(txn.id()).or_default().scans = true;
    }

    /// Releases everything `txn` holds or waits for, and grants what waited for it alone. Call it after
    /// [`Scheduler::decided`], when the effects are visible or undone, and not at the same time as a request
    /// of the same transaction. A request of its own that still waits is answered with an abort.
    pub fn release(&self, txn: &Txn) {
        let Some(held) = self.held(txn).lock().remove(&txn.id()) else {
            return;
        };
        let mut released = Released::default();
        {
            let scans = self.scans.read();
            for key in &held.keys {
                self.release_key(txn, key, &mut released);
            }
            for scan in scans.iter() {
                if let Some(cell) = scan.wait.lock().unblock(txn.id()) {
                    released.granted.push((scan.txn.clone(), cell));
                }
            }
        }
        if held.scans {
            let mut scans = self.scans.write();
            for scan in scans.extract_if(.., |scan| scan.txn == *txn) {
                released.refused.extend(scan.wait.lock().cell.take());
                for key in scan.blocking.lock().iter() {
                    self.release_key(txn, key, &mut released);
                }
            }
        }
        for (waiter, cell) in released.granted {
            self.scheduler.end_lock_wait(&waiter, &cell);
            cell.resolve(Grant::Granted);
        }
        let reason = txn.doomed().unwrap_or(AbortReason::Requested);
        for cell in released.refused {
            cell.resolve(Grant::Aborted(reason));
        }
    }

    /// Whether nothing is held and nobody waits (I7).
    pub fn is_empty(&self) -> bool {
        self.scans.read().is_empty()
            && self.shards.iter().all(|shard| shard.lock().is_empty())
            && self.held.iter().all(|held| held.lock().is_empty())
    }

    /// A new request of `later` meets a request of `earlier`. Says whether it has to wait.
    fn follow(
        &self,
        earlier: &Txn,
        held: LockMode,
        later: &Txn,
        asked: LockMode,
        kind: EdgeKind,
        obstacles: &mut Obstacles,
    ) -> bool {
        match self.policy.cell(held, asked) {
            Compatibility::Free => false,
            Compatibility::Ordered => {
                // `later` has not voted, it is asking for a lock: the edge cannot be refused.
                let _accepted = self.scheduler.edge(earlier, later, kind);
                false
            }
            Compatibility::Waits => {
                obstacles.add(earlier);
                true
            }
        }
    }

    /// A new request of `txn`, which holds a lock there, passes a waiting one of `waiter` (L3).
    fn pass(&self, txn: &Txn, mode: LockMode, waiter: &Txn, asked: LockMode, wait: &mut Wait) {
        match self.policy.cell(mode, asked) {
            Compatibility::Free => {}
            // A waiter has not voted, so neither call can be refused.
            Compatibility::Ordered => {
                let _accepted = self.scheduler.edge(txn, waiter, EdgeKind::ReadWrite);
            }
            Compatibility::Waits => {
                wait.block_on(txn.id());
                let _accepted = self.scheduler.wait(waiter, txn);
            }
        }
    }

    /// Records the waits of a request that is blocked; nothing for one that is not.
    fn begin_wait(&self, txn: &Txn, obstacles: &mut Obstacles) -> Option<Arc<Cell<Grant>>> {
        if obstacles.wait.is_granted() {
            return None;
        }
        let cell = Arc::new(Cell::new());
        obstacles.wait.cell = Some(Arc::clone(&cell));
        self.scheduler.begin_lock_wait(txn, &cell);
        for holder in &obstacles.holders {
            // `txn` has not voted, it is asking for a lock: the wait cannot be refused.
            let _accepted = self.scheduler.wait(txn, holder);
        }
        Some(cell)
    }

    /// The cycle search of a blocked request, outside the table's mutexes (L5).
    fn answer(&self, txn: &Txn, cell: Option<Arc<Cell<Grant>>>) -> LockFuture {
        match cell {
            None => LockFuture::granted(txn),
            Some(cell) => {
                self.scheduler.blocked(txn);
                LockFuture::waiting(txn, cell)
            }
        }
    }

    fn release_key(&self, txn: &Txn, key: &K, released: &mut Released) {
        let mut shard = self.shard(key).lock();
        let Some(requests) = shard.get_mut(key) else {
            return;
        };
        requests.retain_mut(|request| {
            let own = request.txn == *txn;
            if own {
                released.refused.extend(request.wait.cell.take());
            }
            !own
        });
        for request in requests.iter_mut() {
            if let Some(cell) = request.wait.unblock(txn.id()) {
                released.granted.push((request.txn.clone(), cell));
            }
        }
        if requests.is_empty() {
            shard.remove(key);
        }
    }

    fn shard(&self, key: &K) -> &Mutex<Shard<K>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &self.shards[index(hasher.finish())]
    }

    fn held(&self, txn: &Txn) -> &Mutex<HeldByTxn<K>> {
        &self.held[index(txn.id().0)]
    }
}

fn index(hash: u64) -> usize {
    usize::try_from(hash % SHARDS as u64).expect("a remainder of SHARDS fits")
}

fn bounds<K: Clone>(low: &K, high: Option<&K>) -> (Bound<K>, Bound<K>) {
    (
        Bound::Included(low.clone()),
        high.cloned().map_or(Bound::Unbounded, Bound::Excluded),
    )
}

/// Why `txn` can have no lock, if so.
fn refusal(txn: &Txn) -> Option<AbortReason> {
    let working = matches!(txn.state(), State::Active | State::Ready);
    txn.doomed()
        .or_else(|| (!working).then_some(AbortReason::Requested))
}

impl<K> fmt::Debug for LockTable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockTable")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
