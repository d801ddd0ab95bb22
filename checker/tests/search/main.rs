//! The search and the weak levels, against the corpus of published histories, oracles that try everything, and stores
//! of known isolation.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a test crate: faults panic, skipping is loud"
)]

mod corpus;
mod oracle;
mod planted;
mod scale;
mod small;
mod store;
mod text;
mod weak;
