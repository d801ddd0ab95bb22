//! Specifications, decided in the small.

pub mod confluence;
