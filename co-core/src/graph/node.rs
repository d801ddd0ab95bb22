//! One undecided transaction: its word, its lists, what it waits for.

use std::fmt;

use crate::graph::edge::{Successor, Tie};
use crate::id::{Gtid, Outcome, Priority, Stamp, TxnId};
use crate::order::Cell;
use crate::outcome::{AbortReason, Grant, State, Vote};
use crate::sync::{Arc, AtomicU64, Lazy, Mutex, Ordering, read_to_change};

/// What kind of transaction begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Part of a transaction that other sites take part in: a coordinator decides.
    Global {
        /// Its name at all sites.
        gtid: Gtid,
        /// Its age.
        priority: Priority,
    },
    /// Touches this site alone: the site decides.
    Local {
        /// Its age, on the same scale as that of global transactions.
        priority: Priority,
    },
    /// A read-only query at a fixed stamp: it takes part in no order, never votes and is never doomed
    /// by the scheduler.
    Query {
        /// It sees exactly what was decided up to this stamp.
        stamp: Stamp,
    },
}

impl Kind {
    /// The global identifier, if the transaction is global.
    #[must_use]
    pub const fn gtid(self) -> Option<Gtid> {
        match self {
            Self::Global { gtid, .. } => Some(gtid),
            Self::Local { .. } | Self::Query { .. } => None,
        }
    }

    /// The age; a query counts as the youngest, because nothing waits for it.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Global { priority, .. } | Self::Local { priority } => priority,
            Self::Query { .. } => Priority(u64::MAX),
        }
    }
}

/// What a node waits for, and how to tell it.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) vote: Option<Arc<Cell<Vote>>>,
    pub(crate) locks: Vec<Arc<Cell<Grant>>>,
}

impl Waiting {
    pub(crate) fn is_nothing(&self) -> bool {
        self.vote.is_none() && self.locks.is_empty()
    }

    /// Tells the waiters that their transaction is doomed.
    pub(crate) fn refuse(self, reason: AbortReason) {
        if let Some(cell) = self.vote {
            cell.resolve(Vote::No(reason));
        }
        for cell in self.locks {
            cell.resolve(Grant::Aborted(reason));
        }
    }
}

pub(crate) struct Node {
    pub(crate) id: TxnId,
    pub(crate) kind: Kind,
    /// Bits 0..3 state, 3..8 abort reason, 8..13 what it has to do with others, 13.. pending predecessors.
    word: AtomicU64,
    /// Made when first needed: a transaction that nobody conflicts with has none.
    links: Lazy<Links>,
}

/// What a node has to do with others.
#[derive(Default)]
pub(crate) struct Links {
    /// Under [`VoteRule::LocalSnapshot`](crate::VoteRule) only, and written under its gate: whether the
    /// node precedes, and whether it follows, a concurrent one by a read of an old version.
    reads: AtomicU64,
    /// When the node came into conflict with another for the first time; zero before.
    turn: AtomicU64,
    /// At most how many transactions the longest chain has that ends here, each of which has read from the one
    /// before; zero stands for one. Written while the node begins to depend on another.
    chain: AtomicU64,
    /// Whether others depend on the node's data, and whether it is just about to depend on another's.
    dependence: AtomicU64,
    pub(crate) successors: Mutex<Vec<Successor>>,
    pub(crate) predecessors: Mutex<Vec<(Arc<Node>, Tie)>>,
    pub(crate) waiting: Mutex<Waiting>,
}

const STATE_MASK: u64 = 0b111;
const REASON_SHIFT: u32 = 3;
const REASON_MASK: u64 = 0b1_1111 << REASON_SHIFT;
/// Somebody added to `successors`.
const EXPOSED: u64 = 1 << 8;
/// Somebody added to `predecessors`.
const PRECEDED: u64 = 1 << 9;
/// Somebody put a cell into `waiting`.
const AWAITED: u64 = 1 << 10;
/// The scheduler's registry knows the node.
const PUBLISHED: u64 = 1 << 11;
/// The vote was cast when it was asked for, without waiting.
const AT_ONCE: u64 = 1 << 12;
const PENDING_ONE: u64 = 1 << 13;
const PRECEDES: u64 = 0b01;
const FOLLOWS: u64 = 0b10;
const PIVOT: u64 = PRECEDES | FOLLOWS;
const DEPENDED_ON: u64 = 0b01;
const DEPENDING: u64 = 0b10;

/// How a node stood when it was decided: its last state, and which of its lists have to be emptied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended(u64);

impl Ended {
    pub(crate) fn had_voted(self) -> bool {
        self.0 & STATE_MASK == State::Voted as u64
    }

    pub(crate) fn voted_at_once(self) -> bool {
        self.0 & AT_ONCE != 0
    }

    pub(crate) fn is_exposed(self) -> bool {
        self.0 & EXPOSED != 0
    }

    pub(crate) fn is_preceded(self) -> bool {
        self.0 & PRECEDED != 0
    }

    pub(crate) fn is_awaited(self) -> bool {
        self.0 & AWAITED != 0
    }

    pub(crate) fn is_published(self) -> bool {
        self.0 & PUBLISHED != 0
    }
}

/// What happened to a vote when a count or a request changed the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// The compare-and-swap cast the vote: the caller tells the waiter.
    Now,
    /// Not (yet): predecessors are pending, or nobody asked.
    NotYet,
}

impl Node {
    pub(crate) fn new(id: TxnId, kind: Kind, state: State) -> Self {
        Self {
            id,
            kind,
            word: AtomicU64::new(state as u64),
            links: Lazy::new(),
        }
    }

    pub(crate) fn links(&self) -> &Links {
        self.links.get()
    }

    /// When the node came into conflict with another for the first time; `next` says it if this is now.
    pub(crate) fn turn(&self, next: impl FnOnce() -> u64) -> u64 {
        let turn = &self.links().turn;
        let known = turn.load(Ordering::Acquire);
        if known != 0 {
            return known;
        }
        let new = next();
        match turn.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(first) => first,
        }
    }

    pub(crate) fn state(&self) -> State {
        State::from_code(self.word.load(Ordering::Acquire) & STATE_MASK)
    }

    pub(crate) fn pending(&self) -> u64 {
        self.word.load(Ordering::Acquire) / PENDING_ONE
    }

    /// Why the node was doomed, if it was.
    pub(crate) fn doom_reason(&self) -> Option<AbortReason> {
        let code = (self.word.load(Ordering::Acquire) & REASON_MASK) >> REASON_SHIFT;
        (code != 0).then(|| AbortReason::from_code(code))
    }

    /// Applies `change` to the word until it takes; `Err` carries the state that did not allow it.
    #[inline]
    fn update(&self, change: impl Fn(u64, State) -> Option<u64>) -> Result<(u64, u64), State> {
        let mut seen = read_to_change(&self.word);
        loop {
            let state = State::from_code(seen & STATE_MASK);
            let Some(next) = change(seen, state) else {
                return Err(state);
            };
            match self
                .word
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok((seen, next)),
                Err(now) => seen = now,
            }
        }
    }

    /// Counts one more pending predecessor, as long as the vote is not cast (G1).
    pub(crate) fn add_pending(&self) -> Result<(), State> {
        self.update(|word, state| state.is_unvoted().then(|| (word + PENDING_ONE) | PRECEDED))
            .map(drop)
    }

    /// Marks that `successors` is in use; the caller holds its lock. `Err` is the outcome of a decided node,
    /// whose list takes nothing any more: the decision either saw the mark and waits for that lock, or its
    /// outcome is seen here (G2).
    pub(crate) fn expose(&self) -> Result<(), Outcome> {
        self.mark(EXPOSED).map_err(|state| {
            if state == State::Committed {
                Outcome::Commit
            } else {
                Outcome::Abort
            }
        })
    }

    /// Marks that `predecessors` is in use, for an entry that is not counted.
    pub(crate) fn precede(&self) -> Result<(), State> {
        self.mark(PRECEDED)
    }

    /// Marks that `waiting` is in use. The cell is there before, so whoever dooms or decides finds it.
    pub(crate) fn await_answer(&self) -> Result<(), State> {
        self.mark(AWAITED)
    }

    /// Marks that the registry knows the node.
    pub(crate) fn publish(&self) -> Result<(), State> {
        self.mark(PUBLISHED)
    }

    pub(crate) fn is_exposed(&self) -> bool {
        self.word.load(Ordering::Acquire) & EXPOSED != 0
    }

    pub(crate) fn is_published(&self) -> bool {
        self.word.load(Ordering::Acquire) & PUBLISHED != 0
    }

    fn mark(&self, bit: u64) -> Result<(), State> {
        self.update(|word, state| state.is_undecided().then_some(word | bit))
            .map(drop)
    }

    /// Counts one predecessor less. With `cast`, the last count of a withheld vote casts it.
    pub(crate) fn drop_pending(&self, cast: bool) -> Released {
        let changed = self.update(|word, state| {
            assert!(
                word >= PENDING_ONE,
                "G2: a count was dropped twice at {}",
                self.id
            );
            let next = word - PENDING_ONE;
            if cast && state == State::Withheld && next < PENDING_ONE {
                Some(with_state(next, State::Voted))
            } else {
                Some(next)
            }
        });
        match changed {
            Ok((before, after)) if voted_by(before, after) => Released::Now,
            _ => Released::NotYet,
        }
    }

    /// Active becomes Ready; later states stay.
    pub(crate) fn ready(&self) -> Result<(), State> {
        let changed = self
            .update(|word, state| (state == State::Active).then(|| with_state(word, State::Ready)));
        match changed {
            Ok(_) | Err(State::Ready) => Ok(()),
            Err(state) => Err(state),
        }
    }

    /// Active or Ready becomes Voted if nothing precedes it. `Err` is the state otherwise, `Ready` included.
    pub(crate) fn vote_at_once(&self) -> Result<(), State> {
        self.update(|word, state| {
            (is_working(state) && word < PENDING_ONE)
                .then(|| with_state(word, State::Voted) | AT_ONCE)
        })
        .map(drop)
    }

    /// Active or Ready becomes Voted when nothing precedes it and `cast` allows, else Withheld.
    pub(crate) fn withhold(&self, cast: bool) -> Result<Released, State> {
        let (before, after) = self.update(|word, state| {
            is_working(state).then(|| {
                let votes = cast && word < PENDING_ONE;
                with_state(
                    word | AWAITED,
                    if votes { State::Voted } else { State::Withheld },
                )
            })
        })?;
        Ok(if voted_by(before, after) {
            Released::Now
        } else {
            Released::NotYet
        })
    }

    /// Withheld becomes Voted if no predecessor is pending.
    pub(crate) fn cast(&self) -> Released {
        let changed = self.update(|word, state| {
            (state == State::Withheld && word < PENDING_ONE).then(|| with_state(word, State::Voted))
        });
        if changed.is_ok() {
            Released::Now
        } else {
            Released::NotYet
        }
    }

    /// Dooms an unvoted node; `Err` if it is doomed already, voted or decided.
    pub(crate) fn doom(&self, reason: AbortReason) -> Result<(), State> {
        self.update(|word, state| {
            (state.is_unvoted() && state != State::Doomed)
                .then(|| with_state(word, State::Doomed) | ((reason as u64) << REASON_SHIFT))
        })
        .map(drop)
    }

    /// Commit needs a cast vote; abort is possible in every undecided state.
    pub(crate) fn decide(&self, outcome: Outcome) -> Result<Ended, State> {
        let (before, _) = self.update(|word, state| match outcome {
            Outcome::Commit => (state == State::Voted).then(|| with_state(word, State::Committed)),
            Outcome::Abort => state
                .is_undecided()
                .then(|| with_state(word, State::Aborted)),
        })?;
        Ok(Ended(before))
    }

    /// Notes that the node read what a concurrent one overwrites; says whether it is a pivot now.
    pub(crate) fn precedes_by_read(&self) -> bool {
        self.links().reads.fetch_or(PRECEDES, Ordering::AcqRel) | PRECEDES == PIVOT
    }

    /// Notes that the node overwrites what a concurrent one read; says whether it is a pivot now.
    pub(crate) fn follows_by_read(&self) -> bool {
        self.links().reads.fetch_or(FOLLOWS, Ordering::AcqRel) | FOLLOWS == PIVOT
    }

    /// Begins to depend on another's data. Refused when others depend on this one's: what they depend on
    /// stays as it is, so a chain that was measured only gets shorter.
    pub(crate) fn begin_depending(&self) -> bool {
        let before = self
            .links()
            .dependence
            .fetch_or(DEPENDING, Ordering::AcqRel);
        if before & DEPENDED_ON != 0 {
            self.end_depending();
        }
        before & DEPENDED_ON == 0
    }

    pub(crate) fn end_depending(&self) {
        self.links()
            .dependence
            .fetch_and(!DEPENDING, Ordering::AcqRel);
    }

    /// From now on somebody depends on the node's data. Refused while it begins to depend itself.
    pub(crate) fn depend_on(&self) -> bool {
        self.links()
            .dependence
            .fetch_or(DEPENDED_ON, Ordering::AcqRel)
            & DEPENDING
            == 0
    }

    /// At most how long a chain ends here. It was right when it was set, and chains only get shorter.
    pub(crate) fn chain(&self) -> usize {
        let chain = self.links().chain.load(Ordering::Acquire).max(1);
        usize::try_from(chain).unwrap_or(usize::MAX)
    }

    pub(crate) fn lengthen_chain(&self, length: usize) {
        let chain = &self.links().chain;
        chain.fetch_max(length as u64, Ordering::AcqRel);
    }

    /// Whether the node has read what `writer` wrote.
    pub(crate) fn depends_on(&self, writer: &Arc<Self>) -> bool {
        let predecessors = self.links().predecessors.lock();
        let mut edges = predecessors.iter();
        edges.any(|(node, tie)| *tie == Tie::Data && Arc::ptr_eq(node, writer))
    }

    pub(crate) fn take_waiting(&self) -> Waiting {
        std::mem::take(&mut *self.links().waiting.lock())
    }
}

fn is_working(state: State) -> bool {
    matches!(state, State::Active | State::Ready)
}

fn with_state(word: u64, state: State) -> u64 {
    (word & !STATE_MASK) | state as u64
}

fn voted_by(before: u64, after: u64) -> bool {
    before & STATE_MASK != State::Voted as u64 && after & STATE_MASK == State::Voted as u64
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Txn")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("state", &self.state())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
