//! Connections that come in: bounded, encrypted if the server says so, and ended when they do not get to the
//! point.
//!
//! Invariants: (C1) handshakes run beside each other and beside the accepting: a slow one delays nobody.
//! (C2) A connection that has not brought its first bytes of HTTP/2 in time is ended; from then on HTTP/2's
//! own pings end what does not answer. (C5) A connection that is old, was asked to end and has not when calls have had
//! their time, is ended: links are streams that have no end of their own. (C3) A new handshake takes the certificates of its moment. (C4) When
//! no more connections can be accepted, accepting pauses instead of spinning.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::guard::Front;
use super::limits::{Limits, Reason};
use super::net::Listener;

/// Length of what every HTTP/2 connection begins with.
const PREFACE: usize = 24;

/// How long accepting rests when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end; travels with every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place among those that are open.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// The connections of a listener.
pub(crate) struct Incoming<L: Listener> {
    listener: L,
    front: Front,
    open: Arc<Mutex<Open>>,
    handshakes: JoinSet<Option<Connection<L::Stream>>>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl<L: Listener> Incoming<L> {
    pub(crate) fn new(listener: L, front: Front) -> Self {
        Self {
            listener,
            front,
            open: Arc::default(),
            handshakes: JoinSet::new(),
            rest: None,
        }
    }

    /// A place for a new connection, if there is one.
    fn place(&self, address: IpAddr) -> Option<Place> {
        let limits = &self.front.limits;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_address.get(&address).copied().unwrap_or_default();
        if open.all >= limits.connections || own >= limits.connections_per_address {
            drop(open);
            self.front.refusals.count(Reason::Connections);
            return None;
        }
        open.all += 1;
        open.by_address.insert(address, own + 1);
        Some(Place {
            open: Arc::clone(&self.open),
            address,
        })
    }

    /// A connection whose handshake has ended well. To be asked after every spawn, so that the next one to
    /// end wakes this task.
    fn shaken(&mut self, context: &mut Context<'_>) -> Option<Connection<L::Stream>> {
        while let Poll::Ready(Some(ended)) = self.handshakes.poll_join_next(context) {
            if let Ok(Some(connection)) = ended {
                return Some(connection);
            }
        }
        None
    }

    /// Takes an accepted connection. Returns it if it is ready as it is.
    fn take(&mut self, stream: L::Stream, address: SocketAddr) -> Option<Connection<L::Stream>> {
        let place = self.place(address.ip())?;
        let patience = self.front.limits.handshake_timeout;
        let Some(tls) = self.front.security.tls() else {
            let limits = &self.front.limits;
            return Some(Connection::new(Io::Plain(stream), address, place, limits));
        };
        let refusals = Arc::clone(&self.front.refusals);
        let limits = self.front.limits.clone();
        self.handshakes.spawn(async move {
            let handshake = TlsAcceptor::from(tls).accept(stream);
            match tokio::time::timeout(patience, handshake).await {
                Ok(Ok(stream)) => {
                    let io = Io::Tls(Box::new(stream));
                    Some(Connection::new(io, address, place, &limits))
                }
                Ok(Err(_)) | Err(_) => {
                    refusals.count(Reason::Handshake);
                    None
                }
            }
        });
        None
    }
}

impl<L: Listener> Stream for Incoming<L> {
    type Item = io::Result<Connection<L::Stream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(connection) = self.shaken(context) {
                return Poll::Ready(Some(Ok(connection)));
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, address)) => {
                    if let Some(connection) = self.take(stream, address) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                // A peer that went away at once, or no descriptors (C4).
                Err(_) => self.rest = Some(Box::pin(tokio::time::sleep(PAUSE))),
            }
        }
    }
}

enum Io<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
}

/// One connection.
pub(crate) struct Connection<S> {
    io: Io<S>,
    peer: Peer,
    /// Until its first bytes have come (C2): how many are missing, and until when.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
    /// When it ends whatever runs on it (C5).
    end: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<S> Connection<S> {
    fn new(io: Io<S>, address: SocketAddr, place: Place, limits: &Limits) -> Self {
        let patience = limits.handshake_timeout;
        let longest = limits.connection_age.map(|age| age + limits.call_timeout);
        Self {
            io,
            peer: Peer {
                address: Some(address),
            },
            opening: Some((PREFACE, Box::pin(tokio::time::sleep(patience)))),
            end: longest.map(|longest| Box::pin(tokio::time::sleep(longest))),
            _place: place,
        }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if let Some((missing, late)) = &mut self.opening {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                self.opening = None;
            } else if polled.is_pending() && late.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        if polled.is_pending()
            && let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
