//! Programs that show commit ordering at work, the multi-database demonstration first.
#![forbid(unsafe_code)]
