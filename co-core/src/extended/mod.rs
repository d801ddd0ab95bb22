//! Extended commitment ordering (ECO, Raz 1993) and its generalisation to versions (GCO): only global
//! transactions are ordered by their decisions; local ones commit as soon as the site is serializable with
//! them.
//!
//! Two front ends over keys, for engines that want more than a [`Scheduler`](crate::Scheduler) gives: there,
//! a local transaction waits for all that precedes it; here it does not. In exchange the site has to be
//! serializable by itself, and to remember some transactions after their end.
//!
//! | type | data | kept | local transactions |
//! |---|---|---|---|
//! | [`Eco`] | one version, strict | a graph, committed transactions included, as long as they can matter | never wait; abort on a cycle or a late path |
//! | [`Gco`] | versions | three stamps a version, one a transaction; no graph | certified by intervals |
//!
//! What both rest on (`docs/extended.md` has the proofs):
//! - E1 The committed transactions of the site are serializable, whatever other sites do.
//! - E2 For ever, and not only at the moment of a vote: of global transactions a and b of the site with a path
//!   a ⇝ b in its serialization graph, a was decided here before b voted here. Paths may appear through a local
//!   transaction long after both ends are decided, so this is an invariant to be kept and not a check to be
//!   passed.
//! - E3 A voted transaction is ended by its decision only (I3).
//! - E4 When no transaction is undecided, nothing is remembered (I7).
//!
//! Shared state: one mutex a site; nothing of the embedder runs under it, with one documented exception, the
//! installation of versions in [`Gco::decided_with`].
//!
//! Deliberately not here: values, waiting for a key, deadlocks of such waits, timeouts.

mod certifier;
mod eco;
mod gco;
mod graph;
mod txn;
mod versions;

pub use eco::Eco;
pub use gco::Gco;
pub use txn::{Access, Ending, SiteTxn};
pub use versions::{Certification, CommitSeq, Reads, Source};
