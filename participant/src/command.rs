//! The `participant` command as a function, so that another program can be its own participant process:
//! runs one site.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::Recorder;
use crate::engine::{self, EngineKind};
use crate::service::{ParticipantOptions, ParticipantServer, Storage};
use crate::site::CHECKPOINT_BYTES;
use crate::storage;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use co_core::VoteRule;
use coco::command::options::{LinkArgs, ServerArgs, reload_on_hangup};
use coco::command::{InDoubt, Resolve, in_doubt, metered, resolve, serve_metrics};
use coco::log::{FileLog, Options, Owner};
use coco::protocol::{CoordinatorId, VoterConfig};
use coco::service::audit::Audit;
use coco::service::metrics::LogMeter;
use coco::service::process::{self, Fatal, Stop, StopCause};

/// A resource manager that votes in commit order.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Runs a site until it is told to end (Ctrl-C or SIGTERM).
    #[command(after_help = "Examples:\n  \
        participant serve --name berlin --engine ss2pl --coordinator http://127.0.0.1:7000\n  \
        participant serve --name madrid --engine mvcc --coordinator 127.0.0.1:7000 --data ./madrid \\\n      \
            --history madrid.hist")]
    Serve(Box<Serve>),
    /// Shows what is in doubt at a site, and what was decided there by hand; as `coco in-doubt`.
    InDoubt(InDoubt),
    /// Ends a transaction in doubt at a site by hand; as `coco resolve`.
    Resolve(Resolve),
}

#[derive(ClapArgs, Clone, Debug)]
struct Serve {
    /// The site's name, unique among the sites of its coordinator.
    #[arg(long)]
    name: String,
    /// The engine: ss2pl, sco, optimistic, mvcc or shared.
    #[arg(long)]
    engine: EngineKind,
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
    /// Vote before predecessors that have voted are decided, and say what the vote depends on, for transactions
    /// that allow it (`Transaction::commit_dependent`). The engine `shared` can; others give ordinary votes.
    #[arg(long)]
    dependent_votes: bool,
    /// Folder of the site's log and store. Without it the site is volatile: a restart loses everything.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where committed data is: in memory, or in a store in the data folder, which keeps the log short. With
    /// --data it is fjall unless you say otherwise.
    #[arg(long)]
    store: Option<StoreKind>,
    /// By how many bytes the log grows between two checkpoints, which need a store on the disk.
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

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum StoreKind {
    /// In memory: every start replays the whole log.
    Memory,
    /// In the folder `store` in the data folder.
    #[cfg(feature = "fjall-store")]
    Fjall,
}

impl StoreKind {
    #[cfg(feature = "fjall-store")]
    const DURABLE: Self = Self::Fjall;
    #[cfg(not(feature = "fjall-store"))]
    const DURABLE: Self = Self::Memory;
}

impl Ordering {
    const fn rule(self) -> VoteRule {
        match self {
            Self::On => VoteRule::Withhold,
            Self::Off => VoteRule::LocalOnly,
        }
    }
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
                Command::Serve(args) => serve(*args).await.map(done),
                Command::InDoubt(args) => in_doubt(&args).await,
                Command::Resolve(args) => resolve(&args).await,
            }
        }),
        Err(error) => Err(Fatal::new(error)),
    };
    result.unwrap_or_else(|fatal| process::exit_code("participant", Err(fatal)))
}

async fn serve(args: Serve) -> Result<(), Fatal> {
    args.server.start_log();
    let mut stop = Stop::catch(args.exit_with_parent)?;
    if args.name.is_empty() {
        return Err(Fatal::because(
            "the site needs a name; give one with --name",
        ));
    }
    let front = args.server.front(args.listen)?;
    let credentials = args.link.credentials(&args.server)?;
    reload_on_hangup(front.security.clone(), credentials.clone())?;
    let (log, meter) = log(&args)?;
    let storage = storage(&args)?;
    let audit = args.data.as_deref().map(Audit::in_folder);
    let recorder = recorder(&args)?;
    let listener = process::listen(args.listen).await?;
    let rule = args.ordering.rule();
    let options = ParticipantOptions {
        advertise: args.advertise.clone(),
        idle_timeout: Duration::from_millis(args.idle_timeout_ms),
        operation_timeout: Duration::from_millis(args.operation_timeout_ms),
        checkpoint_bytes: args.checkpoint_bytes,
        front,
        credentials,
        audit,
        voter: VoterConfig {
            dependent_votes: args.dependent_votes,
            ..VoterConfig::default()
        },
        on_event: Box::new(|event| tracing::warn!("{event}")),
        coordinators: args.coordinators.clone().into_iter().collect(),
        ..ParticipantOptions::new(&args.name, "")
    };
    let engine = engine::open_with(
        args.engine,
        engine::Options {
            rule,
            recorder,
            storage,
            ..engine::Options::default()
        },
    );
    let server = ParticipantServer::start(options, engine, log, listener);
    let server = server.map_err(Fatal::new)?;
    let mut source = server.metrics();
    if let Some(meter) = meter {
        source = source.with_log(meter);
    }
    let metrics = serve_metrics(args.server.metrics(), move || {
        let source = source.clone();
        async move { source.render() }
    })
    .await?;
    let metrics = metrics.as_ref().map(|metrics| metrics.address());
    ready(&args, server.address(), metrics)?;
    let end = match stop.told().await {
        StopCause::Told => server.drain(args.server.drain()),
        StopCause::ParentGone => server.drain(Duration::ZERO),
    };
    stop.unless_told_again(end).await?.map_err(Fatal::new)
}

/// Says that the site serves, and where.
fn ready(args: &Serve, address: SocketAddr, metrics: Option<SocketAddr>) -> Result<(), Fatal> {
    let kind = args.engine;
    if args.json {
        let mut ready = serde_json::json!({
            "site": args.name, "engine": kind.name(), "listening": address.to_string(),
        });
        if let Some(metrics) = metrics {
            ready["metrics"] = metrics.to_string().into();
        }
        return process::say(&ready.to_string());
    }
    process::say(&format!(
        "participant {} ({kind}): listening on {address}",
        args.name
    ))
}

/// A coordinator's address, with its id if that is not 0.
fn coordinator(text: &str) -> Result<(CoordinatorId, String), String> {
    if text.contains('=') {
        coco::command::named_coordinator(text)
    } else {
        Ok((CoordinatorId(0), text.to_owned()))
    }
}

fn log(args: &Serve) -> Result<(Storage, Option<Arc<LogMeter>>), Fatal> {
    let Some(folder) = &args.data else {
        tracing::warn!("volatile: a restart loses everything (use --data to keep it)");
        return Ok((Storage::Volatile, None));
    };
    let owner = Owner::participant(&args.name);
    let (log, records) = FileLog::open(folder, &owner, Options::default()).map_err(Fatal::new)?;
    let (log, meter) = metered("coco_site", log);
    Ok((Storage::Durable { log, records }, Some(meter)))
}

fn storage(args: &Serve) -> Result<Arc<dyn storage::Storage>, Fatal> {
    let kind = match (&args.data, args.store) {
        (None, None) => StoreKind::Memory,
        (_, Some(kind)) => kind,
        (Some(_), None) => StoreKind::DURABLE,
    };
    match (kind, &args.data) {
        (StoreKind::Memory, data) => {
            if data.is_some() {
                tracing::warn!(
                    "the store is in memory: the log is kept whole, and every start replays it (use --store fjall)"
                );
            }
            Ok(Arc::new(storage::Memory::new()))
        }
        #[cfg(feature = "fjall-store")]
        (StoreKind::Fjall, Some(folder)) => {
            let store = storage::FjallStore::open(&folder.join("store"), &args.name);
            Ok(Arc::new(store.map_err(Fatal::new)?))
        }
        #[cfg(feature = "fjall-store")]
        (StoreKind::Fjall, None) => Err(Fatal::because(
            "a store on the disk needs a log as well; give a folder with --data",
        )),
    }
}

fn recorder(args: &Serve) -> Result<Recorder, Fatal> {
    let Some(path) = &args.history else {
        return Ok(Recorder::off());
    };
    let file = File::create(path).map_err(|error| {
        Fatal::because(format!(
            "cannot write the history {}: {error}",
            path.display()
        ))
    })?;
    // Without a buffer: what a killed process has written down is what its log held, line by line.
    Ok(Recorder::to_writer(&args.name, Box::new(file)))
}
