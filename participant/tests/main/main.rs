//! What the engines promise, checked with the suite, scripts and threads; the checker is the judge.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod conformance;
mod judge;
mod scripts;
mod stress;
