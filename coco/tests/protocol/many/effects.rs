//! What machines want done, and what their logs say afterwards.

use std::collections::BTreeMap;
use std::rc::Rc;

use co_core::{Gtid, Stamp};
use coco::log::Record;
use coco::protocol::{
    CoordinatorEffect, Decision, InDoubt, SiteName, ToCoordinator, Token, VoterEffect,
};

use super::{Lie, NAMES, Site, State};
use crate::world::SiteRecord;

impl State {
    pub(super) fn do_desk_effect(&mut self, desk: usize, effect: CoordinatorEffect) {
        self.say(desk, |text| text.coordinator_effect(&effect));
        match effect {
            CoordinatorEffect::Append { record, token } => self.append(desk, record, token),
            CoordinatorEffect::AppendLazy { record } => self.desk(desk).log.append(record, None),
            CoordinatorEffect::Send { to, message } => {
                let site = NAMES.iter().position(|it| *it == to.as_str());
                let site = site.expect("a known site");
                self.check_sent(desk, &message);
                if self.link(desk, site).up {
                    self.link_mut(desk, site).to_site.push_back(message);
                }
            }
            CoordinatorEffect::Answer {
                caller,
                gtid,
                answer,
            } => self.answered(desk, caller, gtid, answer),
            CoordinatorEffect::SendPeer { to, message } => {
                if self.peers.up {
                    let to = usize::from(to.0);
                    Rc::make_mut(&mut self.peers).to[to].push_back(message);
                }
            }
            CoordinatorEffect::Note(_) => {}
        }
    }

    pub(super) fn append(&mut self, desk: usize, record: Record, token: Token) {
        let swaps = self.plan.lie == Lie::DependentFirst;
        let log = &mut self.desk(desk).log;
        log.append(record, Some(token));
        let last = log.pending.len() - 1;
        if swaps && last > 0 {
            log.pending.swap(last - 1, last);
        }
    }

    pub(super) fn do_site_effect(&mut self, site: usize, effect: VoterEffect) {
        let name = SiteName::new(NAMES[site]);
        let about = match &effect {
            VoterEffect::Send { to, .. } => usize::from(to.0),
            _ => 0,
        };
        self.say(about, |text| text.voter_effect(&name, &effect));
        let (record, token) = match effect {
            VoterEffect::RequestVote { gtid, dependent } => {
                self.asked_for_vote(site, gtid, dependent);
                return;
            }
            VoterEffect::Apply { gtid, decision } => {
                self.apply(site, gtid, decision);
                return;
            }
            VoterEffect::Send { to, message } => {
                self.say_to_desk(usize::from(to.0), site, message);
                return;
            }
            VoterEffect::AppendPrepared {
                gtid,
                stamp,
                read_only,
                depends,
                token,
            } => {
                let in_doubt = InDoubt {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    broken: false,
                };
                (SiteRecord::Prepared(in_doubt), Some(token))
            }
            VoterEffect::AppendOnePhase { gtid, stamp, token } => {
                (SiteRecord::Alone { gtid, stamp }, Some(token))
            }
            VoterEffect::AppendDecision {
                gtid,
                decision,
                token,
            } => (SiteRecord::Decided { gtid, decision }, Some(token)),
            VoterEffect::AppendDecisionLazy { gtid, decision } => {
                (SiteRecord::Decided { gtid, decision }, None)
            }
            VoterEffect::AppendHeuristic { .. } | VoterEffect::AppendHeuristicState { .. } => {
                unreachable!("nobody decides by hand here")
            }
        };
        self.site(site).log.append(record, token);
    }

    pub(super) fn say_to_desk(&mut self, desk: usize, site: usize, message: ToCoordinator) {
        self.check_said(site, &message);
        if !self.link(desk, site).up {
            return;
        }
        let early = self.upgraded_early(&message);
        let queue = &mut self.link_mut(desk, site).to_desk;
        queue.push_back(message);
        queue.extend(early);
    }
}

impl Site {
    /// What the log has prepared and not decided, and what was decided here alone.
    pub(super) fn recovered(&self) -> (Vec<InDoubt>, Vec<(Gtid, Stamp)>) {
        let mut in_doubt: BTreeMap<Gtid, InDoubt> = BTreeMap::new();
        let mut alone = Vec::new();
        for record in &self.log.durable {
            let (gtid, outcome) = match record {
                SiteRecord::Prepared(it) => {
                    let mut it = it.clone();
                    for &(gtid, stamp) in &alone {
                        it.settle(gtid, Some(stamp));
                    }
                    in_doubt.insert(it.gtid, it);
                    continue;
                }
                &SiteRecord::Decided { gtid, decision } => match decision {
                    Decision::Commit { stamp } => (gtid, Some(stamp)),
                    Decision::Abort { .. } => (gtid, None),
                },
                &SiteRecord::Alone { gtid, stamp } => {
                    alone.push((gtid, stamp));
                    (gtid, Some(stamp))
                }
                SiteRecord::ByHand { .. } | SiteRecord::Heard(_) => {
                    unreachable!("nobody decides by hand here")
                }
            };
            in_doubt.remove(&gtid);
            for other in in_doubt.values_mut() {
                other.settle(gtid, outcome);
            }
        }
        (in_doubt.into_values().collect(), alone)
    }

    /// What the log says became of a transaction; `None`: nothing.
    pub(super) fn decided(&self, wanted: Gtid) -> Option<Decision> {
        let mut records = self.log.durable.iter().rev();
        records.find_map(|record| match *record {
            SiteRecord::Decided { gtid, decision } if gtid == wanted => Some(decision),
            SiteRecord::Alone { gtid, stamp } if gtid == wanted => Some(Decision::Commit { stamp }),
            SiteRecord::Prepared(_)
            | SiteRecord::Alone { .. }
            | SiteRecord::Decided { .. }
            | SiteRecord::ByHand { .. }
            | SiteRecord::Heard(_) => None,
        })
    }
}
