//! Checkpoints: how the log of a site with a durable storage stays short.
//!
//! When the log has grown by enough, one record is appended that says all that the records before it say, but
//! for the committed data, and behind it what was decided by hand and is not settled, and the `Prepared` records of the
//! transactions in doubt once more. When they
//! are durable, everything that was committed before them is made durable in the storage, and only then the log
//! is cut before them. Recovery starts from the last checkpoint whose commits are in the storage. Work goes on
//! meanwhile, except that this site stands still while the storage persists.
//!
//! A site whose storage is volatile keeps its whole log: there is nothing else to start from.

use std::io;
use std::sync::Arc;

use coco::failpoint;
use coco::log::Lsn;

use super::inbox::Event;
use super::{Site, SiteRecord, State};
use crate::participant::TxnName;

/// How much a log grows between checkpoints, unless the owner says otherwise.
pub const CHECKPOINT_BYTES: u64 = 16 << 20;

/// How many one-phase outcomes a checkpoint keeps. A coordinator that asks for an older one hears that it is
/// unknown.
pub(super) const REMEMBERED_OUTCOMES: usize = 4096;

/// What a frame of the log takes besides its payload, about.
const FRAME_BYTES: u64 = 28;

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Checkpoints {
    every: u64,
    /// How many bytes were appended since the last one.
    since: u64,
    /// How large the last one was.
    last: u64,
    running: bool,
    pub(super) done: u64,
    /// Why the log could not be cut the last time.
    pub(super) failure: Option<Arc<io::Error>>,
}

impl Checkpoints {
    /// The log holds this many bytes.
    pub(super) const fn new(bytes: u64) -> Self {
        Self {
            every: CHECKPOINT_BYTES,
            since: bytes,
            last: 0,
            running: false,
            done: 0,
            failure: None,
        }
    }

    pub(super) const fn set_every(&mut self, bytes: u64) {
        self.every = bytes;
    }

    pub(super) const fn count(&mut self, record: &[u8]) {
        self.since += record.len() as u64 + FRAME_BYTES;
    }

    /// Not while one is running, and not if little but the last one was written.
    fn is_due(&self) -> bool {
        !self.running && self.since >= self.every.max(2 * self.last)
    }
}

impl Site {
    /// Appends a checkpoint if it is time.
    pub(super) fn checkpoint(&self, state: &mut State) {
        let wanted = state.checkpoints.is_due() && state.alive && !state.log_failed;
        if !wanted || !self.participant.stored().storage().is_durable() {
            return;
        }
        self.fails_at("site: checkpoint");
        // A1, and what the batch has decided is not in doubt.
        self.hand_over(state);
        let by_hand = state.voter.heuristics_in_log();
        let mut records = vec![Self::summary(state, by_hand.len())];
        records.extend(
            by_hand
                .into_iter()
                .map(|it| SiteRecord::ByHandState(it).encode()),
        );
        let doubts = state.doubts.in_order().into_iter();
        for doubt in doubts.filter(|doubt| doubt.decided.is_none()) {
            let gtid = doubt.vote.gtid;
            let prepared = self.participant.prepared(TxnName::Global(gtid));
            assert!(
                prepared.is_some() || doubt.has_depended,
                "S2: who is in doubt has voted, and is not undone but with what it depended on"
            );
            let priority = state.priorities.get(&gtid).copied();
            let depends = doubt.depends();
            let record = SiteRecord::Prepared {
                gtid,
                priority: priority.expect("S2: who voted has begun here and not ended"),
                stamp: doubt.vote.stamp,
                read_only: doubt.vote.read_only,
                prepared: prepared.unwrap_or_default(),
                after: depends.after.into_iter().collect(),
                if_committed: depends.if_committed.into_iter().collect(),
            };
            records.push(record.encode());
        }
        state.checkpoints.running = true;
        state.checkpoints.since = 0;
        state.checkpoints.last = records.iter().map(|record| record.len() as u64).sum();
        let behind = records.len() as u64 - 1;
        let (logged, inbox) = (state.commits.on_logged(), Arc::clone(&self.inbox));
        let ordinal = state.commits.given;
        self.log.append_all(
            &records,
            Box::new(move |written| {
                inbox.push(match written {
                    Ok(last) => {
                        logged();
                        // Nobody else appends to this log.
                        Event::Checkpointed(Lsn(last.0 - behind), ordinal)
                    }
                    Err(_) => Event::LogFailed,
                });
            }),
        );
    }

    fn summary(state: &State, by_hand: usize) -> Vec<u8> {
        let doubts = state.doubts.all.values();
        let in_doubt = by_hand + doubts.filter(|doubt| doubt.decided.is_none()).count();
        let record = SiteRecord::Checkpoint {
            incarnation: state.incarnation,
            clock: state.clock,
            ordinal: state.commits.given,
            in_doubt: u32::try_from(in_doubt).expect("transactions in doubt fit into memory"),
            outcomes: state.outcomes.iter().copied().collect(),
        };
        record.encode()
    }

    /// The checkpoint that begins at `first` is durable: so are the commits up to `ordinal`, and they are
    /// applied.
    pub(super) fn checkpointed(&self, state: &mut State, first: Lsn, ordinal: u64) {
        self.settle(state);
        state.checkpoints.running = false;
        if state.log_failed {
            return;
        }
        self.fails_at("site: persist");
        let stored = self.participant.stored();
        let mark = match stored.persist() {
            Ok(mark) => mark,
            Err(_) if stored.failure().is_some() => {
                self.inbox.push(Event::LogFailed);
                return;
            }
            // Not now: a database may be away. The log stays whole, and the next checkpoint tries again.
            Err(error) => {
                state.checkpoints.failure = Some(Arc::new(io::Error::other(error)));
                return;
            }
        };
        assert!(
            mark.ordinal >= ordinal,
            "S6: nothing is cut that the storage has not"
        );
        // A log that cannot be cut is whole; the next checkpoint tries again.
        let cut = failpoint::io("site: cut").and_then(|()| self.log.cut_before(first));
        state.checkpoints.failure = cut.err().map(Arc::new);
        self.fails_at("site: cut done");
        state.checkpoints.done += 1;
    }
}
