//! Serving one site as a process: the options, the log, the ready line and the end that all such commands share,
//! whatever engine is behind them.
//!
//! ```text
//! options ──► log, history, certificates ──► listening ──► engine ──► recovered ──► ready line ──► told to end ──► drained
//! ```
//!
//! Invariants:
//! - The ready line is printed when clients can begin transactions, and only then; whoever starts such a process may
//!   wait for it.
//! - An error before that is one line on standard error, and exit status 2.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use co_core::VoteRule;
use coco::command::options::{LinkArgs, ServerArgs, reload_on_hangup};
use coco::command::{metered, serve_metrics};
use coco::log::{FileLog, Options, Owner};
use coco::protocol::{CoordinatorId, VoterConfig};
use coco::service::audit::Audit;
use coco::service::metrics::{LogMeter, MetricsServer};
use coco::service::process::{self, Fatal, Stop, StopCause};

use crate::Recorder;
use crate::participant::Participant;
use crate::service::{ParticipantOptions, ParticipantServer, Storage};
use crate::site::CHECKPOINT_BYTES;

/// What a command that serves a site is called, and what it says to whoever gives it no data folder.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name: the ready line and every error begin with it.
    pub name: &'static str,
    /// What a restart loses without a data folder.
    pub volatile: &'static str,
}

/// What every site takes.
#[derive(ClapArgs, Clone, Debug)]
pub struct SiteArgs {
    /// The site's name, unique among the sites of its coordinator.
    #[arg(long)]
    name: String,
    /// The coordinator's address; as ID=URI if its id is not 0, and more than once if the site works for
    /// several.
    #[arg(long = "coordinator", value_name = "[ID=]URI", required = true, value_parser = coordinator)]
    coordinators: Vec<(CoordinatorId, String)>,
    /// Where to listen for clients; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The address that clients are told, if it is not that of --listen.
    #[arg(long, value_name = "URI")]
    advertise: Option<String>,
    /// Whether votes keep the commit order. Off, sites that are serializable each are not so together.
    #[arg(long, default_value = "on")]
    ordering: Ordering,
    /// Folder of the site's log, and of its store if it has one. Without it the site is volatile.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// By how many bytes the log grows between two checkpoints, which need committed data on the disk.
    #[arg(long, value_name = "BYTES", default_value_t = CHECKPOINT_BYTES)]
    checkpoint_bytes: u64,
    /// Write what transactions did to this file, for `co-check`.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How long a transaction's client may be silent.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    idle_timeout_ms: u64,
    /// How long one operation may wait for its locks.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    operation_timeout_ms: u64,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ordering {
    /// A vote waits until what precedes it is decided.
    On,
    /// Plain two-phase commit.
    Off,
}

impl Ordering {
    const fn rule(self) -> VoteRule {
        match self {
            Self::On => VoteRule::Withhold,
            Self::Off => VoteRule::LocalOnly,
        }
    }
}

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The site's name.
    pub name: String,
    /// When its transactions may vote.
    pub rule: VoteRule,
    /// Where they are recorded.
    pub recorder: Recorder,
    /// The folder of the site's log, which is open and locked; a store may have a folder in it.
    pub data: Option<PathBuf>,
}

/// Runs a command to its end, on a runtime of its own that waits for nobody afterwards.
#[must_use]
pub fn on_a_runtime(
    program: &Program,
    command: impl Future<Output = Result<ExitCode, Fatal>>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(command);
            // Whoever is told to end while an engine opens does not wait for it.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Fatal::new(error)),
    };
    result.unwrap_or_else(|fatal| process::exit_code(program.name, Err(fatal)))
}

impl SiteArgs {
    /// The site's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the site has a folder, and so remembers what it has promised.
    #[must_use]
    pub const fn remembers(&self) -> bool {
        self.data.is_some()
    }

    /// Serves the site until the process is told to end. `open` makes the engine, on a thread on which it may block;
    /// `voter` says how the site votes, but for its address and durability, which are filled in.
    ///
    /// # Errors
    /// One line that says what to do, if the site cannot serve, or could not end in good order.
    pub async fn serve(
        self,
        program: &Program,
        voter: VoterConfig,
        open: impl FnOnce(Opening) -> Result<Arc<dyn Participant>, Fatal> + Send + 'static,
    ) -> Result<(), Fatal> {
        self.server.start_log();
        let mut stop = Stop::catch(self.exit_with_parent)?;
        if self.name.is_empty() {
            return Err(Fatal::because(
                "the site needs a name; give one with --name",
            ));
        }
        let options = self.options(voter)?;
        let (log, meter) = self.log(program)?;
        let opening = Opening {
            name: self.name.clone(),
            rule: self.ordering.rule(),
            recorder: self.recorder()?,
            data: self.data.clone(),
        };
        let listener = process::listen(self.listen).await?;
        let start = move || {
            let engine = open(opening)?;
            let kind = engine.engine();
            let server = ParticipantServer::start(options, engine, log, listener);
            Ok::<_, Fatal>((kind, server.map_err(Fatal::new)?))
        };
        let (kind, server) = tokio::select! {
            started = tokio::task::spawn_blocking(start) => started.map_err(Fatal::new)??,
            _ = stop.told() => return Err(Fatal::because("told to end before the site was open")),
        };
        let metrics = self.metrics(&server, meter).await?;
        let metrics_at = metrics.as_ref().map(|metrics| metrics.address());
        self.ready(program, kind, server.address(), metrics_at)?;
        let end = match stop.told().await {
            StopCause::Told => server.drain(self.server.drain()),
            StopCause::ParentGone => server.drain(Duration::ZERO),
        };
        stop.unless_told_again(end).await?.map_err(Fatal::new)
    }

    fn options(&self, voter: VoterConfig) -> Result<ParticipantOptions, Fatal> {
        let front = self.server.front(self.listen)?;
        let credentials = self.link.credentials(&self.server)?;
        reload_on_hangup(front.security.clone(), credentials.clone())?;
        Ok(ParticipantOptions {
            advertise: self.advertise.clone(),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            operation_timeout: Duration::from_millis(self.operation_timeout_ms),
            checkpoint_bytes: self.checkpoint_bytes,
            front,
            credentials,
            audit: self.data.as_deref().map(Audit::in_folder),
            voter,
            on_event: Box::new(|event| tracing::warn!("{event}")),
            coordinators: self.coordinators.iter().cloned().collect(),
            ..ParticipantOptions::new(&self.name, "")
        })
    }

    fn log(&self, program: &Program) -> Result<(Storage, Option<Arc<LogMeter>>), Fatal> {
        let Some(folder) = &self.data else {
            tracing::warn!("{}", program.volatile);
            return Ok((Storage::Volatile, None));
        };
        let owner = Owner::participant(&self.name);
        let (log, records) =
            FileLog::open(folder, &owner, Options::default()).map_err(Fatal::new)?;
        let (log, meter) = metered("coco_site", log);
        Ok((Storage::Durable { log, records }, Some(meter)))
    }

    fn recorder(&self) -> Result<Recorder, Fatal> {
        let Some(path) = &self.history else {
            return Ok(Recorder::off());
        };
        let file = File::create(path).map_err(|error| {
            Fatal::because(format!(
                "cannot write the history {}: {error}",
                path.display()
            ))
        })?;
        // Without a buffer: what a killed process has written down is what its log held, line by line.
        Ok(Recorder::to_writer(&self.name, Box::new(file)))
    }

    async fn metrics(
        &self,
        server: &ParticipantServer,
        meter: Option<Arc<LogMeter>>,
    ) -> Result<Option<MetricsServer>, Fatal> {
        let mut source = server.metrics();
        if let Some(meter) = meter {
            source = source.with_log(meter);
        }
        serve_metrics(self.server.metrics(), move || {
            let source = source.clone();
            async move { source.render() }
        })
        .await
    }

    /// Says that the site serves, and where.
    fn ready(
        &self,
        program: &Program,
        engine: &str,
        address: SocketAddr,
        metrics: Option<SocketAddr>,
    ) -> Result<(), Fatal> {
        if self.json {
            let mut ready = serde_json::json!({
                "site": self.name, "engine": engine, "listening": address.to_string(),
            });
            if let Some(metrics) = metrics {
                ready["metrics"] = metrics.to_string().into();
            }
            return process::say(&ready.to_string());
        }
        process::say(&format!(
            "{} {} ({engine}): listening on {address}",
            program.name, self.name
        ))
    }
}

/// A coordinator's address, with its id if that is not 0.
fn coordinator(text: &str) -> Result<(CoordinatorId, String), String> {
    if text.contains('=') {
        coco::command::named_coordinator(text)
    } else {
        Ok((CoordinatorId(0), text.to_owned()))
    }
}
