//! PostgreSQL and MariaDB as participants.
#![forbid(unsafe_code)]

mod address;
mod backend;
mod branch;
mod claim;
pub mod columns;
#[cfg(feature = "command")]
pub mod command;
mod identity;
mod insist;
pub mod mariadb;
pub mod native;
pub mod ordered;
pub mod postgres;
mod progress;
mod reach;
mod site;
mod threads;

pub use backend::{Backend, BackendError, Ending, NotPrepared};
pub use branch::{BranchName, InvalidSite, Site};
pub use identity::{IdentityError, LogIdentity, OtherLog};
pub use site::{Mode, Product, SiteError, SiteOptions, UnknownMode, open_site};
pub use threads::Threads;
