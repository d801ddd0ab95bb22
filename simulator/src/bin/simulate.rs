//! `simulate`: whole systems under faults by seed; a failing seed is printed with its plan and made small.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use simulator::faults::{Bug, Counts, FaultKinds, Outcome, Plan, Shrunk, Wish, run, shrink};

/// Runs whole systems under faults: the real protocol, logs and engines on simulated networks, disks and
/// clocks.
///
/// Each seed is one run: sites, clients, timeouts and faults are drawn from it, and the same seed gives the
/// same run. Exit status 0 when everything held, 1 when it did not, 2 for a wrong command line.
#[derive(Parser, Debug)]
#[command(after_help = "Examples:
  simulate --seeds 0..20000 --progress         all kinds of faults
  simulate --seeds 4711..4712 --trace          one seed again, with all that happened
  simulate --seeds 0..1000 --faults net,clock  some kinds only
  simulate --seeds 0..1000 --bug yes-before-force
                                               what the checks make of a planted bug")]
struct Arguments {
    /// The seeds, the last one excluded.
    #[arg(long, default_value = "0..1000")]
    seeds: Seeds,
    /// Kinds of faults: none, all, or some of net, disk, crash, clock.
    #[arg(long, default_value = "all", value_delimiter = ',')]
    faults: Vec<Kind>,
    /// How many sites; drawn from the seed by default.
    #[arg(long)]
    sites: Option<usize>,
    /// How many clients; drawn from the seed by default.
    #[arg(long)]
    txns: Option<usize>,
    /// Plants a known bug.
    #[arg(long)]
    bug: Option<Bug>,
    /// How many runs to spend on making a failing seed small.
    #[arg(long, default_value_t = 2_000)]
    shrink: u64,
    /// Goes on after a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Prints all that happened.
    #[arg(long)]
    trace: bool,
    /// Says what came of it in one line of JSON.
    #[arg(long)]
    json: bool,
    /// Shows how far it is.
    #[arg(long)]
    progress: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seeds {
    from: u64,
    to: u64,
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range of seeds; write 0..1000, or 7 for one seed");
        let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
        let seeds = match text.split_once("..") {
            Some((from, to)) => Self {
                from: number(from)?,
                to: number(to)?,
            },
            None => Self {
                from: number(text)?,
                to: number(text)?.checked_add(1).ok_or_else(wrong)?,
            },
        };
        if seeds.from < seeds.to {
            Ok(seeds)
        } else {
            Err(wrong())
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Kind {
    None,
    Net,
    Disk,
    Crash,
    Clock,
    All,
}

fn kinds(named: &[Kind]) -> FaultKinds {
    let has = |kind| named.contains(&kind) || named.contains(&Kind::All);
    FaultKinds {
        net: has(Kind::Net),
        disk: has(Kind::Disk),
        crash: has(Kind::Crash),
        clock: has(Kind::Clock),
    }
}

#[derive(Default)]
struct Total {
    counts: Counts,
    runs: u64,
    events: u64,
    virtual_time: Duration,
    failed: Vec<(u64, Outcome)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wish = Wish {
        faults: kinds(&arguments.faults),
        sites: arguments.sites,
        txns: arguments.txns,
        bug: arguments.bug,
    };
    let started = Instant::now();
    let total = all(&arguments, &wish);
    report(&arguments, &total, started.elapsed());
    let Some((seed, _)) = total.failed.first() else {
        return ExitCode::SUCCESS;
    };
    let small = shrink(Plan::draw(*seed, &wish), arguments.shrink);
    explain(&arguments, &wish, *seed, &small);
    ExitCode::FAILURE
}

fn all(arguments: &Arguments, wish: &Wish) -> Total {
    let Seeds { from, to } = arguments.seeds;
    let bar = if arguments.progress {
        let style =
            ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left {msg}");
        let bar = ProgressBar::new(to - from);
        style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
    } else {
        ProgressBar::hidden()
    };
    let mut total = Total::default();
    for seed in from..to {
        let outcome = run(Plan::draw(seed, wish), arguments.trace);
        if arguments.trace {
            for line in &outcome.trace {
                println!("{line}");
            }
            println!("seed {seed}: trace hash {:016x}", outcome.trace_hash);
        }
        total.runs += 1;
        total.events += outcome.events;
        total.counts.add(&outcome.counts);
        total.virtual_time += Duration::from_micros(outcome.time);
        if outcome.problem.is_some() {
            total.failed.push((seed, outcome));
            bar.set_message(format!("{} failed", total.failed.len()));
            if !arguments.keep_going {
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    total
}

fn report(arguments: &Arguments, total: &Total, took: Duration) {
    if arguments.json {
        println!("{}", as_json(total, took));
    } else {
        in_words(total, took);
    }
}

fn as_json(total: &Total, took: Duration) -> serde_json::Value {
    let counts = &total.counts;
    let failed = total.failed.iter().map(|(seed, outcome)| {
        json!({
            "seed": seed,
            "problem": outcome.problem.as_ref().map(ToString::to_string),
        })
    });
    let failed: Vec<_> = failed.collect();
    json!({
        "seeds": total.runs, "seconds": took.as_secs_f64(),
        "seeds_per_minute": per_minute(total, took),
        "events": total.events, "virtual_seconds": total.virtual_time.as_secs_f64(),
        "time_factor": time_factor(total, took), "faults": counts.faults, "crashes": counts.crashes,
        "failed_logs": counts.failed_logs, "failed_starts": counts.starts_failed,
        "bit_flips": counts.flips, "bit_flips_refused": counts.flips_detected,
        "late_repetitions": counts.repeated, "commits": counts.commits,
        "aborts": counts.aborts, "unknown": counts.unknown, "judged": counts.judged,
        "dependent_votes": counts.dependent_votes,
        "site_checkpoints": counts.site_checkpoints,
        "coordinator_checkpoints": counts.coordinator_checkpoints,
        "lost_batches": counts.batches_lost, "failed": failed,
    })
}

fn per_minute(total: &Total, took: Duration) -> f64 {
    total.runs as f64 * 60.0 / took.as_secs_f64()
}

fn time_factor(total: &Total, took: Duration) -> f64 {
    total.virtual_time.as_secs_f64() / took.as_secs_f64()
}

fn in_words(total: &Total, took: Duration) {
    let counts = &total.counts;
    let (seconds, per_minute) = (took.as_secs_f64(), per_minute(total, took));
    let factor = time_factor(total, took);
    println!(
        "{} seeds in {seconds:.1} s ({per_minute:.0} a minute), {} events, {:.0} s of virtual time ({factor:.0}x)",
        total.runs,
        total.events,
        total.virtual_time.as_secs_f64()
    );
    println!(
        "{} faults ({:.1} a seed): {} crashes, {} failed logs, {} failed starts, {} late repetitions",
        counts.faults,
        counts.faults as f64 / total.runs.max(1) as f64,
        counts.crashes,
        counts.failed_logs,
        counts.starts_failed,
        counts.repeated
    );
    println!(
        "{} flipped bits: {} refused with an error, {} without a meaning",
        counts.flips,
        counts.flips_detected,
        counts.flips - counts.flips_detected
    );
    println!(
        "{} checkpoints of sites, {} of coordinators; {} batches of stores lost by crashes; {} dependent votes",
        counts.site_checkpoints,
        counts.coordinator_checkpoints,
        counts.batches_lost,
        counts.dependent_votes
    );
    println!(
        "{} transactions committed and judged by the checker",
        counts.judged
    );
    println!(
        "clients were told: {} commits, {} aborts, {} unknown",
        counts.commits, counts.aborts, counts.unknown
    );
    println!("failed: {}", total.failed.len());
    for (seed, outcome) in &total.failed {
        if let Some(problem) = &outcome.problem {
            println!("  seed {seed}: {problem}");
        }
    }
}

fn explain(arguments: &Arguments, wish: &Wish, seed: u64, small: &Shrunk) {
    eprintln!("\nThe plan of seed {seed}:\n{}", Plan::draw(seed, wish));
    eprintln!(
        "Made small in {} runs ({}):",
        small.runs,
        small.left_out.join(", ")
    );
    eprintln!("{}", small.plan);
    eprintln!("What happens:");
    for line in &small.outcome.trace {
        eprintln!("{line}");
    }
    if let Some(problem) = &small.outcome.problem {
        eprintln!("\n{problem}");
    }
    let faults: Vec<String> = arguments
        .faults
        .iter()
        .map(|kind| format!("{kind:?}").to_lowercase())
        .collect();
    let mut again = format!("simulate --seeds {seed} --faults {}", faults.join(","));
    for (flag, value) in [("--sites", wish.sites), ("--txns", wish.txns)] {
        if let Some(value) = value {
            again.push_str(&format!(" {flag} {value}"));
        }
    }
    if let Some(bug) = wish.bug {
        again.push_str(&format!(" --bug {bug}"));
    }
    eprintln!("again: {again}");
}
