//! Runs seeds of the gRPC service under a simulated network, and says which do not hold.
//!
//! Runs of one process take turns, so the seeds are shared out among copies of this program.
#![allow(
    clippy::print_stdout,
    reason = "a command for people prints what it finds"
)]

use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::process::{Child, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::time::Instant;

use clap::Parser;
use turmoil_tests::{Planted, run};

/// Coordinators, sites and clients over real gRPC, under a simulated network, from seeds.
#[derive(Parser)]
#[command(name = "storm")]
struct Args {
    /// Which seeds: `A..B`, or one.
    #[arg(long, default_value = "0..100")]
    seeds: Seeds,
    /// A bug to plant.
    #[arg(long)]
    bug: Option<Planted>,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// How many seeds run at a time; as many as there are cores if nothing is said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Every how-manieth seed this copy runs, from its first on.
    #[arg(long, hide = true)]
    step: Option<usize>,
}

#[derive(Clone)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
        match text.split_once("..") {
            Some((from, to)) => Ok(Self(number(from)?..number(to)?)),
            None => number(text).map(|seed| Self(seed..seed + 1)),
        }
    }
}

/// What some seeds came to.
#[derive(Clone, Copy, Default)]
struct Totals {
    seeds: u64,
    failed: u64,
    commits: u64,
    aborts: u64,
    unknown: u64,
    faults: u64,
    crashes: u64,
    virtual_ms: u64,
}

impl Totals {
    const fn fields(&mut self) -> [&mut u64; 8] {
        [
            &mut self.seeds,
            &mut self.failed,
            &mut self.commits,
            &mut self.aborts,
            &mut self.unknown,
            &mut self.faults,
            &mut self.crashes,
            &mut self.virtual_ms,
        ]
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(cores).max(1);
    let mut totals = match args.step {
        Some(step) => share(&args, step),
        None if jobs == 1 || args.trace => share(&args, 1),
        None => all(&args, jobs),
    };
    if args.step.is_some() {
        let numbers = totals.fields().map(|field| field.to_string());
        println!("totals {}", numbers.join(" "));
        return ExitCode::SUCCESS;
    }
    println!(
        "{} seeds in {:.1} s: {} failed, {} faults, {} crashes, {} commits, {} aborts, {} times \
         unknown, {} s of virtual time",
        totals.seeds,
        started.elapsed().as_secs_f64(),
        totals.failed,
        totals.faults,
        totals.crashes,
        totals.commits,
        totals.aborts,
        totals.unknown,
        totals.virtual_ms / 1000
    );
    ExitCode::from(u8::from(totals.failed > 0))
}

/// Runs seeds one after the other.
fn share(args: &Args, step: usize) -> Totals {
    let mut totals = Totals::default();
    for seed in args.seeds.0.clone().step_by(step) {
        let outcome = run(seed, args.bug, args.trace);
        for line in &outcome.trace {
            println!("{line}");
        }
        if let Some(problem) = &outcome.problem {
            println!("seed {seed}: {problem}");
        }
        let virtual_ms = u64::try_from(outcome.time.as_millis()).unwrap_or(u64::MAX);
        let one = [
            1,
            u64::from(outcome.problem.is_some()),
            outcome.commits,
            outcome.aborts,
            outcome.unknown,
            u64::from(outcome.faults),
            u64::from(outcome.crashes),
            virtual_ms,
        ];
        totals
            .fields()
            .into_iter()
            .zip(one)
            .for_each(|(sum, one)| *sum += one);
    }
    totals
}

/// Has copies of this program run them.
fn all(args: &Args, jobs: usize) -> Totals {
    let mut totals = Totals::default();
    let children: Vec<Child> = (0..jobs as u64)
        .map(|first| {
            let seeds = format!("{}..{}", args.seeds.0.start + first, args.seeds.0.end);
            let program = std::env::current_exe().expect("this program has a path");
            let mut command = Command::new(program);
            command.args(["--seeds", &seeds, "--step", &jobs.to_string()]);
            if let Some(bug) = args.bug {
                command.args(["--bug", bug.name()]);
            }
            let child = command.stdout(Stdio::piped()).spawn();
            child.expect("this program can be started again")
        })
        .collect();
    for mut child in children {
        let output = child.stdout.take().expect("its output is a pipe");
        let mut counted = false;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            match line.strip_prefix("totals ") {
                None => println!("{line}"),
                Some(numbers) => {
                    counted = true;
                    let numbers = numbers.split(' ').filter_map(|it| it.parse::<u64>().ok());
                    let sums = totals.fields().into_iter();
                    sums.zip(numbers).for_each(|(sum, one)| *sum += one);
                }
            }
        }
        let ended = child.wait();
        if !counted || !ended.is_ok_and(|status| status.success()) {
            println!("a copy of this program died");
            totals.failed += 1;
        }
    }
    totals
}
