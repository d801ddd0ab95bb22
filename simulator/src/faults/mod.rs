//! Whole systems under faults, from one seed: the real protocol, logs and engines under virtual time.
//!
//! A [`Plan`] is drawn from a seed: sites and their engines, timeouts, clients and what they do, faults and
//! when. [`run`] lets it happen in two phases. Until `heal_at` links break, block, slow down and repeat
//! themselves, processes die, stand still and lose their clocks, disks fail, fill up and flip bits. Then
//! everything heals, and within [`Plan::bound`] all must be decided and nothing be held anywhere. At the end
//! the histories of all lives of all sites are judged by the checker, and what clients were told, the values
//! and the money are compared with them.
//!
//! What is simulated: the network, the disk below `coco::log::Folder`, clocks, and the shells around
//! coordinator and site. What is real: everything else.
//!
//! ```
//! use simulator::faults::{FaultKinds, Plan, Wish, run};
//!
//! let wish = Wish { faults: FaultKinds::ALL, ..Wish::default() };
//! for seed in 0..20 {
//!     let outcome = run(Plan::draw(seed, &wish), false);
//!     assert!(outcome.problem.is_none(), "seed {seed}: {outcome:?}");
//! }
//! ```

mod bug;
mod client;
mod coordinator;
mod disk;
mod history;
mod judge;
pub mod lives;
mod network;
mod plan;
mod shrink;
mod site;
mod tap;
mod trace;
mod workload;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use coco::protocol::SiteName;

pub use bug::{Bug, UnknownBug};
pub use client::{Attempt, Told};
pub use plan::{FaultKinds, Plan, Wish};
pub use shrink::{Shrunk, shrink};
pub use workload::{Action, Script};

/// Sites are called A, B, C, ...
pub(crate) fn site_name(index: usize) -> SiteName {
    let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or(0));
    SiteName::new(letter.encode_utf8(&mut [0; 4]))
}

/// What must never be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The sites together are not serializable or not commitment ordered (I1, I5, I6).
    Disordered(String),
    /// A read missed a commit that had been acknowledged before its transaction began.
    Stale(String),
    /// A client was told otherwise, or sites disagree.
    Outcome(String),
    /// A commit was applied once and is gone, or a read of it stands alone.
    Lost(String),
    /// What clients have read does not fit together.
    Reads(String),
    /// A store holds something else than its commits make.
    Values(String),
    /// The accounts do not add up.
    Money(String),
    /// Something was undecided or held when all should have been over (I4, I7).
    Stuck(String),
    /// A process did not start from its own log.
    Unrecoverable(String),
    /// A damaged log was taken for a whole one.
    Damage(String),
    /// A commit rests on a vote of a life that is over.
    StaleVote(String),
    /// An allowed operation was refused.
    Refused(String),
    /// An assertion failed.
    Panic(String),
}

impl Problem {
    /// Which check has found it.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Disordered(_) => "order",
            Self::Stale(_) => "strictness",
            Self::Outcome(_) => "outcomes",
            Self::Lost(_) => "lost",
            Self::Reads(_) => "reads",
            Self::Values(_) => "values",
            Self::Money(_) => "money",
            Self::Stuck(_) => "liveness",
            Self::Unrecoverable(_) => "recovery",
            Self::Damage(_) => "damage",
            Self::StaleVote(_) => "stale vote",
            Self::Refused(_) => "refused",
            Self::Panic(_) => "assertion",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Disordered(text)
        | Self::Stale(text)
        | Self::Outcome(text)
        | Self::Lost(text)
        | Self::Reads(text)
        | Self::Values(text)
        | Self::Money(text)
        | Self::Stuck(text)
        | Self::Unrecoverable(text)
        | Self::Damage(text)
        | Self::StaleVote(text)
        | Self::Refused(text)
        | Self::Panic(text)) = self;
        write!(f, "{}: {text}", self.check())
    }
}

/// What happened in a run, or in many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Commits that clients were told of.
    pub commits: u64,
    /// Aborts that they were told of.
    pub aborts: u64,
    /// "Unknown" that they were told.
    pub unknown: u64,
    /// Faults injected: planned ones, messages lost with their links, repetitions, lost requests.
    pub faults: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Logs that failed and were restarted by the operator.
    pub failed_logs: u64,
    /// Starts that failed because the disk did, and were tried again.
    pub starts_failed: u64,
    /// Bits flipped in what was read back.
    pub flips: u64,
    /// Of these, refused with a typed error; the rest meant nothing.
    pub flips_detected: u64,
    /// Messages of earlier connections that arrived again.
    pub repeated: u64,
    /// Odd things that the coordinators noted.
    pub notes: u64,
    /// Transactions committed in the histories that the checker has judged; each once, at however many sites.
    pub judged: u64,
    /// YES votes that depended on others, as they arrived.
    pub dependent_votes: u64,
    /// Checkpoints of sites, the log cut behind them.
    pub site_checkpoints: u64,
    /// The same of coordinators.
    pub coordinator_checkpoints: u64,
    /// Batches that stores had taken and crashes took back.
    pub batches_lost: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.failed_logs += other.failed_logs;
        self.starts_failed += other.starts_failed;
        self.flips += other.flips;
        self.flips_detected += other.flips_detected;
        self.repeated += other.repeated;
        self.notes += other.notes;
        self.judged += other.judged;
        self.dependent_votes += other.dependent_votes;
        self.site_checkpoints += other.site_checkpoints;
        self.coordinator_checkpoints += other.coordinator_checkpoints;
        self.batches_lost += other.batches_lost;
    }
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What must never be, if it was.
    pub problem: Option<Problem>,
    /// What happened.
    pub counts: Counts,
    /// A hash of everything that happened, in order.
    pub trace_hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How much virtual time has passed, in microseconds.
    pub time: u64,
    /// The events in words, if they were asked for.
    pub trace: Vec<String>,
}

thread_local! {
    /// `Some` while a run goes on in this thread: panics are kept and not printed.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a plan happen. `readable` asks for the trace in words, which takes its time.
#[must_use]
pub fn run(plan: Plan, readable: bool) -> Outcome {
    keep_panics_quiet();
    CAUGHT.set(Some(String::new()));
    let mut world = world::World::new(plan, readable);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        world.run();
        if world.problem.is_none()
            && let Err(problem) = judge::judge(&mut world)
        {
            world.fail(problem);
        }
    }));
    let caught = CAUGHT.take().unwrap_or_default();
    if ran.is_err() {
        world.problem = Some(Problem::Panic(caught));
    }
    Outcome {
        problem: world.problem.take(),
        counts: world.counts,
        trace_hash: world.trace.hash(),
        events: world.trace.events(),
        time: world.now,
        trace: world.trace.into_text(),
    }
}

/// Installs, once, a hook that keeps the panics of runs and hands on all others.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = CAUGHT.with_borrow_mut(|caught| {
                caught
                    .as_mut()
                    .map(|text| *text = info.to_string())
                    .is_some()
            });
            if !kept {
                before(info);
            }
        }));
    });
}
