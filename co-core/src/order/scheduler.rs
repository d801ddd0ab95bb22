//! The scheduler: begins transactions, records who precedes whom, casts votes in that order.
//!
//! Invariants (numbers as in `docs/theory.md`):
//! - I1 For every edge a → b between committed transactions, a was decided before b voted.
//! - I2 Voted transactions precede each other in no way: they form an antichain.
//! - I3 A voted transaction is ended by its decision only; the scheduler never dooms it.
//! - I7 When every transaction is decided the graph is empty: [`Scheduler::undecided`] is zero.
//!
//! Deliberately not here: keys, storage, clocks, threads, timeouts.

use crate::graph::{
    EdgeEffect, EdgeKind, Ended, Kind, Node, Released, Tie, Turns, add_edge, chain_length,
    find_cycle, is_alive, remove_wait,
};
use crate::id::{Gtid, Outcome, Priority, TxnId};
use crate::order::registry::Registry;
use crate::order::tally::{Count, Tally};
use crate::order::{Cell, VoteFuture};
use crate::outcome::{AbortReason, Grant, Misuse, State, Vote};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

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
        self.state().is_unvoted() && !self.0.links().waiting.lock().is_nothing()
    }
}

/// What a scheduler has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Votes that were asked for. One that was cast at once is counted when its transaction is decided.
    pub requested: u64,
    /// Votes that had to wait for a predecessor.
    pub withheld: u64,
    /// Cycles of conflicts and waits that were found at this site and broken.
    pub cycles: u64,
    /// Transactions doomed because they precede a committed or voted one.
    pub overtaken: u64,
    /// Aborts and dooms that doomed others with them, who had read what the transaction wrote.
    pub cascades: u64,
    /// Transactions doomed by a cascade.
    pub cascaded: u64,
    /// No chain of undecided transactions, each of which has read from the one before by way of a lock table with
    /// ordered sharing, was longer than this.
    pub longest_chain: u64,
    /// The most transactions that fell in one cascade, the first one included.
    pub largest_cascade: u64,
}

#[derive(Debug, Default)]
struct Counters {
    /// Votes asked for and not cast at once.
    awaited: AtomicU64,
    withheld: AtomicU64,
    cycles: AtomicU64,
    overtaken: AtomicU64,
    cascades: AtomicU64,
    cascaded: AtomicU64,
    longest_chain: AtomicU64,
    largest_cascade: AtomicU64,
}

/// Whether one transaction may read what another, undecided one has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dependence {
    /// It may; the edge is there.
    Recorded,
    /// It may; the edge is there, and may have closed a cycle.
    Closes,
    /// The chain would be too long, or others depend on the reader already: it has to wait.
    Refused,
}

#[derive(Debug)]
struct Shared {
    rule: VoteRule,
    tally: Tally,
    registry: Registry,
    turns: Turns,
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
            tally: Tally::new(),
            registry: Registry::new(),
            turns: Turns::new(),
            local_gate: Mutex::new(()),
            doomed: Mutex::default(),
            counters: Counters::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Begins a transaction. It has to be ended by [`Scheduler::decided`], whatever happens.
    #[inline]
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

    #[inline]
    fn insert(&self, kind: Kind, state: State) -> Txn {
        let id = TxnId(self.shared.tally.add(Count::Begun));
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
        self.order(from, to, kind).map(drop)
    }

    /// [`Scheduler::edge`] that says whether the edge may have closed a cycle: whoever holds no lock then asks
    /// [`Scheduler::blocked`] at once, instead of finding out at the vote.
    pub(crate) fn order(&self, from: &Txn, to: &Txn, kind: EdgeKind) -> Result<bool, Misuse> {
        if from == to || is_query(from) || is_query(to) {
            return Ok(false);
        }
        let reads = matches!(kind, EdgeKind::ReadWrite | EdgeKind::Predicate);
        match self.shared.rule {
            VoteRule::Withhold => {}
            VoteRule::LocalOnly if reads || kind == EdgeKind::Semantic => {
                self.observe(from, to);
                return Ok(false);
            }
            VoteRule::LocalSnapshot if reads || kind == EdgeKind::Semantic => {
                self.certify(from, to);
                return Ok(false);
            }
            VoteRule::LocalSnapshot
                if kind == EdgeKind::WriteWrite && from.state() == State::Committed =>
            {
                self.overtake(to);
                return Ok(false);
            }
            VoteRule::DangerIgnoreReads if reads => return Ok(false),
            VoteRule::LocalOnly | VoteRule::LocalSnapshot | VoteRule::DangerIgnoreReads => {}
        }
        let tie = if kind == EdgeKind::WriteRead {
            Tie::Data
        } else {
            Tie::Order
        };
        match add_edge(&self.shared.turns, &from.0, &to.0, tie)? {
            EdgeEffect::Added { backward } => return Ok(backward),
            EdgeEffect::NotNeeded => {}
            EdgeEffect::DoomEarlier => self.overtake(from),
            EdgeEffect::DoomLater | EdgeEffect::AddedToDoomed => {
                self.count_cascade(self.doom_with_readers(to, AbortReason::Cascade));
            }
        }
        Ok(false)
    }

    /// [`VoteRule::LocalOnly`]: `from` is doomed as soon as `to` votes before it.
    fn observe(&self, from: &Txn, to: &Txn) {
        to.0.links()
            .predecessors
            .lock()
            .push((Arc::clone(&from.0), Tie::Observed));
        // Refused only by a decided node, whose list is cleared below.
        let _marked = to.0.precede();
        let state = to.state();
        if matches!(state, State::Voted | State::Committed) {
            self.overtake(from);
        }
        if !state.is_undecided() {
            // The decision may have cleared the list before: two decided nodes must not keep each other.
            to.0.links().predecessors.lock().clear();
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
            add_edge(&self.shared.turns, &holder.0, &waiter.0, Tie::Wait)?;
        }
        Ok(())
    }

    /// Takes a wait back that ended before the holder did, however often it was recorded.
    pub fn unwait(&self, waiter: &Txn, holder: &Txn) {
        while remove_wait(&self.shared.turns, &holder.0, &waiter.0) {
            self.release_one(&waiter.0);
        }
    }

    /// `waiter` begins to wait: searches for a cycle through it and dooms the youngest transaction of each
    /// one found, until none is left. Call it after the waits are recorded, never before.
    pub fn blocked(&self, waiter: &Txn) {
        if !self.shared.turns.may_close() {
            return;
        }
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
    #[inline]
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
    ///
    /// A query has nothing to vote on, and is told NO; it ends by [`Outcome::Abort`].
    #[inline]
    pub fn request_vote(&self, txn: &Txn) -> VoteFuture {
        if is_query(txn) {
            return VoteFuture::cast(Vote::No(AbortReason::Requested));
        }
        let node = &txn.0;
        if self.casts_freely() && node.vote_at_once().is_ok() {
            return VoteFuture::cast(Vote::Yes);
        }
        if let Some(vote) = settled(node) {
            return VoteFuture::cast(vote);
        }
        VoteFuture::new(self.await_vote(txn))
    }

    /// [`Scheduler::request_vote`] that blocks the thread until the vote is cast.
    #[inline]
    pub fn request_vote_blocking(&self, txn: &Txn) -> Vote {
        self.request_vote(txn).wait()
    }

    /// [`Scheduler::request_vote`] with a callback. It runs once, on the thread that casts the vote, which
    /// may be this one.
    pub fn request_vote_with(&self, txn: &Txn, callback: impl FnOnce(Vote) + Send + 'static) {
        self.request_vote(txn).on_vote(Box::new(callback));
    }

    /// The vote of a transaction that something precedes, or that passes the gate.
    fn await_vote(&self, txn: &Txn) -> Arc<Cell<Vote>> {
        let node = &txn.0;
        let cell = {
            let mut waiting = node.links().waiting.lock();
            if let Some(cell) = &waiting.vote {
                return Arc::clone(cell);
            }
            let cell = Arc::new(Cell::new());
            waiting.vote = Some(Arc::clone(&cell));
            cell
        };
        match node.withhold(self.casts_freely()) {
            Ok(released) => {
                let awaited = &self.shared.counters.awaited;
                awaited.fetch_add(1, Ordering::Relaxed);
                match released {
                    Released::Now => self.tell_yes(node),
                    Released::NotYet => self.withheld(txn),
                }
            }
            // Somebody else asked first, and his cell was resolved meanwhile: so the vote is settled.
            Err(_) => {
                node.links().waiting.lock().vote = None;
                let vote = settled(node);
                cell.resolve(vote.unwrap_or(Vote::No(AbortReason::Requested)));
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
    #[inline]
    pub fn decided(&self, txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
        let node = &txn.0;
        let ended = node.decide(outcome).map_err(|state| Misuse::WrongState {
            state,
            attempted: match outcome {
                Outcome::Commit => "commit",
                Outcome::Abort => "abort",
            },
        })?;
        self.shared.tally.add(if ended.voted_at_once() {
            Count::EndedAtOnce
        } else {
            Count::Ended
        });
        if ended.is_published() {
            self.shared.registry.remove(node.id);
        }
        if ended.is_preceded() {
            node.links().predecessors.lock().clear();
        }
        if ended.is_awaited() {
            self.tell_end(node, ended);
        }
        if ended.is_exposed() {
            self.release_successors(node, outcome);
        }
        Ok(())
    }

    /// Answers whoever still waits for the vote or a lock of a node that is decided.
    fn tell_end(&self, node: &Node, ended: Ended) {
        if ended.had_voted() {
            // Whoever cast the vote may not have told it yet, or somebody asked again: it was YES.
            self.tell_yes(node);
        }
        let reason = node.doom_reason().unwrap_or(AbortReason::Requested);
        node.take_waiting().refuse(reason);
    }

    fn release_successors(&self, node: &Node, outcome: Outcome) {
        let list = std::mem::take(&mut *node.links().successors.lock());
        let mut cascaded = 0;
        for successor in list {
            self.shared.turns.forget(&successor);
            match (successor.tie, outcome) {
                (Tie::Data, Outcome::Abort) => {
                    let reader = Txn(Arc::clone(&successor.node));
                    cascaded += self.doom_with_readers(&reader, AbortReason::Cascade);
                }
                (Tie::Overtaken, Outcome::Commit) => {
                    self.overtake(&Txn(Arc::clone(&successor.node)));
                }
                _ => {}
            }
            self.release_one(&successor.node);
        }
        self.count_cascade(cascaded);
    }

    /// Dooms `txn`: it must abort. Whoever waits for its vote or its lock is told NO now; the engine finds
    /// it in [`Scheduler::take_doomed`]. Says whether this call doomed it; a transaction that is doomed
    /// already or has voted is left alone (I3).
    pub fn doom(&self, txn: &Txn, reason: AbortReason) -> bool {
        self.doom_quietly(txn, reason)
    }

    fn doom_quietly(&self, txn: &Txn, reason: AbortReason) -> bool {
        let doomed = self.doom_with_readers(txn, reason);
        self.count_cascade(doomed.saturating_sub(1));
        doomed > 0
    }

    /// Dooms `txn`, and with it whoever has read what it wrote, and so on: all of them must abort, and the
    /// sooner the less is done in vain. Returns how many that are.
    fn doom_with_readers(&self, txn: &Txn, reason: AbortReason) -> u64 {
        if !self.doom_one(txn, reason) {
            return 0;
        }
        let mut doomed = 1;
        let mut readers = readers_of(&txn.0);
        while let Some(reader) = readers.pop() {
            if self.doom_one(&reader, AbortReason::Cascade) {
                doomed += 1;
                readers.extend(readers_of(&reader.0));
            }
        }
        doomed
    }

    fn doom_one(&self, txn: &Txn, reason: AbortReason) -> bool {
        if txn.0.doom(reason).is_err() {
            return false;
        }
        self.shared.doomed.lock().push(txn.clone());
        txn.0.take_waiting().refuse(reason);
        true
    }

    fn count_cascade(&self, cascaded: u64) {
        if cascaded > 0 {
            let counters = &self.shared.counters;
            counters.cascades.fetch_add(1, Ordering::Relaxed);
            counters.cascaded.fetch_add(cascaded, Ordering::Relaxed);
            let largest = &counters.largest_cascade;
            largest.fetch_max(cascaded + 1, Ordering::Relaxed);
        }
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
                .links()
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
        let tally = &self.shared.tally;
        let ended = tally.total(Count::Ended) + tally.total(Count::EndedAtOnce);
        let begun = tally.total(Count::Begun);
        usize::try_from(begun - ended).unwrap_or(usize::MAX)
    }

    /// Whether nothing is left of any transaction (I7): all are decided, and nobody is known by name.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.undecided() == 0 && self.shared.registry.len() == 0
    }

    /// What the scheduler has done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = &self.shared.counters;
        Statistics {
            requested: counters.awaited.load(Ordering::Relaxed)
                + self.shared.tally.total(Count::EndedAtOnce),
            withheld: counters.withheld.load(Ordering::Relaxed),
            cycles: counters.cycles.load(Ordering::Relaxed),
            overtaken: counters.overtaken.load(Ordering::Relaxed),
            cascades: counters.cascades.load(Ordering::Relaxed),
            cascaded: counters.cascaded.load(Ordering::Relaxed),
            longest_chain: counters.longest_chain.load(Ordering::Relaxed),
            largest_cascade: counters.largest_cascade.load(Ordering::Relaxed),
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
        let cell = node.links().waiting.lock().vote.take();
        if let Some(cell) = cell {
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
            let observed = std::mem::take(&mut *node.links().predecessors.lock());
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

    /// Registers what a lock request of `txn` waits on; refuses at once if `txn` is doomed or decided.
    pub(crate) fn begin_lock_wait(&self, txn: &Txn, cell: &Arc<Cell<Grant>>) {
        txn.0.links().waiting.lock().locks.push(Arc::clone(cell));
        let decided = txn.0.await_answer().is_err();
        let reason = txn.0.doom_reason();
        if let Some(reason) = reason.or_else(|| decided.then_some(AbortReason::Requested)) {
            txn.0.take_waiting().refuse(reason);
        }
    }

    /// The lock request of `txn` that waits on `cell` is granted.
    pub(crate) fn end_lock_wait(&self, txn: &Txn, cell: &Arc<Cell<Grant>>) {
        let mut waiting = txn.0.links().waiting.lock();
        waiting.locks.retain(|waited| !Arc::ptr_eq(waited, cell));
    }

    /// Makes `txn` known by its name until it is decided.
    pub(crate) fn publish(&self, txn: &Txn) {
        if txn.0.is_published() {
            return;
        }
        self.shared.registry.insert(txn);
        if txn.0.publish().is_err() {
            self.shared.registry.remove(txn.id());
        }
    }

    /// The undecided, published transaction of this name.
    pub(crate) fn find(&self, id: TxnId) -> Option<Txn> {
        self.shared.registry.find(id)
    }

    /// Records that `reader` reads what the undecided `writer` wrote, unless a chain of more than `longest`
    /// transactions would come of it, each of which falls with the one before.
    ///
    /// The bound is strict. What others depend on does not begin to depend on anything, and of two that try at
    /// once at least one is refused: so all of the chain that ends in `writer` is there when it is measured,
    /// and later it only gets shorter.
    pub(crate) fn depend(&self, writer: &Txn, reader: &Txn, longest: usize) -> Dependence {
        if reader.0.depends_on(&writer.0) {
            return Dependence::Recorded;
        }
        // What a doomed transaction wrote is about to be undone.
        if writer.state() == State::Doomed || !reader.0.begin_depending() {
            return Dependence::Refused;
        }
        let length = if !writer.0.depend_on() {
            None
        } else if writer.0.chain() < longest {
            Some(writer.0.chain())
        } else {
            // The note of its length is old: look how much of the chain is left.
            chain_length(&writer.0, longest)
        };
        let recorded = length.and_then(|length| {
            let backward = self.order(writer, reader, EdgeKind::WriteRead).ok()?;
            reader.0.lengthen_chain(length + 1);
            Some((length + 1, backward))
        });
        reader.0.end_depending();
        let Some((length, backward)) = recorded else {
            return Dependence::Refused;
        };
        let longest_chain = &self.shared.counters.longest_chain;
        longest_chain.fetch_max(length as u64, Ordering::Relaxed);
        if backward {
            Dependence::Closes
        } else {
            Dependence::Recorded
        }
    }
}

/// Who has read what `node` wrote.
fn readers_of(node: &Node) -> Vec<Txn> {
    if !node.is_exposed() {
        return Vec::new();
    }
    let successors = node.links().successors.lock();
    let readers = successors.iter().filter(|edge| edge.tie == Tie::Data);
    readers.map(|edge| Txn(Arc::clone(&edge.node))).collect()
}

/// The vote of a node that has voted, is doomed or is decided.
fn settled(node: &Node) -> Option<Vote> {
    match node.state() {
        State::Voted | State::Committed => Some(Vote::Yes),
        State::Doomed | State::Aborted => Some(Vote::No(
            node.doom_reason().unwrap_or(AbortReason::Requested),
        )),
        State::Active | State::Ready | State::Withheld => None,
    }
}

fn is_query(txn: &Txn) -> bool {
    matches!(txn.0.kind, Kind::Query { .. })
}
