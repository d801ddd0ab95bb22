//! The `adapter` command as real processes over a real server: killed between vote and decision, killed at any time,
//! and asked what it sees.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests: what fails panics, and a skipped one says so"
)]

mod away;
mod idle;
mod killed;
mod looks;
mod looks_mariadb;
mod one_log;
mod system;
