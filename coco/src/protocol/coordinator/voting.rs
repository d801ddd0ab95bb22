//! Collecting votes: from Prepare to the last YES or the first NO.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};

use super::{Coordinator, Ended, Phase, answer};
use crate::protocol::{
    AbortCause, Ballot, CallerId, CommitAnswer, CoordinatorEffect, Decision, Dependencies,
    Incarnation, Note, SiteName, Time, ToParticipant,
};

/// At most one part in so many is added to the time that transactions may wait.
const DITHER: u128 = 8;

/// A transaction whose votes are being collected.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Voting {
    pub(super) callers: Vec<CallerId>,
    /// By site, its YES; at least two sites, and at least one without a vote or with one whose turn has
    /// not come.
    pub(super) votes: BTreeMap<SiteName, Option<Yes>>,
    /// Whether the votes may depend on others' decisions.
    pub(super) dependent: bool,
    /// When the sites were asked.
    pub(super) since: Time,
}

/// A site's YES.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Yes {
    pub(super) stamp: Stamp,
    pub(super) depends: Dependencies,
}

impl Coordinator {
    pub(super) fn start_voting(
        &mut self,
        now: Time,
        caller: CallerId,
        gtid: Gtid,
        sites: BTreeSet<SiteName>,
        dependent: bool,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        assert!(sites.len() > 1, "a single site decides by itself");
        for site in &sites {
            self.send(site, ToParticipant::Prepare { gtid, dependent }, out);
        }
        let votes = sites.into_iter().map(|site| (site, None)).collect();
        let voting = Voting {
            callers: vec![caller],
            votes,
            dependent,
            since: now,
        };
        self.enter_waiting(now, gtid, Phase::Voting(voting));
    }

    /// From now on the transaction waits for its sites: its age counts and its timer runs.
    pub(super) fn enter_waiting(&mut self, now: Time, gtid: Gtid, phase: Phase) {
        let transaction = self
            .transactions
            .get_mut(&gtid)
            .expect("a commit starts from a known transaction");
        assert!(
            matches!(transaction.phase, Phase::Active),
            "a commit starts once"
        );
        transaction.phase = phase;
        let priority = transaction.priority;
        self.ages.insert((priority, gtid));
        self.timers.set(gtid, now + self.allowance(priority));
    }

    /// How long a transaction of this age may wait for its sites: the youngest that waits gets the
    /// configured time, the oldest twice that, the others by their place between the two. A little is
    /// added, the same for all that wait now, but another after the next begin: two coordinators know
    /// nothing of each other's ages, and could otherwise let two transactions run out together for ever.
    pub(super) fn allowance(&self, priority: Priority) -> Duration {
        let base = self.config.vote_timeout;
        let (Some(&(oldest, _)), Some(&(newest, _))) = (self.ages.first(), self.ages.last()) else {
            return base;
        };
        let spread = u128::from(newest.0 - oldest.0);
        let older_by = u128::from(newest.0.saturating_sub(priority.0));
        let bias = (base.as_micros() * older_by)
            .checked_div(spread)
            .unwrap_or(0);
        let moment = u64::from(self.id.0) << 32 | u64::from(self.counter.unwrap_or(0));
        let dither = u128::from(moment.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56);
        let dither = base.as_micros() * dither / (256 * DITHER);
        base.saturating_add(Duration::from_micros(
            u64::try_from(bias + dither).unwrap_or(u64::MAX),
        ))
    }

    pub(super) fn handle_vote(
        &mut self,
        now: Time,
        from: &SiteName,
        gtid: Gtid,
        ballot: Ballot,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let unexpected = Note::UnexpectedVote {
            from: from.clone(),
            gtid,
        };
        match self
            .transactions
            .get(&gtid)
            .map(|transaction| &transaction.phase)
        {
            Some(Phase::Voting(voting)) if voting.votes.contains_key(from) => match ballot {
                Ballot::Yes {
                    stamp,
                    incarnation,
                    depends,
                    ..
                } => {
                    self.vote_yes(now, from, gtid, Yes { stamp, depends }, incarnation, out);
                }
                // A site that has voted, and whose vote is broken since, waits for the decision: who says
                // NO for a cascade may be such a one.
                Ballot::No { cause } => {
                    let knows = (cause != AbortCause::Cascade).then_some(from);
                    self.abort(gtid, cause, knows, out);
                }
            },
            // A repeated YES, or one on what was aborted meanwhile: the site wants the decision.
            Some(Phase::Committed(_) | Phase::Doomed(_)) | None => match ballot {
                Ballot::Yes { .. } => self.resolve(from, gtid, out),
                Ballot::No { .. } => {}
            },
            Some(Phase::Forcing(_)) if matches!(ballot, Ballot::Yes { .. }) => {}
            Some(Phase::Voting(_) | Phase::Active | Phase::OnePhase(_) | Phase::Forcing(_)) => {
                out.push(CoordinatorEffect::Note(unexpected));
            }
        }
    }

    fn vote_yes(
        &mut self,
        now: Time,
        from: &SiteName,
        gtid: Gtid,
        mut yes: Yes,
        incarnation: Incarnation,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        // A vote of another life than the site last announced: what it promised may be gone.
        if self
            .sites
            .get(from)
            .is_none_or(|site| site.incarnation != incarnation)
        {
            self.abort(gtid, AbortCause::UnknownTransaction, None, out);
            return;
        }
        let Some(Phase::Voting(voting)) = self
            .transactions
            .get_mut(&gtid)
            .map(|transaction| &mut transaction.phase)
        else {
            unreachable!("the caller has seen this transaction voting");
        };
        if let Some(Some(before)) = voting.votes.get(from) {
            // Said again, in whatever order the words arrive (Y3).
            yes.depends.narrow(&before.depends);
            yes.stamp = yes.stamp.max(before.stamp);
        }
        let depends = yes.depends.clone();
        voting.votes.insert(from.clone(), Some(yes));
        self.note_dependencies(now, gtid, from, &depends, out);
        self.decide_in_turn(gtid, out);
    }

    /// Aborts a transaction whose votes are being collected. A site that voted NO knows already.
    pub(super) fn abort(
        &mut self,
        gtid: Gtid,
        cause: AbortCause,
        knows_already: Option<&SiteName>,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let Some(Phase::Voting(voting)) = self
            .transactions
            .get(&gtid)
            .map(|transaction| transaction.phase.clone())
        else {
            unreachable!("only a transaction that is voting is aborted here");
        };
        self.count_abort(cause);
        self.forget(gtid, Ended::Aborted(cause));
        let to_tell = voting
            .votes
            .keys()
            .filter(|site| Some(*site) != knows_already);
        self.send_abort(gtid, cause, to_tell, out);
        for caller in voting.callers {
            out.push(answer(caller, gtid, CommitAnswer::Aborted { cause }));
        }
        self.pass_turn(gtid);
    }

    /// Aborts a transaction whose client has not asked for commit: tells the sites that are known to
    /// have met it, and keeps the verdict for the client.
    pub(super) fn doom(
        &mut self,
        now: Time,
        gtid: Gtid,
        cause: AbortCause,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let transaction = self
            .transactions
            .get_mut(&gtid)
            .expect("only a known transaction is doomed");
        assert!(
            matches!(transaction.phase, Phase::Active),
            "doom is for the active"
        );
        transaction.phase = Phase::Doomed(cause);
        self.count_abort(cause);
        let sites = self.waits.sites_of(gtid);
        self.waits.forget(gtid);
        self.send_abort(gtid, cause, &sites, out);
        self.timers.set(gtid, now + self.config.idle_timeout);
        self.pass_turn(gtid);
    }

    /// The vote timer has come due. The allowance is measured against those that wait now, so that
    /// an older transaction gains time by the arrival of younger ones.
    pub(super) fn vote_timer(&mut self, now: Time, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        let transaction = &self.transactions[&gtid];
        let Phase::Voting(voting) = &transaction.phase else {
            unreachable!("the caller has seen this transaction voting");
        };
        let deadline = voting.since + self.allowance(transaction.priority);
        if now < deadline {
            self.timers.set(gtid, deadline);
            return;
        }
        let cut_off = voting
            .votes
            .iter()
            .any(|(site, vote)| vote.is_none() && !self.is_connected(site));
        let cause = if cut_off {
            AbortCause::SiteUnreachable
        } else {
            AbortCause::Timeout
        };
        if self.is_on_a_cycle(gtid) {
            self.stats.deadlocks_by_timeout += 1;
        }
        self.abort(gtid, cause, None, out);
    }

    /// Says to a site what became of a transaction, if that is known or can be presumed (I2).
    pub(super) fn resolve(&self, from: &SiteName, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        let abort = |cause| ToParticipant::Decide {
            gtid,
            decision: Decision::Abort { cause },
        };
        let message = match self
            .transactions
            .get(&gtid)
            .map(|transaction| &transaction.phase)
        {
            Some(Phase::Committed(committed)) => committed.decide(),
            Some(&Phase::Doomed(cause)) => abort(cause),
            // Undecided, or perhaps decided: no answer can be right yet.
            Some(Phase::Active | Phase::Voting(_) | Phase::OnePhase(_) | Phase::Forcing(_)) => {
                return;
            }
            None => match self.recent.get(gtid) {
                Some(Ended::Committed(proof)) => proof.decide(),
                Some(&Ended::Aborted(cause)) => abort(cause),
                Some(Ended::OnePhase(_) | Ended::Unknown) | None if self.knows(gtid) => {
                    abort(AbortCause::UnknownTransaction)
                }
                Some(Ended::OnePhase(_) | Ended::Unknown) | None => {
                    let note = Note::ForeignGtid {
                        from: from.clone(),
                        gtid,
                    };
                    out.push(CoordinatorEffect::Note(note));
                    return;
                }
            },
        };
        self.send(from, message, out);
    }
}
