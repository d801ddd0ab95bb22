//! A store that validates: transactions read what is committed, and are checked at their end. Some of them, of
//! this site alone, pass by the validator's counters without being begun at the scheduler.

use std::collections::BTreeMap;

use co_core::{Footprint, Outcome, Validator, WriteKind};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::crew::{Common, Site, one_in};
use crate::history::{Committed, Key, Name};

const KEYS: u64 = 3;

#[derive(Default)]
struct Items {
    values: BTreeMap<Key, Name>,
    /// About to be replaced by a transaction that nobody else knows of.
    locked: BTreeMap<Key, Name>,
}

impl Items {
    fn value(&self, key: Key) -> Name {
        self.values.get(&key).copied().unwrap_or(0)
    }

    /// Whether everything read is as it was, and nobody but `own` is about to change it.
    fn is_current(&self, reads: &BTreeMap<Key, Name>, writes: &[Key], own: Name) -> bool {
        let free = |key: &Key| self.locked.get(key).is_none_or(|holder| *holder == own);
        reads.keys().chain(writes).all(free)
            && reads.iter().all(|(key, seen)| self.value(*key) == *seen)
    }
}

pub(crate) struct Optimistic {
    common: Common,
    validator: Validator<Key>,
    items: Mutex<Items>,
}

impl Optimistic {
    pub(crate) fn new() -> Self {
        let common = Common::new();
        Self {
            validator: Validator::new(common.scheduler.clone()),
            common,
            items: Mutex::default(),
        }
    }

    fn work(&self) -> (BTreeMap<Key, Name>, Vec<Key>) {
        let (mut reads, mut writes) = (BTreeMap::new(), Vec::new());
        for _ in 0..thread_rng().gen_range(1..=3) {
            let key = thread_rng().gen_range(0..KEYS);
            if one_in(2) {
                if !writes.contains(&key) {
                    writes.push(key);
                }
            } else {
                let seen = self.items.lock().unwrap().value(key);
                reads.entry(key).or_insert(seen);
            }
            thread::yield_now();
        }
        (reads, writes)
    }

    fn admitted(&self) {
        let (txn, name) = self.common.begin();
        let (reads, writes) = self.work();
        self.common.disturb();
        let current = || {
            let items = self.items.lock().unwrap();
            items.is_current(&reads, &writes, name)
        };
        let admitted = self
            .validator
            .admit(&txn, footprint(&reads, &writes), current);
        if let Some(voted) = admitted.ok().and_then(|()| self.common.vote(&txn)) {
            let decided = {
                let mut items = self.items.lock().unwrap();
                items.values.extend(writes.iter().map(|key| (*key, name)));
                self.common.history.moment()
            };
            self.common.decided(&txn, Outcome::Commit);
            self.common.record(Committed {
                name,
                reads,
                writes,
                voted: Some(voted),
                decided,
            });
        } else {
            self.common.decided(&txn, Outcome::Abort);
        }
        self.validator.retire(&txn);
    }

    /// Commits by its own validation if that is clear, and gives up otherwise.
    fn unknown(&self) {
        let name = self.common.history.name();
        let (reads, writes) = self.work();
        {
            let mut items = self.items.lock().unwrap();
            if !items.is_current(&reads, &writes, name) {
                return;
            }
            items.locked.extend(writes.iter().map(|key| (*key, name)));
        }
        let clear = self.validator.is_clear(&footprint(&reads, &writes));
        let mut items = self.items.lock().unwrap();
        let passes = clear && items.is_current(&reads, &writes, name);
        items.locked.retain(|_, holder| *holder != name);
        if passes {
            items.values.extend(writes.iter().map(|key| (*key, name)));
            let decided = self.common.history.moment();
            self.common.record(Committed {
                name,
                reads,
                writes,
                voted: None,
                decided,
            });
        }
    }
}

fn footprint(reads: &BTreeMap<Key, Name>, writes: &[Key]) -> Footprint<Key> {
    Footprint {
        reads: reads.keys().copied().collect(),
        ranges: Vec::new(),
        writes: writes.iter().map(|key| (*key, WriteKind::Put)).collect(),
    }
}

impl Site for Optimistic {
    fn transaction(&self) {
        if one_in(3) {
            self.unknown();
        } else {
            self.admitted();
        }
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_empty(&self) -> bool {
        self.validator.is_empty() && self.items.lock().unwrap().locked.is_empty()
    }
}
