//! Measures what co-core costs, each figure against its baseline in the same rounds, and says which budgets hold.
//!
//! Every round runs all of them one after the other; the figure is the fastest round of each, because whatever
//! else the machine does only adds time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use benches::cost::{self, Crowd};
use benches::lean::LeanTable;
use benches::optimistic::{Optimistic, Work};
use clap::Parser;
use co_core::{Commutativity, LockPolicy, LockTable, Scheduler, Validator, VoteRule};
use serde_json::json;

const KEYS: u64 = 1 << 16;
/// Of the lock table that two threads share.
const STRIPES: usize = 1 << 14;

/// What co-core costs, against the least that the same work costs without it.
///
/// Exit status 1 if a budget does not hold.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cargo run --release -p benches --bin budget\n  \
    cargo run --release -p benches --bin budget -- --rounds 1000 --json"
)]
struct Arguments {
    /// Rounds; more of them find a quieter moment.
    #[arg(long, default_value_t = 300)]
    rounds: usize,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    json: bool,
}

/// One line of the table.
struct Line {
    what: &'static str,
    figure: f64,
    baseline: f64,
    /// The ratio may be at most this; at least, if negative.
    budget: f64,
    unit: &'static str,
}

impl Line {
    fn ratio(&self) -> f64 {
        self.figure / self.baseline
    }

    fn holds(&self) -> bool {
        if self.budget < 0.0 {
            self.ratio() >= -self.budget
        } else {
            self.ratio() <= self.budget
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "what": self.what, "figure": self.figure, "baseline": self.baseline, "unit": self.unit,
            "ratio": self.ratio(), "budget": self.budget.abs(), "holds": self.holds(),
            "direction": if self.budget < 0.0 { "at least" } else { "at most" },
        })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = if self.budget < 0.0 { "≥" } else { "≤" };
        let verdict = if self.holds() { "holds" } else { "BROKEN" };
        write!(
            f,
            "{:<58} {:>9.1} {:>9.1} {:<5} {:>6.2}x {bound}{:>5.2}x  {verdict}",
            self.what,
            self.figure,
            self.baseline,
            self.unit,
            self.ratio(),
            self.budget.abs(),
        )
    }
}

/// The fastest of many rounds of one operation.
struct Fastest {
    per_round: u64,
    nanoseconds: f64,
}

impl Fastest {
    fn of(per_round: u64) -> Self {
        Self {
            per_round,
            nanoseconds: f64::MAX,
        }
    }

    fn round(&mut self, mut operation: impl FnMut(u64)) {
        let start = Instant::now();
        for turn in 0..self.per_round {
            operation((turn * cost::ACCESSES) % KEYS);
        }
        let each = start.elapsed().as_secs_f64() * 1e9 / self.per_round as f64;
        self.nanoseconds = self.nanoseconds.min(each);
    }
}

fn single_thread(rounds: usize) -> Vec<Line> {
    let mutex = parking_lot::Mutex::new(0);
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let lean = LeanTable::default();
    let [ss2pl, sco] = [LockPolicy::Ss2pl, LockPolicy::Sco]
        .map(|policy| LockTable::new(scheduler.clone(), policy));
    let engine = Optimistic::new(2 * KEYS);
    let mut work = Work::default();
    let nobody = Validator::new(Scheduler::new(VoteRule::Withhold));
    let some = cost::in_doubt(4, 2 * KEYS);
    let mut fastest: Vec<_> = (0..8).map(|_| Fastest::of(1_000)).collect();
    for _ in 0..rounds {
        fastest[0].round(|_| cost::mutex_pair(&mutex));
        fastest[1].round(|_| cost::unconflicted(&scheduler));
        fastest[2].round(|first| cost::lean_accesses(&lean, first));
        fastest[3].round(|first| cost::tracked_accesses(&scheduler, &ss2pl, first));
        fastest[4].round(|first| cost::tracked_accesses(&scheduler, &sco, first));
        fastest[5].round(|first| cost::optimistic_accesses(&engine, &mut work, first, None));
        fastest[6].round(|first| {
            cost::optimistic_accesses(&engine, &mut work, first, Some(&nobody));
        });
        fastest[7].round(|first| {
            cost::optimistic_accesses(&engine, &mut work, first, Some(&some));
        });
    }
    let line = |what, figure: usize, baseline: usize, budget| Line {
        what,
        figure: fastest[figure].nanoseconds,
        baseline: fastest[baseline].nanoseconds,
        budget,
        unit: "ns",
    };
    vec![
        line("begin, ready, vote, decide / one mutex pair", 1, 0, 4.0),
        line("16 accesses, SS2PL / lean lock table", 3, 2, 1.5),
        line("16 accesses, SCO / lean lock table", 4, 2, 1.5),
        line(
            "16 accesses, optimistic, nobody in doubt / engine alone",
            6,
            5,
            1.15,
        ),
        line(
            "16 accesses, optimistic, 4 in doubt / engine alone",
            7,
            5,
            1.15,
        ),
    ]
}

/// The same operation among few and among many undecided transactions.
fn crowds(rounds: usize) -> Vec<Line> {
    let counts = [10, 1_000, 100_000];
    let crowds = counts.map(Crowd::new);
    let mut fastest = counts.map(|_| Fastest::of(500));
    for _ in 0..rounds {
        for ((crowd, count), fastest) in crowds.iter().zip(counts).zip(&mut fastest) {
            // Few keys, used again and again: what is measured is the scheduler, not the size of the cache.
            fastest.round(|turn| crowd.pass(count + turn % 256));
        }
    }
    let line = |what, index: usize| Line {
        what,
        figure: fastest[index].nanoseconds,
        baseline: fastest[0].nanoseconds,
        budget: 1.1,
        unit: "ns",
    };
    vec![
        line("a transaction among 1,000 undecided / among 10", 1),
        line("a transaction among 100,000 undecided / among 10", 2),
    ]
}

fn chains(rounds: usize) -> Line {
    let lengths = [100_usize, 10_000];
    let mut fastest = [f64::MAX; 2];
    for round in 0..rounds.div_ceil(10) {
        for (length, fastest) in lengths.iter().zip(&mut fastest) {
            let (scheduler, chain) = cost::withheld_chain(*length);
            let start = Instant::now();
            cost::release_chain(&scheduler, &chain);
            let each = start.elapsed().as_secs_f64() * 1e9 / *length as f64;
            if round > 0 {
                *fastest = fastest.min(each);
            }
        }
    }
    Line {
        what: "release in a chain of 10,000, each / in a chain of 100",
        figure: fastest[1],
        baseline: fastest[0],
        budget: 2.0,
        unit: "ns",
    }
}

/// Transactions a second of `threads` threads on keys of their own.
fn throughput(scheduler: &Scheduler, table: &LockTable<u64>, threads: u64, time: Duration) -> f64 {
    let barrier = Barrier::new(usize::try_from(threads).expect("a handful"));
    let counts: Vec<f64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let mut done = 0_u64;
                    while start.elapsed() < time {
                        for turn in 0..64 {
                            let first = thread * KEYS + (turn * cost::ACCESSES) % KEYS;
                            cost::tracked_accesses(scheduler, table, first);
                        }
                        done += 64;
                    }
                    done as f64 / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        let rates = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panics"));
        rates.collect()
    });
    counts.iter().sum()
}

fn two_threads(rounds: usize) -> Line {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let operations = Commutativity::new();
    let table = LockTable::with_stripes(scheduler.clone(), LockPolicy::Sco, operations, STRIPES);
    let time = Duration::from_millis(50);
    let mut fastest = [0.0_f64; 2];
    for _ in 0..rounds.div_ceil(10) {
        for (threads, fastest) in (1..).zip(&mut fastest) {
            *fastest = fastest.max(throughput(&scheduler, &table, threads, time));
        }
    }
    Line {
        what: "two threads on keys of their own / one thread",
        figure: fastest[1] / 1e3,
        baseline: fastest[0] / 1e3,
        budget: -1.8,
        unit: "k/s",
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut lines = single_thread(arguments.rounds);
    lines.extend(crowds(arguments.rounds));
    lines.push(chains(arguments.rounds));
    lines.push(two_threads(arguments.rounds));
    let holds = lines.iter().all(Line::holds);
    if arguments.json {
        let lines: Vec<_> = lines.iter().map(Line::json).collect();
        println!("{}", json!({ "lines": lines, "holds": holds }));
    } else {
        println!(
            "{:<58} {:>9} {:>9} {:<5} {:>7} {:>6}",
            "what / baseline", "co-core", "baseline", "", "ratio", "budget"
        );
        for line in &lines {
            println!("{line}");
        }
    }
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
