//! What a history is judged against, and for how long.

use std::time::Duration;

/// What a history is judged against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    /// How transactions may see each other.
    pub isolation: Isolation,
    /// Which orders must be kept.
    pub precedence: Precedence,
}

/// How transactions may see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// As if they ran one after another (Papadimitriou 1979; view serializability with all final writes observable
    /// to nobody, which is what clients can tell).
    Serializable,
    /// Each reads from one snapshot of what had been installed, and no two that overlap write the same key
    /// (Berenson et al. 1995, in the form of Cerone and Gotsman 2018).
    Snapshot,
}

/// Which orders an explanation must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precedence {
    /// None: the plain level.
    Free,
    /// Of two transactions of a session the first comes first: strong session serializability and strong session
    /// snapshot isolation (Daudjee and Salem 2004, 2006).
    Session,
    /// A transaction that had ended before another began comes first, and so does, of two of a session (for those that
    /// are in one), the first: strict serializability and strong snapshot isolation.
    Realtime,
}

/// How long a search may take. Running out of it is [`Doubt`](super::Doubt), never a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Conflicts that the search may run into.
    pub conflicts: u64,
    /// Time, of the wall clock.
    pub time: Duration,
    /// Whether likely orders are tried, and what follows is saturated, before the search. Without them the search
    /// decides alone: slower, and a second opinion.
    pub shortcuts: bool,
}

impl Default for Budget {
    /// A million conflicts, and five minutes.
    fn default() -> Self {
        Self {
            conflicts: 1_000_000,
            time: Duration::from_secs(300),
            shortcuts: true,
        }
    }
}

impl Level {
    /// Plain serializability.
    pub const SERIALIZABLE: Self = Self::new(Isolation::Serializable, Precedence::Free);
    /// Serializability that keeps the order of sessions.
    pub const SESSION_SERIALIZABLE: Self = Self::new(Isolation::Serializable, Precedence::Session);
    /// Serializability that keeps the order of sessions and of real time.
    pub const STRICT_SERIALIZABLE: Self = Self::new(Isolation::Serializable, Precedence::Realtime);
    /// Plain snapshot isolation.
    pub const SNAPSHOT: Self = Self::new(Isolation::Snapshot, Precedence::Free);
    /// Snapshot isolation that keeps the order of sessions.
    pub const SESSION_SNAPSHOT: Self = Self::new(Isolation::Snapshot, Precedence::Session);
    /// Snapshot isolation that keeps the order of sessions and of real time.
    pub const STRONG_SNAPSHOT: Self = Self::new(Isolation::Snapshot, Precedence::Realtime);

    const fn new(isolation: Isolation, precedence: Precedence) -> Self {
        Self {
            isolation,
            precedence,
        }
    }
}
