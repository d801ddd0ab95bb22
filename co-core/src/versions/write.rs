//! Intents, and the versions that they become.

use std::hash::Hash;

use crate::graph::EdgeKind;
use crate::order::Txn;
use crate::outcome::{AbortReason, Misuse, State};
use crate::sync::Ordering;
use crate::validate::{Footprint, WriteKind};
use crate::versions::item::Neighbour;
use crate::versions::order::{VersionOrder, working};
use crate::versions::record::Range;
use crate::versions::timeline::Position;

impl<K: Ord + Clone + Hash> VersionOrder<K> {
    /// Registers that `txn` is going to write `key`, and orders it after everybody who has to precede it: the
    /// undecided readers of the key, alone or in a range, and the writers before it. Increments commute.
    ///
    /// # Errors
    /// The reason to abort `txn` with, when it is doomed; [`AbortReason::Requested`] when it has been asked to
    /// vote or has ended, or is a query.
    pub fn intend(&self, txn: &Txn, key: &K, kind: WriteKind) -> Result<(), AbortReason> {
        let record = self.enter(txn)?;
        let mut marks = working(&record)?;
        let known = marks.writes.get(key).copied();
        let kind = known.map_or(kind, |known| known.min(kind));
        let snapshot = marks.snapshot;
        marks.writes.insert(key.clone(), kind);
        let mut predecessors: Vec<Neighbour> = {
            let mut shard = self.shard(key).lock();
            let item = shard.entry(key.clone()).or_default();
            item.add_writer(&record, kind);
            item.predecessors(txn, snapshot, kind).collect()
        };
        // After the intent is left (MV3).
        if self.range_count.load(Ordering::Acquire) > 0 {
            let ranges = self.ranges.lock();
            let scanning = ranges.iter().filter(|(range, reader)| {
                range.contains(key) && reader.txn != *txn && reader.is_concurrent(snapshot)
            });
            predecessors
                .extend(scanning.map(|(_, reader)| (reader.txn.clone(), EdgeKind::Predicate)));
        }
        drop(marks);
        for (other, kind) in &predecessors {
            self.order(other, txn, *kind)?;
        }
        txn.doomed().map_or(Ok(()), Err)
    }

    /// Installs what `txn` intended as the site's next commit, before
    /// [`Scheduler::decided`](crate::Scheduler::decided). `store` gets the position and puts the
    /// values in place; no snapshot shows the position before it has returned. It runs under the mutex that
    /// snapshots are taken with, and must not call back.
    ///
    /// A transaction that intended nothing needs no call.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when it has not voted YES; nothing is stored then.
    pub fn install<R>(&self, txn: &Txn, store: impl FnOnce(Position) -> R) -> Result<R, Misuse> {
        let state = txn.state();
        if !matches!(state, State::Voted | State::Committed) {
            let attempted = "install its versions";
            return Err(Misuse::WrongState { state, attempted });
        }
        let record = self.records(txn).lock().get(&txn.id()).cloned();
        let mut marks = record.as_ref().map(|record| record.marks.lock());
        let mut timeline = self.timeline.lock();
        let position = timeline.next();
        let stored = store(position);
        let writes = marks
            .as_mut()
            .map(|marks| std::mem::take(&mut marks.writes));
        let mut remembered = Vec::new();
        for (key, kind) in writes.into_iter().flatten() {
            let keeps = timeline.has_snapshots();
            self.change_item(&key, |item| {
                item.remove_writer(txn);
                if keeps {
                    item.add_version(position, kind, txn);
                }
            });
            if keeps {
                remembered.push(key);
            }
        }
        timeline.publish(position, remembered);
        Ok(stored)
    }

    /// [`VersionOrder::install`] for changes that had committed before a restart.
    pub fn restore<R>(&self, store: impl FnOnce(Position) -> R) -> R {
        let mut timeline = self.timeline.lock();
        let position = timeline.next();
        let stored = store(position);
        timeline.publish(position, Vec::new());
        stored
    }

    /// Restores the marks of a transaction in doubt after a restart, before new work begins. Nobody precedes
    /// it; a new writer of what it read follows it.
    pub fn reinstate(&self, txn: &Txn, footprint: Footprint<K>) {
        let record = self.record(txn);
        let mut marks = record.marks.lock();
        if marks.retired || !txn.state().is_undecided() {
            return;
        }
        for (low, high) in footprint.ranges {
            let range = Range { low, high };
            if !range.is_empty() && !marks.covers_range(&range) {
                self.mark_range(&record, &range);
                marks.ranges.push(range);
            }
        }
        for key in footprint.reads {
            if marks.reads.insert(key.clone()) {
                let mut shard = self.shard(&key).lock();
                shard.entry(key).or_default().add_reader(&record);
            }
        }
        for (key, kind) in footprint.writes {
            let mut shard = self.shard(&key).lock();
            let item = shard.entry(key.clone()).or_default();
            item.add_writer(&record, kind);
            let known = marks.writes.entry(key).or_insert(kind);
            *known = (*known).min(kind);
        }
    }
}
