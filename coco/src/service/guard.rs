//! What every call passes on its way in: the token, the role, a place among the calls that run, a deadline.
//!
//! Invariants: (G1) a call that is refused here has not been looked at by anybody else: nothing was changed.
//! (G2) Whoever was let in gives its place back when its answer has begun, or when it goes away.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::accept::Peer;
use super::convert::overloaded;
use super::limits::{Limits, Reason, Refusals};
use super::security::{Identity, ServerSecurity, access};

/// What a server lets in.
#[derive(Clone, Debug, Default)]
pub struct Front {
    /// Certificates and tokens.
    pub security: ServerSecurity,
    /// Bounds.
    pub limits: Limits,
    pub(crate) refusals: Arc<Refusals>,
}

impl Front {
    /// A front of these.
    #[must_use]
    pub fn new(security: ServerSecurity, limits: Limits) -> Self {
        Self {
            security,
            limits,
            refusals: Arc::default(),
        }
    }

    /// Counts a transaction that was refused for lack of room: the peer's own, or that of all.
    pub fn count_full(&self, own: bool) {
        let reason = if own {
            Reason::PeerTransactions
        } else {
            Reason::Transactions
        };
        self.refusals.count(reason);
    }

    /// What was refused so far, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (String, u64)> {
        let named = |(reason, count): (&str, u64)| (reason.to_owned(), count);
        self.refusals.counts().map(named)
    }
}

/// Who is counted as one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum PeerKey {
    Token(Arc<str>),
    Address(IpAddr),
    Unknown,
}

/// Who calls; travels with the request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: PeerKey,
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Caller {
    /// Of a request that has passed the guard.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        let caller = request.extensions().get::<Self>();
        caller.cloned().unwrap_or(Self {
            key: PeerKey::Unknown,
            identity: None,
        })
    }

    /// Its name in audits.
    pub(crate) fn name(&self) -> String {
        match (&self.identity, &self.key) {
            (Some(identity), _) => identity.name.to_string(),
            (None, PeerKey::Address(address)) => format!("somebody at {address}"),
            (None, PeerKey::Token(_) | PeerKey::Unknown) => "somebody".to_owned(),
        }
    }
}

/// The calls that run.
#[derive(Debug, Default)]
struct Running {
    peers: HashMap<PeerKey, usize>,
    all: usize,
}

#[derive(Debug)]
struct Shared {
    front: Front,
    running: Mutex<Running>,
}

/// A call's place among those that run (G2).
struct Place {
    shared: Arc<Shared>,
    key: PeerKey,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        running.all -= 1;
        if let Some(count) = running.peers.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.peers.remove(&self.key);
            }
        }
    }
}

/// Guards a service.
#[derive(Clone, Debug)]
pub(crate) struct Guard<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Guard<S> {
    pub(crate) fn new(inner: S, front: &Front) -> Self {
        let shared = Shared {
            front: front.clone(),
            running: Mutex::default(),
        };
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl Shared {
    fn refuse(&self, reason: Reason, status: Status) -> Status {
        self.front.refusals.count(reason);
        status
    }

    /// Who calls, and whether it may.
    fn authorize(&self, request: &http::Request<Body>) -> Result<Caller, Status> {
        let address = request.extensions().get::<Peer>();
        let address = address.and_then(|peer| peer.address);
        let by_address = address.map_or(PeerKey::Unknown, |it| PeerKey::Address(it.ip()));
        let path = request.uri().path();
        let Some(tokens) = self.front.security.tokens() else {
            return Ok(Caller {
                key: by_address,
                identity: None,
            });
        };
        if access::is_open(path) {
            return Ok(Caller {
                key: by_address,
                identity: None,
            });
        }
        let token = request.headers().get(http::header::AUTHORIZATION);
        let token = token.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let identity = token.and_then(|token| tokens.identity(token));
        let Some(identity) = identity else {
            let needed = "a token is needed that this server knows; send `authorization: Bearer`";
            return Err(self.refuse(Reason::Unauthenticated, Status::unauthenticated(needed)));
        };
        if !access::permits(path, identity.role) {
            let role = identity.role.as_str();
            let forbidden = format!("a token of role {role} may not call {path}");
            return Err(self.refuse(Reason::Forbidden, Status::permission_denied(forbidden)));
        }
        Ok(Caller {
            key: PeerKey::Token(Arc::clone(&identity.name)),
            identity: Some(identity),
        })
    }

    fn admit(self: &Arc<Self>, key: &PeerKey) -> Result<Place, Status> {
        let limits = &self.front.limits;
        let refused = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let all = running.all;
            let own = running.peers.entry(key.clone()).or_default();
            if *own >= limits.calls_per_peer {
                Some((Reason::PeerCalls, "you have too many calls open"))
            } else if all >= limits.calls {
                if *own == 0 {
                    running.peers.remove(key);
                }
                Some((Reason::Calls, "the server has too many calls open"))
            } else {
                *own += 1;
                running.all += 1;
                None
            }
        };
        match refused {
            Some((reason, words)) => {
                Err(self.refuse(reason, overloaded(words, limits.retry_after)))
            }
            None => Ok(Place {
                shared: Arc::clone(self),
                key: key.clone(),
            }),
        }
    }
}

impl<S> Service<http::Request<Body>> for Guard<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let admitted = self
            .shared
            .authorize(&request)
            .and_then(|caller| Ok((self.shared.admit(&caller.key)?, caller)));
        let (place, caller) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => return Box::pin(std::future::ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(caller);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let limit = place.shared.front.limits.call_timeout;
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_late) => {
                    let late = Status::deadline_exceeded("the call took longer than calls may");
                    Ok(place.shared.refuse(Reason::Deadline, late).into_http())
                }
            }
        })
    }
}
