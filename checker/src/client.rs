//! What the clients of transactions know of their order: sessions and real time.

use crate::token::Token;

/// What is recorded of a transaction's client; nothing of it has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Where in which session the transaction is.
    pub turn: Option<Turn>,
    /// When its client asked for it, and when it was told the outcome.
    pub time: Option<RealTime>,
}

/// A place in a session. Sessions are shared by all sites of a case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Turn {
    /// The name of the session.
    pub session: Token,
    /// The position in it: of two transactions of a session, the one with the lower position was asked for first.
    pub position: u64,
}

/// From when to when a transaction ran, in nanoseconds of a clock that all sites of a case share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealTime {
    /// When it was asked for.
    pub from: u64,
    /// When its client was told the outcome, not before `from`; `None` if it never was.
    pub to: Option<u64>,
}

impl Client {
    /// Whether nothing is recorded.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.turn.is_none() && self.time.is_none()
    }
}

impl RealTime {
    /// The shortest time that covers both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            to: self.to.zip(other.to).map(|(one, two)| one.max(two)),
        }
    }

    /// Whether it was over before the other began, even if clocks disagree by `clock_error` nanoseconds.
    #[must_use]
    pub fn precedes(self, other: Self, clock_error: u64) -> bool {
        let over = self.to.and_then(|to| to.checked_add(clock_error));
        over.is_some_and(|over| over < other.from)
    }
}
