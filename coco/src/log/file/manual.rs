//! The file log without its thread, for simulations: the same queue, the same writer, the same bytes, but
//! a batch is written when the owner says so. Salts come from the owner too, so that a run repeats.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::writer::Writer;
use super::{FileLog, Folder, OpenError, Options, Owner};
use crate::log::{Done, Log, Lsn};

/// A [`FileLog`] whose owner turns its writer by hand.
#[doc(hidden)]
pub struct ManualLog {
    log: FileLog,
    /// `None` after the log has failed.
    writer: Mutex<Option<Writer>>,
}

impl ManualLog {
    /// Opens the log in a folder; segments get the salts `salt + 1`, `salt + 2`, ... Returns the records
    /// that it holds. The queue is never full, since nobody else could empty it.
    ///
    /// # Errors
    ///
    /// As [`FileLog::open_in`].
    pub fn open_in(
        folder: Box<dyn Folder>,
        owner: &Owner,
        segment_bytes: u64,
        salt: u32,
    ) -> Result<(Self, Vec<Vec<u8>>), OpenError> {
        let options = Options {
            segment_bytes,
            queue_bytes: usize::MAX / 2,
        };
        let mut last = salt;
        let salts = move || {
            last = last.wrapping_add(1);
            last
        };
        let (log, writer, records) =
            FileLog::assemble_with(folder, owner, &options, Box::new(salts))?;
        let writer = Mutex::new(Some(writer));
        Ok((Self { log, writer }, records))
    }

    /// Whether a record is queued that somebody waits for.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.has_failed() && self.log.shared.has_due()
    }

    /// Writes, syncs and completes what is queued, as one batch, if somebody waits for it.
    pub fn write_queued(&self) {
        if self.has_work() {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            if writer.as_mut().is_some_and(|running| !running.turn()) {
                *writer = None;
            }
        }
    }

    /// Whether a write or a sync has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.log.failure().is_some()
    }
}

impl Log for ManualLog {
    fn append(&self, record: &[u8], done: Done) {
        self.log.append(record, done);
    }

    fn append_all(&self, records: &[Vec<u8>], done: Done) {
        self.log.append_all(records, done);
    }

    fn append_lazy(&self, record: &[u8]) {
        self.log.append_lazy(record);
    }

    fn cut_before(&self, lsn: Lsn) -> io::Result<()> {
        self.log.cut_before(lsn)
    }
}

impl fmt::Debug for ManualLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualLog")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
