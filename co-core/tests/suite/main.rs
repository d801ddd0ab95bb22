//! Tests of co-core from outside, in order of cheapness: single facts, textbook schedules with golden
//! transcripts, random schedules against a slow model.
#![cfg(not(any(co_loom, co_shuttle)))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests may panic, and the blocking calls need a second thread to end them"
)]

mod classes;
mod fixture;
mod golden;
mod hierarchy;
mod locks;
mod misuse;
mod model;
mod order;
mod property;
mod script;
mod sharing;
mod validator;
mod world;
