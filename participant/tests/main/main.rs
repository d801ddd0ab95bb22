//! What the engines promise, checked with the suite, scripts and threads; the checker is the judge.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, says which seed it runs, and draws small numbers"
)]

mod by_hand;
mod conformance;
mod dependent;
mod dependent_site;
mod durable;
mod judge;
mod restart;
mod scripts;
mod site_crash;
mod site_log;
mod storage;
mod stress;
