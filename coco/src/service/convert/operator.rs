//! What operators and servers say to each other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use co_core::{Gtid, Priority, Stamp};

use super::link::{decision_of, decision_to_wire};
use super::{MalformedWire, Refused, RefusedCode, cause_of, cause_to_wire, names_of, stamp_of};
use crate::protocol::{AbortCause, ByHand, CommitAnswer, Heuristic, SiteName, TransactionState};
use crate::service::coordinator::{
    DeadlockInfo, DecisionInfo, History, Resolved, TransactionInfo, Transactions, WaitInfo,
};
use crate::service::site::{DoneByHand, InDoubtInfo, Pending, SiteWait};
use crate::service::wire;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn since_1970(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn at(millis: u64) -> SystemTime {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    at.unwrap_or(UNIX_EPOCH)
}

fn texts(sites: Vec<SiteName>) -> Vec<String> {
    let text = |site: SiteName| site.as_str().to_owned();
    sites.into_iter().map(text).collect()
}

pub(crate) const fn transactions_request(limit: u32) -> wire::TransactionsRequest {
    wire::TransactionsRequest { limit }
}

pub(crate) fn transactions_to_wire(all: Transactions) -> wire::TransactionsReply {
    use wire::TransactionState as State;
    let info = |info: TransactionInfo| {
        let mut cause = wire::AbortCause::Unspecified.into();
        let (state, sites) = match info.state {
            TransactionState::Active => (State::Active, Vec::new()),
            TransactionState::Voting { missing } => (State::Voting, texts(missing)),
            TransactionState::OnePhase { site } => (State::OnePhase, texts(vec![site])),
            TransactionState::Forcing { sites } => (State::Forcing, texts(sites)),
            TransactionState::Committed { unacknowledged } => {
                (State::Committed, texts(unacknowledged))
            }
            TransactionState::Doomed { cause: why } => {
                cause = cause_to_wire(why);
                (State::Doomed, Vec::new())
            }
        };
        wire::TransactionInfo {
            gtid: info.gtid.0,
            priority: info.priority.0,
            state: state.into(),
            sites,
            age_ms: millis(info.age),
            cause,
        }
    };
    let wait = |wait: WaitInfo| wire::WaitInfo {
        gtid: wait.gtid.0,
        site: wait.site.as_str().to_owned(),
        waits_for: wait.waits_for.into_iter().map(|it| it.0).collect(),
        age_ms: millis(wait.age),
    };
    wire::TransactionsReply {
        transactions: all.transactions.into_iter().map(info).collect(),
        waits: all.waits.into_iter().map(wait).collect(),
        more: all.more,
    }
}

pub(crate) fn transactions_of(
    reply: wire::TransactionsReply,
) -> Result<Transactions, MalformedWire> {
    let info = |info: wire::TransactionInfo| {
        Ok(TransactionInfo {
            gtid: Gtid(info.gtid),
            priority: Priority(info.priority),
            age: Duration::from_millis(info.age_ms),
            state: state_of(info)?,
        })
    };
    let wait = |wait: wire::WaitInfo| {
        if wait.site.is_empty() {
            return Err(MalformedWire::Empty("wait_info.site"));
        }
        Ok(WaitInfo {
            gtid: Gtid(wait.gtid),
            site: SiteName::new(&wait.site),
            waits_for: wait.waits_for.into_iter().map(Gtid).collect(),
            age: Duration::from_millis(wait.age_ms),
        })
    };
    Ok(Transactions {
        transactions: reply
            .transactions
            .into_iter()
            .map(info)
            .collect::<Result<_, MalformedWire>>()?,
        waits: reply
            .waits
            .into_iter()
            .map(wait)
            .collect::<Result<_, MalformedWire>>()?,
        more: reply.more,
    })
}

fn state_of(info: wire::TransactionInfo) -> Result<TransactionState, MalformedWire> {
    use wire::TransactionState as State;
    let field = "transaction_info.state";
    let unknown = MalformedWire::UnknownValue {
        field,
        value: info.state,
    };
    let sites = names_of(info.sites)?;
    Ok(match State::try_from(info.state).map_err(|_| unknown)? {
        State::Unspecified => return Err(unknown),
        State::Active => TransactionState::Active,
        State::Voting => TransactionState::Voting { missing: sites },
        State::OnePhase => TransactionState::OnePhase {
            site: sites
                .into_iter()
                .next()
                .ok_or(MalformedWire::Empty("transaction_info.sites"))?,
        },
        State::Forcing => TransactionState::Forcing { sites },
        State::Committed => TransactionState::Committed {
            unacknowledged: sites,
        },
        State::Doomed => TransactionState::Doomed {
            cause: cause_of(info.cause, "transaction_info.cause")?,
        },
    })
}

pub(crate) const fn history_request(limit: u32) -> wire::HistoryRequest {
    wire::HistoryRequest { limit }
}

pub(crate) fn history_to_wire(history: History) -> wire::HistoryReply {
    use wire::decision_info::Outcome;
    let decision = |info: DecisionInfo| wire::DecisionInfo {
        gtid: info.gtid.0,
        at_ms: since_1970(info.at),
        outcome: Some(match info.answer {
            CommitAnswer::Committed { stamp } => Outcome::CommitStamp(stamp.0),
            CommitAnswer::Aborted { cause } => Outcome::Abort(cause_to_wire(cause)),
            CommitAnswer::Unknown | CommitAnswer::Refused(_) => Outcome::Unknown(true),
        }),
    };
    let deadlock = |info: DeadlockInfo| wire::DeadlockInfo {
        victim: info.victim.0,
        at_ms: since_1970(info.at),
    };
    wire::HistoryReply {
        decisions: history.decisions.into_iter().map(decision).collect(),
        deadlocks: history.deadlocks.into_iter().map(deadlock).collect(),
        actions: history.actions,
    }
}

pub(crate) fn history_of(reply: wire::HistoryReply) -> Result<History, MalformedWire> {
    use wire::decision_info::Outcome;
    let decision = |info: wire::DecisionInfo| {
        let field = "decision_info.outcome";
        let answer = match info.outcome.ok_or(MalformedWire::Missing(field))? {
            Outcome::CommitStamp(stamp) => CommitAnswer::Committed {
                stamp: Stamp(stamp),
            },
            Outcome::Abort(cause) => CommitAnswer::Aborted {
                cause: cause_of(cause, field)?,
            },
            Outcome::Unknown(_) => CommitAnswer::Unknown,
        };
        Ok(DecisionInfo {
            gtid: Gtid(info.gtid),
            answer,
            at: at(info.at_ms),
        })
    };
    let deadlock = |info: wire::DeadlockInfo| DeadlockInfo {
        victim: Gtid(info.victim),
        at: at(info.at_ms),
    };
    let decisions = reply.decisions.into_iter().map(decision);
    Ok(History {
        decisions: decisions.collect::<Result<_, MalformedWire>>()?,
        deadlocks: reply.deadlocks.into_iter().map(deadlock).collect(),
        actions: reply.actions,
    })
}

pub(crate) fn resolve_request(gtid: Gtid, reason: &str) -> wire::ResolveRequest {
    wire::ResolveRequest {
        gtid: gtid.0,
        reason: reason.to_owned(),
    }
}

pub(crate) fn resolved_to_wire(resolved: Resolved) -> wire::ResolveReply {
    use wire::resolve_reply::Outcome;
    let outcome = match resolved {
        Resolved::Aborted(cause) => Outcome::Aborted(wire::Aborted {
            cause: cause_to_wire(cause),
        }),
        Resolved::Refused(message) => Outcome::Refused(wire::Refused {
            code: RefusedCode::AlreadyEnded.as_str().to_owned(),
            message,
            retry_after_ms: None,
        }),
        Resolved::Unknown => Outcome::Unknown(wire::Unknown::default()),
    };
    wire::ResolveReply {
        outcome: Some(outcome),
    }
}

pub(crate) fn resolved_of(reply: wire::ResolveReply) -> Result<Resolved, MalformedWire> {
    use wire::resolve_reply::Outcome;
    let field = "resolve_reply.outcome";
    Ok(match reply.outcome.ok_or(MalformedWire::Missing(field))? {
        Outcome::Aborted(aborted) => {
            let cause: AbortCause = cause_of(aborted.cause, "aborted.cause")?;
            Resolved::Aborted(cause)
        }
        Outcome::Refused(refused) => Resolved::Refused(refused.message),
        Outcome::Unknown(_) => Resolved::Unknown,
    })
}

pub(crate) const fn pending_request() -> wire::PendingRequest {
    wire::PendingRequest {}
}

/// Of a site's own waits the site needs no name.
pub(crate) fn pending_to_wire(pending: Pending) -> wire::PendingReply {
    let in_doubt = |info: InDoubtInfo| wire::InDoubtInfo {
        gtid: info.gtid.0,
        age_ms: millis(info.age),
    };
    let wait = |wait: SiteWait| wire::WaitInfo {
        gtid: wait.gtid.0,
        site: String::new(),
        waits_for: wait.waits_for.into_iter().map(|it| it.0).collect(),
        age_ms: millis(wait.age),
    };
    wire::PendingReply {
        in_doubt: pending.in_doubt.into_iter().map(in_doubt).collect(),
        waits: pending.waits.into_iter().map(wait).collect(),
        heuristics: pending
            .heuristics
            .into_iter()
            .map(heuristic_to_wire)
            .collect(),
    }
}

fn heuristic_to_wire(heuristic: Heuristic) -> wire::HeuristicInfo {
    wire::HeuristicInfo {
        gtid: heuristic.gtid.0,
        decision: Some(decision_to_wire(heuristic.decision)),
        read_only: heuristic.read_only,
        because_of: heuristic.because_of.map(|gtid| gtid.0),
        heard: heuristic.heard.map(decision_to_wire),
        acknowledged: heuristic.acknowledged,
    }
}

fn heuristic_of(info: wire::HeuristicInfo) -> Result<Heuristic, MalformedWire> {
    let heard = info.heard.map(|heard| decision_of(Some(heard)));
    Ok(Heuristic {
        gtid: Gtid(info.gtid),
        decision: decision_of(info.decision)?,
        read_only: info.read_only,
        because_of: info.because_of.map(Gtid),
        heard: heard.transpose()?,
        acknowledged: info.acknowledged,
    })
}

pub(crate) fn pending_of(reply: wire::PendingReply) -> Result<Pending, MalformedWire> {
    let in_doubt = |info: wire::InDoubtInfo| InDoubtInfo {
        gtid: Gtid(info.gtid),
        age: Duration::from_millis(info.age_ms),
    };
    let wait = |wait: wire::WaitInfo| SiteWait {
        gtid: Gtid(wait.gtid),
        waits_for: wait.waits_for.into_iter().map(Gtid).collect(),
        age: Duration::from_millis(wait.age_ms),
    };
    let heuristics = reply.heuristics.into_iter().map(heuristic_of);
    Ok(Pending {
        in_doubt: reply.in_doubt.into_iter().map(in_doubt).collect(),
        waits: reply.waits.into_iter().map(wait).collect(),
        heuristics: heuristics.collect::<Result<_, _>>()?,
    })
}

pub(crate) fn site_resolve_request(
    gtid: Gtid,
    how: ByHand,
    reason: &str,
) -> wire::SiteResolveRequest {
    use wire::site_resolve_request::How;
    let how = match how {
        ByHand::Commit { stamp } => How::Commit(wire::CommitByHand {
            stamp: stamp.map(|stamp| stamp.0),
        }),
        ByHand::Abort => How::Abort(true),
        ByHand::Acknowledge => How::Acknowledge(true),
    };
    wire::SiteResolveRequest {
        gtid: gtid.0,
        how: Some(how),
        reason: reason.to_owned(),
    }
}

/// Which, how, and why.
pub(crate) fn site_resolve_of(
    request: wire::SiteResolveRequest,
) -> Result<(Gtid, ByHand, String), MalformedWire> {
    use wire::site_resolve_request::How;
    let missing = MalformedWire::Missing("site_resolve_request.how");
    let how = match request.how.ok_or(missing)? {
        How::Commit(wire::CommitByHand { stamp }) => {
            let stamp = stamp.map(|stamp| stamp_of(stamp, "commit_by_hand.stamp"));
            ByHand::Commit {
                stamp: stamp.transpose()?,
            }
        }
        How::Abort(true) => ByHand::Abort,
        How::Acknowledge(true) => ByHand::Acknowledge,
        How::Abort(false) | How::Acknowledge(false) => return Err(missing),
    };
    Ok((Gtid(request.gtid), how, request.reason))
}

pub(crate) fn done_by_hand_to_wire(done: Result<DoneByHand, Refused>) -> wire::SiteResolveReply {
    use wire::site_resolve_reply::Outcome;
    let outcome = match done {
        Ok(done) => Outcome::Done(wire::DoneByHand {
            decision: done.decision.map(decision_to_wire),
            along: done.along.into_iter().map(|gtid| gtid.0).collect(),
        }),
        Err(refused) => Outcome::Refused(refused.into()),
    };
    wire::SiteResolveReply {
        outcome: Some(outcome),
    }
}

pub(crate) fn done_by_hand_of(
    reply: wire::SiteResolveReply,
) -> Result<Result<DoneByHand, Refused>, MalformedWire> {
    use wire::site_resolve_reply::Outcome;
    let missing = MalformedWire::Missing("site_resolve_reply.outcome");
    Ok(match reply.outcome.ok_or(missing)? {
        Outcome::Done(done) => {
            let decision = done.decision.map(|decision| decision_of(Some(decision)));
            Ok(DoneByHand {
                decision: decision.transpose()?,
                along: done.along.into_iter().map(Gtid).collect(),
            })
        }
        Outcome::Refused(refused) => Err(refused.into()),
    })
}
