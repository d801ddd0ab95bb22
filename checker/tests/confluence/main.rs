//! Invariant confluence: the rows of the paper's tables, and the decider itself against an oracle and seeded faults.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is wrong"
)]

mod agreement;
mod decider;
mod faults;
mod oracle;
mod rows;
mod tpcc;
mod witnesses;

use checker::spec::confluence::{Application, Bounds, Verdict, decide};

/// Bounds with a cap that no test here is meant to reach.
fn bounds(replicas: u8, transactions_each: u8) -> Bounds {
    Bounds::new(replicas, transactions_each, 1_000_000).unwrap()
}

/// The verdict of two replicas with so many transactions each.
fn decided<A: Application>(application: &A, transactions_each: u8) -> Verdict {
    decide(application, &bounds(2, transactions_each))
}
