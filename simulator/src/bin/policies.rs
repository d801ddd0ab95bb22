//! `policies`: one workload under every way of ending deadlocks over several sites, in virtual time.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use participant::engine::EngineKind;
use simulator::policy::{HOP, Load, Report, Resolver, run};

/// Compares cycle search, wound-wait, wait-die and full autonomy (timeouts alone).
///
/// Time is virtual, one message delay is a millisecond, and the same seeds give the same figures anywhere.
/// Every history is judged by the checker. Exit status 1 if one is not in order.
#[derive(Parser, Debug)]
#[command(after_help = "Examples:
  policies                       two sites that lock, and two that validate
  policies --clients 64 --keys 8
  policies --report-after-ms 0   the search is told of every wait
  policies --json")]
struct Arguments {
    /// Clients that work at once.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Hot keys of each site, 1 to 20.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=20))]
    keys: u8,
    /// Virtual seconds for each seed.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// How many seeds.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// How long the youngest may wait for its votes, and an operation for its lock.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    timeout_ms: u64,
    /// How long a wait must last before it is reported to the search.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    report_after_ms: u64,
    /// Print JSON, a line for each row.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let load = Load {
        clients: arguments.clients,
        keys: arguments.keys,
        rounds: arguments.seconds * 1000,
        timeout: Duration::from_millis(arguments.timeout_ms),
        report_after: Duration::from_millis(arguments.report_after_ms),
    };
    let seconds = f64::from(arguments.seconds) * to_float(arguments.seeds);
    if !arguments.json {
        println!(
            "{} clients, {} hot keys a site, delay {} ms, {seconds} virtual seconds a row",
            load.clients,
            load.keys,
            HOP.as_millis()
        );
        println!(
            "{:<11} {:<11} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8} {:>14}",
            "engine",
            "resolver",
            "commits/s",
            "p50 ms",
            "p99 ms",
            "needed",
            "needless",
            "local",
            "needless/cycle"
        );
    }
    let mut in_order = true;
    for engine in [EngineKind::Ss2pl, EngineKind::Sco, EngineKind::Optimistic] {
        for resolver in Resolver::ALL {
            let mut all = Report::default();
            for seed in 0..arguments.seeds {
                let report = run(seed, resolver, engine, &load);
                in_order &= report.valid;
                all.commits += report.commits;
                all.needed += report.needed;
                all.needless += report.needless;
                all.local += report.local;
                all.latencies.extend(report.latencies);
            }
            all.latencies.sort_unstable();
            show(&arguments, engine, resolver, &all, seconds);
        }
    }
    if in_order {
        ExitCode::SUCCESS
    } else {
        println!("a history is not in order");
        ExitCode::FAILURE
    }
}

fn show(arguments: &Arguments, engine: EngineKind, resolver: Resolver, all: &Report, seconds: f64) {
    let rate = to_float(all.commits) / seconds;
    let needless = to_float(all.needless) / to_float(all.needed.max(1));
    let (p50, p99) = (all.permille(500), all.permille(990));
    if arguments.json {
        println!(
            "{{\"engine\":\"{engine}\",\"resolver\":\"{}\",\"commits_per_second\":{rate:.0},\"p50_ms\":{p50},\
             \"p99_ms\":{p99},\"needed\":{},\"needless\":{},\"local\":{},\"needless_per_cycle\":{needless:.2}}}",
            resolver.name(),
            all.needed,
            all.needless,
            all.local
        );
    } else {
        println!(
            "{:<11} {:<11} {rate:>9.0} {p50:>8} {p99:>8} {:>8} {:>9} {:>8} {needless:>14.2}",
            engine.name(),
            resolver.name(),
            all.needed,
            all.needless,
            all.local
        );
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "figures are shown to a few digits"
)]
fn to_float(number: u64) -> f64 {
    number as f64
}
