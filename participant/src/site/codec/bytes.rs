//! The pieces that a site's records are made of.

use std::sync::Arc;

use co_core::{Gtid, Stamp};
use coco::protocol::{AbortCause, Decision, Heuristic};

use super::SiteRecordError;
use crate::participant::{Change, Key, KeyRange, Prepared};

pub(super) const CAUSES: [AbortCause; 12] = [
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
    AbortCause::DatabaseAway,
];

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn count(&mut self, count: usize) {
        let count =
            u32::try_from(count).expect("a site's limits keep lists and values far below 2^32");
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn range(&mut self, range: &KeyRange) {
        self.bytes(&range.low);
        self.byte(u8::from(range.high.is_some()));
        if let Some(high) = &range.high {
            self.bytes(high);
        }
    }

    pub(super) fn changes(&mut self, changes: &[Change]) {
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

    pub(super) fn gtids(&mut self, gtids: &[Gtid]) {
        self.count(gtids.len());
        gtids.iter().for_each(|gtid| self.number(gtid.0));
    }

    pub(super) fn prepared(&mut self, prepared: &Prepared) {
        self.changes(&prepared.changes);
        self.count(prepared.reads.len());
        prepared.reads.iter().for_each(|key| self.bytes(key));
        self.count(prepared.scans.len());
        prepared.scans.iter().for_each(|range| self.range(range));
    }

    pub(super) fn outcomes(&mut self, outcomes: &[(Gtid, Stamp)]) {
        self.count(outcomes.len());
        for (gtid, stamp) in outcomes {
            self.number(gtid.0);
            self.number(stamp.0);
        }
    }

    pub(super) fn alone(&mut self, stamp: Stamp, ordinal: u64, changes: &[Change]) {
        self.number(stamp.0);
        if ordinal > 0 {
            self.number(ordinal);
        }
        self.changes(changes);
    }

    pub(super) fn decision(&mut self, decision: Decision, ordinal: u64) {
        match decision {
            Decision::Commit { stamp } => {
                self.byte(1);
                self.number(stamp.0);
                self.number(ordinal);
            }
            Decision::Abort { cause } => {
                assert_eq!(ordinal, 0, "an abort changes nothing");
                self.abort(cause);
            }
        }
    }

    fn abort(&mut self, cause: AbortCause) {
        self.byte(0);
        let place = CAUSES.iter().position(|other| *other == cause);
        let code = place.and_then(|place| u8::try_from(place + 1).ok());
        self.byte(code.expect("the table of causes is complete: a test walks it"));
    }

    fn outcome(&mut self, decision: Decision) {
        match decision {
            Decision::Commit { stamp } => {
                self.byte(1);
                self.number(stamp.0);
            }
            Decision::Abort { cause } => self.abort(cause),
        }
    }

    pub(super) fn heuristic(&mut self, heuristic: &Heuristic) {
        self.number(heuristic.gtid.0);
        self.outcome(heuristic.decision);
        self.byte(u8::from(heuristic.read_only));
        self.byte(u8::from(heuristic.because_of.is_some()));
        if let Some(because_of) = heuristic.because_of {
            self.number(because_of.0);
        }
        self.byte(u8::from(heuristic.heard.is_some()));
        if let Some(heard) = heuristic.heard {
            self.outcome(heard);
        }
        self.byte(u8::from(heuristic.acknowledged));
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], SiteRecordError> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(SiteRecordError::Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SiteRecordError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(SiteRecordError::Malformed("too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, SiteRecordError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, SiteRecordError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn flag(&mut self) -> Result<bool, SiteRecordError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SiteRecordError::Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn len(&mut self) -> Result<usize, SiteRecordError> {
        let len = u32::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| SiteRecordError::Malformed("a length beyond memory"))
    }

    pub(super) fn key(&mut self) -> Result<Key, SiteRecordError> {
        let len = self.len()?;
        Ok(Arc::from(self.take(len)?))
    }

    pub(super) fn range(&mut self) -> Result<KeyRange, SiteRecordError> {
        let low = self.key()?;
        let high = if self.flag()? {
            Some(self.key()?)
        } else {
            None
        };
        Ok(KeyRange { low, high })
    }

    pub(super) fn change(&mut self) -> Result<Change, SiteRecordError> {
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
    pub(super) fn list<T>(
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
    pub(super) fn gtids(&mut self, first: bool) -> Result<Vec<Gtid>, SiteRecordError> {
        if first {
            return Ok(Vec::new());
        }
        self.list(|reader| Ok(Gtid(reader.number()?)))
    }

    /// The ordinal of a commit that changes something; zero in version 1.
    pub(super) fn ordinal(&mut self, first: bool) -> Result<u64, SiteRecordError> {
        if first {
            return Ok(0);
        }
        match self.number()? {
            0 => Err(SiteRecordError::Malformed("an ordinal of zero")),
            ordinal => Ok(ordinal),
        }
    }

    /// Whose, what, and the ordinal.
    pub(super) fn decision(
        &mut self,
        first: bool,
    ) -> Result<(Gtid, Decision, u64), SiteRecordError> {
        let gtid = Gtid(self.number()?);
        let decision = self.outcome()?;
        let ordinal = match decision {
            Decision::Commit { .. } if !first => self.number()?,
            Decision::Commit { .. } | Decision::Abort { .. } => 0,
        };
        Ok((gtid, decision, ordinal))
    }

    fn outcome(&mut self) -> Result<Decision, SiteRecordError> {
        if self.flag()? {
            let stamp = Stamp(self.number()?);
            return Ok(Decision::Commit { stamp });
        }
        let place = usize::from(self.byte()?).checked_sub(1);
        let cause = place.and_then(|place| CAUSES.get(place));
        let cause = *cause.ok_or(SiteRecordError::Malformed("an unknown cause of an abort"))?;
        Ok(Decision::Abort { cause })
    }

    pub(super) fn heuristic(&mut self) -> Result<Heuristic, SiteRecordError> {
        Ok(Heuristic {
            gtid: Gtid(self.number()?),
            decision: self.outcome()?,
            read_only: self.flag()?,
            because_of: if self.flag()? {
                Some(Gtid(self.number()?))
            } else {
                None
            },
            heard: if self.flag()? {
                Some(self.outcome()?)
            } else {
                None
            },
            acknowledged: self.flag()?,
        })
    }
}
