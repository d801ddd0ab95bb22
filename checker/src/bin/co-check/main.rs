//! The `co-check` command: judges the histories in files.
//!
//! Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
#![forbid(unsafe_code)]

mod advise;
mod answer;
mod check;
mod convert;
mod explain;
mod follow;
mod formats;
mod history;
mod input;
mod levels;
mod output;
mod replay;
mod spec;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::advise::AdviseArguments;
use crate::check::CheckArguments;
use crate::convert::ConvertArguments;
use crate::explain::ExplainArguments;
use crate::formats::FormatsArguments;
use crate::history::HistoryArguments;
use crate::levels::LevelsArguments;
use crate::output::{Failure, STATUS_UNKNOWN, failure_json, note, write_to};
use crate::verify::VerifyArguments;

/// What the command is told.
#[derive(Debug, Parser)]
#[command(
    name = "co-check",
    version,
    about = ABOUT,
    long_about = ABOUT,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: CheckArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge the histories of one or more sites together
    ///
    /// A site is a database under the coordinator of this project; its
    /// history (`co-history`) has versions and the order of decisions.
    /// Histories of other databases are not of this kind.
    #[command(verbatim_doc_comment)]
    History(HistoryArguments),
    /// Judge the histories of sites while they are written
    Follow(follow::Arguments),
    /// Write a history in another format
    Convert(ConvertArguments),
    /// Re-check the order that shows a history valid
    Verify(VerifyArguments),
    /// List the models: what they say and imply, what rules them out
    Levels(LevelsArguments),
    /// Which specifications need coordination, by search
    Spec(spec::Arguments),
    /// Explain a model, an anomaly or a level in a few sentences
    Explain(ExplainArguments),
    /// List the formats that are read, and what they take for what
    Formats(FormatsArguments),
    /// Advise which transactions of an application have to coordinate
    Advise(AdviseArguments),
}

impl Arguments {
    /// Whether a program reads the answer.
    fn wants_json(&self) -> bool {
        match &self.command {
            Some(Command::History(arguments)) => arguments.json,
            Some(Command::Follow(arguments)) => arguments.json,
            Some(Command::Spec(arguments)) => arguments.wants_json(),
            Some(Command::Advise(arguments)) => arguments.json,
            Some(
                Command::Convert(_)
                | Command::Verify(_)
                | Command::Levels(_)
                | Command::Explain(_)
                | Command::Formats(_),
            ) => false,
            None => self.check.json,
        }
    }
}

const ABOUT: &str = "\
Judges transaction histories: which consistency models hold, and what excludes
the next, in words and pictures.";

const EXAMPLES: &str = "\
Examples:
  co-check history.edn           the strongest model that holds, and what
                                 excludes the next
  co-check history.edn --level serializable
                                 does it hold?
  co-check history.edn --svg cycle.svg
                                 a picture of the gravest cycle
  co-check run.txt.gz --json     for programs
  co-check a.hist b.hist         the histories of two sites, together
  co-check follow a.hist b.hist  the same while they are written
  co-check explain G-single      what it is, what it rules out, its source
  co-check formats               what is read
  co-check spec table            which specifications need coordination
  co-check convert history.edn --into text
                                 into another format
  co-check advise app.toml       which transactions have to coordinate

Exit status: 0 valid, 1 invalid, 2 unknown or bad input.
Colours appear on a terminal only, and never when NO_COLOR is set.";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ExitCode::from(usage(&error)),
    };
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if arguments.wants_json() {
                // The status below tells the same, should standard output be closed.
                write_to(Path::new("-"), &format!("{}\n", failure_json(&failure))).ok();
            }
            note(&failure.to_string());
            ExitCode::from(STATUS_UNKNOWN)
        }
    }
}

/// Help that was asked for, or why the arguments cannot be taken.
fn usage(error: &clap::Error) -> u8 {
    let status = u8::try_from(error.exit_code()).unwrap_or(STATUS_UNKNOWN);
    match error.print() {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            note(&output::not_written(Path::new("-"), source).to_string());
            STATUS_UNKNOWN
        }
        Ok(()) | Err(_) => status,
    }
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.command {
        Some(Command::History(arguments)) => history::run(arguments),
        Some(Command::Follow(arguments)) => follow::run(arguments),
        Some(Command::Convert(arguments)) => convert::run(arguments),
        Some(Command::Verify(arguments)) => verify::run(arguments),
        Some(Command::Levels(arguments)) => levels::run(arguments),
        Some(Command::Spec(arguments)) => spec::run(arguments),
        Some(Command::Explain(arguments)) => explain::run(arguments),
        Some(Command::Formats(arguments)) => formats::run(arguments),
        Some(Command::Advise(arguments)) => advise::run(arguments),
        None if arguments.check.files.is_empty() => {
            let help = Arguments::command().render_help();
            Err(Failure::Usage(format!("which history?\n\n{help}")))
        }
        None => check::run(&arguments.check),
    }
}
