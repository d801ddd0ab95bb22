//! `chaos`: kills real processes, and asks them for too much.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    chaos::command::run(chaos::command::Cli::parse())
}
