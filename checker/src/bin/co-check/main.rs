//! The `co-check` command: judges the histories in files.
//!
//! Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
#![forbid(unsafe_code)]

mod history;
mod output;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::history::HistoryArguments;
use crate::output::STATUS_UNKNOWN;

/// Judges transaction histories: serializability and commitment ordering, with a cycle in words.
#[derive(Debug, Parser)]
#[command(name = "co-check", version, about, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge the histories of one or more sites together.
    History(HistoryArguments),
}

const EXIT_STATUS: &str = "Exit status: 0 valid, 1 invalid, 2 unknown or bad input.";

fn main() -> ExitCode {
    let Command::History(arguments) = Arguments::parse().command;
    match history::run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // The status below tells the same, should standard error be closed.
            writeln!(io::stderr(), "co-check: {error}").ok();
            ExitCode::from(STATUS_UNKNOWN)
        }
    }
}
