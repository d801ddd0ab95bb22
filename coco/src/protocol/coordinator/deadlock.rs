//! Deadlocks over several sites: a cycle of reported waits.
//!
//! Invariants: (D1) the search walks only over transactions of this coordinator that are undecided,
//! so a report that has become stale by a decision is not seen. (D2) Among undecided transactions
//! waits only grow, except that a site withdraws its own: a cycle that is found existed, and unless
//! somebody on it was decided meanwhile, still does. (D3) Everybody on a true cycle lacks a vote, so
//! anybody on it may be aborted; the youngest is, and its retry keeps its age and wins one day.

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Gtid, Priority};

use super::view::WaitView;
use super::{Coordinator, Ended, Phase};
use crate::protocol::{AbortCause, CoordinatorEffect, Note, SiteName, Time};

/// The waits that sites have reported: waiter, site, blockers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Waits {
    reports: BTreeMap<Gtid, BTreeMap<SiteName, Vec<Gtid>>>,
}

impl Waits {
    /// A site's new report on a waiter, in place of its last. True if a wait is new.
    fn replace(&mut self, waiter: Gtid, site: &SiteName, blockers: Vec<Gtid>) -> bool {
        if blockers.is_empty() {
            if let Some(sites) = self.reports.get_mut(&waiter) {
                sites.remove(site);
                if sites.is_empty() {
                    self.reports.remove(&waiter);
                }
            }
            return false;
        }
        let sites = self.reports.entry(waiter).or_default();
        let before = sites
            .insert(site.clone(), blockers.clone())
            .unwrap_or_default();
        blockers.iter().any(|blocker| !before.contains(blocker))
    }

    /// The transaction waits no more.
    pub(super) fn forget(&mut self, waiter: Gtid) {
        self.reports.remove(&waiter);
    }

    /// The site's reports are void: it will report anew.
    pub(super) fn forget_site(&mut self, site: &SiteName) {
        self.reports.retain(|_, sites| {
            sites.remove(site);
            !sites.is_empty()
        });
    }

    /// The sites that have reported the transaction, as waiting or as waited for.
    pub(super) fn sites_of(&self, gtid: Gtid) -> BTreeSet<SiteName> {
        self.iter()
            .filter(|wait| wait.waiter == gtid || wait.blockers.contains(&gtid))
            .map(|wait| wait.site.clone())
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = WaitView<'_>> {
        self.reports.iter().flat_map(|(&waiter, sites)| {
            sites.iter().map(move |(site, blockers)| WaitView {
                waiter,
                site,
                blockers,
            })
        })
    }

    fn blockers(&self, waiter: Gtid) -> impl Iterator<Item = Gtid> {
        self.reports
            .get(&waiter)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .copied()
    }

    /// A cycle of waits through `start`, over transactions that `counts` lets pass; `start` first.
    fn cycle(&self, start: Gtid, counts: impl Fn(Gtid) -> bool) -> Option<Vec<Gtid>> {
        if !counts(start) {
            return None;
        }
        let mut seen = BTreeSet::from([start]);
        let mut path = vec![start];
        let mut untried: Vec<Vec<Gtid>> = vec![self.blockers(start).collect()];
        while let Some(candidates) = untried.last_mut() {
            match candidates.pop() {
                Some(next) if next == start => return Some(path),
                Some(next) if counts(next) && seen.insert(next) => {
                    path.push(next);
                    untried.push(self.blockers(next).collect());
                }
                Some(_) => {}
                None => {
                    untried.pop();
                    path.pop();
                }
            }
        }
        None
    }
}

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
            let named = std::iter::once(gtid).chain(by.iter().map(|&(blocker, _)| blocker));
            for named in named {
                self.end_orphan(from, named, out);
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
        let own = by
            .iter()
            .map(|&(blocker, _)| blocker)
            .filter(|&blocker| blocker != gtid);
        let own: BTreeSet<Gtid> = own
            .filter(|&it| self.transactions.contains_key(&it))
            .collect();
        let grew = self.waits.replace(gtid, from, own.into_iter().collect());
        if grew && self.config.detect_deadlocks {
            while let Some(cycle) = self.find_cycle(gtid) {
                self.break_cycle(now, &cycle, out);
            }
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

    /// Whether the transaction can still be aborted by this coordinator's word (D1).
    fn is_undecided(&self, gtid: Gtid) -> bool {
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

    /// A cycle of reported waits through the transaction.
    pub(super) fn find_cycle(&self, gtid: Gtid) -> Option<Vec<Gtid>> {
        self.waits.cycle(gtid, |it| self.is_undecided(it))
    }

    /// Aborts the youngest on the cycle (D3).
    fn break_cycle(&mut self, now: Time, cycle: &[Gtid], out: &mut Vec<CoordinatorEffect>) {
        let victim = cycle
            .iter()
            .copied()
            .max_by_key(|gtid| (self.transactions[gtid].priority, *gtid))
            .expect("a cycle has at least one transaction");
        self.stats.deadlocks_by_search += 1;
        let cause = AbortCause::VotingDeadlock;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(edges: &[(u64, &str, &[u64])]) -> Waits {
        let mut waits = Waits::default();
        for &(waiter, site, blockers) in edges {
            let blockers = blockers.iter().map(|&it| Gtid(it)).collect();
            waits.replace(Gtid(waiter), &SiteName::new(site), blockers);
        }
        waits
    }

    fn cycle(waits: &Waits, start: u64, decided: &[u64]) -> Option<Vec<u64>> {
        let found = waits.cycle(Gtid(start), |it| !decided.contains(&it.0))?;
        Some(found.into_iter().map(|it| it.0).collect())
    }

    #[test]
    fn a_cycle_over_sites_is_found_from_everybody_on_it() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[3]), (3, "C", &[1, 4])]);
        assert_eq!(cycle(&waits, 1, &[]), Some(vec![1, 2, 3]));
        assert_eq!(cycle(&waits, 3, &[]), Some(vec![3, 1, 2]));
        assert_eq!(cycle(&waits, 4, &[]), None);
    }

    #[test]
    fn a_decided_transaction_breaks_the_cycle() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[1])]);
        assert_eq!(cycle(&waits, 1, &[2]), None);
        assert_eq!(cycle(&waits, 1, &[1]), None);
    }

    #[test]
    fn a_cycle_beside_the_path_is_not_taken_for_one_through_the_start() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[3]), (3, "C", &[2])]);
        assert_eq!(cycle(&waits, 1, &[]), None);
        assert_eq!(cycle(&waits, 2, &[]), Some(vec![2, 3]));
    }

    #[test]
    fn a_report_replaces_only_its_own_sites_last_one() {
        let mut waits = waits(&[(1, "A", &[2]), (1, "B", &[3])]);
        assert!(!waits.replace(Gtid(1), &SiteName::new("A"), vec![Gtid(2)]));
        assert!(waits.replace(Gtid(1), &SiteName::new("A"), vec![Gtid(2), Gtid(4)]));
        assert!(!waits.replace(Gtid(1), &SiteName::new("A"), vec![]));
        assert_eq!(waits.blockers(Gtid(1)).collect::<Vec<_>>(), [Gtid(3)]);
        waits.forget_site(&SiteName::new("B"));
        assert_eq!(waits, Waits::default());
    }

    #[test]
    fn sites_of_names_both_ends_of_a_wait() {
        let waits = waits(&[(1, "A", &[2]), (3, "B", &[1]), (3, "C", &[2])]);
        let names: Vec<_> = waits.sites_of(Gtid(1)).into_iter().collect();
        assert_eq!(names, [SiteName::new("A"), SiteName::new("B")]);
    }
}
