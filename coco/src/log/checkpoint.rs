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
        if records.is_empty() {
            return;
        }
        let count = u32::try_from(records.len()).expect("transactions fit into memory");
        let mut marker = vec![MARKER];
        marker.extend_from_slice(&count.to_le_bytes());
        self.running = true;
        self.since = 0;
        let records = records.iter().map(Record::encode);
        let records: Vec<Vec<u8>> = std::iter::once(marker).chain(records).collect();
        let lengths = records.iter().map(|bytes| bytes.len() as u64 + FRAME_BYTES);
        self.last = lengths.sum();
        let behind = u64::from(count);
        log.append_all(
            &records,
            // Nobody else appends to this log.
            Box::new(move |written| done(written.map(|last| Lsn(last.0 - behind)))),
        );
    }
}

/// The records that count, with their places from 1: from the last whole checkpoint on, or all. Of one that is not
/// whole nothing counts: a crash has cut it off, and what the next life wrote stands behind it.
#[must_use]
pub fn live(records: &[Vec<u8>]) -> Vec<(usize, &[u8])> {
    let mut live = Vec::new();
    let mut epoch = None;
    let mut index = 0;
    while let Some(bytes) = records.get(index) {
        index += 1;
        let Some(count) = marker(bytes) else {
            if let Ok(Record::Epoch { epoch: begun, .. }) = Record::decode(bytes) {
                epoch = Some(begun);
            }
            live.push((index, bytes.as_slice()));
            continue;
        };
        // The present epoch, then commits: whatever else comes, a new epoch first, was written by the next life.
        let content = records[index..].iter().take(count);
        let content =
            content
                .enumerate()
                .take_while(|(place, bytes)| match (place, Record::decode(bytes)) {
                    (0, Ok(Record::Epoch { epoch: begun, .. })) => {
                        epoch.is_none_or(|epoch| epoch == begun)
                    }
                    (1.., Ok(Record::Commit { .. })) => true,
                    (_, Ok(_) | Err(_)) => false,
                });
        let found = content.count();
        if found == count {
            live.clear();
            let content = records[index..index + found].iter().enumerate();
            live.extend(content.map(|(place, bytes)| (index + place + 1, bytes.as_slice())));
            if let Some(Ok(Record::Epoch { epoch: begun, .. })) =
                records.get(index).map(|bytes| Record::decode(bytes))
            {
                epoch = Some(begun);
            }
        }
        index += found;
    }
    live
}

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
        // The next life has written behind a torn one: an epoch, and a commit.
        for torn in [3, 4, 5] {
            let next = [epoch(2), commit(9)].map(|record| record.encode());
            let log = [&all[..torn], &next[..]].concat();
            let records = live(&log).into_iter();
            let records: Vec<_> = records
                .map(|(_, bytes)| Record::decode(bytes).unwrap())
                .collect();
            let expected = [epoch(1), commit(1), epoch(2), commit(9)];
            assert_eq!(records, expected, "{torn}");
        }
        assert_eq!(*found.lock().unwrap(), Some(Lsn(3)));
        assert!(!checkpoints.is_due(), "it is running");
    }

    fn due(checkpoints: &mut Checkpoints) -> u64 {
        let mut frames = 0;
        while !checkpoints.is_due() {
            checkpoints.count(&[]);
            frames += 1;
            assert!(frames < 1000, "it is never due");
        }
        frames * FRAME_BYTES
    }

    #[test]
    fn a_checkpoint_is_due_when_the_log_has_grown_by_so_much_frames_included() {
        let mut checkpoints = Checkpoints::new(100, &[vec![0; 60], vec![0; 12]]);
        assert!(!checkpoints.is_due());
        checkpoints.count(&[]);
        assert!(
            checkpoints.is_due(),
            "72 bytes were found, and 28 are a frame's"
        );
        let mut checkpoints = Checkpoints::new(100, &[]);
        checkpoints.count(&[0; 71]);
        assert!(!checkpoints.is_due());
        checkpoints.count(&[0; 1]);
        assert!(checkpoints.is_due());
    }

    /// A checkpoint that is larger than what it is due after would otherwise be written again and again.
    #[test]
    fn the_next_checkpoint_waits_for_twice_as_much_as_the_last_one_was() {
        let log = MemoryLog::automatic();
        let mut checkpoints = Checkpoints::new(1, &[]);
        let records = [epoch(1), commit(1), commit(2)];
        checkpoints.append(&log, &records, |_| {});
        checkpoints.count(&[0; 1000]);
        assert!(!checkpoints.is_due(), "one is running");
        checkpoints.ended();
        assert!(checkpoints.is_due());

        checkpoints.append(&log, &records, |_| {});
        checkpoints.ended();
        let marker = 5;
        let payloads: usize = records.iter().map(|it| it.encode().len()).sum();
        let last = (marker + payloads) as u64 + 4 * FRAME_BYTES;
        let counted = due(&mut checkpoints);
        assert!(
            (2 * last..2 * last + FRAME_BYTES).contains(&counted),
            "due after {counted} bytes, the last one took {last}"
        );
    }

    #[test]
    fn nothing_is_no_checkpoint() {
        let log = MemoryLog::manual();
        let mut checkpoints = Checkpoints::new(1, &[vec![0]]);
        checkpoints.append(&log, &[], |_| {});
        assert_eq!(log.pending(), 0);
        assert!(checkpoints.is_due(), "none is running");
    }

    #[test]
    fn what_counts_is_found_with_its_place_in_the_log() {
        let log = MemoryLog::automatic();
        let mut checkpoints = Checkpoints::new(1, &[]);
        for record in [epoch(1), commit(1)] {
            log.append_lazy(&record.encode());
        }
        checkpoints.append(&log, &[epoch(1), commit(1)], |_| {});
        log.append(&commit(3).encode(), Box::new(|_| {}));
        let all = log.durable();
        let places = |records: &[Vec<u8>]| {
            let live = live(records).into_iter();
            live.map(|(place, _)| place).collect::<Vec<_>>()
        };
        assert_eq!(places(&all), [4, 5, 6], "the marker is the third");
        assert_eq!(places(&all[..4]), [1, 2]);
        for (place, bytes) in live(&all) {
            assert_eq!(all[place - 1], bytes);
        }
    }
}
