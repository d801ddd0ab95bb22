//! A store on fjall: a log-structured merge tree, under strong strict two-phase locking.
//!
//! Reads, writes and scans lock ([`LockTable`], [`LockPolicy::Ss2pl`]), writes are private until the
//! decision, votes are never withheld: whoever is in the way is waited for at the operation. Before a YES of
//! a global transaction leaves, its writes *and* its read locks are in the `prepared` keyspace, synced;
//! opening the folder finds them there and takes the locks again.
//!
//! Invariants:
//! - F1 A value is read while the read lock on its key, or on a range around it, is held.
//! - F2 A decision changes the data and removes the transaction's record in one batch.
//! - F3 Locks are released after the writes are visible and the scheduler knows the decision.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::Path;

use co_core::{
    Gtid, Kind, LockMode, LockPolicy, LockTable, Outcome, Scheduler, State, Txn, Vote, VoteRule,
};
use conformance::{Answer, Engine, Key, Refusal, Value};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::workspace::{Corrupt, Workspace, Workspaces, check_decision, granted};

/// The store.
pub struct Store {
    scheduler: Scheduler,
    locks: LockTable<Key>,
    database: Database,
    data: Keyspace,
    /// By global transaction id, big-endian.
    prepared: Keyspace,
    workspaces: Workspaces,
    in_doubt: Vec<Txn>,
}

impl Store {
    /// Opens the folder, or makes it; transactions in doubt come back with their locks.
    ///
    /// # Errors
    /// [`Refusal::Failed`] when fjall fails, or a record is corrupt.
    pub fn open(path: &Path) -> Answer<Self> {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let database = Database::builder(path).worker_threads(1).open()?;
        let mut store = Self {
            locks: LockTable::new(scheduler.clone(), LockPolicy::Ss2pl),
            scheduler,
            data: database.keyspace("data", KeyspaceCreateOptions::default)?,
            prepared: database.keyspace("prepared", KeyspaceCreateOptions::default)?,
            database,
            workspaces: Workspaces::default(),
            in_doubt: Vec::new(),
        };
        for row in store.prepared.iter() {
            let (gtid, record) = row.into_inner()?;
            let (age, work) = Workspace::decode(&record)?;
            let gtid = gtid.as_ref().try_into().map_err(|_| Corrupt)?;
            let txn = store.scheduler.recover(Gtid(u64::from_be_bytes(gtid)), age);
            for key in work.reads.keys() {
                store.locks.reinstate(&txn, key, LockMode::Read);
            }
            for (low, high, _) in &work.ranges {
                store.locks.reinstate_range(&txn, low, high.as_ref());
            }
            for key in work.writes.keys() {
                store.locks.reinstate(&txn, key, LockMode::Write);
            }
            store.workspaces.lock().insert(txn.id(), work);
            store.in_doubt.push(txn);
        }
        Ok(store)
    }
}

impl Engine for Store {
    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    async fn read(&self, txn: &Txn, key: &[u8]) -> Answer<Option<Value>> {
        let key = key.to_vec();
        granted(self.locks.acquire(txn, &key, LockMode::Read).await)?;
        let own = self.workspaces.note(txn, |work| {
            work.reads.insert(key.clone(), 0);
            work.writes.get(&key).cloned()
        })?;
        match own {
            Some(own) => Ok(own),
            None => Ok(self.data.get(&key)?.map(|value| value.to_vec())),
        }
    }

    async fn write(&self, txn: &Txn, key: &[u8], value: Option<&[u8]>) -> Answer<()> {
        let (key, value) = (key.to_vec(), value.map(<[u8]>::to_vec));
        granted(self.locks.acquire(txn, &key, LockMode::Write).await)?;
        self.workspaces.note(txn, |work| {
            work.writes.insert(key, value);
        })
    }

    async fn scan(&self, txn: &Txn, low: &[u8], high: Option<&[u8]>) -> Answer<Vec<(Key, Value)>> {
        if high.is_some_and(|high| high <= low) {
            return Ok(Vec::new());
        }
        let (first, after) = (low.to_vec(), high.map(<[u8]>::to_vec));
        granted(self.locks.acquire_range(txn, &first, after.as_ref()).await)?;
        let own = self.workspaces.note(txn, |work| {
            work.ranges.push((first, after, 0));
            work.own(low, high)
        })?;
        let mut rows = BTreeMap::new();
        let range = (Included(low), high.map_or(Unbounded, Excluded));
        for row in self.data.range::<&[u8], _>(range) {
            let (key, value) = row.into_inner()?;
            rows.insert(key.to_vec(), Some(value.to_vec()));
        }
        rows.extend(own);
        let rows = rows.into_iter();
        Ok(rows
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }

    async fn request_vote(&self, txn: &Txn) -> Answer<()> {
        if let Vote::No(reason) = self.scheduler.request_vote(txn).await {
            return Err(Refusal::Aborted(reason));
        }
        if let Kind::Global { gtid, priority } = txn.kind() {
            let record = self.workspaces.of(txn).encode(priority);
            let mut force = self.database.batch().durability(Some(PersistMode::SyncAll));
            force.insert(&self.prepared, gtid.0.to_be_bytes(), record);
            force.commit()?;
        }
        Ok(())
    }

    fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()> {
        check_decision(txn, outcome)?;
        if txn.state() == State::Voted {
            let mut apply = self.database.batch().durability(Some(PersistMode::SyncAll));
            if outcome == Outcome::Commit {
                for (key, value) in self.workspaces.of(txn).writes {
                    match value {
                        Some(value) => apply.insert(&self.data, key, value),
                        None => apply.remove(&self.data, key),
                    }
                }
            }
            if let Kind::Global { gtid, .. } = txn.kind() {
                apply.remove(&self.prepared, gtid.0.to_be_bytes());
            }
            apply.commit()?;
        }
        self.workspaces.lock().remove(&txn.id());
        self.scheduler.decided(txn, outcome)?;
        self.locks.release(txn);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.locks.is_empty() && self.workspaces.lock().is_empty()
    }

    fn in_doubt(&self) -> Vec<Txn> {
        self.in_doubt.clone()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
