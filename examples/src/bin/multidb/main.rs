//! The multi-database demonstration: sites with different concurrency controls under one
//! coordinator, once with plain two-phase commit and once with ordered votes.
//!
//! Everything is real: a process for each site and one for the coordinator, gRPC between them, database servers if they
//! are asked for, and a checker that knows nothing of the engines. The processes are this program itself, started
//! again with the hidden commands `coco`, `participant` and `adapter`, so one binary is all there is to build.
#![forbid(unsafe_code)]

mod args;
mod client;
mod cluster;
mod database;
mod end_state;
mod figures;
mod invariants;
mod judge;
#[cfg(test)]
mod memory;
mod perform;
mod process;
mod progress;
mod random;
mod remote;
mod report;
mod run;
mod samples;
mod schema;
mod servers;
mod site;
mod tally;
mod workload;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use tempfile::TempDir;

use crate::args::{Args, Options, Process};
use crate::process::Supervisor;
use crate::progress::say;
use crate::report::{Conclusion, Paint};
use crate::run::RunReport;
use crate::servers::Servers;

/// Exit status when the demonstration could not be carried out.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.process {
        Some(Process::Coco(args)) => coco::command::run(args),
        Some(Process::Participant(args)) => participant::command::run(args),
        Some(Process::Adapter(args)) => adapters::command::run(args),
        None => demonstrate(&args.options),
    }
}

fn demonstrate(options: &Options) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("multidb: cannot start: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let status = runtime.block_on(async {
        let supervisor = Supervisor::default();
        // Outlives the processes that write to it, whatever ends them.
        let folder = match Folder::of(options) {
            Ok(folder) => folder,
            Err(error) => {
                say(&format!("multidb: {error:#}"));
                return FAILED;
            }
        };
        let status = tokio::select! {
            ended = all_runs(&supervisor, options, folder.path()) => match ended {
                Ok(conclusion) => conclusion.exit_status(),
                Err(error) => {
                    say(&format!("multidb: {error:#}"));
                    FAILED
                }
            },
            signal = interruption() => {
                say(&format!("multidb: {}; stopping the coordinator and the sites", signal.name));
                signal.exit_status
            }
        };
        // Whatever ended it: what was started has been dropped by now, and must be gone.
        supervisor.all_gone().await;
        status
    });
    // The checker may still compute when a signal came: nobody waits for its result.
    runtime.shutdown_timeout(Duration::ZERO);
    ExitCode::from(status)
}

/// Where logs and histories go.
enum Folder {
    /// Kept.
    Chosen(PathBuf),
    /// Removed when it is dropped.
    Temporary(TempDir),
}

impl Folder {
    fn of(options: &Options) -> anyhow::Result<Self> {
        if let Some(chosen) = &options.data {
            return Ok(Self::Chosen(chosen.clone()));
        }
        let made = tempfile::Builder::new().prefix("multidb-").tempdir();
        made.map(Self::Temporary)
            .context("cannot make a temporary folder: choose a folder with --data")
    }

    fn path(&self) -> &Path {
        match self {
            Self::Chosen(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

async fn all_runs(
    supervisor: &Supervisor,
    options: &Options,
    data: &Path,
) -> anyhow::Result<Conclusion> {
    let paint = Paint::for_stdout();
    let show = |text: String| if options.json { Ok(()) } else { print(&text) };
    show(report::heading(options, paint))?;
    let servers = Servers::start(options.sites()).await?;
    let mut runs: Vec<RunReport> = Vec::new();
    for ordering in options.ordering.runs() {
        let folder = cluster::make_folder(data, *ordering)?;
        let run = run::run(supervisor, options, &servers, *ordering, &folder).await;
        let run =
            run.with_context(|| format!("the run with ordering {} failed", ordering.word()))?;
        show(report::run(&run, paint))?;
        runs.push(run);
    }
    if options.json {
        print(&format!("{:#}\n", report::document(options, &runs)))?;
    } else {
        print(&report::comparison(&runs, paint))?;
    }
    Ok(Conclusion::of(&runs))
}

/// A signal that ends the demonstration.
struct Interruption {
    name: &'static str,
    exit_status: u8,
}

/// Waits for Ctrl-C, or for the request to terminate. The status is the customary one: 128 and the
/// number of the signal.
async fn interruption() -> Interruption {
    let interrupted = Interruption {
        name: "interrupted",
        exit_status: 130,
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return std::future::pending().await;
        };
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => interrupted,
            Some(()) = terminate.recv() => Interruption { name: "terminated", exit_status: 143 },
            else => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    {
        match tokio::signal::ctrl_c().await {
            Ok(()) => interrupted,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Writes to standard output. A reader that has gone, as of `multidb | head`, has seen enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the report")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
