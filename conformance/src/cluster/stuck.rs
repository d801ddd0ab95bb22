//! States in which nobody can go on. At one site there must be none: co-core breaks every cycle of
//! conflicts and waits there. Over two sites a cycle may close that no site sees; the coordinator breaks
//! it, and the waits that the sites report must show it (I4).

use std::collections::{BTreeMap, BTreeSet};

use co_core::{Kind, Txn};

use super::Cluster;
use crate::engine::Engine;

const WAIT_ADVICE: &str = "report every wait by Scheduler::wait and then call Scheduler::blocked once; release waiters and withheld votes on every decision, commit or abort (contract 3, 6)";

impl<E: Engine> Cluster<'_, E> {
    /// Nothing moves and somebody waits: aborts the youngest of a cycle, or finds fault and aborts the
    /// youngest of all that wait.
    pub(crate) fn break_stuck(&mut self) {
        let waiting: Vec<u64> = self.actors.keys().copied().collect();
        let waiting: Vec<u64> = waiting
            .into_iter()
            .filter(|number| self.waits(*number))
            .collect();
        let Some(youngest) = waiting.last().copied() else {
            return;
        };
        let victim = self.cycle_member();
        if victim.is_none() || self.sites.len() == 1 {
            let names: Vec<String> = waiting.iter().map(|number| format!("T{number}")).collect();
            self.log.find(
                format!(
                    "I4: {} cannot go on, and no cycle between sites explains it",
                    names.join(", ")
                ),
                WAIT_ADVICE,
            );
        }
        let victim = victim.unwrap_or(youngest);
        self.log.step(format!(
            "nobody can go on; the coordinator gives up T{victim}"
        ));
        self.abort(victim);
    }

    /// The youngest transaction on a cycle of the waits that the sites report.
    fn cycle_member(&self) -> Option<u64> {
        let mut waits = BTreeMap::new();
        for (number, actor) in &self.actors {
            if !self.waits(*number) || !matches!(actor.kind, Kind::Global { .. }) {
                continue;
            }
            let branches = actor.branches.iter();
            let branches = branches.map(|(site, branch)| (*site, branch.txn.clone()));
            waits.insert(*number, self.blockers(branches));
        }
        let numbers: Vec<u64> = waits.keys().copied().collect();
        numbers
            .into_iter()
            .rev()
            .find(|start| on_cycle(*start, &waits))
    }

    fn blockers(&self, branches: impl Iterator<Item = (usize, Txn)>) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        for (site, txn) in branches {
            let scheduler = self.sites[site].engine.scheduler();
            found.extend(scheduler.blocked_by(&txn).iter().map(|(gtid, _)| gtid.0));
        }
        found
    }
}

/// Whether a transaction waits for itself.
pub(crate) fn on_cycle(start: u64, waits: &BTreeMap<u64, BTreeSet<u64>>) -> bool {
    let mut seen = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(number) = queue.pop() {
        for next in waits.get(&number).into_iter().flatten() {
            if *next == start {
                return true;
            }
            if seen.insert(*next) {
                queue.push(*next);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_a_cycle_are_on_it() {
        let edges = [(1, 2), (2, 1), (3, 1)];
        let waits: BTreeMap<u64, BTreeSet<u64>> = edges
            .into_iter()
            .map(|(from, to)| (from, BTreeSet::from([to])))
            .collect();
        assert!(on_cycle(1, &waits) && on_cycle(2, &waits));
        assert!(!on_cycle(3, &waits) && !on_cycle(4, &waits));
    }
}
