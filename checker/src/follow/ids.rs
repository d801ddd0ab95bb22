//! Sets of numbers that mostly follow each other: one bit for each number, 64 to an entry.

use std::collections::HashMap;

use crate::hashing::Hashing;

/// A set of numbers. Where they are dense, 64 of them cost one entry.
#[derive(Debug, Default)]
pub(crate) struct IdSet {
    words: HashMap<u64, u64, Hashing>,
    /// The entry that was used last, which is nearly always the one that is used next.
    place: u64,
    word: u64,
}

impl IdSet {
    /// Adds a number; tells whether it was new.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        self.turn_to(id / 64);
        let bit = 1 << (id % 64);
        let is_new = self.word & bit == 0;
        self.word |= bit;
        is_new
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        let word = if id / 64 == self.place {
            self.word
        } else {
            self.words.get(&(id / 64)).copied().unwrap_or_default()
        };
        word & (1 << (id % 64)) != 0
    }

    /// How many entries it takes.
    pub(crate) fn entries(&self) -> usize {
        self.words.len() + 1
    }

    fn turn_to(&mut self, place: u64) {
        if place != self.place {
            if self.word != 0 {
                self.words.insert(self.place, self.word);
            }
            self.place = place;
            self.word = self.words.get(&place).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_whatever_comes_between() {
        let mut set = IdSet::default();
        let ids = [0, 1, 63, 64, 65, 1 << 40, u64::MAX, u64::MAX - 1, 7];
        for id in ids {
            assert!(!set.contains(id));
            assert!(set.insert(id));
        }
        for id in ids {
            assert!(set.contains(id) && !set.insert(id), "{id}");
        }
        assert!(!set.contains(2) && !set.contains(1 << 39));
    }
}
