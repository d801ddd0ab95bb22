//! Deadlocks over several sites, and over several coordinators.
//!
//! A site that orders T1 before T2 withholds T2's vote; if another site orders them the other way
//! round it withholds T1's, and neither will ever have all its votes. No site sees that, but their
//! reports do. What is done about it is a matter of policy:
//!
//! - *Search* looks for cycles and aborts the youngest on each: no needless aborts.
//! - *Wound-wait* and *wait-die* look at one wait at a time: a wait of an older for a younger
//!   transaction wounds the younger, or a wait of a younger for an older kills the waiter. Waits that
//!   are left all point one way in age, so there is no cycle; they abort many that were on none.
//! - *Timeouts* alone resolve everything, late.
//!
//! Invariants: (D1) only transactions that can still be aborted are on a cycle; (D2) detection is
//! monotone: among undecided transactions waits only grow (the site may withdraw its own), so
//! whoever reports the last wait of a cycle finds it. A cycle that is found existed, and unless
//! somebody on it was decided meanwhile, still does. (D3) Everybody on a true cycle lacks a vote, so
//! anybody on it may be aborted. The youngest is, by its own coordinator and by no other: each
//! coordinator on a cycle hears of all its waits, and they agree on ages. A retry keeps its age and
//! wins one day.

use std::collections::BTreeSet;

use co_core::{Gtid, Priority};

use super::waits::Age;
use super::{Coordinator, Ended, Phase};
use crate::protocol::{
    AbortCause, CoordinatorEffect, DeadlockPolicy, GtidParts, Note, PeerMessage, SiteName, Time,
};

impl Coordinator {
    pub(super) fn handle_blocked(
        &mut self,
        now: Time,
        from: &SiteName,
        gtid: Gtid,
        by: &[(Gtid, Priority)],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        self.stats.reports += 1;
        if !by.is_empty() {
            self.end_orphan(from, gtid, out);
            for &(blocker, _) in by.iter().filter(|(blocker, _)| self.is_own(*blocker)) {
                self.end_orphan(from, blocker, out);
            }
        }
        if !self.is_undecided(gtid) {
            return;
        }
        if self
            .transactions
            .get(&gtid)
            .is_some_and(|it| matches!(it.phase, Phase::Active))
        {
            // Its client waits with it: a sign of life.
            self.timers.set(gtid, now + self.config.idle_timeout);
        }
        let matters = |it: &Gtid| !self.is_own(*it) || self.transactions.contains_key(it);
        let blockers: BTreeSet<Gtid> = by
            .iter()
            .map(|&(blocker, _)| blocker)
            .filter(|blocker| *blocker != gtid && matters(blocker))
            .collect();
        let new = self
            .waits
            .replace(gtid, from, blockers.into_iter().collect());
        let priority = |it: Gtid| by.iter().find(|(blocker, _)| *blocker == it).map(|by| by.1);
        let new: Vec<_> = new.into_iter().map(|it| (it, priority(it))).collect();
        self.follow_policy(now, gtid, from, &new, out);
    }

    /// The transaction waits for these at a site, and did not before. Where ages matter, those whose age is
    /// not known are left to the timeouts.
    pub(super) fn follow_policy(
        &mut self,
        now: Time,
        waiter: Gtid,
        at: &SiteName,
        new: &[(Gtid, Option<Priority>)],
        out: &mut Vec<CoordinatorEffect>,
    ) {
        match self.config.deadlocks {
            DeadlockPolicy::Search if !new.is_empty() => self.break_cycles(now, waiter, out),
            DeadlockPolicy::WoundWait | DeadlockPolicy::WaitDie => {
                for &(blocker, priority) in new {
                    if let Some(priority) = priority {
                        self.outrank(now, waiter, at, (priority, blocker), out);
                    }
                }
            }
            DeadlockPolicy::Search | DeadlockPolicy::Timeouts => {}
        }
    }

    /// A site speaks of a transaction that has ended here by abort and still lives there: its client
    /// never came back, or the decision was lost. It is told again.
    fn end_orphan(&self, at: &SiteName, gtid: Gtid, out: &mut Vec<CoordinatorEffect>) {
        let aborted = match self.transactions.get(&gtid).map(|it| &it.phase) {
            Some(Phase::Doomed(_)) => true,
            Some(
                Phase::Active
                | Phase::Voting(_)
                | Phase::OnePhase(_)
                | Phase::Forcing(_)
                | Phase::Committed(_),
            ) => false,
            None if self.knows(gtid) => !matches!(
                self.recent.get(gtid),
                Some(Ended::Committed(_) | Ended::OnePhase(_))
            ),
            None => {
                let note = Note::ForeignGtid {
                    from: at.clone(),
                    gtid,
                };
                out.push(CoordinatorEffect::Note(note));
                false
            }
        };
        if aborted {
            self.resolve(at, gtid, out);
        }
    }

    pub(super) fn is_own(&self, gtid: Gtid) -> bool {
        GtidParts::coordinator_of(gtid) == self.id
    }

    /// Whether the transaction can still be aborted by this coordinator's word (D1).
    pub(super) fn is_undecided(&self, gtid: Gtid) -> bool {
        match self
            .transactions
            .get(&gtid)
            .map(|transaction| &transaction.phase)
        {
            Some(Phase::Active | Phase::Voting(_)) => true,
            // An abort that was asked for is on its way; nothing better can be done about it.
            Some(Phase::OnePhase(one_phase)) => one_phase.abort_requested.is_none(),
            Some(Phase::Forcing(_) | Phase::Committed(_) | Phase::Doomed(_)) | None => false,
        }
    }

    /// The age of a transaction that may be on a cycle: an own one that is undecided, a foreign one
    /// that waits and, as far as its coordinator has said, is.
    fn age(&self, gtid: Gtid) -> Option<Age> {
        if self.is_own(gtid) {
            let priority = self.transactions.get(&gtid)?.priority;
            self.is_undecided(gtid).then_some((priority, gtid))
        } else {
            let priority = self.waits.foreign_priority(gtid)?;
            Some((priority, gtid))
        }
    }

    /// Whether the transaction waits in a cycle of reported waits.
    pub(super) fn is_on_a_cycle(&self, gtid: Gtid) -> bool {
        !self
            .waits
            .cycles_through(gtid, |it| self.age(it))
            .is_empty()
    }

    /// The transaction waits for somebody new: every own transaction that is the youngest on a cycle
    /// through it is aborted (D3).
    pub(super) fn break_cycles(
        &mut self,
        now: Time,
        waiter: Gtid,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        let on_cycles = self.waits.cycles_through(waiter, |it| self.age(it));
        let own = on_cycles.into_iter().filter(|&it| self.is_own(it));
        let mut candidates: Vec<Age> = own.filter_map(|it| self.age(it)).collect();
        candidates.sort_unstable();
        while let Some((_, victim)) = candidates.pop() {
            if self.waits.is_youngest_on_a_cycle(victim, |it| self.age(it)) {
                self.stats.deadlocks_by_search += 1;
                self.abort_victim(now, victim, AbortCause::VotingDeadlock, out);
            }
        }
    }

    /// Wound-wait and wait-die: of a waiter and the one it waits for at a site, one has to go if the
    /// wait points the wrong way.
    fn outrank(
        &mut self,
        now: Time,
        waiter: Gtid,
        at: &SiteName,
        blocker: Age,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        // A victim may have been among those that were dealt with before.
        let Some(waiter) = self.age(waiter) else {
            return;
        };
        let cause = AbortCause::Outranked;
        if self.config.deadlocks == DeadlockPolicy::WaitDie {
            if waiter > blocker {
                self.stats.outranked += 1;
                self.abort_victim(now, waiter.1, cause, out);
            }
        } else if waiter < blocker {
            if !self.is_own(blocker.1) {
                let (gtid, at) = (blocker.1, at.clone());
                self.send_peer(gtid, PeerMessage::Wound { gtid, at }, out);
            } else if self.is_undecided(blocker.1) {
                self.stats.outranked += 1;
                self.abort_victim(now, blocker.1, cause, out);
            }
        }
    }

    /// Another coordinator's transaction is older and waits for this one at a site.
    pub(super) fn handle_wound(
        &mut self,
        now: Time,
        gtid: Gtid,
        at: &SiteName,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        if self.is_undecided(gtid) {
            self.stats.outranked += 1;
            self.abort_victim(now, gtid, AbortCause::Outranked, out);
        }
        self.end_orphan(at, gtid, out);
    }

    fn abort_victim(
        &mut self,
        now: Time,
        victim: Gtid,
        cause: AbortCause,
        out: &mut Vec<CoordinatorEffect>,
    ) {
        match self.transactions[&victim].phase {
            Phase::Active => self.doom(now, victim, cause, out),
            Phase::Voting(_) => self.abort(victim, cause, None, out),
            Phase::OnePhase(_) => self.request_one_phase_abort(now, victim, cause, out),
            Phase::Forcing(_) | Phase::Committed(_) | Phase::Doomed(_) => {
                unreachable!("D1: the decided are on no cycle")
            }
        }
    }
}
