//! A log in memory for simulations: it tells what would be durable apart from what would not, and
//! crashes and fails on command.
//!
//! Invariants: those of every log (L1-L4); (M1) nothing becomes durable except by
//! [`sync`](MemoryLog::sync), or at the append itself if the log syncs by itself.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Done, Log, LogError, Lsn};

/// A log in memory. Clones share it.
///
/// ```
/// use coco::log::{Log, MemoryLog};
/// let log = MemoryLog::manual();
/// log.append(b"one", Box::new(|result| assert!(result.is_ok())));
/// log.append(b"two", Box::new(|result| assert!(result.is_ok())));
/// assert!(log.durable().is_empty());
/// log.sync();
/// log.append_lazy(b"three");
/// // The machine stops; of the records that were not synced the first 0 reached the disk anyway.
/// assert_eq!(log.crash(0), [b"one".to_vec(), b"two".to_vec()]);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    durable: Vec<Vec<u8>>,
    /// How many records were cut off before them.
    cut: u64,
    volatile: Vec<(Vec<u8>, Option<Done>)>,
    syncs_by_itself: bool,
    fails_next: bool,
    failed: Option<Arc<io::Error>>,
    crashed: bool,
    syncs: u64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("durable", &self.durable.len())
            .field("volatile", &self.volatile.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl MemoryLog {
    /// A log that makes nothing durable before it is told to.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            inner: Arc::default(),
        }
    }

    /// A log whose forced appends are durable at once.
    #[must_use]
    pub fn automatic() -> Self {
        let log = Self::manual();
        log.lock().syncs_by_itself = true;
        log
    }

    /// A log that starts with these durable records, as after a restart.
    #[must_use]
    pub fn holding(self, records: Vec<Vec<u8>>) -> Self {
        self.lock().durable = records;
        self
    }

    /// Makes durable all that was appended, and says so in order; or fails, if it was told to.
    pub fn sync(&self) {
        let mut inner = self.lock();
        if inner.crashed || inner.failed.is_some() {
            return;
        }
        inner.syncs += 1;
        if std::mem::take(&mut inner.fails_next) {
            let error = Arc::new(io::Error::other("injected sync failure"));
            inner.failed = Some(Arc::clone(&error));
            let dead: Vec<Done> = inner
                .volatile
                .iter_mut()
                .filter_map(|(_, it)| it.take())
                .collect();
            drop(inner);
            for done in dead {
                done(Err(LogError::Poisoned {
                    cause: Arc::clone(&error),
                }));
            }
            return;
        }
        let mut told = Vec::new();
        for (record, done) in std::mem::take(&mut inner.volatile) {
            inner.durable.push(record);
            let lsn = Lsn(inner.cut + inner.durable.len() as u64);
            told.extend(done.map(|done| (done, lsn)));
        }
        drop(inner);
        for (done, lsn) in told {
            done(Ok(lsn));
        }
    }

    /// The next sync fails, and the log with it.
    pub fn fail_next_sync(&self) {
        self.lock().fails_next = true;
    }

    /// The machine stops. Of the records that were not synced, the first `survivors` reached the disk
    /// anyway. Nobody is told anything any more; returns what a restart finds.
    #[must_use]
    pub fn crash(&self, survivors: usize) -> Vec<Vec<u8>> {
        let mut inner = self.lock();
        inner.crashed = true;
        let volatile = std::mem::take(&mut inner.volatile);
        let late: Vec<Vec<u8>> = volatile
            .into_iter()
            .take(survivors)
            .map(|(record, _)| record)
            .collect();
        inner.durable.extend(late);
        inner.durable.clone()
    }

    /// The records that are durable.
    #[must_use]
    pub fn durable(&self) -> Vec<Vec<u8>> {
        self.lock().durable.clone()
    }

    /// How many records are appended and not durable.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().volatile.len()
    }

    /// How often the log has been synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn push(&self, record: &[u8], done: Option<Done>) {
        let mut inner = self.lock();
        if inner.crashed {
            return;
        }
        if let Some(cause) = inner.failed.clone() {
            drop(inner);
            if let Some(done) = done {
                done(Err(LogError::Poisoned { cause }));
            }
            return;
        }
        let force = inner.syncs_by_itself && done.is_some();
        inner.volatile.push((record.to_vec(), done));
        drop(inner);
        if force {
            self.sync();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryLog {
    fn append(&self, record: &[u8], done: Done) {
        self.push(record, Some(done));
    }

    fn append_lazy(&self, record: &[u8]) {
        self.push(record, None);
    }

    /// Up to three of them stay, as what shares a segment with later ones does.
    fn cut_before(&self, lsn: Lsn) -> io::Result<()> {
        let mut inner = self.lock();
        let before = lsn.0.saturating_sub(1 + inner.cut);
        let gone = before.saturating_sub(before % 4);
        let gone = usize::try_from(gone).unwrap_or(usize::MAX);
        let gone = gone.min(inner.durable.len());
        if !inner.crashed {
            inner.durable.drain(..gone);
            inner.cut += gone as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn append(log: &MemoryLog, record: &[u8], told: &mpsc::Sender<Result<Lsn, String>>) {
        let told = told.clone();
        log.append(
            record,
            Box::new(move |result| {
                told.send(result.map_err(|error| error.to_string()))
                    .unwrap()
            }),
        );
    }

    #[test]
    fn completions_come_with_the_sync_in_order() {
        let (told, hears) = mpsc::channel();
        let log = MemoryLog::manual();
        append(&log, b"a", &told);
        log.append_lazy(b"b");
        append(&log, b"c", &told);
        assert!(hears.try_recv().is_err());
        log.sync();
        assert_eq!(
            hears.try_iter().collect::<Vec<_>>(),
            [Ok(Lsn(1)), Ok(Lsn(3))]
        );
        assert_eq!((log.pending(), log.syncs()), (0, 1));
    }

    #[test]
    fn records_that_belong_together_are_reported_once_and_fail_together() {
        let (told, hears) = mpsc::channel();
        let append_all = |log: &MemoryLog| {
            let told = told.clone();
            log.append_all(
                &[b"a".to_vec(), b"b".to_vec()],
                Box::new(move |result| told.send(result.is_ok()).unwrap()),
            );
        };
        let log = MemoryLog::manual();
        append_all(&log);
        assert!(hears.try_recv().is_err());
        log.sync();
        assert_eq!(hears.try_iter().collect::<Vec<_>>(), [true]);
        append_all(&log);
        log.fail_next_sync();
        log.sync();
        assert_eq!(hears.try_iter().collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn a_failed_sync_fails_this_and_every_later_append() {
        let (told, hears) = mpsc::channel();
        let log = MemoryLog::automatic();
        append(&log, b"a", &told);
        log.fail_next_sync();
        append(&log, b"b", &told);
        append(&log, b"c", &told);
        let heard: Vec<_> = hears.try_iter().map(|it| it.is_ok()).collect();
        assert_eq!(heard, [true, false, false]);
        assert_eq!(log.crash(0), [b"a".to_vec()]);
    }

    #[test]
    fn a_crash_keeps_a_prefix_and_tells_nobody() {
        let (told, hears) = mpsc::channel();
        let log = MemoryLog::manual().holding(vec![b"0".to_vec()]);
        for record in [b"a", b"b", b"c"] {
            append(&log, record, &told);
        }
        assert_eq!(log.crash(2), [b"0".to_vec(), b"a".to_vec(), b"b".to_vec()]);
        append(&log, b"d", &told);
        log.sync();
        assert!(hears.try_recv().is_err());
        assert_eq!(log.durable().len(), 3);
    }

    /// L4
    #[test]
    fn after_a_failed_sync_nothing_becomes_durable_by_another() {
        let (told, hears) = mpsc::channel();
        let log = MemoryLog::manual();
        append(&log, b"a", &told);
        log.sync();
        append(&log, b"b", &told);
        log.fail_next_sync();
        log.sync();
        log.sync();
        append(&log, b"c", &told);
        log.append_lazy(b"d");
        log.sync();
        assert_eq!(log.durable(), [b"a"]);
        let heard: Vec<bool> = hears.try_iter().map(|it| it.is_ok()).collect();
        assert_eq!(heard, [true, false, false]);
        assert_eq!(log.syncs(), 2);
    }

    /// As a log on files keeps what shares a segment with later records.
    #[test]
    fn a_cut_leaves_up_to_three_records_and_the_places_of_the_others() {
        let (told, hears) = mpsc::channel();
        let log = MemoryLog::automatic();
        let mut left = Vec::new();
        for number in 1..=12u64 {
            append(&log, &[0], &told);
            assert_eq!(hears.try_recv().unwrap(), Ok(Lsn(number)));
            log.cut_before(Lsn(number)).unwrap();
            left.push(log.durable().len());
        }
        assert_eq!(left, [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
        log.cut_before(Lsn(u64::MAX)).unwrap();
        assert_eq!(log.durable().len(), 0);
        let _found = log.crash(0);
        log.cut_before(Lsn(1)).unwrap();
    }
}
