//! Other coordinators: what each has to know of the others' waits.
//!
//! Each coordinator tells all others about those of its own transactions from whose waits a path
//! leads to a foreign one, and nothing else; where sites work for one coordinator, nothing is said.
//! There are no rounds and no answers: what a coordinator knows only grows while transactions are
//! undecided, so every coordinator on a cycle sees it when the last wait has arrived (D2).
//!
//! Invariants:
//! - (E1) `told` is what every connected peer has been told and not been told otherwise; a peer that
//!   connects is told all of it.
//! - (E2) A peer speaks of its own transactions only. What it has said is void when its link ends.

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Gtid, Priority};

use super::Coordinator;
use super::waits::Places;
use crate::protocol::{
    CoordinatorEffect, CoordinatorId, DeadlockPolicy, GtidParts, PeerMessage, Time,
};

/// Who is connected, and what they know.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Peers {
    connected: BTreeSet<CoordinatorId>,
    told: BTreeMap<Gtid, (Priority, Places)>,
}

impl Coordinator {
    /// The link to another coordinator is up: it can be told.
    pub fn handle_peer_up(
        &mut self,
        _now: Time,
        peer: CoordinatorId,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.peers.connected.insert(peer);
        for (&waiter, (priority, at)) in &self.peers.told {
            out.push(CoordinatorEffect::SendPeer {
                to: peer,
                message: waits_of(waiter, *priority, at),
            });
        }
    }

    /// The link to another coordinator is down: it cannot be told.
    pub fn handle_peer_down(&mut self, _now: Time, peer: CoordinatorId) {
        self.peers.connected.remove(&peer);
    }

    /// Nothing more will come from another coordinator over the present link: what it has said is
    /// void (E2). To be called as well before the first message of a new link.
    pub fn handle_peer_silent(&mut self, _now: Time, peer: CoordinatorId) {
        self.waits.forget_coordinator(peer);
    }

    /// Another coordinator says something. Ignored if it is not about a transaction that is its own to
    /// speak of, or ours to end.
    pub fn handle_peer_message(
        &mut self,
        now: Time,
        from: CoordinatorId,
        message: PeerMessage,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.stats.peer_messages += 1;
        match message {
            PeerMessage::Waits {
                waiter,
                priority,
                at,
            } => {
                if GtidParts::coordinator_of(waiter) != from || from == self.id {
                    return;
                }
                let at = at.into_iter().filter(|(_, by)| !by.is_empty()).collect();
                let new = self.waits.replace_foreign(waiter, priority, at);
                if !new.is_empty() && self.config.deadlocks == DeadlockPolicy::Search {
                    self.break_cycles(now, waiter, out);
                }
            }
            PeerMessage::Wound { gtid, at } => {
                if self.knows(gtid) && self.config.deadlocks == DeadlockPolicy::WoundWait {
                    self.handle_wound(now, gtid, &at, out);
                }
            }
        }
        self.finish(out);
    }

    /// Says something to the coordinator of a foreign transaction.
    pub(super) fn send_peer(
        &self,
        about: Gtid,
        message: PeerMessage,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let to = GtidParts::coordinator_of(about);
        if self.peers.connected.contains(&to) {
            out.push(CoordinatorEffect::SendPeer { to, message });
        }
    }

    /// Tells all peers what has changed among the waits that may matter to them (E1).
    pub(super) fn tell_peers(&mut self, out: &mut Vec<CoordinatorEffect>) {
        let nothing = self.peers.told.is_empty() && !self.waits.lead_away();
        if nothing || self.config.deadlocks != DeadlockPolicy::Search {
            return;
        }
        let leading = self.waits.leading_away();
        let told = std::mem::take(&mut self.peers.told);
        let mut news = Vec::new();
        for (&waiter, (priority, _)) in &told {
            if !leading.contains_key(&waiter) {
                news.push(waits_of(waiter, *priority, &Places::new()));
            }
        }
        for (waiter, places) in leading {
            let Some(transaction) = self.transactions.get(&waiter) else {
                unreachable!("G1: who leaves the table takes its waits with it");
            };
            let known = told.get(&waiter);
            if known.is_none_or(|(_, known)| known != places) {
                news.push(waits_of(waiter, transaction.priority, places));
            }
            let now_told = (transaction.priority, places.clone());
            self.peers.told.insert(waiter, now_told);
        }
        for message in news {
            for &to in &self.peers.connected {
                let message = message.clone();
                out.push(CoordinatorEffect::SendPeer { to, message });
            }
        }
    }
}

fn waits_of(waiter: Gtid, priority: Priority, at: &Places) -> PeerMessage {
    PeerMessage::Waits {
        waiter,
        priority,
        at: at
            .iter()
            .map(|(site, by)| (site.clone(), by.clone()))
            .collect(),
    }
}
