//! Carrying out decisions.

use co_core::{Gtid, Stamp};

use super::{Ended, Phase, Phases, Voter};
use crate::protocol::{AbortCause, Decision, Durability, ToCoordinator, VoterEffect};

impl Voter {
    /// The coordinator has decided to commit.
    ///
    /// What is not known here was committed in an earlier life or long ago: its decision was in the
    /// log, or it would have been found in doubt. What is known as ended otherwise is a broken YES;
    /// going on would spread the damage, so a durable site stops.
    pub(super) fn handle_commit(&mut self, gtid: Gtid, stamp: Stamp, out: &mut Vec<VoterEffect>) {
        let decision = Decision::Commit { stamp };
        match self.transactions.get(&gtid) {
            Some(Phase::Voted { vote, .. }) => {
                assert!(
                    !vote.vote().broken,
                    "Y2: {gtid} is committed, and what it depended on was aborted"
                );
                if !vote.vote().depends.is_empty() {
                    self.hold(gtid, stamp);
                    return;
                }
                self.carry_out(gtid, stamp, out);
                self.settle_dependents(gtid, Some(stamp), out);
                return;
            }
            // The acknowledgement follows the record.
            Some(Phase::Applied { .. }) => return,
            Some(Phase::ByHand(_)) => {
                self.hear(gtid, decision, out);
                return;
            }
            // A request that was repeated after the transaction had ended in an earlier life: the
            // engine is about to say that it does not know it.
            Some(Phase::Requested { .. }) => {}
            Some(Phase::Preparing(_) | Phase::Committing { .. }) => self.assert_volatile(gtid),
            None => match self.recent.get(gtid) {
                Some(Ended { known: false, .. }) | None => {}
                Some(Ended {
                    decision: Decision::Abort { .. },
                    ..
                }) => self.assert_volatile(gtid),
                Some(Ended {
                    decision: before, ..
                }) => {
                    assert_eq!(*before, decision, "a transaction is decided once");
                }
            },
        }
        self.send(gtid, ToCoordinator::Ack { gtid }, out);
    }

    /// The commit of what it depends on has not arrived: it comes first (V7).
    fn hold(&mut self, gtid: Gtid, stamp: Stamp) {
        if let Some(Phase::Voted { held, .. }) = self.transactions.get_mut(&gtid) {
            let before = held.replace(stamp);
            assert!(
                before.is_none_or(|before| before == stamp),
                "a transaction is decided once"
            );
        }
    }

    /// Applies a commit and has it written; successors are released at once, because the log keeps
    /// its record before any record of theirs.
    pub(super) fn carry_out(&mut self, gtid: Gtid, stamp: Stamp, out: &mut Vec<VoterEffect>) {
        self.transactions.remove(&gtid);
        self.stats.commits += 1;
        let decision = Decision::Commit { stamp };
        self.timers.cancel(gtid);
        match self.config.durability {
            Durability::Volatile => {
                self.remember(gtid, Phases::Two, decision, true);
                out.push(VoterEffect::Apply { gtid, decision });
                self.send(gtid, ToCoordinator::Ack { gtid }, out);
            }
            Durability::Durable => {
                // With a failed log there is no record and, by V4, no acknowledgement: the
                // coordinator remembers, and a restart learns it again.
                if !self.log_failed {
                    let token = self.new_token(gtid);
                    out.push(VoterEffect::AppendDecision {
                        gtid,
                        decision,
                        token,
                    });
                }
                self.transactions.insert(gtid, Phase::Applied { stamp });
                out.push(VoterEffect::Apply { gtid, decision });
            }
        }
    }

    /// The coordinator has decided, or asks a one-phase transaction, to abort.
    pub(super) fn handle_abort(
        &mut self,
        gtid: Gtid,
        cause: AbortCause,
        out: &mut Vec<VoterEffect>,
    ) {
        let decision = Decision::Abort { cause };
        match self.transactions.get(&gtid) {
            Some(Phase::Requested {
                phases: Phases::One,
                ..
            }) => {
                self.transactions.remove(&gtid);
                out.push(VoterEffect::Apply { gtid, decision });
                // The engine has not said that it knows it.
                self.end_one_phase(gtid, decision, false, out);
            }
            Some(Phase::Requested {
                phases: Phases::Two,
                ..
            }) => {
                self.transactions.remove(&gtid);
                self.abort(gtid, cause, out);
            }
            Some(Phase::Preparing(pending)) => {
                self.appends.remove(&pending.token());
                self.abort_written(gtid, cause, out);
            }
            Some(Phase::Voted { .. }) => self.abort_written(gtid, cause, out),
            Some(Phase::ByHand(_)) => self.hear(gtid, decision, out),
            // Too late; the coordinator will hear what was decided.
            Some(Phase::Committing { .. }) => {}
            Some(Phase::Applied { .. }) => panic!("{gtid} was committed here and is now aborted"),
            None => match self.recent.get(gtid).copied() {
                Some(ended) if ended.phases == Phases::One => self.say_done(gtid, ended, out),
                Some(_) => {}
                // Never asked about, or forgotten. If the engine works for it, it ends. But what was
                // decided here alone in an earlier life is not known, so whoever asks for that is
                // told that the transaction is unknown, not that it was aborted.
                None => {
                    let unknown = AbortCause::UnknownTransaction;
                    self.stats.aborts += 1;
                    let decided = Decision::Abort { cause: unknown };
                    self.remember(gtid, Phases::Two, decided, false);
                    out.push(VoterEffect::Apply { gtid, decision });
                }
            },
        }
    }

    /// Aborts what has, or may have, a prepared record in the log. The decision is written without
    /// force: without it a restart is in doubt, asks, and is told the same.
    fn abort_written(&mut self, gtid: Gtid, cause: AbortCause, out: &mut Vec<VoterEffect>) {
        self.transactions.remove(&gtid);
        if self.config.durability == Durability::Durable && !self.log_failed {
            let decision = Decision::Abort { cause };
            out.push(VoterEffect::AppendDecisionLazy { gtid, decision });
        }
        self.abort(gtid, cause, out);
    }

    fn abort(&mut self, gtid: Gtid, cause: AbortCause, out: &mut Vec<VoterEffect>) {
        let decision = Decision::Abort { cause };
        self.stats.aborts += 1;
        // The coordinator that says so is one that has forgotten it, perhaps since it was committed here.
        let known = cause != AbortCause::UnknownTransaction;
        self.remember(gtid, Phases::Two, decision, known);
        out.push(VoterEffect::Apply { gtid, decision });
        self.settle_dependents(gtid, None, out);
    }

    /// The coordinator commits what this site does not hold as voted: the site must be one that may
    /// lose its votes.
    fn assert_volatile(&mut self, gtid: Gtid) {
        assert_eq!(
            self.config.durability,
            Durability::Volatile,
            "V2: {gtid} was committed without the YES of this site"
        );
        self.stats.lost_commits += 1;
    }
}
