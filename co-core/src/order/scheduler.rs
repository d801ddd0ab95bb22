//! The scheduler: begins transactions, records who precedes whom, casts votes in that order.
//!
//! Invariants (numbers as in `docs/theory.md`):
//! - I1 For every edge a → b between committed transactions, a was decided before b voted.
//! - I2 Voted transactions precede each other in no way: they form an antichain.
//! - I3 A voted transaction is ended by its decision only; the scheduler never dooms it.
//! - I7 When every transaction is decided the graph is empty: [`Scheduler::undecided`] is zero.
//!
//! Deliberately not here: keys, storage, clocks, threads, timeouts.

use crate::graph::Kind;
use crate::graph::{
    EdgeEffect, EdgeKind, Node, Released, Tie, Waiting, add_edge, find_cycle, is_alive, remove_wait,
};
use crate::id::{Gtid, Outcome, Priority, TxnId};
use crate::order::{Cell, VoteFuture};
use crate::outcome::{AbortReason, Grant, Misuse, State, Vote};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering};

/// When a transaction may vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum VoteRule {
    /// Commitment ordering (§2.10, rule WITHHOLD): YES when every predecessor is decided. Any mix of
    /// sites under this rule is globally serializable.
    #[default]
    Withhold,
    /// No vote ordering: the site stays serializable by itself, in the order of its votes, and nothing
    /// more. A transaction that precedes a voted one is doomed; no vote waits for a reader. This is what
    /// plain two-phase commit over serializable databases gives, and it is *not* globally serializable.
    /// Votes pass one lock here; the rule exists to be compared with.
    LocalOnly,
    /// No vote ordering over snapshot reads: serializable snapshot isolation (Cahill, Röhm, Fekete 2008).
    /// Of two concurrent writers of an item the second is doomed, and so is a transaction that both
    /// precedes and follows a concurrent one by a read. The site alone is serializable, in an order that is
    /// neither that of its votes nor that of its commits; so under plain two-phase commit several such sites
    /// are not. An engine under this rule reports conflicts with committed transactions too, as long as one
    /// that was concurrent with them is undecided ([`VoteRule::keeps_committed_reads`]).
    LocalSnapshot,
    /// Conflicts of reads with later writes are not recorded at all. Not even one site is serializable.
    /// Only for tests that show what the other rules prevent.
    DangerIgnoreReads,
}

impl VoteRule {
    /// Whether an engine with snapshots has to keep the read marks of committed transactions until every
    /// transaction that was concurrent with them is decided. Commitment ordering needs none of that: an
    /// undecided transaction never precedes a committed one.
    #[must_use]
    pub const fn keeps_committed_reads(self) -> bool {
        matches!(self, Self::LocalSnapshot)
    }
}

/// A transaction known to one [`Scheduler`]. Clones are the same transaction.
#[derive(Clone, Debug)]
pub struct Txn(pub(crate) Arc<Node>);

impl PartialEq for Txn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Txn {}

impl Txn {
    /// Its name at this site.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.0.id
    }

    /// Its kind, as given to [`Scheduler::begin`].
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Where it stands now.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.state()
    }

    /// Why it must abort, if it was doomed.
    #[must_use]
    pub fn doomed(&self) -> Option<AbortReason> {
        self.0.doom_reason()
    }

    /// Whether it waits now: for a lock, or with its vote withheld.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.state().is_unvoted() && !matches!(*self.0.waiting.lock(), Waiting::Nothing)
    }
}

/// What a scheduler has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Votes that were asked for.
    pub requested: u64,
    /// Votes that had to wait for a predecessor.
    pub withheld: u64,
    /// Cycles of conflicts and waits that were found at this site and broken.
    pub cycles: u64,
    /// Transactions doomed because they precede a committed or voted one.
    pub overtaken: u64,
}

#[derive(Debug, Default)]
struct Counters {
    requested: AtomicU64,
    withheld: AtomicU64,
    cycles: AtomicU64,
    overtaken: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    rule: VoteRule,
    next_id: AtomicU64,
    undecided: AtomicUsize,
    /// Serialises votes under [`VoteRule::LocalOnly`] only.
    local_gate: Mutex<()>,
    doomed: Mutex<Vec<Txn>>,
    counters: Counters,
}

/// The scheduler of one site. Clones share it; every method may be called from any thread.
///
/// Callbacks and wakers run inside [`Scheduler::request_vote_with`], [`Scheduler::decided`],
/// [`Scheduler::doom`], [`Scheduler::blocked`] and [`Scheduler::edge`], on the caller's thread: hold no
/// lock across these calls that a callback of yours takes.
#[derive(Clone, Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
}

impl Scheduler {
    /// A scheduler with no transactions.
    #[must_use]
    pub fn new(rule: VoteRule) -> Self {
        let shared = Shared {
            rule,
            next_id: AtomicU64::new(1),
            undecided: AtomicUsize::new(0),
            local_gate: Mutex::new(()),
            doomed: Mutex::default(),
            counters: Counters::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Begins a transaction. It has to be ended by [`Scheduler::decided`], whatever happens.
    #[must_use]
    pub fn begin(&self, kind: Kind) -> Txn {
        self.insert(kind, State::Active)
    }

    /// Re-creates a transaction that was in doubt when the site went down: it has voted, nothing precedes
    /// it (voted transactions are an antichain), and its locks and read marks are the caller's to restore
    /// before new work begins.
    #[must_use]
    pub fn recover(&self, gtid: Gtid, priority: Priority) -> Txn {
        self.insert(Kind::Global { gtid, priority }, State::Voted)
    }

    fn insert(&self, kind: Kind, state: State) -> Txn {
        let id = TxnId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        self.shared.undecided.fetch_add(1, Ordering::Relaxed);
        Txn(Arc::new(Node::new(id, kind, state)))
    }

    /// Records that `from` precedes `to`: an operation of `from` conflicts with a later one of `to`, or
    /// `from` read a version older than one of `to`'s.
    ///
    /// Report every undecided earlier accessor, not only the last one. Edges of a query, and of a
    /// transaction to itself, are ignored. Depending on where the two stand this may doom `from`
    /// (it precedes a transaction that committed) or `to` (it read from one that aborted).
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when both have voted, or when `to` has voted and read what `from` wrote: the
    /// conflict should have been reported before.
    pub fn edge(&self, from: &Txn, to: &Txn, kind: EdgeKind) -> Result<(), Misuse> {
        if from == to || is_query(from) || is_query(to) {
            return Ok(());
        }
        let reads = matches!(kind, EdgeKind::ReadWrite | EdgeKind::Predicate);
        match self.shared.rule {
            VoteRule::Withhold => {}
            VoteRule::LocalOnly if reads || kind == EdgeKind::Semantic => {
                self.observe(from, to);
                return Ok(());
            }
            VoteRule::LocalSnapshot if reads || kind == EdgeKind::Semantic => {
                self.certify(from, to);
                return Ok(());
            }
            VoteRule::LocalSnapshot
                if kind == EdgeKind::WriteWrite && from.state() == State::Committed =>
            {
                self.overtake(to);
                return Ok(());
            }
            VoteRule::DangerIgnoreReads if reads => return Ok(()),
            VoteRule::LocalOnly | VoteRule::LocalSnapshot | VoteRule::DangerIgnoreReads => {}
        }
        let tie = if kind == EdgeKind::WriteRead {
            Tie::Data
        } else {
            Tie::Order
        };
        match add_edge(&from.0, &to.0, tie)? {
            EdgeEffect::Added | EdgeEffect::NotNeeded => {}
            EdgeEffect::DoomEarlier => self.overtake(from),
            EdgeEffect::DoomLater => {
                self.doom_quietly(to, AbortReason::Cascade);
            }
        }
        Ok(())
    }

    /// [`VoteRule::LocalOnly`]: `from` is doomed as soon as `to` votes before it.
    fn observe(&self, from: &Txn, to: &Txn) {
        to.0.predecessors
            .lock()
            .push((Arc::clone(&from.0), Tie::Observed));
        let state = to.state();
        if matches!(state, State::Voted | State::Committed) {
            self.overtake(from);
        }
        if !state.is_undecided() {
            // The decision may have cleared the list before: two decided nodes must not keep each other.
            to.0.predecessors.lock().clear();
        }
    }

    /// [`VoteRule::LocalSnapshot`]: of three transactions `a → b → c` in a row, each concurrent with the next
    /// and each edge a read of an old version, one must go: `b`, or who closed the structure if `b` has
    /// voted. Every cycle of conflicts among snapshot transactions contains such a `b`.
    fn certify(&self, from: &Txn, to: &Txn) {
        let _turn = self.shared.local_gate.lock();
        if !from.state().can_commit() || !to.state().can_commit() {
            return;
        }
        let from_is_pivot = from.0.precedes_by_read();
        let to_is_pivot = to.0.follows_by_read();
        if from_is_pivot && !self.overtaken_now(from) {
            self.overtaken_now(to);
        }
        if to_is_pivot && !self.overtaken_now(to) {
            self.overtaken_now(from);
        }
    }

    /// Dooms `txn` unless it has voted; says whether it is doomed.
    fn overtaken_now(&self, txn: &Txn) -> bool {
        self.overtake(txn);
        txn.state() == State::Doomed
    }

    fn overtake(&self, txn: &Txn) {
        if self.doom_quietly(txn, AbortReason::Overtaken) {
            self.shared
                .counters
                .overtaken
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that `waiter` waits for `holder` to end (a lock, a queue). Call
    /// [`Scheduler::blocked`] when all waits of one request are recorded.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when the waiter has voted: nothing can make it wait any more.
    pub fn wait(&self, waiter: &Txn, holder: &Txn) -> Result<(), Misuse> {
        if waiter != holder {
            add_edge(&holder.0, &waiter.0, Tie::Wait)?;
        }
        Ok(())
    }

    /// Takes a wait back that ended before the holder did, however often it was recorded.
    pub fn unwait(&self, waiter: &Txn, holder: &Txn) {
        while remove_wait(&holder.0, &waiter.0) {
            self.release_one(&waiter.0);
        }
    }

    /// `waiter` begins to wait: searches for a cycle through it and dooms the youngest transaction of each
    /// one found, until none is left. Call it after the waits are recorded, never before.
    pub fn blocked(&self, waiter: &Txn) {
        while let Some(cycle) = find_cycle(&waiter.0) {
            if !cycle.iter().all(|node| is_alive(node)) {
                // Somebody else broke it meanwhile; a second victim would be one too many.
                continue;
            }
            let youngest = cycle
                .into_iter()
                .max_by_key(|node| (node.kind.priority(), node.id));
            let Some(victim) = youngest else { return };
            if self.doom_quietly(&Txn(victim), AbortReason::Cycle) {
                self.shared.counters.cycles.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// All operations of `txn` at this site are done.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when it is past that already.
    pub fn ready(&self, txn: &Txn) -> Result<(), Misuse> {
        txn.0.ready().map_err(|state| Misuse::WrongState {
            state,
            attempted: "become ready",
        })
    }

    /// Asks for the vote on `txn`; its operations are done. The vote is YES as soon as nothing that
    /// precedes it is undecided, and NO when it is doomed before that. Asking again returns the same vote.
    ///
    /// A YES for a global transaction must be in the site's log, with the transaction's writes and read
    /// marks, before it is sent. A local transaction commits on it: apply, then [`Scheduler::decided`].
    pub fn request_vote(&self, txn: &Txn) -> VoteFuture {
        VoteFuture::new(self.request(txn))
    }

    /// [`Scheduler::request_vote`] that blocks the thread until the vote is cast.
    pub fn request_vote_blocking(&self, txn: &Txn) -> Vote {
        self.request(txn).wait()
    }

    /// [`Scheduler::request_vote`] with a callback. It runs once, on the thread that casts the vote, which
    /// may be this one.
    pub fn request_vote_with(&self, txn: &Txn, callback: impl FnOnce(Vote) + Send + 'static) {
        self.request(txn).on_value(Box::new(callback));
    }

    fn request(&self, txn: &Txn) -> Arc<Cell<Vote>> {
        let node = &txn.0;
        let cell = {
            let mut waiting = node.waiting.lock();
            match &*waiting {
                Waiting::Vote(cell) => return Arc::clone(cell),
                Waiting::Nothing | Waiting::Lock(_) => {}
            }
            let cell = Arc::new(Cell::new());
            *waiting = Waiting::Vote(Arc::clone(&cell));
            cell
        };
        self.shared
            .counters
            .requested
            .fetch_add(1, Ordering::Relaxed);
        // An error means it is past Active; what that is shows in the next step.
        let _past_active = node.ready();
        match node.withhold(self.casts_freely()) {
            Ok(Released::Now) => self.tell_yes(node),
            Ok(Released::NotYet) => self.withheld(txn),
            Err(State::Voted | State::Committed) => {
                node.take_waiting();
                cell.resolve(Vote::Yes);
            }
            Err(_) => {
                node.take_waiting();
                let reason = node.doom_reason().unwrap_or(AbortReason::Requested);
                cell.resolve(Vote::No(reason));
            }
        }
        cell
    }

    fn withheld(&self, txn: &Txn) {
        if !self.casts_freely() && self.cast_in_turn(&txn.0) {
            return;
        }
        self.shared
            .counters
            .withheld
            .fetch_add(1, Ordering::Relaxed);
        self.blocked(txn);
    }

    /// `txn` is decided: the coordinator's word for a voted global transaction, the site's own for a local
    /// one. Call it when the effects are visible (commit) or undone (abort). The node leaves the graph and
    /// its successors are released.
    ///
    /// # Errors
    /// [`Misuse::WrongState`]: commit of a transaction that has not voted, or a second decision.
    pub fn decided(&self, txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
        let node = &txn.0;
        let ended = node.decide(outcome).map_err(|state| Misuse::WrongState {
            state,
            attempted: match outcome {
                Outcome::Commit => "commit",
                Outcome::Abort => "abort",
            },
        })?;
        let list = {
            let mut successors = node.successors.lock();
            successors.closed = Some(outcome);
            std::mem::take(&mut successors.list)
        };
        node.predecessors.lock().clear();
        if ended == State::Voted {
            // Whoever cast the vote may not have told it yet, or somebody asked again: it was YES.
            self.tell_yes(node);
        } else {
            node.take_waiting()
                .refuse(node.doom_reason().unwrap_or(AbortReason::Requested));
        }
        for successor in list {
            match (successor.tie, outcome) {
                (Tie::Data, Outcome::Abort) => {
                    self.doom_quietly(&Txn(Arc::clone(&successor.node)), AbortReason::Cascade);
                }
                (Tie::Overtaken, Outcome::Commit) => {
                    self.overtake(&Txn(Arc::clone(&successor.node)));
                }
                _ => {}
            }
            self.release_one(&successor.node);
        }
        self.shared.undecided.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Dooms `txn`: it must abort. Whoever waits for its vote or its lock is told NO now; the engine finds
    /// it in [`Scheduler::take_doomed`]. Says whether this call doomed it; a transaction that is doomed
    /// already or has voted is left alone (I3).
    pub fn doom(&self, txn: &Txn, reason: AbortReason) -> bool {
        self.doom_quietly(txn, reason)
    }

    fn doom_quietly(&self, txn: &Txn, reason: AbortReason) -> bool {
        if txn.0.doom(reason).is_err() {
            return false;
        }
        self.shared.doomed.lock().push(txn.clone());
        txn.0.take_waiting().refuse(reason);
        true
    }

    /// The transactions doomed since the last call. An engine asks after each of its own calls and undoes
    /// what is still undecided, so that nobody waits for a transaction whose client is idle.
    #[must_use]
    pub fn take_doomed(&self) -> Vec<Txn> {
        std::mem::take(&mut *self.shared.doomed.lock())
    }

    /// The global transactions that `txn` waits for at this site: its undecided predecessors and whom it
    /// waits for, through local transactions to the next global ones.
    #[must_use]
    pub fn blocked_by(&self, txn: &Txn) -> Vec<(Gtid, Priority)> {
        let mut found = Vec::new();
        let mut seen = std::collections::BTreeSet::from([txn.id()]);
        let mut queue = vec![Arc::clone(&txn.0)];
        while let Some(node) = queue.pop() {
            let predecessors: Vec<_> = node
                .predecessors
                .lock()
                .iter()
                .filter(|(_, tie)| *tie != Tie::Observed)
                .map(|(node, _)| Arc::clone(node))
                .collect();
            for earlier in predecessors {
                if !earlier.state().is_undecided() || !seen.insert(earlier.id) {
                    continue;
                }
                match earlier.kind {
                    Kind::Global { gtid, priority } => found.push((gtid, priority)),
                    Kind::Local { .. } => queue.push(earlier),
                    Kind::Query { .. } => {}
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// How many transactions are undecided (I7: zero when all is quiet).
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.shared.undecided.load(Ordering::Relaxed)
    }

    /// What the scheduler has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        Statistics {
            requested: counters.requested.load(Ordering::Relaxed),
            withheld: counters.withheld.load(Ordering::Relaxed),
            cycles: counters.cycles.load(Ordering::Relaxed),
            overtaken: counters.overtaken.load(Ordering::Relaxed),
        }
    }

    /// The rule this scheduler votes by.
    #[must_use]
    pub fn rule(&self) -> VoteRule {
        self.shared.rule
    }

    /// Whether the last count of a withheld vote may cast it without the gate.
    fn casts_freely(&self) -> bool {
        self.shared.rule != VoteRule::LocalOnly
    }

    fn release_one(&self, node: &Arc<Node>) {
        if node.drop_pending(self.casts_freely()) == Released::Now {
            self.tell_yes(node);
        } else if !self.casts_freely() && node.pending() == 0 {
            self.cast_in_turn(node);
        }
    }

    fn tell_yes(&self, node: &Node) {
        if let Waiting::Vote(cell) = node.take_waiting() {
            cell.resolve(Vote::Yes);
        }
    }

    /// [`VoteRule::LocalOnly`]: one vote at a time, and whoever precedes it and has not voted is doomed
    /// before the next one, so the order of votes is a serial order of the site.
    fn cast_in_turn(&self, node: &Arc<Node>) -> bool {
        let mut refused = Vec::new();
        {
            let _turn = self.shared.local_gate.lock();
            if node.cast() != Released::Now {
                return false;
            }
            let observed = std::mem::take(&mut *node.predecessors.lock());
            for (earlier, tie) in observed {
                if tie == Tie::Observed && earlier.doom(AbortReason::Overtaken).is_ok() {
                    refused.push(earlier);
                }
            }
        }
        self.tell_yes(node);
        for earlier in refused {
            self.shared
                .counters
                .overtaken
                .fetch_add(1, Ordering::Relaxed);
            self.shared.doomed.lock().push(Txn(Arc::clone(&earlier)));
            earlier.take_waiting().refuse(AbortReason::Overtaken);
        }
        true
    }

    /// Registers what a lock request of `txn` waits on; refuses at once if `txn` is doomed.
    pub(crate) fn begin_lock_wait(&self, txn: &Txn, cell: &Arc<Cell<Grant>>) {
        *txn.0.waiting.lock() = Waiting::Lock(Arc::clone(cell));
        if let Some(reason) = txn.0.doom_reason() {
            txn.0.take_waiting().refuse(reason);
        }
    }

    /// The lock request of `txn` that waits on `cell` is granted.
    pub(crate) fn end_lock_wait(&self, txn: &Txn, cell: &Arc<Cell<Grant>>) {
        let mut waiting = txn.0.waiting.lock();
        if matches!(&*waiting, Waiting::Lock(waited) if Arc::ptr_eq(waited, cell)) {
            *waiting = Waiting::Nothing;
        }
    }
}

fn is_query(txn: &Txn) -> bool {
    matches!(txn.0.kind, Kind::Query { .. })
}
