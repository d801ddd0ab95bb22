//! What a commit over gRPC costs, against what it cannot do without: the messages of the same transport and the
//! forced writes of the same disk, measured in the same run.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to its user"
)]

mod bare;
mod cluster;
mod disk;
mod figures;
mod idle;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use crate::cluster::{Setting, Work};
use crate::figures::Load;
use crate::report::{Line, Report};

/// Two-site commits a second and their latency, against the bare transport and the bare disk.
#[derive(Parser, Debug)]
#[command(
    after_help = "Examples:\n  cargo run --release -p service-bench --bin commits\n  \
    cargo run --release -p service-bench --bin commits -- --seconds 10 --folder /var/tmp --json\n\n\
    Exits with 1 when a run is not serializable and commitment ordered, or fails."
)]
struct Arguments {
    /// Seconds for each measurement.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How many transactions are on their way, one run each; may be repeated.
    #[arg(long, default_values_t = [1, 256])]
    in_flight: Vec<usize>,
    /// Whether everything that has to be forced to the disk is: one run each; may be repeated.
    #[arg(long, value_enum, default_values = ["none", "forced"])]
    disk: Vec<Disk>,
    /// Microseconds that each caller of coco rests between two transactions. Without a rest a lone commit meets the
    /// forced writes that the one before left behind.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
    /// Where the logs are written: the disk that is measured. The system's folder for temporary files otherwise.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Only the measurements whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// One JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Disk {
    /// Logs that forget everything.
    None,
    /// Logs in files, synced before anybody relies on them.
    Forced,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(report) => {
            if arguments.json {
                println!("{}", report.to_json());
            } else {
                print!("{report}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("commits: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured: each in a fresh runtime of two threads, so that none leaves work to the next.
fn measure(arguments: &Arguments) -> Result<Report> {
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let span = Duration::from_secs_f64(arguments.seconds);
    let load = |in_flight| Load {
        in_flight,
        warm_up: span / 5,
        span,
        pause: Duration::from_micros(arguments.pause_us),
    };
    let wanted = |name: &str| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| name.contains(only))
    };
    let mut report = Report::new();
    for (name, others) in [("forced write", 0), ("forced write beside another", 1)] {
        if wanted(name) {
            report.disk(name, disk::forced_writes(folder.path(), others, span)?);
        }
    }
    for &in_flight in &arguments.in_flight {
        for name in ["echo", "bare two-phase commit"] {
            if wanted(name) {
                let load = load(in_flight);
                let figures = on_two_threads(async move {
                    if name == "echo" {
                        bare::echo(load).await
                    } else {
                        bare::two_phase_commit(load).await
                    }
                })?;
                report.add(Line::bare(name, in_flight, figures));
            }
        }
        for (name, work) in [
            ("protocol", Work::Protocol),
            ("engines", Work::Engines),
            ("clients", Work::Clients),
        ] {
            for disk in &arguments.disk {
                let durable = *disk == Disk::Forced;
                if !wanted(name) {
                    continue;
                }
                let setting = |judged| Setting {
                    work,
                    durable,
                    judged,
                };
                let path = folder.path().to_owned();
                let (path, load) = (path.as_path(), load(in_flight));
                if work != Work::Protocol {
                    let short = Load {
                        span: span / 10,
                        ..load
                    };
                    on_two_threads(cluster::run(setting(true), short, path))?;
                }
                let measured = on_two_threads(cluster::run(setting(false), load, path))?;
                report.add(Line::coco(name, in_flight, durable, measured));
            }
        }
    }
    Ok(report)
}

fn on_two_threads<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(in_flight: usize) -> Load {
        Load {
            in_flight,
            warm_up: Duration::ZERO,
            span: Duration::from_millis(300),
            pause: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_measured_commits_and_is_judged() {
        let folder = tempfile::tempdir().unwrap();
        for work in [Work::Engines, Work::Clients] {
            for durable in [false, true] {
                let setting = Setting {
                    work,
                    durable,
                    judged: true,
                };
                let ran = on_two_threads(cluster::run(setting, load(16), folder.path())).unwrap();
                assert!(ran.commits > 16, "{setting:?}: {}", ran.commits);
            }
        }
    }

    #[test]
    fn what_it_is_compared_with_runs() {
        let folder = tempfile::tempdir().unwrap();
        let span = Duration::from_millis(100);
        assert!(
            !disk::forced_writes(folder.path(), 1, span)
                .unwrap()
                .is_empty()
        );
        for load in [load(1), load(64)] {
            assert!(on_two_threads(bare::echo(load)).unwrap().per_second() > 0.0);
            let bare = on_two_threads(bare::two_phase_commit(load)).unwrap();
            assert!(bare.per_second() > 0.0);
        }
    }

    #[test]
    fn many_commits_share_a_forced_write() {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting {
            work: Work::Protocol,
            durable: true,
            judged: false,
        };
        let ran = on_two_threads(cluster::run(setting, load(256), folder.path())).unwrap();
        let shared = |syncs: u64, logs: u64| ran.commits * logs / syncs;
        let (coordinator, site) = (shared(ran.coordinator_syncs, 1), shared(ran.site_syncs, 2));
        assert!(
            coordinator >= 20 && site >= 20,
            "{coordinator} and {site} commits for each forced write"
        );
    }
}
