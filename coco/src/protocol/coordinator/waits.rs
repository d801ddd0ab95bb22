//! Who waits for whom: the graph of reported waits, over sites and coordinators.
//!
//! A wait is an edge from a waiter to the transaction that has to be decided first. Sites report the
//! waits of this coordinator's transactions, other coordinators those of theirs that may matter here.
//!
//! Invariants:
//! - (G1) The waits of an own transaction come from sites, those of a foreign one from its coordinator,
//!   which alone knows when they end.
//! - (G2) A report replaces the last one of the same waiter at the same site.
//! - (G3) `away` and `waited_for` are what `reports` says.

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Gtid, Priority};

use super::view::WaitView;
use crate::protocol::{CoordinatorId, GtidParts, SiteName};

/// Where a transaction waits, and for whom.
pub(super) type Places = BTreeMap<SiteName, Vec<Gtid>>;

/// A transaction's place in the order by age: the larger, the younger.
pub(super) type Age = (Priority, Gtid);

/// The waits that have been reported.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Waits {
    id: CoordinatorId,
    /// By waiter (G1).
    reports: BTreeMap<Gtid, Places>,
    /// Ages of the foreign waiters.
    foreign: BTreeMap<Gtid, Priority>,
    /// Waiters that wait for a foreign transaction.
    away: BTreeSet<Gtid>,
    /// How many waits lead to each transaction.
    waited_for: BTreeMap<Gtid, usize>,
}

impl Waits {
    /// The waits that this coordinator knows of: none yet.
    pub(super) const fn of(id: CoordinatorId) -> Self {
        Self {
            id,
            reports: BTreeMap::new(),
            foreign: BTreeMap::new(),
            away: BTreeSet::new(),
            waited_for: BTreeMap::new(),
        }
    }

    /// A site's new report on a waiter, in place of its last (G2). Returns the blockers that are new.
    pub(super) fn replace(
        &mut self,
        waiter: Gtid,
        site: &SiteName,
        blockers: Vec<Gtid>,
    ) -> Vec<Gtid> {
        let mut places = self.take(waiter);
        let before = places.remove(site).unwrap_or_default();
        let mut new = blockers.clone();
        new.retain(|blocker| !before.contains(blocker));
        if !blockers.is_empty() {
            places.insert(site.clone(), blockers);
        }
        self.put(waiter, places);
        new
    }

    /// Another coordinator's report on all waits of one of its transactions. Returns the new blockers.
    pub(super) fn replace_foreign(
        &mut self,
        waiter: Gtid,
        priority: Priority,
        at: Places,
    ) -> Vec<Gtid> {
        let before: BTreeSet<Gtid> = self.take(waiter).into_values().flatten().collect();
        let mut new: Vec<Gtid> = at.values().flatten().copied().collect();
        new.retain(|blocker| !before.contains(blocker));
        if at.is_empty() {
            self.foreign.remove(&waiter);
        } else {
            self.foreign.insert(waiter, priority);
        }
        self.put(waiter, at);
        new
    }

    /// The transaction waits no more.
    pub(super) fn forget(&mut self, waiter: Gtid) {
        self.take(waiter);
        self.foreign.remove(&waiter);
    }

    /// Takes a waiter's waits out of all indexes (G3).
    fn take(&mut self, waiter: Gtid) -> Places {
        let places = self.reports.remove(&waiter).unwrap_or_default();
        for blocker in places.values().flatten() {
            if let Some(count) = self.waited_for.get_mut(blocker) {
                *count -= 1;
                if *count == 0 {
                    self.waited_for.remove(blocker);
                }
            }
        }
        self.away.remove(&waiter);
        places
    }

    /// Puts a waiter's waits into all indexes (G3).
    fn put(&mut self, waiter: Gtid, places: Places) {
        if places.is_empty() {
            return;
        }
        for &blocker in places.values().flatten() {
            *self.waited_for.entry(blocker).or_default() += 1;
            if !self.is_own(blocker) {
                self.away.insert(waiter);
            }
        }
        self.reports.insert(waiter, places);
    }

    /// Whether an own transaction waits for a foreign one.
    pub(super) fn lead_away(&self) -> bool {
        !self.away.is_empty()
    }

    fn is_own(&self, gtid: Gtid) -> bool {
        GtidParts::coordinator_of(gtid) == self.id
    }

    /// The site's reports are void: it will report anew.
    pub(super) fn forget_site(&mut self, site: &SiteName) {
        let waiters: Vec<Gtid> = self.reports.keys().copied().collect();
        for waiter in waiters {
            if self.is_own(waiter) {
                self.replace(waiter, site, Vec::new());
            }
        }
    }

    /// The coordinator's reports are void.
    pub(super) fn forget_coordinator(&mut self, coordinator: CoordinatorId) {
        let waiters: Vec<Gtid> = self.foreign.keys().copied().collect();
        for waiter in waiters {
            if GtidParts::coordinator_of(waiter) == coordinator {
                self.forget(waiter);
            }
        }
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

    /// The age of a foreign waiter.
    pub(super) fn foreign_priority(&self, gtid: Gtid) -> Option<Priority> {
        self.foreign.get(&gtid).copied()
    }

    fn blockers(&self, waiter: Gtid) -> impl Iterator<Item = Gtid> {
        self.reports
            .get(&waiter)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .copied()
    }

    /// The own waiters from whom a wait leads, over other own waiters, to a foreign transaction: what
    /// other coordinators have to know to see a cycle through theirs.
    pub(super) fn leading_away(&self) -> BTreeMap<Gtid, &Places> {
        let mut waiters_of: BTreeMap<Gtid, Vec<Gtid>> = BTreeMap::new();
        for (&waiter, places) in &self.reports {
            if self.is_own(waiter) {
                for &blocker in places.values().flatten() {
                    waiters_of.entry(blocker).or_default().push(waiter);
                }
            }
        }
        let mut found = BTreeMap::new();
        let own = self.away.iter().filter(|&&waiter| self.is_own(waiter));
        let mut untried: Vec<Gtid> = own.copied().collect();
        while let Some(waiter) = untried.pop() {
            if found.insert(waiter, &self.reports[&waiter]).is_none() {
                untried.extend(waiters_of.get(&waiter).into_iter().flatten());
            }
        }
        found
    }

    /// The transactions on cycles of waits through `start`, of those that have an age: the others are
    /// decided, or unknown, and on no cycle.
    pub(super) fn cycles_through(
        &self,
        start: Gtid,
        age: impl Fn(Gtid) -> Option<Age>,
    ) -> BTreeSet<Gtid> {
        // Most waits are of somebody for whom nobody waits.
        if age(start).is_none() || !self.waited_for.contains_key(&start) {
            return BTreeSet::new();
        }
        let mut reached = BTreeSet::from([start]);
        let mut waiters_of: BTreeMap<Gtid, Vec<Gtid>> = BTreeMap::new();
        let mut untried = vec![start];
        while let Some(waiter) = untried.pop() {
            for blocker in self.blockers(waiter) {
                if age(blocker).is_none() {
                    continue;
                }
                waiters_of.entry(blocker).or_default().push(waiter);
                if reached.insert(blocker) {
                    untried.push(blocker);
                }
            }
        }
        let mut closing = BTreeSet::new();
        untried.extend(waiters_of.get(&start).into_iter().flatten());
        while let Some(waiter) = untried.pop() {
            if closing.insert(waiter) && waiter != start {
                untried.extend(waiters_of.get(&waiter).into_iter().flatten());
            }
        }
        closing
    }

    /// Whether the transaction is the youngest on some cycle.
    pub(super) fn is_youngest_on_a_cycle(
        &self,
        gtid: Gtid,
        age: impl Fn(Gtid) -> Option<Age>,
    ) -> bool {
        let own = age(gtid);
        let older = |other: Gtid| age(other).filter(|&other| own.is_some_and(|own| other <= own));
        !self.cycles_through(gtid, older).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(edges: &[(u64, &str, &[u64])]) -> Waits {
        let mut waits = Waits::of(CoordinatorId(0));
        for &(waiter, site, blockers) in edges {
            let blockers = blockers.iter().map(|&it| Gtid(it)).collect();
            waits.replace(Gtid(waiter), &SiteName::new(site), blockers);
        }
        waits
    }

    fn age(decided: &[u64]) -> impl Fn(Gtid) -> Option<Age> {
        move |it| (!decided.contains(&it.0)).then_some((Priority(it.0), it))
    }

    fn through(waits: &Waits, start: u64, decided: &[u64]) -> Vec<u64> {
        let found = waits.cycles_through(Gtid(start), age(decided));
        found.into_iter().map(|it| it.0).collect()
    }

    #[test]
    fn a_cycle_over_sites_is_found_from_everybody_on_it() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[3]), (3, "C", &[1, 4])]);
        assert_eq!(through(&waits, 1, &[]), [1, 2, 3]);
        assert_eq!(through(&waits, 3, &[]), [1, 2, 3]);
        assert!(through(&waits, 4, &[]).is_empty());
    }

    #[test]
    fn a_decided_transaction_breaks_the_cycle() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[1])]);
        assert!(through(&waits, 1, &[2]).is_empty());
        assert!(through(&waits, 1, &[1]).is_empty());
    }

    #[test]
    fn a_cycle_beside_the_path_is_not_taken_for_one_through_the_start() {
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[3]), (3, "C", &[2])]);
        assert!(through(&waits, 1, &[]).is_empty());
        assert_eq!(through(&waits, 2, &[]), [2, 3]);
    }

    #[test]
    fn who_waits_for_itself_is_on_a_cycle_of_one() {
        let waits = waits(&[(1, "A", &[1])]);
        assert_eq!(through(&waits, 1, &[]), [1]);
    }

    #[test]
    fn each_cycle_has_its_own_youngest() {
        // 2 and 3 wait for each other, and so do 1 and 2: 3 and 2 are the youngest of one each.
        let waits = waits(&[(1, "A", &[2]), (2, "B", &[1, 3]), (3, "C", &[2])]);
        let youngest = |it| waits.is_youngest_on_a_cycle(Gtid(it), age(&[]));
        assert_eq!([youngest(1), youngest(2), youngest(3)], [false, true, true]);
    }

    #[test]
    fn a_report_replaces_only_its_own_sites_last_one() {
        let mut waits = waits(&[(1, "A", &[2]), (1, "B", &[3])]);
        assert!(
            waits
                .replace(Gtid(1), &SiteName::new("A"), vec![Gtid(2)])
                .is_empty()
        );
        let new = waits.replace(Gtid(1), &SiteName::new("A"), vec![Gtid(2), Gtid(4)]);
        assert_eq!(new, [Gtid(4)]);
        assert!(
            waits
                .replace(Gtid(1), &SiteName::new("A"), vec![])
                .is_empty()
        );
        assert_eq!(waits.blockers(Gtid(1)).collect::<Vec<_>>(), [Gtid(3)]);
        waits.forget_site(&SiteName::new("B"));
        assert_eq!(waits, Waits::of(CoordinatorId(0)));
    }

    #[test]
    fn sites_of_names_both_ends_of_a_wait() {
        let waits = waits(&[(1, "A", &[2]), (3, "B", &[1]), (3, "C", &[2])]);
        let names: Vec<_> = waits.sites_of(Gtid(1)).into_iter().collect();
        assert_eq!(names, [SiteName::new("A"), SiteName::new("B")]);
    }

    const OTHER: u64 = 7 << 56;

    #[test]
    fn only_waits_that_lead_to_another_coordinators_transactions_lead_away() {
        let own = waits(&[
            (1, "A", &[2]),
            (2, "B", &[OTHER]),
            (3, "A", &[4]),
            (4, "A", &[1]),
        ]);
        let leading = own.leading_away();
        let waiters: Vec<u64> = leading.keys().map(|it| it.0).collect();
        assert_eq!(waiters, [1, 2, 3, 4]);
        let own = waits(&[(1, "A", &[2]), (3, "A", &[OTHER]), (OTHER, "A", &[1])]);
        let leading = own.leading_away();
        assert_eq!(leading.keys().collect::<Vec<_>>(), [&Gtid(3)]);
    }

    #[test]
    fn a_foreign_waiter_is_its_coordinators_to_report_and_to_withdraw() {
        let mut waits = waits(&[(1, "A", &[OTHER])]);
        let at = |blockers: &[u64]| {
            let blockers = blockers.iter().map(|&it| Gtid(it)).collect();
            Places::from([(SiteName::new("A"), blockers)])
        };
        let (other, age) = (Gtid(OTHER), Priority(9));
        assert_eq!(waits.replace_foreign(other, age, at(&[1])), [Gtid(1)]);
        assert!(waits.replace_foreign(other, age, at(&[1])).is_empty());
        waits.forget_site(&SiteName::new("A"));
        assert_eq!(waits.foreign_priority(other), Some(age));
        assert_eq!(waits.blockers(other).collect::<Vec<_>>(), [Gtid(1)]);
        waits.forget_coordinator(CoordinatorId(7));
        assert_eq!(waits.foreign_priority(other), None);
        assert!(
            !waits.lead_away(),
            "A has not said again that 1 waits for it"
        );
        assert_eq!(waits, Waits::of(CoordinatorId(0)));
    }
}
