//! Versions, and the marks of undecided transactions on them: who has read what, who is going to write.
//!
//! One mutex guards all of it; every method here runs under it. Edges are told to the scheduler under it
//! too, so a reader and a writer of one key always see each other.
//!
//! Invariants:
//! - M1 A mark stands from the operation to the decision, votes included (trap 4.5).
//! - M2 A writer's intent goes in the same step in which its versions appear, so a reader meets either
//!   the undecided writer or its version.
//! - M3 Whoever reads a key gets an edge to every undecided writer of it, and whoever is going to write a
//!   key gets one from every undecided reader of it, alone or in a range.
//! - M5 Who reads an old version gets an edge to the writer of every newer one. Under commitment ordering
//!   that dooms the reader, and so only the newest version is ever read; under
//!   [`VoteRule::LocalSnapshot`](co_core::VoteRule) the scheduler decides, and the marks of a committed
//!   reader stay until every transaction that was concurrent with it is decided.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use co_core::{AbortReason, EdgeKind, Scheduler, Stamp, State, Txn};

use super::version::Chain;
use crate::engine::workspace::{Committed, Row};
use crate::participant::{Change, Key, KeyRange, MAX_SCAN_ROWS, Value};
use crate::registry::Handle;

#[derive(Debug, Default)]
struct Item {
    chain: Chain,
    readers: Vec<Txn>,
    writers: Vec<Arc<Handle>>,
}

/// What a transaction sees, from its first read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The newest version that it shows.
    pub(super) position: u64,
    /// When it was taken, in the order of all snapshots and ends.
    taken: u64,
}

/// A committed reader whose marks still stand (M5).
#[derive(Debug)]
struct Retired {
    txn: Txn,
    ended: u64,
    keys: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Versions {
    scheduler: Scheduler,
    newest: u64,
    items: BTreeMap<Key, Item>,
    ranges: Vec<(KeyRange, Txn)>,
    /// Counts snapshots taken and readers ended.
    moments: u64,
    /// Snapshots of undecided transactions, by when they were taken.
    snapshots: BTreeMap<u64, u64>,
    retired: VecDeque<Retired>,
}

impl Versions {
    pub(super) fn new(scheduler: Scheduler) -> Self {
        Self {
            scheduler,
            newest: 0,
            items: BTreeMap::new(),
            ranges: Vec::new(),
            moments: 0,
            snapshots: BTreeMap::new(),
            retired: VecDeque::new(),
        }
    }

    /// Takes a snapshot of what is committed now.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.moments += 1;
        self.snapshots.insert(self.moments, self.newest);
        Snapshot {
            position: self.newest,
            taken: self.moments,
        }
    }

    /// Reads a key at a snapshot and leaves a mark; the version and the value.
    pub(super) fn read(
        &mut self,
        txn: &Txn,
        snapshot: Snapshot,
        key: &Key,
    ) -> Result<(u64, Option<Value>), AbortReason> {
        if let Some(item) = self.items.get(key) {
            self.precede(txn, snapshot, item, EdgeKind::ReadWrite);
        }
        if let Some(reason) = txn.doomed() {
            return Err(reason);
        }
        self.mark_read(txn, key);
        let version = self.items[key].chain.at(snapshot.position);
        Ok(version.map_or((0, None), |version| {
            (version.sequence, version.value.clone())
        }))
    }

    /// Reads the present rows of a range at a snapshot and leaves a mark on the whole of it.
    pub(super) fn scan(
        &mut self,
        txn: &Txn,
        snapshot: Snapshot,
        range: &KeyRange,
    ) -> Result<Vec<Row>, AbortReason> {
        for (_, item) in self.items.range(range.bounds()) {
            self.precede(txn, snapshot, item, EdgeKind::Predicate);
        }
        if let Some(reason) = txn.doomed() {
            return Err(reason);
        }
        self.mark_scanned(txn, range);
        Ok(self.rows_at(range, snapshot.position))
    }

    /// A reader precedes whoever installed what its snapshot does not show, and whoever is going to.
    fn precede(&self, txn: &Txn, snapshot: Snapshot, item: &Item, kind: EdgeKind) {
        let installed = item.chain.after(snapshot.position);
        let installed = installed.filter_map(|version| version.writer.as_ref());
        let intending = item.writers.iter().map(|writer| writer.txn());
        for writer in installed.chain(intending) {
            self.order(txn, writer, kind);
        }
    }

    fn rows_at(&self, range: &KeyRange, position: u64) -> Vec<Row> {
        let items = self.items.range(range.bounds());
        let rows = items.filter_map(|(key, item)| {
            let version = item.chain.at(position)?;
            let value = version.value.as_ref()?;
            Some((Arc::clone(key), version.sequence, Arc::clone(value)))
        });
        rows.take(MAX_SCAN_ROWS + 1).collect()
    }

    /// Registers that a transaction, which holds the key's lock, is going to write it.
    pub(super) fn intend(
        &mut self,
        handle: &Arc<Handle>,
        snapshot: Option<Snapshot>,
        change: &Change,
    ) {
        let txn = handle.txn();
        let key = change.key();
        let item = self.items.entry(Arc::clone(key)).or_default();
        if !item.writers.iter().any(|writer| writer.txn() == txn) {
            item.writers.push(Arc::clone(handle));
        }
        let item = &self.items[key];
        if let Some(snapshot) = snapshot {
            self.follow_writers(txn, snapshot, item, change);
        }
        for reader in &item.readers {
            if self.is_concurrent(reader, snapshot) {
                self.order(reader, txn, EdgeKind::ReadWrite);
            }
        }
        for (range, reader) in &self.ranges {
            if range.contains(key) && self.is_concurrent(reader, snapshot) {
                self.order(reader, txn, EdgeKind::Predicate);
            }
        }
    }

    /// A writer follows whoever installed a version that its snapshot does not show, unless both add.
    fn follow_writers(&self, txn: &Txn, snapshot: Snapshot, item: &Item, change: &Change) {
        let adds = matches!(change, Change::Increment(..));
        let newer = item.chain.after(snapshot.position);
        let conflicting = newer.filter(|version| !(adds && version.is_increment()));
        for writer in conflicting.filter_map(|version| version.writer.as_ref()) {
            self.order(writer, txn, EdgeKind::WriteWrite);
        }
    }

    /// Whether a reader with a mark is undecided, or ended after the snapshot was taken.
    fn is_concurrent(&self, reader: &Txn, snapshot: Option<Snapshot>) -> bool {
        let mut ended = self.retired.iter().filter(|retired| retired.txn == *reader);
        ended
            .next()
            .is_none_or(|retired| snapshot.is_some_and(|snapshot| snapshot.taken < retired.ended))
    }

    /// Restores the intent of a writer in doubt, which nobody precedes.
    pub(super) fn reinstate(&mut self, handle: &Arc<Handle>, key: &Key) {
        let item = self.items.entry(Arc::clone(key)).or_default();
        item.writers.push(Arc::clone(handle));
    }

    /// Installs changes as the site's next version and takes the writer's intents away (M2).
    pub(super) fn install(
        &mut self,
        txn: Option<&Txn>,
        stamp: Stamp,
        changes: &[Change],
    ) -> Option<u64> {
        if changes.is_empty() {
            return None;
        }
        self.newest += 1;
        for change in changes {
            let item = self.items.entry(Arc::clone(change.key())).or_default();
            item.chain.install(self.newest, stamp, change, txn);
            item.writers.retain(|writer| Some(writer.txn()) != txn);
        }
        Some(self.newest)
    }

    /// Takes the intents of an aborted transaction away.
    pub(super) fn withdraw<'a>(&mut self, txn: &Txn, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            self.change_item(key, |item| {
                item.writers.retain(|writer| writer.txn() != txn)
            });
        }
    }

    pub(super) fn mark_read(&mut self, txn: &Txn, key: &Key) {
        let item = self.items.entry(Arc::clone(key)).or_default();
        if !item.readers.contains(txn) {
            item.readers.push(txn.clone());
        }
    }

    pub(super) fn mark_scanned(&mut self, txn: &Txn, range: &KeyRange) {
        let covered = |(other, reader): &(KeyRange, Txn)| reader == txn && other.covers(range);
        if !self.ranges.iter().any(covered) {
            self.ranges.push((range.clone(), txn.clone()));
        }
    }

    /// A transaction is decided: takes its read marks away, at once or as soon as nobody that was
    /// concurrent with it is left (M5).
    pub(super) fn unmark<'a>(
        &mut self,
        txn: &Txn,
        snapshot: Option<Snapshot>,
        keys: impl Iterator<Item = &'a Key>,
    ) {
        if let Some(snapshot) = snapshot {
            self.snapshots.remove(&snapshot.taken);
        }
        let keeps = self.scheduler.rule().keeps_committed_reads();
        if keeps && txn.state() == State::Committed {
            self.moments += 1;
            self.retired.push_back(Retired {
                txn: txn.clone(),
                ended: self.moments,
                keys: keys.cloned().collect(),
            });
        } else {
            self.forget(txn, keys);
        }
        while let Some(oldest) = self.retired.front() {
            let mut older = self.snapshots.range(..oldest.ended);
            if older.next().is_some() {
                break;
            }
            let Some(gone) = self.retired.pop_front() else {
                break;
            };
            self.forget(&gone.txn, gone.keys.iter());
        }
    }

    fn forget<'a>(&mut self, txn: &Txn, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            self.change_item(key, |item| item.readers.retain(|reader| reader != txn));
        }
        self.ranges.retain(|(_, reader)| reader != txn);
    }

    /// Whether a writer in the range has voted and may commit at or before `stamp`.
    pub(super) fn may_change(&self, range: &KeyRange, stamp: Stamp) -> bool {
        let mut items = self.items.range(range.bounds());
        items.any(|(_, item)| {
            item.writers.iter().any(|writer| {
                writer.txn().state() == State::Voted
                    && writer.vote_stamp().is_none_or(|vote| vote <= stamp)
            })
        })
    }

    /// The rows of a range as everything decided up to `stamp` has left them.
    pub(super) fn rows_as_of(&self, range: &KeyRange, stamp: Stamp) -> Vec<(Key, Value)> {
        let items = self.items.range(range.bounds());
        let rows = items.filter_map(|(key, item)| {
            let value = item.chain.as_of(stamp)?;
            Some((Arc::clone(key), value))
        });
        rows.take(MAX_SCAN_ROWS + 1).collect()
    }

    pub(super) fn newest_value(&self, key: &[u8]) -> Option<&Value> {
        self.items.get(key)?.chain.newest_value()
    }

    /// Whether nobody has left a mark (I7).
    pub(super) fn is_unmarked(&self) -> bool {
        let mut items = self.items.values();
        self.ranges.is_empty()
            && self.snapshots.is_empty()
            && items.all(|item| item.readers.is_empty() && item.writers.is_empty())
    }

    /// Changes an item, and drops it if nothing is left of it.
    fn change_item(&mut self, key: &Key, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items.get_mut(key) {
            change(item);
            if item.chain.is_empty() && item.readers.is_empty() && item.writers.is_empty() {
                self.items.remove(key);
            }
        }
    }

    fn order(&self, from: &Txn, to: &Txn, kind: EdgeKind) {
        let ordered = self.scheduler.edge(from, to, kind);
        assert!(
            ordered.is_ok(),
            "M3: one of {from:?} and {to:?} is working and has not voted"
        );
    }
}

impl Committed for Versions {
    fn position(&self) -> u64 {
        self.newest
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.items
            .get(key)
            .map_or(0, |item| item.chain.newest_sequence())
    }

    fn rows(&self, range: &KeyRange) -> Vec<Row> {
        let items = self.items.range(range.bounds());
        let rows = items.filter_map(|(key, item)| {
            let version = item.chain.newest()?;
            let value = version.value.as_ref()?;
            Some((Arc::clone(key), version.sequence, Arc::clone(value)))
        });
        rows.take(MAX_SCAN_ROWS + 1).collect()
    }
}
