//! A log that is watched: how long a forced record takes to be durable, and how many share one sync.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::log::{Done, Log, Lsn};

/// How often the log has synced.
type Syncs = Box<dyn Fn() -> u64 + Send + Sync>;

/// What was seen of a log.
pub struct LogMeter {
    registry: Registry,
    force_seconds: Histogram,
    batch: Histogram,
    syncs: Syncs,
    /// The sync that the records of the present batch came with, and how many there were.
    present: Mutex<(u64, u32)>,
}

impl LogMeter {
    /// Watches a log that says how often it has synced, under metric names that begin with `prefix`.
    #[must_use]
    pub fn new(prefix: &str, syncs: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Self> {
        let force_seconds = Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        let batch = Histogram::new(exponential_buckets(1.0, 2.0, 13));
        let mut registry = Registry::with_prefix(prefix.to_owned());
        registry.register(
            "log_force_seconds",
            "From the append of a forced record until it was durable",
            force_seconds.clone(),
        );
        registry.register(
            "log_batch_records",
            "Forced records that one sync made durable",
            batch.clone(),
        );
        Arc::new(Self {
            registry,
            force_seconds,
            batch,
            syncs: Box::new(syncs),
            present: Mutex::default(),
        })
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    fn durable(&self, since: Instant, count: u32) {
        for _ in 0..count {
            self.force_seconds.observe(since.elapsed().as_secs_f64());
        }
        // The completions of one sync come before the next sync begins: a new count is a new batch.
        let sync = (self.syncs)();
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.0 != sync {
            if present.1 > 0 {
                self.batch.observe(f64::from(present.1));
            }
            *present = (sync, 0);
        }
        present.1 = present.1.saturating_add(count);
    }
}

impl fmt::Debug for LogMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogMeter").finish_non_exhaustive()
    }
}

/// A log, watched.
pub struct MeteredLog {
    log: Arc<dyn Log>,
    meter: Arc<LogMeter>,
}

impl MeteredLog {
    /// Watches `log`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, meter: Arc<LogMeter>) -> Self {
        Self { log, meter }
    }
}

impl fmt::Debug for MeteredLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredLog").finish_non_exhaustive()
    }
}

impl Log for MeteredLog {
    fn append(&self, record: &[u8], done: Done) {
        let (meter, since) = (Arc::clone(&self.meter), Instant::now());
        self.log.append(
            record,
            Box::new(move |written| {
                if written.is_ok() {
                    meter.durable(since, 1);
                }
                done(written);
            }),
        );
    }

    fn append_all(&self, records: &[Vec<u8>], done: Done) {
        let (meter, since) = (Arc::clone(&self.meter), Instant::now());
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        self.log.append_all(
            records,
            Box::new(move |written| {
                if written.is_ok() {
                    meter.durable(since, count);
                }
                done(written);
            }),
        );
    }

    fn append_lazy(&self, record: &[u8]) {
        self.log.append_lazy(record);
    }

    fn cut_before(&self, first: Lsn) -> io::Result<()> {
        self.log.cut_before(first)
    }
}
