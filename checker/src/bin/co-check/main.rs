//! The `co-check` command: judges the histories in files.
//!
//! Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
#![forbid(unsafe_code)]

mod check;
mod convert;
mod follow;
mod history;
mod levels;
mod output;
mod replay;
mod verify;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::check::CheckArguments;
use crate::convert::ConvertArguments;
use crate::history::HistoryArguments;
use crate::levels::LevelsArguments;
use crate::output::{Failure, STATUS_UNKNOWN};
use crate::verify::VerifyArguments;

/// Judges transaction histories: which consistency models hold, and what excludes the next, in words and pictures.
#[derive(Debug, Parser)]
#[command(name = "co-check", version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: CheckArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge the histories of one or more of our own sites together.
    History(HistoryArguments),
    /// Judge the histories of our own sites while they are written.
    Follow(follow::Arguments),
    /// Write a history in another format.
    Convert(ConvertArguments),
    /// Re-check the order that shows a history valid.
    Verify(VerifyArguments),
    /// List the models, what they imply, and what rules them out.
    Levels(LevelsArguments),
}

const EXAMPLES: &str = "\
Examples:
  co-check history.edn                          the strongest model that holds, and what excludes the next
  co-check history.edn --level serializable     does it hold?
  co-check history.edn --svg cycle.svg          a picture of the gravest cycle
  co-check run.txt.gz --json                    for programs
  co-check a.hist b.hist                        the histories of two of our own sites, together
  co-check follow a.hist b.hist                 the same while they are written
  co-check convert history.edn --into text      into another format
  co-check run.txt --certificate order.json && co-check verify order.json run.txt

Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
Colours appear on a terminal only, and never when NO_COLOR is set.";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // The status below tells the same, should standard error be closed.
            writeln!(io::stderr(), "co-check: {error}").ok();
            ExitCode::from(STATUS_UNKNOWN)
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Some(Command::History(arguments)) => history::run(arguments),
        Some(Command::Follow(arguments)) => follow::run(arguments),
        Some(Command::Convert(arguments)) => convert::run(arguments),
        Some(Command::Verify(arguments)) => verify::run(arguments),
        Some(Command::Levels(arguments)) => levels::run(arguments),
        None if arguments.check.files.is_empty() => {
            let help = Arguments::command().render_help();
            Err(Failure::Usage(format!("which history?\n\n{help}")))
        }
        None => check::run(&arguments.check),
    }
}
