//! The `coco` command as a function, so that another program can be its own coordinator process: runs a
//! coordinator, asks a running one what it does.

mod in_doubt;
mod operator;
pub mod options;
mod resolve;
mod serve;
mod status;
pub mod table;

use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

pub use self::in_doubt::{InDoubt, in_doubt};
pub use self::resolve::{Resolve, resolve};
pub use self::serve::{metered, serve_metrics};
use crate::protocol::CoordinatorId;
use crate::service::process::{self, Fatal};

/// The commit order coordinator.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Runs a coordinator until it is told to end (Ctrl-C or SIGTERM).
    #[command(after_help = "Examples:\n  \
        coco serve --data /var/lib/coco --listen 127.0.0.1:7000 --metrics 127.0.0.1:9100\n  \
        coco serve --data /var/lib/coco --listen 0.0.0.0:7000 --tls-cert coco.pem --tls-key coco.key \\\n      \
            --tls-client-ca ca.pem --tokens tokens\n  \
        coco serve --data ./coordinator          (a free port, printed when ready)")]
    Serve(Box<serve::Serve>),
    /// Shows the sites of a running coordinator and what it has done.
    #[command(after_help = "Examples:\n  \
        coco status --at http://127.0.0.1:7000\n  \
        coco status --at 127.0.0.1:7000 --json")]
    Status(status::Status),
    /// Shows which transactions are in doubt at which sites, for how long, and what was decided there by hand.
    #[command(after_help = "Examples:\n  \
        coco in-doubt --at 127.0.0.1:7000\n  \
        coco in-doubt --site 127.0.0.1:7001          (the coordinator is gone)\n  \
        coco in-doubt --at https://coco.example:7000 --tls-ca ca.pem --token-file operator.token --json")]
    InDoubt(InDoubt),
    /// Shows who withholds whose vote until whom is decided, where, and for how long.
    #[command(after_help = "Example:\n  \
        coco withheld --at 127.0.0.1:7000")]
    Withheld(operator::Withheld),
    /// Shows the last decisions, the deadlocks that were broken, and what operators did by hand.
    #[command(after_help = "Example:\n  \
        coco history --at 127.0.0.1:7000 --limit 50")]
    History(operator::History),
    /// Ends a transaction by hand. Goes into the audit file. At its coordinator an undecided one is aborted, and a
    /// decided one left alone: that breaks nothing. At one site, for when the coordinator is gone for good, it may.
    #[command(after_help = "Examples:\n  \
        coco resolve 16777217 --abort --reason 'its client is gone' --at 127.0.0.1:7000\n  \
        coco resolve 16777217 --commit --i-understand --reason 'madrid has committed it' --site 127.0.0.1:7001\n  \
        coco resolve 16777217 --acknowledge --reason 'booked by hand, ticket 12' --site 127.0.0.1:7001\n\n\
        Exit status: 0 done, 1 left alone, 2 could not ask.")]
    Resolve(Resolve),
}

/// Runs the command to its end, on a runtime of its own.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = |()| ExitCode::SUCCESS;
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match args.command {
                Command::Serve(args) => serve::serve(*args).await.map(done),
                Command::Status(args) => status::status(&args).await.map(done),
                Command::InDoubt(args) => in_doubt(&args).await,
                Command::Withheld(args) => operator::withheld(&args).await,
                Command::History(args) => operator::history(&args).await,
                Command::Resolve(args) => resolve(&args).await,
            }
        }),
        Err(error) => Err(Fatal::new(error)),
    };
    result.unwrap_or_else(|fatal| process::exit_code("coco", Err(fatal)))
}

/// Which coordinator, and its address: `ID=URI`.
///
/// # Errors
/// If it is not of that form.
pub fn named_coordinator(text: &str) -> Result<(CoordinatorId, String), String> {
    let parts = text.split_once('=');
    let (id, uri) = parts.ok_or("write it as ID=URI, such as 2=http://127.0.0.1:7002")?;
    let id = id
        .parse()
        .map_err(|_| format!("`{id}` is not a coordinator's id, 0 to 255"))?;
    Ok((CoordinatorId(id), uri.to_owned()))
}
