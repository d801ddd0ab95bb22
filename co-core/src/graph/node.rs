//! One undecided transaction: its word, its lists, what it waits for.

use std::fmt;

use crate::graph::edge::{Successor, Tie};
use crate::id::{Gtid, Outcome, Priority, Stamp, TxnId};
use crate::order::Cell;
use crate::outcome::{AbortReason, Grant, State, Vote};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, read_to_change};

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
pub(crate) enum Waiting {
    #[default]
    Nothing,
    Vote(Arc<Cell<Vote>>),
    Lock(Arc<Cell<Grant>>),
}

impl Waiting {
    /// Tells the waiter that its transaction is doomed.
    pub(crate) fn refuse(self, reason: AbortReason) {
        match self {
            Self::Nothing => {}
            Self::Vote(cell) => {
                cell.resolve(Vote::No(reason));
            }
            Self::Lock(cell) => {
                cell.resolve(Grant::Aborted(reason));
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Successors {
    /// The outcome, once decided: the list is closed (G2).
    pub(crate) closed: Option<Outcome>,
    pub(crate) list: Vec<Successor>,
}

pub(crate) struct Node {
    pub(crate) id: TxnId,
    pub(crate) kind: Kind,
    /// Bits 0..3 state, 3..8 abort reason, 8.. pending predecessors.
    word: AtomicU64,
    /// Under [`VoteRule::LocalSnapshot`](crate::VoteRule) only, and written under its gate: whether the
    /// node precedes, and whether it follows, a concurrent one by a read of an old version.
    reads: AtomicU64,
    pub(crate) successors: Mutex<Successors>,
    pub(crate) predecessors: Mutex<Vec<(Arc<Self>, Tie)>>,
    pub(crate) waiting: Mutex<Waiting>,
}

const STATE_MASK: u64 = 0b111;
const REASON_SHIFT: u32 = 3;
const REASON_MASK: u64 = 0b1_1111 << REASON_SHIFT;
const PENDING_ONE: u64 = 1 << 8;
const PRECEDES: u64 = 0b01;
const FOLLOWS: u64 = 0b10;
const PIVOT: u64 = PRECEDES | FOLLOWS;

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
            reads: AtomicU64::new(0),
            successors: Mutex::default(),
            predecessors: Mutex::default(),
            waiting: Mutex::default(),
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
        self.update(|word, state| state.is_unvoted().then(|| word + PENDING_ONE))
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

    /// Ready becomes Voted when nothing precedes it and `cast` allows, else Withheld.
    pub(crate) fn withhold(&self, cast: bool) -> Result<Released, State> {
        let (before, after) = self.update(|word, state| {
            (state == State::Ready).then(|| {
                let votes = cast && word < PENDING_ONE;
                with_state(word, if votes { State::Voted } else { State::Withheld })
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

    /// Commit needs a cast vote; abort is possible in every undecided state. Returns the state it ends.
    pub(crate) fn decide(&self, outcome: Outcome) -> Result<State, State> {
        let (before, _) = self.update(|word, state| match outcome {
            Outcome::Commit => (state == State::Voted).then(|| with_state(word, State::Committed)),
            Outcome::Abort => state
                .is_undecided()
                .then(|| with_state(word, State::Aborted)),
        })?;
        Ok(State::from_code(before & STATE_MASK))
    }

    /// Notes that the node read what a concurrent one overwrites; says whether it is a pivot now.
    pub(crate) fn precedes_by_read(&self) -> bool {
        self.reads.fetch_or(PRECEDES, Ordering::AcqRel) | PRECEDES == PIVOT
    }

    /// Notes that the node overwrites what a concurrent one read; says whether it is a pivot now.
    pub(crate) fn follows_by_read(&self) -> bool {
        self.reads.fetch_or(FOLLOWS, Ordering::AcqRel) | FOLLOWS == PIVOT
    }

    pub(crate) fn take_waiting(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock())
    }
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
