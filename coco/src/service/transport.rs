//! Connections: no delay, keep-alive and bounds, the same on both ends.
//!
//! No-delay matters more than anything else here: a commit answers after a vote, and with delayed small
//! packets each such reply would wait for an acknowledgement, 44 ms instead of half of one. A tonic server
//! given its own listener ignores its no-delay switch, so the listener sets it on every connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};

use super::accept::Incoming;
use super::guard::{Front, Guard};
use super::net::{Connector, Dial, Listener};
use super::security::{Bearer, Credentials};

/// The largest message, either way, if nothing else is set. A scan that returns more is refused; scan
/// smaller ranges.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A silent connection is asked for a sign of life this often, and given up after as long without one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many streams a peer may have reset before the server has looked at them; beyond, the connection is
/// ended.
const MAX_RESETS: usize = 64;

/// A channel that shows a token with every call.
pub(crate) type Transport = tonic::service::interceptor::InterceptedService<Channel, Bearer>;

/// A coordinator or site cannot be reached at such an address.
#[derive(Debug, thiserror::Error)]
#[error("`{uri}` {problem}")]
pub struct InvalidUri {
    uri: String,
    problem: &'static str,
    #[source]
    source: Option<tonic::transport::Error>,
}

/// Where to connect to, and how.
pub(crate) struct Target {
    endpoint: Endpoint,
    connector: Connector,
}

impl Target {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        match &self.connector.0 {
            None => self.endpoint.connect().await,
            Some(connect) => {
                let dial = Dial(Arc::clone(connect));
                self.endpoint.connect_with_connector(dial).await
            }
        }
    }

    /// Connects when there is something to say.
    pub(crate) fn connect_lazy(&self) -> Channel {
        match &self.connector.0 {
            None => self.endpoint.connect_lazy(),
            Some(connect) => {
                let dial = Dial(Arc::clone(connect));
                self.endpoint.connect_with_connector_lazy(dial)
            }
        }
    }
}

/// How to connect to `uri`. Without a scheme it is encrypted if there is an authority to trust.
pub(crate) fn endpoint(
    uri: &str,
    credentials: &Credentials,
    connector: &Connector,
) -> Result<Target, InvalidUri> {
    let wrong = |problem, source| InvalidUri {
        uri: uri.to_owned(),
        problem,
        source,
    };
    let full = match (uri.contains("://"), credentials.has_tls()) {
        (true, _) => uri.to_owned(),
        (false, true) => format!("https://{uri}"),
        (false, false) => format!("http://{uri}"),
    };
    let no_address = "is not an address; write it as http://HOST:PORT or https://HOST:PORT";
    let endpoint = Endpoint::from_shared(full).map_err(|source| wrong(no_address, Some(source)))?;
    if endpoint.uri().authority().is_none() {
        return Err(wrong(no_address, None));
    }
    let encrypted = endpoint.uri().scheme_str() == Some("https");
    let endpoint = match (encrypted, credentials.loaded().tls) {
        (true, Some(tls)) => endpoint.tls_config(tls).map_err(|source| {
            let unusable = "cannot be reached with these certificates; mend them";
            wrong(unusable, Some(source))
        })?,
        (false, None) => endpoint,
        (true, None) => {
            let authority = "is encrypted; say with --tls-ca whose servers to trust";
            return Err(wrong(authority, None));
        }
        (false, Some(_)) => {
            let clear =
                "is in the clear, and there are certificates; write it as https://HOST:PORT";
            return Err(wrong(clear, None));
        }
    };
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    Ok(Target {
        endpoint,
        connector: connector.clone(),
    })
}

/// Serves until `stop` comes, then finishes the calls in flight.
pub(crate) fn serve<L: Listener, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    routes: Routes,
    front: &Front,
    stop: F,
) -> io::Result<(
    SocketAddr,
    impl Future<Output = Result<(), tonic::transport::Error>> + Send + use<L, F>,
)> {
    let address = listener.local_addr()?;
    let limits = &front.limits;
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .http2_max_header_list_size(limits.header_bytes)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .max_concurrent_streams(Some(limits.calls_per_connection));
    if let Some(age) = limits.connection_age {
        // With a grace of its own tonic would not ask at all, and cut the connection after both: see `accept`.
        server = server.max_connection_age(age);
    }
    let guarded = Guard::new(routes.prepare(), front);
    let incoming = Incoming::new(listener, front.clone());
    Ok((
        address,
        server.serve_with_incoming_shutdown(guarded, incoming, stop),
    ))
}
