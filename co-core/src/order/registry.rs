//! Transactions by their name, for those who keep only names: a lock table notes who holds a key in eight
//! bytes and looks the holder up when somebody else asks for the key.
//!
//! A transaction is in the registry from its first use of such a table to its decision.

use std::fmt;

use hashbrown::HashTable;

use crate::id::TxnId;
use crate::order::Txn;
use crate::sync::{MODELLED, Mutex, Padded};

/// Names are spread over this many mutexes; one thread's names fall on one of them.
const SHARDS: usize = if MODELLED { 1 } else { 32 };

pub(super) struct Registry(Box<[Padded<Mutex<HashTable<Txn>>>]>);

impl Registry {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Padded(Mutex::default())).collect())
    }

    pub(super) fn insert(&self, txn: &Txn) {
        let id = txn.id();
        let mut shard = self.shard(id).lock();
        let same = |known: &Txn| known.id() == id;
        // Known already: two threads that use the transaction for the first time.
        shard
            .entry(spread(id), same, |txn| spread(txn.id()))
            .or_insert_with(|| txn.clone());
    }

    pub(super) fn remove(&self, id: TxnId) {
        let mut shard = self.shard(id).lock();
        let removed = match shard.find_entry(spread(id), |txn| txn.id() == id) {
            Ok(found) => Some(found.remove().0),
            Err(_) => None,
        };
        drop(shard);
        drop(removed);
    }

    pub(super) fn find(&self, id: TxnId) -> Option<Txn> {
        let shard = self.shard(id).lock();
        shard.find(spread(id), |txn| txn.id() == id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.0.lock().len()).sum()
    }

    fn shard(&self, id: TxnId) -> &Mutex<HashTable<Txn>> {
        let index = id.0 % SHARDS as u64;
        &self.0[usize::try_from(index).expect("a remainder of SHARDS fits")].0
    }
}

/// Names count upwards; a table wants its high and low bits mixed.
fn spread(id: TxnId) -> u64 {
    id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({})", self.len())
    }
}
