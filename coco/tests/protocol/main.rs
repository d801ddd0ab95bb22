//! The real coordinator and the real voters in a world in memory: transcripts, and exhaustive searches for one
//! transaction and for several.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test may stop at the first surprise, and matches only what it looks for"
)]

mod explore;
mod many;
mod scripts;
mod world;
