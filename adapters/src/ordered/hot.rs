//! Keys on which transactions have got in each other's way of late: who reads one of them first waits for its turn.
//!
//! Two transactions that both read a key and then write it cannot both commit, and who finds that out at the write has
//! done its work for nothing. Where it has happened, the next ones queue before they read. The heat of a key grows with
//! every such abort and goes with every turn that is taken in peace, so a key that is not fought over is soon shared again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use participant::Key;

/// How many turns an abort makes.
const TURNS: u32 = 32;
/// How hot a key can be, in turns.
const HOTTEST: u32 = 1024;
/// How many keys can be hot. Those that nobody reads any more stay so until there are too many, and then all are forgotten.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct HotKeys {
    turns: Mutex<BTreeMap<Key, u32>>,
    /// How many there are: most often none.
    count: AtomicUsize,
}

impl HotKeys {
    /// A transaction that had read these was aborted for a conflict.
    pub(crate) fn heat<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if turns.len() == MOST && !turns.contains_key(key) {
                turns.clear();
            }
            let left = turns.entry(Key::clone(key)).or_insert(0);
            *left = left.saturating_add(TURNS).min(HOTTEST);
        }
        self.count.store(turns.len(), Ordering::Relaxed);
    }

    /// Whether who reads the key waits for its turn first; takes one turn.
    pub(crate) fn take_turn(&self, key: &Key) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = turns.get_mut(key) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            turns.remove(key);
            self.count.store(turns.len(), Ordering::Relaxed);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hot_for_as_many_turns_as_its_aborts_make_and_others_are_not() {
        let hot = HotKeys::default();
        let (x, y) = (Key::from(*b"x"), Key::from(*b"y"));
        assert!(!hot.take_turn(&x));
        hot.heat([&x].into_iter());
        hot.heat([&x].into_iter());
        for _ in 0..2 * TURNS {
            assert!(hot.take_turn(&x));
            assert!(!hot.take_turn(&y));
        }
        assert!(!hot.take_turn(&x));
        let count = u32::try_from(MOST).unwrap();
        let keys: Vec<Key> = (0..count).map(|it| Key::from(it.to_be_bytes())).collect();
        hot.heat(keys.iter());
        assert_eq!(hot.count.load(Ordering::Relaxed), MOST);
        hot.heat([&x].into_iter());
        assert_eq!(hot.count.load(Ordering::Relaxed), 1, "there were too many");
        (0..100).for_each(|_| hot.heat([&x].into_iter()));
        assert_eq!(
            (0..=HOTTEST).filter(|_| hot.take_turn(&x)).count(),
            HOTTEST as usize
        );
    }
}
