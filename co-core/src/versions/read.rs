//! Reads and scans: the mark, the edges that follow from it, and the wait for a turn.

use std::hash::Hash;

use crate::graph::EdgeKind;
use crate::order::{Cell, Txn, VoteRule};
use crate::outcome::{AbortReason, Grant};
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::versions::item::Item;
use crate::versions::order::{Reading, VersionOrder, bounds, working};
use crate::versions::record::{Marks, Range, Record};
use crate::versions::timeline::Snapshot;
use crate::versions::turn::Turn;

impl<K: Ord + Clone + Hash> VersionOrder<K> {
    /// The snapshot of `txn`: what is committed now, if this is its first call. Reads take it by themselves.
    ///
    /// # Errors
    /// As [`VersionOrder::intend`].
    pub fn snapshot(&self, txn: &Txn) -> Result<Snapshot, AbortReason> {
        let record = self.enter(txn)?;
        let mut marks = working(&record)?;
        Ok(self.current_snapshot(&mut marks))
    }

    /// Marks `key` as read by `txn`, present or not, and orders it before every writer whose version its
    /// snapshot does not show, committed or not.
    ///
    /// A key that it intends to write is read as any other; its own value is the engine's business.
    ///
    /// # Errors
    /// As [`VersionOrder::intend`]; [`AbortReason::Overtaken`] when a version that the snapshot does not show
    /// has committed (condition A).
    pub fn read(&self, txn: &Txn, key: &K) -> Result<Reading, AbortReason> {
        let record = self.enter(txn)?;
        let mut marks = working(&record)?;
        loop {
            let snapshot = self.current_snapshot(&mut marks);
            if marks.covers(key) {
                // Whoever has come to write it since saw the mark.
                return Ok(Reading::Now(snapshot));
            }
            let now = self.now();
            let mut shard = self.shard(key).lock();
            let refusing = shard
                .get(key)
                .and_then(|item| self.refusing(item, txn, snapshot, now));
            if let Some(writer) = refusing {
                drop(shard);
                match self.join(marks, &record, &writer) {
                    Ok(turn) => return Ok(Reading::After(turn)),
                    Err(unchanged) => marks = unchanged,
                }
                continue;
            }
            let item = shard.entry(key.clone()).or_default();
            item.add_reader(&record);
            marks.reads.insert(key.clone());
            let writers: Vec<_> = item.successors(txn, snapshot).collect();
            drop(shard);
            drop(marks);
            return self.precede(txn, &writers, EdgeKind::ReadWrite, snapshot);
        }
    }

    /// [`VersionOrder::read`] for every key from `low` up to, not including, `high` (`None`: to the end),
    /// present or not: who writes a new key there is ordered after `txn` too.
    ///
    /// # Errors
    /// As [`VersionOrder::read`].
    pub fn scan(&self, txn: &Txn, low: &K, high: Option<&K>) -> Result<Reading, AbortReason> {
        let range = Range {
            low: low.clone(),
            high: high.cloned(),
        };
        let record = self.enter(txn)?;
        let mut marks = working(&record)?;
        loop {
            let snapshot = self.current_snapshot(&mut marks);
            if range.is_empty() || marks.covers_range(&range) {
                return Ok(Reading::Now(snapshot));
            }
            let now = self.now();
            let refusing = self.find_item(&range, |item| self.refusing(item, txn, snapshot, now));
            if let Some(writer) = refusing {
                match self.join(marks, &record, &writer) {
                    Ok(turn) => return Ok(Reading::After(turn)),
                    Err(unchanged) => marks = unchanged,
                }
                continue;
            }
            self.mark_range(&record, &range);
            marks.ranges.push(range.clone());
            let mut writers: Vec<Txn> = Vec::new();
            for shard in &self.shards {
                for (_, item) in shard.lock().range(bounds(&range)) {
                    writers.extend(item.successors(txn, snapshot));
                }
            }
            writers.sort_unstable_by_key(Txn::id);
            writers.dedup();
            drop(marks);
            return self.precede(txn, &writers, EdgeKind::Predicate, snapshot);
        }
    }

    pub(super) fn mark_range(&self, record: &Arc<Record<K>>, range: &Range<K>) {
        let mut ranges = self.ranges.lock();
        ranges.push((range.clone(), Arc::clone(record)));
        self.range_count.fetch_add(1, Ordering::AcqRel);
    }

    fn precede(
        &self,
        txn: &Txn,
        writers: &[Txn],
        kind: EdgeKind,
        snapshot: Snapshot,
    ) -> Result<Reading, AbortReason> {
        for writer in writers {
            self.order(txn, writer, kind)?;
        }
        txn.doomed().map_or(Ok(Reading::Now(snapshot)), Err)
    }

    /// The snapshot, taken now if there is none. One that has waited for a writer's end is moved to now, if
    /// everything read from it is unchanged: the transaction might as well have begun later.
    fn current_snapshot(&self, marks: &mut Marks<K>) -> Snapshot {
        if let Some(snapshot) = marks.snapshot
            && !marks.has_waited
        {
            return snapshot;
        }
        marks.has_waited = false;
        // No commit can be installed under this mutex, so what is unchanged stays so until the snapshot is
        // taken (MV4).
        let mut timeline = self.timeline.lock();
        if let Some(snapshot) = marks.snapshot {
            if self.has_changed(marks, snapshot) {
                return snapshot;
            }
            timeline.drop_snapshot(snapshot);
        }
        let snapshot = self.take_snapshot(&mut timeline);
        marks.snapshot = Some(snapshot);
        snapshot
    }

    fn has_changed(&self, marks: &Marks<K>, snapshot: Snapshot) -> bool {
        let changed = |key| {
            let shard = self.shard(key).lock();
            shard
                .get(key)
                .is_some_and(|item| item.changed_since(snapshot))
        };
        let within = |range| {
            let changed = |item: &Item<K>| item.changed_since(snapshot).then_some(());
            self.find_item(range, changed).is_some()
        };
        marks.reads.iter().any(changed) || marks.ranges.iter().any(within)
    }

    /// The first thing found in an item of the range.
    fn find_item<T>(&self, range: &Range<K>, find: impl Fn(&Item<K>) -> Option<T>) -> Option<T> {
        let mut shards = self.shards.iter();
        shards.find_map(|shard| {
            let shard = shard.lock();
            shard.range(bounds(range)).find_map(|(_, item)| find(item))
        })
    }

    /// A ready writer of the key that does not let this reader past it any more (condition D).
    fn refusing(
        &self,
        item: &Item<K>,
        reader: &Txn,
        snapshot: Snapshot,
        now: u64,
    ) -> Option<Arc<Record<K>>> {
        let delays = self.scheduler.rule() == VoteRule::Withhold;
        if !delays || self.late_readers == usize::MAX {
            return None;
        }
        let mut writers = item.ready_writers(reader);
        let refuses = |writer: &&Arc<Record<K>>| {
            let mut turns = writer.turns.lock();
            !turns.admit(reader, snapshot, now, self.late_readers)
        };
        writers.find(refuses).cloned()
    }

    /// Makes the reader wait for the writer's end; gives its marks back if that has come.
    fn join<'a>(
        &self,
        mut marks: MutexGuard<'a, Marks<K>>,
        reader: &Record<K>,
        writer: &Record<K>,
    ) -> Result<Turn, MutexGuard<'a, Marks<K>>> {
        marks.has_waited = true;
        let cell = Arc::new(Cell::<Grant>::new());
        self.scheduler.begin_lock_wait(&reader.txn, &cell);
        if !writer.turns.lock().join(&reader.txn, &cell) {
            self.scheduler.end_lock_wait(&reader.txn, &cell);
            return Err(marks);
        }
        drop(marks);
        // The reader works, so its wait is not refused; should it be voting by mistake, it is told as well.
        let _accepted = self.scheduler.wait(&reader.txn, &writer.txn);
        self.scheduler.blocked(&reader.txn);
        Ok(Turn::new(&reader.txn, cell))
    }
}
