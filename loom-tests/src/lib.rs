//! Loom models of every concurrent piece of co-core.
#![forbid(unsafe_code)]
