//! The `participant` command: runs one site.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

/// A resource manager that votes in commit order.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit status: 0 done, 1 left alone (resolve), 2 could not start or finish."
)]
struct Cli {
    #[command(flatten)]
    args: participant::command::Args,
}

fn main() -> ExitCode {
    participant::command::run(Cli::parse().args)
}
