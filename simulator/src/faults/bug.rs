//! Known bugs, planted around the real code: wrappers of a site's log here, of its engine and store in `tap`, and
//! switches in the simulated shells. None of them is in the code that runs in production; they show what the checks find.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use coco::log::{Done, Log, Lsn, ManualLog};
use coco::protocol::Decision as Decided;
use participant::site::SiteRecord;
use participant::{Change, Prepared};

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
    /// What successors write is in the log before the decision that has released them.
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
    /// A site's YES does not say what it depends on, and its commit is applied before that is decided.
    DependenciesHidden,
    /// The coordinator takes a YES that depends on others for an ordinary one.
    DependenciesIgnored,
    /// A site that starts again has forgotten what the votes in its log depend on.
    DependencyForgotten,
    /// A site's checkpoint lacks the transactions in doubt.
    UndecidedCut,
    /// A coordinator's checkpoint lacks the commits that are not acknowledged.
    UndeliveredCut,
    /// The store gets a commit before the log holds its record.
    StoreBeforeLog,
    /// Replay does not ask which commits the store has.
    OrdinalIgnored,
    /// The log is cut although the store was not made durable.
    PersistIgnored,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 27] = [
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
        Self::DependenciesHidden,
        Self::DependenciesIgnored,
        Self::DependencyForgotten,
        Self::UndecidedCut,
        Self::UndeliveredCut,
        Self::StoreBeforeLog,
        Self::OrdinalIgnored,
        Self::PersistIgnored,
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
            Self::DependenciesHidden => "dependencies-hidden",
            Self::DependenciesIgnored => "dependencies-ignored",
            Self::DependencyForgotten => "dependency-forgotten",
            Self::UndecidedCut => "undecided-cut",
            Self::UndeliveredCut => "undelivered-cut",
            Self::StoreBeforeLog => "store-before-log",
            Self::OrdinalIgnored => "ordinal-ignored",
            Self::PersistIgnored => "persist-ignored",
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
    /// What the bug puts in the place of the transactions in doubt of a checkpoint: the record and how often.
    instead: Mutex<(Vec<u8>, u32)>,
}

impl SiteLog {
    pub(crate) fn new(log: Arc<ManualLog>, bug: Option<Bug>) -> Self {
        Self {
            log,
            bug,
            instead: Mutex::default(),
        }
    }

    /// A checkpoint that has nobody in doubt. Its records are as many as ever, because their number tells the site
    /// where the checkpoint begins.
    fn without_doubts(&self, record: &[u8]) -> Vec<u8> {
        let mut instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        match SiteRecord::decode(record) {
            Ok(SiteRecord::Checkpoint {
                incarnation,
                clock,
                ordinal,
                in_doubt,
                outcomes,
            }) => {
                let life = SiteRecord::Life { incarnation, clock };
                *instead = (life.encode(), in_doubt);
                let none = SiteRecord::Checkpoint {
                    incarnation,
                    clock,
                    ordinal,
                    in_doubt: 0,
                    outcomes,
                };
                none.encode()
            }
            Ok(SiteRecord::Prepared { .. }) if instead.1 > 0 => {
                instead.1 -= 1;
                instead.0.clone()
            }
            Ok(_) | Err(_) => record.to_vec(),
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
        if self.bug == Some(Bug::UndecidedCut) {
            self.log.append(&self.without_doubts(record), done);
            return;
        }
        self.log.append(record, done);
    }

    fn append_all(&self, records: &[Vec<u8>], done: Done) {
        match (self.bug, records.split_last()) {
            (Some(Bug::WokenBeforeLog), _) => {
                let all = records.iter().cloned();
                let (decided, others): (Vec<_>, Vec<_>) = all.partition(|it| is_commit(it));
                self.log.append_all(&[others, decided].concat(), done);
            }
            (Some(_), Some((last, first))) => {
                for record in first {
                    self.append(record, Box::new(|_| {}));
                }
                self.append(last, done);
            }
            (_, _) => self.log.append_all(records, done),
        }
    }

    fn cut_before(&self, lsn: Lsn) -> std::io::Result<()> {
        self.log.cut_before(lsn)
    }

    fn append_lazy(&self, record: &[u8]) {
        if self.bug == Some(Bug::UndecidedCut) {
            self.log.append_lazy(&self.without_doubts(record));
            return;
        }
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
        Some(Bug::DependencyForgotten) => records.into_iter().map(independent).collect(),
        _ => records,
    }
}

/// The record without what a vote depends on.
fn independent(bytes: Vec<u8>) -> Vec<u8> {
    match SiteRecord::decode(&bytes) {
        Ok(SiteRecord::Prepared {
            gtid,
            priority,
            stamp,
            read_only,
            prepared,
            ..
        }) => {
            let (after, if_committed) = (Vec::new(), Vec::new());
            let record = SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
                after,
                if_committed,
            };
            record.encode()
        }
        Ok(_) | Err(_) => bytes,
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
