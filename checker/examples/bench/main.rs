//! How long the judges take and how much memory, beside what was aimed at and what other tools need.
//!
//! ```sh
//! cargo run --release -p checker --example bench -- --plot time.svg
//! ```
//!
//! Histories are those of the example `generate`, of transactions of eight operations; the rows that say what keeps
//! transactions apart are of stores that run them beside each other. Reading and judging each is a process of its own, and
//! the fastest of several runs counts. Times are of one thread, but for our own format, which is read by one and replayed
//! by another; memory is the most that was resident
//! (VmHWM in `/proc/self/status`), the history included. A verdict that is not the one that is known ends the bench with status 1;
//! time never does.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table on the output and progress on the error output are what the bench is for"
)]

#[path = "../generate/concurrent.rs"]
mod concurrent;
#[path = "../generate/distribution.rs"]
mod distribution;
#[path = "../generate/planted.rs"]
mod planted;
#[path = "../generate/store.rs"]
mod store;

mod measure;
mod plot;
mod work;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use crate::measure::{Measured, run_child};
use crate::work::{LINES, Line, Work};

/// How long the judges take and how much memory, beside what was aimed at and what other tools need.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Only lines whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Of so many runs of each the fastest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds after which a run is given up.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// One JSON document instead of the table.
    #[arg(long)]
    json: bool,
    /// Also measures each kind from 10^3 transactions up, and draws time against size.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The largest size in the plot.
    #[arg(long, default_value_t = 1_000_000)]
    largest: u32,
    /// Reads and judges one file, and tells what that took: what the bench does in processes of their own.
    #[arg(long, hide = true, requires = "file")]
    child: Option<Work>,
    #[arg(hide = true)]
    file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.child, &arguments.file) {
        (Some(work), Some(file)) => measure::child(work, file).map(|()| true),
        _ => parent(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// One size of one kind, and what it took; `None` if that was too long.
#[derive(Debug)]
struct Point {
    work: Work,
    txns: u32,
    measured: Option<Measured>,
}

type Failure = Box<dyn std::error::Error>;

fn parent(arguments: &Arguments) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let is_asked = |name: &str| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| name.contains(only))
    };
    let mut lines = Vec::new();
    for line in LINES.iter().filter(|line| is_asked(line.name)) {
        let point = measure(arguments, folder.path(), line.work, line.txns)?;
        lines.push((line, point));
    }
    let mut series = Vec::new();
    if arguments.plot.is_some() {
        for work in Work::ALL.iter().filter(|work| is_asked(work.name())) {
            for txns in sizes(arguments.largest) {
                let point = measure(arguments, folder.path(), *work, txns)?;
                let is_last = point.measured.is_none();
                series.push(point);
                if is_last {
                    break;
                }
            }
        }
    }
    if let Some(path) = &arguments.plot {
        std::fs::write(path, plot::draw(&series))?;
    }
    if arguments.json {
        print_json(&lines, &series);
    } else {
        print_table(&lines, &series);
    }
    let all = lines.iter().map(|(_, point)| point).chain(&series);
    let mut wrong = all.filter(|point| {
        let measured = point.measured.as_ref();
        measured.is_some_and(|measured| measured.verdict != point.work.expected())
    });
    Ok(wrong.next().is_none())
}

/// Half decades from a thousand on.
fn sizes(largest: u32) -> impl Iterator<Item = u32> {
    let all = [1000, 3162, 10_000, 31_623, 100_000, 316_228, 1_000_000];
    all.into_iter().filter(move |size| *size <= largest)
}

fn measure(arguments: &Arguments, folder: &Path, work: Work, txns: u32) -> Result<Point, Failure> {
    eprint!("{} {txns}: generating", work.name());
    let file = folder.join("history");
    work.generate(txns, &file)?;
    let mut best: Option<Measured> = None;
    for run in 1..=arguments.runs {
        eprint!("\r\x1b[K{} {txns}: run {run}", work.name());
        std::io::stderr().flush()?;
        let Some(measured) = run_child(work, &file, arguments.limit)? else {
            break;
        };
        if best
            .as_ref()
            .is_none_or(|best| measured.wall() < best.wall())
        {
            best = Some(measured);
        }
    }
    std::fs::remove_file(&file)?;
    eprintln!();
    Ok(Point {
        work,
        txns,
        measured: best,
    })
}

fn print_table(lines: &[(&Line, Point)], series: &[Point]) {
    let columns = "   load  check   wall    cpu   peak";
    println!(
        "{:<34}{columns}  {:<22} best peer measured elsewhere",
        "", "aim"
    );
    for (line, point) in lines {
        let (aim, peer) = (line.aim.to_string(), line.peer);
        match &point.measured {
            None => println!("{:<34}{:>35}  {aim:<22} {peer}", line.name, "gave up"),
            Some(measured) => {
                let aim = format!("{aim} {}", line.aim.says(measured));
                println!("{:<34}{measured}  {aim:<22} {peer}", line.name);
            }
        }
    }
    if !series.is_empty() {
        println!("\n{:<34}{columns}  µs of wall time a transaction", "");
    }
    for point in series {
        let name = format!("{}, {}", point.work.name(), point.txns);
        match &point.measured {
            None => println!("{name:<34}{:>35}", "gave up"),
            Some(measured) => {
                let each = measured.wall() / f64::from(point.txns) * 1e6;
                println!("{name:<34}{measured}  {each:.2}");
            }
        }
    }
}

fn print_json(lines: &[(&Line, Point)], series: &[Point]) {
    let point = |point: &Point| {
        json!({
            "kind": point.work.name(),
            "transactions": point.txns,
            "measured": point.measured.as_ref().map(Measured::to_json),
        })
    };
    let lines: Vec<_> = lines
        .iter()
        .map(|(line, measured)| {
            let holds = measured.measured.as_ref().map(|it| line.aim.is_met(it));
            json!({
                "name": line.name,
                "point": point(measured),
                "aim": { "seconds": line.aim.seconds, "megabytes": line.aim.megabytes, "holds": holds },
                "peer": line.peer,
            })
        })
        .collect();
    let series: Vec<_> = series.iter().map(point).collect();
    println!("{:#}", json!({ "lines": lines, "series": series }));
}
