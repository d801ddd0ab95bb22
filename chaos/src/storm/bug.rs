//! Bugs of the log, planted by wrappers around the real one: what shows that the storm finds such things.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coco::log::{Done, Log, LogError, Lsn};

use super::folder::{Phase, during};

/// A known bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// An append is acknowledged when it is queued.
    AckBeforeSync,
    /// Recovery does not see the last record.
    LastRecordForgotten,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AckBeforeSync, Self::LastRecordForgotten];

    /// Its name, as options spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack-before-sync",
            Self::LastRecordForgotten => "last-record-forgotten",
        }
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|bug| bug.name() == name)
            .ok_or_else(|| format!("there is no bug `{name}`"))
    }
}

/// The real log; says which of its threads cuts, and has the bug if there is one.
pub(super) struct StormLog {
    log: Arc<dyn Log>,
    bug: Option<Bug>,
    appended: AtomicU64,
}

impl StormLog {
    /// `log` holds so many records.
    pub(super) fn new(log: Arc<dyn Log>, bug: Option<Bug>, records: usize) -> Self {
        Self {
            log,
            bug,
            appended: AtomicU64::new(records as u64),
        }
    }
}

impl Log for StormLog {
    fn append(&self, record: &[u8], done: Done) {
        let number = self.appended.fetch_add(1, Ordering::Relaxed) + 1;
        if self.bug == Some(Bug::AckBeforeSync) {
            self.log.append(record, Box::new(ignore));
            done(Ok(Lsn(number)));
            return;
        }
        self.log.append(record, done);
    }

    fn append_lazy(&self, record: &[u8]) {
        self.appended.fetch_add(1, Ordering::Relaxed);
        self.log.append_lazy(record);
    }

    fn cut_before(&self, lsn: Lsn) -> io::Result<()> {
        during(Phase::Cut, || self.log.cut_before(lsn))
    }
}

fn ignore(_written: Result<Lsn, LogError>) {}
