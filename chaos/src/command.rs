//! The `chaos` command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use coco::service::process::{Fatal, say, warn};
use participant::engine::EngineKind;

use crate::overload;
use crate::run::{self, Store};
use crate::storm::{self, Bug, Storm};

/// Kills real processes, and asks them for more than they can do.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Examples:
  chaos run --seconds 60                 kill coordinators and sites at random for a minute
  chaos run --seconds 3600 --seed 7      as long as one likes
  chaos storm --kills 10000              kill -9 at speed
  chaos overload --seconds 60            four times the load that can be taken
  chaos run --seconds 20 --ordering off  what the checker makes of plain two-phase commit

Exit status: 0 everything held, 1 it did not, 2 could not start."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Kills, stops and restarts coordinators and sites at random while clients work, then compares and judges.
    Run(Box<RunArgs>),
    /// Kills small whole systems by the thousand, at random moments and at named points of their logs.
    Storm(StormArgs),
    /// Offers several times as much work as can be done, and looks at what is refused, what is slow and what grows.
    Overload(OverloadArgs),
    /// All three, one after the other: what CI runs.
    Ci(CiArgs),
    /// One life in a storm.
    #[command(hide = true)]
    Life(Box<storm::LifeArgs>),
    /// A coordinator, as `coco`.
    #[command(hide = true)]
    Coordinator(Box<coco::command::Args>),
    /// A site, as `participant`.
    #[command(hide = true)]
    Participant(Box<participant::command::Args>),
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  chaos run --seconds 60
  chaos run --seconds 600 --coordinators 3 --sites ss2pl,mvcc --store memory --json")]
struct RunArgs {
    /// For how long servers are killed.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many coordinators.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    coordinators: u8,
    /// The sites' engines.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ss2pl,sco,optimistic,mvcc"
    )]
    sites: Vec<EngineKind>,
    /// Where sites keep their committed data; their logs are files in any case.
    #[arg(long, default_value = "fjall")]
    store: Store,
    /// How many clients work at a time.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// What is drawn: who is killed when, and what the clients do.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Within how many seconds everything must be decided and empty after the last restart.
    #[arg(long, default_value_t = 20)]
    bound: u64,
    /// Whether votes keep the commit order; off, the checker must find that they did not.
    #[arg(long, default_value = "on")]
    ordering: Switch,
    /// Where logs, stores and histories are; by default a folder that is removed afterwards.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Says what came of it in one line of JSON.
    #[arg(long)]
    json: bool,
    /// Drops an acknowledged transaction from the ledger, which the comparison must notice.
    #[arg(long, hide = true)]
    forget_one: bool,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  chaos storm --kills 10000
  chaos storm --kills 1000000 --seconds 3600 --seed 7 --store fjall --folder /var/tmp")]
struct StormArgs {
    /// How many processes are killed.
    #[arg(long, default_value_t = 10_000)]
    kills: u64,
    /// For how long at most.
    #[arg(long)]
    seconds: Option<u64>,
    /// What is drawn: engines, stores, work, and how each life ends.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many systems live and die at the same time; they wait for the disk most of the time.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// How many lives a folder sees before its histories are judged.
    #[arg(long, default_value_t = 60)]
    lives: u64,
    /// Where sites keep their committed data; a quarter of the folders fjall, the others memory, if not said.
    #[arg(long)]
    store: Option<Store>,
    /// Where the logs are; the folder for temporary files if not said.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Says what came of it in one line of JSON.
    #[arg(long)]
    json: bool,
    /// Plants a known bug around the log.
    #[arg(long, hide = true)]
    bug: Option<Bug>,
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  chaos overload --seconds 60
  chaos overload --seconds 10 --factor 8 --clients 64 --limit 128 --json")]
struct OverloadArgs {
    /// For how long more is offered than can be done.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many times as much as can be done.
    #[arg(long, default_value_t = 4.0)]
    factor: f64,
    /// How many clients work at a time when capacity is measured.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How many transactions the servers are told to take at a time (`--max-transactions`).
    #[arg(long, default_value_t = 64)]
    limit: usize,
    /// What is drawn: which accounts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often it is tried as long as all that is wrong is that something took too long.
    #[arg(long, default_value_t = 1)]
    attempts: u32,
    /// Says what came of it in one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "Examples:
  chaos ci
  chaos ci --run-seconds 600 --storm-seconds 900 --overload-seconds 60 --seed 7")]
struct CiArgs {
    /// For how long servers are killed.
    #[arg(long, default_value_t = 60)]
    run_seconds: u64,
    /// For how long small systems are killed.
    #[arg(long, default_value_t = 90)]
    storm_seconds: u64,
    /// For how long more is offered than can be done.
    #[arg(long, default_value_t = 8)]
    overload_seconds: u64,
    /// What is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Says what came of each in one line of JSON.
    #[arg(long)]
    json: bool,
}

impl CiArgs {
    /// Runs all three, even if one fails; the worst exit status.
    fn run(self) -> ExitCode {
        let Self {
            run_seconds,
            storm_seconds,
            overload_seconds,
            seed,
            json,
        } = self;
        let each = [
            format!("run --seconds {run_seconds}"),
            format!("storm --kills 1000000000 --seconds {storm_seconds}"),
            // It is about time, and others may use the machine.
            format!("overload --seconds {overload_seconds} --attempts 3"),
        ];
        let mut worst = 0;
        for one in each {
            let mut line = format!("chaos {one} --seed {seed}");
            if json {
                line.push_str(" --json");
            }
            warn("chaos", &format!("{line} ..."));
            let Ok(cli) = Cli::try_parse_from(line.split_whitespace()) else {
                return ExitCode::from(2);
            };
            worst = worst.max(status(cli));
        }
        ExitCode::from(worst)
    }
}

impl OverloadArgs {
    fn options(&self) -> overload::Options {
        overload::Options {
            time: Duration::from_secs(self.seconds),
            factor: self.factor,
            clients: self.clients,
            limit: self.limit,
            seed: self.seed,
            attempts: self.attempts.max(1),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Runs the command to its end.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Coordinator(args) => coco::command::run(*args),
        Command::Participant(args) => participant::command::run(*args),
        Command::Ci(args) => args.run(),
        Command::Life(_) | Command::Run(_) | Command::Storm(_) | Command::Overload(_) => {
            ExitCode::from(status(cli))
        }
    }
}

/// Runs one of the commands that are not a server's; its exit status.
fn status(cli: Cli) -> u8 {
    match cli.command {
        Command::Life(args) => match storm::live(&args) {
            Ok(()) => 0,
            Err(error) => {
                warn("chaos life", &format!("{error:#}"));
                2
            }
        },
        Command::Storm(args) => {
            let havoc = args.storm().and_then(|storm| storm::storm(&storm));
            let said = havoc.map(|havoc| Said {
                held: havoc.wrong.is_empty(),
                json: havoc.to_json(),
                text: havoc.to_string(),
            });
            finish(args.json, said)
        }
        Command::Overload(args) => in_runtime(args.json, move || async move {
            let outcome = overload::overload(&args.options()).await?;
            Ok(Said {
                held: outcome.held(),
                json: outcome.to_json(),
                text: outcome.to_string(),
            })
        }),
        Command::Run(args) => in_runtime(args.json, move || async move {
            let outcome = run::run(&args.options()).await?;
            Ok(Said {
                held: outcome.wrong.is_empty(),
                json: outcome.to_json(),
                text: outcome.to_string(),
            })
        }),
        Command::Ci(_) | Command::Coordinator(_) | Command::Participant(_) => {
            unreachable!("these are not run by `chaos ci`")
        }
    }
}

impl StormArgs {
    fn storm(&self) -> Result<Storm> {
        Ok(Storm {
            kills: self.kills,
            time: self.seconds.map(Duration::from_secs),
            seed: self.seed,
            jobs: self.jobs,
            lives: self.lives,
            store: self.store,
            folder: self.folder.clone().unwrap_or_else(std::env::temp_dir),
            program: std::env::current_exe()?,
            bug: self.bug,
        })
    }
}

impl RunArgs {
    fn options(&self) -> run::Options {
        run::Options {
            time: Duration::from_secs(self.seconds),
            coordinators: usize::from(self.coordinators),
            sites: self.sites.clone(),
            store: self.store,
            clients: self.clients,
            seed: self.seed,
            bound: Duration::from_secs(self.bound),
            ordering: self.ordering == Switch::On,
            folder: self.folder.clone(),
            forget_one: self.forget_one,
        }
    }
}

/// What is said at the end.
struct Said {
    held: bool,
    json: serde_json::Value,
    text: String,
}

fn in_runtime<F>(json: bool, work: impl FnOnce() -> F) -> u8
where
    F: Future<Output = Result<Said>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let said = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(work()));
    finish(json, said)
}

/// Says what came of it; the exit status.
fn finish(json: bool, said: Result<Said>) -> u8 {
    let done = said.map_err(|error| format!("{error:#}")).and_then(|said| {
        let text = if json {
            said.json.to_string()
        } else {
            said.text
        };
        say(&text).map_err(|error: Fatal| error.to_string())?;
        Ok(said.held)
    });
    match done {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(message) => {
            warn("chaos", &message);
            2
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_the_examples_parse() {
        Cli::command().debug_assert();
        let mut all = vec![Cli::command()];
        let mut examples = 0;
        while let Some(command) = all.pop() {
            all.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string);
            for line in help.iter().flat_map(|help| help.lines()) {
                let Some(line) = line.trim().strip_prefix("chaos ") else {
                    continue;
                };
                let line = line.split("   ").next().unwrap_or(line);
                let words = std::iter::once("chaos").chain(line.split_whitespace());
                let words = words.take_while(|word| *word != "what");
                assert!(Cli::try_parse_from(words).is_ok(), "{line}");
                examples += 1;
            }
        }
        assert!(examples >= 10, "{examples}");
    }
}
