//! The `adapter` command: runs a site over a database server.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

/// A PostgreSQL or MariaDB server as a site that votes in commit order.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Exit status: 0 done, 1 the server does not fit (check) or was left alone (resolve), \
                  2 could not start or finish."
)]
struct Cli {
    #[command(flatten)]
    args: adapters::command::Args,
}

fn main() -> ExitCode {
    adapters::command::run(Cli::parse().args)
}
