//! The order of commits: who may vote, and who has to wait, by which rule.

mod ahead;
mod cell;
mod clock;
mod registry;
mod scheduler;
mod tally;
mod vote;

pub use ahead::Predecessor;
pub(crate) use cell::Cell;
pub use clock::Clock;
pub(crate) use scheduler::Dependence;
pub use scheduler::{Scheduler, Statistics, Txn, VoteRule};
pub use vote::VoteFuture;
