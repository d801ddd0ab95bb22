//! The protocol over gRPC: the coordinator's server, the participants' link to it, the sites' server for
//! clients.
//!
//! Only this module knows protobuf. What comes over the wire becomes plain values in `convert`, or a typed
//! error that names the field; state machines, engines and the [`client`](crate::client) see plain values.
//!
//! A participant keeps one long-lived bidirectional stream to its coordinator; every frame is whatever has
//! gathered since the last one, so a busy link has large frames and an idle one has no delay. Unary calls
//! serve clients.

mod convert;
pub mod coordinator;
pub mod link;
pub mod process;
pub mod site;
mod transport;
#[cfg(feature = "unstable-fuzz")]
#[doc(hidden)]
pub mod unstable_fuzz;
mod wire;

pub use convert::{MalformedWire, Refused, RefusedCode};
pub use transport::{InvalidUri, MAX_MESSAGE_BYTES};

pub(crate) use convert::{
    answer_of, begin_grant, begin_request, commit_request, execute_answer_of, execute_to_wire,
    local_request, query_reply_of, query_request, rollback_request, site_infos, site_statistics_of,
    sites_request, statistics_of, statistics_request,
};
pub(crate) use transport::endpoint;
pub(crate) use wire::{
    coordinator_client::CoordinatorClient, site_service_client::SiteServiceClient,
};

#[cfg(test)]
mod tests;
