//! What a site's log says, and decisions by hand.

use std::collections::BTreeMap;

use co_core::{Gtid, Stamp};
use coco::protocol::{AbortCause, Ballot, Decision, Durability, Heuristic, InDoubt, ToCoordinator};

use super::{Site, SiteRecord, Work, World};

impl World {
    /// Decides a transaction at one site alone. Says whether that was possible.
    pub(crate) fn decide_by_hand(&mut self, site: usize, gtid: Gtid, commit: bool) -> bool {
        let at = &mut self.sites[site];
        at.clock += 1;
        let decision = if commit {
            let stamp = Stamp(at.clock);
            Decision::Commit { stamp }
        } else {
            let cause = AbortCause::Client;
            Decision::Abort { cause }
        };
        let mut done = false;
        self.on_site(site, |it, now, out| {
            done = it.handle_heuristic(now, gtid, decision, out).is_ok();
        });
        done
    }

    /// What a site still shows of a decision by hand.
    pub(crate) fn shown(&self, site: usize, gtid: Gtid) -> Option<&Heuristic> {
        let voter = self.sites[site].voter.as_ref()?;
        voter.heuristics().find(|it| it.gtid == gtid)
    }

    /// A site that comes back finds in its log what was decided by hand, if it did not know before its end.
    pub(super) fn replayed_by_hand(&mut self, site: usize, gtid: Gtid, decision: Decision) {
        let at = &mut self.sites[site];
        let work = if decision.is_commit() {
            Work::Committed
        } else {
            Work::Aborted
        };
        at.work.insert(gtid, work);
        let before = at.by_hand.insert(gtid, decision);
        let same = before.is_none_or(|it| it.is_commit() == decision.is_commit());
        self.check(same, "A7: another decision after a restart", gtid);
    }

    /// A3 and A5.
    pub(super) fn check_said(&mut self, site: usize, message: &ToCoordinator) {
        let at = &self.sites[site];
        if at.config.durability == Durability::Volatile {
            return;
        }
        let durable = |wanted: &dyn Fn(&SiteRecord) -> bool| at.log.durable.iter().any(wanted);
        match *message {
            ToCoordinator::Vote {
                gtid,
                ballot: Ballot::Yes { .. },
            } => {
                let prepared = durable(
                    &|it| matches!(it, SiteRecord::Prepared(in_doubt) if in_doubt.gtid == gtid),
                );
                self.check(prepared, "A3: YES sent, not durable", gtid);
            }
            // What is acknowledged without a trace in the log was committed in an earlier life or
            // before a cut of the log; here logs are not cut.
            ToCoordinator::Ack { gtid } => {
                let decided = durable(&|it| match it {
                    SiteRecord::Decided { gtid: of, decision } => {
                        *of == gtid && decision.is_commit()
                    }
                    SiteRecord::Heard(heuristic) => {
                        let heard = heuristic.heard;
                        heuristic.gtid == gtid && heard.is_some_and(|it| it.is_commit())
                    }
                    SiteRecord::Prepared(_)
                    | SiteRecord::Alone { .. }
                    | SiteRecord::ByHand { .. } => false,
                });
                self.check(decided, "A5: acknowledged, not durable", gtid);
            }
            _ => {}
        }
    }
}

impl Site {
    /// What the log has prepared and not decided.
    pub(super) fn in_doubt(&self) -> Vec<InDoubt> {
        let mut in_doubt: BTreeMap<Gtid, InDoubt> = BTreeMap::new();
        for record in &self.log.durable {
            match record {
                SiteRecord::Prepared(it) => {
                    in_doubt.insert(it.gtid, it.clone());
                }
                &SiteRecord::Decided { gtid, decision } => {
                    in_doubt.remove(&gtid);
                    let outcome = match decision {
                        Decision::Commit { stamp } => Some(stamp),
                        Decision::Abort { .. } => None,
                    };
                    for other in in_doubt.values_mut() {
                        other.settle(gtid, outcome);
                    }
                }
                SiteRecord::ByHand { gtid, .. } => {
                    in_doubt.remove(gtid);
                }
                SiteRecord::Alone { .. } | SiteRecord::Heard(_) => {}
            }
        }
        in_doubt.into_values().collect()
    }

    /// What the log says was decided by hand and is not settled.
    pub(super) fn heuristics(&self) -> BTreeMap<Gtid, Heuristic> {
        let mut heuristics = BTreeMap::new();
        for record in &self.log.durable {
            match record {
                &SiteRecord::ByHand { gtid, decision } => {
                    heuristics.insert(gtid, Heuristic::new(gtid, decision, false));
                }
                SiteRecord::Heard(heuristic) => {
                    heuristics.insert(heuristic.gtid, heuristic.clone());
                }
                SiteRecord::Prepared(_) | SiteRecord::Alone { .. } | SiteRecord::Decided { .. } => {
                }
            }
        }
        heuristics.retain(|_, it| !it.is_settled());
        heuristics
    }

    /// What an operator has decided here, if that is durable.
    pub(super) fn decided_by_hand(&self, wanted: Gtid) -> Option<Decision> {
        self.log.durable.iter().find_map(|record| match *record {
            SiteRecord::ByHand { gtid, decision } if gtid == wanted => Some(decision),
            _ => None,
        })
    }

    pub(super) fn has_committed(&self, wanted: Gtid) -> bool {
        self.log.durable.iter().any(|record| match record {
            SiteRecord::Alone { gtid, .. }
            | SiteRecord::Decided {
                gtid,
                decision: Decision::Commit { .. },
            }
            | SiteRecord::ByHand {
                gtid,
                decision: Decision::Commit { .. },
            } => *gtid == wanted,
            SiteRecord::Prepared(_)
            | SiteRecord::Decided { .. }
            | SiteRecord::ByHand { .. }
            | SiteRecord::Heard(_) => false,
        })
    }
}
