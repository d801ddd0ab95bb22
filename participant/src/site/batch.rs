//! What a site appends to its log while it is at work, handed over in one piece when it has come to the end.
//!
//! Votes that arrived together are then forced by one sync and reported by one call, however fast the disk is.
//!
//! Invariant (A1): nothing else is appended while the batch holds something, so that the log has the records in the
//! order of the effects.

use std::sync::Arc;

use super::inbox::Event;
use super::{Site, State};

/// What it means that a record is durable, or cannot be.
type Then = Box<dyn FnOnce(Result<(), ()>) -> [Option<Event>; 2] + Send>;

#[derive(Default)]
pub(super) struct Batch {
    records: Vec<Vec<u8>>,
    then: Vec<Then>,
}

impl Batch {
    pub(super) fn force(
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
}

impl Site {
    /// Hands the batch to the log. Says whether there was something to wait for: a log without a disk has reported
    /// it already.
    pub(super) fn append_batch(&self, state: &mut State) -> bool {
        let Batch { records, then } = std::mem::take(&mut state.batch);
        if then.is_empty() {
            for record in records {
                self.log.append_lazy(&record);
            }
            return false;
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
        true
    }
}
