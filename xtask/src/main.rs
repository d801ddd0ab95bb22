//! The workspace's own commands: everything that CI runs.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

mod databases;
mod fuzz;
mod limit;
mod mutants;
mod steps;
mod tidy;

use std::process::{Command, ExitCode};

const HELP: &str = "\
The workspace's own commands.

Usage: cargo xtask <COMMAND> [STEP...]

Commands:
  test [STEP...]   everything that CI runs, or only the named steps
  steps            list the steps of `test`
  mutants          seed each known bug into co-core and demand that a loom model finds it
  fuzz [--seconds N] [TARGET...]
                   the fuzz targets under libFuzzer, a minute each (needs cargo-fuzz)
  databases up|down|status
                   private PostgreSQL and MariaDB servers, two of each, for tests and demonstrations
  tidy             the checks on text and dependencies alone

Examples:
  cargo xtask test               all of it, as CI does
  cargo xtask test fmt clippy    a quick look before a commit
  cargo xtask test loom          the loom models alone
  cargo xtask test power-loss    a million power losses over the log alone
  cargo xtask test shuttle       random schedules of many threads alone
  cargo xtask databases up       start the servers, and say how to reach them
";

/// The cargo that has started this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    let done = match command.as_str() {
        "test" | "ci" => steps::run(rest),
        "steps" => {
            steps::list();
            Ok(())
        }
        "mutants" => mutants::run(),
        "fuzz" => fuzz::run(rest),
        "databases" => databases::run(rest),
        "tidy" => tidy::run(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!(
            "no command `{other}`; `cargo xtask help` lists them"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
