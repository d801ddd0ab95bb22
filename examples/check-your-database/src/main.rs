//! Records a workload on SQLite, judges it, and saves the history.
//!
//! ```sh
//! cargo run -p check-your-database
//! cargo run -p check-your-database -- --broken
//! ```
#![forbid(unsafe_code)]
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use check_your_database::{Plan, run, verdict};
use checker::assess::Verdict;
use clap::Parser;

/// Records what threads see of an SQLite database, and judges it.
#[derive(Debug, Parser)]
#[command(
    name = "check-your-database",
    after_help = "Exit status: 0 valid, 1 invalid, 2 undecided or failed."
)]
struct Arguments {
    /// Reads in one transaction and writes in another, as it should not be done.
    #[arg(long)]
    broken: bool,
    /// How many client threads there are.
    #[arg(long, default_value_t = Plan::default().threads, value_parser = clap::value_parser!(u64).range(1..=1000))]
    threads: u64,
    /// How many transactions each of them runs.
    #[arg(long, default_value_t = Plan::default().transactions)]
    transactions: u64,
    /// How many keys there are.
    #[arg(long, default_value_t = Plan::default().keys, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Where the history is saved, for co-check.
    #[arg(long, default_value = "sqlite.observed")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let told = perform(&Arguments::parse()).and_then(|(verdict, text)| {
        say(&text)?;
        Ok(verdict)
    });
    match told {
        Ok(Verdict::Valid) => ExitCode::SUCCESS,
        Ok(Verdict::Invalid) => ExitCode::from(1),
        Ok(Verdict::Unknown) => ExitCode::from(2),
        Err(error) => {
            // The exit status tells it, should standard error be closed.
            writeln!(io::stderr(), "check-your-database: {error:#}").ok();
            ExitCode::from(2)
        }
    }
}

/// Prints; a reader that has gone, as `head` does, has read enough.
fn say(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn perform(arguments: &Arguments) -> anyhow::Result<(Verdict, String)> {
    let plan = Plan {
        threads: arguments.threads,
        transactions: arguments.transactions,
        keys: arguments.keys,
        is_broken: arguments.broken,
    };
    let folder = tempfile::tempdir()?;
    let recorder = run(&folder.path().join("kv.sqlite"), &plan)?;
    recorder.write_to(&arguments.out)?;
    let (verdict, text) = verdict(&recorder.finish());
    let out = arguments.out.display();
    Ok((verdict, format!("{text}\nThe history is in {out}.\n")))
}
