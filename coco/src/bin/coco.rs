//! The `coco` command: runs a coordinator, asks a running one what it does.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

/// The commit order coordinator.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit status: 0 done, 1 left alone (resolve), 2 could not start or could not ask."
)]
struct Cli {
    #[command(flatten)]
    args: coco::command::Args,
}

fn main() -> ExitCode {
    coco::command::run(Cli::parse().args)
}
