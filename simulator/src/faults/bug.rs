//! Known bugs, planted around the real code: wrappers of a site's log and engine, and switches in the
//! simulated shells. None of them is in the code that runs in production; they show what the checks find.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use co_core::{Gtid, Priority, Stamp, Statistics};
use coco::log::{Done, Log, Lsn, ManualLog};
use coco::protocol::Decision as Decided;
use participant::site::SiteRecord;
use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Key, KeyRange, OnBallot, Operation,
    OperationError, Participant, Prepared, Recorder, Reply, TxnName, Value,
};

use super::history::Stamps;

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// A site's prepared record lacks the read marks.
    ReadMarksForgotten,
    /// A site says YES when the append of its vote is requested.
    YesBeforeForce,
    /// A site acknowledges a commit when the append of its record is requested.
    AckBeforeForce,
    /// The coordinator says commit to all when the append of its record is requested.
    CommitBeforeForce,
    /// The coordinator answers its caller when the append is requested, and only then the disk decides.
    AnswerBeforeForce,
    /// Identifiers of an epoch are handed out before its record is durable.
    EpochBeforeForce,
    /// A site that asks about an undecided transaction is told that it was aborted.
    PresumedTooEarly,
    /// Successors are released, and write, before the decision they waited for is in the log.
    WokenBeforeLog,
    /// A site that only read ends its part with its vote.
    ReadOnlyForgotten,
    /// The coordinator does not wait for acknowledgements of sites that only read.
    ReadOnlyUnacknowledged,
    /// The first acknowledgement counts for all sites.
    FirstAckForAll,
    /// The coordinator takes votes of an earlier life of a site.
    IncarnationIgnored,
    /// The coordinator says nothing again, neither after a reconnect nor by timer.
    NothingResent,
    /// A replayed commit adds its increments twice.
    AppliedTwice,
    /// The last record that was durable is taken for a torn tail.
    LastRecordCut,
    /// A site that has long been in doubt gives up and aborts.
    DoubtGivenUp,
    /// A site applies a commit with the stamp of its own vote.
    StampOfOwnVote,
    /// A failed sync is taken for a success.
    SyncFailureIgnored,
    /// The folder of a log is never synced.
    FolderNotSynced,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::ReadMarksForgotten,
        Self::YesBeforeForce,
        Self::AckBeforeForce,
        Self::CommitBeforeForce,
        Self::AnswerBeforeForce,
        Self::EpochBeforeForce,
        Self::PresumedTooEarly,
        Self::WokenBeforeLog,
        Self::ReadOnlyForgotten,
        Self::ReadOnlyUnacknowledged,
        Self::FirstAckForAll,
        Self::IncarnationIgnored,
        Self::NothingResent,
        Self::AppliedTwice,
        Self::LastRecordCut,
        Self::DoubtGivenUp,
        Self::StampOfOwnVote,
        Self::SyncFailureIgnored,
        Self::FolderNotSynced,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadMarksForgotten => "read-marks-forgotten",
            Self::YesBeforeForce => "yes-before-force",
            Self::AckBeforeForce => "ack-before-force",
            Self::CommitBeforeForce => "commit-before-force",
            Self::AnswerBeforeForce => "answer-before-force",
            Self::EpochBeforeForce => "epoch-before-force",
            Self::PresumedTooEarly => "presumed-too-early",
            Self::WokenBeforeLog => "woken-before-log",
            Self::ReadOnlyForgotten => "read-only-forgotten",
            Self::ReadOnlyUnacknowledged => "read-only-unacknowledged",
            Self::FirstAckForAll => "first-ack-for-all",
            Self::IncarnationIgnored => "incarnation-ignored",
            Self::NothingResent => "nothing-resent",
            Self::AppliedTwice => "applied-twice",
            Self::LastRecordCut => "last-record-cut",
            Self::DoubtGivenUp => "doubt-given-up",
            Self::StampOfOwnVote => "stamp-of-own-vote",
            Self::SyncFailureIgnored => "sync-failure-ignored",
            Self::FolderNotSynced => "folder-not-synced",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no bug has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownBug(String);

impl fmt::Display for UnknownBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        write!(f, "there is no bug `{}`; use {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownBug {}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, UnknownBug> {
        let mut bugs = Self::ALL.into_iter();
        let found = bugs.find(|bug| bug.name() == name);
        found.ok_or_else(|| UnknownBug(name.to_owned()))
    }
}

/// A site's log, perhaps with a bug between the site and the real one.
pub(crate) struct SiteLog {
    pub(crate) log: Arc<ManualLog>,
    pub(crate) bug: Option<Bug>,
    /// A record that the bug holds back.
    held: Mutex<Option<(Vec<u8>, Option<Done>)>>,
}

impl SiteLog {
    pub(crate) fn new(log: Arc<ManualLog>, bug: Option<Bug>) -> Self {
        let held = Mutex::default();
        Self { log, bug, held }
    }

    /// Writes what the bug has held back.
    pub(crate) fn flush(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = { held }.take();
        match held {
            Some((record, Some(done))) => self.log.append(&record, done),
            Some((record, None)) => self.log.append_lazy(&record),
            None => {}
        }
    }

    fn too_early(&self, record: &[u8]) -> bool {
        match self.bug {
            Some(Bug::YesBeforeForce) => {
                matches!(SiteRecord::decode(record), Ok(SiteRecord::Prepared { .. }))
            }
            Some(Bug::AckBeforeForce) => is_commit(record),
            _ => false,
        }
    }
}

fn is_commit(record: &[u8]) -> bool {
    matches!(
        SiteRecord::decode(record),
        Ok(SiteRecord::Decision {
            decision: Decided::Commit { .. },
            ..
        })
    )
}

impl Log for SiteLog {
    fn append(&self, record: &[u8], done: Done) {
        if self.too_early(record) {
            self.log.append_lazy(record);
            done(Ok(Lsn(0)));
            return;
        }
        if self.bug == Some(Bug::WokenBeforeLog) && is_commit(record) {
            self.flush();
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Some((record.to_vec(), Some(done)));
            return;
        }
        if self.bug == Some(Bug::ReadMarksForgotten)
            && let Ok(SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
                after,
                if_committed,
            }) = SiteRecord::decode(record)
        {
            let changes = prepared.changes;
            let (reads, scans) = (Vec::new(), Vec::new());
            let record = SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared: Prepared {
                    changes,
                    reads,
                    scans,
                },
                after,
                if_committed,
            };
            self.log.append(&record.encode(), done);
            return;
        }
        self.log.append(record, done);
    }

    fn cut_before(&self, lsn: Lsn) -> std::io::Result<()> {
        self.log.cut_before(lsn)
    }

    fn append_lazy(&self, record: &[u8]) {
        self.log.append_lazy(record);
    }
}

/// What a bug makes of the records that a site finds at its start.
pub(crate) fn records_read(bug: Option<Bug>, records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    match bug {
        Some(Bug::AppliedTwice) => twice(records),
        Some(Bug::LastRecordCut) => {
            let mut records = records;
            records.pop();
            records
        }
        _ => records,
    }
}

/// Every commit of a prepared transaction that increments something is there twice.
fn twice(records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut prepared = std::collections::BTreeMap::new();
    let mut out = Vec::new();
    for bytes in records {
        let record = SiteRecord::decode(&bytes);
        if let Ok(SiteRecord::Prepared { gtid, .. }) = &record {
            prepared.insert(*gtid, bytes.clone());
        }
        out.push(bytes.clone());
        if let Ok(SiteRecord::Decision { gtid, .. }) = &record
            && is_commit(&bytes)
            && let Some(before) = prepared.get(gtid)
            && let Ok(SiteRecord::Prepared { prepared, .. }) = SiteRecord::decode(before)
            && prepared.changes.iter().any(is_increment)
        {
            out.extend([before.clone(), bytes]);
        }
    }
    out
}

const fn is_increment(change: &Change) -> bool {
    matches!(change, Change::Increment(..))
}

/// An engine that is listened to, perhaps with a bug around it.
pub(crate) struct Tap {
    pub(crate) engine: Arc<dyn Participant>,
    /// The stamps of its votes.
    pub(crate) stamps: Stamps,
    /// Transactions that the bug ends after their votes.
    pub(crate) ends_early: Arc<Mutex<Vec<(TxnName, Stamp)>>>,
    pub(crate) bug: Option<Bug>,
}

impl Participant for Tap {
    fn engine(&self) -> &'static str {
        self.engine.engine()
    }

    fn begin(&self, begin: Begin) -> Result<(), OperationError> {
        self.engine.begin(begin)
    }

    fn execute<'a>(
        &'a self,
        name: TxnName,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>> {
        self.engine.execute(name, operation)
    }

    fn prepare(&self, name: TxnName, on_ballot: OnBallot) {
        let stamps = Arc::clone(&self.stamps);
        let forgets = self.bug == Some(Bug::ReadOnlyForgotten);
        let ends_early = forgets.then(|| Arc::clone(&self.ends_early));
        let on_ballot: OnBallot = Box::new(move |ballot| {
            if let &Ballot::Yes {
                stamp, read_only, ..
            } = &ballot
            {
                let mut known = stamps.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(name, stamp);
                if let (Some(ends_early), true, TxnName::Global(_)) = (ends_early, read_only, name)
                {
                    let mut list = ends_early.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push((name, stamp));
                }
            }
            on_ballot(ballot);
        });
        self.engine.prepare(name, on_ballot);
    }

    fn prepared(&self, name: TxnName) -> Option<Prepared> {
        self.engine.prepared(name)
    }

    fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError> {
        let own = || {
            let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
            stamps.get(&name).copied()
        };
        match (self.bug, decision) {
            (Some(Bug::StampOfOwnVote), Decision::Commit(stamp)) => {
                let stamp = own().unwrap_or(stamp);
                self.engine.decide(name, Decision::Commit(stamp))
            }
            _ => self.engine.decide(name, decision),
        }
    }

    fn query<'a>(
        &'a self,
        stamp: Stamp,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>> {
        self.engine.query(stamp, range)
    }

    fn blocked(&self) -> Vec<Blocked> {
        self.engine.blocked()
    }

    fn recover(&self, gtid: Gtid, priority: Priority, stamp: Stamp, prepared: Prepared) {
        self.engine.recover(gtid, priority, stamp, prepared);
    }

    fn restore(&self, stamp: Stamp, changes: Vec<Change>) {
        self.engine.restore(stamp, changes);
    }

    fn stored(&self) -> &dyn participant::engine::Stored {
        self.engine.stored()
    }

    fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }

    fn recorder(&self) -> &Recorder {
        self.engine.recorder()
    }
}
