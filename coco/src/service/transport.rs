//! Connections: no delay, keep-alive and bounds, the same on both ends.
//!
//! No-delay matters more than anything else here: a commit answers after a vote, and with delayed small
//! packets each such reply would wait for an acknowledgement, 44 ms instead of half of one. A tonic server
//! given its own listener ignores its no-delay switch, so it is set on the listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

/// The largest message, either way. A scan that returns more is refused; scan smaller ranges.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A silent connection is asked for a sign of life this often, and given up after as long without one.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How many calls one connection may have open.
const MAX_STREAMS: u32 = 16 * 1024;

/// A coordinator or site cannot be reached at such an address.
#[derive(Debug, thiserror::Error)]
#[error("`{uri}` is not an address; write it as http://HOST:PORT")]
pub struct InvalidUri {
    uri: String,
    #[source]
    source: tonic::transport::Error,
}

/// How to connect to `uri`.
pub(crate) fn endpoint(uri: &str) -> Result<Endpoint, InvalidUri> {
    let full = if uri.contains("://") {
        uri.to_owned()
    } else {
        format!("http://{uri}")
    };
    let endpoint = Endpoint::from_shared(full).map_err(|source| InvalidUri {
        uri: uri.to_owned(),
        source,
    })?;
    if endpoint.uri().authority().is_none() {
        let source = Endpoint::from_shared(Vec::new()).err();
        if let Some(source) = source {
            return Err(InvalidUri {
                uri: uri.to_owned(),
                source,
            });
        }
    }
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// Serves until `stop` comes, then finishes the calls in flight.
pub(crate) fn serve(
    listener: TcpListener,
    routes: Routes,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(
    SocketAddr,
    impl Future<Output = Result<(), tonic::transport::Error>> + Send,
)> {
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop);
    Ok((address, server))
}
