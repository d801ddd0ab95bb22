//! Records a workload on SQLite, judges it, and saves the history.
//!
//! ```sh
//! cargo run -p check-your-database
//! cargo run -p check-your-database -- --broken
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "the verdict is what the program is for"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use check_your_database::{Plan, run, verdict};
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
    match perform(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            println!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(arguments: &Arguments) -> anyhow::Result<bool> {
    let plan = Plan {
        threads: arguments.threads,
        transactions: arguments.transactions,
        keys: arguments.keys,
        is_broken: arguments.broken,
    };
    let folder = tempfile::tempdir()?;
    let recorder = run(&folder.path().join("kv.sqlite"), &plan)?;
    recorder.write_to(&arguments.out)?;
    let (is_valid, text) = verdict(&recorder.finish())?;
    print!("{text}");
    println!("The history is in {}.", arguments.out.display());
    Ok(is_valid)
}
