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
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Granularity, Key, KeyRange,
    MAX_DECLARED_KEYS, MAX_KEY_BYTES, MAX_SCAN_ROWS, MAX_STATEMENT_BYTES, MAX_VALUE_BYTES,
    OnBallot, Operation, Participant, Prepared, Reply, Table, TxnName, Value,
};
