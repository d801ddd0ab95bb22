//! What the sites of the random tests did, and whether that was right.

use std::collections::BTreeMap;

use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicU64, Ordering};

/// A key of a site.
pub(crate) type Key = u64;
/// A transaction's name, which is also every value that it writes. Zero wrote the initial values.
pub(crate) type Name = u64;

/// A committed transaction.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) name: Name,
    /// What it saw of others.
    pub(crate) reads: BTreeMap<Key, Name>,
    pub(crate) writes: Vec<Key>,
    /// A moment after its vote, if it was one to vote.
    pub(crate) voted: Option<u64>,
    /// A moment before its decision.
    pub(crate) decided: u64,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    moments: AtomicU64,
    names: AtomicU64,
    committed: Mutex<Vec<Committed>>,
}

impl History {
    pub(crate) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn name(&self) -> Name {
        self.names.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn record(&self, committed: Committed) {
        self.committed.lock().unwrap().push(committed);
    }

    /// Replays the commits one by one in their order: every read must see what stands there. Then checks that
    /// of two that conflict the earlier was decided before the later voted (I1). Returns how many there are.
    pub(crate) fn judge(&self) -> u64 {
        let mut committed = self.committed.lock().unwrap();
        committed.sort_by_key(|txn| txn.decided);
        let mut values: BTreeMap<Key, Name> = BTreeMap::new();
        for txn in committed.iter() {
            for (key, seen) in &txn.reads {
                let there = values.get(key).copied().unwrap_or(0);
                assert_eq!(*seen, there, "key {key} as {txn:?} saw it, in commit order");
            }
            values.extend(txn.writes.iter().map(|key| (*key, txn.name)));
        }
        for (place, later) in committed.iter().enumerate() {
            let Some(voted) = later.voted else { continue };
            for earlier in &committed[..place] {
                // One that never voted, and is on record before the vote of the other ends, is in nobody's way.
                if earlier.voted.is_some() && conflict(earlier, later) {
                    assert!(earlier.decided < voted, "I1: {earlier:?} before {later:?}");
                }
            }
        }
        committed.len() as u64
    }
}

fn conflict(one: &Committed, other: &Committed) -> bool {
    let touches = |txn: &Committed, key| txn.reads.contains_key(key) || txn.writes.contains(key);
    one.writes.iter().any(|key| touches(other, key))
        || other.writes.iter().any(|key| touches(one, key))
}
