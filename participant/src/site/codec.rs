//! A site's log records and their bytes.
//!
//! ```text
//! record   = version:u8 (2, by hand: 3, named: 4)  kind:u8  fields          all numbers little-endian
//! 1 life       incarnation:u64 clock:u64
//! 2 prepared   gtid:u64 priority:u64 stamp:u64 read_only:u8 changes reads scans after:gtids if:gtids
//! 3 decision   gtid:u64 (1:u8 stamp:u64 ordinal:u64 | 0:u8 cause:u8)
//! 4 one-phase  gtid:u64 stamp:u64 ordinal:u64 changes
//! 5 local      stamp:u64 ordinal:u64 changes
//! 7 checkpoint incarnation:u64 clock:u64 ordinal:u64 follow:u32 count:u32 (gtid:u64 stamp:u64)*
//! 8 by hand    gtid:u64 (1:u8 stamp:u64 ordinal:u64 | 0:u8 cause:u8) along:gtids
//! 9 state      gtid:u64 outcome read_only:u8 (1:u8 because_of:u64 | 0:u8) (1:u8 heard:outcome | 0:u8) acknowledged:u8
//! 10 named     name:u64 stamp:u64 ordinal:u64 changes
//! outcome  = 1:u8 stamp:u64 | 0:u8 cause:u8
//! gtids    = count:u32 gtid:u64*
//! changes  = count:u32 (1:u8 key value | 2:u8 key | 3:u8 key by:i64)*
//! reads    = count:u32 key*
//! scans    = count:u32 (low:key (1:u8 high:key | 0:u8))*
//! key, value = len:u32 bytes
//! ```
//!
//! Version 1 had no ordinals, no `gtids`, no checkpoints, and `6 applied place:u64`. It is read, and not written:
//! a one-phase or local commit without an ordinal is one of version 1. Version 3 has the kinds 8 and 9 alone: a
//! program that does not know them says that it is too old, and a log without them is one of version 2. Version 4 has the
//! kind 10 alone, and is written by sites alone whose branches are in a database.
//!
//! Invariant (C1): `decode(encode(r)) == r`, and no other bytes of the same version decode to `r`.

mod bytes;

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{Decision, Heuristic, Incarnation};

use self::bytes::{Reader, Writer};
use crate::participant::{Change, KeyRange, Prepared};

/// The largest record that a site writes. A transaction that needs more is refused with
/// [`AbortCause::LogFailure`](coco::protocol::AbortCause::LogFailure); it stays below what one segment of the log holds.
pub const MAX_SITE_RECORD_BYTES: usize = 3 * 1024 * 1024;

/// What a site writes to its log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SiteRecord {
    /// A life of the site begins.
    Life {
        /// Which.
        incarnation: Incarnation,
        /// Where its logical clock starts: beyond every stamp of the lives before.
        clock: Stamp,
    },
    /// A global transaction is about to vote YES.
    Prepared {
        /// Which.
        gtid: Gtid,
        /// Its age.
        priority: Priority,
        /// The stamp of its vote.
        stamp: Stamp,
        /// It changes nothing here; its reads order others nevertheless.
        read_only: bool,
        /// Its changes and read marks.
        prepared: Prepared,
        /// Whose decisions have to come before its own.
        after: Vec<Gtid>,
        /// Whose commits have to come before its own, or it aborts.
        if_committed: Vec<Gtid>,
    },
    /// The decision on a prepared transaction.
    Decision {
        /// Whose.
        gtid: Gtid,
        /// What was decided.
        decision: Decision,
        /// The how-manieth commit of the site that changes something, over all lives; zero if it changes
        /// nothing, for an abort, and in version 1.
        ordinal: u64,
    },
    /// A global transaction that touched this site alone is committed.
    OnePhase {
        /// Which.
        gtid: Gtid,
        /// Its place in the order of all sites.
        stamp: Stamp,
        /// As for a decision; zero in version 1.
        ordinal: u64,
        /// What it changes.
        changes: Vec<Change>,
    },
    /// A transaction of this site is committed.
    Local {
        /// Its place in the order of all sites.
        stamp: Stamp,
        /// As for a decision; zero in version 1.
        ordinal: u64,
        /// What it changes.
        changes: Vec<Change>,
    },
    /// The same, with its name: of a site whose branches are in a database, where it has to be found again.
    NamedLocal {
        /// Its name at the site.
        name: u64,
        /// Its place in the order of all sites.
        stamp: Stamp,
        /// As for a decision; never zero.
        ordinal: u64,
        /// What it changes.
        changes: Vec<Change>,
    },
    /// In version 1: a one-phase or local commit became visible, a while after its record, and perhaps after
    /// decisions whose records are later. Since version 2 commits become visible in the order of their records.
    Applied {
        /// The how-manieth one-phase or local commit of the log, from 1.
        place: u64,
    },
    /// All that has to be known of the records before, if the storage has the commits up to `ordinal`. As many
    /// `Prepared` records as it says follow at once.
    Checkpoint {
        /// The present life.
        incarnation: Incarnation,
        /// The largest stamp so far.
        clock: Stamp,
        /// How many commits that change something are before it in the log.
        ordinal: u64,
        /// How many records follow as its content: of transactions in doubt, and of decisions by hand that are
        /// not settled.
        in_doubt: u32,
        /// One-phase commits of late, whose outcome the coordinator may ask for.
        outcomes: Vec<(Gtid, Stamp)>,
    },
    /// A transaction in doubt was decided by an operator.
    ByHand {
        /// Which.
        gtid: Gtid,
        /// What was decided here.
        decision: Decision,
        /// As that of a decision.
        ordinal: u64,
        /// Who had read from it and is aborted with it.
        along: Vec<Gtid>,
    },
    /// What is known now of a decision by hand.
    ByHandState(Heuristic),
}

/// Why bytes are not a site's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteRecordError {
    /// Written by a later version of this program.
    #[error(
        "it has format version {0}, and this program reads versions up to 4: use the newer program"
    )]
    NewerVersion(u8),
    /// A kind that its version does not have.
    #[error("it has the unknown kind {0}")]
    UnknownKind(u8),
    /// Too short, too long, or a field outside its bounds.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
}

const VERSION: u8 = 2;
/// Of the kinds that version 2 does not have.
const BY_HAND_VERSION: u8 = 3;
/// Of the kind that names local commits.
const NAMED_VERSION: u8 = 4;
const LIFE: u8 = 1;
const PREPARED: u8 = 2;
const DECISION: u8 = 3;
const ONE_PHASE: u8 = 4;
const LOCAL: u8 = 5;
const APPLIED: u8 = 6;
const CHECKPOINT: u8 = 7;
const BY_HAND: u8 = 8;
const BY_HAND_STATE: u8 = 9;
const NAMED_LOCAL: u8 = 10;

impl SiteRecord {
    /// The bytes.
    ///
    /// # Panics
    /// If a list or a value has 2^32 elements: the limits of a site keep them far below.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![self.version()]);
        self.write(&mut out);
        out.0
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Life { incarnation, clock } => {
                out.byte(LIFE);
                out.number(incarnation.0);
                out.number(clock.0);
            }
            Self::Decision {
                gtid,
                decision,
                ordinal,
            } => {
                out.byte(DECISION);
                out.number(gtid.0);
                out.decision(*decision, *ordinal);
            }
            Self::OnePhase {
                gtid,
                stamp,
                ordinal,
                changes,
            } => {
                out.byte(ONE_PHASE);
                out.number(gtid.0);
                out.alone(*stamp, *ordinal, changes);
            }
            Self::Local {
                stamp,
                ordinal,
                changes,
            } => {
                out.byte(LOCAL);
                out.alone(*stamp, *ordinal, changes);
            }
            Self::NamedLocal {
                name,
                stamp,
                ordinal,
                changes,
            } => {
                out.byte(NAMED_LOCAL);
                out.number(*name);
                out.alone(*stamp, *ordinal, changes);
            }
            Self::Applied { place } => {
                out.byte(APPLIED);
                out.number(*place);
            }
            Self::Prepared { .. }
            | Self::Checkpoint { .. }
            | Self::ByHand { .. }
            | Self::ByHandState(_) => self.write_undecided(out),
        }
    }

    /// What is said of transactions in doubt, and of those that were decided by hand.
    fn write_undecided(&self, out: &mut Writer) {
        match self {
            Self::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
                after,
                if_committed,
            } => {
                out.byte(PREPARED);
                out.number(gtid.0);
                out.number(priority.0);
                out.number(stamp.0);
                out.byte(u8::from(*read_only));
                out.prepared(prepared);
                out.gtids(after);
                out.gtids(if_committed);
            }
            Self::Checkpoint {
                incarnation,
                clock,
                ordinal,
                in_doubt,
                outcomes,
            } => {
                out.byte(CHECKPOINT);
                out.number(incarnation.0);
                out.number(clock.0);
                out.number(*ordinal);
                out.0.extend_from_slice(&in_doubt.to_le_bytes());
                out.outcomes(outcomes);
            }
            Self::ByHand {
                gtid,
                decision,
                ordinal,
                along,
            } => {
                out.byte(BY_HAND);
                out.number(gtid.0);
                out.decision(*decision, *ordinal);
                out.gtids(along);
            }
            Self::ByHandState(heuristic) => {
                out.byte(BY_HAND_STATE);
                out.heuristic(heuristic);
            }
            Self::Life { .. }
            | Self::Decision { .. }
            | Self::OnePhase { .. }
            | Self::Local { .. }
            | Self::NamedLocal { .. }
            | Self::Applied { .. } => unreachable!("the caller has written these"),
        }
    }

    /// The version that has such a record.
    const fn version(&self) -> u8 {
        match self {
            Self::Applied { .. }
            | Self::OnePhase { ordinal: 0, .. }
            | Self::Local { ordinal: 0, .. } => 1,
            Self::ByHand { .. } | Self::ByHandState(_) => BY_HAND_VERSION,
            Self::NamedLocal { .. } => NAMED_VERSION,
            Self::Life { .. }
            | Self::Prepared { .. }
            | Self::Decision { .. }
            | Self::OnePhase { .. }
            | Self::Local { .. }
            | Self::Checkpoint { .. } => VERSION,
        }
    }

    /// Reads the bytes of one record.
    ///
    /// # Errors
    /// If they are not exactly one record of version 1, 2, 3 or 4.
    pub fn decode(bytes: &[u8]) -> Result<Self, SiteRecordError> {
        let mut reader = Reader(bytes);
        let record = match reader.byte()? {
            1 => Self::read(&mut reader, true)?,
            VERSION => Self::read(&mut reader, false)?,
            BY_HAND_VERSION => Self::read_by_hand(&mut reader)?,
            NAMED_VERSION => Self::read_named(&mut reader)?,
            0 => return Err(SiteRecordError::Malformed("version zero")),
            newer => return Err(SiteRecordError::NewerVersion(newer)),
        };
        if reader.0.is_empty() {
            Ok(record)
        } else {
            Err(SiteRecordError::Malformed("bytes left over"))
        }
    }

    fn read_by_hand(reader: &mut Reader<'_>) -> Result<Self, SiteRecordError> {
        match reader.byte()? {
            BY_HAND => {
                let (gtid, decision, ordinal) = reader.decision(false)?;
                Ok(Self::ByHand {
                    gtid,
                    decision,
                    ordinal,
                    along: reader.gtids(false)?,
                })
            }
            BY_HAND_STATE => Ok(Self::ByHandState(reader.heuristic()?)),
            other => Err(SiteRecordError::UnknownKind(other)),
        }
    }

    fn read_named(reader: &mut Reader<'_>) -> Result<Self, SiteRecordError> {
        match reader.byte()? {
            NAMED_LOCAL => Ok(Self::NamedLocal {
                name: reader.number()?,
                stamp: Stamp(reader.number()?),
                ordinal: reader.ordinal(false)?,
                changes: reader.list(Reader::change)?,
            }),
            other => Err(SiteRecordError::UnknownKind(other)),
        }
    }

    fn read(reader: &mut Reader<'_>, first: bool) -> Result<Self, SiteRecordError> {
        Ok(match reader.byte()? {
            LIFE => Self::Life {
                incarnation: Incarnation(reader.number()?),
                clock: Stamp(reader.number()?),
            },
            PREPARED => Self::Prepared {
                gtid: Gtid(reader.number()?),
                priority: Priority(reader.number()?),
                stamp: Stamp(reader.number()?),
                read_only: reader.flag()?,
                prepared: Prepared {
                    changes: reader.list(Reader::change)?,
                    reads: reader.list(Reader::key)?,
                    scans: reader.list(Reader::range)?,
                },
                after: reader.gtids(first)?,
                if_committed: reader.gtids(first)?,
            },
            DECISION => {
                let (gtid, decision, ordinal) = reader.decision(first)?;
                Self::Decision {
                    gtid,
                    decision,
                    ordinal,
                }
            }
            ONE_PHASE => Self::OnePhase {
                gtid: Gtid(reader.number()?),
                stamp: Stamp(reader.number()?),
                ordinal: reader.ordinal(first)?,
                changes: reader.list(Reader::change)?,
            },
            LOCAL => Self::Local {
                stamp: Stamp(reader.number()?),
                ordinal: reader.ordinal(first)?,
                changes: reader.list(Reader::change)?,
            },
            APPLIED if first => Self::Applied {
                place: reader.number()?,
            },
            CHECKPOINT if !first => Self::Checkpoint {
                incarnation: Incarnation(reader.number()?),
                clock: Stamp(reader.number()?),
                ordinal: reader.number()?,
                in_doubt: u32::from_le_bytes(reader.array()?),
                outcomes: reader
                    .list(|reader| Ok((Gtid(reader.number()?), Stamp(reader.number()?))))?,
            },
            other => return Err(SiteRecordError::UnknownKind(other)),
        })
    }

    /// How long the record of a prepared transaction is.
    pub(super) fn prepared_len(prepared: &Prepared) -> usize {
        let change = |change: &Change| match change {
            Change::Put(key, value) => 1 + 4 + key.len() + 4 + value.len(),
            Change::Delete(key) => 1 + 4 + key.len(),
            Change::Increment(key, _) => 1 + 4 + key.len() + 8,
        };
        let range = |range: &KeyRange| {
            4 + range.low.len() + 1 + range.high.as_ref().map_or(0, |high| 4 + high.len())
        };
        let changes: usize = prepared.changes.iter().map(change).sum();
        let reads: usize = prepared.reads.iter().map(|key| 4 + key.len()).sum();
        let scans: usize = prepared.scans.iter().map(range).sum();
        2 + 3 * 8 + 1 + 5 * 4 + changes + reads + scans
    }

    /// Whether bytes say of themselves that they are a checkpoint; they may be damaged behind that.
    pub(super) fn is_checkpoint(bytes: &[u8]) -> bool {
        bytes.starts_with(&[VERSION, CHECKPOINT])
    }
}

#[cfg(test)]
mod tests;
