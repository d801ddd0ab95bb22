//! `coco serve`: runs a coordinator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::options::{LinkArgs, ServerArgs, reload_on_hangup};
use crate::log::{FileLog, Log, Options, Owner};
use crate::protocol::{CoordinatorConfig, CoordinatorId, DeadlockPolicy};
use crate::service::audit::Audit;
use crate::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use crate::service::metrics::{LogMeter, MeteredLog, MetricsServer};
use crate::service::process::{self, Fatal, Stop, StopCause};

#[derive(ClapArgs, Clone, Debug)]
pub(super) struct Serve {
    /// Folder of the decision log and the audit file; made if it is not there.
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
    #[arg(long = "peer", value_name = "ID=URI", value_parser = super::named_coordinator)]
    peers: Vec<(CoordinatorId, String)>,
    /// End when standard input does: a parent that dies leaves no orphan.
    #[arg(long)]
    exit_with_parent: bool,
    /// Print the ready line as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    link: LinkArgs,
}

pub(super) async fn serve(args: Serve) -> Result<(), Fatal> {
    args.server.start_log();
    let mut stop = Stop::catch(args.exit_with_parent)?;
    let front = args.server.front(args.listen)?;
    let peer_credentials = args.link.credentials(&args.server)?;
    reload_on_hangup(front.security.clone(), peer_credentials.clone())?;
    let owner = Owner::coordinator(&format!("C{}", args.id));
    let (log, records) =
        FileLog::open(&args.data, &owner, Options::default()).map_err(Fatal::new)?;
    let (log, meter) = metered("coco", log);
    let listener = process::listen(args.listen).await?;
    let config = CoordinatorConfig {
        vote_timeout: Duration::from_millis(args.vote_timeout_ms),
        idle_timeout: Duration::from_millis(args.idle_timeout_ms),
        deadlocks: args.deadlocks,
        max_in_flight: front.limits.transactions,
        ..CoordinatorConfig::default()
    };
    let options = CoordinatorOptions {
        id: CoordinatorId(args.id),
        config,
        front,
        audit: Some(Audit::in_folder(&args.data)),
        peers: args.peers.into_iter().collect(),
        peer_credentials,
        on_event: Box::new(|event| tracing::warn!("{event}")),
        ..CoordinatorOptions::default()
    };
    let server = CoordinatorServer::start(options, listener, log, &records);
    let server = server.await.map_err(Fatal::new)?;
    let source = server.metrics().with_log(meter);
    let metrics = serve_metrics(args.server.metrics(), move || {
        let source = source.clone();
        async move { source.render().await }
    })
    .await?;
    let address = server.address();
    if args.json {
        let metrics = metrics.as_ref().map(|it| it.address().to_string());
        let mut ready = serde_json::json!({ "listening": address.to_string() });
        if let Some(metrics) = metrics {
            ready["metrics"] = metrics.into();
        }
        process::say(&ready.to_string())?;
    } else {
        process::say(&format!("coco: listening on {address}"))?;
    }
    let end = match stop.told().await {
        StopCause::Told => server.drain(args.server.drain()),
        StopCause::ParentGone => server.drain(Duration::ZERO),
    };
    stop.unless_told_again(end).await?.map_err(Fatal::new)
}

/// A log that is watched for metrics whose names begin with `prefix`.
#[must_use]
pub fn metered(prefix: &str, log: FileLog) -> (Arc<dyn Log>, Arc<LogMeter>) {
    let log = Arc::new(log);
    // The meter must not keep the log, and with it the folder, from being closed.
    let watched = Arc::downgrade(&log);
    let syncs = move || watched.upgrade().map_or(0, |log| log.stats().syncs);
    let meter = LogMeter::new(prefix, syncs);
    (Arc::new(MeteredLog::new(log, Arc::clone(&meter))), meter)
}

/// Serves metrics if an address is given, and logs where.
///
/// # Errors
/// If the port is taken.
pub async fn serve_metrics<F, G>(
    address: Option<SocketAddr>,
    gather: F,
) -> Result<Option<MetricsServer>, Fatal>
where
    F: Fn() -> G + Send + Sync + 'static,
    G: Future<Output = String> + Send + 'static,
{
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = process::listen(address).await?;
    let server = MetricsServer::start(listener, gather).map_err(Fatal::new)?;
    tracing::info!("metrics at http://{}/metrics", server.address());
    Ok(Some(server))
}
