//! What co-core keeps in memory: bytes for an undecided transaction, an edge, a lock; and whether it grows under
//! load.
//!
//! Measured as the resident set of the process, from `/proc/self/statm`; so it includes what the allocator adds.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::store::Store;
use clap::Parser;
use co_core::{
    EdgeKind, Kind, LockMode, LockPolicy, LockTable, Outcome, Priority, Scheduler, Txn, VoteRule,
};
use serde_json::json;

const MANY: u64 = 1_000_000;
/// Edges of each transaction when edges are measured.
const EDGES: usize = 8;
/// How much the second half of a soak may add to the first.
const TOLERANCE: f64 = 1.02;

/// What co-core keeps in memory for a transaction, an edge and a lock; or, with --soak-minutes, whether that grows.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cargo run --release -p benches --bin memory\n  \
    cargo run --release -p benches --bin memory -- --soak-minutes 10"
)]
struct Arguments {
    /// Run conflicting transactions for so long and watch the resident set instead.
    #[arg(long)]
    soak_minutes: Option<f64>,
    /// One JSON object on standard output instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.soak_minutes {
        Some(minutes) => soak(minutes, arguments.json),
        None => sizes(arguments.json),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot read /proc/self/statm, which this measurement needs: {error}");
            ExitCode::from(2)
        }
    }
}

/// Resident bytes of this process.
fn resident() -> std::io::Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<f64>().ok());
    let pages = pages.ok_or_else(|| std::io::Error::other("its second field is no number"))?;
    Ok(pages * 4096.0)
}

fn begin(scheduler: &Scheduler) -> Txn {
    scheduler.begin(Kind::Local {
        priority: Priority(1),
    })
}

fn sizes(json: bool) -> std::io::Result<bool> {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let table = LockTable::<u64>::new(scheduler.clone(), LockPolicy::Sco);
    let many = MANY as f64;
    let mut txns = Vec::with_capacity(usize::try_from(MANY).unwrap_or(0));
    // Touches the pages of the vector itself, so that they do not count.
    txns.resize_with(txns.capacity(), || None);

    let empty = resident()?;
    for txn in &mut txns {
        *txn = Some(begin(&scheduler));
    }
    let begun = resident()?;
    let known: Vec<&Txn> = txns.iter().flatten().collect();
    let before_edges = resident()?;
    for group in known.chunks(EDGES + 1) {
        for (index, later) in group.iter().enumerate() {
            for earlier in &group[..index] {
                scheduler
                    .edge(earlier, later, EdgeKind::ReadWrite)
                    .expect("nobody has voted");
            }
        }
    }
    let with_edges = resident()?;
    // In each group of nine there are 36 edges; the lists of the nine come with them.
    let edges = many / (EDGES as f64 + 1.0) * 36.0;
    let mut sets = Vec::with_capacity(known.len());
    let before_locks = resident()?;
    for (key, txn) in (0..).zip(&known) {
        let mut set = table.begin(txn);
        drop(table.lock(&mut set, &key, LockMode::Write));
        sets.push(set);
    }
    let with_locks = resident()?;
    let transaction = (begun - empty) / many;
    let edge = (with_edges - before_edges) / edges;
    let lock = (with_locks - before_locks) / many;
    for (txn, set) in known.iter().zip(sets) {
        scheduler
            .decided(txn, Outcome::Abort)
            .expect("it is undecided");
        table.end(set);
    }
    assert!(scheduler.is_idle() && table.is_empty(), "I7");
    if json {
        println!(
            "{}",
            json!({ "transaction": transaction, "edge": edge, "first_lock": lock })
        );
    } else {
        println!("an undecided transaction that nobody conflicts with  {transaction:>6.0} bytes");
        println!("an edge, with its share of the lists of both ends    {edge:>6.0} bytes");
        println!("a transaction's first lock, with its set and name    {lock:>6.0} bytes");
    }
    Ok(true)
}

fn soak(minutes: f64, json: bool) -> std::io::Result<bool> {
    let time = Duration::from_secs_f64(minutes * 60.0);
    let store = Store::new(
        LockPolicy::OrderedSharing { longest_chain: 16 },
        10_000,
        false,
    );
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let samples = std::thread::scope(|scope| {
        for client in 0..4 {
            let (store, stop, done) = (&store, &stop, &done);
            scope.spawn(move || run(store, stop, done, client));
        }
        let samples = watch(start, time, &done, json);
        stop.store(true, Ordering::Relaxed);
        samples
    })?;
    let idle = store.scheduler().is_idle();
    let (first, second) = samples.split_at(samples.len() / 2);
    let highest = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let growth = highest(second) / highest(first);
    let holds = idle && growth <= TOLERANCE;
    let transactions = done.load(Ordering::Relaxed);
    if json {
        println!(
            "{}",
            json!({ "transactions": transactions, "growth": growth, "holds": holds })
        );
    } else {
        println!(
            "{transactions} transactions; highest resident set of the second half / of the first: {growth:.3}; {}",
            if holds { "does not grow" } else { "GROWS" }
        );
    }
    Ok(holds)
}

fn watch(
    start: Instant,
    time: Duration,
    done: &AtomicU64,
    json: bool,
) -> std::io::Result<Vec<f64>> {
    let mut samples = Vec::new();
    let interval = (time / 40).max(Duration::from_millis(100));
    while start.elapsed() < time {
        std::thread::sleep(interval);
        let bytes = resident()?;
        samples.push(bytes);
        if !json {
            eprintln!(
                "{:>6.0} s  {:>12} transactions  {:>8.1} MiB",
                start.elapsed().as_secs_f64(),
                done.load(Ordering::Relaxed),
                bytes / 1024.0 / 1024.0
            );
        }
    }
    Ok(samples)
}

fn run(store: &Store, stop: &AtomicBool, done: &AtomicU64, client: u64) {
    let mut random = fastrand::Rng::with_seed(client);
    while !stop.load(Ordering::Relaxed) {
        let age = done.fetch_add(1, Ordering::Relaxed);
        let mut access = store.begin(age);
        let mut operate = || {
            for turn in 0..8 {
                let hot = turn == 0 || random.u8(0..8) == 0;
                let key = random.u64(if hot { 0..8 } else { 8..10_000 });
                if random.bool() {
                    store.update(&mut access, key, |value| value + 1)?;
                } else {
                    store.read(&mut access, key)?;
                }
            }
            Ok::<(), co_core::AbortReason>(())
        };
        match operate() {
            Ok(()) => {
                if let Err((access, _)) = store.commit(access) {
                    store.abort(*access);
                }
            }
            Err(_) => store.abort(access),
        }
    }
}
