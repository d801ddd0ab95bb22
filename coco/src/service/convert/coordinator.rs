//! What clients and the coordinator say to each other.

use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};

use super::{MalformedWire, RefusedCode, cause_of, cause_to_wire};
use crate::protocol::{AbortCause, CommitAnswer, CoordinatorStats, Incarnation, Refusal, SiteName};
use crate::service::coordinator::{BeginGrant, SiteInfo, Statistics};
use crate::service::wire;

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
            retry_after_ms: None,
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

pub(crate) fn names_of(sites: Vec<String>) -> Result<Vec<SiteName>, MalformedWire> {
    if sites.iter().any(String::is_empty) {
        return Err(MalformedWire::Empty("sites"));
    }
    Ok(sites.iter().map(|name| SiteName::new(name)).collect())
}

pub(crate) fn grant_to_wire(grant: &BeginGrant) -> wire::BeginReply {
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

pub(crate) fn sites_to_wire(sites: Vec<SiteInfo>) -> wire::SitesReply {
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

pub(crate) fn statistics_to_wire(statistics: &Statistics) -> wire::CoordinatorStatistics {
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
    let mut counters = CoordinatorStats {
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
