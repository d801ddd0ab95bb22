//! Levels below snapshot isolation that can be decided in nearly linear time, for registers whose version orders nobody
//! recorded.
//!
//! Biswas and Enea (2019) give each level as a condition on a total order `co` of the transactions that extends session
//! order and reads-from: whenever `t3` read `x` from `t1`, and another `t2` that wrote `x` is *visible* to that read,
//! then `t2` is before `t1` in `co`. Levels differ in what is visible:
//!
//! | level | `t2` is visible to the read of `x` in `t3` if |
//! |---|---|
//! | [`Level::ReadCommitted`] | `t3` has read something of `t2` before it reads `x` |
//! | [`Level::ReadAtomic`] | `t3` reads something of `t2`, or `t2` is before `t3` in its session |
//! | [`Level::Causal`] | `t2` reaches `t3` over sessions and reads (transactional causal consistency) |
//! | [`Level::ReadYourWrites`] | `t2` is before `t3` in its session |
//! | [`Level::MonotonicReads`] | a transaction before `t3` in its session has read something of `t2` |
//! | [`Level::MonotonicWrites`] | `t3` reads something of a transaction that is after `t2` in its session |
//! | [`Level::WritesFollowReads`] | `t3` reads something of `t`, and `t`, or one before it in its session, of `t2` |
//!
//! A transaction whose outcome nobody was told comes after those before it in its session, and is before none.
//!
//! The four last ones are the session guarantees of Terry et al. (1994) in the same form. For them `co` extends the
//! reads, and for monotonic writes the order in which a session wrote, but not all of session order; causal consistency
//! implies all of them (Brzezinski et al. 2004).
//! [`Level::Pl2`] is Adya's (2000): no aborted and no intermediate reads, and no cycle of reads (G1a, G1b, G1c; since
//! nobody knows the version order, one that closes no cycle can be chosen whenever the reads close none).
//! [`Level::ReadUncommitted`] asks only that somebody wrote what was read: PL-1 forbids cycles of version orders alone,
//! and a free version order has none.
//!
//! The conditions are edges, and a history is of the level if they close no cycle with sessions and reads. Only the
//! last visible writer in each session needs an edge, which is what makes it fast: AWDIT (Møldrup and Pavlogiannis,
//! 2025) has the bounds, n^1.5 for the first two levels and n times the sessions for causal consistency, and shows that
//! they are about the best possible; Plume (Liu et al., 2024) has the same with vector clocks. From read committed up, a
//! read after a write of the same transaction must return that write; from read atomic up, reads repeat.
//!
//! ```
//! use checker::observed::{ObservedBuilder, Outcome};
//! use checker::weak::{Level, Verdict, judge};
//!
//! // One transaction writes both keys; another sees one of the two writes.
//! let mut builder = ObservedBuilder::new("fractured read");
//! let (x, y, one) = (builder.key("x")?, builder.key("y")?, builder.value("1")?);
//! builder.write(x, one)?;
//! builder.write(y, one)?;
//! builder.end(Some(0), Outcome::Committed, None, 1)?;
//! builder.read(y, None)?;
//! builder.read(x, Some(one))?;
//! builder.end(Some(1), Outcome::Committed, None, 2)?;
//! let history = builder.finish();
//! assert!(matches!(judge(&history, Level::ReadCommitted), Verdict::Valid(_)));
//! assert!(matches!(judge(&history, Level::ReadAtomic), Verdict::Invalid(_)));
//! # Ok::<(), checker::observed::ObservedFault>(())
//! ```

mod judge;
mod visible;

use crate::observed::{Edge, Key, TxnIndex};
use crate::search::{Doubt, ReadFault};

pub use judge::judge;

/// What a history is judged against (see the module).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Somebody wrote what was read.
    ReadUncommitted,
    /// Adya's PL-2, without sessions.
    Pl2,
    /// Read committed of Biswas and Enea, with sessions.
    ReadCommitted,
    /// Read atomic (Bailis et al. 2014), with sessions.
    ReadAtomic,
    /// Transactional causal consistency, with sessions.
    Causal,
    /// A session sees what it wrote.
    ReadYourWrites,
    /// A session goes on seeing what it saw.
    MonotonicReads,
    /// Who sees a write sees those before it in its session.
    MonotonicWrites,
    /// Who sees a write sees what its session had seen.
    WritesFollowReads,
}

impl Level {
    /// All of them, each after those that it implies where it implies any.
    pub const ALL: [Self; 9] = [
        Self::ReadUncommitted,
        Self::Pl2,
        Self::ReadYourWrites,
        Self::MonotonicReads,
        Self::MonotonicWrites,
        Self::WritesFollowReads,
        Self::ReadCommitted,
        Self::ReadAtomic,
        Self::Causal,
    ];

    /// Whether `co` must extend the order of sessions.
    const fn keeps_sessions(self) -> bool {
        matches!(self, Self::ReadCommitted | Self::ReadAtomic | Self::Causal)
    }

    /// Whether it speaks of sessions at all.
    const fn needs_sessions(self) -> bool {
        !matches!(self, Self::ReadUncommitted | Self::Pl2)
    }
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The history is of the level: this order is a `co`. Empty at [`Level::ReadUncommitted`], which has none.
    Valid(Vec<TxnIndex>),
    /// It is not.
    Invalid(Witness),
    /// The matter is not decided.
    Unknown(Doubt),
}

/// Why a history is not of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// Reads that the level never returns, in the order of the history; never empty.
    Reads(Vec<ReadFault>),
    /// Every `co` would have to go around this cycle.
    Cycle(Vec<Step>),
}

/// A step of a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What precedes what. A [`Why::WriteWrite`](crate::observed::Why::WriteWrite) is a condition of the level, and a
    /// [`Why::ReadWrite`](crate::observed::Why::ReadWrite) is the read of an initial state that was no more: what was
    /// visible to the read leads from its end back to its start.
    pub edge: Edge,
    /// For a condition: the read that asks for it.
    pub because: Option<Because>,
}

/// The read that asks for an order of two writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// Who read.
    pub reader: TxnIndex,
    /// Which key.
    pub key: Key,
    /// How the earlier writer is visible to the reader: sessions and reads from the one to the other.
    pub visible: Vec<Edge>,
}
