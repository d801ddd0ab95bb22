//! Reporting waits: the shell shows who waits for whom every few milliseconds, the coordinator hears
//! of changes only, and only of waits that last.
//!
//! Each coordinator hears of its own transactions' waits, whoever those wait for.
//!
//! Invariant (B1): what its coordinator was last told of a waiter is in `reported`; after a lost link
//! that is nothing.

use std::collections::BTreeMap;

use co_core::{Gtid, Priority};

use super::{Phase, Voter};
use crate::protocol::{CoordinatorId, GtidParts, Time, ToCoordinator, VoterEffect};

/// A transaction that waits here, for a vote to be released or an operation to go on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Wait {
    /// Who waits.
    pub gtid: Gtid,
    /// Its age.
    pub priority: Priority,
    /// The undecided global transactions that it waits for, with their ages.
    pub by: Vec<(Gtid, Priority)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Reports {
    waiting: BTreeMap<Gtid, Waiting>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Waiting {
    since: Time,
    priority: Priority,
    reported: Vec<(Gtid, Priority)>,
}

impl Reports {
    /// The transaction has ended: the coordinator drops its waits by itself.
    pub(super) fn forget(&mut self, gtid: Gtid) {
        self.waiting.remove(&gtid);
    }

    /// The coordinator may have lost all reports (B1).
    pub(super) fn forget_reported(&mut self, coordinator: CoordinatorId) {
        for (&gtid, waiting) in &mut self.waiting {
            if GtidParts::coordinator_of(gtid) == coordinator {
                waiting.reported.clear();
            }
        }
    }
}

impl Voter {
    /// Who waits here for whom, all of them, as of now. What has changed since it was last reported
    /// is sent, once the wait has lasted for the configured time. A fully autonomous site
    /// ([`report_after`](crate::protocol::VoterConfig::report_after) is `None`) says nothing.
    pub fn handle_blocked(&mut self, now: Time, waits: &[Wait], out: &mut Vec<VoterEffect>) {
        let Some(report_after) = self.config.report_after else {
            return;
        };
        let mut before = std::mem::take(&mut self.reports.waiting);
        for wait in waits {
            // What has ended since the snapshot was taken waits for nobody and blocks nobody.
            let ended = |gtid: Gtid| self.recent.get(gtid).is_some();
            let mut by = wait.by.clone();
            by.retain(|&(blocker, _)| !ended(blocker));
            by.sort_unstable();
            by.dedup();
            // Who has voted waits for the coordinator, which knows on whom the vote depends.
            let voted = matches!(
                self.transactions.get(&wait.gtid),
                Some(Phase::Preparing(_) | Phase::Voted { .. } | Phase::ByHand(_))
            );
            if by.is_empty() || voted || ended(wait.gtid) {
                continue;
            }
            let fresh = || Waiting {
                since: now,
                priority: wait.priority,
                reported: Vec::new(),
            };
            let mut waiting = before.remove(&wait.gtid).unwrap_or_else(fresh);
            let lasted = now.since(waiting.since) >= report_after;
            if lasted && waiting.reported != by && self.is_linked(wait.gtid) {
                waiting.reported.clone_from(&by);
                self.report(wait.gtid, wait.priority, by, out);
            }
            self.reports.waiting.insert(wait.gtid, waiting);
        }
        for (gtid, waiting) in before {
            if !waiting.reported.is_empty() {
                self.report(gtid, waiting.priority, Vec::new(), out);
            }
        }
    }

    /// The transaction waits here no more; says so if the coordinator was told that it does.
    pub(super) fn withdraw_report(&mut self, gtid: Gtid, out: &mut Vec<VoterEffect>) {
        if let Some(waiting) = self.reports.waiting.remove(&gtid)
            && !waiting.reported.is_empty()
        {
            self.report(gtid, waiting.priority, Vec::new(), out);
        }
    }

    fn report(
        &mut self,
        gtid: Gtid,
        priority: Priority,
        by: Vec<(Gtid, Priority)>,
        out: &mut Vec<VoterEffect>,
    ) {
        self.stats.reports += 1;
        let message = ToCoordinator::Blocked { gtid, priority, by };
        self.send(gtid, message, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Incarnation, VoterConfig};

    fn linked() -> Voter {
        let mut voter = Voter::recover(VoterConfig::default(), Incarnation(1), Time(0), [], []);
        voter.handle_link_up(Time(0), CoordinatorId(0), &mut Vec::new());
        voter
    }

    /// What the voter sends when it is shown these waits.
    fn show(voter: &mut Voter, ms: u64, waits: &[(u64, &[u64])]) -> Vec<(u64, Vec<u64>)> {
        let of = |id: u64| (Gtid(id), Priority(id));
        let waits: Vec<Wait> = waits
            .iter()
            .map(|&(waiter, by)| Wait {
                gtid: Gtid(waiter),
                priority: Priority(waiter),
                by: by.iter().map(|&it| of(it)).collect(),
            })
            .collect();
        let mut out = Vec::new();
        voter.handle_blocked(Time(ms * 1000), &waits, &mut out);
        out.into_iter()
            .map(|effect| {
                let VoterEffect::Send {
                    message: ToCoordinator::Blocked { gtid, by, .. },
                    ..
                } = effect
                else {
                    panic!("{effect:?}")
                };
                (gtid.0, by.into_iter().map(|(it, _)| it.0).collect())
            })
            .collect()
    }

    #[test]
    fn a_short_wait_is_never_reported() {
        let mut voter = linked();
        assert_eq!(show(&mut voter, 0, &[(1, &[2])]), []);
        assert_eq!(show(&mut voter, 4, &[(1, &[2])]), []);
        assert_eq!(show(&mut voter, 8, &[]), []);
    }

    #[test]
    fn a_lasting_wait_is_reported_once_then_its_changes_then_its_end() {
        let mut voter = linked();
        assert_eq!(show(&mut voter, 0, &[(1, &[3, 2, 3])]), []);
        assert_eq!(show(&mut voter, 5, &[(1, &[3, 2, 3])]), [(1, vec![2, 3])]);
        assert_eq!(show(&mut voter, 6, &[(1, &[2, 3])]), []);
        assert_eq!(show(&mut voter, 7, &[(1, &[2])]), [(1, vec![2])]);
        assert_eq!(show(&mut voter, 8, &[]), [(1, vec![])]);
        assert_eq!(show(&mut voter, 9, &[]), []);
    }

    #[test]
    fn after_a_lost_link_all_lasting_waits_are_reported_again() {
        let mut voter = linked();
        show(&mut voter, 0, &[(1, &[2])]);
        assert_eq!(show(&mut voter, 5, &[(1, &[2])]).len(), 1);
        voter.handle_link_down(Time(6000), CoordinatorId(0));
        assert_eq!(show(&mut voter, 7, &[(1, &[2, 3])]), []);
        voter.handle_link_up(Time(8000), CoordinatorId(0), &mut Vec::new());
        assert_eq!(show(&mut voter, 8, &[(1, &[2, 3])]), [(1, vec![2, 3])]);
    }
}
