//! A store over the lock table, the same for its three policies.
//!
//! Request and access happen under the record's latch, so that a read under ordered sharing sees what stood
//! before its own request; a request that has to wait waits without the latch.

use std::collections::BTreeMap;

use co_core::{Grant, LockMode, LockPolicy, LockSet, LockTable, Outcome, Txn};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Mutex, MutexGuard};

use crate::crew::{Common, Site, one_in};
use crate::history::{Committed, Key, Name};

const KEYS: u64 = 3;

#[derive(Default)]
struct Record {
    committed: Name,
    /// Undecided writers, in the order of their requests.
    undecided: Vec<Name>,
}

pub(crate) struct Locking {
    common: Common,
    locks: LockTable<Key>,
    records: Vec<Mutex<Record>>,
}

struct Access {
    txn: Txn,
    name: Name,
    locks: LockSet,
    reads: BTreeMap<Key, Name>,
    writes: Vec<Key>,
}

impl Locking {
    pub(crate) fn new(policy: LockPolicy) -> Self {
        let common = Common::new();
        Self {
            locks: LockTable::new(common.scheduler.clone(), policy),
            common,
            records: (0..KEYS).map(|_| Mutex::default()).collect(),
        }
    }

    fn record(&self, key: Key) -> &Mutex<Record> {
        &self.records[usize::try_from(key).unwrap()]
    }

    /// Gets the lock and the latch; nothing when the transaction must abort.
    fn enter(
        &self,
        access: &mut Access,
        key: Key,
        mode: LockMode,
    ) -> Option<MutexGuard<'_, Record>> {
        let latch = self.record(key);
        let record = latch.lock().unwrap();
        let asked = self.locks.lock(&mut access.locks, &key, mode);
        let (record, grant) = if let Some(grant) = asked.peek() {
            (record, grant)
        } else {
            drop(record);
            let grant = asked.wait();
            (latch.lock().unwrap(), grant)
        };
        (grant == Grant::Granted).then_some(record)
    }

    fn work(&self, access: &mut Access) -> Option<()> {
        for _ in 0..thread_rng().gen_range(1..=3) {
            self.common.disturb();
            let key = thread_rng().gen_range(0..KEYS);
            if one_in(2) {
                let own = access.name;
                let mut record = self.enter(access, key, LockMode::Write)?;
                // Asked for again it is a new request, which comes after whoever wrote in between.
                record.undecided.retain(|writer| *writer != own);
                record.undecided.push(own);
                if !access.writes.contains(&key) {
                    access.writes.push(key);
                }
            } else if !access.reads.contains_key(&key) && !access.writes.contains(&key) {
                let record = self.enter(access, key, LockMode::Read)?;
                let seen = match self.locks.policy() {
                    LockPolicy::OrderedSharing { .. } => record.undecided.last(),
                    LockPolicy::Ss2pl | LockPolicy::Sco => None,
                };
                access.reads.insert(key, *seen.unwrap_or(&record.committed));
            }
        }
        (!one_in(10)).then_some(())
    }

    fn end(&self, access: &Access, outcome: Outcome) {
        for key in &access.writes {
            let mut record = self.record(*key).lock().unwrap();
            record.undecided.retain(|writer| *writer != access.name);
            if outcome == Outcome::Commit {
                record.committed = access.name;
            }
        }
        self.common.decided(&access.txn, outcome);
    }
}

impl Site for Locking {
    fn transaction(&self) {
        let (txn, name) = self.common.begin();
        let mut access = Access {
            locks: self.locks.begin(&txn),
            txn,
            name,
            reads: BTreeMap::new(),
            writes: Vec::new(),
        };
        let voted = self
            .work(&mut access)
            .and_then(|()| self.common.vote(&access.txn));
        if let Some(voted) = voted {
            let decided = self.common.history.moment();
            self.end(&access, Outcome::Commit);
            self.common.record(Committed {
                name,
                reads: access.reads,
                writes: access.writes,
                voted: Some(voted),
                decided,
            });
        } else {
            self.end(&access, Outcome::Abort);
        }
        self.locks.end(access.locks);
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }
}
