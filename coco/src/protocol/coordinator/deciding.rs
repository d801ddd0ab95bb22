//! From the last YES to the last acknowledgement.

use std::collections::BTreeSet;

use co_core::{Gtid, Stamp};

use super::{Coordinator, Ended, Phase, Transaction, answer};
use crate::log::Record;
use crate::protocol::proof::{DurableCommit, PendingCommit};
use crate::protocol::time::backoff;
use crate::protocol::{
    CallerId, CommitAnswer, CoordinatorEffect, SiteName, Time, ToParticipant, Token,
};

/// A commit whose record is on its way to the disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Forcing {
    callers: Vec<CallerId>,
    sites: BTreeSet<SiteName>,
    pending: PendingCommit,
    /// The log has failed before it said that the record is durable: unknown until a restart.
    failed: bool,
}

impl Forcing {
    pub(super) const fn stamp(&self) -> Stamp {
        self.pending.stamp()
    }

    /// One more caller waits for the outcome.
    pub(super) fn join(&mut self, caller: CallerId, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        if self.failed {
            out.push(answer(caller, gtid, CommitAnswer::Unknown));
        } else {
            self.callers.push(caller);
        }
    }

    pub(super) const fn sites(&self) -> &BTreeSet<SiteName> {
        &self.sites
    }

    /// The log has failed: says so to the callers, and how many they were.
    pub(super) fn fail(&mut self, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) -> u64 {
        self.failed = true;
        let mut told = 0;
        for caller in self.callers.drain(..) {
            out.push(answer(caller, gtid, CommitAnswer::Unknown));
            told += 1;
        }
        told
    }
}

/// A commit that is decided and not yet acknowledged by all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Committed {
    proof: DurableCommit,
    unacknowledged: BTreeSet<SiteName>,
    resends: u32,
}

impl Committed {
    pub(super) const fn new(proof: DurableCommit, unacknowledged: BTreeSet<SiteName>) -> Self {
        Self {
            proof,
            unacknowledged,
            resends: 0,
        }
    }

    pub(super) const fn decide(&self) -> ToParticipant {
        self.proof.decide()
    }

    pub(super) const fn answer(&self) -> CommitAnswer {
        self.proof.answer()
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.proof.stamp()
    }

    /// The record that makes a restarted coordinator remember it.
    pub(super) fn record(&self) -> Record {
        self.proof
            .record(self.unacknowledged.iter().cloned().collect())
    }

    pub(super) const fn unacknowledged(&self) -> &BTreeSet<SiteName> {
        &self.unacknowledged
    }
}

impl Coordinator {
    /// All votes are YES: hands the commit record to the log. From here on only the log decides.
    pub(super) fn force_commit(
        &mut self,
        gtid: Gtid,
        stamp: Stamp,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let token = self.new_token();
        let transaction = self
            .transactions
            .get_mut(&gtid)
            .expect("the caller has seen it voting");
        let Phase::Voting(voting) = std::mem::replace(&mut transaction.phase, Phase::Active) else {
            unreachable!("the caller has seen this transaction voting");
        };
        assert!(
            voting.votes.values().all(Option::is_some),
            "I1: all sites have voted YES"
        );
        assert!(!self.log_failed, "a failed log has aborted what was voting");
        let sites: BTreeSet<SiteName> = voting.votes.into_keys().collect();
        let record = Record::Commit {
            gtid,
            stamp,
            sites: sites.iter().cloned().collect(),
        };
        out.push(CoordinatorEffect::Append { record, token });
        transaction.phase = Phase::Forcing(Forcing {
            callers: voting.callers,
            sites,
            pending: PendingCommit::new(gtid, stamp, token),
            failed: false,
        });
        let priority = transaction.priority;
        self.ages.remove(&(priority, gtid));
        self.timers.cancel(gtid);
        self.waits.forget(gtid);
        self.forcing.insert(token, gtid);
        self.pass_turn(gtid);
    }

    /// The commit record is durable: this is the moment of decision, and from here on it may be said.
    pub(super) fn commit_is_durable(
        &mut self,
        now: Time,
        gtid: Gtid,
        token: Token,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let known = self.transactions.remove(&gtid);
        let Some(Transaction {
            priority,
            phase: Phase::Forcing(forcing),
        }) = known
        else {
            unreachable!("the index of tokens names transactions that are being forced");
        };
        let proof = forcing.pending.durable(token);
        self.stats.commits += 1;
        for caller in forcing.callers {
            out.push(answer(caller, gtid, proof.answer()));
        }
        for site in &forcing.sites {
            self.send(site, proof.decide(), out);
        }
        let phase = Phase::Committed(Committed::new(proof, forcing.sites));
        self.transactions
            .insert(gtid, Transaction { priority, phase });
        self.timers.set(gtid, now + self.config.resend_after);
    }

    /// A site has applied the decision and has it in its log (I6).
    pub(super) fn handle_ack(
        &mut self,
        from: &SiteName,
        gtid: Gtid,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let phase = self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase);
        let Some(Phase::Committed(committed)) = phase else {
            return;
        };
        committed.unacknowledged.remove(from);
        if committed.unacknowledged.is_empty() {
            let proof = committed.proof.clone();
            self.forget(gtid, Ended::Committed(proof));
            if !self.log_failed {
                out.push(CoordinatorEffect::AppendLazy {
                    record: Record::End { gtid },
                });
            }
        }
    }

    /// No acknowledgement for long: says it again to whoever is connected.
    pub(super) fn resend_timer(&mut self, now: Time, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        let phase = self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase);
        let Some(Phase::Committed(committed)) = phase else {
            unreachable!("the caller has seen this transaction committed");
        };
        committed.resends = committed.resends.saturating_add(1);
        let delay = backoff(
            self.config.resend_after,
            committed.resends,
            self.config.resend_limit,
        );
        let message = committed.decide();
        let silent: Vec<SiteName> = committed.unacknowledged.iter().cloned().collect();
        self.timers.set(gtid, now + delay);
        for site in &silent {
            self.resend(site, message.clone(), out);
        }
    }

    /// Sends what was sent before.
    pub(super) fn resend(
        &mut self,
        to: &SiteName,
        message: ToParticipant,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        if self.is_connected(to) {
            self.stats.resends += 1;
            self.send(to, message, out);
        }
    }
}
