//! What every site of the random tests shares: the crew of threads, votes, dooms and decisions.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::panicking;

use co_core::{AbortReason, Gtid, Kind, Outcome, Priority, Scheduler, State, Txn, Vote, VoteRule};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler as Schedules};
use shuttle::sync::{Arc, Mutex};
use shuttle::{Config, FailurePersistence, Runner, thread};

use crate::history::{Committed, History};

const THREADS: usize = 8;
const TRANSACTIONS: usize = 3;
/// Schedules of one seed; PCT learns from the first of them how long one is.
const BATCH: usize = 25;
/// At most so many of its priorities change in one schedule (PCT).
const DEPTH: usize = 3;

/// An engine around one scheduler.
pub(crate) trait Site: Send + Sync + 'static {
    /// Runs one transaction to its end.
    fn transaction(&self);
    fn common(&self) -> &Common;
    /// Whether its tables are empty.
    fn is_empty(&self) -> bool;
}

/// The scheduler of a site, and the record of what happens there.
pub(crate) struct Common {
    pub(crate) scheduler: Scheduler,
    pub(crate) history: History,
    live: Mutex<Vec<Txn>>,
}

impl Common {
    pub(crate) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(VoteRule::Withhold),
            history: History::default(),
            live: Mutex::new(Vec::new()),
        }
    }

    /// Begins a transaction of a name of its own and a random age.
    pub(crate) fn begin(&self) -> (Txn, u64) {
        let name = self.history.name();
        let priority = Priority(thread_rng().gen_range(0..100));
        let txn = self.scheduler.begin(if one_in(2) {
            Kind::Local { priority }
        } else {
            let gtid = Gtid(name);
            Kind::Global { gtid, priority }
        });
        self.live.lock().unwrap().push(txn.clone());
        (txn, name)
    }

    /// Now and then dooms somebody.
    pub(crate) fn disturb(&self) {
        if one_in(12) {
            let victim = self.anybody();
            if let Some(victim) = victim {
                self.scheduler.doom(&victim, AbortReason::Requested);
            }
        }
    }

    /// Somebody who is undecided, or was just now.
    pub(crate) fn anybody(&self) -> Option<Txn> {
        let live = self.live.lock().unwrap();
        (!live.is_empty()).then(|| live[thread_rng().gen_range(0..live.len())].clone())
    }

    /// Asks for the vote. A moment after it if it was YES, and the coordinator, who aborts now and then, says
    /// commit.
    pub(crate) fn vote(&self, txn: &Txn) -> Option<u64> {
        let vote = match thread_rng().gen_range(0..3) {
            0 => self.scheduler.request_vote_blocking(txn),
            1 => shuttle::future::block_on(self.scheduler.request_vote(txn)),
            _ => {
                let (told, heard) = shuttle::sync::mpsc::channel();
                self.scheduler
                    .request_vote_with(txn, move |vote| told.send(vote).unwrap());
                heard.recv().unwrap()
            }
        };
        match vote {
            Vote::Yes => {
                let voted = self.history.moment();
                thread::yield_now();
                assert!(!self.scheduler.doom(txn, AbortReason::Requested), "I3");
                assert_eq!(txn.state(), State::Voted, "I3");
                (!one_in(8)).then_some(voted)
            }
            Vote::No(_) => {
                assert_eq!(txn.state(), State::Doomed, "only a doom answers NO");
                None
            }
        }
    }

    pub(crate) fn decided(&self, txn: &Txn, outcome: Outcome) {
        self.scheduler.decided(txn, outcome).unwrap();
        self.live.lock().unwrap().retain(|other| other != txn);
        // The owner of each hears of it in its own next call.
        drop(self.scheduler.take_doomed());
    }

    pub(crate) fn record(&self, committed: Committed) {
        self.history.record(committed);
    }
}

pub(crate) fn one_in(count: u32) -> bool {
    thread_rng().gen_range(0..count) == 0
}

/// Says how to see a failure again.
struct Replay(&'static str, u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if panicking() {
            eprintln!(
                "{}: seed {}; CO_SHUTTLE_SEED={} CO_SHUTTLE_ITERATIONS={BATCH} runs it again",
                self.0, self.1, self.1
            );
        }
    }
}

/// What happened in all schedules of a test, beside what shuttle sees.
#[derive(Debug, Default)]
struct Totals {
    schedules: AtomicU64,
    committed: AtomicU64,
    /// Votes that had to wait, cycles, and whom the scheduler doomed for its own reasons.
    contended: AtomicU64,
}

/// Lets a crew loose on a site of `make` under random schedules and under those of PCT: half the iterations each.
pub(crate) fn explore<S: Site>(name: &'static str, make: fn() -> S) {
    let first = setting("CO_SHUTTLE_SEED", 1);
    let batches = setting("CO_SHUTTLE_ITERATIONS", 2000).div_ceil(BATCH as u64);
    let totals = Arc::new(Totals::default());
    for seed in first..first + batches {
        let _replay = Replay(name, seed);
        run(RandomScheduler::new_from_seed(seed, BATCH), make, &totals);
        run(
            PctScheduler::new_from_seed(seed, DEPTH, BATCH),
            make,
            &totals,
        );
    }
    let total = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let (schedules, committed) = (total(&totals.schedules), total(&totals.committed));
    let contended = total(&totals.contended);
    eprintln!("{name}: {schedules} schedules, {committed} commits, {contended} waits and dooms");
    assert!(committed > schedules, "{name}: hardly anything commits");
    assert!(contended > schedules, "{name}: hardly anything conflicts");
}

fn run<S: Site>(schedules: impl Schedules + 'static, make: fn() -> S, totals: &Arc<Totals>) {
    let totals = Arc::clone(totals);
    let mut config = Config::new();
    // The seed says it in fewer words than the schedule.
    config.failure_persistence = FailurePersistence::None;
    Runner::new(schedules, config).run(move || {
        let site = Arc::new(make());
        let crew: Vec<_> = (0..THREADS)
            .map(|_| {
                let site = Arc::clone(&site);
                thread::spawn(move || (0..TRANSACTIONS).for_each(|_| site.transaction()))
            })
            .collect();
        for member in crew {
            member.join().unwrap();
        }
        let common = site.common();
        assert!(common.scheduler.is_idle(), "I7");
        assert!(site.is_empty(), "I7");
        let committed = common.history.judge();
        let done = common.scheduler.statistics();
        let contended = done.withheld + done.cycles + done.overtaken + done.cascaded;
        totals.schedules.fetch_add(1, Ordering::Relaxed);
        totals.committed.fetch_add(committed, Ordering::Relaxed);
        totals.contended.fetch_add(contended, Ordering::Relaxed);
    });
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect("a number"))
}
