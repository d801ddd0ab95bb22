//! The versions of one key.
//!
//! Invariants:
//! - C1 Sequence numbers grow along the chain. Stamps do too, except within a run of increments, which
//!   commute and may be decided in another order than they are applied in.
//!
//! All versions are kept: a query may ask for any stamp. That is a bound on what this store is for, and
//! stated in the engine's documentation.

use std::sync::Arc;

use co_core::Stamp;

use crate::engine::number;
use crate::participant::{Change, Value};

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

    /// The newest value, if the key is present.
    pub(super) fn newest_value(&self) -> Option<&Value> {
        self.0.last()?.value.as_ref()
    }

    pub(super) fn install(&mut self, sequence: u64, stamp: Stamp, change: &Change) {
        assert!(self.newest_sequence() < sequence, "C1: versions in order");
        let (value, delta) = match change {
            Change::Put(_, value) => (Some(Arc::clone(value)), None),
            Change::Delete(_) => (None, None),
            Change::Increment(_, delta) => {
                let before = self.newest_value().map(|value| &**value);
                (Some(number::add(before, *delta)), Some(*delta))
            }
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
        assert_eq!(chain.newest_value(), Some(&number::encode(7)));
        assert_eq!(chain.as_of(Stamp(1)), Some(number::encode(3)));
    }
}
