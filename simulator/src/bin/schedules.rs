//! `schedules`: random schedules by seed, judged by the checker; the seed of a bad one is printed.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use co_core::VoteRule;
use coco::protocol::DeadlockPolicy;
use simulator::program::{Shape, Workload};
use simulator::schedule::{Run, Setup, run};

/// Runs random schedules over simulated sites with the real engines and the real protocol.
///
/// Each seed is one schedule: the same seed gives the same run. Exit status 0 when every schedule keeps what
/// its rule promises, 1 when one does not, 2 for a wrong command line.
#[derive(Parser, Debug)]
#[command(after_help = "Examples:
  schedules                              a hundred thousand schedules, ordering on
  schedules --ordering off               how many histories plain two-phase commit lets go wrong
  schedules --seeds 4711 --count 1       one schedule again
  schedules --durable --crash-one-in 50  sites crash and come back from their logs
  schedules --globals 8 --keys 3 --no-detection")]
struct Arguments {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// Vote ordering at all sites.
    #[arg(long, value_enum, default_value_t = Ordered::On)]
    ordering: Ordered,
    /// Global transactions in each schedule.
    #[arg(long, default_value_t = 4)]
    globals: usize,
    /// Transactions of one site in each schedule.
    #[arg(long, default_value_t = 2)]
    locals: usize,
    /// Keys of each site, 1 to 20.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    keys: u8,
    /// Sites keep a log, whose syncs are steps too.
    #[arg(long)]
    durable: bool,
    /// One step in this many crashes a site, which comes back from its log (with --durable).
    #[arg(long, default_value_t = 0, requires = "durable")]
    crash_one_in: usize,
    /// Leave deadlocks over several sites to the timeouts alone.
    #[arg(long)]
    no_detection: bool,
    /// What the transactions do: whatever comes, or the shapes of known anomalies.
    #[arg(long, value_enum, default_value_t = Work::Mixed)]
    workload: Work,
    /// In every other schedule votes may depend on others.
    #[arg(long)]
    dependent: bool,
    /// Threads; 0 takes one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Ordered {
    /// Votes are withheld while a predecessor is undecided.
    On,
    /// Plain two-phase commit over sites that are each serializable.
    Off,
    /// Read conflicts are ignored altogether: shows that the checker sees it.
    DangerIgnoreReads,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Work {
    Mixed,
    /// Lists, a register, a bank, write skew, long forks, fractured reads.
    Shapes,
}

#[derive(Default)]
struct Total {
    runs: u64,
    commits: u64,
    aborts: u64,
    steps: u64,
    crashes: u64,
    stuck: u64,
    disordered: u64,
    bad: Vec<(u64, String)>,
}

/// How many bad seeds are described.
const SHOWN: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let setup = setup(&arguments);
    let threads = match arguments.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let started = Instant::now();
    let total = all(&arguments, &setup, threads);
    print(&arguments, &total, started.elapsed(), threads);
    if total.bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn setup(arguments: &Arguments) -> Setup {
    let rule = match arguments.ordering {
        Ordered::On => VoteRule::Withhold,
        Ordered::Off => VoteRule::LocalOnly,
        Ordered::DangerIgnoreReads => VoteRule::DangerIgnoreReads,
    };
    let mut setup = Setup::new(rule);
    setup.shape = Shape {
        globals: arguments.globals,
        locals: arguments.locals,
        keys: arguments.keys,
    };
    setup.workload = match arguments.workload {
        Work::Mixed => Workload::Mixed,
        Work::Shapes => Workload::Shapes,
    };
    setup.options.dependent_votes = arguments.dependent;
    setup.crash_one_in = arguments.crash_one_in;
    setup.options.durable = arguments.durable;
    if arguments.no_detection {
        setup.options.coordinator.deadlocks = DeadlockPolicy::Timeouts;
    }
    setup
}

/// Threads take seeds from one counter; what they found is put together at the end.
fn all(arguments: &Arguments, setup: &Setup, threads: usize) -> Total {
    let next = AtomicU64::new(0);
    let mut total = Total::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(arguments, setup, &next)))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => total.add(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    total.bad.sort();
    total
}

fn work(arguments: &Arguments, setup: &Setup, next: &AtomicU64) -> Total {
    let mut total = Total::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= arguments.count {
            return total;
        }
        let seed = arguments.seeds + index;
        total.count(seed, run(seed, setup));
    }
}

impl Total {
    fn count(&mut self, seed: u64, run: Run) {
        self.runs += 1;
        self.commits += run.commits;
        self.aborts += run.aborts;
        self.steps += run.steps;
        self.crashes += run.crashes;
        self.stuck += run.stuck;
        self.disordered += u64::from(!run.serializable);
        if let Some(problem) = run.problem {
            self.bad.push((seed, problem.to_string()));
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.commits += other.commits;
        self.aborts += other.aborts;
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.stuck += other.stuck;
        self.disordered += other.disordered;
        self.bad.extend(other.bad);
    }
}

fn print(arguments: &Arguments, total: &Total, took: Duration, threads: usize) {
    let seconds = took.as_secs_f64();
    println!(
        "ordering {:?}, {threads} threads, {seconds:.1} s",
        arguments.ordering
    );
    println!(
        "{} schedules ({:.0}/s), {} steps, {} commits, {} aborts, {} crashes, {} waits for time",
        total.runs,
        total.runs as f64 / seconds,
        total.steps,
        total.commits,
        total.aborts,
        total.crashes,
        total.stuck
    );
    println!(
        "{} transactions committed and judged by the checker",
        total.commits
    );
    println!("not serializable over all sites: {}", total.disordered);
    println!("promises broken: {}", total.bad.len());
    for (seed, problem) in total.bad.iter().take(SHOWN) {
        println!("\nseed {seed}: {problem}");
        println!("again: schedules --seeds {seed} --count 1, with the same other options");
    }
}
