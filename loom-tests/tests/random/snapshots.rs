//! A store with snapshots: nobody waits to read or to write but a late reader of a writer that has waited long.

use std::collections::BTreeMap;

use co_core::{Grant, Outcome, Position, Reading, Txn, VersionOrder, WriteKind};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;

use crate::crew::{Common, Site, one_in};
use crate::history::{Committed, Key, Name};

const KEYS: u64 = 3;

pub(crate) struct Snapshots {
    common: Common,
    order: VersionOrder<Key>,
    versions: Mutex<BTreeMap<Key, Vec<(Position, Name)>>>,
}

impl Snapshots {
    pub(crate) fn new() -> Self {
        let common = Common::new();
        Self {
            order: VersionOrder::with_late_readers(common.scheduler.clone(), 1),
            common,
            versions: Mutex::default(),
        }
    }

    /// Reads a key, or scans from it to the end.
    fn read(&self, txn: &Txn, key: Key, scan: bool, reads: &mut BTreeMap<Key, Name>) -> Option<()> {
        let snapshot = loop {
            let reading = if scan {
                self.order.scan(txn, &key, None)
            } else {
                self.order.read(txn, &key)
            };
            match reading.ok()? {
                Reading::Now(snapshot) => break snapshot,
                Reading::After(turn) => {
                    if turn.wait() != Grant::Granted {
                        return None;
                    }
                }
            }
        };
        let versions = self.versions.lock().unwrap();
        for key in key..if scan { KEYS } else { key + 1 } {
            let written = versions.get(&key).into_iter().flatten();
            let shown = written
                .rev()
                .find(|version| version.0 <= snapshot.position());
            let seen = shown.map_or(0, |version| version.1);
            let before = reads.insert(key, seen);
            assert!(before.is_none_or(|before| before == seen), "MV2: {key}");
        }
        Some(())
    }

    fn work(
        &self,
        txn: &Txn,
        reads: &mut BTreeMap<Key, Name>,
        writes: &mut Vec<Key>,
    ) -> Option<()> {
        for _ in 0..thread_rng().gen_range(1..=3) {
            self.common.disturb();
            let key = thread_rng().gen_range(0..KEYS);
            if one_in(2) {
                self.order.intend(txn, &key, WriteKind::Put).ok()?;
                if !writes.contains(&key) {
                    writes.push(key);
                }
            } else {
                self.read(txn, key, one_in(4), reads)?;
            }
        }
        (!one_in(10)).then_some(())
    }
}

impl Site for Snapshots {
    fn transaction(&self) {
        let (txn, name) = self.common.begin();
        let (mut reads, mut writes) = (BTreeMap::new(), Vec::new());
        let voted = self
            .work(&txn, &mut reads, &mut writes)
            .and_then(|()| self.common.vote(&txn));
        if let Some(voted) = voted {
            let decided = self.common.history.moment();
            let stored = self.order.install(&txn, |position| {
                let mut versions = self.versions.lock().unwrap();
                for key in &writes {
                    versions.entry(*key).or_default().push((position, name));
                }
            });
            stored.unwrap();
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
        self.order.retire(&txn);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
