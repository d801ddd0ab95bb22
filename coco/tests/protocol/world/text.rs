//! What happens, in words: one line for each effect and arrival.

use std::collections::BTreeMap;

use co_core::{Gtid, Priority};
use coco::log::Record;
use coco::protocol::{
    Ballot, CommitAnswer, CoordinatorEffect, Decision, Dependencies, GtidParts, Heuristic, Note,
    PeerMessage, SiteName, ToCoordinator, ToParticipant, VoterEffect,
};

use super::{SiteRecord, World};

/// Renders with the transactions' names.
pub(crate) struct Text<'a> {
    pub(crate) names: &'a BTreeMap<Gtid, String>,
    /// What the coordinator is called.
    pub(crate) c: &'a str,
}

impl World {
    pub(crate) fn say(&mut self, line: impl FnOnce(&Text<'_>) -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line(&Text {
                names: &self.names,
                c: "C",
            }));
        }
    }
}

impl Text<'_> {
    fn name(&self, gtid: Gtid) -> String {
        self.names.get(&gtid).cloned().unwrap_or_else(|| {
            let parts = GtidParts::of(gtid);
            let (epoch, counter) = (parts.epoch.number(), parts.counter);
            format!("{}.{epoch}.{counter}", parts.coordinator)
        })
    }

    fn list(&self, gtids: impl IntoIterator<Item = Gtid>) -> String {
        let names: Vec<String> = gtids.into_iter().map(|gtid| self.name(gtid)).collect();
        format!("[{}]", names.join(" "))
    }

    fn depends(&self, depends: &Dependencies) -> String {
        let mut text = String::new();
        for (word, gtids) in [("after", &depends.after), ("if", &depends.if_committed)] {
            if !gtids.is_empty() {
                text += &format!(" {word} {}", self.list(gtids.iter().copied()));
            }
        }
        text
    }

    fn peer(&self, message: &PeerMessage) -> String {
        match message {
            PeerMessage::Waits { waiter, at, .. } => {
                let waits = at
                    .iter()
                    .map(|(site, by)| format!(" at {site} for {}", self.list(by.iter().copied())));
                let waits: String = waits.collect();
                let waits = if waits.is_empty() { " nowhere" } else { &waits };
                format!("{} waits{waits}", self.name(*waiter))
            }
            PeerMessage::Wound { gtid, at } => format!("wound {} at {at}", self.name(*gtid)),
        }
    }

    pub(crate) fn arrival_at_peer(&self, from: &str, message: &PeerMessage) -> String {
        format!("{from} => {}  {}", self.c, self.peer(message))
    }

    fn decision(decision: Decision) -> String {
        match decision {
            Decision::Commit { stamp } => format!("commit {stamp}"),
            Decision::Abort { cause } => format!("abort {cause:?}"),
        }
    }

    fn to_coordinator(&self, message: &ToCoordinator) -> String {
        match message {
            ToCoordinator::Hello {
                incarnation,
                in_doubt,
                ..
            } => {
                let in_doubt = self.list(in_doubt.iter().copied());
                format!("hello, life {}, in doubt {in_doubt}", incarnation.0)
            }
            ToCoordinator::Vote {
                gtid,
                ballot:
                    Ballot::Yes {
                        stamp,
                        read_only,
                        depends,
                        ..
                    },
            } => {
                let mut text = format!("YES {} {stamp}", self.name(*gtid));
                if *read_only {
                    text += " read-only";
                }
                text + &self.depends(depends)
            }
            ToCoordinator::Vote {
                gtid,
                ballot: Ballot::No { cause },
            } => {
                format!("NO {} {cause:?}", self.name(*gtid))
            }
            ToCoordinator::Blocked { gtid, by, .. } => {
                let by = self.list(by.iter().map(|&(gtid, _): &(Gtid, Priority)| gtid));
                format!("blocked {} by {by}", self.name(*gtid))
            }
            ToCoordinator::OnePhaseDone { gtid, decision, .. } => {
                format!(
                    "done alone {} {}",
                    self.name(*gtid),
                    Self::decision(*decision)
                )
            }
            ToCoordinator::Ack { gtid } => format!("ack {}", self.name(*gtid)),
            ToCoordinator::Inquire { gtid } => format!("inquire {}", self.name(*gtid)),
        }
    }

    fn to_site(&self, message: &ToParticipant) -> String {
        match message {
            ToParticipant::Prepare { gtid, dependent } => {
                let kind = if *dependent { " dependent" } else { "" };
                format!("prepare {}{kind}", self.name(*gtid))
            }
            ToParticipant::CommitOnePhase { gtid } => format!("commit alone {}", self.name(*gtid)),
            ToParticipant::Decide { gtid, decision } => {
                format!("decide {} {}", self.name(*gtid), Self::decision(*decision))
            }
        }
    }

    pub(crate) fn arrival_at_coordinator(
        &self,
        from: &SiteName,
        message: &ToCoordinator,
    ) -> String {
        format!("{from} => {}  {}", self.c, self.to_coordinator(message))
    }

    pub(crate) fn arrival_at_site(&self, to: &SiteName, message: &ToParticipant) -> String {
        format!("{} => {to}  {}", self.c, self.to_site(message))
    }

    pub(crate) fn record(&self, record: &Record) -> String {
        match record {
            Record::Epoch { epoch, .. } => format!("epoch {}", epoch.number()),
            Record::Commit { gtid, stamp, sites } => {
                let sites: Vec<&str> = sites.iter().map(SiteName::as_str).collect();
                format!("commit {} {stamp} at {}", self.name(*gtid), sites.join(" "))
            }
            Record::End { gtid } => format!("end {}", self.name(*gtid)),
        }
    }

    pub(crate) fn site_record(&self, record: &SiteRecord) -> String {
        match record {
            SiteRecord::Prepared(it) => {
                let kind = if it.read_only { " read-only" } else { "" };
                let depends = self.depends(&it.depends);
                format!(
                    "prepared {} {}{kind}{depends}",
                    self.name(it.gtid),
                    it.stamp
                )
            }
            SiteRecord::Alone { gtid, stamp } => {
                format!("committed alone {} {stamp}", self.name(*gtid))
            }
            SiteRecord::Decided { gtid, decision } => {
                format!("decided {} {}", self.name(*gtid), Self::decision(*decision))
            }
            SiteRecord::ByHand { gtid, decision } => {
                let (name, decision) = (self.name(*gtid), Self::decision(*decision));
                format!("decided by hand {name} {decision}")
            }
            SiteRecord::Heard(heuristic) => self.heuristic(heuristic),
        }
    }

    fn heuristic(&self, heuristic: &Heuristic) -> String {
        let heard = heuristic.heard.map(Self::decision);
        format!(
            "by hand {} {}, heard {}, acknowledged {}",
            self.name(heuristic.gtid),
            Self::decision(heuristic.decision),
            heard.unwrap_or_else(|| "nothing".to_owned()),
            heuristic.acknowledged
        )
    }

    pub(crate) fn coordinator_effect(&self, effect: &CoordinatorEffect) -> String {
        match effect {
            CoordinatorEffect::Append { record, .. } => {
                format!("{}  force {}", self.c, self.record(record))
            }
            CoordinatorEffect::AppendLazy { record } => {
                format!("{}  write {}", self.c, self.record(record))
            }
            CoordinatorEffect::Send { to, message } => {
                format!("{} -> {to}  {}", self.c, self.to_site(message))
            }
            CoordinatorEffect::Answer {
                caller,
                gtid,
                answer,
            } => {
                let answer = match answer {
                    CommitAnswer::Committed { stamp } => format!("committed {stamp}"),
                    CommitAnswer::Aborted { cause } => format!("aborted {cause:?}"),
                    CommitAnswer::Unknown => "unknown".to_owned(),
                    CommitAnswer::Refused(refusal) => format!("refused {refusal:?}"),
                };
                format!(
                    "{}  answer {}: {} {answer}",
                    self.c,
                    caller.0,
                    self.name(*gtid)
                )
            }
            CoordinatorEffect::SendPeer { to, message } => {
                format!("{} -> {to}  {}", self.c, self.peer(message))
            }
            CoordinatorEffect::Note(note) => match note {
                Note::ForeignGtid { from, gtid } => {
                    format!(
                        "{}  note: {from} names the foreign {}",
                        self.c,
                        self.name(*gtid)
                    )
                }
                Note::UnexpectedVote { from, gtid } => {
                    format!(
                        "{}  note: unexpected vote of {from} on {}",
                        self.c,
                        self.name(*gtid)
                    )
                }
                Note::StaleHello { from } => format!("{}  note: stale hello of {from}", self.c),
                Note::VoteLost { from, gtid } => {
                    format!(
                        "{}  note: {from} has lost its vote on {}",
                        self.c,
                        self.name(*gtid)
                    )
                }
                Note::UnknownToken(token) => format!("{}  note: unknown {token:?}", self.c),
            },
        }
    }

    pub(crate) fn voter_effect(&self, site: &SiteName, effect: &VoterEffect) -> String {
        match effect {
            VoterEffect::RequestVote { gtid, dependent } => {
                let kind = if *dependent { " dependent" } else { "" };
                format!("{site}  ask engine {}{kind}", self.name(*gtid))
            }
            VoterEffect::AppendPrepared {
                gtid,
                stamp,
                depends,
                ..
            } => {
                let depends = self.depends(depends);
                format!(
                    "{site}  force prepared {} {stamp}{depends}",
                    self.name(*gtid)
                )
            }
            VoterEffect::AppendOnePhase { gtid, stamp, .. } => {
                format!("{site}  force committed alone {} {stamp}", self.name(*gtid))
            }
            VoterEffect::AppendDecision { gtid, decision, .. } => {
                format!(
                    "{site}  force decided {} {}",
                    self.name(*gtid),
                    Self::decision(*decision)
                )
            }
            VoterEffect::AppendDecisionLazy { gtid, decision } => {
                format!(
                    "{site}  write decided {} {}",
                    self.name(*gtid),
                    Self::decision(*decision)
                )
            }
            VoterEffect::AppendHeuristic { gtid, decision, .. } => {
                let (name, decision) = (self.name(*gtid), Self::decision(*decision));
                format!("{site}  force decided by hand {name} {decision}")
            }
            VoterEffect::AppendHeuristicState { heuristic, token } => {
                let how = if token.is_some() { "force" } else { "write" };
                format!("{site}  {how} {}", self.heuristic(heuristic))
            }
            VoterEffect::Apply { gtid, decision } => {
                format!(
                    "{site}  apply {} {}",
                    self.name(*gtid),
                    Self::decision(*decision)
                )
            }
            VoterEffect::Send { message, .. } => {
                format!("{site} -> {}  {}", self.c, self.to_coordinator(message))
            }
        }
    }
}
