//! Commitment ordering is a properly coordinated variant of serializability, with the real schedulers in the loop.
//!
//! > Serializability is not monotone. Restricted to the histories that `co-core` admits, it is.
//!
//! All workloads of a bound (`workload`) are run under all schedules (`explore`), a step at a time, through the real
//! engines, voters and coordinator (`play`). What each history has told its clients irrevocably is a set of facts
//! (`judge`); whether these facts are outcomes of serializability, and whether none is ever taken back, is what
//! `proper` decides over all pairs of a history and a future of it (Complete CALM, section 4.1). The checker of
//! recorded histories judges every schedule as well, and `checker::spec` decides the same question again
//! (`specification`).
//!
//! The other half shows that this can fail: two-phase commit without the order of votes, and each rule of commitment
//! ordering that can be broken here, are found not proper, with the smallest witness of the bound (`witnesses/`;
//! `UPDATE_GOLDEN=1` writes them again).
//!
//! # Bounds
//!
//! By default: every workload of two transactions with two operations each on up to two keys at one or two sites; those
//! of them in which the keys are contended, with one transaction that gives up; every 97th of those of two transactions
//! with two or three operations on contended keys; one of three local transactions; and for three of the variants one in
//! which a local transaction stands between two global ones. `PROPER_BOUND` says what is run instead:
//!
//! | `PROPER_BOUND` | workloads |
//! |---|---|
//! | `2x2` | two transactions, two operations each, up to three keys, with and without one that gives up |
//! | `2x3` | two transactions, two or three operations each, up to three keys, all contended |
//! | `2x3-all` | the same, contended or not |
//! | `3x2` | three transactions, two operations each, around a circle of three keys |
//! | `3x2-contended` | three transactions, two operations each, up to three keys, all contended |
//! | `3x3` | every 6000th of those of three transactions, three operations each, around a circle of three keys |
//!
//! ```sh
//! cargo test -p simulator --test proper -- --nocapture
//! PROPER_BOUND=3x2 cargo test --release -p simulator --test proper _is_proper -- --nocapture
//! ```
//!
//! What "all schedules" leaves out: operations, votes and decisions come in every order, but time passes only when
//! nothing else can happen, no message is lost and no site crashes (the simulator's other tests do that); the oldest
//! transaction is always the first of its workload, which matters to nothing but the choice of victims.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail; counts and witnesses are what it is run for"
)]

mod admits;
mod bounds;
mod explore;
mod judge;
mod keeper;
mod orders;
mod play;
mod print;
mod proper;
mod specification;
mod textbook;
mod traps;
mod variant;
mod watched;
mod workload;
