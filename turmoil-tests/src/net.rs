//! The simulated network under the service: its listener and its connector.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use coco::service::net::{Connect, Connecting, Connection, Listener};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace::{Trace, now};

type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// A listener of a host.
pub(crate) struct SimListener {
    listener: Arc<TcpListener>,
    next: Option<Pin<Box<dyn Future<Output = Accepted> + Send>>>,
}

impl SimListener {
    /// Listens on a port of the host that this runs on.
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Self {
            listener: Arc::new(listener),
            next: None,
        })
    }
}

impl Listener for SimListener {
    type Stream = TcpStream;

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<Accepted> {
        let next = self.next.get_or_insert_with(|| {
            let listener = Arc::clone(&self.listener);
            Box::pin(async move { listener.accept().await })
        });
        let accepted = ready!(next.as_mut().poll(context));
        self.next = None;
        Poll::Ready(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Connects to other hosts by their names.
pub(crate) struct SimNet {
    pub(crate) from: String,
    pub(crate) trace: Arc<Trace>,
}

impl Connect for SimNet {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let (host, from, trace) = (host.to_owned(), self.from.clone(), Arc::clone(&self.trace));
        Box::pin(async move {
            let connected = TcpStream::connect((host.as_str(), port)).await;
            let what = match &connected {
                Ok(_) => format!("connected to {host}"),
                Err(error) => format!("not connected to {host}: {:?}", error.kind()),
            };
            trace.tell(now(), &from, &what);
            Ok(Box::new(connected?) as Box<dyn Connection>)
        })
    }
}
