//! Programs that show commit ordering at work, the multi-database demonstration first.
#![forbid(unsafe_code)]

/// The program in README.md compiles and runs: this puts it among the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
