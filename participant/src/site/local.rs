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
            self.end_local(state, name, Decision::Abort);
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
            Ballot::Yes { stamp, read_only } => (stamp, read_only),
            Ballot::No(reason) => {
                self.end_local(state, name, Decision::Abort);
                done(LocalOutcome::Aborted {
                    cause: cause_of(reason),
                });
                return;
            }
        };
        if read_only || !state.durable {
            self.local_durable(state, name, stamp, done);
            return;
        }
        let prepared = self.participant.prepared(TxnName::Local(name));
        let prepared = prepared.expect("S2: nobody else ends a local transaction that has voted");
        let fits = SiteRecord::prepared_len(&prepared) <= MAX_SITE_RECORD_BYTES;
        if state.log_failed || !fits {
            self.end_local(state, name, Decision::Abort);
            done(LocalOutcome::Aborted {
                cause: AbortCause::LogFailure,
            });
            return;
        }
        state.count_alone(TxnName::Local(name));
        let record = SiteRecord::Local {
            stamp,
            changes: prepared.changes,
        };
        let inbox = Arc::clone(&self.inbox);
        self.log.append(
            &record.encode(),
            Box::new(move |written| match written {
                Ok(_lsn) => inbox.push(Event::LocalDurable(name, stamp, done)),
                Err(_) => {
                    inbox.push(Event::LogFailed);
                    inbox.push(Event::LocalLost(done));
                }
            }),
        );
    }

    /// Makes the transaction visible: its record is durable, or it needs none (S5).
    pub(super) fn local_durable(&self, state: &mut State, name: u64, stamp: Stamp, done: OnLocal) {
        self.end_local(state, name, Decision::Commit(stamp));
        done(LocalOutcome::Committed { stamp });
    }

    /// Its record may be on the disk: it stays as it is, neither visible nor undone, until a restart.
    pub(super) fn local_lost(done: OnLocal) {
        done(LocalOutcome::Unknown);
    }

    fn end_local(&self, state: &mut State, name: u64, decision: Decision) {
        let name = TxnName::Local(name);
        self.participant
            .decide(name, decision)
            .expect("S2: only who voted here is committed, and nobody else has ended it");
        self.mark_applied(state, name);
        state.ending.remove(&name);
    }

    /// A commit that has waited for its record is visible now (S4).
    pub(super) fn mark_applied(&self, state: &mut State, name: TxnName) {
        if let Some(ordinal) = state.alone.remove(&name) {
            self.log
                .append_lazy(&SiteRecord::Applied { ordinal }.encode());
        }
    }
}

impl State {
    /// The next append is the commit of a transaction that this site alone decides.
    pub(super) fn count_alone(&mut self, name: TxnName) {
        self.alone_count += 1;
        self.alone.insert(name, self.alone_count);
    }
}
