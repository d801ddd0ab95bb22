//! What a run of the kit is asked to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// A class of engines whose answer to every textbook schedule is known exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Reads and writes lock, locks are held to the decision: strong strict two-phase locking.
    Rigorous,
    /// As rigorous, but a write does not wait for readers; the writer's vote does.
    StrictCo,
    /// Operations never wait; the vote validates what was read.
    Optimistic,
}

/// One step of a run, for the caller's progress line.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Cases that are done.
    pub done: usize,
    /// Cases in all.
    pub total: usize,
    /// The case that begins now; none at the end.
    pub next: Option<&'static str>,
}

type Callback = Arc<dyn Fn(&Progress) + Send + Sync>;

/// What to run.
#[derive(Clone)]
pub struct Options {
    /// The engine's name, for the report.
    pub name: String,
    /// The class whose exact behaviour is expected; none: only what every engine must guarantee.
    pub class: Option<Class>,
    /// Whether the store keeps its contents and its transactions in doubt over a crash.
    pub durable: bool,
    /// The seed of the random schedules. The report names it.
    pub seed: u64,
    /// How many random schedules there are on one thread; each has a store of its own.
    pub rounds: u64,
    /// Transactions in one random schedule, setup not counted.
    pub transactions: u64,
    /// Threads of the concurrent run; none skips it.
    pub threads: u64,
    /// Transactions of each thread.
    pub thread_transactions: u64,
    /// A case in which nothing happens for this long has failed: the engine hangs.
    pub patience: Duration,
    /// Run only the cases whose id starts with this.
    pub only: Option<String>,
    /// Told before each case and at the end.
    pub progress: Option<Callback>,
}

impl Options {
    /// The defaults for an engine with a name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "engine".to_owned(),
            class: None,
            durable: false,
            seed: 1,
            rounds: 8,
            transactions: 500,
            threads: 4,
            thread_transactions: 250,
            patience: Duration::from_secs(60),
            only: None,
            progress: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("class", &self.class)
            .field("durable", &self.durable)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
