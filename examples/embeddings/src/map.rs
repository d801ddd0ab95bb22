//! A store from scratch: an ordered map in memory, under strict commitment ordering.
//!
//! Reads, writes and scans lock ([`LockTable`], [`LockPolicy::Sco`]); a write does not wait for readers,
//! the writer's vote does. Writes are private until the decision, so a reader that was overtaken reads the
//! old value again, and an abort has nothing to undo.
//!
//! Nothing is kept over a crash, so a vote needs no log: use it where a site may forget.
//!
//! Invariants:
//! - M1 A value is read while the read lock on its key, or on a range around it, is held.
//! - M2 Locks are released after the writes are visible and the scheduler knows the decision.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use co_core::{
    Grant, LockMode, LockPolicy, LockTable, Misuse, Outcome, Scheduler, State, Txn, TxnId, Vote,
    VoteRule,
};
use conformance::{Answer, Engine, Key, Refusal, Value};

/// The store.
#[derive(Debug)]
pub struct Store {
    scheduler: Scheduler,
    locks: LockTable<Key>,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    committed: BTreeMap<Key, Value>,
    /// What undecided transactions have written; `None` is a delete.
    private: HashMap<TxnId, BTreeMap<Key, Option<Value>>>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let locks = LockTable::new(scheduler.clone(), LockPolicy::Sco);
        let tables = Mutex::default();
        Self {
            scheduler,
            locks,
            tables,
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Store {
    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    async fn read(&self, txn: &Txn, key: &[u8]) -> Answer<Option<Value>> {
        let key = key.to_vec();
        granted(self.locks.acquire(txn, &key, LockMode::Read).await)?;
        let tables = self.tables();
        let own = tables.private.get(&txn.id()).and_then(|own| own.get(&key));
        Ok(own.map_or_else(|| tables.committed.get(&key).cloned(), Clone::clone))
    }

    async fn write(&self, txn: &Txn, key: &[u8], value: Option<&[u8]>) -> Answer<()> {
        let key = key.to_vec();
        granted(self.locks.acquire(txn, &key, LockMode::Write).await)?;
        let mut tables = self.tables();
        let own = tables.private.entry(txn.id()).or_default();
        own.insert(key, value.map(<[u8]>::to_vec));
        Ok(())
    }

    async fn scan(&self, txn: &Txn, low: &[u8], high: Option<&[u8]>) -> Answer<Vec<(Key, Value)>> {
        let (low, high) = (low.to_vec(), high.map(<[u8]>::to_vec));
        granted(self.locks.acquire_range(txn, &low, high.as_ref()).await)?;
        let inside = |key: &Key| *key >= low && high.as_ref().is_none_or(|high| key < high);
        let tables = self.tables();
        let committed = tables.committed.range(low.clone()..);
        let mut rows: BTreeMap<Key, Value> = committed
            .take_while(|(key, _)| inside(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in tables.private.get(&txn.id()).into_iter().flatten() {
            match value {
                Some(value) if inside(key) => rows.insert(key.clone(), value.clone()),
                _ => rows.remove(key),
            };
        }
        Ok(rows.into_iter().collect())
    }

    async fn request_vote(&self, txn: &Txn) -> Answer<()> {
        match self.scheduler.request_vote(txn).await {
            Vote::Yes => Ok(()),
            Vote::No(reason) => Err(Refusal::Aborted(reason)),
        }
    }

    fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()> {
        let state = txn.state();
        if !state.is_undecided() || (outcome == Outcome::Commit && state != State::Voted) {
            let attempted = "decide";
            return Err(Misuse::WrongState { state, attempted }.into());
        }
        let mut tables = self.tables();
        let own = tables.private.remove(&txn.id()).unwrap_or_default();
        if outcome == Outcome::Commit {
            for (key, value) in own {
                match value {
                    Some(value) => tables.committed.insert(key, value),
                    None => tables.committed.remove(&key),
                };
            }
        }
        drop(tables);
        self.scheduler.decided(txn, outcome)?;
        self.locks.release(txn);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty() && self.tables().private.is_empty()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

fn granted(grant: Grant) -> Answer<()> {
    match grant {
        Grant::Granted => Ok(()),
        Grant::Aborted(reason) => Err(Refusal::Aborted(reason)),
    }
}
