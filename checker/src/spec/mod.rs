//! Specifications, decided in the small.

pub mod advise;
pub mod confluence;
