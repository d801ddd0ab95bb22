//! Tests of co-core from outside, in order of cheapness: single facts, textbook schedules with golden
//! transcripts, random schedules against a slow model.
#![cfg(not(co_loom))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests may panic, and the blocking calls need a second thread to end them"
)]

mod classes;
mod fixture;
mod golden;
mod locks;
mod misuse;
mod model;
mod order;
mod property;
mod script;
mod sharing;
mod validator;
mod world;
