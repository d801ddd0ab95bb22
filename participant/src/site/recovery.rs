//! Opening a site on what its log and its storage hold.
//!
//! A durable storage has a prefix of the commits of the log (S6) and says how many. So replaying starts at the
//! last checkpoint that is not beyond it, and skips the commits that are there: doing them again would count
//! increments twice.
//!
//! Commits that change nothing leave no record, but they had stamps. So that stamps go on growing over a
//! restart, each life starts its clock [`CLOCK_STEP`] beyond the largest stamp in the log: more than the
//! votes of one life.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{
    AbortCause, Decision, Dependencies, Durability, Heuristic, InDoubt, Incarnation, Time, Voter,
};

use super::batch::Batch;
use super::checkpoint::{Checkpoints, REMEMBERED_OUTCOMES};
use super::commits::{Commits, Doubts};
use super::inbox::{Event, Inbox};
use super::{Parts, Site, SiteConfig, SiteRecord, SiteRecordError, State};
use crate::engine::each_row;
use crate::participant::{Change, Participant, Prepared, TxnName, Value};
use crate::storage::StorageError;
use crate::sync::Mutex;

/// Why a site does not open.
#[derive(Clone, Debug, thiserror::Error)]
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
        "record {index} of the site's log says that commit {place} was applied, which is not there; \
         restore the whole log folder from a copy"
    )]
    NotWaiting {
        /// Its place, from 1.
        index: usize,
        /// Which commit.
        place: u64,
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
    /// A commit has another ordinal than its place: records are missing, or the log is not one site's.
    #[error(
        "record {index} of the site's log is numbered as commit {found}, and commit {expected} is due; \
         restore the whole log folder from a copy"
    )]
    OutOfOrder {
        /// Its place, from 1.
        index: usize,
        /// Its ordinal.
        found: u64,
        /// What must come.
        expected: u64,
    },
    /// The storage lacks commits that are not in the log any more.
    #[error(
        "the store holds the site's commits up to {stored}, and the log begins after commit {cut}: open the \
         store that belongs to this log, or restore the folders of both from one copy"
    )]
    StoreBehind {
        /// The last commit in the storage.
        stored: u64,
        /// The last commit that the log does not have.
        cut: u64,
    },
    /// The storage has commits that the log does not know: the log, or its end, is lost.
    #[error(
        "the store holds the site's commits up to {stored}, and the log only up to {logged}: records of the log \
         are lost, and with them what is in doubt; restore the folders of log and store from one copy"
    )]
    StoreAhead {
        /// The last commit in the storage.
        stored: u64,
        /// The last commit in the log.
        logged: u64,
    },
    /// A vote depends on others that are in doubt, and the engine cannot take both up.
    #[error(
        "the site's log holds the vote on {gtid}, which depends on others in doubt, and the engine {engine} gives no \
         such votes: open the site with the engine that wrote the log until they are decided"
    )]
    DependentVote {
        /// Whose vote.
        gtid: Gtid,
        /// The engine.
        engine: &'static str,
    },
    /// The storage has failed.
    #[error(transparent)]
    Storage(StorageError),
}

/// A one-phase or local commit.
type Waiting = (Option<Gtid>, Stamp, Vec<Change>);

struct InLog {
    priority: Priority,
    prepared: Prepared,
}

/// How far the clock jumps with each life.
const CLOCK_STEP: u64 = 1 << 32;

/// After how many commits the storage gets what is replayed.
const SETTLE_EVERY: u64 = 1024;

/// What the records add up to, beyond what the engine was told.
struct Replayed<'a> {
    participant: &'a dyn Participant,
    /// The last commit in the storage before.
    stored: u64,
    /// The last commit so far.
    ordinal: u64,
    lives: Incarnation,
    clock: Stamp,
    in_doubt: BTreeMap<Gtid, InLog>,
    doubts: Doubts,
    /// What was decided by hand.
    by_hand: BTreeMap<Gtid, Heuristic>,
    outcomes: VecDeque<(Gtid, Stamp)>,
    /// Commits of version 1 whose marker has not come, by their place among those of the log.
    waiting: BTreeMap<u64, Waiting>,
    places: u64,
    /// The local commits of the last life, where the log names them.
    local_names: Vec<u64>,
}

pub(super) fn open(
    config: SiteConfig,
    parts: Parts,
    records: &[Vec<u8>],
    now: Time,
) -> Result<Site, RecoverError> {
    let durable = config.voter.durability == Durability::Durable;
    let participant = Arc::clone(&parts.participant);
    seed_history(&*participant)?;
    let replayed = replay(&*participant, records)?;
    let (incarnation, clock) = if durable {
        let steps = if replayed.lives.0 > 0 { CLOCK_STEP } else { 0 };
        let clock = Stamp(replayed.clock.0.saturating_add(steps));
        (Incarnation(replayed.lives.0 + 1), clock)
    } else {
        (config.incarnation, replayed.clock)
    };
    participant.restore(clock, Vec::new());
    let mut doubts = replayed.doubts;
    doubts.settle_unknown();
    let undone = doubts.undone();
    let names = doubts.all.keys().map(|gtid| TxnName::Global(*gtid));
    let ending: BTreeSet<TxnName> = names.collect();
    if durable {
        let undone = undone.iter().map(|gtid| TxnName::Global(*gtid)).collect();
        let there = ending.difference(&undone).copied().collect();
        participant.recorder().begin_life(replayed.ordinal, &there);
    }
    let priorities = recover(&*participant, replayed.in_doubt, &doubts, &undone)?;
    let in_doubt = doubts
        .in_order()
        .into_iter()
        .map(|doubt| doubt.vote.clone());
    let in_doubt: Vec<InDoubt> = in_doubt.collect();
    let outcomes = replayed.outcomes;
    let one_phase: Vec<_> = outcomes.iter().copied().collect();
    let mut voter = Voter::recover(config.voter, incarnation, now, in_doubt, one_phase);
    let mut by_hand = replayed.by_hand;
    by_hand.retain(|gtid, _| !doubts.all.contains_key(gtid));
    voter.recover_heuristics(now, by_hand.into_values());
    let bytes = records.iter().map(|record| record.len() as u64).sum();
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
        doubts,
        commits: Commits::replayed(replayed.ordinal),
        batch: Batch::default(),
        checkpoints: Checkpoints::new(bytes),
        by_hand: Vec::new(),
        clock,
        outcomes,
        aborted: BTreeMap::new(),
        aborted_order: VecDeque::new(),
    };
    let site = Site {
        name: config.name,
        participant,
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

/// Re-creates the transactions in doubt, in the order of their votes, but for those that cannot be committed any
/// more.
fn recover(
    participant: &dyn Participant,
    mut in_log: BTreeMap<Gtid, InLog>,
    doubts: &Doubts,
    undone: &BTreeSet<Gtid>,
) -> Result<BTreeMap<Gtid, Priority>, RecoverError> {
    let mut priorities = BTreeMap::new();
    for doubt in doubts.in_order() {
        let InDoubt {
            gtid,
            stamp,
            ref depends,
            ..
        } = doubt.vote;
        let Some(InLog { priority, prepared }) = in_log.remove(&gtid) else {
            unreachable!("both are taken from one record");
        };
        priorities.insert(gtid, priority);
        if undone.contains(&gtid) {
            continue;
        }
        if depends.is_empty() {
            participant.recover(gtid, priority, stamp, prepared);
        } else if participant.reads_undecided() {
            participant.recover_dependent(gtid, priority, stamp, prepared, depends);
        } else {
            let engine = participant.engine();
            return Err(RecoverError::DependentVote { gtid, engine });
        }
    }
    participant.recovered();
    check_storage(participant)?;
    Ok(priorities)
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

fn check_storage(participant: &dyn Participant) -> Result<(), RecoverError> {
    let failure = participant.stored().failure();
    failure.map_or(Ok(()), |error| Err(RecoverError::Storage(error)))
}

/// Names, in a new history, who installed what the storage holds.
fn seed_history(participant: &dyn Participant) -> Result<(), RecoverError> {
    let storage = participant.stored().storage();
    let newest = participant.recorder().newest();
    if newest.is_none_or(|newest| newest >= storage.mark().ordinal) {
        return Ok(());
    }
    let mut commits: BTreeMap<u64, (Stamp, Vec<Change>)> = BTreeMap::new();
    let scanned = each_row(&**storage, |key, cell| {
        let commit = commits.entry(cell.version);
        let (_, changes) = commit.or_insert_with(|| (cell.stamp, Vec::new()));
        let key = Arc::clone(key);
        changes.push(match cell.value {
            // The history names the key alone.
            Some(_) => Change::Put(key, Value::from([].as_slice())),
            None => Change::Delete(key),
        });
    });
    scanned.map_err(RecoverError::Storage)?;
    for (version, (stamp, changes)) in commits {
        participant.recorder().restored(stamp, version, &changes);
    }
    Ok(())
}

fn decode(records: &[Vec<u8>], index: usize) -> Result<SiteRecord, RecoverError> {
    let record = SiteRecord::decode(&records[index]);
    record.map_err(|source| RecoverError::Record {
        index: index + 1,
        source,
    })
}

/// Whether what belongs to a checkpoint stands behind it: decisions by hand, and the transactions in doubt. If a crash
/// has cut some off, the next life has written its own record there.
fn is_whole(records: &[Vec<u8>], checkpoint: usize, in_doubt: u32) -> Result<bool, RecoverError> {
    let behind = checkpoint + 1;
    let wanted = usize::try_from(in_doubt).unwrap_or(usize::MAX);
    if records.len() - behind < wanted {
        return Ok(false);
    }
    for index in behind..behind + wanted {
        let record = decode(records, index)?;
        if !matches!(
            record,
            SiteRecord::Prepared { .. } | SiteRecord::ByHandState(_)
        ) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where to start: at the last checkpoint that is whole and not beyond the storage, or at the beginning.
fn start(records: &[Vec<u8>], stored: u64) -> Result<usize, RecoverError> {
    let mut cut = None;
    for index in (0..records.len()).rev() {
        if !SiteRecord::is_checkpoint(&records[index]) {
            continue;
        }
        let SiteRecord::Checkpoint {
            ordinal, in_doubt, ..
        } = decode(records, index)?
        else {
            unreachable!("it says that it is a checkpoint");
        };
        if !is_whole(records, index, in_doubt)? {
            continue;
        }
        if ordinal <= stored {
            return Ok(index);
        }
        cut = Some(ordinal);
    }
    let whole = match records.first() {
        None => true,
        Some(_) => matches!(
            decode(records, 0)?,
            SiteRecord::Life {
                incarnation: Incarnation(1),
                ..
            }
        ),
    };
    match cut {
        Some(cut) if !whole => Err(RecoverError::StoreBehind { stored, cut }),
        Some(_) | None => Ok(0),
    }
}

/// Tells the engine what has committed and is not in the storage, in the order of the log (S4), and gathers the
/// rest.
fn replay<'a>(
    participant: &'a dyn Participant,
    records: &[Vec<u8>],
) -> Result<Replayed<'a>, RecoverError> {
    let stored = participant.stored().newest();
    let start = start(records, stored)?;
    let mut replayed = Replayed {
        participant,
        stored,
        ordinal: 0,
        lives: Incarnation::default(),
        clock: Stamp::default(),
        in_doubt: BTreeMap::new(),
        doubts: Doubts::default(),
        by_hand: BTreeMap::new(),
        outcomes: VecDeque::new(),
        waiting: BTreeMap::new(),
        places: 0,
        local_names: Vec::new(),
    };
    for index in start..records.len() {
        let record = decode(records, index)?;
        replayed.take(record, index + 1, index == start)?;
        check_storage(participant)?;
    }
    replayed.end_waiting();
    for name in &replayed.local_names {
        participant.restoring(TxnName::Local(*name));
    }
    if stored > replayed.ordinal {
        return Err(RecoverError::StoreAhead {
            stored,
            logged: replayed.ordinal,
        });
    }
    participant.stored().settle(replayed.ordinal);
    check_storage(participant)?;
    Ok(replayed)
}

impl Replayed<'_> {
    fn take(&mut self, record: SiteRecord, index: usize, first: bool) -> Result<(), RecoverError> {
        match record {
            SiteRecord::ByHand { .. } | SiteRecord::ByHandState(_) => {
                return self.take_by_hand(record, index);
            }
            SiteRecord::OnePhase { .. }
            | SiteRecord::Local { .. }
            | SiteRecord::NamedLocal { .. } => return self.take_alone(record, index),
            SiteRecord::Life { incarnation, clock } => {
                self.end_waiting();
                self.lived(incarnation, clock);
                // Whatever was left of those before was finished before this life began; names may come again.
                self.local_names.clear();
            }
            SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
                after,
                if_committed,
            } => {
                self.clock = self.clock.max(stamp);
                let depends = Dependencies {
                    after: after.into_iter().collect(),
                    if_committed: if_committed.into_iter().collect(),
                };
                let vote = InDoubt {
                    gtid,
                    stamp,
                    read_only,
                    depends,
                    broken: false,
                };
                self.doubts.enter(vote, !prepared.changes.is_empty());
                self.in_doubt.insert(gtid, InLog { priority, prepared });
            }
            SiteRecord::Decision {
                gtid,
                decision,
                ordinal,
            } => return self.decided(index, gtid, decision, ordinal),
            SiteRecord::Applied { place } => {
                let waiting = self.waiting.remove(&place);
                let (name, stamp, changes) =
                    waiting.ok_or(RecoverError::NotWaiting { index, place })?;
                self.commit(name, stamp, changes);
            }
            SiteRecord::Checkpoint {
                incarnation,
                clock,
                ordinal,
                outcomes,
                ..
            } => {
                self.lived(incarnation, clock);
                return self.summed_up(index, first, ordinal, outcomes);
            }
        }
        Ok(())
    }

    /// A commit that this site alone has decided.
    fn take_alone(&mut self, record: SiteRecord, index: usize) -> Result<(), RecoverError> {
        match record {
            SiteRecord::OnePhase {
                gtid,
                stamp,
                ordinal,
                changes,
            } => {
                self.remember(gtid, stamp);
                self.alone(index, Some(gtid), stamp, ordinal, changes)
            }
            SiteRecord::Local {
                stamp,
                ordinal,
                changes,
            } => self.alone(index, None, stamp, ordinal, changes),
            SiteRecord::NamedLocal {
                name,
                stamp,
                ordinal,
                changes,
            } => {
                self.local_names.push(name);
                self.alone(index, None, stamp, ordinal, changes)
            }
            SiteRecord::Life { .. }
            | SiteRecord::Prepared { .. }
            | SiteRecord::Decision { .. }
            | SiteRecord::Applied { .. }
            | SiteRecord::Checkpoint { .. }
            | SiteRecord::ByHand { .. }
            | SiteRecord::ByHandState(_) => unreachable!("the caller takes these"),
        }
    }

    fn take_by_hand(&mut self, record: SiteRecord, index: usize) -> Result<(), RecoverError> {
        if let SiteRecord::ByHand {
            gtid,
            decision,
            ordinal,
            along,
        } = record
        {
            self.decided_by_hand(index, (gtid, decision, ordinal), along)?;
        } else if let SiteRecord::ByHandState(heuristic) = record {
            self.by_hand.insert(heuristic.gtid, heuristic);
        }
        Ok(())
    }

    /// A checkpoint: where replaying starts, or what has been read up to there once more.
    fn summed_up(
        &mut self,
        index: usize,
        first: bool,
        ordinal: u64,
        outcomes: Vec<(Gtid, Stamp)>,
    ) -> Result<(), RecoverError> {
        if first {
            self.ordinal = ordinal;
            self.outcomes = outcomes.into();
        }
        self.expect(index, ordinal, self.ordinal)
    }

    fn lived(&mut self, incarnation: Incarnation, clock: Stamp) {
        self.lives = self.lives.max(incarnation);
        self.clock = self.clock.max(clock);
    }

    fn remember(&mut self, gtid: Gtid, stamp: Stamp) {
        self.outcomes.push_back((gtid, stamp));
        if self.outcomes.len() > REMEMBERED_OUTCOMES {
            self.outcomes.pop_front();
        }
    }

    fn decided(
        &mut self,
        index: usize,
        gtid: Gtid,
        decision: Decision,
        ordinal: u64,
    ) -> Result<(), RecoverError> {
        // Who was to be aborted along by hand may have heard of its coordinator's abort first.
        self.by_hand.remove(&gtid);
        let in_log = self.in_doubt.remove(&gtid);
        self.doubts.all.remove(&gtid);
        let outcome = match decision {
            Decision::Commit { stamp } => Some(stamp),
            Decision::Abort { .. } => None,
        };
        self.doubts.settle(gtid, outcome);
        match (decision, in_log) {
            (Decision::Commit { stamp }, Some(in_log)) => {
                let changes = in_log.prepared.changes;
                if ordinal > 0 {
                    self.expect(index, ordinal, self.ordinal + 1)?;
                }
                self.commit(Some(gtid), stamp, changes);
                Ok(())
            }
            (Decision::Commit { .. }, None) => Err(RecoverError::NotInDoubt { index, gtid }),
            (Decision::Abort { .. }, _) => Ok(()),
        }
    }

    fn decided_by_hand(
        &mut self,
        index: usize,
        (gtid, decision, ordinal): (Gtid, Decision, u64),
        along: Vec<Gtid>,
    ) -> Result<(), RecoverError> {
        let doubt = self.doubts.all.get(&gtid);
        let read_only = doubt.is_some_and(|doubt| doubt.vote.read_only);
        self.decided(index, gtid, decision, ordinal)?;
        let heuristic = Heuristic::new(gtid, decision, read_only);
        self.by_hand.insert(gtid, heuristic);
        let decision = Decision::Abort {
            cause: AbortCause::Cascade,
        };
        for other in along {
            self.decided(index, other, decision, 0)?;
            let mut taken = Heuristic::new(other, decision, false);
            taken.because_of = Some(gtid);
            self.by_hand.entry(other).or_insert(taken);
        }
        Ok(())
    }

    fn alone(
        &mut self,
        index: usize,
        name: Option<Gtid>,
        stamp: Stamp,
        ordinal: u64,
        changes: Vec<Change>,
    ) -> Result<(), RecoverError> {
        self.clock = self.clock.max(stamp);
        if ordinal == 0 {
            self.places += 1;
            self.waiting.insert(self.places, (name, stamp, changes));
            return Ok(());
        }
        self.expect(index, ordinal, self.ordinal + 1)?;
        self.commit(name, stamp, changes);
        Ok(())
    }

    fn expect(&self, index: usize, found: u64, expected: u64) -> Result<(), RecoverError> {
        if found == expected {
            return Ok(());
        }
        Err(RecoverError::OutOfOrder {
            index,
            found,
            expected,
        })
    }

    fn commit(&mut self, name: Option<Gtid>, stamp: Stamp, changes: Vec<Change>) {
        self.clock = self.clock.max(stamp);
        if changes.is_empty() {
            return;
        }
        self.ordinal += 1;
        if self.ordinal <= self.stored {
            return;
        }
        if let Some(gtid) = name {
            let name = TxnName::Global(gtid);
            self.participant.recorder().restoring(name);
            self.participant.restoring(name);
        }
        self.participant.restore(stamp, changes);
        if self.ordinal.is_multiple_of(SETTLE_EVERY) {
            self.participant.stored().settle(self.ordinal);
        }
    }

    /// Commits of version 1 that were durable, and never applied: the next life has done so, in order, before it
    /// began.
    fn end_waiting(&mut self) {
        for (name, stamp, changes) in std::mem::take(&mut self.waiting).into_values() {
            self.commit(name, stamp, changes);
        }
    }
}
