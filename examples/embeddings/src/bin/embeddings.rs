//! Runs the conformance kit on the embeddings and prints the report.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a report on the output and a progress line on the error output are what the program is for"
)]

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use conformance::{Options, Progress, Report};
use embeddings::Embedding;

const EXAMPLES: &str = "\
Examples:
  embeddings                              all three, with the default seed
  embeddings --engine redb --seed 7       one engine, other random schedules
  embeddings --engine fjall --only crash  the cases whose id starts with `crash`
  embeddings --json | jq '.[].passed'     for a program

Exit status: 0 when all cases passed, 1 when one failed, 2 for a wrong argument.";

/// Runs the conformance kit on storage engines that embed co-core.
#[derive(Debug, Parser)]
#[command(name = "embeddings", version, after_help = EXAMPLES)]
struct Arguments {
    /// The engine to run; all of them if not given.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// Only the cases whose id starts with this.
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// The seed of the random schedules.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Random schedules on one thread.
    #[arg(long, default_value_t = 8)]
    rounds: u64,
    /// Transactions in each random schedule.
    #[arg(long, default_value_t = 500)]
    transactions: u64,
    /// Threads of the concurrent run; 0 skips it.
    #[arg(long, default_value_t = 4)]
    threads: u64,
    /// Print the reports as a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Map,
    Redb,
    Fjall,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen = match arguments.engine {
        None => Embedding::ALL.to_vec(),
        Some(Engine::Map) => vec![Embedding::Map],
        Some(Engine::Redb) => vec![Embedding::Redb],
        Some(Engine::Fjall) => vec![Embedding::Fjall],
    };
    let mut reports = Vec::new();
    for embedding in chosen {
        // A folder of its own, removed when the engine is done.
        let folder = tempfile::tempdir().context("cannot make a folder for the stores")?;
        let report = embeddings::run(embedding, folder.path(), options(&arguments));
        if !arguments.json {
            show(&report)?;
        }
        reports.push(report);
    }
    if arguments.json {
        let reports: Vec<_> = reports.iter().map(Report::to_json).collect();
        println!("{:#}", serde_json::Value::from(reports));
    }
    Ok(if reports.iter().all(Report::passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn options(arguments: &Arguments) -> Options {
    let progress = io::stderr().is_terminal();
    Options {
        seed: arguments.seed,
        rounds: arguments.rounds,
        transactions: arguments.transactions,
        threads: arguments.threads,
        only: arguments.only.clone(),
        progress: progress.then(|| Arc::new(tell) as Arc<dyn Fn(&Progress) + Send + Sync>),
        ..Options::default()
    }
}

/// One line that is overwritten; on a terminal only.
fn tell(progress: &Progress) {
    let Progress { done, total, next } = progress;
    match next {
        Some(next) => eprint!("\r\x1b[K{done}/{total} {next}"),
        None => eprint!("\r\x1b[K"),
    }
}

fn show(report: &Report) -> anyhow::Result<()> {
    let quiet = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut output = io::stdout().lock();
    if output.is_terminal() && !quiet {
        writeln!(output, "{}", report.coloured())?;
    } else {
        writeln!(output, "{report}")?;
    }
    Ok(())
}
