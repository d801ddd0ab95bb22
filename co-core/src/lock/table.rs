//! The lock table itself: requests, waits, release.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use crate::graph::EdgeKind;
use crate::id::TxnId;
use crate::lock::future::LockFuture;
use crate::lock::matrix::{Commutativity, Compatibility, Effect, LockMode, LockPolicy};
use crate::lock::queue::{Entry, Request, Wait, unblock};
use crate::lock::range::Scan;
use crate::lock::set::LockSet;
use crate::order::{Cell, Dependence, Scheduler, Txn};
use crate::outcome::{AbortReason, Grant, State};
use crate::sync::{Arc, AtomicU64, MODELLED, Mutex, MutexGuard, Ordering, Padded};

/// Keys are spread over this many mutexes unless the engine says otherwise; few in a model, so that they
/// collide there.
const STRIPES: usize = if MODELLED { 2 } else { 256 };
const SET_SHARDS: usize = if MODELLED { 2 } else { 32 };

type Stripe<K> = HashTable<Entry<K>>;
type Striped<T> = Box<[Padded<Mutex<T>>]>;

/// Whom a release has to tell, once the table's mutexes are free (L5).
#[derive(Default)]
struct Released {
    granted: Vec<Wait>,
    /// Requests of the released transaction itself that were never granted.
    refused: Vec<Arc<Cell<Grant>>>,
}

/// What stands in the way of a new request.
#[derive(Default)]
struct Obstacles {
    blocked_by: Vec<TxnId>,
    holders: Vec<Txn>,
    /// Who waits for something incompatible, and could be overtaken if he held it.
    behind: Vec<TxnId>,
    /// An edge of the request may have closed a cycle.
    closes: bool,
}

/// A request as it is being made.
#[derive(Clone, Copy)]
struct Ask<'a> {
    txn: &'a Txn,
    owner: TxnId,
    mode: LockMode,
    /// Whether the transaction holds a lock there already (L3).
    passes: bool,
}

/// A request that was there before.
#[derive(Clone, Copy)]
struct Earlier {
    owner: TxnId,
    mode: LockMode,
    granted: bool,
    /// Whether its owner has done what it asked for.
    done: bool,
}

/// The answer to a request, before anybody waits.
enum Asked {
    Granted,
    /// Granted, but perhaps on a cycle.
    Closes,
    Waits(Arc<Cell<Grant>>),
}

/// Locks on keys and on ranges of them, for transactions of one [`Scheduler`].
pub struct LockTable<K> {
    scheduler: Scheduler,
    policy: LockPolicy,
    operations: Commutativity,
    hasher: FixedState,
    stripes: Striped<Stripe<K>>,
    scans: Mutex<Vec<Scan<K>>>,
    /// How many scans there are. Raised while every stripe is locked, so who holds one reads it safely (L4).
    scan_count: AtomicU64,
    /// Of transactions whose engine keeps no [`LockSet`].
    sets: Striped<BTreeMap<TxnId, LockSet>>,
}

impl<K: Ord + Clone + Hash> LockTable<K> {
    /// An empty table with the built-in operations.
    #[must_use]
    pub fn new(scheduler: Scheduler, policy: LockPolicy) -> Self {
        Self::with_operations(scheduler, policy, Commutativity::new())
    }

    /// An empty table with operations of the engine's own.
    #[must_use]
    pub fn with_operations(
        scheduler: Scheduler,
        policy: LockPolicy,
        operations: Commutativity,
    ) -> Self {
        Self::with_stripes(scheduler, policy, operations, STRIPES)
    }

    /// An empty table that spreads its keys over `stripes` mutexes, or the next power of two.
    ///
    /// Threads that work on different keys disturb each other where their keys share a stripe, if only because
    /// the mutex moves from one processor to the other; more stripes than keys in use make that rare, and
    /// cost 128 bytes each. A request for a range locks all of them.
    #[must_use]
    pub fn with_stripes(
        scheduler: Scheduler,
        policy: LockPolicy,
        operations: Commutativity,
        stripes: usize,
    ) -> Self {
        let stripes = stripes.clamp(1, 1 << 20).next_power_of_two();
        Self {
            scheduler,
            policy,
            operations,
            hasher: FixedState::default(),
            stripes: (0..stripes).map(|_| Padded::default()).collect(),
            scans: Mutex::default(),
            scan_count: AtomicU64::new(0),
            sets: (0..SET_SHARDS).map(|_| Padded::default()).collect(),
        }
    }

    /// The policy it was made with.
    #[must_use]
    pub fn policy(&self) -> LockPolicy {
        self.policy
    }

    /// The empty set of locks of `txn`, for [`LockTable::lock`].
    pub fn begin(&self, txn: &Txn) -> LockSet {
        self.scheduler.publish(txn);
        LockSet::new(txn.clone())
    }

    /// Asks for a lock on `key`. What is held already is granted at once, and a transaction that holds
    /// a lock on the key passes those that wait for it (L3). When the request has to wait and that closes
    /// a cycle, the youngest transaction of the cycle is doomed, which may be the one that asks. A
    /// transaction that is doomed, or was asked to vote, gets no lock.
    #[inline]
    pub fn lock(&self, set: &mut LockSet, key: &K, mode: LockMode) -> LockFuture {
        if let Some(reason) = refusal(&set.txn) {
            return LockFuture::refused(reason);
        }
        if let Some(hash) = set.undone.take() {
            self.done(&set.txn, hash);
        }
        let asked = self.ask(set, key, mode);
        self.answer(&set.txn, asked)
    }

    /// Asks for a read lock on every key from `low` up to, not including, `high` (`None`: to the end),
    /// whether the key exists or not. It looks at every lock in the table.
    pub fn lock_range(&self, set: &mut LockSet, low: &K, high: Option<&K>) -> LockFuture {
        if let Some(reason) = refusal(&set.txn) {
            return LockFuture::refused(reason);
        }
        if let Some(hash) = set.undone.take() {
            self.done(&set.txn, hash);
        }
        let asked = self.ask_range(set, low, high);
        self.answer(&set.txn, asked)
    }

    /// Releases every lock of the set, and grants what waited for it alone. Call it after
    /// [`Scheduler::decided`], when the effects are visible or undone. A request of the set that still waits
    /// is answered with an abort.
    pub fn end(&self, set: LockSet) {
        let mut released = Released::default();
        let mut scanned = set.scans;
        for hash in &set.hashes {
            scanned |= self.release_key(set.owner, *hash, &mut released);
        }
        if scanned {
            self.release_scans(&set, &mut released);
        }
        self.tell(&set.txn, released);
    }

    /// [`LockTable::lock`] for engines that keep no [`LockSet`]; the table keeps it, which costs one more
    /// mutex for each request. May be called from several threads for one transaction.
    pub fn acquire(&self, txn: &Txn, key: &K, mode: LockMode) -> LockFuture {
        self.with_set(txn, |set| self.ask(set, key, mode))
    }

    /// [`LockTable::lock_range`] for engines that keep no [`LockSet`].
    pub fn acquire_range(&self, txn: &Txn, low: &K, high: Option<&K>) -> LockFuture {
        self.with_set(txn, |set| self.ask_range(set, low, high))
    }

    /// [`LockTable::end`] for engines that keep no [`LockSet`]. A transaction that asked for nothing, or is
    /// released already, is ignored.
    pub fn release(&self, txn: &Txn) {
        let set = self.sets(txn.id()).lock().remove(&txn.id());
        if let Some(set) = set {
            self.end(set);
        }
    }

    /// Restores a lock of a transaction in doubt after a restart, before new work begins: granted without
    /// asking.
    pub fn reinstate(&self, txn: &Txn, key: &K, mode: LockMode) {
        let mut sets = self.sets(txn.id()).lock();
        let set = sets.entry(txn.id()).or_insert_with(|| self.begin(txn));
        self.reinstate_in(set, key, mode);
    }

    /// Restores a read lock on a range after a restart.
    pub fn reinstate_range(&self, txn: &Txn, low: &K, high: Option<&K>) {
        let mut sets = self.sets(txn.id()).lock();
        let set = sets.entry(txn.id()).or_insert_with(|| self.begin(txn));
        self.reinstate_range_in(set, low, high);
    }

    /// [`LockTable::reinstate`] for engines that keep a [`LockSet`].
    pub fn reinstate_in(&self, set: &mut LockSet, key: &K, mode: LockMode) {
        let hash = self.hash(key);
        let mut stripe = self.stripe(hash).lock();
        self.push(&mut stripe, hash, key, Request::granted(set.owner, mode));
        set.hashes.push(hash);
    }

    /// [`LockTable::reinstate_range`] for engines that keep a [`LockSet`].
    pub fn reinstate_range_in(&self, set: &mut LockSet, low: &K, high: Option<&K>) {
        let _stripes = self.lock_stripes();
        let mut scans = self.scans.lock();
        self.add_scan(&mut scans, set, low, high, None, Vec::new());
    }

    /// Whether nothing is held and nobody waits (I7).
    pub fn is_empty(&self) -> bool {
        self.scans.lock().is_empty()
            && self.stripes.iter().all(|stripe| stripe.0.lock().is_empty())
            && self.sets.iter().all(|sets| sets.0.lock().is_empty())
    }

    fn with_set(&self, txn: &Txn, ask: impl FnOnce(&mut LockSet) -> Asked) -> LockFuture {
        self.accessed(txn);
        let asked = {
            let mut sets = self.sets(txn.id()).lock();
            // Under the lock: a release that came first has taken the set of a decided transaction away.
            if let Some(reason) = refusal(txn) {
                return LockFuture::refused(reason);
            }
            ask(sets.entry(txn.id()).or_insert_with(|| self.begin(txn)))
        };
        self.answer(txn, asked)
    }

    /// The cycle search of a request that waits or was ordered, outside the table's mutexes (L5).
    #[inline]
    fn answer(&self, txn: &Txn, asked: Asked) -> LockFuture {
        match asked {
            Asked::Granted => LockFuture::granted(),
            Asked::Closes => {
                self.scheduler.blocked(txn);
                refusal(txn).map_or_else(LockFuture::granted, LockFuture::refused)
            }
            Asked::Waits(cell) => {
                self.scheduler.blocked(txn);
                LockFuture::waiting(txn, cell)
            }
        }
    }

    #[inline]
    fn ask(&self, set: &mut LockSet, key: &K, mode: LockMode) -> Asked {
        let hash = self.hash(key);
        let mut stripe = self.stripe(hash).lock();
        if self.scan_count.load(Ordering::Relaxed) == 0 {
            let same = |entry: &Entry<K>| entry.key == *key;
            if let Slot::Vacant(slot) = stripe.entry(hash, same, |entry| self.hash(&entry.key)) {
                slot.insert(Entry::new(key.clone(), Request::granted(set.owner, mode)));
                set.hashes.push(hash);
                if stripe.len() * 2 > stripe.capacity() {
                    self.grow(&mut stripe);
                }
                return Asked::Granted;
            }
        }
        self.ask_among(&mut stripe, set, hash, key, mode)
    }

    /// Keeps a stripe at most half full: keys that come and go would fill it up with gravestones otherwise, and
    /// the cost of a request would depend on how many others hold something.
    #[cold]
    fn grow(&self, stripe: &mut Stripe<K>) {
        stripe.reserve(stripe.len().max(8) * 2, |entry| self.hash(&entry.key));
    }

    /// A request on a key that somebody has asked for, or while there are scans.
    #[cold]
    fn ask_among(
        &self,
        stripe: &mut Stripe<K>,
        set: &mut LockSet,
        hash: u64,
        key: &K,
        mode: LockMode,
    ) -> Asked {
        let owner = set.owner;
        let mut no_scans = Vec::new();
        let mut guard = None;
        let scans = if self.scan_count.load(Ordering::Relaxed) == 0 {
            &mut no_scans
        } else {
            &mut **guard.insert(self.scans.lock())
        };
        let scanned = scans
            .iter()
            .any(|scan| scan.is_of(owner) && scan.contains(key) && scan.is_granted());
        let mut no_requests = [];
        let requests = match stripe.find_mut(hash, |entry| entry.key == *key) {
            Some(entry) => entry.requests_mut(),
            None => &mut no_requests,
        };
        // Who has scanned what is changed once more has to be asked, too: its scan is not among the requests.
        let after_scan = |scan: &Scan<K>| !scan.is_of(owner) && scan.contains(key);
        let again = self.policy.is_dirty() && self.operations.effect(mode).changes();
        if !(again && scans.iter().any(after_scan))
            && self.is_covered(requests, scanned, owner, mode)
        {
            return Asked::Granted;
        }
        let holds = |request: &Request| request.owner == owner && request.is_granted();
        let ask = Ask {
            txn: &set.txn,
            owner,
            mode,
            passes: scanned || requests.iter().any(holds),
        };
        let mut obstacles = Obstacles::default();
        self.order_among(ask, requests, EdgeKind::ReadWrite, &mut obstacles);
        for scan in scans.iter_mut() {
            if scan.is_of(owner) || !scan.contains(key) {
                continue;
            }
            match &mut scan.wait {
                Some(wait) if ask.passes => self.pass(ask, LockMode::Read, wait),
                _ => {
                    let earlier = Earlier {
                        owner: scan.txn.id(),
                        mode: LockMode::Read,
                        granted: scan.is_granted(),
                        done: scan.is_done(),
                    };
                    let kind = EdgeKind::Predicate;
                    if self.follow(ask, earlier, true, kind, &mut obstacles) || !earlier.granted {
                        scan.blocking.push(hash);
                    }
                }
            }
        }
        self.stay_behind(ask, &mut obstacles);
        let passes = ask.passes;
        let (wait, asked) = self.begin_wait(ask.txn, obstacles);
        if wait.is_some() && self.policy.is_dirty() {
            set.undone = Some(hash);
        }
        let request = Request::new(owner, mode, wait);
        match stripe.find_mut(hash, |entry| entry.key == *key) {
            Some(entry) if passes => entry.push_before_waiters(request),
            _ => self.push(stripe, hash, key, request),
        }
        set.hashes.push(hash);
        asked
    }

    /// `txn` asks for something else: what it waited for on a key of this hash it has done by now, so those who
    /// wait behind it are ordered after it instead, as far as that can be done.
    #[cold]
    pub(super) fn done(&self, txn: &Txn, hash: u64) {
        let mut released = Released::default();
        let mut closing = Vec::new();
        {
            let mut stripe = self.stripe(hash).lock();
            for entry in stripe.iter_hash_mut(hash) {
                self.order_waiters(txn, entry, &mut released, &mut closing);
            }
        }
        self.tell(txn, released);
        for waiter in closing {
            self.scheduler.blocked(&waiter);
        }
    }

    fn order_waiters(
        &self,
        txn: &Txn,
        entry: &mut Entry<K>,
        released: &mut Released,
        closing: &mut Vec<Txn>,
    ) {
        let owner = txn.id();
        let mut held = Vec::new();
        for request in entry.requests_mut() {
            if request.owner == owner {
                request.waited &= !request.is_granted();
                held.extend((!request.waited).then_some(request.mode));
                continue;
            }
            let Some(wait) = &request.wait else {
                continue;
            };
            let ask = Ask {
                txn: &wait.txn,
                owner: request.owner,
                mode: request.mode,
                passes: false,
            };
            let mut closes = false;
            let ordered =
                |mode: &LockMode| match self.policy.cell(&self.operations, *mode, ask.mode) {
                    Compatibility::Free => true,
                    Compatibility::Waits => false,
                    Compatibility::Ordered => {
                        let earlier = Earlier {
                            owner,
                            mode: *mode,
                            granted: true,
                            done: true,
                        };
                        self.is_ordered(ask, earlier, true, EdgeKind::ReadWrite, &mut closes)
                    }
                };
            if !held.is_empty() && held.iter().all(ordered) {
                closing.extend(closes.then(|| wait.txn.clone()));
                released.granted.extend(unblock(&mut request.wait, owner));
            }
        }
    }

    fn ask_range(&self, set: &mut LockSet, low: &K, high: Option<&K>) -> Asked {
        let owner = set.owner;
        let mut stripes = self.lock_stripes();
        let mut scans = self.scans.lock();
        let covered =
            |scan: &Scan<K>| scan.is_of(owner) && scan.covers(low, high) && scan.is_granted();
        if high.is_some_and(|high| high <= low) || scans.iter().any(covered) {
            return Asked::Granted;
        }
        let mut obstacles = Obstacles::default();
        let mut blocking = Vec::new();
        let inside = |key: &K| key >= low && high.is_none_or(|high| key < high);
        for entry in stripes.iter_mut().flat_map(|stripe| stripe.iter_mut()) {
            if !inside(&entry.key) {
                continue;
            }
            let holds = |request: &Request| request.owner == owner && request.is_granted();
            let scanned = |scan: &Scan<K>| scan.is_of(owner) && scan.contains(&entry.key);
            let ask = Ask {
                txn: &set.txn,
                owner,
                mode: LockMode::Read,
                passes: entry.requests().iter().any(holds) || scans.iter().any(scanned),
            };
            if ask.passes && entry.requests().iter().any(|request| !request.is_granted()) {
                blocking.push(self.hash(&entry.key));
            }
            let requests = entry.requests_mut();
            self.order_among(ask, requests, EdgeKind::Predicate, &mut obstacles);
        }
        let (wait, asked) = self.begin_wait(&set.txn, obstacles);
        self.add_scan(&mut scans, set, low, high, wait, blocking);
        asked
    }

    /// Whether what `owner` holds makes a request unnecessary. Where others see undecided changes, a second
    /// change is a new one to whoever has come in between.
    fn is_covered(
        &self,
        requests: &[Request],
        scanned: bool,
        owner: TxnId,
        mode: LockMode,
    ) -> bool {
        let covering = |request: &Request| {
            request.owner == owner && request.is_granted() && request.mode.covers(mode)
        };
        let Some(position) = requests.iter().position(covering) else {
            return scanned && mode == LockMode::Read;
        };
        let follows = |request: &Request| {
            request.owner != owner && !self.operations.commutes(mode, request.mode)
        };
        let changes = self.operations.effect(mode).changes();
        !(self.policy.is_dirty() && changes && requests[position..].iter().any(follows))
    }

    /// A request that nothing else holds up does not pass a waiting one that it conflicts with: changes that
    /// commute would keep a read waiting for ever.
    fn stay_behind(&self, ask: Ask<'_>, obstacles: &mut Obstacles) {
        if ask.passes || !obstacles.blocked_by.is_empty() {
            return;
        }
        obstacles.blocked_by = std::mem::take(&mut obstacles.behind);
        let waiting = obstacles.blocked_by.iter();
        obstacles.holders = waiting
            .filter_map(|owner| self.scheduler.find(*owner))
            .collect();
    }

    /// Orders a request after those that are there: newest first, because a read does not see what was
    /// replaced before the newest change, and falls with what a change in between was made of when that one
    /// falls.
    fn order_among(
        &self,
        ask: Ask<'_>,
        requests: &mut [Request],
        kind: EdgeKind,
        obstacles: &mut Obstacles,
    ) {
        let mut seen = true;
        for request in requests.iter_mut().rev() {
            let (mut waits, mut gone) = (false, false);
            if request.owner != ask.owner {
                match &mut request.wait {
                    Some(wait) if ask.passes => self.pass(ask, request.mode, wait),
                    _ => {
                        let earlier = Earlier {
                            owner: request.owner,
                            mode: request.mode,
                            granted: request.is_granted(),
                            done: request.is_done(),
                        };
                        waits = self.follow(ask, earlier, seen, kind, obstacles);
                        gone =
                            self.policy.is_dirty() && self.scheduler.find(request.owner).is_none();
                    }
                }
            }
            // What it waits for, or what is decided, may be gone without a trace: then it sees what was there
            // before.
            let effect = self.operations.effect(request.mode);
            let hides = matches!(effect, Effect::Replaces | Effect::ObservesAndChanges);
            seen &= waits || gone || !request.is_done() || !hides;
        }
    }

    /// A new request meets an earlier one, of which it may see the effect. Says whether it has to wait.
    fn follow(
        &self,
        ask: Ask<'_>,
        earlier: Earlier,
        seen: bool,
        kind: EdgeKind,
        obstacles: &mut Obstacles,
    ) -> bool {
        let cell = self.policy.cell(&self.operations, earlier.mode, ask.mode);
        if cell == Compatibility::Ordered && !earlier.granted {
            obstacles.behind.push(earlier.owner);
        }
        let waits = match cell {
            Compatibility::Free => false,
            Compatibility::Waits => true,
            Compatibility::Ordered => {
                !self.is_ordered(ask, earlier, seen, kind, &mut obstacles.closes)
            }
        };
        if waits && !obstacles.blocked_by.contains(&earlier.owner) {
            obstacles.blocked_by.push(earlier.owner);
            // Unknown: decided, and about to release.
            obstacles.holders.extend(self.scheduler.find(earlier.owner));
        }
        waits
    }

    /// Orders a request after an earlier one that it does not wait for, if that can be done.
    fn is_ordered(
        &self,
        ask: Ask<'_>,
        earlier: Earlier,
        seen: bool,
        kind: EdgeKind,
        closes: &mut bool,
    ) -> bool {
        let conflict = self.operations.edge(earlier.mode, ask.mode);
        let kind = if conflict == EdgeKind::ReadWrite {
            kind
        } else {
            conflict
        };
        let depends = kind == EdgeKind::WriteRead;
        let longest = match self.policy {
            LockPolicy::OrderedSharing { longest_chain } => usize::from(longest_chain),
            LockPolicy::Ss2pl | LockPolicy::Sco => 0,
        };
        if self.policy.is_dirty() && !earlier.done {
            return false; // what it is going to do may not have happened yet
        }
        match self.scheduler.find(earlier.owner) {
            // Decided and about to release: its change is there for good, or undone.
            None => true,
            Some(earlier) if depends && seen => {
                let dependence = self.scheduler.depend(&earlier, ask.txn, longest);
                *closes |= dependence == Dependence::Closes;
                dependence != Dependence::Refused
            }
            Some(earlier) => {
                let order = if depends { EdgeKind::WriteWrite } else { kind };
                // The one that asks has not voted: the edge cannot be refused.
                *closes |= self.scheduler.order(&earlier, ask.txn, order) == Ok(true);
                true
            }
        }
    }

    /// A new request of a transaction that holds a lock there passes a waiting one (L3).
    fn pass(&self, ask: Ask<'_>, asked: LockMode, wait: &mut Wait) {
        match self.policy.cell(&self.operations, ask.mode, asked) {
            Compatibility::Free => {}
            Compatibility::Ordered if !self.policy.is_dirty() => {
                // A waiter has not voted, so neither call can be refused.
                let _accepted = self.scheduler.edge(ask.txn, &wait.txn, EdgeKind::ReadWrite);
            }
            Compatibility::Ordered | Compatibility::Waits => {
                wait.block_on(ask.owner);
                let _accepted = self.scheduler.wait(&wait.txn, ask.txn);
            }
        }
    }

    /// Records the waits of a request that is blocked; nothing for one that is not.
    fn begin_wait(&self, txn: &Txn, obstacles: Obstacles) -> (Option<Box<Wait>>, Asked) {
        if obstacles.blocked_by.is_empty() {
            let asked = if obstacles.closes {
                Asked::Closes
            } else {
                Asked::Granted
            };
            return (None, asked);
        }
        let cell = Arc::new(Cell::new());
        self.scheduler.begin_lock_wait(txn, &cell);
        for holder in &obstacles.holders {
            // The one that asks has not voted: the wait cannot be refused.
            let _accepted = self.scheduler.wait(txn, holder);
        }
        let wait = Wait {
            txn: txn.clone(),
            blocked_by: obstacles.blocked_by,
            cell: Arc::clone(&cell),
        };
        (Some(Box::new(wait)), Asked::Waits(cell))
    }

    fn push(&self, stripe: &mut Stripe<K>, hash: u64, key: &K, request: Request) {
        let same = |entry: &Entry<K>| entry.key == *key;
        match stripe.entry(hash, same, |entry| self.hash(&entry.key)) {
            Slot::Occupied(slot) => slot.into_mut().push(request),
            Slot::Vacant(slot) => {
                slot.insert(Entry::new(key.clone(), request));
            }
        }
    }

    fn add_scan(
        &self,
        scans: &mut Vec<Scan<K>>,
        set: &mut LockSet,
        low: &K,
        high: Option<&K>,
        wait: Option<Box<Wait>>,
        blocking: Vec<u64>,
    ) {
        scans.push(Scan {
            txn: set.txn.clone(),
            low: low.clone(),
            high: high.cloned(),
            waited: wait.is_some(),
            wait,
            blocking,
        });
        self.scan_count.store(scans.len() as u64, Ordering::Release);
        set.scans = true;
    }

    /// Takes the requests out that `owner` has on a key of this hash. Says whether there are scans, which
    /// may wait for `owner`.
    #[inline]
    fn release_key(&self, owner: TxnId, hash: u64, released: &mut Released) -> bool {
        let mut stripe = self.stripe(hash).lock();
        let scanned = self.scan_count.load(Ordering::Relaxed) != 0;
        let Ok(mut slot) = stripe.find_entry(hash, |entry| entry.has(owner)) else {
            return scanned; // asked for twice, and released the first time
        };
        if !slot.get().is_alone(owner) {
            let refused = &mut released.refused;
            let left = slot.get_mut().remove(owner, |request| {
                refused.extend(request.wait.map(|wait| wait.cell))
            });
            if left > 0 {
                grant(slot.get_mut(), owner, released);
                return scanned;
            }
        }
        let (entry, _) = slot.remove();
        drop(stripe);
        let unanswered = entry.requests().iter().flat_map(|request| &request.wait);
        released
            .refused
            .extend(unanswered.map(|wait| Arc::clone(&wait.cell)));
        scanned
    }

    fn release_scans(&self, set: &LockSet, released: &mut Released) {
        let mut blocking = Vec::new();
        {
            let mut scans = self.scans.lock();
            for scan in scans.extract_if(.., |scan| scan.is_of(set.owner)) {
                released.refused.extend(scan.wait.map(|wait| wait.cell));
                blocking.extend(scan.blocking);
            }
            self.scan_count.store(scans.len() as u64, Ordering::Release);
            for scan in scans.iter_mut() {
                released.granted.extend(unblock(&mut scan.wait, set.owner));
            }
        }
        for hash in blocking {
            let mut stripe = self.stripe(hash).lock();
            for entry in stripe.iter_hash_mut(hash) {
                grant(entry, set.owner, released);
            }
        }
    }

    fn tell(&self, txn: &Txn, released: Released) {
        for wait in released.granted {
            self.scheduler.end_lock_wait(&wait.txn, &wait.cell);
            wait.cell.resolve(Grant::Granted);
        }
        if !released.refused.is_empty() {
            let reason = txn.doomed().unwrap_or(AbortReason::Requested);
            for cell in released.refused {
                cell.resolve(Grant::Aborted(reason));
            }
        }
    }

    fn lock_stripes(&self) -> Vec<MutexGuard<'_, Stripe<K>>> {
        self.stripes.iter().map(|stripe| stripe.0.lock()).collect()
    }

    #[inline]
    fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The table inside a stripe uses the lowest bits of the hash and the highest seven.
    #[inline]
    fn stripe(&self, hash: u64) -> &Mutex<Stripe<K>> {
        &self.stripes[index(hash >> 32, self.stripes.len())].0
    }

    pub(super) fn sets(&self, owner: TxnId) -> &Mutex<BTreeMap<TxnId, LockSet>> {
        &self.sets[index(owner.0, SET_SHARDS)].0
    }
}

/// Takes those out of their wait who waited for `gone` alone.
fn grant<K>(entry: &mut Entry<K>, gone: TxnId, released: &mut Released) {
    for request in entry.requests_mut() {
        released.granted.extend(unblock(&mut request.wait, gone));
    }
}

/// `count` is a power of two.
#[inline]
fn index(number: u64, count: usize) -> usize {
    usize::try_from(number & (count as u64 - 1)).expect("less than a usize")
}

/// Why `txn` can have no lock, if so.
#[inline]
fn refusal(txn: &Txn) -> Option<AbortReason> {
    if matches!(txn.state(), State::Active | State::Ready) {
        None
    } else {
        Some(txn.doomed().unwrap_or(AbortReason::Requested))
    }
}

impl<K> fmt::Debug for LockTable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockTable")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
