//! A client's requests, so that the client itself knows no wire type by name.

use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use tonic::Request;

use super::site::{range_to_wire, rows_of};
use super::{MalformedWire, Refused};
use crate::service::site::{Range, Row};
use crate::service::wire;

/// A request with its deadline.
pub(crate) fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

pub(crate) fn begin_request(count: u32, priority: Option<Priority>) -> wire::BeginRequest {
    wire::BeginRequest {
        count,
        priority: priority.map(|priority| priority.0),
    }
}

pub(crate) fn commit_request(
    gtid: Gtid,
    sites: &[String],
    dependent: bool,
    timeout: Duration,
) -> Request<wire::CommitRequest> {
    let mut request = Request::new(wire::CommitRequest {
        gtid: gtid.0,
        sites: sites.to_vec(),
        dependent,
    });
    request.set_timeout(timeout);
    request
}

pub(crate) fn rollback_request(
    gtid: Gtid,
    sites: &[String],
    timeout: Duration,
) -> Request<wire::RollbackRequest> {
    let mut request = Request::new(wire::RollbackRequest {
        gtid: gtid.0,
        sites: sites.to_vec(),
    });
    request.set_timeout(timeout);
    request
}

pub(crate) const fn sites_request() -> wire::SitesRequest {
    wire::SitesRequest {}
}

pub(crate) const fn statistics_request() -> wire::StatisticsRequest {
    wire::StatisticsRequest {}
}

pub(crate) const fn local_request(name: u64) -> wire::LocalRequest {
    wire::LocalRequest { local: name }
}

pub(crate) fn query_request(
    stamp: Stamp,
    range: Range,
    timeout: Duration,
) -> Request<wire::QueryRequest> {
    let range = Some(range_to_wire(range));
    let mut request = Request::new(wire::QueryRequest {
        stamp: stamp.0,
        range,
    });
    request.set_timeout(timeout);
    request
}

pub(crate) fn query_reply_of(
    reply: wire::QueryReply,
) -> Result<Result<Vec<Row>, Refused>, MalformedWire> {
    use wire::query_reply::Outcome;
    Ok(
        match reply
            .outcome
            .ok_or(MalformedWire::Missing("query_reply.outcome"))?
        {
            Outcome::Rows(rows) => Ok(rows_of(rows)),
            Outcome::Refused(refused) => Err(refused.into()),
        },
    )
}
