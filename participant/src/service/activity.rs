//! Which transactions work here, when their clients were last heard of, and how many local ones each peer has.
//!
//! Invariant (A1): a local transaction counts for its peer until it is decided, its wait for the decision included:
//! whoever holds its [`Held`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coco::protocol::AbortCause;
use coco::service::site::Peer;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::participant::TxnName;
use crate::site::Site;
use crate::sync::Mutex;

#[derive(Debug)]
pub(super) struct Activity {
    /// In order, so that silent ones are given up in the same order each time.
    known: Mutex<BTreeMap<TxnName, Entry>>,
    held: Arc<Mutex<HashMap<Peer, usize>>>,
    /// The driver wants to be told of the next beginning.
    resting: AtomicBool,
    stir: Notify,
}

#[derive(Debug)]
struct Entry {
    running: bool,
    last: Instant,
    /// Of a local transaction.
    held: Option<Held>,
}

/// A peer's local transaction.
#[derive(Debug)]
pub(super) struct Held {
    peer: Peer,
    all: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

/// Why an operation may not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotNow {
    Unknown,
    Busy,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::default(),
            held: Arc::default(),
            resting: AtomicBool::new(false),
            stir: Notify::new(),
        }
    }

    /// Whoever drives the site rests until the next transaction begins.
    pub(super) fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
    }

    /// Ends when a transaction has begun since it rested.
    pub(super) async fn stirred(&self) {
        self.stir.notified().await;
    }

    /// One more local transaction of this peer; `None` if it has as many as it may.
    pub(super) fn hold(&self, peer: Peer, limit: usize) -> Option<Held> {
        let mut held = self.held.lock();
        let count = held.get(&peer).copied().unwrap_or_default();
        if count >= limit {
            return None;
        }
        held.insert(peer.clone(), count + 1);
        let all = Arc::clone(&self.held);
        Some(Held { peer, all })
    }

    /// The transaction, which the site knows, begins with an operation that is about to run.
    pub(super) fn begin<'a>(
        &'a self,
        site: &'a Site,
        name: TxnName,
        held: Option<Held>,
    ) -> Running<'a> {
        let entry = Entry {
            running: true,
            last: Instant::now(),
            held,
        };
        self.known.lock().insert(name, entry);
        if self.resting.swap(false, Ordering::SeqCst) {
            self.stir.notify_one();
        }
        Running {
            activity: self,
            site,
            name,
            done: false,
        }
    }

    /// An operation is about to run (P1).
    pub(super) fn enter<'a>(
        &'a self,
        site: &'a Site,
        name: TxnName,
    ) -> Result<Running<'a>, NotNow> {
        let mut known = self.known.lock();
        let entry = known.get_mut(&name).ok_or(NotNow::Unknown)?;
        if std::mem::replace(&mut entry.running, true) {
            return Err(NotNow::Busy);
        }
        Ok(Running {
            activity: self,
            site,
            name,
            done: false,
        })
    }

    /// The transaction does no more work. Says whether an operation is running, and hands over its place among
    /// those of its peer; `None` if it is not known.
    pub(super) fn remove(&self, name: TxnName) -> Option<(bool, Option<Held>)> {
        let entry = self.known.lock().remove(&name)?;
        Some((entry.running, entry.held))
    }

    /// Gives up the transactions whose clients are silent (P3), and forgets those that have ended.
    pub(super) fn reap(&self, site: &Site, idle_timeout: Duration) {
        let silent: Vec<TxnName> = {
            let known = self.known.lock();
            let is_silent = |entry: &Entry| !entry.running && entry.last.elapsed() >= idle_timeout;
            known
                .iter()
                .filter(|(_, entry)| is_silent(entry))
                .map(|(name, _)| *name)
                .collect()
        };
        for name in silent {
            // If not: its vote was asked for, and it goes when it is decided.
            if site.abandon(name, AbortCause::Timeout) {
                self.known.lock().remove(&name);
            }
        }
    }
}

/// An operation that runs. Dropped before it is done (its client has gone, or it waited too long) it ends
/// its transaction (P2): a lock request may be left behind otherwise.
pub(super) struct Running<'a> {
    activity: &'a Activity,
    site: &'a Site,
    name: TxnName,
    done: bool,
}

impl Running<'_> {
    /// The operation has ended, and the transaction goes on.
    pub(super) fn done(mut self) {
        self.done = true;
        if let Some(entry) = self.activity.known.lock().get_mut(&self.name) {
            entry.running = false;
            entry.last = Instant::now();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.activity.remove(self.name);
            self.site.abandon(self.name, AbortCause::Timeout);
        }
    }
}
