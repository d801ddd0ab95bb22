//! Votes that depend on transactions which this site has voted for and which are not decided.
//!
//! What a coordinator owns it orders itself; of others' transactions it learns from the vote, which is
//! said again with one dependency less when they are decided here.

use std::collections::VecDeque;

use co_core::{Gtid, Stamp};

use super::{Ended, Phase, Voter};
use crate::protocol::{
    Decision, Dependencies, GtidParts, Settled, ToCoordinator, VoterEffect, depends::next_stamp,
};

impl Voter {
    /// What has been decided since the engine gave its vote is settled. `None`: what it depends on was
    /// aborted, and it can only be refused.
    ///
    /// # Panics
    ///
    /// If the engine names a transaction whose own vote it has not given.
    pub(super) fn settle_known(
        &self,
        mut depends: Dependencies,
        mut stamp: Stamp,
    ) -> Option<(Dependencies, Stamp)> {
        let named: Vec<Gtid> = depends.iter().collect();
        for gtid in named {
            let outcome = match self.transactions.get(&gtid) {
                Some(Phase::Preparing(_) | Phase::Committing { .. } | Phase::Voted { .. }) => {
                    continue;
                }
                Some(Phase::Requested { .. }) => {
                    panic!("V7: a vote depends on {gtid}, whose own vote the engine has not given")
                }
                Some(&Phase::Applied { stamp }) => Some(stamp),
                Some(Phase::ByHand(_)) => self.outcome_by_hand(gtid),
                None => self.outcome_of_late(gtid),
            };
            if let Some(committed) = outcome {
                stamp = stamp.max(next_stamp(committed));
            }
            if depends.settle(gtid, outcome) == Settled::Broken {
                return None;
            }
        }
        Some((depends, stamp))
    }

    /// What was done here with a transaction that has ended, which is not what its coordinator has said if an
    /// operator decided otherwise. `None`: it was aborted.
    fn outcome_of_late(&self, gtid: Gtid) -> Option<Stamp> {
        let by_hand = self.damage.get(&gtid).map(|it| it.decision);
        let ended = || self.recent.get(gtid).map(|it: &Ended| it.decision);
        match by_hand.or_else(ended) {
            Some(Decision::Commit { stamp }) => Some(stamp),
            // Or forgotten, which only an abort can have been so soon: nothing is lost by it.
            Some(Decision::Abort { .. }) | None => None,
        }
    }

    pub(super) fn index_dependencies(&mut self, gtid: Gtid, depends: &Dependencies) {
        for named in depends.iter() {
            self.dependents.entry(named).or_default().push(gtid);
        }
    }

    /// A transaction is decided and carried out here: committed with this stamp, or aborted. What was
    /// held back for it is carried out behind it.
    pub(super) fn settle_dependents(
        &mut self,
        gtid: Gtid,
        outcome: Option<Stamp>,
        out: &mut Vec<VoterEffect>,
    ) {
        let mut decided = VecDeque::from([(gtid, outcome)]);
        while let Some((gtid, outcome)) = decided.pop_front() {
            for dependent in self.dependents.remove(&gtid).unwrap_or_default() {
                if let Some(stamp) = self.settle_one(dependent, gtid, outcome, out) {
                    self.carry_out(dependent, stamp, out);
                    decided.push_back((dependent, Some(stamp)));
                }
            }
        }
    }

    /// The stamp with which the dependent one is committed, if it only waited for this.
    fn settle_one(
        &mut self,
        dependent: Gtid,
        gtid: Gtid,
        outcome: Option<Stamp>,
        out: &mut Vec<VoterEffect>,
    ) -> Option<Stamp> {
        let (vote, held) = match self.transactions.get_mut(&dependent) {
            Some(Phase::Preparing(pending)) => {
                pending.settle(gtid, outcome);
                return None;
            }
            Some(Phase::Voted { vote, held, .. }) => (vote, *held),
            // It has been aborted, or decided by hand, meanwhile.
            Some(
                Phase::Requested { .. }
                | Phase::Committing { .. }
                | Phase::Applied { .. }
                | Phase::ByHand(_),
            )
            | None => return None,
        };
        let settled = vote.settle(gtid, outcome);
        let broken = settled == Settled::Broken;
        assert!(
            !broken || held.is_none(),
            "Y2: {dependent} was committed, and needs {gtid}, which is aborted"
        );
        if vote.vote().depends.is_empty() && held.is_some() {
            return held;
        }
        let owner = GtidParts::coordinator_of(gtid);
        if broken || owner != GtidParts::coordinator_of(dependent) {
            let ballot = vote.ballot(self.incarnation);
            self.stats.votes_settled += 1;
            let gtid = dependent;
            self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
        }
        None
    }
}
