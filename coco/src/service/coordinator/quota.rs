//! How many undecided transactions each peer has, so that none takes the place of all others.
//!
//! What is counted is what was handed out and not yet answered. A transaction that nobody ever asked about
//! again is not answered; it is found by its age when its peer has reached the bound.

use std::collections::HashMap;
use std::time::Duration;

use co_core::Gtid;

use crate::protocol::Time;
use crate::service::guard::PeerKey;

/// How often at most the expired are looked for.
const SWEEP: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Quota {
    limit: usize,
    /// How long a transaction is kept that nobody asks about.
    idle: Duration,
    begun: HashMap<Gtid, (PeerKey, Time)>,
    held: HashMap<PeerKey, usize>,
    swept: Time,
}

impl Quota {
    pub(super) fn new(limit: usize, idle: Duration) -> Self {
        Self {
            limit,
            idle,
            begun: HashMap::new(),
            held: HashMap::new(),
            swept: Time::default(),
        }
    }

    /// How many more the peer may begin.
    pub(super) fn room(&mut self, now: Time, peer: &PeerKey) -> usize {
        let held = self.held.get(peer).copied().unwrap_or_default();
        if held >= self.limit && now.since(self.swept) >= SWEEP {
            self.swept = now;
            let idle = self.idle;
            let late: Vec<Gtid> = self
                .begun
                .iter()
                .filter(|(_, (_, since))| now.since(*since) > idle)
                .map(|(&gtid, _)| gtid)
                .collect();
            for gtid in late {
                self.ended(gtid);
            }
        }
        let held = self.held.get(peer).copied().unwrap_or_default();
        self.limit.saturating_sub(held)
    }

    pub(super) fn begun(&mut self, now: Time, peer: &PeerKey, gtid: Gtid) {
        self.begun.insert(gtid, (peer.clone(), now));
        *self.held.entry(peer.clone()).or_default() += 1;
    }

    pub(super) fn ended(&mut self, gtid: Gtid) {
        if let Some((peer, _)) = self.begun.remove(&gtid)
            && let Some(held) = self.held.get_mut(&peer)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }

    /// When a transaction began that has not been answered.
    pub(super) fn since(&self, gtid: Gtid) -> Option<Time> {
        self.begun.get(&gtid).map(|&(_, since)| since)
    }
}
