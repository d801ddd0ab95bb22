//! A host that keeps a log: its disk, its processes one after the other.
//!
//! The log is the real one, without its thread: a task of the host writes what is queued after the time that a
//! sync takes. Invariant (M1): what a crash finds unwritten is lost, and of what was written and not synced a
//! part.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coco::log::{Done, Log, Lsn, ManualLog, Owner};
use fastrand::Rng;
use participant::site::{Site, SiteRecord};
use simulator::faults::lives::{SimulatedDisk, SiteLife};
use tokio::sync::Notify;

use crate::trace::{Trace, now};

/// Small, so that a run fills several.
const SEGMENT_BYTES: u64 = 16 * 1024;

/// A machine; its host and the run share it.
pub(crate) struct Machine {
    pub(crate) host: String,
    pub(crate) owner: Owner,
    pub(crate) disk: SimulatedDisk,
    pub(crate) trace: Arc<Trace>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    rng: Rng,
    /// Of the process that runs.
    pub(crate) log: Option<Arc<ManualLog>>,
    /// Of a site that runs.
    pub(crate) site: Option<Arc<Site>>,
    /// All lives of a site, the present one last.
    pub(crate) lives: Vec<SiteLife>,
    /// Why its process refuses to run, if it should not.
    pub(crate) refusal: Option<String>,
}

impl State {
    /// What a site holds that should hold nothing (I7).
    pub(crate) fn held(&self) -> Option<&'static str> {
        let (Some(life), Some(site), Some(log)) = (self.lives.last(), &self.site, &self.log) else {
            return Some("no process");
        };
        if !life.is_empty() {
            Some("a transaction, a lock or a mark")
        } else if site.next_deadline().is_some() {
            Some("a timer")
        } else if log.has_work() {
            Some("records to write")
        } else {
            None
        }
    }
}

impl Machine {
    pub(crate) fn new(
        host: String,
        owner: Owner,
        disk: SimulatedDisk,
        rng: Rng,
        trace: Arc<Trace>,
    ) -> Arc<Self> {
        let state = State {
            rng,
            ..State::default()
        };
        Arc::new(Self {
            host,
            owner,
            disk,
            trace,
            state: Mutex::new(state),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, what: &str) {
        self.trace.tell(now(), &self.host, what);
    }

    /// Opens the log. A disk that was told to fail is tried again; another refusal ends the run.
    pub(crate) async fn open(&self) -> (Arc<ManualLog>, Vec<Vec<u8>>) {
        loop {
            let _of_an_earlier_life = self.disk.has_failed_as_told();
            let salt = self.state().rng.u32(..);
            let folder = self.disk.folder();
            match ManualLog::open_in(folder, &self.owner, SEGMENT_BYTES, salt) {
                Ok((log, records)) => {
                    self.tell(&format!("starts with {} records", records.len()));
                    let log = Arc::new(log);
                    self.state().log = Some(Arc::clone(&log));
                    return (log, records);
                }
                Err(_) if self.disk.has_failed_as_told() => {
                    self.tell("its disk failed while the log was opened");
                    self.disk.power_loss(&mut self.state().rng);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return self.refuse(&error.to_string()).await,
            }
        }
    }

    /// The process does not start from its own log.
    pub(crate) async fn refuse<T>(&self, why: &str) -> T {
        self.tell(why);
        self.state().refusal = Some(why.to_owned());
        std::future::pending().await
    }

    /// Has the process's log written, in the present runtime. Returns the log that the process is given, above
    /// `under`, which ends in `log`.
    pub(crate) fn pump(
        self: &Arc<Self>,
        log: &Arc<ManualLog>,
        under: Arc<dyn Log>,
        drops_acknowledgement: bool,
    ) -> Arc<dyn Log> {
        let queued = Arc::new(Notify::new());
        let pumped = Pumped {
            under,
            queued: Arc::clone(&queued),
            until_dropped: drops_acknowledgement.then(|| AtomicU32::new(2)),
        };
        tokio::spawn(write(Arc::clone(self), Arc::clone(log), queued));
        Arc::new(pumped)
    }

    /// The process has died; with it the machine, if its power went.
    pub(crate) fn died(&self, power: bool) {
        let mut state = self.state();
        state.log = None;
        state.site = None;
        if power {
            self.disk.power_loss(&mut state.rng);
        } else {
            self.disk.kill();
        }
    }

    /// Whether the process runs with a log that takes no more.
    pub(crate) fn log_has_failed(&self) -> bool {
        self.state()
            .log
            .as_ref()
            .is_some_and(|log| log.has_failed())
    }
}

/// Writes what is queued, each batch after the time that a sync takes.
async fn write(machine: Arc<Machine>, log: Arc<ManualLog>, queued: Arc<Notify>) {
    loop {
        queued.notified().await;
        while log.has_work() {
            let millis = match machine.state().rng.u8(..) {
                0 => 200,
                1..16 => 20,
                _ => 1,
            };
            tokio::time::sleep(Duration::from_millis(millis)).await;
            log.write_queued();
            machine.tell("has written");
        }
    }
}

/// A log that says when there is something to write.
struct Pumped {
    under: Arc<dyn Log>,
    queued: Arc<Notify>,
    /// How many commits are told of before one is not, if that bug is planted.
    until_dropped: Option<AtomicU32>,
}

impl Pumped {
    fn forgets(&self, record: &[u8]) -> bool {
        let Some(left) = &self.until_dropped else {
            return false;
        };
        matches!(
            SiteRecord::decode(record),
            Ok(SiteRecord::Decision {
                decision: coco::protocol::Decision::Commit { .. },
                ..
            })
        ) && left.fetch_sub(1, Ordering::Relaxed) == 0
    }
}

impl Log for Pumped {
    fn append(&self, record: &[u8], done: Done) {
        if self.forgets(record) {
            self.under.append(record, Box::new(|_| {}));
        } else {
            self.under.append(record, done);
        }
        self.queued.notify_one();
    }

    fn append_lazy(&self, record: &[u8]) {
        self.under.append_lazy(record);
    }

    fn cut_before(&self, lsn: Lsn) -> std::io::Result<()> {
        self.under.cut_before(lsn)
    }
}
