//! From the coordinator's request to the YES or NO.

use co_core::{Gtid, Stamp};

use super::{Ended, ForcedVote, Handled, Inquiry, PendingVote, Phase, Phases, Vote, Voter};
use crate::protocol::{
    AbortCause, Ballot, Decision, Durability, ReleasedVote, Time, ToCoordinator, VoterEffect,
};

impl Voter {
    pub(super) fn handle_prepare(
        &mut self,
        now: Time,
        gtid: Gtid,
        dependent: bool,
        out: &mut Vec<VoterEffect>,
    ) {
        match self.transactions.get(&gtid) {
            Some(Phase::Voted { vote, .. }) => {
                let ballot = vote.ballot(self.incarnation);
                self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
            }
            Some(Phase::Preparing(_)) if self.log_failed => self.say_log_failed(gtid, out),
            Some(Phase::ByHand(_)) => self.say_by_hand(gtid, out),
            // The vote will come, or the decision has.
            Some(
                Phase::Requested { .. }
                | Phase::Preparing(_)
                | Phase::Committing { .. }
                | Phase::Applied { .. },
            ) => {}
            None => match self.recent.get(gtid).map(|ended| ended.decision) {
                // Our NO was lost, or the decision has overtaken a repeated request.
                Some(Decision::Abort { cause }) => {
                    let ballot = Ballot::No { cause };
                    self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
                }
                Some(Decision::Commit { .. }) => {}
                None => {
                    let dependent = dependent && self.config.dependent_votes;
                    self.request_vote(now, gtid, Phases::Two, dependent, out);
                }
            },
        }
    }

    pub(super) fn handle_commit_one_phase(
        &mut self,
        now: Time,
        gtid: Gtid,
        out: &mut Vec<VoterEffect>,
    ) {
        if self.transactions.contains_key(&gtid) {
            return;
        }
        match self.recent.get(gtid).copied() {
            Some(ended) => self.say_done(gtid, ended, out),
            None => self.request_vote(now, gtid, Phases::One, false, out),
        }
    }

    fn request_vote(
        &mut self,
        now: Time,
        gtid: Gtid,
        phases: Phases,
        dependent: bool,
        out: &mut Vec<VoterEffect>,
    ) {
        out.push(VoterEffect::RequestVote { gtid, dependent });
        let inquiry = self.first_inquiry(now);
        self.transactions.insert(
            gtid,
            Phase::Requested {
                phases,
                since: now,
                inquiry,
            },
        );
        if self.log_failed {
            self.refuse(gtid, phases, AbortCause::LogFailure, false, out);
        } else {
            self.set_timer(gtid);
        }
    }

    /// The engine votes: its gate has opened, or it refuses. Ignored if the transaction has ended
    /// meanwhile.
    ///
    /// # Panics
    ///
    /// If the engine breaks its contract about what a vote depends on.
    pub fn handle_released(
        &mut self,
        now: Time,
        gtid: Gtid,
        vote: ReleasedVote,
        out: &mut Vec<VoterEffect>,
    ) {
        let Some(&Phase::Requested { phases, .. }) = self.transactions.get(&gtid) else {
            return;
        };
        match vote {
            ReleasedVote::No(cause) => {
                let known = cause != AbortCause::UnknownTransaction;
                self.refuse(gtid, phases, cause, known, out);
            }
            ReleasedVote::Yes {
                stamp,
                read_only,
                depends,
            } => {
                let Some((depends, stamp)) = self.settle_known(depends, stamp) else {
                    self.refuse(gtid, phases, AbortCause::Cascade, true, out);
                    return;
                };
                self.withdraw_report(gtid, out);
                match phases {
                    Phases::Two => {
                        let vote = Vote {
                            stamp,
                            read_only,
                            depends,
                            broken: false,
                        };
                        self.prepare(now, gtid, vote, out);
                    }
                    Phases::One => {
                        assert!(
                            depends.is_empty(),
                            "V7: who decides alone depends on nobody"
                        );
                        self.commit_alone(gtid, stamp, read_only, out);
                    }
                }
            }
        }
    }

    /// Makes the YES durable, or says it at once if the site has no log (V1).
    fn prepare(&mut self, now: Time, gtid: Gtid, vote: Vote, out: &mut Vec<VoterEffect>) {
        self.stats.votes_dependent += u64::from(!vote.depends.is_empty());
        self.index_dependencies(gtid, &vote.depends);
        let vote = match ForcedVote::volatile(self.config.durability, vote) {
            Ok(vote) => {
                self.vote_yes(now, gtid, vote, out);
                return;
            }
            Err(vote) => vote,
        };
        self.timers.cancel(gtid);
        let token = self.new_token(gtid);
        out.push(VoterEffect::AppendPrepared {
            gtid,
            stamp: vote.stamp,
            read_only: vote.read_only,
            depends: vote.depends.clone(),
            token,
        });
        let pending = PendingVote::new(vote, token);
        self.transactions.insert(gtid, Phase::Preparing(pending));
    }

    pub(super) fn vote_yes(
        &mut self,
        now: Time,
        gtid: Gtid,
        vote: ForcedVote,
        out: &mut Vec<VoterEffect>,
    ) {
        self.stats.votes_yes += 1;
        self.stats.votes_read_only += u64::from(vote.vote().read_only);
        let ballot = vote.ballot(self.incarnation);
        self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
        self.enter_voted(now, gtid, vote);
    }

    pub(super) fn enter_voted(&mut self, now: Time, gtid: Gtid, vote: ForcedVote) {
        let inquiry = self.first_inquiry(now);
        self.transactions.insert(
            gtid,
            Phase::Voted {
                vote,
                inquiry,
                held: None,
            },
        );
        self.set_timer(gtid);
    }

    /// A one-phase commit: what is written is the decision itself.
    fn commit_alone(
        &mut self,
        gtid: Gtid,
        stamp: Stamp,
        read_only: bool,
        out: &mut Vec<VoterEffect>,
    ) {
        self.timers.cancel(gtid);
        if read_only || self.config.durability == Durability::Volatile {
            let decision = Decision::Commit { stamp };
            self.transactions.remove(&gtid);
            out.push(VoterEffect::Apply { gtid, decision });
            self.end_one_phase(gtid, decision, true, out);
        } else {
            let token = self.new_token(gtid);
            out.push(VoterEffect::AppendOnePhase { gtid, stamp, token });
            self.transactions.insert(gtid, Phase::Committing { stamp });
        }
    }

    /// Ends a one-phase transaction: reports what this site has decided.
    pub(super) fn end_one_phase(
        &mut self,
        gtid: Gtid,
        decision: Decision,
        known: bool,
        out: &mut Vec<VoterEffect>,
    ) {
        match decision {
            Decision::Commit { .. } => self.stats.one_phase_commits += 1,
            Decision::Abort { .. } => self.stats.aborts += 1,
        }
        self.remember(gtid, Phases::One, decision, known);
        let ended = Ended {
            phases: Phases::One,
            decision,
            known,
        };
        self.say_done(gtid, ended, out);
    }

    /// What has become of a one-phase transaction here.
    pub(super) fn say_done(&self, gtid: Gtid, ended: Ended, out: &mut Vec<VoterEffect>) {
        let Ended {
            decision, known, ..
        } = ended;
        let message = ToCoordinator::OnePhaseDone {
            gtid,
            decision,
            known,
        };
        self.send(gtid, message, out);
    }

    /// The site says NO: nothing of the transaction survives here. It is known to have worked here if the
    /// engine has said so.
    pub(super) fn refuse(
        &mut self,
        gtid: Gtid,
        phases: Phases,
        cause: AbortCause,
        known: bool,
        out: &mut Vec<VoterEffect>,
    ) {
        let before = self.transactions.remove(&gtid);
        assert!(
            matches!(before, Some(Phase::Requested { .. })),
            "V2: a site says NO before it has written its YES"
        );
        *self.stats.votes_no.entry(cause).or_default() += 1;
        let decision = Decision::Abort { cause };
        // An engine that does not know it has nothing to undo; it may even have committed it in an
        // earlier life.
        if cause != AbortCause::UnknownTransaction {
            out.push(VoterEffect::Apply { gtid, decision });
        }
        match phases {
            Phases::One => self.end_one_phase(gtid, decision, known, out),
            Phases::Two => {
                self.stats.aborts += 1;
                self.remember(gtid, Phases::Two, decision, known);
                self.send(
                    gtid,
                    ToCoordinator::Vote {
                        gtid,
                        ballot: Ballot::No { cause },
                    },
                    out,
                );
            }
        }
    }

    /// Says NO for a vote that the log has failed to write.
    pub(super) fn say_log_failed(&self, gtid: Gtid, out: &mut Vec<VoterEffect>) {
        let ballot = Ballot::No {
            cause: AbortCause::LogFailure,
        };
        self.send(gtid, ToCoordinator::Vote { gtid, ballot }, out);
    }

    pub(super) fn first_inquiry(&self, now: Time) -> Inquiry {
        Inquiry {
            at: now + self.config.inquire_after,
            asked: 0,
        }
    }

    /// Sets the timer of a transaction that waits for somebody else; others have none.
    pub(super) fn set_timer(&mut self, gtid: Gtid) {
        match self.transactions.get(&gtid) {
            Some(&Phase::Requested { since, inquiry, .. }) => {
                let give_up = self
                    .config
                    .vote_wait_timeout
                    .map(|patience| since + patience);
                self.timers
                    .set(gtid, give_up.unwrap_or(inquiry.at).min(inquiry.at));
            }
            Some(Phase::Voted { inquiry, .. } | Phase::ByHand(Handled { inquiry, .. })) => {
                self.timers.set(gtid, inquiry.at);
            }
            Some(Phase::Preparing(_) | Phase::Committing { .. } | Phase::Applied { .. }) | None => {
                unreachable!("only who waits for somebody else has a timer")
            }
        }
    }
}
