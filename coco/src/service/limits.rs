//! Bounds of a server, and what it has refused because of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of a server. Every one of them is a promise to the others: no peer takes more than its share.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest message, either way, in bytes.
    pub message_bytes: usize,
    /// The largest list of headers, in bytes.
    pub header_bytes: u32,
    /// How many calls one connection may have open. HTTP/2 itself makes a client wait that wants more.
    pub calls_per_connection: u32,
    /// How many calls one peer may have open, over all its connections: a token, or an address if there
    /// are none.
    pub calls_per_peer: usize,
    /// How many calls may be open in all.
    pub calls: usize,
    /// How many undecided transactions one peer may have at a coordinator, and how many of one site alone at a site.
    pub transactions_per_peer: usize,
    /// How many transactions may be undecided in all.
    pub transactions: usize,
    /// How many operations one request may bring.
    pub operations: usize,
    /// How many connections there may be.
    pub connections: usize,
    /// How many connections one address may have.
    pub connections_per_address: usize,
    /// How long a call may take, whatever its client says.
    pub call_timeout: Duration,
    /// How long a connection may take to its first bytes of HTTP/2, the handshake of its encryption included.
    pub handshake_timeout: Duration,
    /// After how long a connection is asked to end and make place for a new one. Its calls may take
    /// `call_timeout` more.
    pub connection_age: Option<Duration>,
    /// When a peer that was refused for lack of room may come again.
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: super::MAX_MESSAGE_BYTES,
            header_bytes: 16 * 1024,
            calls_per_connection: 16 * 1024,
            calls_per_peer: 16 * 1024,
            calls: 64 * 1024,
            transactions_per_peer: 50_000,
            transactions: 100_000,
            operations: 16 * 1024,
            connections: 8 * 1024,
            connections_per_address: 4 * 1024,
            call_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(5),
            connection_age: None,
            retry_after: Duration::from_millis(50),
        }
    }
}

/// Why something was refused at the door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// No token, or one that nobody knows.
    Unauthenticated,
    /// The token's role may not, or not for that site.
    Forbidden,
    /// The peer has too many calls open.
    PeerCalls,
    /// There are too many calls open.
    Calls,
    /// The peer has too many undecided transactions.
    PeerTransactions,
    /// There are too many undecided transactions.
    Transactions,
    /// The server ends.
    Draining,
    /// The call took too long.
    Deadline,
    /// Too many connections.
    Connections,
    /// No handshake, or none in time.
    Handshake,
}

pub(crate) const REASONS: [(Reason, &str); 10] = [
    (Reason::Unauthenticated, "unauthenticated"),
    (Reason::Forbidden, "forbidden"),
    (Reason::PeerCalls, "calls_per_peer"),
    (Reason::Calls, "calls"),
    (Reason::PeerTransactions, "transactions_per_peer"),
    (Reason::Transactions, "transactions"),
    (Reason::Draining, "draining"),
    (Reason::Deadline, "deadline"),
    (Reason::Connections, "connections"),
    (Reason::Handshake, "handshake"),
];

/// How often what was refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals([AtomicU64; REASONS.len()]);

impl Refusals {
    pub(crate) fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason's name and count.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |&(reason, name): &(Reason, &'static str)| {
            (name, self.0[reason as usize].load(Ordering::Relaxed))
        };
        REASONS.iter().map(count)
    }
}
