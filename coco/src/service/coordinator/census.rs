//! Which transactions a draining coordinator has to wait for.
//!
//! Clients fetch identifiers ahead, and what is done with them only the sites know before the commit is asked for. So
//! a coordinator that drains asks its sites. What none of them has worked on has nothing to lose.

use std::collections::BTreeSet;

use co_core::Gtid;

use super::driver::LinkId;
use crate::protocol::{Coordinator, TransactionState};

/// What the sites have said.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Asked, and still linked, and not answered.
    asked: BTreeSet<LinkId>,
    worked: BTreeSet<Gtid>,
}

impl Census {
    pub(super) fn asked(&mut self, link: LinkId) {
        self.asked.insert(link);
    }

    pub(super) fn answered(&mut self, link: LinkId, gtids: Vec<Gtid>) {
        // What nobody has asked for is not kept.
        if self.asked.remove(&link) {
            self.worked.extend(gtids);
        }
    }

    /// Whoever cannot be asked is not waited for: what has worked there cannot commit now.
    pub(super) fn gone(&mut self, link: LinkId) {
        self.asked.remove(&link);
    }

    /// Whether nothing runs that has anything to lose.
    pub(super) fn is_over(&self, machine: &Coordinator) -> bool {
        if machine.in_flight() == 0 {
            return true;
        }
        let runs = |gtid: Gtid, state: &TransactionState| match state {
            TransactionState::Active => self.worked.contains(&gtid),
            TransactionState::Voting { .. }
            | TransactionState::OnePhase { .. }
            | TransactionState::Forcing { .. } => true,
            TransactionState::Doomed { .. } | TransactionState::Committed { .. } => false,
        };
        self.asked.is_empty() && !machine.transactions().any(|it| runs(it.gtid, &it.state))
    }
}
