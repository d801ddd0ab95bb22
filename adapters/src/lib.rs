//! PostgreSQL and MariaDB as participants.
#![forbid(unsafe_code)]

mod backend;
mod branch;
pub mod native;
pub mod ordered;
pub mod postgres;
mod threads;

pub use backend::{Backend, BackendError, NotPrepared};
pub use branch::{BranchName, InvalidSite, Site};
pub use threads::Threads;
