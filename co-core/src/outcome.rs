//! Outcomes and misuse: what the scheduler answers, as values.

use std::fmt;

/// Why a transaction must abort. An outcome, not an error: the caller may retry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum AbortReason {
    /// It stood on a cycle of the augmented conflict graph and was the cheapest victim.
    Cycle = 1,
    /// It precedes a transaction that has already committed (multi-version condition A, or B when the
    /// voted successor committed while this one waited).
    Overtaken = 2,
    /// Something it read was written by a transaction that aborted.
    Cascade = 3,
    /// The engine found a conflict itself: a failed validation, a first updater that won.
    Conflict = 4,
    /// The embedder or the coordinator asked for it.
    Requested = 5,
    /// What the engine keeps its data in cannot be reached, so it cannot promise anything.
    Unavailable = 6,
}

impl AbortReason {
    pub(crate) const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Cycle,
            2 => Self::Overtaken,
            3 => Self::Cascade,
            4 => Self::Conflict,
            6 => Self::Unavailable,
            _ => Self::Requested,
        }
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cycle => "stood on a cycle of conflicts and waits",
            Self::Overtaken => "precedes a transaction that has committed",
            Self::Cascade => "read what an aborted transaction wrote",
            Self::Conflict => "conflicts with a committed change",
            Self::Requested => "abort was requested",
            Self::Unavailable => "needs a database that cannot be reached",
        })
    }
}

/// The answer to a request to vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Vote {
    /// The order permits the commit; from now on only the decision ends the transaction.
    Yes,
    /// The transaction must abort. The engine undoes it and reports
    /// [`Outcome::Abort`](crate::Outcome::Abort).
    No(AbortReason),
}

/// The answer to a lock request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Grant {
    /// The lock is held.
    Granted,
    /// The transaction was doomed while it waited, or before.
    Aborted(AbortReason),
}

/// A call that the state of the transaction does not allow. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// The call needs one of the earlier states, and the transaction has left them.
    WrongState {
        /// The state it is in.
        state: State,
        /// What the caller attempted.
        attempted: &'static str,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongState { state, attempted } => {
                write!(f, "cannot {attempted}: the transaction is {state:?}")
            }
        }
    }
}

impl std::error::Error for Misuse {}

/// Where a transaction stands.
///
/// ```text
/// Active → Ready → Withheld → Voted → Committed
///    └───────┴────────┴→ Doomed │
///                         └─────┴───→ Aborted
/// ```
/// A transaction that nothing precedes passes from Ready to Voted at once. All states before Committed
/// and Aborted are *undecided*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum State {
    /// Still working.
    Active = 0,
    /// All its operations are done; not yet asked to vote.
    Ready = 1,
    /// Asked to vote, and a predecessor is undecided.
    Withheld = 2,
    /// Must abort, and has not been told yet.
    Doomed = 3,
    /// Said YES: in doubt, only the decision ends it.
    Voted = 4,
    /// Decided: permanent.
    Committed = 5,
    /// Decided: gone.
    Aborted = 6,
}

impl State {
    pub(crate) const fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Active,
            1 => Self::Ready,
            2 => Self::Withheld,
            3 => Self::Doomed,
            4 => Self::Voted,
            5 => Self::Committed,
            _ => Self::Aborted,
        }
    }

    /// Neither committed nor aborted.
    #[must_use]
    pub const fn is_undecided(self) -> bool {
        !matches!(self, Self::Committed | Self::Aborted)
    }

    /// Committed, or may still be.
    pub(crate) const fn can_commit(self) -> bool {
        !matches!(self, Self::Doomed | Self::Aborted)
    }

    /// Undecided, and the site may still abort it on its own.
    #[must_use]
    pub const fn is_unvoted(self) -> bool {
        matches!(
            self,
            Self::Active | Self::Ready | Self::Withheld | Self::Doomed
        )
    }
}
