//! What a transaction has read and written before it is decided, and how that is written to the log.
//!
//! Shared by the stores on disk: copy it along with either of them.
//!
//! Invariants:
//! - W1 A workspace takes no more operations once the vote was asked for: the record is what was voted on.
//! - W2 A record decodes to the footprint that was encoded; anything else is refused as corrupt.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use co_core::{
    AbortReason, Footprint, Grant, Misuse, Outcome, Priority, State, Txn, TxnId, WriteKind,
};
use conformance::{Answer, Key, Refusal, Value};

/// One transaction's. A store that validates notes the position of each read; a store that locks notes 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Workspace {
    /// Keys, with the position of the first read.
    pub reads: BTreeMap<Key, u64>,
    /// First key, first key after (`None`: to the end), position.
    pub ranges: Vec<(Key, Option<Key>, u64)>,
    /// New values; `None` is a delete.
    pub writes: BTreeMap<Key, Option<Value>>,
}

/// Those of all undecided transactions.
#[derive(Debug, Default)]
pub struct Workspaces(Mutex<HashMap<TxnId, Workspace>>);

/// A record that does not decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt;

impl Workspaces {
    /// All of them.
    pub fn lock(&self) -> MutexGuard<'_, HashMap<TxnId, Workspace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of one; empty for a transaction without operations.
    #[must_use]
    pub fn of(&self, txn: &Txn) -> Workspace {
        self.lock().get(&txn.id()).cloned().unwrap_or_default()
    }

    /// Takes note of an operation.
    ///
    /// # Errors
    /// [`Refusal::Aborted`] when the vote was asked for (W1) or the transaction is doomed.
    pub fn note<T>(&self, txn: &Txn, operation: impl FnOnce(&mut Workspace) -> T) -> Answer<T> {
        if !matches!(txn.state(), State::Active | State::Ready) {
            let reason = txn.doomed().unwrap_or(AbortReason::Requested);
            return Err(Refusal::Aborted(reason));
        }
        Ok(operation(self.lock().entry(txn.id()).or_default()))
    }
}

impl Workspace {
    /// The transaction's own writes in a range.
    #[must_use]
    pub fn own(&self, low: &[u8], high: Option<&[u8]>) -> BTreeMap<Key, Option<Value>> {
        let range = (Included(low), high.map_or(Unbounded, Excluded));
        let own = self.writes.range::<[u8], _>(range);
        own.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// All of it, as the validator asks for it.
    #[must_use]
    pub fn footprint(&self) -> Footprint<Key> {
        let ranges = self.ranges.iter();
        let writes = self.writes.keys();
        Footprint {
            reads: self.reads.keys().cloned().collect(),
            ranges: ranges
                .map(|(low, high, _)| (low.clone(), high.clone()))
                .collect(),
            writes: writes.map(|key| (key.clone(), WriteKind::Put)).collect(),
        }
    }

    /// The record that is forced before a YES: age, reads, ranges, writes.
    #[must_use]
    pub fn encode(&self, age: Priority) -> Vec<u8> {
        let mut record = age.0.to_be_bytes().to_vec();
        for key in self.reads.keys() {
            put(&mut record, b'r', key, None);
        }
        for (low, high, _) in &self.ranges {
            put(&mut record, b's', low, high.as_deref());
        }
        for (key, value) in &self.writes {
            put(&mut record, b'w', key, value.as_deref());
        }
        record
    }

    /// Reads what [`Workspace::encode`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] for anything else (W2).
    pub fn decode(record: &[u8]) -> Result<(Priority, Self), Corrupt> {
        let mut work = Self::default();
        let (age, mut rest) = record.split_first_chunk().ok_or(Corrupt)?;
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            let first = take(&mut rest)?.ok_or(Corrupt)?;
            let second = take(&mut rest)?;
            match (kind, second) {
                (b'r', None) => drop(work.reads.insert(first, 0)),
                (b's', high) => work.ranges.push((first, high, 0)),
                (b'w', value) => drop(work.writes.insert(first, value)),
                _ => return Err(Corrupt),
            }
        }
        Ok((Priority(u64::from_be_bytes(*age)), work))
    }
}

/// Whether a decision is allowed: to be asked before anything is applied.
///
/// # Errors
/// [`Misuse`] for a second decision, and for a commit without a vote.
pub fn check_decision(txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
    let (state, attempted) = (txn.state(), "decide");
    let allowed = match outcome {
        Outcome::Commit => state == State::Voted,
        Outcome::Abort => state.is_undecided(),
    };
    allowed
        .then_some(())
        .ok_or(Misuse::WrongState { state, attempted })
}

/// What a lock request came to.
///
/// # Errors
/// [`Refusal::Aborted`] when the transaction is doomed.
pub fn granted(grant: Grant) -> Answer<()> {
    match grant {
        Grant::Granted => Ok(()),
        Grant::Aborted(reason) => Err(Refusal::Aborted(reason)),
    }
}

/// Each part has its length in front, and an absent one is `NONE` long.
const NONE: u32 = u32::MAX;

fn put(record: &mut Vec<u8>, kind: u8, first: &[u8], second: Option<&[u8]>) {
    record.push(kind);
    for part in [Some(first), second] {
        let length = part.map_or(NONE, |part| {
            u32::try_from(part.len()).expect("keys and values are far below 4 GiB")
        });
        record.extend(length.to_be_bytes());
        record.extend(part.unwrap_or_default());
    }
}

fn take(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, Corrupt> {
    let (length, after) = rest.split_first_chunk().ok_or(Corrupt)?;
    *rest = after;
    let length = u32::from_be_bytes(*length);
    if length == NONE {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| Corrupt)?;
    let (part, after) = rest.split_at_checked(length).ok_or(Corrupt)?;
    *rest = after;
    Ok(Some(part.to_vec()))
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record of a prepared transaction is corrupt")
    }
}

impl std::error::Error for Corrupt {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_a_round_trip_and_no_part_of_it_does() {
        let work = Workspace {
            reads: BTreeMap::from([(b"r".to_vec(), 0), (Vec::new(), 0)]),
            ranges: vec![
                (b"a".to_vec(), Some(b"c".to_vec()), 0),
                (b"m".to_vec(), None, 0),
            ],
            writes: BTreeMap::from([(b"x".to_vec(), Some(Vec::new())), (b"y".to_vec(), None)]),
        };
        let record = work.encode(Priority(7));
        assert_eq!(Workspace::decode(&record), Ok((Priority(7), work.clone())));
        for length in 0..record.len() {
            let part = Workspace::decode(&record[..length]);
            assert_ne!(part, Ok((Priority(7), work.clone())), "{length}");
        }
        assert_eq!(Workspace::decode(&record[..9]), Err(Corrupt));
    }
}
