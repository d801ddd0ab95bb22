//! What a world is made of.

use std::time::Duration;

use co_core::Gtid;
use coco::protocol::{CoordinatorConfig, DeadlockPolicy, Durability, VoterConfig};

use super::SITES;
use super::steps::Budget;
use crate::world::{coordinator_config, voter_config};

/// What is broken in the machinery, to see whether the rules notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lie {
    None,
    /// A coordinator's log writes the commit of a dependent transaction before its predecessor's.
    DependentFirst,
    /// A site that starts again has forgotten what its votes depend on.
    ForgottenDependencies,
    /// A site takes back what its vote depends on before that is decided.
    EarlyUpgrade,
    /// An engine is told of a commit that its voter holds back.
    HeldCommitApplied,
    /// What another coordinator has said of waits that are over is never dropped.
    StaleWaits,
    /// A coordinator does not hear that its transaction is in an older one's way.
    WoundIgnored,
    /// A dependency on mere order is taken for none.
    AfterIgnored,
}

/// What the second of two transactions in conflict has to do with the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It comes after it.
    Order,
    /// It has read what the first wrote.
    Data,
}

/// A conflict at a site: the first operation was this transaction's, the second that one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Edge {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) kind: Kind,
}

/// What a world is made of, and does not change.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// For each transaction, whose it is.
    pub(super) owners: Vec<u8>,
    /// For each transaction, where it works.
    pub(super) places: Vec<Vec<usize>>,
    /// For each site, its conflicts.
    pub(super) conflicts: [Vec<Edge>; SITES],
    /// Transactions whose votes may depend on others'.
    pub(super) dependent: Vec<bool>,
    /// Sites that give such votes.
    pub(super) dependent_votes: [bool; SITES],
    /// Sites that report waits.
    pub(super) reports: [bool; SITES],
    pub(super) policy: DeadlockPolicy,
    pub(super) remembered_outcomes: usize,
    pub(super) budget: Budget,
    pub(super) lie: Lie,
    /// Known once the transactions have begun.
    pub(super) gtids: Vec<Gtid>,
}

impl Plan {
    /// So many transactions of one coordinator that work everywhere, without conflicts.
    pub(crate) fn of(transactions: usize) -> Self {
        Self {
            owners: vec![0; transactions],
            places: vec![(0..SITES).collect(); transactions],
            conflicts: [Vec::new(), Vec::new()],
            dependent: vec![false; transactions],
            dependent_votes: [false; SITES],
            reports: [true; SITES],
            policy: DeadlockPolicy::Search,
            remembered_outcomes: 4,
            budget: Budget::default(),
            lie: Lie::None,
            gtids: Vec::new(),
        }
    }

    /// At this site each comes before the next, and before all behind it.
    pub(crate) fn order(mut self, site: usize, order: &[usize], kind: Kind) -> Self {
        for (at, &first) in order.iter().enumerate() {
            for &second in &order[at + 1..] {
                self.conflicts[site].push(Edge {
                    first,
                    second,
                    kind,
                });
            }
        }
        self
    }

    /// All sites give dependent votes, on all transactions.
    pub(crate) fn dependent(mut self) -> Self {
        self.dependent.fill(true);
        self.dependent_votes = [true; SITES];
        self
    }

    pub(crate) fn owned_by(mut self, owners: &[u8]) -> Self {
        self.owners = owners.to_vec();
        self
    }

    /// One transaction works at one site only.
    pub(crate) fn alone(mut self, transaction: usize, site: usize) -> Self {
        self.places[transaction] = vec![site];
        self
    }

    pub(crate) fn policy(mut self, policy: DeadlockPolicy) -> Self {
        self.policy = policy;
        self
    }

    pub(crate) fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    pub(crate) fn lie(mut self, lie: Lie) -> Self {
        self.lie = lie;
        self
    }

    pub(super) fn desks(&self) -> usize {
        usize::from(*self.owners.iter().max().expect("a transaction")) + 1
    }

    pub(super) fn index(&self, gtid: Gtid) -> usize {
        let of = self.gtids.iter().position(|it| *it == gtid);
        of.expect("one of the world's transactions")
    }

    pub(super) fn owner(&self, transaction: usize) -> usize {
        usize::from(self.owners[transaction])
    }

    pub(super) fn coordinator_config(&self) -> CoordinatorConfig {
        CoordinatorConfig {
            deadlocks: self.policy,
            remembered_outcomes: self.remembered_outcomes,
            ..coordinator_config()
        }
    }

    pub(super) fn voter_config(&self, site: usize) -> VoterConfig {
        VoterConfig {
            // Waits are reported at once: their first milliseconds are of no interest here.
            report_after: self.reports[site].then_some(Duration::ZERO),
            dependent_votes: self.dependent_votes[site],
            remembered_outcomes: self.remembered_outcomes.max(1),
            ..voter_config(Durability::Durable)
        }
    }
}
