//! Real processes, real kills: whole systems under kill -9, and under four times the load they can take.
//!
//! Everything else that tests faults here simulates something. This does not: [`run`] has real coordinators and
//! sites on real ports, with real logs and stores, and kills them with SIGKILL while real clients work;
//! [`storm`] kills small whole systems by the thousand, and [`overload`] offers more than can be done.
//! `docs/testing.md` says what each demands.
//!
//! This package is a leaf: nothing but tests depends on it.
#![forbid(unsafe_code)]

pub mod command;
pub mod ledger;
pub mod lives;
pub mod overload;
pub mod progress;
pub mod run;
pub mod server;
pub mod storm;
