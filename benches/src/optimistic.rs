//! A single-site optimistic engine in memory, after Silo (Tu et al. 2013): a hash index built once, a version
//! and a lock bit in one word for each record, validation at commit.
//!
//! It stands for an engine that works without co-core, so that the same engine with co-core can be compared
//! with it.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use co_core::{Footprint, Validator, WriteKind};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Set in a record's word while its next version is being installed.
const LOCKED: u64 = 1;
const VERSION_ONE: u64 = 2;

#[derive(Debug)]
struct Record {
    key: u64,
    word: AtomicU64,
    value: AtomicU64,
}

/// The engine.
#[derive(Debug)]
pub struct Optimistic {
    hasher: FixedState,
    records: HashTable<Record>,
}

/// What a transaction has read and is going to write.
#[derive(Debug, Default)]
pub struct Work {
    footprint: Footprint<u64>,
    versions: Vec<u64>,
    values: Vec<u64>,
}

impl Work {
    /// Empties it for the next transaction.
    pub fn clear(&mut self) {
        self.footprint.reads.clear();
        self.footprint.writes.clear();
        self.versions.clear();
        self.values.clear();
    }
}

impl Optimistic {
    /// A store of `count` records, keys from zero.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let hasher = FixedState::default();
        let mut records = HashTable::new();
        for key in 0..count {
            let record = Record {
                key,
                word: AtomicU64::new(0),
                value: AtomicU64::new(0),
            };
            let hash = |record: &Record| hasher.hash_one(record.key);
            records.insert_unique(hasher.hash_one(key), record, hash);
        }
        Self { hasher, records }
    }

    /// Reads a key.
    ///
    /// # Panics
    /// When there is no such key.
    #[inline]
    pub fn read(&self, work: &mut Work, key: u64) -> u64 {
        let record = self.record(key);
        loop {
            let word = record.word.load(Ordering::Acquire);
            let value = record.value.load(Ordering::Acquire);
            if word & LOCKED == 0 && record.word.load(Ordering::Acquire) == word {
                work.footprint.reads.push(key);
                work.versions.push(word);
                return value;
            }
            std::hint::spin_loop();
        }
    }

    /// Writes a key, visibly at the commit.
    #[inline]
    pub fn write(&self, work: &mut Work, key: u64, value: u64) {
        work.footprint.writes.push((key, WriteKind::Put));
        work.values.push(value);
    }

    /// Commits, or says that something has changed. With a validator, `None` says that the transaction has to
    /// be ordered among those in doubt.
    #[inline]
    pub fn commit(&self, work: &Work, validator: Option<&Validator<u64>>) -> Option<bool> {
        let writes = &work.footprint.writes;
        for (index, (key, _)) in writes.iter().enumerate() {
            let record = self.record(*key);
            let word = record.word.load(Ordering::Relaxed);
            let free = word & LOCKED == 0;
            let taken = free
                && record
                    .word
                    .compare_exchange(word, word | LOCKED, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if !taken {
                self.unlock(&writes[..index], 0);
                return Some(false);
            }
        }
        if let Some(validator) = validator
            && !validator.is_clear(&work.footprint)
        {
            self.unlock(writes, 0);
            return None;
        }
        let current = |(key, version): (&u64, &u64)| {
            let word = self.record(*key).word.load(Ordering::Acquire);
            let own = word == version | LOCKED && writes.iter().any(|(own, _)| own == key);
            word == *version || own
        };
        let valid = work.footprint.reads.iter().zip(&work.versions).all(current);
        if valid {
            for ((key, _), value) in writes.iter().zip(&work.values) {
                self.record(*key).value.store(*value, Ordering::Release);
            }
        }
        self.unlock(writes, if valid { VERSION_ONE } else { 0 });
        Some(valid)
    }

    fn unlock(&self, writes: &[(u64, WriteKind)], step: u64) {
        for (key, _) in writes {
            let record = self.record(*key);
            let word = record.word.load(Ordering::Relaxed);
            record
                .word
                .store((word & !LOCKED) + step, Ordering::Release);
        }
    }

    #[inline]
    fn record(&self, key: u64) -> &Record {
        let hash = self.hasher.hash_one(key);
        let found = self.records.find(hash, |record| record.key == key);
        found.expect("the workload asks for keys that were loaded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use co_core::{Gtid, Kind, Priority, Scheduler, Vote, VoteRule};

    #[test]
    fn a_version_that_has_changed_is_refused() {
        let engine = Optimistic::new(8);
        let (mut one, mut two) = (Work::default(), Work::default());
        for work in [&mut one, &mut two] {
            let value = engine.read(work, 3);
            engine.write(work, 3, value + 1);
        }
        assert_eq!(engine.commit(&one, None), Some(true));
        assert_eq!(engine.commit(&two, None), Some(false));
        two.clear();
        assert_eq!(engine.read(&mut two, 3), 1);
    }

    #[test]
    fn what_somebody_in_doubt_has_read_is_not_overwritten() {
        let engine = Optimistic::new(8);
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let validator = Validator::new(scheduler.clone());
        let global = scheduler.begin(Kind::Global {
            gtid: Gtid(1),
            priority: Priority(1),
        });
        let footprint = Footprint {
            reads: vec![3],
            ..Footprint::default()
        };
        validator.admit(&global, footprint, || true).unwrap();
        assert_eq!(scheduler.request_vote_blocking(&global), Vote::Yes);
        for (key, expected) in [(3, None), (4, Some(true))] {
            let mut work = Work::default();
            engine.write(&mut work, key, 9);
            assert_eq!(engine.commit(&work, Some(&validator)), expected);
        }
    }
}
