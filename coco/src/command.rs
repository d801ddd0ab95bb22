//! The `coco` command as a function, so that another program can be its own coordinator process: runs a
//! coordinator, asks a running one what it does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::log::{FileLog, Options, Owner};
use crate::protocol::{CoordinatorConfig, CoordinatorId, DeadlockPolicy};
use crate::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use crate::service::process::{self, Fatal};
use clap::{Args as ClapArgs, Subcommand};

/// The commit order coordinator.
/// The arguments of the commit order coordinator's command.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Runs a coordinator until it is told to end (Ctrl-C or SIGTERM).
    #[command(after_help = "Examples:\n  \
        coco serve --data /var/lib/coco --listen 127.0.0.1:7000\n  \
        coco serve --data ./coordinator          (a free port, printed when ready)")]
    Serve(Serve),
    /// Shows the sites of a running coordinator and what it has done.
    #[command(after_help = "Examples:\n  \
        coco status --at http://127.0.0.1:7000\n  \
        coco status --at 127.0.0.1:7000 --json")]
    Status(Status),
}

#[derive(ClapArgs, Clone, Debug)]
struct Serve {
    /// Folder of the decision log; made if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Which coordinator, 0 to 255: part of every transaction's name. Coordinators that share a site need
    /// different ones.
    #[arg(long, default_value_t = 0)]
    id: u8,
    /// How long the youngest transaction waits for its votes; older ones wait up to twice as long.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    vote_timeout_ms: u64,
    /// How long a begun transaction is kept whose client says nothing.
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    idle_timeout_ms: u64,
    /// What is done about deadlocks over several sites: search, wound-wait, wait-die or timeouts.
    #[arg(long, value_name = "POLICY", default_value_t = DeadlockPolicy::Search)]
    deadlocks: DeadlockPolicy,
    /// Another coordinator that works for the same sites, as ID=URI (more than once for several): deadlocks
    /// through several coordinators are found together. Without it they end by timeout.
    #[arg(long = "peer", value_name = "ID=URI", value_parser = named_coordinator)]
    peers: Vec<(CoordinatorId, String)>,
    /// End when standard input does: a parent that dies leaves no orphan.
    #[arg(long)]
    exit_with_parent: bool,
    /// Print the ready line as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(ClapArgs, Clone, Debug)]
struct Status {
    /// The coordinator's address.
    #[arg(long, value_name = "URI")]
    at: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command to its end, on a runtime of its own.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match args.command {
                Command::Serve(args) => serve(args).await,
                Command::Status(status) => show(&status).await,
            }
        }),
        Err(error) => Err(Fatal::new(error)),
    };
    process::exit_code("coco", result)
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

async fn serve(args: Serve) -> Result<(), Fatal> {
    let stop = process::stop_signal(args.exit_with_parent)?;
    let owner = Owner::coordinator(&format!("C{}", args.id));
    let (log, records) =
        FileLog::open(&args.data, &owner, Options::default()).map_err(Fatal::new)?;
    let listener = process::listen(args.listen).await?;
    let options = CoordinatorOptions {
        id: CoordinatorId(args.id),
        config: CoordinatorConfig {
            vote_timeout: Duration::from_millis(args.vote_timeout_ms),
            idle_timeout: Duration::from_millis(args.idle_timeout_ms),
            deadlocks: args.deadlocks,
            ..CoordinatorConfig::default()
        },
        peers: args.peers.into_iter().collect(),
        on_event: Box::new(|event| process::warn("coco", event)),
        ..CoordinatorOptions::default()
    };
    let server = CoordinatorServer::start(options, listener, Arc::new(log), &records);
    let server = server.await.map_err(Fatal::new)?;
    let address = server.address();
    if args.json {
        process::say(&serde_json::json!({ "listening": address.to_string() }).to_string())?;
    } else {
        process::say(&format!("coco: listening on {address}"))?;
    }
    stop.await;
    server.shutdown().await.map_err(Fatal::new)
}

async fn show(args: &Status) -> Result<(), Fatal> {
    let client = Client::connect(&args.at).await.map_err(Fatal::new)?;
    let sites = client.sites().await.map_err(Fatal::new)?;
    let statistics = client.statistics().await.map_err(Fatal::new)?;
    let counters = &statistics.counters;
    if args.json {
        let site = |site: &crate::service::coordinator::SiteInfo| {
            serde_json::json!({
                "name": site.name.as_str(),
                "address": site.address,
                "connected": site.connected,
                "incarnation": site.incarnation.0,
            })
        };
        let aborts = counters
            .aborts
            .iter()
            .map(|(cause, &count)| (format!("{cause:?}"), count.into()));
        let report = serde_json::json!({
            "serving": statistics.serving,
            "epoch": statistics.epoch,
            "in_flight": statistics.in_flight,
            "begun": counters.begun,
            "commits": counters.commits,
            "one_phase_commits": counters.one_phase_commits,
            "aborts": serde_json::Map::from_iter(aborts),
            "expired": counters.expired,
            "unknown": counters.unknown,
            "deadlocks_by_search": counters.deadlocks_by_search,
            "deadlocks_by_timeout": counters.deadlocks_by_timeout,
            "reports": counters.reports,
            "resends": counters.resends,
            "sites": sites.iter().map(site).collect::<Vec<_>>(),
        });
        return process::say(&report.to_string());
    }
    let state = if statistics.serving {
        "serving"
    } else {
        "not serving"
    };
    process::say(&format!(
        "{state}, epoch {}; {} in flight, {} begun, {} committed ({} of one site), {} aborted, \
         {} of unknown outcome",
        statistics.epoch,
        statistics.in_flight,
        counters.begun,
        counters.commits,
        counters.one_phase_commits,
        counters.aborts_in_all(),
        counters.unknown,
    ))?;
    for (cause, count) in &counters.aborts {
        process::say(&format!("  aborted for {cause:?}: {count}"))?;
    }
    process::say(&format!(
        "deadlocks over several sites: {} found by search, {} ended by timeout; {} never used",
        counters.deadlocks_by_search, counters.deadlocks_by_timeout, counters.expired,
    ))?;
    for site in sites {
        let state = if site.connected { "connected" } else { "away" };
        process::say(&format!(
            "site {}: {state}, {} (life {})",
            site.name, site.address, site.incarnation.0
        ))?;
    }
    Ok(())
}
