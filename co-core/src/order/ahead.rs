//! Who stands ahead of a transaction: for engines that vote before their predecessors are decided, and say what
//! the vote depends on.
//!
//! Reads one node's list under its mutex and changes nothing. What it says of a transaction that has asked for its
//! vote stays right but for what is decided since, as long as the engine reports every conflict before the vote
//! and nothing precedes a transaction that only waits for its vote: so it is where all conflicts are found by
//! locking, and not where reads of old versions put somebody before a writer that is done.

use crate::graph::Tie;
use crate::order::{Scheduler, Txn};
use crate::sync::Arc;

/// A transaction that precedes another.
#[derive(Clone, Debug)]
pub struct Predecessor {
    /// Who.
    pub txn: Txn,
    /// Whether the other one has read what it wrote, and so falls with it.
    pub is_read: bool,
}

impl Scheduler {
    /// Whom the vote of `txn` waits for, or has waited for, each once.
    ///
    /// Those that are decided are among them: the vote waits until [`Scheduler::decided`] has returned, and not only
    /// until [`Txn::state`] says so. Only the engine knows who is past that.
    #[must_use]
    pub fn predecessors(&self, txn: &Txn) -> Vec<Predecessor> {
        let mut found: Vec<Predecessor> = Vec::new();
        let predecessors = txn.0.links().predecessors.lock();
        for (node, tie) in predecessors.iter() {
            let is_read = *tie == Tie::Data;
            match found.iter_mut().find(|known| known.txn.id() == node.id) {
                _ if *tie == Tie::Observed => {}
                Some(known) => known.is_read |= is_read,
                None => found.push(Predecessor {
                    txn: Txn(Arc::clone(node)),
                    is_read,
                }),
            }
        }
        found
    }
}
