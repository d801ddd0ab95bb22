//! PostgreSQL and MariaDB as participants.
#![forbid(unsafe_code)]

mod backend;
mod branch;
mod claim;
pub mod columns;
#[cfg(feature = "command")]
pub mod command;
mod insist;
pub mod mariadb;
pub mod native;
pub mod ordered;
pub mod postgres;
mod reach;
mod site;
mod threads;

pub use backend::{Backend, BackendError, Ending, NotPrepared};
pub use branch::{BranchName, InvalidSite, Site};
pub use site::{Mode, Product, SiteError, SiteOptions, UnknownMode, open_site};
pub use threads::Threads;
