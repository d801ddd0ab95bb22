//! Resource managers that vote in commit order: strong strict two-phase locking, optimistic, multi-version and ordered
//! sharing.
#![forbid(unsafe_code)]

#[cfg(feature = "grpc")]
pub mod command;
pub mod conformance;
pub mod engine;
mod error;
mod history;
mod participant;
mod registry;
#[cfg(feature = "grpc")]
pub mod service;
pub mod site;
pub mod storage;
mod sync;

pub use error::{HistoryError, OperationError};
pub use history::{Op, Recorder};
pub use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Key, KeyRange,
    MAX_KEY_BYTES, MAX_SCAN_ROWS, MAX_VALUE_BYTES, OnBallot, Operation, Participant, Prepared,
    Reply, TxnName, Value,
};
