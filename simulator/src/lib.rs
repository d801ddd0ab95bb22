//! Many sites under the real protocol and the real engines, in one thread, from one seed.
//!
//! A [`World`] is a coordinator and its sites; everything that can happen in it is a step that the caller
//! chooses. [`schedule::run`] chooses by a random generator and lets the checker judge what came of it; the
//! scenario tests choose by hand.
//!
//! ```
//! use co_core::VoteRule;
//! use simulator::schedule::{Setup, run};
//!
//! let setup = Setup::new(VoteRule::Withhold);
//! for seed in 0..20 {
//!     let run = run(seed, &setup);
//!     assert!(run.problem.is_none() && run.serializable, "seed {seed}: {run:?}");
//! }
//! ```
#![forbid(unsafe_code)]

mod client;
pub mod faults;
pub mod policy;
pub mod program;
pub mod schedule;
mod world;

pub use client::{Client, Ending, Progress};
pub use world::{ID, OpenParticipant, Options, Step, World};
