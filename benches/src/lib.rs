//! What the benches compare with, and the workloads they share.
#![forbid(unsafe_code)]

pub mod cost;
pub mod hotspot;
pub mod lean;
pub mod optimistic;
pub mod realtime;
pub mod store;
