//! Where connections come from and go to: TCP, unless a program puts something else in its place, such as a
//! simulated network.
//!
//! TCP is the default everywhere and goes the way it would go without this module. Whatever takes its place
//! keeps what TCP keeps: bytes arrive in order, or the connection breaks.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

/// Takes connections in.
pub trait Listener: Send + Unpin + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection, and who is at its other end. Small packets must not wait for larger ones on it.
    ///
    /// # Errors
    /// If there is none for now: the caller asks again a moment later.
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, SocketAddr)>>;

    /// Where it listens.
    ///
    /// # Errors
    /// If it has no address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Stream, SocketAddr)>> {
        let accepted = Self::poll_accept(self, context);
        if let Poll::Ready(Ok((stream, _))) = &accepted {
            // A connection that cannot be set so has broken already: its first read says so.
            let _broken = stream.set_nodelay(true);
        }
        accepted
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

/// A connection that was opened.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>>;

/// Opens connections.
pub trait Connect: Send + Sync + 'static {
    /// Opens one to a host, a name or an address, and a port.
    fn connect(&self, host: &str, port: u16) -> Connecting;
}

/// How a program opens its connections: over TCP if nothing else is said.
#[derive(Clone, Default)]
pub struct Connector(pub(super) Option<Arc<dyn Connect>>);

impl Connector {
    /// Over TCP.
    #[must_use]
    pub const fn tcp() -> Self {
        Self(None)
    }

    /// Over something else.
    #[must_use]
    pub fn of(connect: impl Connect) -> Self {
        Self(Some(Arc::new(connect)))
    }
}

impl PartialEq for Connector {
    /// Whether both are TCP, or the very same.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Connector {}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Tcp",
            Some(_) => "Other",
        })
    }
}

/// What tonic asks for connections when they are not TCP.
#[derive(Clone)]
pub(super) struct Dial(pub(super) Arc<dyn Connect>);

impl Service<Uri> for Dial {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(usual);
        let connecting = self.0.connect(uri.host().unwrap_or_default(), port);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}
