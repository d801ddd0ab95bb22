//! The versions of one key.
//!
//! Invariants:
//! - C1 Sequence numbers grow along the chain. Stamps do too, except within a run of increments, which
//!   commute and may be decided in another order than they are applied in.
//!
//! - C2 The first version may stand for several that are forgotten; it counts for every stamp that is asked for.

use co_core::Stamp;

use crate::engine::backing::changed;
use crate::engine::number;
use crate::participant::{Change, Value};
use crate::storage::Cell;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub(super) sequence: u64,
    stamp: Stamp,
    /// `None` is a tombstone.
    pub(super) value: Option<Value>,
    /// By how much it grew, if it is an increment of the version before.
    delta: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Chain(Vec<Version>);

impl Chain {
    /// What a snapshot at `position` shows.
    pub(super) fn at(&self, position: u64) -> Option<&Version> {
        self.0.iter().rfind(|version| version.sequence <= position)
    }

    /// The number of the newest version, zero if there is none.
    pub(super) fn newest_sequence(&self) -> u64 {
        self.0.last().map_or(0, |version| version.sequence)
    }

    /// The newest version as a row.
    pub(super) fn newest(&self) -> Cell {
        self.0.last().map_or_else(Cell::default, |newest| Cell {
            version: newest.sequence,
            stamp: newest.stamp,
            value: newest.value.clone(),
        })
    }

    /// Puts the version that is in the storage, if there is one, before all others.
    pub(super) fn begin(&mut self, stored: Cell) {
        assert!(self.0.is_empty(), "C1: it is the oldest");
        if stored.version > 0 {
            self.0.push(Version {
                sequence: stored.version,
                stamp: stored.stamp,
                value: stored.value,
                delta: None,
            });
        }
    }

    /// Forgets what came before the newest version with a number up to `sequence` (C2). Says whether nothing is
    /// left but that one.
    pub(super) fn forget(&mut self, sequence: u64) -> bool {
        let last = self
            .0
            .iter()
            .rposition(|version| version.sequence <= sequence);
        if let Some(last) = last {
            self.0.drain(..last);
            // What it was added to is a part of it.
            self.0[0].delta = None;
        }
        last.is_some() && self.0.len() == 1
    }

    pub(super) fn install(&mut self, sequence: u64, stamp: Stamp, change: &Change) {
        assert!(self.newest_sequence() < sequence, "C1: versions in order");
        let before = self.0.last().and_then(|newest| newest.value.as_ref());
        let value = changed(change, before);
        let delta = match change {
            Change::Put(..) | Change::Delete(_) => None,
            Change::Increment(_, delta) => Some(*delta),
        };
        self.0.push(Version {
            sequence,
            stamp,
            value,
            delta,
        });
    }

    /// The value that everything decided up to `stamp`, and nothing later, has left.
    ///
    /// Within a run of increments the sums include earlier applied ones that were decided later, so the
    /// sum is formed anew from those that count.
    pub(super) fn as_of(&self, stamp: Stamp) -> Option<Value> {
        let counts = |version: &Version| version.stamp <= stamp;
        let last = self.0.iter().rposition(counts)?;
        if self.0[last].delta.is_none() {
            return self.0[last].value.clone();
        }
        let run = self.0[..last]
            .iter()
            .rposition(|version| version.delta.is_none());
        let base = run.and_then(|base| self.0[base].value.as_deref());
        let first = run.map_or(0, |base| base + 1);
        let sum = self.0[first..=last]
            .iter()
            .filter(|version| counts(version))
            .filter_map(|version| version.delta)
            .fold(0, i64::wrapping_add);
        Some(number::add(base, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::Key;

    fn key() -> Key {
        Key::from(b"n".as_slice())
    }

    #[test]
    fn a_query_between_two_increments_sums_those_that_were_decided_by_then() {
        let mut chain = Chain::default();
        chain.install(1, Stamp(2), &Change::Put(key(), number::encode(100)));
        // Applied in the opposite order to their stamps.
        chain.install(2, Stamp(9), &Change::Increment(key(), 10));
        chain.install(3, Stamp(5), &Change::Increment(key(), 1));
        chain.install(4, Stamp(11), &Change::Delete(key()));
        let number_at = |stamp| {
            chain
                .as_of(Stamp(stamp))
                .map(|value| number::decode(Some(&value)))
        };
        let seen = [1, 2, 4, 5, 8, 9, 11].map(number_at);
        let expected = [
            None,
            Some(100),
            Some(100),
            Some(101),
            Some(101),
            Some(111),
            None,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn increments_of_an_absent_key_start_from_zero() {
        let mut chain = Chain::default();
        chain.install(1, Stamp(1), &Change::Increment(key(), 3));
        chain.install(2, Stamp(2), &Change::Increment(key(), 4));
        assert_eq!(chain.newest().value, Some(number::encode(7)));
        assert_eq!(chain.as_of(Stamp(1)), Some(number::encode(3)));
    }

    #[test]
    fn what_is_forgotten_is_a_part_of_what_is_left() {
        let mut chain = Chain::default();
        chain.begin(Cell {
            version: 4,
            stamp: Stamp(1),
            value: Some(number::encode(100)),
        });
        chain.install(5, Stamp(9), &Change::Increment(key(), 10));
        chain.install(6, Stamp(5), &Change::Increment(key(), 1));
        chain.install(7, Stamp(12), &Change::Increment(key(), 1000));
        assert!(!chain.forget(3));
        assert!(!chain.forget(6));
        let number_at = |stamp| number::decode(chain.as_of(Stamp(stamp)).as_deref());
        assert_eq!([9, 11, 12].map(number_at), [111, 111, 1111]);
        assert_eq!(chain.at(6).map(|version| version.sequence), Some(6));
        assert!(chain.forget(8));
        assert_eq!(chain.newest().version, 7);
    }
}
