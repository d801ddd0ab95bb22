//! Criterion benches, each with its baseline in the same run.
#![forbid(unsafe_code)]
