//! Why one transaction precedes another, in terms of what clients observed.

use super::{Key, TxnIndex, Value};

/// `from` precedes `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The earlier one.
    pub from: TxnIndex,
    /// The later one.
    pub to: TxnIndex,
    /// Why.
    pub why: Why,
}

/// Why one transaction precedes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// `from` wrote a version, and `to` wrote a later one (Adya's ww, not only the next one).
    WriteWrite {
        /// Of which key.
        key: Key,
        /// What `from` wrote.
        earlier: Value,
        /// What `to` wrote.
        later: Value,
    },
    /// `to` read what `from` wrote (wr).
    WriteRead {
        /// Of which key.
        key: Key,
        /// What was written and read.
        value: Value,
    },
    /// `from` read a version, and `to` wrote a later one (rw, an anti-dependency).
    ReadWrite {
        /// Of which key.
        key: Key,
        /// What `from` read last; `None` is the initial state.
        read: Option<Value>,
        /// What `to` wrote.
        wrote: Value,
    },
    /// `from` is before `to` in one session.
    Session,
    /// `from` had ended before `to` began.
    Realtime,
}

impl Why {
    /// Whether it is an anti-dependency.
    #[must_use]
    pub const fn is_anti(self) -> bool {
        matches!(self, Self::ReadWrite { .. })
    }
}
