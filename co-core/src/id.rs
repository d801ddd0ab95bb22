//! Names and orders: what a transaction is called, how old it is, and when it was decided.
//!
//! Every number here is its own type, so that two of them can never change places in a call.

use std::fmt;

/// A global transaction identifier: the same at every site the transaction touches.
///
/// The coordinator hands it out and never hands it out twice, restarts included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid(pub u64);

/// Age of a transaction, smaller is older. A retry keeps the priority of its first attempt, so a
/// transaction that lost once wins later: victims are chosen among the youngest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u64);

/// A transaction's name inside one [`Scheduler`](crate::Scheduler); never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

/// A decision stamp: a logical time that grows along every precedence between transactions of all
/// sites (invariant I6). It is not wall time.
///
/// A vote carries its site's clock; a commit decision carries the largest clock among its votes; a
/// site that learns a decision moves its clock up to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Outcome {
    /// Its effects are permanent.
    Commit,
    /// It never happened.
    Abort,
}

macro_rules! named {
    ($type:ty, $prefix:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

named!(Gtid, "G");
named!(Priority, "p");
named!(TxnId, "t");
named!(Stamp, "@");
