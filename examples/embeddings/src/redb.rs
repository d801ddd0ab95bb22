//! A store on redb: one file, copy-on-write B-trees, optimistic commitment ordering.
//!
//! Operations take no locks. Reads see what is committed and note when, writes are private, and the vote
//! shows the whole footprint to a [`Validator`], which orders the transaction among those that are ready or
//! in doubt. Before a YES of a global transaction leaves, its writes *and* what it has read are in the
//! `prepared` table, synced; opening the file finds them there.
//!
//! Invariants:
//! - R1 A decision changes the data and removes the transaction's record in one redb transaction.
//! - R2 A read takes its position, and a decision clears the changes, under the workspaces' mutex: so the
//!   changes reach back to the oldest read of any workspace (C2 of [`crate::changes`]).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::path::Path;

use co_core::{Gtid, Kind, Outcome, Scheduler, State, Txn, Validator, Vote, VoteRule};
use conformance::{Answer, Engine, Key, Refusal, Value};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::changes::Changes;
use crate::workspace::{Workspace, Workspaces, check_decision};

const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
/// By global transaction id.
const PREPARED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("prepared");

/// The store.
#[derive(Debug)]
pub struct Store {
    scheduler: Scheduler,
    validator: Validator<Key>,
    database: Database,
    workspaces: Workspaces,
    changes: Changes,
    in_doubt: Vec<Txn>,
}

impl Store {
    /// Opens the file, or makes it; transactions in doubt come back with their marks.
    ///
    /// # Errors
    /// [`Refusal::Failed`] when redb fails, or a record is corrupt.
    pub fn open(path: &Path) -> Answer<Self> {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let mut store = Self {
            validator: Validator::new(scheduler.clone()),
            scheduler,
            database: Database::create(path)?,
            workspaces: Workspaces::default(),
            changes: Changes::default(),
            in_doubt: Vec::new(),
        };
        let start = store.database.begin_write()?;
        start.open_table(DATA)?;
        for row in start.open_table(PREPARED)?.iter()? {
            let (gtid, record) = row?;
            let (age, work) = Workspace::decode(record.value())?;
            let txn = store.scheduler.recover(Gtid(gtid.value()), age);
            store.validator.reinstate(&txn, work.footprint());
            store.workspaces.lock().insert(txn.id(), work);
            store.in_doubt.push(txn);
        }
        start.commit()?;
        Ok(store)
    }

    /// Installs what is decided, and removes the record (R1).
    fn conclude(&self, kind: Kind, writes: &BTreeMap<Key, Option<Value>>) -> Answer<()> {
        let apply = self.database.begin_write()?;
        {
            let mut data = apply.open_table(DATA)?;
            for (key, value) in writes {
                match value {
                    Some(value) => data.insert(key.as_slice(), value.as_slice())?,
                    None => data.remove(key.as_slice())?,
                };
            }
            if let Kind::Global { gtid, .. } = kind {
                apply.open_table(PREPARED)?.remove(gtid.0)?;
            }
        }
        Ok(apply.commit()?)
    }
}

impl Engine for Store {
    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    async fn read(&self, txn: &Txn, key: &[u8]) -> Answer<Option<Value>> {
        let own = self.workspaces.note(txn, |work| {
            let own = work.writes.get(key).cloned();
            if own.is_none() {
                let position = self.changes.position();
                work.reads.entry(key.to_vec()).or_insert(position);
            }
            own
        })?;
        if let Some(own) = own {
            return Ok(own);
        }
        let data = self.database.begin_read()?.open_table(DATA)?;
        Ok(data.get(key)?.map(|value| value.value().to_vec()))
    }

    async fn write(&self, txn: &Txn, key: &[u8], value: Option<&[u8]>) -> Answer<()> {
        let value = value.map(<[u8]>::to_vec);
        self.workspaces.note(txn, |work| {
            work.writes.insert(key.to_vec(), value);
        })
    }

    async fn scan(&self, txn: &Txn, low: &[u8], high: Option<&[u8]>) -> Answer<Vec<(Key, Value)>> {
        if high.is_some_and(|high| high <= low) {
            return Ok(Vec::new());
        }
        let own = self.workspaces.note(txn, |work| {
            let (high, position) = (high.map(<[u8]>::to_vec), self.changes.position());
            work.ranges.push((low.to_vec(), high, position));
            work.own(low, work.ranges.last().and_then(|range| range.1.as_deref()))
        })?;
        let mut rows = BTreeMap::new();
        let data = self.database.begin_read()?.open_table(DATA)?;
        for row in data.range::<&[u8]>((Included(low), high.map_or(Unbounded, Excluded)))? {
            let (key, value) = row?;
            rows.insert(key.value().to_vec(), Some(value.value().to_vec()));
        }
        rows.extend(own);
        let rows = rows.into_iter();
        Ok(rows
            .filter_map(|(key, value)| Some((key, value?)))
            .collect())
    }

    async fn request_vote(&self, txn: &Txn) -> Answer<()> {
        let work = self.workspaces.of(txn);
        if matches!(txn.state(), State::Active | State::Ready) {
            let current = || self.changes.none_since(&work);
            let admitted = self.validator.admit(txn, work.footprint(), current);
            admitted.map_err(Refusal::Aborted)?;
        }
        if let Vote::No(reason) = self.scheduler.request_vote(txn).await {
            return Err(Refusal::Aborted(reason));
        }
        if let Kind::Global { gtid, priority } = txn.kind() {
            let force = self.database.begin_write()?;
            let record = work.encode(priority);
            force.open_table(PREPARED)?.insert(gtid.0, &*record)?;
            force.commit()?;
        }
        Ok(())
    }

    fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()> {
        check_decision(txn, outcome)?;
        let writes = match outcome {
            Outcome::Commit => self.workspaces.of(txn).writes,
            Outcome::Abort => BTreeMap::new(),
        };
        if txn.state() == State::Voted {
            self.conclude(txn.kind(), &writes)?;
        }
        let mut workspaces = self.workspaces.lock();
        workspaces.remove(&txn.id());
        self.changes.add(writes.into_keys(), workspaces.is_empty());
        drop(workspaces);
        self.scheduler.decided(txn, outcome)?;
        self.validator.retire(txn);
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.validator.is_empty() && self.workspaces.lock().is_empty()
    }

    fn in_doubt(&self) -> Vec<Txn> {
        self.in_doubt.clone()
    }
}
