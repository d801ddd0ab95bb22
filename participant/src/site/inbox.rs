//! What engine and log report, from any thread, until the owner comes to take it.
//!
//! Invariant (B1): whenever an event lies in the inbox, its owner is draining it or has been woken since.

use std::collections::VecDeque;

use co_core::{Gtid, Stamp};
use coco::log::Lsn;
use coco::protocol::{ByHand, Token};

use super::{OnByHand, OnLocal, Wake};
use crate::participant::Ballot;
use crate::sync::Mutex;

pub(super) enum Event {
    /// The engine voted on a global transaction.
    Released(Gtid, Ballot),
    /// The engine voted on a local one.
    LocalReleased(u64, Ballot, OnLocal),
    /// A record of the voter is durable.
    Durable(Token),
    /// The record of this life is durable.
    Alive,
    /// The record of a local commit is durable.
    LocalDurable(u64, Stamp, OnLocal),
    /// The record of a local commit is not, and may be on the disk nevertheless.
    LocalLost(OnLocal),
    /// A vote that was held back until the log had caught up.
    HeldBack(Box<Self>),
    /// An operator wants something of a transaction.
    ByHand(Gtid, ByHand, OnByHand),
    /// A checkpoint is durable, which begins here and has the commits up to this ordinal before it.
    Checkpointed(Lsn, u64),
    /// The log takes no more records, or the storage no more commits.
    LogFailed,
}

pub(super) struct Inbox {
    queue: Mutex<Queue>,
    wake: Wake,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    draining: bool,
}

impl Inbox {
    pub(super) fn new(wake: Wake) -> Self {
        Self {
            queue: Mutex::default(),
            wake,
        }
    }

    pub(super) fn push(&self, event: Event) {
        self.push_all(std::iter::once(event));
    }

    /// With one wake for all.
    pub(super) fn push_all(&self, events: impl IntoIterator<Item = Event>) {
        let mut queue = self.queue.lock();
        queue.events.extend(events);
        let draining = queue.draining || queue.events.is_empty();
        drop(queue);
        if !draining {
            (self.wake)();
        }
    }

    /// The next event. After `None` the owner is woken again for every event that comes.
    pub(super) fn pop(&self) -> Option<Event> {
        let mut queue = self.queue.lock();
        let event = queue.events.pop_front();
        queue.draining = event.is_some();
        event
    }
}
