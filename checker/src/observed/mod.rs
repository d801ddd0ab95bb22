//! Histories as clients observed them: sessions, transactions, and values instead of versions.
//!
//! This is what other people's tests record, and what every importer makes of their files. Nothing is inferred
//! here: which transaction wrote the value that another read, and in which order the values of a key came, is for
//! the judges to find out.
//!
//! - **O1** Operations of a transaction are in program order; transactions of a session are in session order,
//!   which is the order of their numbers.
//! - **O2** Keys are numbered densely from zero, in the order of their first appearance; [`Observed::key_name`] gives
//!   the name back.
//! - **O3** A read of the initial state is a read of `None`, or of the empty list. Each importer states which of its
//!   values that is (`formats`).
//! - **O4** A transaction whose outcome nobody was told ([`Outcome::Unknown`]) may have committed or not, and may do so
//!   at any time from its begin on. So it follows what came before it in its session and in real time, and precedes
//!   nothing: not what comes later in its session, and, whatever end its interval has, nothing in real time. One that
//!   [`Outcome::Aborted`] has installed nothing.
//!
//! Memory: 16 bytes an operation, 32 a transaction, 8 an element of a list that was read.

mod builder;
mod edge;
mod txn;
mod value;

use std::ops::Range;

pub use builder::{ObservedBuilder, ObservedFault};
pub use edge::{Edge, Why};
pub use txn::TxnBuilder;
pub use value::{Names, Value};

/// A history as clients observed it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    source: String,
    txns: Vec<Txn>,
    ops: Vec<Op>,
    elements: Vec<Value>,
    keys: Names,
    values: Names,
    sessions: u32,
}

/// The number of a transaction: its place in the history, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnIndex(pub u32);

/// The number of a key, from zero (O2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// The number of a session, from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u32);

/// What became of a transaction, as its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It committed.
    Committed,
    /// It aborted: what it wrote must never be read.
    Aborted,
    /// Nobody was told (O4).
    Unknown,
}

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    /// Who ran it; `None` if the history does not say.
    pub session: Option<Session>,
    /// What became of it.
    pub outcome: Outcome,
    /// When it began and when its client was told the outcome, in real time; both in any unit that orders them.
    pub interval: Option<Interval>,
    /// The line (or entry) of the source that it ends at, from one; 0 if there is none.
    pub line: u32,
    first_op: u32,
    ops: u32,
}

/// From when to when a transaction ran, in real time. A transaction that ended (`end`) before another began
/// (`begin`) precedes it in real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// When it was begun.
    pub begin: u32,
    /// When its client was told the outcome; `u32::MAX` if it never was.
    pub end: u32,
}

/// One operation on one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Read a register; `None` is the initial state (O3).
    Read {
        /// The key.
        key: Key,
        /// What was returned.
        value: Option<Value>,
    },
    /// Wrote a register.
    Write {
        /// The key.
        key: Key,
        /// What was written.
        value: Value,
    },
    /// Read a list; [`Observed::elements`] gives what was returned.
    ReadList {
        /// The key.
        key: Key,
        /// Which elements.
        elements: Elements,
    },
    /// Appended to a list.
    Append {
        /// The key.
        key: Key,
        /// What was appended.
        value: Value,
    },
    /// A read whose result nobody has seen: of a transaction that was not answered.
    Unseen {
        /// The key.
        key: Key,
    },
}

/// Where the elements of a list that was read are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elements {
    first: u32,
    count: u32,
}

impl Elements {
    /// The elements of an empty list.
    pub const NONE: Self = Self { first: 0, count: 0 };
}

impl Op {
    /// The key that it is about.
    #[must_use]
    pub const fn key(self) -> Key {
        match self {
            Self::Read { key, .. }
            | Self::Write { key, .. }
            | Self::ReadList { key, .. }
            | Self::Append { key, .. }
            | Self::Unseen { key } => key,
        }
    }

    /// What it wrote or appended, if it did.
    #[must_use]
    pub const fn wrote(self) -> Option<(Key, Value)> {
        match self {
            Self::Write { key, value } | Self::Append { key, value } => Some((key, value)),
            Self::Read { .. } | Self::ReadList { .. } | Self::Unseen { .. } => None,
        }
    }
}

impl Observed {
    /// The name of the file (or stream) that the history came from; used in messages only.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All transactions, whatever became of them.
    #[must_use]
    pub fn txns(&self) -> &[Txn] {
        &self.txns
    }

    /// A transaction.
    ///
    /// # Panics
    ///
    /// If it is not of this history.
    #[must_use]
    pub fn txn(&self, index: TxnIndex) -> &Txn {
        &self.txns[index.0 as usize]
    }

    /// The numbers of all transactions, in order.
    ///
    /// # Panics
    ///
    /// Never: the builder counts in 32 bits.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = TxnIndex> + use<> {
        let count = u32::try_from(self.txns.len()).expect("the builder counts in 32 bits");
        (0..count).map(TxnIndex)
    }

    /// The operations of a transaction, in program order (O1).
    ///
    /// # Panics
    ///
    /// If it is not of this history.
    #[must_use]
    pub fn ops(&self, index: TxnIndex) -> &[Op] {
        let txn = self.txn(index);
        &self.ops[range(txn.first_op, txn.ops)]
    }

    /// The elements of a list that was read.
    ///
    /// # Panics
    ///
    /// If they are not of this history.
    #[must_use]
    pub fn elements(&self, elements: Elements) -> &[Value] {
        &self.elements[range(elements.first, elements.count)]
    }

    /// The history up to a transaction, which is left out: what others of it have seen of those that come later is
    /// there, as if nobody had been told what became of them, so that they have no end in real time and precede nobody
    /// in their sessions.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let mut first = self.clone();
        for txn in first.txns.iter_mut().skip(count) {
            if txn.outcome == Outcome::Committed {
                txn.outcome = Outcome::Unknown;
            }
            for op in &mut first.ops[range(txn.first_op, txn.ops)] {
                if let Op::Read { key, .. } | Op::ReadList { key, .. } = *op {
                    *op = Op::Unseen { key };
                }
            }
        }
        first
    }

    /// How many operations there are in all.
    #[must_use]
    pub const fn op_count(&self) -> usize {
        self.ops.len()
    }

    /// How many keys there are.
    #[must_use]
    pub const fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// How many sessions there are.
    #[must_use]
    pub const fn session_count(&self) -> u32 {
        self.sessions
    }

    /// The name of a key, as in the source.
    ///
    /// # Panics
    ///
    /// If it is not of this history.
    #[must_use]
    pub fn key_name(&self, key: Key) -> &str {
        self.keys.name(key.0)
    }

    /// A value, as in the source.
    #[must_use]
    pub fn value_name(&self, value: Value) -> String {
        value.name(&self.values)
    }
}

const fn range(first: u32, count: u32) -> Range<usize> {
    first as usize..first as usize + count as usize
}
