//! Specifications: what the enumeration decides, against what papers say of them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and measurements are printed"
)]

mod authority;
mod command;
mod contract;
mod enumerator;
mod histories;
mod objects;
mod papers;
mod pictures;
mod registers;
mod rows;
mod sets;
mod speed;
