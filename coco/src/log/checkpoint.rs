//! How a coordinator's log stays short while it runs: now and then the records that still count are appended
//! again behind a marker, and when they are durable what was before the marker is cut.
//!
//! ```text
//! marker   4 | how many records follow as the checkpoint 4 bytes
//! ```
//!
//! Invariant (K1): a checkpoint is appended in one step, so that nothing else lies between its records, and it
//! holds every commit whose record was appended before and that some site has not acknowledged, those on their
//! way to the disk included. If the marker's records are durable, so is all that was appended before.

use super::{Log, LogError, Lsn, Record};

const MARKER: u8 = 4;

/// What a frame of the log takes besides its payload, about.
const FRAME_BYTES: u64 = 28;

/// When the next checkpoint is due, and how it is written. Whoever owns the log feeds it.
#[derive(Debug)]
pub struct Checkpoints {
    every: u64,
    /// Bytes appended since the last one, what was found at the start included.
    since: u64,
    /// How large the last one was.
    last: u64,
    running: bool,
}

impl Checkpoints {
    /// A checkpoint is due whenever the log has grown by so many bytes; it holds these records now.
    #[must_use]
    pub fn new(every: u64, records: &[Vec<u8>]) -> Self {
        Self {
            every,
            since: records.iter().map(|record| record.len() as u64).sum(),
            last: 0,
            running: false,
        }
    }

    /// A record is appended.
    pub const fn count(&mut self, bytes: &[u8]) {
        self.since += bytes.len() as u64 + FRAME_BYTES;
    }

    /// Not while one is running, and not if little but the last one was written.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.running && self.since >= self.every.max(2 * self.last)
    }

    /// The last checkpoint is durable, and what was before it can be cut.
    pub const fn ended(&mut self) {
        self.running = false;
    }

    /// Appends a checkpoint of these records; `done` gets the place of its marker when it is durable. Without a
    /// record there is none.
    ///
    /// # Panics
    /// If there are more than 2^32 records.
    pub fn append(
        &mut self,
        log: &dyn Log,
        records: &[Record],
        done: impl FnOnce(Result<Lsn, LogError>) + Send + 'static,
    ) {
        let Some((last, first)) = records.split_last() else {
            return;
        };
        let count = u32::try_from(records.len()).expect("transactions fit into memory");
        let mut marker = vec![MARKER];
        marker.extend_from_slice(&count.to_le_bytes());
        self.running = true;
        self.since = 0;
        self.last = 0;
        for bytes in std::iter::once(marker).chain(first.iter().map(Record::encode)) {
            self.last += bytes.len() as u64 + FRAME_BYTES;
            log.append_lazy(&bytes);
        }
        let bytes = last.encode();
        self.last += bytes.len() as u64 + FRAME_BYTES;
        let behind = u64::from(count);
        log.append(
            &bytes,
            // Nobody else appends to this log.
            Box::new(move |written| done(written.map(|last| Lsn(last.0 - behind)))),
        );
    }
}

/// The records that count, with their places from 1: from the last whole checkpoint on, or all. Of one that is
/// not whole, which is the end of the log then, nothing counts.
#[must_use]
pub fn live(records: &[Vec<u8>]) -> Vec<(usize, &[u8])> {
    let mut end = records.len();
    for index in (0..records.len()).rev() {
        let Some(count) = marker(&records[index]) else {
            continue;
        };
        if index + 1 + count <= end {
            return numbered(records, index + 1, end);
        }
        end = index;
    }
    numbered(records, 0, end)
}

fn numbered(records: &[Vec<u8>], from: usize, to: usize) -> Vec<(usize, &[u8])> {
    let records = records.iter().map(Vec::as_slice).enumerate();
    let records = records.take(to).skip(from);
    records.map(|(index, bytes)| (index + 1, bytes)).collect()
}

/// How many records a marker says follow; `None` for records.
fn marker(bytes: &[u8]) -> Option<usize> {
    let (kind, count) = bytes.split_first()?;
    let count = u32::from_le_bytes(count.try_into().ok()?);
    (*kind == MARKER).then(|| usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use co_core::{Gtid, Stamp};

    use super::*;
    use crate::log::MemoryLog;
    use crate::protocol::{CoordinatorId, Epoch, SiteName};

    fn epoch(number: u32) -> Record {
        Record::Epoch {
            coordinator: CoordinatorId(0),
            epoch: Epoch::new(number).unwrap(),
        }
    }

    fn commit(gtid: u64) -> Record {
        Record::Commit {
            gtid: Gtid(gtid),
            stamp: Stamp(gtid),
            sites: vec![SiteName::new("a")],
        }
    }

    #[test]
    fn a_whole_checkpoint_counts_and_one_that_is_torn_does_not() {
        let log = MemoryLog::manual();
        let mut checkpoints = Checkpoints::new(1, &[]);
        checkpoints.count(&[0; 8]);
        for record in [epoch(1), commit(1)] {
            log.append_lazy(&record.encode());
        }
        let found = std::sync::Arc::new(std::sync::Mutex::new(None));
        let told = std::sync::Arc::clone(&found);
        assert!(checkpoints.is_due());
        checkpoints.append(&log, &[epoch(1), commit(1), commit(2)], move |written| {
            *told.lock().unwrap() = Some(written.unwrap());
        });
        log.append_lazy(&commit(3).encode());
        log.sync();
        let all = log.durable();
        let decoded = |survivors: usize| {
            let records = live(&all[..survivors]).into_iter();
            records
                .map(|(_, bytes)| Record::decode(bytes).unwrap())
                .collect::<Vec<_>>()
        };
        for torn in [2, 3, 4, 5] {
            assert_eq!(decoded(torn), [epoch(1), commit(1)], "{torn}");
        }
        let whole = [epoch(1), commit(1), commit(2)];
        assert_eq!(decoded(6), whole);
        assert_eq!(decoded(7), [&whole[..], &[commit(3)]].concat());
        assert_eq!(*found.lock().unwrap(), Some(Lsn(3)));
        assert!(!checkpoints.is_due(), "it is running");
    }
}
