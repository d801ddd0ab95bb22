//! Records what clients of a database see, for a checker to judge: made to be embedded in any test suite.
//!
//! One [`Recorder`] for a run, one [`Session`] for each client thread, one [`Transaction`] for each transaction:
//!
//! ```
//! use checker::assess::{Assessment, Verdict, report};
//! use checker::models::{Anomaly, Model};
//! use checker::recorder::Recorder;
//!
//! // A counter that is read in one transaction and written back in another.
//! let counter = std::cell::Cell::new(None);
//! let recorder = Recorder::new("a counter");
//! let (mut one, mut two) = (recorder.session(), recorder.session());
//!
//! // What one client thread does, and in between, what another does.
//! let mut first = one.begin();
//! first.read("counter", counter.get());
//!
//! let mut second = two.begin();
//! second.read("counter", counter.get());
//! let value = recorder.fresh_value();
//! second.write("counter", value);
//! counter.set(Some(value));
//! second.committed();
//!
//! let value = recorder.fresh_value();
//! first.write("counter", value);
//! counter.set(Some(value));
//! first.committed();
//!
//! let history = recorder.finish();
//! let assessment = Assessment::of(&history);
//! assert_eq!(assessment.verdict(), Verdict::Invalid, "{}", report(&history, &assessment));
//! assert!(assessment.judgement.anomalies.iter().any(|found| found.name == Anomaly::LostUpdate));
//! assert!(assessment.holds.contains(Model::ReadCommitted));
//! ```
//!
//! # What makes a record true
//!
//! A checker believes what it is given. Five rules keep the record from claiming what did not happen:
//!
//! - **Begin before the database does, end after it has answered.** [`Session::begin`] comes before the first
//!   statement, and the outcome after the answer to the last. Real time is taken there, so the record says that a
//!   transaction ran for longer than it did, never for less, and an order in real time is real.
//! - **Record a write before it is sent**, and a read when its answer is there. So whoever sees a write finds it in the
//!   record, whenever the record is taken.
//! - **Committed and aborted are what the database has said.** A commit that timed out, a connection that broke: that
//!   is [`Transaction::unknown`], and so is a transaction that is dropped, for example by a panic.
//! - **Written values are unique**, of registers for each key; [`Recorder::fresh_value`] makes them. With the same value
//!   written twice nobody can tell who was read, and the verdict is Unknown where that matters.
//! - **What was there before is written by a transaction of its own.** A read of nothing is `None`, or the empty list; a
//!   row that was inserted before the run was written by nobody, unless that is recorded, too.
//!
//! # Sessions
//!
//! Transactions of a [`Session`] come one after another, which is what session guarantees are about. One whose outcome
//! is not known may take effect at any later time, even after the next of the same thread. So what follows it is a
//! session of its own, as in Jepsen a process that was told nothing is never used again; real time is kept all the same.
//!
//! # Invariants
//!
//! - **R1** The clock counts events, and each gets a time of its own. An event that happened before another (in the
//!   sense of the memory model) has an earlier time.
//! - **R2** Nothing that was recorded is lost: not by a panic of the thread that recorded it, not by dropping the
//!   session. A transaction that is open when the record is taken is in it, of unknown outcome.
//! - **R3** The record is of one moment: all logs are held while it is taken.
//!
//! # Cost
//!
//! An operation costs one mutex that nobody else wants, one look-up of the key and 16 bytes; beginning and ending a
//! transaction one atomic addition each. Threads share nothing else.

mod merge;

use std::fmt::{self, Display, Write as _};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::merge::merge;
use crate::formats::{self, Format, WriteError};
use crate::observed::{Key, Observed, ObservedBuilder, ObservedFault, Outcome, Value};

/// Records a run; clones record the same one.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// What all sessions share.
struct Shared {
    name: String,
    clock: AtomicU64,
    values: AtomicU64,
    logs: Mutex<Vec<Arc<Mutex<Log>>>>,
}

/// What one client does, one transaction after another.
pub struct Session {
    shared: Arc<Shared>,
    log: Arc<Mutex<Log>>,
}

/// One transaction, while it runs. Dropping it says that nobody was told its outcome.
#[must_use = "a transaction that is dropped has an unknown outcome"]
#[derive(Debug)]
pub struct Transaction<'s> {
    session: &'s Session,
}

/// What one session recorded.
struct Log {
    /// The transactions, in the order in which they ended; the rest about them is in `spans`.
    builder: ObservedBuilder,
    spans: Vec<Span>,
    /// How many transactions of unknown outcome there were: each is the last of a session.
    part: u32,
    /// When the open transaction was begun.
    open: Option<u64>,
    /// Names are made here.
    scratch: String,
    list: Vec<Value>,
    /// What did not fit.
    fault: Option<ObservedFault>,
}

/// When a transaction was begun, and when it was ended or given up.
#[derive(Clone, Copy)]
struct Span {
    part: u32,
    begin: u64,
    end: u64,
}

/// Why a history was not saved.
#[derive(Debug, thiserror::Error)]
#[error("cannot save the history in {}: {source}; check that its folder exists and has room", path.display())]
pub struct SaveError {
    /// Where it was to be saved.
    pub path: PathBuf,
    /// What went wrong.
    pub source: WriteError,
}

impl Recorder {
    /// Starts a record; `name` names the run in messages.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            clock: AtomicU64::new(0),
            values: AtomicU64::new(1),
            logs: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A handle for one more client. It may be moved to another thread, and outlive the recorder.
    #[must_use]
    pub fn session(&self) -> Session {
        let log = Log {
            builder: ObservedBuilder::new(&self.shared.name),
            spans: Vec::new(),
            part: 0,
            open: None,
            scratch: String::new(),
            list: Vec::new(),
            fault: None,
        };
        let log = Arc::new(Mutex::new(log));
        lock(&self.shared.logs).push(Arc::clone(&log));
        Session {
            shared: Arc::clone(&self.shared),
            log,
        }
    }

    /// A value that this recorder has not given before: 1, 2, 3 and so on.
    #[must_use]
    pub fn fresh_value(&self) -> u64 {
        self.shared.values.fetch_add(1, Ordering::Relaxed)
    }

    /// What has been recorded so far, in the order in which transactions ended. Those that have not are of unknown
    /// outcome. The record goes on.
    ///
    /// ```
    /// use checker::observed::Outcome;
    /// use checker::recorder::Recorder;
    ///
    /// let recorder = Recorder::new("a broken connection");
    /// let mut session = recorder.session();
    /// session.begin().write("x", recorder.fresh_value());
    /// // The connection breaks, an error is returned, and the transaction is dropped.
    /// assert_eq!(recorder.finish().txns()[0].outcome, Outcome::Unknown);
    /// ```
    ///
    /// # Panics
    ///
    /// If there is more than 32 bits can count: four thousand million operations, or half as many transactions.
    #[must_use]
    pub fn finish(&self) -> Observed {
        match self.take() {
            Ok(history) => history,
            Err(fault) => panic!("the record {} is too large: {fault}", self.shared.name),
        }
    }

    /// Saves what has been recorded so far in the native format ([`formats`]), in which nothing is lost, for
    /// `co-check`. What was in the file is replaced.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    ///
    /// # Panics
    ///
    /// As [`finish`](Self::finish).
    pub fn write_to(&self, path: impl AsRef<Path>) -> Result<(), SaveError> {
        let path = path.as_ref();
        let history = self.finish();
        write(&history, path).map_err(|source| SaveError {
            path: path.to_owned(),
            source,
        })
    }

    fn take(&self) -> Result<Observed, ObservedFault> {
        let logs = lock(&self.shared.logs);
        // R3. Sessions lock nothing but their own log, so this cannot wait for itself.
        let logs: Vec<MutexGuard<'_, Log>> = logs.iter().map(|log| lock(log)).collect();
        if let Some(fault) = logs.iter().find_map(|log| log.fault) {
            return Err(fault);
        }
        merge(&self.shared.name, &logs)
    }
}

impl Shared {
    /// The time of an event (R1).
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }
}

impl Session {
    /// Begins a transaction; to be called before the database begins it.
    pub fn begin(&mut self) -> Transaction<'_> {
        // One that was neither ended nor dropped, but forgotten.
        self.end(Outcome::Unknown);
        let begin = self.shared.tick();
        lock(&self.log).open = Some(begin);
        Transaction { session: self }
    }

    /// Ends the open transaction, if there is one.
    fn end(&self, outcome: Outcome) {
        let mut log = lock(&self.log);
        let Some(begin) = log.open.take() else {
            return;
        };
        let end = self.shared.tick();
        let part = log.part;
        if outcome == Outcome::Unknown {
            log.part += 1;
        }
        match log.builder.end(None, outcome, None, 0) {
            Ok(_) => log.spans.push(Span { part, begin, end }),
            Err(fault) => log.fault = Some(fault),
        }
    }
}

impl Transaction<'_> {
    /// It read a register, and saw this; `None` is the initial state, in which there is nothing.
    pub fn read(&mut self, key: impl Display, value: Option<impl Display>) {
        self.record(|log| {
            let key = log.key(key)?;
            let value = value.map(|value| log.value(value)).transpose()?;
            log.builder.read(key, value)
        });
    }

    /// It is about to write a register.
    pub fn write(&mut self, key: impl Display, value: impl Display) {
        self.record(|log| {
            let (key, value) = (log.key(key)?, log.value(value)?);
            log.builder.write(key, value)
        });
    }

    /// It is about to append to a list.
    pub fn append(&mut self, key: impl Display, value: impl Display) {
        self.record(|log| {
            let (key, value) = (log.key(key)?, log.value(value)?);
            log.builder.append(key, value)
        });
    }

    /// It read a list, and saw these elements, in this order; none is the initial state.
    pub fn read_list(&mut self, key: impl Display, elements: &[impl Display]) {
        self.record(|log| {
            let key = log.key(key)?;
            let mut list = std::mem::take(&mut log.list);
            list.clear();
            for element in elements {
                list.push(log.value(element)?);
            }
            let recorded = log.builder.read_list(key, &list);
            log.list = list;
            recorded
        });
    }

    /// It read, and what it read did not arrive.
    pub fn unseen(&mut self, key: impl Display) {
        self.record(|log| {
            let key = log.key(key)?;
            log.builder.unseen(key)
        });
    }

    /// The database has said that it committed.
    pub fn committed(self) {
        self.session.end(Outcome::Committed);
    }

    /// The database has said that it aborted, and that nothing of it will ever be seen.
    pub fn aborted(self) {
        self.session.end(Outcome::Aborted);
    }

    /// The database has said nothing: it may have committed, may do so later, or never.
    pub fn unknown(self) {
        self.session.end(Outcome::Unknown);
    }

    fn record(&mut self, make: impl FnOnce(&mut Log) -> Result<(), ObservedFault>) {
        let mut log = lock(&self.session.log);
        if let Err(fault) = make(&mut log) {
            log.fault = Some(fault);
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.session.end(Outcome::Unknown);
    }
}

impl Log {
    fn key(&mut self, name: impl Display) -> Result<Key, ObservedFault> {
        self.name(name);
        self.builder.key(&self.scratch)
    }

    fn value(&mut self, name: impl Display) -> Result<Value, ObservedFault> {
        self.name(name);
        self.builder.value(&self.scratch)
    }

    fn name(&mut self, name: impl Display) {
        self.scratch.clear();
        write!(self.scratch, "{name}").expect("a key or a value that can be displayed");
    }
}

fn write(history: &Observed, path: &Path) -> Result<(), WriteError> {
    let mut out = BufWriter::new(File::create(path)?);
    let losses = formats::write(history, Format::Native, &mut out)?;
    debug_assert_eq!(losses, [], "the native format holds everything");
    out.flush()?;
    Ok(())
}

/// Locks; what a thread recorded before it panicked stays (R2). A log is whole between any two of its operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("name", &self.shared.name)
            .field("events", &self.shared.clock.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
