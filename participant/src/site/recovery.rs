//! Opening a site on what its log holds.
//!
//! Commits that change nothing leave no record, but they had stamps. So that stamps go on growing over a
//! restart, each life starts its clock [`CLOCK_STEP`] beyond the largest stamp in the log: more than the
//! votes of one life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{Decision, Dependencies, Durability, InDoubt, Incarnation, Time, Voter};

use super::inbox::{Event, Inbox};
use super::{Parts, Site, SiteConfig, SiteRecord, SiteRecordError, State};
use crate::participant::{Change, Participant, Prepared, TxnName};
use crate::sync::Mutex;

/// Why a site's records make no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A record cannot be read.
    #[error("record {index} of the site's log cannot be read: {source}")]
    Record {
        /// Its place, from 1.
        index: usize,
        /// Why.
        source: SiteRecordError,
    },
    /// A commit that nobody asked for is said to have been applied.
    #[error(
        "record {index} of the site's log says that commit {ordinal} was applied, which is not there; \
         restore the whole log folder from a copy"
    )]
    NotWaiting {
        /// Its place, from 1.
        index: usize,
        /// Which commit.
        ordinal: u64,
    },
    /// A commit of a transaction that was never prepared, or was decided before: records are missing, or
    /// the log is not one site's.
    #[error(
        "record {index} of the site's log commits {gtid}, which is not in doubt there; \
         restore the whole log folder from a copy"
    )]
    NotInDoubt {
        /// Its place, from 1.
        index: usize,
        /// Whose commit.
        gtid: Gtid,
    },
}

struct Doubt {
    priority: Priority,
    stamp: Stamp,
    read_only: bool,
    prepared: Prepared,
}

/// How far the clock jumps with each life.
const CLOCK_STEP: u64 = 1 << 32;

/// What the records add up to, beyond what the engine was told.
#[derive(Default)]
struct Replayed {
    lives: Incarnation,
    clock: Stamp,
    in_doubt: BTreeMap<Gtid, Doubt>,
    one_phase: Vec<(Gtid, Stamp)>,
    /// Commits whose marker has not come, by their place among those of the log.
    waiting: BTreeMap<u64, (Stamp, Vec<Change>)>,
    alone_count: u64,
}

pub(super) fn open(
    config: SiteConfig,
    parts: Parts,
    records: &[Vec<u8>],
    now: Time,
) -> Result<Site, RecoverError> {
    let durable = config.voter.durability == Durability::Durable;
    let mut replayed = replay(&*parts.participant, records)?;
    // Durable, and never applied: they were the last to come.
    for (ordinal, (stamp, changes)) in std::mem::take(&mut replayed.waiting) {
        parts.participant.restore(stamp, changes);
        parts
            .log
            .append_lazy(&SiteRecord::Applied { ordinal }.encode());
    }
    let incarnation = if durable {
        Incarnation(replayed.lives.0 + 1)
    } else {
        config.incarnation
    };
    let clock = if incarnation.0 > 1 && durable {
        Stamp(replayed.clock.0.saturating_add(CLOCK_STEP))
    } else {
        replayed.clock
    };
    parts.participant.restore(clock, Vec::new());
    let mut ending = BTreeSet::new();
    let mut priorities = BTreeMap::new();
    let mut in_doubt = Vec::new();
    for (gtid, doubt) in replayed.in_doubt {
        let Doubt {
            priority,
            stamp,
            read_only,
            prepared,
        } = doubt;
        parts.participant.recover(gtid, priority, stamp, prepared);
        ending.insert(TxnName::Global(gtid));
        priorities.insert(gtid, priority);
        in_doubt.push(InDoubt {
            gtid,
            stamp,
            read_only,
            depends: Dependencies::default(),
            broken: false,
        });
    }
    let voter = Voter::recover(config.voter, incarnation, now, in_doubt, replayed.one_phase);
    let state = State {
        voter,
        incarnation,
        durable,
        alive: !durable,
        links_wait: BTreeSet::new(),
        log_failed: false,
        priorities,
        ending,
        prepared: BTreeMap::new(),
        alone: BTreeMap::new(),
        alone_count: replayed.alone_count,
        aborted: BTreeMap::new(),
        aborted_order: VecDeque::new(),
    };
    let site = Site {
        name: config.name,
        participant: parts.participant,
        log: parts.log,
        outbox: parts.outbox,
        inbox: Arc::new(Inbox::new(parts.wake)),
        state: Mutex::new(state),
    };
    if durable {
        begin_life(&site, &SiteRecord::Life { incarnation, clock });
    }
    Ok(site)
}

/// Has the record of this life written; the site says nothing before it is durable (S3).
fn begin_life(site: &Site, record: &SiteRecord) {
    let inbox = Arc::clone(&site.inbox);
    site.log.append(
        &record.encode(),
        Box::new(move |written| {
            inbox.push(written.map_or(Event::LogFailed, |_lsn| Event::Alive));
        }),
    );
}

/// Tells the engine what has committed, in the order of the log (S4), and gathers the rest.
fn replay(participant: &dyn Participant, records: &[Vec<u8>]) -> Result<Replayed, RecoverError> {
    let mut replayed = Replayed::default();
    for (bytes, index) in records.iter().zip(1..) {
        let record = SiteRecord::decode(bytes);
        match record.map_err(|source| RecoverError::Record { index, source })? {
            SiteRecord::Life { incarnation, clock } => {
                replayed.lives = replayed.lives.max(incarnation);
                replayed.clock = replayed.clock.max(clock);
            }
            SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
            } => {
                replayed.clock = replayed.clock.max(stamp);
                let doubt = Doubt {
                    priority,
                    stamp,
                    read_only,
                    prepared,
                };
                replayed.in_doubt.insert(gtid, doubt);
            }
            SiteRecord::Decision { gtid, decision } => {
                let doubt = replayed.in_doubt.remove(&gtid);
                match (decision, doubt) {
                    (Decision::Commit { stamp }, Some(doubt)) => {
                        replayed.clock = replayed.clock.max(stamp);
                        participant.restore(stamp, doubt.prepared.changes);
                    }
                    (Decision::Commit { .. }, None) => {
                        return Err(RecoverError::NotInDoubt { index, gtid });
                    }
                    (Decision::Abort { .. }, _) => {}
                }
            }
            SiteRecord::OnePhase {
                gtid,
                stamp,
                changes,
            } => {
                replayed.alone(stamp, changes);
                replayed.one_phase.push((gtid, stamp));
            }
            SiteRecord::Local { stamp, changes } => replayed.alone(stamp, changes),
            SiteRecord::Applied { ordinal } => {
                let waiting = replayed.waiting.remove(&ordinal);
                let (stamp, changes) =
                    waiting.ok_or(RecoverError::NotWaiting { index, ordinal })?;
                participant.restore(stamp, changes);
            }
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn alone(&mut self, stamp: Stamp, changes: Vec<Change>) {
        self.clock = self.clock.max(stamp);
        self.alone_count += 1;
        self.waiting.insert(self.alone_count, (stamp, changes));
    }
}
