//! The commit order coordinator: two-phase commit with vote ordering, a durable log and gRPC.
//!
//! - [`protocol`]: pure state machines, one for the coordinator and one for each site.
//! - [`log`]: durable append-only logs, on files and in memory, and the coordinator's records.
//! - [`service`] (feature `grpc`): the protocol over gRPC, for coordinators and participants.
//! - [`client`] (feature `grpc`): transactions over several sites.
//! - [`failpoint`]: where tests have a process fail.
//! - [`command`] (features `grpc` and `file-log`): the `coco` command as a function.
#![forbid(unsafe_code)]

#[cfg(feature = "grpc")]
pub mod client;
#[cfg(all(feature = "grpc", feature = "file-log"))]
pub mod command;
pub mod error;
pub mod failpoint;
pub mod log;
pub mod protocol;
#[cfg(feature = "grpc")]
pub mod service;

pub use error::Error;
