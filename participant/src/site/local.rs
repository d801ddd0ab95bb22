//! Commits of transactions that touch this site alone: through the same gate, without the coordinator.

use std::sync::Arc;

use co_core::Stamp;
use coco::protocol::AbortCause;

use super::inbox::Event;
use super::{MAX_SITE_RECORD_BYTES, Site, SiteRecord, State, cause_of};
use crate::participant::{Ballot, Decision, TxnName};

/// Called once with the outcome of a local commit; must not call back into the site.
pub type OnLocal = Box<dyn FnOnce(LocalOutcome) + Send>;

/// What became of a local transaction that asked for its commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalOutcome {
    /// Committed and, at a durable site, on the disk.
    Committed {
        /// Its place in the order of all sites.
        stamp: Stamp,
    },
    /// Undone.
    Aborted {
        /// Why.
        cause: AbortCause,
    },
    /// The log failed under it; only the next start can tell what became of it. Never a "no".
    Unknown,
}

impl Site {
    pub(super) fn start_local(&self, state: &mut State, name: u64, done: OnLocal) {
        if state.log_failed {
            self.abort_local(state, name);
            done(LocalOutcome::Aborted {
                cause: AbortCause::LogFailure,
            });
            return;
        }
        if !state.ending.insert(TxnName::Local(name)) {
            done(LocalOutcome::Aborted {
                cause: AbortCause::UnknownTransaction,
            });
            return;
        }
        let inbox = Arc::clone(&self.inbox);
        self.participant.prepare(
            TxnName::Local(name),
            Box::new(move |ballot| inbox.push(Event::LocalReleased(name, ballot, done))),
        );
    }

    pub(super) fn local_released(
        &self,
        state: &mut State,
        name: u64,
        ballot: Ballot,
        done: OnLocal,
    ) {
        let (stamp, read_only) = match ballot {
            Ballot::Yes {
                stamp, read_only, ..
            } => (stamp, read_only),
            Ballot::No(reason) => {
                self.abort_local(state, name);
                done(LocalOutcome::Aborted {
                    cause: cause_of(reason),
                });
                return;
            }
        };
        state.clock = state.clock.max(stamp);
        if read_only || !state.durable {
            self.local_durable(state, name, stamp, done);
            return;
        }
        let prepared = self.participant.prepared(TxnName::Local(name));
        let prepared = prepared.expect("S2: nobody else ends a local transaction that has voted");
        let fits = SiteRecord::prepared_len(&prepared) <= MAX_SITE_RECORD_BYTES;
        if state.log_failed || !fits {
            self.abort_local(state, name);
            done(LocalOutcome::Aborted {
                cause: AbortCause::LogFailure,
            });
            return;
        }
        let ordinal = state.commits.give_alone(TxnName::Local(name));
        let changes = prepared.changes;
        let record = if self.participant.keeps_branches() {
            SiteRecord::NamedLocal {
                name,
                stamp,
                ordinal,
                changes,
            }
        } else {
            SiteRecord::Local {
                stamp,
                ordinal,
                changes,
            }
        };
        Self::force(state, &record, move |written| match written {
            Ok(()) => [Some(Event::LocalDurable(name, stamp, done)), None],
            Err(()) => [Some(Event::LogFailed), Some(Event::LocalLost(done))],
        });
    }

    /// Makes the transaction visible: its record is durable, or it needs none (S5).
    pub(super) fn local_durable(&self, state: &mut State, name: u64, stamp: Stamp, done: OnLocal) {
        self.commit(state, TxnName::Local(name), 0, stamp);
        let ended = !state.ending.contains(&TxnName::Local(name));
        done(if ended {
            LocalOutcome::Committed { stamp }
        } else {
            // In the log, and the storage failed under it.
            LocalOutcome::Unknown
        });
    }

    /// Its record may be on the disk: it stays as it is, neither visible nor undone, until a restart.
    pub(super) fn local_lost(done: OnLocal) {
        done(LocalOutcome::Unknown);
    }

    fn abort_local(&self, state: &mut State, name: u64) {
        let name = TxnName::Local(name);
        self.participant
            .decide(name, Decision::Abort)
            .expect("S2: nobody else has committed it");
        state.forget(name);
    }
}
