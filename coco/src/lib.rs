//! The commit order coordinator: two-phase commit with vote ordering, a durable log and gRPC.
//!
//! - [`protocol`]: pure state machines, one for the coordinator and one for each site.
//! - [`log`]: durable append-only logs, on files and in memory, and the coordinator's records.
#![forbid(unsafe_code)]

pub mod error;
pub mod log;
pub mod protocol;

pub use error::Error;
