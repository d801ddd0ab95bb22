//! A transaction that touched one site only: the site decides, through the same gate.
//!
//! The coordinator writes nothing and can therefore not know more than the site tells it. It may
//! *ask* for an abort; only the site's word says whether that came in time. An abort by a site that did
//! not know the transaction in its present life proves an abort only if it cannot have forgotten: it was
//! asked once, in the life in which it answers. Otherwise the answer to the caller is "unknown".

use co_core::Gtid;

use super::{Coordinator, Ended, Phase, answer};
use crate::protocol::{
    AbortCause, CallerId, CommitAnswer, CoordinatorEffect, Decision, Incarnation, SiteName, Time,
    ToParticipant,
};

/// A transaction that its only site was asked to decide.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct OnePhase {
    pub(super) callers: Vec<CallerId>,
    pub(super) site: SiteName,
    /// When the site was asked first.
    since: Time,
    /// In which of its lives.
    asked_in: Incarnation,
    asked_once: bool,
    /// The abort that was asked for since.
    pub(super) abort_requested: Option<AbortCause>,
}

impl Coordinator {
    pub(super) fn start_one_phase(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        site: SiteName,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.send(&site, ToParticipant::CommitOnePhase { gtid }, out);
        let one_phase = OnePhase {
            callers: vec![caller],
            asked_in: self.sites[&site].incarnation,
            site,
            since: now,
            asked_once: true,
            abort_requested: None,
        };
        self.enter_waiting(now, gtid, Phase::OnePhase(one_phase));
    }

    /// The site has come back: asks again, for what is wanted now.
    pub(super) fn ask_again(
        &mut self,
        from: &SiteName,
        gtid: Gtid,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let phase = self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase);
        let Some(Phase::OnePhase(one_phase)) = phase else {
            unreachable!("the caller has seen this transaction in one phase");
        };
        one_phase.asked_once = false;
        let message = match one_phase.abort_requested {
            Some(cause) => ToParticipant::Decide {
                gtid,
                decision: Decision::Abort { cause },
            },
            None => ToParticipant::CommitOnePhase { gtid },
        };
        self.resend(from, message, out);
    }

    /// Asks the site to abort instead, if it has not decided yet.
    pub(super) fn request_one_phase_abort(
        &mut self,
        now: Time,
        gtid: Gtid,
        cause: AbortCause,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let phase = self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase);
        let Some(Phase::OnePhase(one_phase)) = phase else {
            unreachable!("the caller has seen this transaction in one phase");
        };
        one_phase.abort_requested.get_or_insert(cause);
        let site = one_phase.site.clone();
        self.send_abort(gtid, cause, [&site], out);
        self.timers.set(gtid, now + self.config.vote_timeout);
    }

    pub(super) fn handle_one_phase_done(
        &mut self,
        from: &SiteName,
        gtid: Gtid,
        decision: Decision,
        known: bool,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let phase = self
            .transactions
            .get(&gtid)
            .map(|transaction| &transaction.phase);
        let Some(Phase::OnePhase(one_phase)) = phase else {
            return;
        };
        if one_phase.site != *from {
            return;
        }
        let same_life = self
            .sites
            .get(from)
            .is_some_and(|site| site.incarnation == one_phase.asked_in);
        match decision {
            Decision::Commit { stamp } => {
                self.stats.one_phase_commits += 1;
                self.stats.commits += 1;
                self.end_one_phase(gtid, Ended::OnePhase(stamp), out);
            }
            Decision::Abort { .. } if !(known || one_phase.asked_once && same_life) => {
                self.end_one_phase(gtid, Ended::Unknown, out);
            }
            Decision::Abort { cause } => {
                self.count_abort(cause);
                self.end_one_phase(gtid, Ended::Aborted(cause), out);
            }
        }
    }

    fn end_one_phase(&mut self, gtid: Gtid, ended: Ended, out: &mut Vec<CoordinatorEffect>) {
        let Some(Phase::OnePhase(one_phase)) = self
            .transactions
            .get(&gtid)
            .map(|transaction| transaction.phase.clone())
        else {
            unreachable!("the caller has seen this transaction in one phase");
        };
        let said = match ended {
            Ended::OnePhase(stamp) => CommitAnswer::Committed { stamp },
            Ended::Aborted(cause) => CommitAnswer::Aborted { cause },
            Ended::Unknown => CommitAnswer::Unknown,
            Ended::Committed(_) => unreachable!("the coordinator decides no one-phase commit"),
        };
        if said == CommitAnswer::Unknown {
            self.stats.unknown += one_phase.callers.len() as u64;
        }
        self.forget(gtid, ended);
        for caller in one_phase.callers {
            out.push(answer(caller, gtid, said));
        }
    }

    /// The site keeps silent: asks it to abort, and after as long again gives up.
    pub(super) fn one_phase_timer(
        &mut self,
        now: Time,
        gtid: Gtid,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let transaction = &self.transactions[&gtid];
        let Phase::OnePhase(one_phase) = &transaction.phase else {
            unreachable!("the caller has seen this transaction in one phase");
        };
        let deadline = one_phase.since + self.allowance(transaction.priority);
        if one_phase.abort_requested.is_some() {
            self.end_one_phase(gtid, Ended::Unknown, out);
        } else if now < deadline {
            self.timers.set(gtid, deadline);
        } else {
            if self.is_on_a_cycle(gtid) {
                self.stats.deadlocks_by_timeout += 1;
            }
            self.request_one_phase_abort(now, gtid, AbortCause::Timeout, out);
        }
    }
}
