//! Decisions that an operator takes at this site alone, because the coordinator is gone for good.
//!
//! They break what the rest of this crate is for: the coordinator may have decided the other way. So
//! they are kept apart from its decisions, in the log and here, until it has been heard.
//!
//! ```text
//! Voted ── operator ──► Writing ── durable: apply ──► Applied ── coordinator says the same ──► ended
//!                                                        └────── it says the contrary ──► damage ── operator ──► ended
//! ```
//!
//! Invariants:
//! - (H1) Nothing is applied before its record is durable: it says as well who is aborted along with it.
//! - (H2) The coordinator's word is acknowledged when the log says how it compares, and never stops the site.
//! - (H3) What the coordinator has contradicted stays in `damage`, over restarts, until an operator has
//!   acknowledged it.
//! - (H4) V7 and Y2 hold for those who depend on it: nobody is committed before what it depends on is decided
//!   here, and whoever has read from it is aborted with it. If the coordinator has committed one of those after
//!   all, that is damage too.
//! - (H5) To its coordinator it is in doubt until that one has been heard, so that it will be told.

use co_core::{Gtid, Stamp};

use super::{Inquiry, Phase, Phases, Voter};
use crate::protocol::proof::{ForcedVote, Vote};
use crate::protocol::{
    AbortCause, Ballot, Decision, Dependencies, Durability, GtidParts, Time, ToCoordinator,
    VoterEffect,
};

/// How far beyond its vote's an operator's stamp may be: as far as a query's beyond the clock.
const STAMPS_AHEAD: u64 = 1 << 44;

/// What an operator wants of a transaction at one site.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ByHand {
    /// Commit it here.
    Commit {
        /// With this stamp, if it is known what the coordinator has decided; with the next one of the site
        /// otherwise.
        stamp: Option<Stamp>,
    },
    /// Abort it here, and whoever has read from it.
    Abort,
    /// The damage is known and mended as far as it can be: it need not be shown any more.
    Acknowledge,
}

/// A decision that was taken by hand at a site, and what is known of the coordinator's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Heuristic {
    /// Whose.
    pub gtid: Gtid,
    /// What was decided by hand.
    pub decision: Decision,
    /// It wrote nothing here.
    pub read_only: bool,
    /// It was aborted along with this one, from which it had read.
    pub because_of: Option<Gtid>,
    /// What the coordinator has decided, once it is known.
    pub heard: Option<Decision>,
    /// An operator has seen the damage.
    pub acknowledged: bool,
}

impl Heuristic {
    /// Nothing is known yet of what the coordinator has decided.
    #[must_use]
    pub const fn new(gtid: Gtid, decision: Decision, read_only: bool) -> Self {
        Self {
            gtid,
            decision,
            read_only,
            because_of: None,
            heard: None,
            acknowledged: false,
        }
    }

    /// The coordinator has decided the other way: the transaction is committed at some of its sites and
    /// aborted at others.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self.heard {
            Some(heard) => self.decision.is_commit() != heard.is_commit(),
            None => false,
        }
    }

    /// Nothing has to be remembered any more.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.acknowledged || (self.heard.is_some() && !self.is_damage())
    }
}

/// Why nothing was decided by hand. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeuristicRefused {
    /// It has not voted, or has ended.
    #[error(
        "{gtid} is not in doubt at this site: either it has not voted here and times out by itself, or it is \
         decided; see `coco in-doubt`"
    )]
    NotInDoubt {
        /// Whose.
        gtid: Gtid,
    },
    /// An operator has been here before.
    #[error("{gtid} was decided by hand here before: {decision:?}; that cannot be taken back")]
    DecidedByHand {
        /// Whose.
        gtid: Gtid,
        /// What was decided.
        decision: Decision,
    },
    /// Its coordinator has committed it, and it waits here for others to be decided.
    #[error(
        "the coordinator has committed {gtid}; it is carried out here when these are decided: {after:?}. Decide those"
    )]
    Decided {
        /// Whose.
        gtid: Gtid,
        /// What it depends on.
        after: Vec<Gtid>,
    },
    /// Its coordinator has committed another one that has read from it.
    #[error(
        "{gtid} cannot be aborted: {by} has read from it and is committed by its coordinator, which proves that \
         {gtid} is committed as well; commit it"
    )]
    MustCommit {
        /// Whose.
        gtid: Gtid,
        /// Who has read from it.
        by: Gtid,
    },
    /// It has read from one that was aborted here.
    #[error(
        "{gtid} cannot be committed: it has read from a transaction that was aborted here; abort it"
    )]
    MustAbort {
        /// Whose.
        gtid: Gtid,
    },
    /// It depends on others that are in doubt here.
    #[error(
        "{gtid} cannot be committed before these are decided here, on which it depends: {after:?}. Decide those first"
    )]
    DependsOn {
        /// Whose.
        gtid: Gtid,
        /// What it depends on.
        after: Vec<Gtid>,
    },
    /// The stamp is below that of its vote.
    #[error("{gtid} has voted with the stamp {least}: its commit has no smaller one")]
    StampTooSmall {
        /// Whose.
        gtid: Gtid,
        /// The stamp of its vote.
        least: Stamp,
    },
    /// The stamp is far beyond that of its vote: all clocks would be set by it.
    #[error(
        "{gtid} cannot have so large a stamp, which all sites would have to count on from; the largest is {most}"
    )]
    StampTooLarge {
        /// Whose.
        gtid: Gtid,
        /// The largest that it can have.
        most: Stamp,
    },
    /// There is no damage to acknowledge.
    #[error(
        "there is no damage of {gtid} to acknowledge at this site; what its coordinator has not been heard on \
         stays as it is"
    )]
    NoDamage {
        /// Whose.
        gtid: Gtid,
    },
    /// The site has no log.
    #[error(
        "the site has no log, and would forget what was decided by hand: restart it, which ends all that is in \
         doubt there"
    )]
    NoLog,
    /// The site's log has failed.
    #[error("the site's log has failed; restart the site after mending its disk, then ask again")]
    LogFailed,
}

/// A transaction that was decided by hand and whose coordinator has not been heard, or not been answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Handled {
    pub(super) heuristic: Heuristic,
    pub(super) step: Step,
    pub(super) inquiry: Inquiry,
}

/// How far it has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Step {
    /// Its record is on its way to the disk, and names these, which are aborted with it (H1).
    Writing { along: Vec<Gtid> },
    /// Carried out.
    Applied,
    /// The record of the coordinator's word is on its way to the disk (H2).
    Hearing,
}

impl Handled {
    /// What there is to say to the coordinator, once it is carried out.
    fn ballot(&self, voter: &Voter) -> Option<Ballot> {
        if matches!(self.step, Step::Writing { .. }) || self.heuristic.heard.is_some() {
            return None;
        }
        Some(match self.heuristic.decision {
            Decision::Commit { stamp } => {
                let vote = Vote {
                    stamp,
                    read_only: self.heuristic.read_only,
                    depends: Dependencies::default(),
                    broken: false,
                };
                ForcedVote::recovered(vote).ballot(voter.incarnation)
            }
            Decision::Abort { cause } => Ballot::No { cause },
        })
    }
}

impl Voter {
    /// An operator decides a transaction that is in doubt, at this site alone. When its record is durable it
    /// is carried out. An abort takes those along that have read from it, which are returned.
    ///
    /// # Errors
    ///
    /// If it is not in doubt, or cannot be decided so; nothing has changed then.
    pub fn handle_heuristic(
        &mut self,
        now: Time,
        gtid: Gtid,
        decision: Decision,
        out: &mut Vec<VoterEffect>,
    ) -> Result<Vec<Gtid>, HeuristicRefused> {
        self.check_log()?;
        let read_only = self.may_decide(gtid, decision)?;
        let along = if decision.is_commit() {
            Vec::new()
        } else {
            self.readers_of(gtid)?
        };
        let token = self.new_token(gtid);
        out.push(VoterEffect::AppendHeuristic {
            gtid,
            decision,
            along: along.clone(),
            token,
        });
        self.timers.cancel(gtid);
        let handled = Handled {
            heuristic: Heuristic::new(gtid, decision, read_only),
            step: Step::Writing {
                along: along.clone(),
            },
            inquiry: self.first_inquiry(now),
        };
        self.transactions.insert(gtid, Phase::ByHand(handled));
        Ok(along)
    }

    /// An operator has seen the damage of a transaction (H3).
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn handle_acknowledged(
        &mut self,
        gtid: Gtid,
        out: &mut Vec<VoterEffect>,
    ) -> Result<(), HeuristicRefused> {
        self.check_log()?;
        let damage = self.damage.get_mut(&gtid);
        let Some(heuristic) = damage.filter(|it| !it.acknowledged) else {
            return Err(HeuristicRefused::NoDamage { gtid });
        };
        heuristic.acknowledged = true;
        let heuristic = heuristic.clone();
        let token = Some(self.new_token(gtid));
        out.push(VoterEffect::AppendHeuristicState { heuristic, token });
        Ok(())
    }

    /// Takes over what the log says of decisions by hand; before anything else happens.
    ///
    /// # Panics
    ///
    /// If one of them is in doubt as well.
    pub fn recover_heuristics(
        &mut self,
        now: Time,
        heuristics: impl IntoIterator<Item = Heuristic>,
    ) {
        for heuristic in heuristics {
            if heuristic.is_settled() {
                continue;
            }
            let gtid = heuristic.gtid;
            if let Some(heard) = heuristic.heard {
                self.remember(gtid, Phases::Two, heard, true);
                self.damage.insert(gtid, heuristic);
            } else {
                let before = self.enter_applied(now, heuristic);
                assert!(
                    before.is_none(),
                    "H5: what was decided by hand is not in doubt here"
                );
            }
        }
    }

    /// What was decided here by hand, and is not settled.
    pub fn heuristics(&self) -> impl Iterator<Item = &Heuristic> {
        let unheard = self.transactions.values().filter_map(|phase| match phase {
            Phase::ByHand(handled) => Some(&handled.heuristic),
            Phase::Requested { .. }
            | Phase::Preparing(_)
            | Phase::Committing { .. }
            | Phase::Voted { .. }
            | Phase::Applied { .. } => None,
        });
        unheard.chain(self.damage.values())
    }

    /// What the log says, or is about to say, of decisions by hand that are not settled: for a checkpoint.
    #[must_use]
    pub fn heuristics_in_log(&self) -> Vec<Heuristic> {
        let mut all: Vec<Heuristic> = self.heuristics().cloned().collect();
        for phase in self.transactions.values() {
            let Phase::ByHand(Handled {
                heuristic,
                step: Step::Writing { along },
                ..
            }) = phase
            else {
                continue;
            };
            let voted = |gtid: &&Gtid| {
                let phase = self.transactions.get(gtid);
                matches!(phase, Some(Phase::Preparing(_) | Phase::Voted { .. }))
            };
            for &gtid in along.iter().filter(voted) {
                let decision = Decision::Abort {
                    cause: AbortCause::Cascade,
                };
                let mut taken = Heuristic::new(gtid, decision, false);
                taken.because_of = Some(heuristic.gtid);
                all.push(taken);
            }
        }
        // What was heard while the record was written is not in the log yet.
        for heuristic in &mut all {
            if self.is_being_handled(heuristic.gtid) && !heuristic.acknowledged {
                heuristic.heard = None;
            }
        }
        all
    }

    /// Whether what an operator has asked for is still on its way to the disk.
    #[must_use]
    pub fn is_being_handled(&self, gtid: Gtid) -> bool {
        let acknowledging = self.damage.get(&gtid).is_some_and(|it| it.acknowledged);
        let is_writing = |phase: &Phase| match phase {
            Phase::ByHand(handled) => matches!(handled.step, Step::Writing { .. }),
            Phase::Requested { .. }
            | Phase::Preparing(_)
            | Phase::Committing { .. }
            | Phase::Voted { .. }
            | Phase::Applied { .. } => false,
        };
        acknowledging || self.transactions.get(&gtid).is_some_and(is_writing)
    }

    fn check_log(&self) -> Result<(), HeuristicRefused> {
        match self.config.durability {
            Durability::Volatile => Err(HeuristicRefused::NoLog),
            Durability::Durable if self.log_failed => Err(HeuristicRefused::LogFailed),
            Durability::Durable => Ok(()),
        }
    }

    /// Whether it may be decided so, and then whether it wrote nothing here.
    fn may_decide(&self, gtid: Gtid, decision: Decision) -> Result<bool, HeuristicRefused> {
        let (vote, held) = match self.transactions.get(&gtid) {
            Some(Phase::Voted { vote, held, .. }) => (vote.vote(), *held),
            Some(Phase::ByHand(handled)) => {
                let decision = handled.heuristic.decision;
                return Err(HeuristicRefused::DecidedByHand { gtid, decision });
            }
            Some(
                Phase::Requested { .. }
                | Phase::Preparing(_)
                | Phase::Committing { .. }
                | Phase::Applied { .. },
            )
            | None => {
                return Err(match self.damage.get(&gtid) {
                    Some(&Heuristic { decision, .. }) => {
                        HeuristicRefused::DecidedByHand { gtid, decision }
                    }
                    None => HeuristicRefused::NotInDoubt { gtid },
                });
            }
        };
        let after: Vec<Gtid> = vote.depends.iter().collect();
        if held.is_some() {
            return Err(HeuristicRefused::Decided { gtid, after });
        }
        if let Decision::Commit { stamp } = decision {
            if vote.broken {
                return Err(HeuristicRefused::MustAbort { gtid });
            }
            if !after.is_empty() {
                return Err(HeuristicRefused::DependsOn { gtid, after });
            }
            if stamp < vote.stamp {
                let least = vote.stamp;
                return Err(HeuristicRefused::StampTooSmall { gtid, least });
            }
            let most = Stamp(vote.stamp.0.saturating_add(STAMPS_AHEAD));
            if stamp > most {
                return Err(HeuristicRefused::StampTooLarge { gtid, most });
            }
        }
        Ok(vote.read_only)
    }

    /// Who has read what this one wrote, near or far, and has voted.
    fn readers_of(&self, gtid: Gtid) -> Result<Vec<Gtid>, HeuristicRefused> {
        let mut found = Vec::new();
        let mut open = vec![gtid];
        while let Some(read) = open.pop() {
            for &by in self.dependents.get(&read).into_iter().flatten() {
                let (depends, held) = match self.transactions.get(&by) {
                    Some(Phase::Preparing(pending)) => (pending.depends(), None),
                    Some(Phase::Voted { vote, held, .. }) => (&vote.vote().depends, *held),
                    Some(
                        Phase::Requested { .. }
                        | Phase::Committing { .. }
                        | Phase::Applied { .. }
                        | Phase::ByHand(_),
                    )
                    | None => continue,
                };
                if !depends.if_committed.contains(&read) || found.contains(&by) {
                    continue;
                }
                if held.is_some() {
                    return Err(HeuristicRefused::MustCommit { gtid, by });
                }
                found.push(by);
                open.push(by);
            }
        }
        Ok(found)
    }

    /// The record is durable (H1).
    pub(super) fn carry_out_by_hand(
        &mut self,
        now: Time,
        handled: Handled,
        out: &mut Vec<VoterEffect>,
    ) {
        let Handled {
            mut heuristic,
            step,
            ..
        } = handled;
        let Step::Writing { along } = step else {
            unreachable!("the caller has seen that it is being written");
        };
        let (gtid, decision) = (heuristic.gtid, heuristic.decision);
        let heard = heuristic.heard.take();
        self.count_by_hand(decision);
        out.push(VoterEffect::Apply { gtid, decision });
        self.enter_applied(now, heuristic);
        let mut held = vec![(gtid, heard)];
        for other in along {
            let Some(&Phase::Voted {
                ref vote,
                held: committed,
                ..
            }) = self.transactions.get(&other)
            else {
                // Aborted by its coordinator meanwhile.
                continue;
            };
            let decision = Decision::Abort {
                cause: AbortCause::Cascade,
            };
            let mut heuristic = Heuristic::new(other, decision, vote.vote().read_only);
            heuristic.because_of = Some(gtid);
            self.count_by_hand(decision);
            out.push(VoterEffect::Apply {
                gtid: other,
                decision,
            });
            self.enter_applied(now, heuristic);
            let heard = committed.map(|stamp| Decision::Commit { stamp });
            held.push((other, heard));
        }
        // All of them first: who is aborted here is not broken by what it has read from (H4).
        for &(gtid, _) in &held {
            let outcome = self.outcome_by_hand(gtid);
            self.say_by_hand(gtid, out);
            self.settle_dependents(gtid, outcome, out);
        }
        for (gtid, heard) in held {
            if let Some(heard) = heard {
                self.hear(gtid, heard, out);
            }
        }
    }

    /// The coordinator has decided what was decided here by hand.
    pub(super) fn hear(&mut self, gtid: Gtid, heard: Decision, out: &mut Vec<VoterEffect>) {
        let Some(Phase::ByHand(handled)) = self.transactions.get_mut(&gtid) else {
            unreachable!("the caller has seen that it was decided by hand");
        };
        if handled.heuristic.heard.is_some() {
            // The acknowledgement follows the record. A presumed abort after a commit says nothing new.
            return;
        }
        handled.heuristic.heard = Some(heard);
        if handled.step != Step::Applied {
            return;
        }
        handled.step = Step::Hearing;
        let heuristic = handled.heuristic.clone();
        self.timers.cancel(gtid);
        if self.log_failed {
            return;
        }
        if !heard.is_commit() && !heuristic.is_damage() {
            // If that is lost the coordinator is asked again, and presumes the same.
            self.transactions.remove(&gtid);
            self.remember(gtid, Phases::Two, heard, true);
            let token = None;
            out.push(VoterEffect::AppendHeuristicState { heuristic, token });
            return;
        }
        let token = Some(self.new_token(gtid));
        out.push(VoterEffect::AppendHeuristicState { heuristic, token });
    }

    /// The record of the coordinator's word is durable (H2).
    pub(super) fn heard(&mut self, heuristic: Heuristic, out: &mut Vec<VoterEffect>) {
        let gtid = heuristic.gtid;
        let heard = heuristic.heard;
        let heard = heard.expect("the caller has seen that the coordinator was heard");
        self.remember(gtid, Phases::Two, heard, true);
        if heuristic.is_damage() {
            self.stats.heuristic_damage += 1;
            self.damage.insert(gtid, heuristic);
        }
        if heard.is_commit() {
            self.send(gtid, ToCoordinator::Ack { gtid }, out);
        }
    }

    /// Whether the append was that of an acknowledgement; the damage is forgotten then.
    pub(super) fn acknowledged(&mut self, gtid: Gtid) -> bool {
        let acknowledged = self.damage.get(&gtid).is_some_and(|it| it.acknowledged);
        if acknowledged {
            self.damage.remove(&gtid);
        }
        acknowledged
    }

    /// The stamp of a commit by hand. A vote that names one that is being decided by hand lies in the log behind
    /// that decision, and may count on it.
    pub(super) fn outcome_by_hand(&self, gtid: Gtid) -> Option<Stamp> {
        let Some(Phase::ByHand(handled)) = self.transactions.get(&gtid) else {
            return None;
        };
        match handled.heuristic.decision {
            Decision::Commit { stamp } => Some(stamp),
            Decision::Abort { .. } => None,
        }
    }

    /// Says the vote again, for a commit by hand, or NO in case the coordinator still collects votes.
    pub(super) fn say_by_hand(&self, gtid: Gtid, out: &mut Vec<VoterEffect>) {
        if let Some(Phase::ByHand(handled)) = self.transactions.get(&gtid)
            && let Some(ballot) = handled.ballot(self)
        {
            self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
        }
    }

    /// What a coordinator hears of these when its link comes up: that they are in doubt (H5), and the ballot.
    pub(super) fn handled_of(
        &self,
        coordinator: super::CoordinatorId,
    ) -> Vec<(Gtid, Option<Ballot>)> {
        let own = self.transactions.iter();
        let own = own.filter(|&(&gtid, _)| GtidParts::coordinator_of(gtid) == coordinator);
        own.filter_map(|(&gtid, phase)| match phase {
            Phase::ByHand(handled) => Some((gtid, handled.ballot(self))),
            Phase::Requested { .. }
            | Phase::Preparing(_)
            | Phase::Committing { .. }
            | Phase::Voted { .. }
            | Phase::Applied { .. } => None,
        })
        .collect()
    }

    fn enter_applied(&mut self, now: Time, heuristic: Heuristic) -> Option<Phase> {
        let gtid = heuristic.gtid;
        let handled = Handled {
            heuristic,
            step: Step::Applied,
            inquiry: self.first_inquiry(now),
        };
        let before = self.transactions.insert(gtid, Phase::ByHand(handled));
        self.set_timer(gtid);
        before
    }

    fn count_by_hand(&mut self, decision: Decision) {
        match decision {
            Decision::Commit { .. } => self.stats.heuristic_commits += 1,
            Decision::Abort { .. } => self.stats.heuristic_aborts += 1,
        }
    }
}

#[cfg(test)]
mod tests;
