//! A local scheduler that releases commits in an order every site of a distributed transaction can agree on.
#![forbid(unsafe_code)]

mod graph;
mod id;
mod lock;
mod order;
mod outcome;
mod sync;
mod validate;

pub use graph::{EdgeKind, Kind};
pub use id::{Gtid, Outcome, Priority, Stamp, TxnId};
pub use lock::{LockFuture, LockMode, LockPolicy, LockTable};
pub use order::{Clock, Scheduler, Statistics, Txn, VoteFuture, VoteRule};
pub use outcome::{AbortReason, Grant, Misuse, State, Vote};
pub use validate::{Footprint, Validator, WriteKind};
