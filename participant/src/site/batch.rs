//! What a site appends to its log while it is at work, handed over in one piece when it has come to the end.
//!
//! Votes that arrived together are then forced by one sync and reported by one call, however fast the disk is. Nobody
//! but the coordinator's memory waits for decisions, so a batch that has nothing else to force waits for one that has,
//! for a moment: most decisions are forced by the votes that come behind them and cost no sync of their own.
//!
//! Invariants:
//! - A1 Nothing else is appended while the batch holds something, so that the log has the records in the order of the
//!   effects.
//! - A2 What the batch holds is handed over within [`PATIENCE`] and a tick, and before a vote waits for it.

use std::sync::Arc;
use std::time::Duration;

use coco::protocol::Time;

use super::inbox::Event;
use super::{Site, State};

/// For how long decisions wait for a vote.
const PATIENCE: Duration = Duration::from_millis(2);

/// How many records wait at most.
const MOST: usize = 1024;

/// What it means that a record is durable, or cannot be.
type Then = Box<dyn FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send>;

#[derive(Default)]
pub(super) struct Batch {
    records: Vec<Vec<u8>>,
    then: Vec<Then>,
    /// Somebody waits for one of the records.
    urgent: bool,
    /// Until when decisions wait.
    until: Option<Time>,
}

impl Batch {
    /// Adds a record that somebody waits for.
    pub(super) fn force(
        &mut self,
        record: Vec<u8>,
        then: impl FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send + 'static,
    ) {
        self.urgent = true;
        self.force_soon(record, then);
    }

    /// Adds a record that has time (A2).
    pub(super) fn force_soon(
        &mut self,
        record: Vec<u8>,
        then: impl FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send + 'static,
    ) {
        self.records.push(record);
        self.then.push(Box::new(then));
    }

    pub(super) fn add_lazy(&mut self, record: Vec<u8>) {
        self.records.push(record);
    }

    /// Until when it waits, if it does.
    pub(super) const fn until(&self) -> Option<Time> {
        self.until
    }

    /// Whether it can wait, for a vote or the time that it is given now.
    fn waits(&mut self, now: Time) -> bool {
        let until = *self.until.get_or_insert(now + PATIENCE);
        !self.urgent && now < until && self.records.len() < MOST
    }
}

impl Site {
    /// Hands the batch to the log, unless it can wait. Says whether there was something to wait for: a log without a
    /// disk has reported it already.
    pub(super) fn append_batch(&self, state: &mut State, now: Time) -> bool {
        if state.batch.then.is_empty() {
            for record in std::mem::take(&mut state.batch).records {
                self.log.append_lazy(&record);
            }
            return false;
        }
        let nobody_waits = state.durable && !state.log_failed && !state.commits.is_awaited();
        if nobody_waits && state.batch.waits(now) {
            return false;
        }
        self.hand_over(state);
        true
    }

    /// Hands the batch to the log now.
    pub(super) fn hand_over(&self, state: &mut State) {
        let Batch { records, then, .. } = std::mem::take(&mut state.batch);
        if records.is_empty() {
            return;
        }
        let (logged, inbox) = (state.commits.on_logged(), Arc::clone(&self.inbox));
        self.log.append_all(
            &records,
            Box::new(move |written| {
                let written = written.map_or(Err(()), |_lsn| {
                    logged();
                    Ok(())
                });
                let events = then.into_iter().flat_map(|then| then(written));
                inbox.push_all(events.flatten());
            }),
        );
    }
}
