#![allow(clippy::unwrap_used, reason = "a test may fail")]
mod explore;
mod extended;
mod judge;
mod play;
mod print;
mod proper;
mod suite;
mod variant;
mod watched;
mod workload;
