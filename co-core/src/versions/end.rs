//! The end of a transaction: its marks go, and with the last snapshot that needs them the versions.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::order::Txn;
use crate::outcome::{Grant, State};
use crate::sync::{Arc, Ordering};
use crate::validate::WriteKind;
use crate::versions::item::Item;
use crate::versions::order::VersionOrder;
use crate::versions::record::{Marks, Record};
use crate::versions::timeline::{Expired, Reads};

impl<K: Ord + Clone + Hash> VersionOrder<K> {
    /// Takes the marks of a decided transaction away, and tells the readers that waited for its end. For a
    /// commit: after its versions are installed and the scheduler knows (MV1). Does nothing while it is
    /// undecided.
    pub fn retire(&self, txn: &Txn) {
        let state = txn.state();
        if state.is_undecided() {
            return;
        }
        let Some(record) = self.records(txn).lock().remove(&txn.id()) else {
            return;
        };
        let (writes, expired) = {
            let mut current = record.marks.lock();
            let marks = std::mem::take(&mut *current);
            current.retired = true;
            self.end(&record, marks, state == State::Committed)
        };
        for key in writes.keys() {
            self.change_item(key, |item| item.remove_writer(txn));
        }
        self.forget(expired);
        let waiters = record.turns.lock().close();
        for (reader, cell) in waiters {
            self.scheduler.end_lock_wait(&reader, &cell);
            cell.resolve(Grant::Granted);
        }
    }

    /// Ends a transaction in the timeline: its intents that are left, and what there is to forget then, which
    /// includes its own reads unless they outlive it.
    fn end(
        &self,
        record: &Arc<Record<K>>,
        marks: Marks<K>,
        committed: bool,
    ) -> (BTreeMap<K, WriteKind>, Expired<K>) {
        let reads = Reads {
            keys: marks.reads,
            ranges: marks.ranges,
        };
        let mut timeline = self.timeline.lock();
        if let Some(snapshot) = marks.snapshot {
            timeline.drop_snapshot(snapshot);
        }
        let outlives = committed && self.scheduler.rule().keeps_committed_reads();
        if outlives {
            timeline.keep(Arc::clone(record), reads);
            return (marks.writes, timeline.expire());
        }
        let mut expired = timeline.expire();
        expired.readers.push((Arc::clone(record), reads));
        (marks.writes, expired)
    }

    fn forget(&self, expired: Expired<K>) {
        for (record, reads) in expired.readers {
            for key in &reads.keys {
                self.change_item(key, |item| item.remove_reader(&record.txn));
            }
            if !reads.ranges.is_empty() {
                let mut ranges = self.ranges.lock();
                ranges.retain(|(_, reader)| !Arc::ptr_eq(reader, &record));
                let left = u64::try_from(ranges.len()).expect("a length fits 64 bits");
                self.range_count.store(left, Ordering::Release);
            }
        }
        for (position, keys) in expired.versions {
            for key in &keys {
                self.change_item(key, |item| item.forget_version(position));
            }
        }
    }

    /// How many marks stand and how many versions are remembered: what undecided transactions did, and what
    /// was committed since the oldest of their snapshots. A walk over everything; for monitoring and tests.
    pub fn held(&self) -> usize {
        let shards = self.shards.iter();
        let items: usize = shards
            .map(|shard| shard.lock().values().map(Item::held).sum::<usize>())
            .sum();
        items + self.ranges.lock().len()
    }
}
