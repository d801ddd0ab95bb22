//! Modes in which the database's own locks give the order (in progress).

mod session;

pub use session::{Holder, Intent, Session, SessionBackend, SessionError, SessionId, Traits, Wait};
