//! The workspace's own commands: everything that CI runs.
#![forbid(unsafe_code)]
fn main() {}
