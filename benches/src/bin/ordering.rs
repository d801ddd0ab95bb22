//! What ordering buys: one store, one lock table, one cell of its matrix changed, on the workloads where it matters
//! and on those where it loses.
//!
//! Each line is measured without recording, after a shorter run of the same that is recorded and judged by the
//! checker.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::store::{Access, Store};
use clap::{Parser, ValueEnum};
use co_core::{AbortReason, LockPolicy, Statistics};
use serde_json::json;

/// Records; the first ones are hot.
const RECORDS: u64 = 1_000_000;
const OPERATIONS: u64 = 16;
/// Records that long readers read and short writers change.
const HOT: u64 = 32;
/// Hot records that a writer among long readers changes, in the order of their keys.
const HOT_WRITES: u64 = 8;

const SS2PL: LockPolicy = LockPolicy::Ss2pl;
const SCO: LockPolicy = LockPolicy::Sco;
const SHARED: LockPolicy = LockPolicy::OrderedSharing { longest_chain: 255 };

/// What ordering buys, against strong strict two-phase locking in the same store.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cargo run --release -p benches --bin ordering\n  \
    cargo run --release -p benches --bin ordering -- --workload hotspot --seconds 10\n  \
    cargo run --release -p benches --bin ordering -- --json"
)]
struct Arguments {
    /// Seconds for each line.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only this workload.
    #[arg(long)]
    workload: Option<Workload>,
    /// One JSON object on standard output instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Workload {
    /// One record updated by the first of 16 operations, 2 threads, no delays.
    Hotspot,
    /// The same from 2 to 64 threads.
    Threads,
    /// The same with 64 clients that wait 100 µs between operations.
    Interactive,
    /// Readers that stay long after reading a hot record, and writers that change several of those.
    LongReaders,
    /// Short readers and a hot writer: where ordering does not help.
    ReaderHeavy,
    /// The hotspot with clients that abort every fifth transaction: cascades; interactive, and CPU-bound on 8
    /// threads.
    AbortHeavy,
}

const ALL: [Workload; 6] = [
    Workload::Hotspot,
    Workload::Threads,
    Workload::Interactive,
    Workload::LongReaders,
    Workload::ReaderHeavy,
    Workload::AbortHeavy,
];

/// What the clients of a run do.
#[derive(Clone, Copy, Debug)]
struct Load {
    workload: Workload,
    clients: u64,
    /// Between operations.
    delay: Duration,
    /// Rounds of arithmetic for each operation: about a microsecond for 500.
    work: u64,
}

impl Workload {
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    fn loads(self) -> Vec<Load> {
        let load = |clients, delay, work| Load {
            workload: self,
            clients,
            delay: Duration::from_micros(delay),
            work,
        };
        match self {
            Self::Hotspot => vec![load(2, 0, 500)],
            Self::Threads => [2, 4, 8, 16, 32, 64]
                .map(|clients| load(clients, 0, 500))
                .to_vec(),
            Self::Interactive | Self::LongReaders | Self::ReaderHeavy => {
                vec![load(64, 100, 0)]
            }
            Self::AbortHeavy => vec![load(64, 100, 0), load(8, 0, 500)],
        }
    }

    fn policies(self) -> &'static [LockPolicy] {
        match self {
            Self::Hotspot | Self::Threads | Self::Interactive | Self::AbortHeavy => {
                &[SS2PL, SHARED]
            }
            Self::LongReaders | Self::ReaderHeavy => &[SS2PL, SCO],
        }
    }
}

impl Load {
    /// Whether a client changes the hot records; in a mix with readers the two are counted apart.
    fn writes(&self, client: u64) -> bool {
        match self.workload {
            Workload::LongReaders => client.is_multiple_of(16),
            Workload::ReaderHeavy => client.is_multiple_of(32),
            Workload::Hotspot
            | Workload::Threads
            | Workload::Interactive
            | Workload::AbortHeavy => true,
        }
    }

    /// One transaction, up to its vote.
    fn run(
        &self,
        store: &Store,
        access: &mut Access,
        client: u64,
        random: &mut fastrand::Rng,
    ) -> Result<(), AbortReason> {
        match self.workload {
            Workload::Hotspot
            | Workload::Threads
            | Workload::Interactive
            | Workload::AbortHeavy => {
                store.update(access, 0, |value| value + 1)?;
                for turn in 1..OPERATIONS {
                    self.pause();
                    if turn % 2 == 0 {
                        store.update(access, random.u64(HOT..RECORDS), |value| value + 1)?;
                    } else {
                        store.read(access, random.u64(HOT..RECORDS))?;
                    }
                }
            }
            Workload::LongReaders if self.writes(client) => {
                let first = client / 16 * HOT_WRITES;
                for key in first..first + HOT_WRITES {
                    store.update(access, key, |value| value + 1)?;
                    self.pause();
                }
            }
            Workload::LongReaders => {
                store.read(access, random.u64(0..HOT))?;
                for _ in 0..2 * OPERATIONS {
                    self.pause();
                    store.read(access, random.u64(HOT..RECORDS))?;
                }
            }
            Workload::ReaderHeavy if !self.writes(client) => {
                store.read(access, 0)?;
                self.pause();
                store.read(access, random.u64(HOT..RECORDS))?;
            }
            Workload::ReaderHeavy => {
                store.update(access, 0, |value| value + 1)?;
                for _ in 0..4 {
                    self.pause();
                    store.update(access, random.u64(HOT..RECORDS), |value| value + 1)?;
                }
            }
        }
        self.pause();
        Ok(())
    }

    /// The client's own time between two operations: thinking, or computing.
    fn pause(&self) {
        if self.work > 0 {
            let mut state = 1_u64;
            for _ in 0..self.work {
                state = black_box(state.wrapping_mul(6_364_136_223_846_793_005));
            }
        }
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
    }

    fn aborts_by_itself(&self, random: &mut fastrand::Rng) -> bool {
        self.workload == Workload::AbortHeavy && random.u64(0..5) == 0
    }
}

/// What one run came to.
#[derive(Debug)]
struct Measured {
    policy: LockPolicy,
    clients: u64,
    commits_per_second: f64,
    writers_per_second: f64,
    aborts: BTreeMap<&'static str, u64>,
    latency_microseconds: [u64; 3],
    statistics: Statistics,
    judged: usize,
}

fn measure(
    load: Load,
    policy: LockPolicy,
    time: Duration,
    judged: usize,
) -> Result<Measured, String> {
    let store = Store::new(policy, RECORDS, judged == 0);
    let ages = AtomicU64::new(0);
    let start = Instant::now();
    let results = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..load.clients)
            .map(|client| {
                let (store, ages) = (&store, &ages);
                scope.spawn(move || run_client(load, store, ages, client, start, time))
            })
            .collect();
        let results = clients.into_iter().map(|client| client.join());
        results.collect::<Result<Vec<_>, _>>()
    });
    let results = results.map_err(|_| "a client panicked".to_owned())?;
    let seconds = start.elapsed().as_secs_f64();
    if !store.scheduler().is_idle() {
        return Err("transactions are left in the graph".to_owned());
    }
    let judged = if judged == 0 { store.judge()? } else { judged };
    let mut latencies = Vec::new();
    let mut writers = 0;
    let mut aborts = BTreeMap::new();
    for (client, (own, reasons)) in (0..).zip(results) {
        if load.writes(client) {
            writers += own.len();
        }
        latencies.extend(own);
        for (reason, count) in reasons {
            *aborts.entry(reason).or_insert(0) += count;
        }
    }
    latencies.sort_unstable();
    let percentile = |thousandths: usize| {
        let rank = latencies.len() * thousandths / 1000;
        latencies.get(rank).copied().unwrap_or_default()
    };
    Ok(Measured {
        policy,
        clients: load.clients,
        commits_per_second: latencies.len() as f64 / seconds,
        writers_per_second: writers as f64 / seconds,
        aborts,
        latency_microseconds: [500, 990, 999].map(percentile),
        statistics: store.scheduler().statistics(),
        judged,
    })
}

type ClientResult = (Vec<u64>, BTreeMap<&'static str, u64>);

fn run_client(
    load: Load,
    store: &Store,
    ages: &AtomicU64,
    client: u64,
    start: Instant,
    time: Duration,
) -> ClientResult {
    let mut random = fastrand::Rng::with_seed(client);
    let mut latencies = Vec::new();
    let mut aborts = BTreeMap::new();
    while start.elapsed() < time {
        let age = ages.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        loop {
            let mut access = store.begin(age);
            let done = load.run(store, &mut access, client, &mut random);
            let refused = match done {
                Ok(()) if load.aborts_by_itself(&mut random) => {
                    Err((Box::new(access), AbortReason::Requested))
                }
                Ok(()) => store.commit(access),
                Err(reason) => Err((Box::new(access), reason)),
            };
            let Err((access, reason)) = refused else {
                let micros = began.elapsed().as_micros();
                latencies.push(u64::try_from(micros).unwrap_or(u64::MAX));
                break;
            };
            store.abort(*access);
            *aborts.entry(name(reason)).or_insert(0) += 1;
            if start.elapsed() >= time {
                break;
            }
        }
    }
    (latencies, aborts)
}

fn name(reason: AbortReason) -> &'static str {
    match reason {
        AbortReason::Cycle => "cycle",
        AbortReason::Cascade => "cascade",
        AbortReason::Overtaken => "overtaken",
        AbortReason::Conflict => "conflict",
        AbortReason::Requested => "requested",
        AbortReason::Unavailable => "unavailable",
    }
}

fn policy_name(policy: LockPolicy) -> &'static str {
    match policy {
        LockPolicy::Ss2pl => "SS2PL",
        LockPolicy::Sco => "SCO",
        LockPolicy::OrderedSharing { .. } => "ordered sharing",
    }
}

fn run_workload(workload: Workload, seconds: f64, json: bool) -> Result<serde_json::Value, String> {
    if !json {
        println!("\n{}", workload.name());
        println!(
            "  {:<16} {:>7} {:>11} {:>7} {:>11} {:>7} {:>9} {:>9} {:>9}  aborts; chains; judged",
            "policy",
            "clients",
            "commits/s",
            "ratio",
            "writers/s",
            "ratio",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
        );
    }
    let mut lines = Vec::new();
    for load in workload.loads() {
        let mut baseline = None;
        for policy in workload.policies() {
            let checked = Duration::from_secs_f64((seconds / 5.0).min(1.0));
            let judged = measure(load, *policy, checked, 0)?.judged;
            let measured = measure(load, *policy, Duration::from_secs_f64(seconds), judged)?;
            let rates = [measured.commits_per_second, measured.writers_per_second];
            let base = *baseline.get_or_insert(rates);
            let ratios = [rates[0] / base[0], rates[1] / base[1]];
            if !json {
                print_line(&measured, ratios);
            }
            lines.push(as_json(&measured, ratios));
        }
    }
    Ok(json!({ "workload": workload.name(), "lines": lines }))
}

fn print_line(measured: &Measured, ratios: [f64; 2]) {
    let aborts: Vec<_> = measured
        .aborts
        .iter()
        .map(|(why, count)| format!("{count} {why}"))
        .collect();
    let statistics = &measured.statistics;
    println!(
        "  {:<16} {:>7} {:>11.0} {:>6.2}x {:>11.0} {:>6.2}x {:>9} {:>9} {:>9}  {}; {} cascades, {} fell, {} at most at once; {} valid",
        policy_name(measured.policy),
        measured.clients,
        measured.commits_per_second,
        ratios[0],
        measured.writers_per_second,
        ratios[1],
        measured.latency_microseconds[0],
        measured.latency_microseconds[1],
        measured.latency_microseconds[2],
        if aborts.is_empty() {
            "none".to_owned()
        } else {
            aborts.join(", ")
        },
        statistics.cascades,
        statistics.cascaded,
        statistics.largest_cascade,
        measured.judged,
    );
}

fn as_json(measured: &Measured, ratios: [f64; 2]) -> serde_json::Value {
    json!({
        "policy": policy_name(measured.policy),
        "clients": measured.clients,
        "commits_per_second": measured.commits_per_second,
        "ratio": ratios[0],
        "hot_writers_per_second": measured.writers_per_second,
        "hot_writers_ratio": ratios[1],
        "latency_microseconds": { "p50": measured.latency_microseconds[0],
            "p99": measured.latency_microseconds[1], "p999": measured.latency_microseconds[2] },
        "aborts": measured.aborts,
        "cascades": measured.statistics.cascades,
        "cascaded": measured.statistics.cascaded,
        "longest_chain": measured.statistics.largest_cascade,
        "withheld": measured.statistics.withheld,
        "judged_valid": measured.judged,
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut results = Vec::new();
    let chosen: Vec<_> = match arguments.workload {
        Some(workload) => vec![workload],
        None => ALL.to_vec(),
    };
    for workload in chosen {
        match run_workload(workload, arguments.seconds, arguments.json) {
            Ok(result) => results.push(result),
            Err(why) => {
                eprintln!("{}: {why}", workload.name());
                return ExitCode::FAILURE;
            }
        }
    }
    if arguments.json {
        println!("{}", json!({ "workloads": results }));
    }
    ExitCode::SUCCESS
}
