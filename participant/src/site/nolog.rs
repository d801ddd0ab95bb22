//! The log of a site that has none.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use coco::log::{Done, Log, Lsn};

/// Forgets every record and calls it durable at once. For volatile sites only: what they lose in a crash
/// is all they have, and the coordinator is told so by [`Durability::Volatile`](coco::protocol::Durability).
#[derive(Debug, Default)]
pub struct NoLog {
    appended: AtomicU64,
}

impl NoLog {
    /// A log without a disk.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            appended: AtomicU64::new(0),
        }
    }

    fn next(&self) -> Lsn {
        Lsn(self.appended.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Log for NoLog {
    fn append(&self, _record: &[u8], done: Done) {
        done(Ok(self.next()));
    }

    fn append_lazy(&self, _record: &[u8]) {
        self.next();
    }

    fn cut_before(&self, _lsn: Lsn) -> io::Result<()> {
        Ok(())
    }
}
