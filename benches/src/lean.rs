//! The least that strong strict two-phase locking costs: a striped table of holders, and nothing else.
//!
//! Whoever meets a conflict is told so and aborts (no-wait): there are no queues, no waits, no deadlocks
//! and no graph. It orders a single site by itself and could not take part in a distributed commit. Its only
//! purpose is to be fast.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::Mutex;

const STRIPES: usize = 64;

/// Who holds a key.
struct Held<K> {
    key: K,
    /// The writer, or the first reader.
    owner: u64,
    /// Zero for a writer.
    readers: u32,
}

#[derive(Default)]
#[repr(align(128))]
struct Stripe<K>(Mutex<HashTable<Held<K>>>);

/// A lock table without waiting.
pub struct LeanTable<K> {
    hasher: FixedState,
    stripes: Box<[Stripe<K>]>,
}

/// What one transaction holds.
#[derive(Debug)]
pub struct LeanTxn<K> {
    /// Its name; one of its own for every transaction.
    pub name: u64,
    held: Vec<(u64, K)>,
}

impl<K> LeanTxn<K> {
    /// A transaction that holds nothing.
    #[must_use]
    pub fn new(name: u64) -> Self {
        Self {
            name,
            held: Vec::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Default for LeanTable<K> {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Stripe(Mutex::new(HashTable::new())));
        Self {
            hasher: FixedState::default(),
            stripes: stripes.collect(),
        }
    }
}

impl<K: Clone + Eq + Hash> LeanTable<K> {
    /// Takes a lock; `false` if somebody else's is in the way.
    #[inline]
    pub fn lock(&self, txn: &mut LeanTxn<K>, key: &K, write: bool) -> bool {
        let hash = self.hasher.hash_one(key);
        let mut stripe = self.stripe(hash).0.lock();
        let same = |held: &Held<K>| held.key == *key;
        match stripe.entry(hash, same, |held| self.hasher.hash_one(&held.key)) {
            Entry::Vacant(slot) => {
                slot.insert(Held {
                    key: key.clone(),
                    owner: txn.name,
                    readers: u32::from(!write),
                });
            }
            Entry::Occupied(mut slot) => {
                let held = slot.get_mut();
                let own = held.owner == txn.name && held.readers <= 1;
                match (write, held.readers) {
                    (false, 0) | (true, _) if !own => return false,
                    (true, _) => held.readers = 0,
                    (false, 0) => {}
                    (false, _) => held.readers += 1,
                }
                if own {
                    return true;
                }
            }
        }
        txn.held.push((hash, key.clone()));
        true
    }

    /// Gives everything back.
    #[inline]
    pub fn end(&self, txn: LeanTxn<K>) {
        for (hash, key) in &txn.held {
            let mut stripe = self.stripe(*hash).0.lock();
            if let Ok(mut slot) = stripe.find_entry(*hash, |held| held.key == *key) {
                if slot.get().readers > 1 {
                    slot.get_mut().readers -= 1;
                } else {
                    slot.remove();
                }
            }
        }
    }

    fn stripe(&self, hash: u64) -> &Stripe<K> {
        let index = usize::try_from((hash >> 32) % STRIPES as u64);
        &self.stripes[index.expect("a remainder of STRIPES fits")]
    }
}

impl<K> std::fmt::Debug for LeanTable<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeanTable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_lock_table() {
        let table = LeanTable::default();
        let mut txns: Vec<_> = (1..4).map(LeanTxn::new).collect();
        assert!(table.lock(&mut txns[0], &7, false));
        assert!(table.lock(&mut txns[1], &7, false));
        assert!(!table.lock(&mut txns[2], &7, true));
        table.end(txns.remove(1));
        assert!(
            table.lock(&mut txns[0], &7, true),
            "an upgrade of the only reader"
        );
        assert!(!table.lock(&mut txns[1], &7, false));
        table.end(txns.remove(0));
        assert!(table.lock(&mut txns[0], &7, true));
    }
}
