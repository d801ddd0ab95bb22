//! Durable append-only logs of opaque records, and the coordinator's own records.
//!
//! A [`Log`] takes bytes and says when they are durable. [`FileLog`] (feature `file-log`) is the real
//! one, [`MemoryLog`] the one for simulations. Participants write their own records to the same kind
//! of log; what a coordinator writes is a [`Record`].
//!
//! Invariants that every log keeps: (L1) completions that say `Ok` come in the order of the appends,
//! and every completion comes exactly once; (L2) a record whose completion said `Ok` is found again after any crash, in the same place of
//! the order; (L3) after a restart the records are a prefix of what was appended; (L4) after the first
//! failed write or sync nothing is durable any more: every later append fails.

pub mod checkpoint;
#[cfg(feature = "file-log")]
mod file;
mod memory;
mod record;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "manual-log")]
pub use file::ManualLog;
#[cfg(feature = "file-log")]
pub use file::{
    DiskFolder, FileLog, FileLogStats, Folder, Media, OpenError, Options, Owner, OwnerKind,
};
pub use memory::MemoryLog;
pub use record::{Record, RecordError};

/// A record's place in its log: 1 for the first, then one more for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What is called when an append is durable, or can never be.
pub type Done = Box<dyn FnOnce(Result<Lsn, LogError>) + Send>;

/// A durable append-only log.
pub trait Log: Send + Sync {
    /// Appends a record. `done` is called exactly once, when the record is durable or when the log
    /// has failed; on whatever thread the log likes, the caller's included. It must be quick and
    /// must not wait for the log.
    fn append(&self, record: &[u8], done: Done);

    /// Appends records that belong together. `done` is called exactly once, when all of them are durable or one of
    /// them cannot be; with the place of the last. They share one sync where the log can do that, and their
    /// completions cost one.
    fn append_all(&self, records: &[Vec<u8>], done: Done) {
        let Some((last, first)) = records.split_last() else {
            // Nothing is durable already.
            done(Ok(Lsn(0)));
            return;
        };
        let failure = Arc::new(Mutex::new(None));
        for record in first {
            let failure = Arc::clone(&failure);
            self.append(
                record,
                Box::new(move |written| {
                    if let Err(error) = written {
                        let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        failure.get_or_insert(error);
                    }
                }),
            );
        }
        self.append(
            last,
            Box::new(move |written| {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                let failed = failure.take();
                drop(failure);
                done(failed.map_or(written, Err));
            }),
        );
    }

    /// Appends a record without asking for durability: it becomes durable with a later append, or
    /// is lost in a crash. Lost silently, too, if the log has failed or the record is too large.
    fn append_lazy(&self, record: &[u8]);

    /// Gives up the records before `lsn`, which the caller needs no more: what replaces them is durable. Some
    /// of them may stay. A log that cannot be shortened keeps all.
    ///
    /// # Errors
    ///
    /// If that fails. The log is not harmed.
    fn cut_before(&self, lsn: Lsn) -> io::Result<()>;
}

/// Why an append failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A write or a sync failed, now or earlier. What was appended since the last success may or may
    /// not be on the disk; only a restart, which reads it back, can tell.
    #[error(
        "the log has failed and takes no more records; restart after mending the disk: {cause}"
    )]
    Poisoned {
        /// The first failure.
        cause: Arc<io::Error>,
    },
    /// The record is larger than a segment can hold. The log is not harmed.
    #[error("a record of {len} bytes is too large for this log (at most {max})")]
    TooLarge {
        /// How large it is.
        len: usize,
        /// How large it may be.
        max: usize,
    },
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
}
