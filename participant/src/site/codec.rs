//! A site's log records and their bytes.
//!
//! ```text
//! record   = version:u8 (2)  kind:u8  fields          all numbers little-endian
//! 1 life       incarnation:u64 clock:u64
//! 2 prepared   gtid:u64 priority:u64 stamp:u64 read_only:u8 changes reads scans after:gtids if:gtids
//! 3 decision   gtid:u64 (1:u8 stamp:u64 ordinal:u64 | 0:u8 cause:u8)
//! 4 one-phase  gtid:u64 stamp:u64 ordinal:u64 changes
//! 5 local      stamp:u64 ordinal:u64 changes
//! 7 checkpoint incarnation:u64 clock:u64 ordinal:u64 in_doubt:u32 count:u32 (gtid:u64 stamp:u64)*
//! gtids    = count:u32 gtid:u64*
//! changes  = count:u32 (1:u8 key value | 2:u8 key | 3:u8 key by:i64)*
//! reads    = count:u32 key*
//! scans    = count:u32 (low:key (1:u8 high:key | 0:u8))*
//! key, value = len:u32 bytes
//! ```
//!
//! Version 1 had no ordinals, no `gtids`, no checkpoints, and `6 applied place:u64`. It is read, and not written:
//! a one-phase or local commit without an ordinal is one of version 1.
//!
//! Invariant (C1): `decode(encode(r)) == r`, and no other bytes of the same version decode to `r`.

use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp};
use coco::protocol::{AbortCause, Decision, Incarnation};

use crate::participant::{Change, Key, KeyRange, Prepared};

/// The largest record that a site writes. A transaction that needs more is refused with
/// [`AbortCause::LogFailure`]; it stays below what one segment of the log holds.
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
        /// Whose decisions have to come before its own: none yet.
        after: Vec<Gtid>,
        /// Whose commits have to come before its own, or it aborts: none yet.
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
        /// How many transactions are in doubt.
        in_doubt: u32,
        /// One-phase commits of late, whose outcome the coordinator may ask for.
        outcomes: Vec<(Gtid, Stamp)>,
    },
}

/// Why bytes are not a site's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteRecordError {
    /// Written by a later version of this program.
    #[error(
        "it has format version {0}, and this program reads versions up to 2: use the newer program"
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
const LIFE: u8 = 1;
const PREPARED: u8 = 2;
const DECISION: u8 = 3;
const ONE_PHASE: u8 = 4;
const LOCAL: u8 = 5;
const APPLIED: u8 = 6;
const CHECKPOINT: u8 = 7;

const CAUSES: [AbortCause; 11] = [
    AbortCause::Client,
    AbortCause::LocalCycle,
    AbortCause::VotingDeadlock,
    AbortCause::StaleRead,
    AbortCause::WriteConflict,
    AbortCause::Cascade,
    AbortCause::Timeout,
    AbortCause::UnknownTransaction,
    AbortCause::SiteUnreachable,
    AbortCause::LogFailure,
    AbortCause::Outranked,
];

impl SiteRecord {
    /// The bytes.
    ///
    /// # Panics
    /// If a list or a value has 2^32 elements: the limits of a site keep them far below.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![self.version()]);
        match self {
            Self::Life { incarnation, clock } => {
                out.byte(LIFE);
                out.number(incarnation.0);
                out.number(clock.0);
            }
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
                out.changes(&prepared.changes);
                out.count(prepared.reads.len());
                prepared.reads.iter().for_each(|key| out.bytes(key));
                out.count(prepared.scans.len());
                prepared.scans.iter().for_each(|range| out.range(range));
                out.gtids(after);
                out.gtids(if_committed);
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
            Self::Applied { place } => {
                out.byte(APPLIED);
                out.number(*place);
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
                out.count(outcomes.len());
                for (gtid, stamp) in outcomes {
                    out.number(gtid.0);
                    out.number(stamp.0);
                }
            }
        }
        out.0
    }

    /// The version that has such a record.
    const fn version(&self) -> u8 {
        match self {
            Self::Applied { .. }
            | Self::OnePhase { ordinal: 0, .. }
            | Self::Local { ordinal: 0, .. } => 1,
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
    /// If they are not exactly one record of version 1 or 2.
    pub fn decode(bytes: &[u8]) -> Result<Self, SiteRecordError> {
        let mut reader = Reader(bytes);
        let first = match reader.byte()? {
            1 => true,
            VERSION => false,
            0 => return Err(SiteRecordError::Malformed("version zero")),
            newer => return Err(SiteRecordError::NewerVersion(newer)),
        };
        let record = match reader.byte()? {
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
            DECISION => reader.decision(first)?,
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
        };
        if reader.0.is_empty() {
            Ok(record)
        } else {
            Err(SiteRecordError::Malformed("bytes left over"))
        }
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

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        let count =
            u32::try_from(count).expect("a site's limits keep lists and values far below 2^32");
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn range(&mut self, range: &KeyRange) {
        self.bytes(&range.low);
        self.byte(u8::from(range.high.is_some()));
        if let Some(high) = &range.high {
            self.bytes(high);
        }
    }

    fn changes(&mut self, changes: &[Change]) {
        self.count(changes.len());
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    self.byte(1);
                    self.bytes(key);
                    self.bytes(value);
                }
                Change::Delete(key) => {
                    self.byte(2);
                    self.bytes(key);
                }
                Change::Increment(key, by) => {
                    self.byte(3);
                    self.bytes(key);
                    self.0.extend_from_slice(&by.to_le_bytes());
                }
            }
        }
    }

    fn gtids(&mut self, gtids: &[Gtid]) {
        self.count(gtids.len());
        gtids.iter().for_each(|gtid| self.number(gtid.0));
    }

    fn alone(&mut self, stamp: Stamp, ordinal: u64, changes: &[Change]) {
        self.number(stamp.0);
        if ordinal > 0 {
            self.number(ordinal);
        }
        self.changes(changes);
    }

    fn decision(&mut self, decision: Decision, ordinal: u64) {
        match decision {
            Decision::Commit { stamp } => {
                self.byte(1);
                self.number(stamp.0);
                self.number(ordinal);
            }
            Decision::Abort { cause } => {
                assert_eq!(ordinal, 0, "an abort changes nothing");
                self.byte(0);
                let place = CAUSES.iter().position(|other| *other == cause);
                let code = place.and_then(|place| u8::try_from(place + 1).ok());
                self.byte(code.expect("the table of causes is complete: a test walks it"));
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], SiteRecordError> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(SiteRecordError::Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SiteRecordError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(SiteRecordError::Malformed("too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, SiteRecordError> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> Result<u64, SiteRecordError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, SiteRecordError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SiteRecordError::Malformed("a flag is neither 0 nor 1")),
        }
    }

    fn len(&mut self) -> Result<usize, SiteRecordError> {
        let len = u32::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| SiteRecordError::Malformed("a length beyond memory"))
    }

    fn key(&mut self) -> Result<Key, SiteRecordError> {
        let len = self.len()?;
        Ok(Arc::from(self.take(len)?))
    }

    fn range(&mut self) -> Result<KeyRange, SiteRecordError> {
        let low = self.key()?;
        let high = if self.flag()? {
            Some(self.key()?)
        } else {
            None
        };
        Ok(KeyRange { low, high })
    }

    fn change(&mut self) -> Result<Change, SiteRecordError> {
        match self.byte()? {
            1 => Ok(Change::Put(self.key()?, self.key()?)),
            2 => Ok(Change::Delete(self.key()?)),
            3 => Ok(Change::Increment(
                self.key()?,
                i64::from_le_bytes(self.array()?),
            )),
            _ => Err(SiteRecordError::Malformed("an unknown kind of change")),
        }
    }

    /// Grows with what is there, not with what the count claims.
    fn list<T>(
        &mut self,
        element: impl Fn(&mut Self) -> Result<T, SiteRecordError>,
    ) -> Result<Vec<T>, SiteRecordError> {
        let count = self.len()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// A list that version 1 does not have.
    fn gtids(&mut self, first: bool) -> Result<Vec<Gtid>, SiteRecordError> {
        if first {
            return Ok(Vec::new());
        }
        self.list(|reader| Ok(Gtid(reader.number()?)))
    }

    /// The ordinal of a commit that changes something; zero in version 1.
    fn ordinal(&mut self, first: bool) -> Result<u64, SiteRecordError> {
        if first {
            return Ok(0);
        }
        match self.number()? {
            0 => Err(SiteRecordError::Malformed("an ordinal of zero")),
            ordinal => Ok(ordinal),
        }
    }

    fn decision(&mut self, first: bool) -> Result<SiteRecord, SiteRecordError> {
        let gtid = Gtid(self.number()?);
        if self.flag()? {
            let stamp = Stamp(self.number()?);
            return Ok(SiteRecord::Decision {
                gtid,
                decision: Decision::Commit { stamp },
                ordinal: if first { 0 } else { self.number()? },
            });
        }
        let place = usize::from(self.byte()?).checked_sub(1);
        let cause = place.and_then(|place| CAUSES.get(place));
        let cause = *cause.ok_or(SiteRecordError::Malformed("an unknown cause of an abort"))?;
        Ok(SiteRecord::Decision {
            gtid,
            decision: Decision::Abort { cause },
            ordinal: 0,
        })
    }
}

#[cfg(test)]
mod tests;
