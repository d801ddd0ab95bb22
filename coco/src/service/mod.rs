//! The protocol over gRPC: the coordinator's server, the participants' link to it, the sites' server for
//! clients.
//!
//! Only this module knows protobuf. What comes over the wire becomes plain values in `convert`, or a typed
//! error that names the field; state machines, engines and the [`client`](crate::client) see plain values.
//!
//! A participant keeps one long-lived bidirectional stream to its coordinator; every frame is whatever has
//! gathered since the last one, so a busy link has large frames and an idle one has no delay. Unary calls
//! serve clients.

mod accept;
pub mod audit;
mod convert;
pub mod coordinator;
mod guard;
mod health;
mod limits;
pub mod link;
pub mod metrics;
pub mod net;
pub mod process;
pub mod security;
pub mod site;
mod transport;
#[cfg(feature = "unstable-fuzz")]
#[doc(hidden)]
pub mod unstable_fuzz;
mod wire;

pub use convert::{MalformedWire, Refused, RefusedCode};
pub use guard::Front;
pub use limits::Limits;
pub use transport::{InvalidUri, MAX_MESSAGE_BYTES};

pub(crate) use convert::retry_after;
pub(crate) use convert::{
    answer_of, begin_grant, begin_request, commit_request, done_by_hand_of, execute_answer_of,
    execute_to_wire, history_of, history_request, local_request, pending_of, pending_request,
    query_reply_of, query_request, resolve_request, resolved_of, rollback_request, site_infos,
    site_resolve_request, site_statistics_of, sites_request, statistics_of, statistics_request,
    transactions_of, transactions_request, with_timeout,
};
pub(crate) use transport::{Transport, endpoint};
pub(crate) use wire::{
    CommitReply, coordinator_client::CoordinatorClient, site_service_client::SiteServiceClient,
};

#[cfg(test)]
mod tests;
