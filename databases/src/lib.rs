//! Private PostgreSQL and MariaDB servers on loopback: started from whatever is installed, killed at will, gone afterwards.
//!
//! A [`Server`] has a data folder and a port of its own and needs no configuration of the machine; it can be killed as a
//! power loss would kill it, and started again on the same data. The [`Fleet`] is what `cargo xtask databases up` starts
//! and leaves running: two servers of each product.
//!
//! Invariants:
//! - D1 Nothing outside a server's own folder is read or written, and it listens on loopback only.
//! - D2 [`Server::start`] returns when the server takes connections, or says why it does not, with the end of its log.
//! - D3 A [`Server`] that is dropped is gone, with its folder if that was made for it, and so is a private one whose process
//!   is killed; the fleet stays until it is taken down.
//! - D4 What is not installed is an error of its own ([`Error::Missing`]) that says what to install. A test that can do
//!   without skips, and is counted ([`SKIPPED_TESTS`]); in CI it fails.
//!
//! There are no dependencies in here, so that `cargo xtask` stays quick to build.
#![forbid(unsafe_code)]

mod binaries;
mod error;
mod fleet;
mod process;
mod product;
mod server;
mod skips;
mod watchdog;

pub use binaries::{Binaries, install};
pub use error::Error;
pub use fleet::{Fleet, Member, MemberState};
pub use product::Product;
pub use server::{Server, Settings};
pub use skips::{SKIPPED_TESTS, in_ci};
