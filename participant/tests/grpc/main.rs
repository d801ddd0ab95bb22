//! Sites, coordinator and clients over real gRPC on loopback, with free ports.
#![cfg(feature = "grpc")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails to set itself up has failed; figures are printed"
)]

mod by_hand;
mod certificates;
mod chaos;
mod cluster;
mod coordinator_log;
mod coordinators;
mod dependent;
mod failures;
mod measure;
mod operations;
mod processes;
mod transactions;
