//! What coordinator and participants say to each other.

use co_core::{Gtid, Priority, Stamp};

use super::{MalformedWire, cause_of, cause_to_wire};
use crate::protocol::{
    Ballot, CoordinatorId, Decision, Dependencies, Incarnation, PeerMessage, SiteName,
    ToCoordinator, ToParticipant,
};
use crate::service::wire;

/// What a link carries upward. Only the hello names the site: the link is the site's from then on.
pub(crate) fn up_to_wire(
    coordinator: CoordinatorId,
    site: &SiteName,
    message: ToCoordinator,
) -> wire::ToCoordinator {
    use wire::to_coordinator::Message;
    let message = match message {
        ToCoordinator::Hello {
            incarnation,
            address,
            in_doubt,
        } => Message::Hello(wire::Hello {
            site: site.as_str().to_owned(),
            incarnation: incarnation.0,
            address,
            in_doubt: in_doubt.into_iter().map(|gtid| gtid.0).collect(),
            coordinator: u32::from(coordinator.0),
        }),
        ToCoordinator::Vote { gtid, ballot } => Message::Vote(wire::Vote {
            gtid: gtid.0,
            ballot: Some(ballot_to_wire(ballot)),
        }),
        ToCoordinator::Blocked { gtid, priority, by } => {
            let blocker = |(gtid, priority): (Gtid, Priority)| wire::Blocker {
                gtid: gtid.0,
                priority: priority.0,
            };
            let by = by.into_iter().map(blocker).collect();
            Message::Blocked(wire::Blocked {
                gtid: gtid.0,
                priority: priority.0,
                by,
            })
        }
        ToCoordinator::OnePhaseDone {
            gtid,
            decision,
            known,
        } => Message::OnePhaseDone(wire::OnePhaseDone {
            gtid: gtid.0,
            decision: Some(decision_to_wire(decision)),
            known,
        }),
        ToCoordinator::Ack { gtid } => Message::AckGtid(gtid.0),
        ToCoordinator::Inquire { gtid } => Message::InquireGtid(gtid.0),
    };
    wire::ToCoordinator {
        message: Some(message),
    }
}

/// Who says hello to whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Introduction {
    pub(crate) site: SiteName,
    pub(crate) to: CoordinatorId,
}

/// A message from below, and who speaks if it is a hello.
pub(crate) fn up_of(
    message: wire::ToCoordinator,
) -> Result<(Option<Introduction>, ToCoordinator), MalformedWire> {
    use wire::to_coordinator::Message;
    let message = message
        .message
        .ok_or(MalformedWire::Missing("to_coordinator.message"))?;
    Ok(match message {
        Message::Hello(hello) => {
            if hello.site.is_empty() {
                return Err(MalformedWire::Empty("hello.site"));
            }
            let message = ToCoordinator::Hello {
                incarnation: Incarnation(hello.incarnation),
                address: hello.address,
                in_doubt: hello.in_doubt.into_iter().map(Gtid).collect(),
            };
            let introduction = Introduction {
                site: SiteName::new(&hello.site),
                to: coordinator_of(hello.coordinator, "hello.coordinator")?,
            };
            (Some(introduction), message)
        }
        Message::Vote(vote) => {
            let ballot = ballot_of(vote.ballot)?;
            (
                None,
                ToCoordinator::Vote {
                    gtid: Gtid(vote.gtid),
                    ballot,
                },
            )
        }
        Message::Blocked(blocked) => {
            let by = blocked
                .by
                .iter()
                .map(|by| (Gtid(by.gtid), Priority(by.priority)))
                .collect();
            let (gtid, priority) = (Gtid(blocked.gtid), Priority(blocked.priority));
            (None, ToCoordinator::Blocked { gtid, priority, by })
        }
        Message::OnePhaseDone(done) => {
            let decision = decision_of(done.decision)?;
            (
                None,
                ToCoordinator::OnePhaseDone {
                    gtid: Gtid(done.gtid),
                    decision,
                    known: done.known,
                },
            )
        }
        Message::AckGtid(gtid) => (None, ToCoordinator::Ack { gtid: Gtid(gtid) }),
        Message::InquireGtid(gtid) => (None, ToCoordinator::Inquire { gtid: Gtid(gtid) }),
    })
}

/// A stamp that leaves room for those to come: one beyond would use up the numbers of everybody who hears it.
pub(crate) fn stamp_of(number: u64, field: &'static str) -> Result<Stamp, MalformedWire> {
    if number < END_OF_STAMPS {
        Ok(Stamp(number))
    } else {
        Err(MalformedWire::OutOfRange(field))
    }
}

/// Stamps grow by one with each vote, and by 2^32 with each restart of a site: they never come here.
pub(crate) const END_OF_STAMPS: u64 = 1 << 62;

/// Which coordinator a number names.
pub(crate) fn coordinator_of(
    number: u32,
    field: &'static str,
) -> Result<CoordinatorId, MalformedWire> {
    let id = u8::try_from(number).map_err(|_| MalformedWire::OutOfRange(field))?;
    Ok(CoordinatorId(id))
}

pub(crate) fn peer_to_wire(message: PeerMessage) -> wire::PeerMessage {
    use wire::peer_message::Message;
    let message = match message {
        PeerMessage::Waits {
            waiter,
            priority,
            at,
        } => {
            let wait = |(site, by): (SiteName, Vec<Gtid>)| wire::PeerWait {
                site: site.as_str().to_owned(),
                by: by.into_iter().map(|gtid| gtid.0).collect(),
            };
            Message::Waits(wire::PeerWaits {
                waiter: waiter.0,
                priority: priority.0,
                at: at.into_iter().map(wait).collect(),
            })
        }
        PeerMessage::Wound { gtid, at } => Message::Wound(wire::Wound {
            gtid: gtid.0,
            site: at.as_str().to_owned(),
        }),
    };
    wire::PeerMessage {
        message: Some(message),
    }
}

pub(crate) fn peer_of(message: wire::PeerMessage) -> Result<PeerMessage, MalformedWire> {
    use wire::peer_message::Message;
    let message = message
        .message
        .ok_or(MalformedWire::Missing("peer_message.message"))?;
    Ok(match message {
        Message::Waits(waits) => {
            let wait = |wait: wire::PeerWait| {
                let by = wait.by.into_iter().map(Gtid).collect();
                (SiteName::new(&wait.site), by)
            };
            PeerMessage::Waits {
                waiter: Gtid(waits.waiter),
                priority: Priority(waits.priority),
                at: waits.at.into_iter().map(wait).collect(),
            }
        }
        Message::Wound(wound) => PeerMessage::Wound {
            gtid: Gtid(wound.gtid),
            at: SiteName::new(&wound.site),
        },
    })
}

pub(crate) fn down_to_wire(message: ToParticipant) -> wire::ToParticipant {
    use wire::to_participant::Message;
    let message = match message {
        ToParticipant::Prepare {
            gtid,
            dependent: false,
        } => Message::PrepareGtid(gtid.0),
        ToParticipant::Prepare {
            gtid,
            dependent: true,
        } => Message::PrepareDependentGtid(gtid.0),
        ToParticipant::CommitOnePhase { gtid } => Message::CommitOnePhaseGtid(gtid.0),
        ToParticipant::Decide { gtid, decision } => Message::Decide(wire::Decide {
            gtid: gtid.0,
            decision: Some(decision_to_wire(decision)),
        }),
    };
    wire::ToParticipant {
        message: Some(message),
    }
}

pub(crate) fn down_of(message: wire::ToParticipant) -> Result<ToParticipant, MalformedWire> {
    use wire::to_participant::Message;
    let message = message
        .message
        .ok_or(MalformedWire::Missing("to_participant.message"))?;
    Ok(match message {
        Message::PrepareGtid(gtid) => ToParticipant::Prepare {
            gtid: Gtid(gtid),
            dependent: false,
        },
        Message::PrepareDependentGtid(gtid) => ToParticipant::Prepare {
            gtid: Gtid(gtid),
            dependent: true,
        },
        Message::CommitOnePhaseGtid(gtid) => ToParticipant::CommitOnePhase { gtid: Gtid(gtid) },
        Message::Decide(decide) => ToParticipant::Decide {
            gtid: Gtid(decide.gtid),
            decision: decision_of(decide.decision)?,
        },
    })
}

pub(super) fn decision_to_wire(decision: Decision) -> wire::Decision {
    let outcome = match decision {
        Decision::Commit { stamp } => wire::decision::Outcome::CommitStamp(stamp.0),
        Decision::Abort { cause } => wire::decision::Outcome::Abort(cause_to_wire(cause)),
    };
    wire::Decision {
        outcome: Some(outcome),
    }
}

pub(super) fn decision_of(decision: Option<wire::Decision>) -> Result<Decision, MalformedWire> {
    let missing = MalformedWire::Missing("decision");
    Ok(
        match decision
            .and_then(|decision| decision.outcome)
            .ok_or(missing)?
        {
            wire::decision::Outcome::CommitStamp(stamp) => Decision::Commit {
                stamp: stamp_of(stamp, "decision.commit_stamp")?,
            },
            wire::decision::Outcome::Abort(cause) => Decision::Abort {
                cause: cause_of(cause, "decision.abort")?,
            },
        },
    )
}

fn ballot_to_wire(ballot: Ballot) -> wire::vote::Ballot {
    match ballot {
        Ballot::Yes {
            stamp,
            incarnation,
            read_only,
            depends,
        } => wire::vote::Ballot::Yes(wire::Yes {
            stamp: stamp.0,
            incarnation: incarnation.0,
            read_only,
            after: depends.after.iter().map(|gtid| gtid.0).collect(),
            if_committed: depends.if_committed.iter().map(|gtid| gtid.0).collect(),
        }),
        Ballot::No { cause } => wire::vote::Ballot::No(cause_to_wire(cause)),
    }
}

fn ballot_of(ballot: Option<wire::vote::Ballot>) -> Result<Ballot, MalformedWire> {
    Ok(match ballot.ok_or(MalformedWire::Missing("vote.ballot"))? {
        wire::vote::Ballot::Yes(yes) => Ballot::Yes {
            stamp: stamp_of(yes.stamp, "yes.stamp")?,
            incarnation: Incarnation(yes.incarnation),
            read_only: yes.read_only,
            depends: Dependencies {
                after: yes.after.into_iter().map(Gtid).collect(),
                if_committed: yes.if_committed.into_iter().map(Gtid).collect(),
            },
        },
        wire::vote::Ballot::No(cause) => Ballot::No {
            cause: cause_of(cause, "vote.no")?,
        },
    })
}
