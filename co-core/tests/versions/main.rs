//! Tests of `VersionOrder` and `Queries` from outside: textbook schedules, single facts, starvation, memory,
//! random schedules over two sites against an oracle that knows nothing of either.
#![cfg(not(any(co_loom, co_shuttle)))]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod facts;
mod golden;
mod memory;
mod misuse;
mod mvsim;
mod oracle;
mod queries;
mod random;
mod rng;
mod site;
mod turns;
