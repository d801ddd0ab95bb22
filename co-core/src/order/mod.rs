//! The order of commits: who may vote, and who has to wait, by which rule.

mod cell;
mod clock;
mod scheduler;
mod vote;

pub(crate) use cell::Cell;
pub use clock::Clock;
pub use scheduler::{Scheduler, Statistics, Txn, VoteRule};
pub use vote::VoteFuture;
