//! What the search says, and how it proves it.

use crate::observed::{Edge, Key, TxnIndex, Value};

/// The outcome of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The history has an explanation at the level: this one. [`verify`](super::verify::verify) re-checks it.
    Valid(Certificate),
    /// It has none, and this is why. [`verify_refutation`](super::verify_refutation) re-checks it.
    Invalid(Refutation),
    /// The matter is not decided.
    Unknown(Doubt),
}

/// An explanation: who came when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Running the transactions one after another in this order gives every read its value.
    Serial(Vec<TxnIndex>),
    /// Taking snapshots and installing writes in this order gives every read its value.
    Snapshots(Vec<Event>),
}

/// What a transaction does under snapshot isolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It takes its snapshot.
    Begin(TxnIndex),
    /// It installs what it wrote.
    Commit(TxnIndex),
}

/// Why a history has no explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refutation {
    /// Reads that no execution explains, in the order of the history; never empty.
    Reads(Vec<ReadFault>),
    /// Every way to order the versions closes one of `cycles`. If there is one cycle only, no choice is left, and it
    /// is there whatever the order.
    Cycles {
        /// Orders of versions that every explanation must have, each proven with the help of those before it.
        forced: Vec<Forced>,
        /// The cycles. Their edges are known, or follow from `forced`; where there are several, other edges depend on
        /// the order of two versions, and no order of the versions avoids all cycles.
        cycles: Vec<Vec<Edge>>,
    },
    /// All orders have been excluded, but the cycles that do it are too many to be given.
    Exhausted {
        /// How many conflicts that took.
        conflicts: u64,
    },
}

/// An order of two versions that every explanation must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forced {
    /// Of which key.
    pub key: Key,
    /// Who wrote the earlier version.
    pub earlier: TxnIndex,
    /// Who wrote the later version.
    pub later: TxnIndex,
    /// The cycle that the other order would close. Its first edge follows from that other order, the rest is known or
    /// follows from what was forced before.
    pub otherwise: Vec<Edge>,
}

/// A read that no execution of the level explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFault {
    /// Who read.
    pub txn: TxnIndex,
    /// Which key.
    pub key: Key,
    /// What was returned.
    pub value: Option<Value>,
    /// What is wrong with it.
    pub kind: ReadFaultKind,
}

/// What is wrong with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFaultKind {
    /// Nobody wrote it (thin air, garbage).
    ThinAir,
    /// Only a transaction that aborted wrote it (Adya's G1a).
    Aborted {
        /// Who.
        writer: TxnIndex,
    },
    /// Its writer overwrote it before committing (Adya's G1b).
    Intermediate {
        /// Who.
        writer: TxnIndex,
    },
    /// The reader itself wrote it, afterwards.
    Future,
    /// The reader had written something else before.
    OwnWrite {
        /// What.
        wrote: Value,
    },
    /// The reader had read something else before, and had not written in between (Berenson's P2).
    Unrepeatable {
        /// What.
        before: Option<Value>,
    },
}

/// Why a search does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// There is nothing to judge.
    #[error("the history has no committed transaction with an operation")]
    Empty,
    /// It is not about registers.
    #[error("transaction {} works on something else than a register", txn.0)]
    NotRegisters {
        /// The first such transaction.
        txn: TxnIndex,
    },
    /// A value has several possible writers, and what is known without that read does not decide.
    #[error("several transactions wrote the value that transaction {} read; write unique values", txn.0)]
    SeveralWriters {
        /// The first reader of such a value.
        txn: TxnIndex,
        /// The key.
        key: Key,
    },
    /// The level needs real time, and the history does not have it.
    #[error("transaction {} has no real time", txn.0)]
    NoRealtime {
        /// The first transaction without.
        txn: TxnIndex,
    },
    /// The level needs sessions, and the history does not have them.
    #[error("transaction {} has no session", txn.0)]
    NoSession {
        /// The first transaction without.
        txn: TxnIndex,
    },
    /// Too many conflicts.
    #[error("undecided after {0} conflicts; raise the budget")]
    Conflicts(u64),
    /// Too much time.
    #[error("undecided after {} ms; raise the budget", .0.as_millis())]
    Time(std::time::Duration),
    /// The graph would not fit.
    #[error("the graph of the history has more than {0} edges")]
    TooLarge(usize),
}
