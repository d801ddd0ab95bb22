//! PostgreSQL and MariaDB as participants.
#![forbid(unsafe_code)]

mod backend;
mod branch;
pub mod columns;
pub mod ordered;
pub mod postgres;

pub use backend::{Backend, BackendError, Ending, NotPrepared};
pub use branch::{BranchName, InvalidSite, Site};
