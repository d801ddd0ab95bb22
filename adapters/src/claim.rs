//! One process a site: whoever opens a site over a database claims its name in the server first, and keeps the claim
//! until it ends.
//!
//! A site takes all prepared branches with its name for what an earlier life has left, and rolls back those that its log does
//! not know. Two processes with one name would do that to each other. The claim is a lock that a session of its own has, so
//! it ends with the process, and with the process's machine soon after.
//!
//! It keeps operators from a mistake and is no fence: after a break of that session the process claims the name again when
//! it can, and another may have been quicker. What then keeps the two apart is in the module of each product.

use std::time::Duration;

/// How long the claim of a former life may stay: longer than the server needs to notice that a machine is silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long is waited before a broken session is replaced.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Somebody else has the claim: the number of the server's process or thread behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken(pub(crate) u64);
