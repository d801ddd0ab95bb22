//! Tests of extended and generalised commitment ordering: the textbook schedules and found traces, misuse, what
//! is forgotten, reference models whose guards can be taken away, and random schedules of many sites against the
//! real types, judged by a graph of the tests' own.
#![cfg(not(any(co_loom, co_shuttle)))]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests may panic; the long search shows its progress and uses two threads"
)]

mod campaign;
mod dice;
mod digraph;
mod guards;
mod memory;
mod misuse;
mod reference_eco;
mod reference_gco;
mod scenario;
mod stage;
mod traces;
mod world;
