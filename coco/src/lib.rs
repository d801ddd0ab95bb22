//! The commit order coordinator: two-phase commit with vote ordering, a durable log and gRPC.
#![forbid(unsafe_code)]

pub mod protocol;
