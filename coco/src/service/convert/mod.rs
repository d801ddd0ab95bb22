//! Between wire and plain values, the only place that knows both.
//!
//! Invariants: (W1) total: whatever prost decodes is either converted or refused with a [`MalformedWire`]
//! that names the field; (W2) what was converted to the wire and back is what it was.

mod requests;
mod site;

use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use tonic::{Code, Status};

use super::wire;
use crate::protocol::{
    AbortCause, Ballot, BeginRefused, CommitAnswer, Decision, Incarnation, Refusal, SiteName,
    ToCoordinator, ToParticipant,
};
use crate::service::coordinator::{BeginGrant, SiteInfo, Statistics};

pub(crate) use self::requests::*;
pub(crate) use self::site::*;

/// A message that breaks the rules of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedWire {
    /// A field that must be there is not; perhaps the sender is newer and chose a variant unknown here.
    #[error("field `{0}` is missing, or holds a variant that this version does not know")]
    Missing(&'static str),
    /// An enumeration field holds a number that has no name here.
    #[error("field `{field}` holds the unknown value {value}")]
    UnknownValue {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: i32,
    },
    /// The first message of a link must be a hello, and no later one may name another site.
    #[error("a link begins with `hello`, and this one did not")]
    NoHello,
    /// A site without a name.
    #[error("field `{0}` is empty")]
    Empty(&'static str),
}

impl From<MalformedWire> for Status {
    fn from(error: MalformedWire) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

/// Why a request was refused; it changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// For programs.
    pub code: RefusedCode,
    /// For people: what to do.
    pub message: String,
}

/// Why a request was refused, for programs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RefusedCode {
    /// Nobody here knows the transaction (any more).
    UnknownTransaction,
    /// The transaction has begun here already.
    DuplicateBegin,
    /// The transaction has been asked for its vote.
    AlreadyEnded,
    /// Another operation of the same transaction is running.
    Busy,
    /// A key, value, range or number is out of its bounds.
    InvalidOperation,
    /// The site's engine cannot do it.
    Unsupported,
    /// The site's log has failed.
    LogFailed,
    /// A code that only a newer version knows.
    Other(String),
}

/// The codes that this version knows.
const CODES: [RefusedCode; 7] = [
    RefusedCode::UnknownTransaction,
    RefusedCode::DuplicateBegin,
    RefusedCode::AlreadyEnded,
    RefusedCode::Busy,
    RefusedCode::InvalidOperation,
    RefusedCode::Unsupported,
    RefusedCode::LogFailed,
];

impl RefusedCode {
    /// The code as text, as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(other) => other,
            Self::UnknownTransaction => "unknown-transaction",
            Self::DuplicateBegin => "duplicate-begin",
            Self::AlreadyEnded => "already-ended",
            Self::Busy => "busy",
            Self::InvalidOperation => "invalid-operation",
            Self::Unsupported => "unsupported",
            Self::LogFailed => "log-failed",
        }
    }
}

impl From<wire::Refused> for Refused {
    fn from(refused: wire::Refused) -> Self {
        let code = CODES.into_iter().find(|code| code.as_str() == refused.code);
        Self {
            code: code.unwrap_or(RefusedCode::Other(refused.code)),
            message: refused.message,
        }
    }
}

impl From<Refused> for wire::Refused {
    fn from(refused: Refused) -> Self {
        Self {
            code: refused.code.as_str().to_owned(),
            message: refused.message,
        }
    }
}

/// The status that tells a client why it got no new transaction. The one place for it.
pub(super) fn begin_refused(refused: BeginRefused) -> Status {
    let code = match refused {
        BeginRefused::Starting => Code::Unavailable,
        BeginRefused::Busy { .. } => Code::ResourceExhausted,
        BeginRefused::LogFailed | BeginRefused::EpochsExhausted => Code::FailedPrecondition,
    };
    Status::new(code, refused.to_string())
}

// ----------------------------------------------------------------------------------------------------
// Causes, decisions, votes

pub(crate) fn cause_to_wire(cause: AbortCause) -> i32 {
    let wire = match cause {
        AbortCause::Client => wire::AbortCause::Client,
        AbortCause::LocalCycle => wire::AbortCause::LocalCycle,
        AbortCause::VotingDeadlock => wire::AbortCause::VotingDeadlock,
        AbortCause::StaleRead => wire::AbortCause::StaleRead,
        AbortCause::WriteConflict => wire::AbortCause::WriteConflict,
        AbortCause::Cascade => wire::AbortCause::Cascade,
        AbortCause::Timeout => wire::AbortCause::Timeout,
        AbortCause::UnknownTransaction => wire::AbortCause::UnknownTransaction,
        AbortCause::SiteUnreachable => wire::AbortCause::SiteUnreachable,
        AbortCause::LogFailure => wire::AbortCause::LogFailure,
    };
    wire.into()
}

pub(super) fn cause_of(value: i32, field: &'static str) -> Result<AbortCause, MalformedWire> {
    let unknown = MalformedWire::UnknownValue { field, value };
    Ok(
        match wire::AbortCause::try_from(value).map_err(|_| unknown)? {
            wire::AbortCause::Unspecified => return Err(unknown),
            wire::AbortCause::Client => AbortCause::Client,
            wire::AbortCause::LocalCycle => AbortCause::LocalCycle,
            wire::AbortCause::VotingDeadlock => AbortCause::VotingDeadlock,
            wire::AbortCause::StaleRead => AbortCause::StaleRead,
            wire::AbortCause::WriteConflict => AbortCause::WriteConflict,
            wire::AbortCause::Cascade => AbortCause::Cascade,
            wire::AbortCause::Timeout => AbortCause::Timeout,
            wire::AbortCause::UnknownTransaction => AbortCause::UnknownTransaction,
            wire::AbortCause::SiteUnreachable => AbortCause::SiteUnreachable,
            wire::AbortCause::LogFailure => AbortCause::LogFailure,
        },
    )
}

fn decision_to_wire(decision: Decision) -> wire::Decision {
    let outcome = match decision {
        Decision::Commit { stamp } => wire::decision::Outcome::CommitStamp(stamp.0),
        Decision::Abort { cause } => wire::decision::Outcome::Abort(cause_to_wire(cause)),
    };
    wire::Decision {
        outcome: Some(outcome),
    }
}

fn decision_of(decision: Option<wire::Decision>) -> Result<Decision, MalformedWire> {
    let missing = MalformedWire::Missing("decision");
    Ok(
        match decision
            .and_then(|decision| decision.outcome)
            .ok_or(missing)?
        {
            wire::decision::Outcome::CommitStamp(stamp) => Decision::Commit {
                stamp: Stamp(stamp),
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
        } => wire::vote::Ballot::Yes(wire::Yes {
            stamp: stamp.0,
            incarnation: incarnation.0,
            read_only,
        }),
        Ballot::No { cause } => wire::vote::Ballot::No(cause_to_wire(cause)),
    }
}

fn ballot_of(ballot: Option<wire::vote::Ballot>) -> Result<Ballot, MalformedWire> {
    Ok(match ballot.ok_or(MalformedWire::Missing("vote.ballot"))? {
        wire::vote::Ballot::Yes(yes) => Ballot::Yes {
            stamp: Stamp(yes.stamp),
            incarnation: Incarnation(yes.incarnation),
            read_only: yes.read_only,
        },
        wire::vote::Ballot::No(cause) => Ballot::No {
            cause: cause_of(cause, "vote.no")?,
        },
    })
}

// ----------------------------------------------------------------------------------------------------
// The link

/// What a link carries upward. Only the hello names the site: the link is the site's from then on.
pub(super) fn up_to_wire(site: &SiteName, message: ToCoordinator) -> wire::ToCoordinator {
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
        ToCoordinator::OnePhaseDone { gtid, decision } => {
            Message::OnePhaseDone(wire::OnePhaseDone {
                gtid: gtid.0,
                decision: Some(decision_to_wire(decision)),
            })
        }
        ToCoordinator::Ack { gtid } => Message::AckGtid(gtid.0),
        ToCoordinator::Inquire { gtid } => Message::InquireGtid(gtid.0),
    };
    wire::ToCoordinator {
        message: Some(message),
    }
}

/// A message from below, and the site's name if it is a hello.
pub(super) fn up_of(
    message: wire::ToCoordinator,
) -> Result<(Option<SiteName>, ToCoordinator), MalformedWire> {
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
            (Some(SiteName::new(&hello.site)), message)
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
                },
            )
        }
        Message::AckGtid(gtid) => (None, ToCoordinator::Ack { gtid: Gtid(gtid) }),
        Message::InquireGtid(gtid) => (None, ToCoordinator::Inquire { gtid: Gtid(gtid) }),
    })
}

pub(super) fn down_to_wire(message: ToParticipant) -> wire::ToParticipant {
    use wire::to_participant::Message;
    let message = match message {
        ToParticipant::Prepare { gtid } => Message::PrepareGtid(gtid.0),
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

pub(super) fn down_of(message: wire::ToParticipant) -> Result<ToParticipant, MalformedWire> {
    use wire::to_participant::Message;
    let message = message
        .message
        .ok_or(MalformedWire::Missing("to_participant.message"))?;
    Ok(match message {
        Message::PrepareGtid(gtid) => ToParticipant::Prepare { gtid: Gtid(gtid) },
        Message::CommitOnePhaseGtid(gtid) => ToParticipant::CommitOnePhase { gtid: Gtid(gtid) },
        Message::Decide(decide) => ToParticipant::Decide {
            gtid: Gtid(decide.gtid),
            decision: decision_of(decide.decision)?,
        },
    })
}

// ----------------------------------------------------------------------------------------------------
// Clients and the coordinator

pub(crate) fn answer_to_wire(answer: CommitAnswer) -> wire::CommitReply {
    use wire::commit_reply::Outcome;
    let outcome = match answer {
        CommitAnswer::Committed { stamp } => Outcome::Committed(wire::Committed { stamp: stamp.0 }),
        CommitAnswer::Aborted { cause } => Outcome::Aborted(wire::Aborted {
            cause: cause_to_wire(cause),
        }),
        CommitAnswer::Unknown => Outcome::Unknown(wire::Unknown {
            message: "the outcome cannot be told before a site or the coordinator has recovered"
                .to_owned(),
        }),
        CommitAnswer::Refused(Refusal::UnknownGtid) => Outcome::Refused(wire::Refused {
            code: RefusedCode::UnknownTransaction.as_str().to_owned(),
            message: "the coordinator does not know the transaction, or not any more".to_owned(),
        }),
    };
    wire::CommitReply {
        outcome: Some(outcome),
    }
}

/// A refusal of a commit has one meaning whatever its code: nobody remembers the transaction.
pub(crate) fn answer_of(reply: wire::CommitReply) -> Result<CommitAnswer, MalformedWire> {
    use wire::commit_reply::Outcome;
    Ok(
        match reply
            .outcome
            .ok_or(MalformedWire::Missing("commit_reply.outcome"))?
        {
            Outcome::Committed(committed) => CommitAnswer::Committed {
                stamp: Stamp(committed.stamp),
            },
            Outcome::Aborted(aborted) => CommitAnswer::Aborted {
                cause: cause_of(aborted.cause, "aborted.cause")?,
            },
            Outcome::Unknown(_) => CommitAnswer::Unknown,
            Outcome::Refused(_) => CommitAnswer::Refused(Refusal::UnknownGtid),
        },
    )
}

pub(super) fn names_of(sites: Vec<String>) -> Result<Vec<SiteName>, MalformedWire> {
    if sites.iter().any(String::is_empty) {
        return Err(MalformedWire::Empty("sites"));
    }
    Ok(sites.iter().map(|name| SiteName::new(name)).collect())
}

pub(super) fn grant_to_wire(grant: &BeginGrant) -> wire::BeginReply {
    wire::BeginReply {
        first_gtid: grant.first.0,
        count: grant.count,
        first_priority: grant.priority.0,
        lease_ms: u32::try_from(grant.lease.as_millis()).unwrap_or(u32::MAX),
    }
}

pub(crate) fn begin_grant(reply: wire::BeginReply) -> Result<BeginGrant, MalformedWire> {
    if reply.count == 0 {
        return Err(MalformedWire::Empty("begin_reply.count"));
    }
    Ok(BeginGrant {
        first: Gtid(reply.first_gtid),
        count: reply.count,
        priority: Priority(reply.first_priority),
        lease: Duration::from_millis(u64::from(reply.lease_ms)),
    })
}

pub(super) fn sites_to_wire(sites: Vec<SiteInfo>) -> wire::SitesReply {
    let site = |site: SiteInfo| wire::Site {
        name: site.name.as_str().to_owned(),
        address: site.address,
        connected: site.connected,
        incarnation: site.incarnation.0,
    };
    wire::SitesReply {
        sites: sites.into_iter().map(site).collect(),
    }
}

pub(crate) fn site_infos(reply: wire::SitesReply) -> Result<Vec<SiteInfo>, MalformedWire> {
    let info = |site: wire::Site| {
        if site.name.is_empty() {
            return Err(MalformedWire::Empty("site.name"));
        }
        Ok(SiteInfo {
            name: SiteName::new(&site.name),
            address: site.address,
            connected: site.connected,
            incarnation: Incarnation(site.incarnation),
        })
    };
    reply.sites.into_iter().map(info).collect()
}

pub(super) fn statistics_to_wire(statistics: &Statistics) -> wire::CoordinatorStatistics {
    let counters = &statistics.counters;
    let count = |(&cause, &count): (&AbortCause, &u64)| wire::CauseCount {
        cause: cause_to_wire(cause),
        count,
    };
    wire::CoordinatorStatistics {
        commits: counters.commits,
        aborts: counters.aborts.iter().map(count).collect(),
        voting_deadlocks_by_search: counters.deadlocks_by_search,
        voting_deadlocks_by_timeout: counters.deadlocks_by_timeout,
        blocked_reports: counters.reports,
        one_phase_commits: counters.one_phase_commits,
        in_flight: statistics.in_flight,
        begun: counters.begun,
        expired: counters.expired,
        unknown: counters.unknown,
        resends: counters.resends,
        epoch: statistics.epoch,
        serving: statistics.serving,
    }
}

pub(crate) fn statistics_of(
    reply: wire::CoordinatorStatistics,
) -> Result<Statistics, MalformedWire> {
    let mut counters = crate::protocol::CoordinatorStats {
        begun: reply.begun,
        commits: reply.commits,
        one_phase_commits: reply.one_phase_commits,
        unknown: reply.unknown,
        expired: reply.expired,
        reports: reply.blocked_reports,
        deadlocks_by_search: reply.voting_deadlocks_by_search,
        deadlocks_by_timeout: reply.voting_deadlocks_by_timeout,
        resends: reply.resends,
        ..Default::default()
    };
    for count in reply.aborts {
        counters
            .aborts
            .insert(cause_of(count.cause, "aborts.cause")?, count.count);
    }
    Ok(Statistics {
        counters,
        in_flight: reply.in_flight,
        epoch: reply.epoch,
        serving: reply.serving,
    })
}

#[cfg(test)]
mod tests;
