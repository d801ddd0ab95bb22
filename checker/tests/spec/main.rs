//! Specifications: what the enumeration decides, against what papers say of them.

mod papers;
mod rows;
