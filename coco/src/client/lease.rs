//! Identifiers fetched ahead.
//!
//! A lease grows while it is used up fast and starts small again when it ran out of time, so a client that
//! begins rarely fetches one by one and leaves nothing behind. Invariant (E1): an identifier is used within
//! half of the time for which the coordinator keeps it.
//!
//! When there is no room: (E2) nobody pauses while he holds the lease, or those behind him would wait for his
//! patience and then for their own. (E3) Until the time has passed that the coordinator asked for, nobody asks
//! for a fresh one: the refusal of one is that of all, and costs the coordinator nothing more. What was begun
//! before and aborted asks for itself.

use std::sync::PoisonError;
use std::time::Duration;

use co_core::{Gtid, Priority};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::backoff::Backoff;
use super::{ClientError, ClientOptions, error};
use crate::service::coordinator::BeginGrant;
use crate::service::{CoordinatorClient, Transport, begin_grant, begin_request, with_timeout};

#[derive(Debug)]
pub(super) struct Leases {
    coordinator: CoordinatorClient<Transport>,
    largest: u32,
    timeout: Duration,
    patience: Duration,
    present: Mutex<Lease>,
    /// Until when there is no room.
    refused: std::sync::Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Lease {
    next: Gtid,
    priority: Priority,
    left: u32,
    until: Instant,
    /// How many to fetch next.
    size: u32,
}

/// How often a coordinator that is just starting an epoch is asked again.
const ATTEMPTS: u32 = 20;

impl Leases {
    pub(super) fn new(coordinator: CoordinatorClient<Transport>, options: &ClientOptions) -> Self {
        let lease = Lease {
            next: Gtid(0),
            priority: Priority(0),
            left: 0,
            until: Instant::now(),
            size: 1,
        };
        Self {
            coordinator,
            largest: options.lease.max(1),
            timeout: options.operation_timeout,
            patience: options.overload_patience,
            present: Mutex::new(lease),
            refused: std::sync::Mutex::default(),
        }
    }

    /// A fresh transaction.
    pub(super) async fn next(&self) -> Result<(Gtid, Priority), ClientError> {
        let mut backoff = Backoff::new(self.patience);
        loop {
            match self.take().await {
                Err(ClientError::Overloaded { retry_after }) => {
                    self.again(&mut backoff, retry_after).await?;
                }
                taken => return taken,
            }
        }
    }

    /// Takes one that is here, or fetches some. One caller fetches at a time, and does not pause meanwhile (E2).
    async fn take(&self) -> Result<(Gtid, Priority), ClientError> {
        let mut lease = self.present.lock().await;
        if lease.left == 0 || Instant::now() >= lease.until {
            let used_up = lease.left == 0 && Instant::now() < lease.until;
            lease.size = if used_up {
                (lease.size * 2).min(self.largest)
            } else {
                1
            };
            if let Some(retry_after) = self.refused_for() {
                return Err(ClientError::Overloaded { retry_after });
            }
            let grant = self.fetch(lease.size, None).await?;
            lease.next = grant.first;
            lease.priority = grant.priority;
            lease.left = grant.count;
            lease.until = Instant::now() + grant.lease / 2;
        }
        let taken = (lease.next, lease.priority);
        lease.next.0 += 1;
        lease.priority.0 += 1;
        lease.left -= 1;
        Ok(taken)
    }

    /// Pauses after a refusal, unless patience ends before.
    async fn again(&self, backoff: &mut Backoff, after: Duration) -> Result<(), ClientError> {
        if backoff.pause(after).await {
            return Ok(());
        }
        Err(ClientError::Overloaded { retry_after: after })
    }

    /// Uses up no more of what was fetched ahead.
    pub(super) async fn discard(&self) {
        self.present.lock().await.left = 0;
    }

    /// A transaction of a given age.
    pub(super) async fn begin_as(&self, priority: Priority) -> Result<Gtid, ClientError> {
        let mut backoff = Backoff::new(self.patience);
        loop {
            match self.fetch(1, Some(priority)).await {
                Err(ClientError::Overloaded { retry_after }) => {
                    self.again(&mut backoff, retry_after).await?;
                }
                grant => return Ok(grant?.first),
            }
        }
    }

    /// Begun transactions that no answer tells of expire by themselves: asking again is harmless. A refusal for
    /// lack of room is handed on (E2).
    async fn fetch(
        &self,
        count: u32,
        priority: Option<Priority>,
    ) -> Result<BeginGrant, ClientError> {
        let mut pause = Duration::from_millis(2);
        let mut attempt = 1;
        loop {
            let request = with_timeout(begin_request(count, priority), self.timeout);
            match self.coordinator.clone().begin(request).await {
                Ok(reply) => return Ok(begin_grant(reply.into_inner())?),
                Err(status) if attempt < ATTEMPTS && is_passing(&status) => {
                    attempt += 1;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(200));
                }
                Err(status) => {
                    let error = error::of_coordinator(status);
                    if let ClientError::Overloaded { retry_after } = error {
                        self.refused(retry_after);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// For how long nobody needs to ask.
    fn refused_for(&self) -> Option<Duration> {
        let until = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn refused(&self, retry_after: Duration) {
        let until = Some(Instant::now() + retry_after);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused = until.max(*refused);
    }
}

fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown
    )
}
