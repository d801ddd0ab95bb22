//! A participant with nothing to do: it votes YES to everything at once. What is left of a commit is the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use co_core::{Gtid, Priority, Stamp, Statistics, VoteRule};
use participant::engine::{EngineKind, Stored, open};
use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, KeyRange, OnBallot,
    Operation, Participant, Prepared, Reply, TxnName,
};
use participant::{Key, OperationError, Recorder, Value};

/// Says YES.
pub(crate) struct Idle {
    clock: AtomicU64,
    /// Has the store that a site asks for; nothing comes to it.
    empty: Arc<dyn Participant>,
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self {
            clock: AtomicU64::new(0),
            empty: open(EngineKind::Ss2pl, VoteRule::Withhold, Recorder::off()),
        }
    }
}

impl Participant for Idle {
    fn engine(&self) -> &'static str {
        "idle"
    }

    fn begin(&self, _begin: Begin) -> Result<(), OperationError> {
        Ok(())
    }

    fn execute<'a>(
        &'a self,
        _name: TxnName,
        _operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>> {
        Box::pin(std::future::ready(Ok(Reply::Done)))
    }

    fn prepare(&self, _name: TxnName, on_ballot: OnBallot) {
        let stamp = Stamp(self.clock.fetch_add(1, Ordering::Relaxed) + 1);
        on_ballot(Ballot::Yes {
            stamp,
            read_only: false,
            depends: Dependencies::default(),
        });
    }

    fn prepared(&self, _name: TxnName) -> Option<Prepared> {
        Some(Prepared::default())
    }

    fn decide(&self, _name: TxnName, _decision: Decision) -> Result<(), OperationError> {
        Ok(())
    }

    fn query<'a>(
        &'a self,
        stamp: Stamp,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>> {
        self.empty.query(stamp, range)
    }

    fn blocked(&self) -> Vec<Blocked> {
        Vec::new()
    }

    fn recover(&self, _gtid: Gtid, _priority: Priority, _stamp: Stamp, _prepared: Prepared) {}

    fn restore(&self, _stamp: Stamp, _changes: Vec<Change>) {}

    fn stored(&self) -> &dyn Stored {
        self.empty.stored()
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }

    fn recorder(&self) -> &Recorder {
        self.empty.recorder()
    }
}
