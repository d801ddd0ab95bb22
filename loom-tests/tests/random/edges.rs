//! A store that finds its conflicts itself and reports them to the scheduler.
//!
//! Writes are private until the commit. Accesses are noted in one critical section with what is read; the edges
//! are reported after it, so that they meet votes and decisions on their way.

use std::collections::BTreeMap;

use co_core::{EdgeKind, Outcome, Txn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;

use crate::crew::{Common, Site, one_in};
use crate::history::{Committed, Key, Name};

const KEYS: u64 = 3;

#[derive(Default)]
struct Items {
    values: BTreeMap<Key, Name>,
    /// Accesses of undecided transactions; `true` for a write.
    accesses: Vec<(Key, Txn, bool)>,
}

pub(crate) struct Edges {
    common: Common,
    items: Mutex<Items>,
}

impl Edges {
    pub(crate) fn new() -> Self {
        Self {
            common: Common::new(),
            items: Mutex::default(),
        }
    }

    fn work(&self, txn: &Txn, reads: &mut BTreeMap<Key, Name>, writes: &mut Vec<Key>) {
        let scheduler = &self.common.scheduler;
        for _ in 0..thread_rng().gen_range(1..=3) {
            self.common.disturb();
            let key = thread_rng().gen_range(0..KEYS);
            let write = one_in(2);
            if writes.contains(&key) || !write && reads.contains_key(&key) {
                continue;
            }
            let others: Vec<(Txn, bool)> = {
                let mut items = self.items.lock().unwrap();
                let there = items.accesses.iter();
                let others = there.filter(|other| other.0 == key && other.1 != *txn);
                let others = others.map(|other| (other.1.clone(), other.2)).collect();
                items.accesses.push((key, txn.clone(), write));
                if write {
                    writes.push(key);
                } else {
                    reads.insert(key, items.values.get(&key).copied().unwrap_or(0));
                }
                others
            };
            for (other, wrote) in others {
                let reported = match (wrote, write) {
                    (true, true) => scheduler.edge(&other, txn, EdgeKind::WriteWrite),
                    (false, true) => scheduler.edge(&other, txn, EdgeKind::ReadWrite),
                    (true, false) => scheduler.edge(txn, &other, EdgeKind::ReadWrite),
                    (false, false) => Ok(()),
                };
                reported.unwrap();
            }
        }
        if one_in(4)
            && let Some(holder) = self.common.anybody()
        {
            scheduler.wait(txn, &holder).unwrap();
            scheduler.blocked(txn);
            if one_in(2) {
                scheduler.unwait(txn, &holder);
            }
        }
    }
}

impl Site for Edges {
    fn transaction(&self) {
        let (txn, name) = self.common.begin();
        let (mut reads, mut writes) = (BTreeMap::new(), Vec::new());
        self.work(&txn, &mut reads, &mut writes);
        let voted = if one_in(10) {
            None
        } else {
            self.common.vote(&txn)
        };
        if let Some(voted) = voted {
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
        let mut items = self.items.lock().unwrap();
        items.accesses.retain(|access| access.1 != txn);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_empty(&self) -> bool {
        self.items.lock().unwrap().accesses.is_empty()
    }
}
