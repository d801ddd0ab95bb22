//! The `participant` command as a function, so that another program can be its own participant process:
//! runs one site. What it takes from any command that serves a site is in [`mod@serve`], for engines that are not in
//! this crate.

pub mod serve;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::engine;
use crate::engine::EngineKind;
use crate::storage;
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use coco::command::{InDoubt, Resolve, in_doubt, resolve};
use coco::protocol::VoterConfig;
use coco::service::process::Fatal;

use self::serve::{Opening, Program, SiteArgs};

/// What this command is called, and says.
const PROGRAM: Program = Program {
    name: "participant",
    volatile: "volatile: a restart loses everything (use --data to keep it)",
};

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
    /// The engine: ss2pl, sco, optimistic, mvcc or shared.
    #[arg(long)]
    engine: EngineKind,
    /// Vote before predecessors that have voted are decided, and say what the vote depends on, for transactions
    /// that allow it (`Transaction::commit_dependent`). The engine `shared` can; others give ordinary votes.
    #[arg(long)]
    dependent_votes: bool,
    /// Where committed data is: in memory, or in a store in the data folder, which keeps the log short. With
    /// --data it is fjall unless you say otherwise.
    #[arg(long)]
    store: Option<StoreKind>,
    #[command(flatten)]
    site: SiteArgs,
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

/// Runs the command to its end, on a runtime of its own.
#[must_use]
pub fn run(args: Args) -> ExitCode {
    serve::on_a_runtime(&PROGRAM, async {
        match args.command {
            Command::Serve(args) => serve(*args).await.map(|()| ExitCode::SUCCESS),
            Command::InDoubt(args) => in_doubt(&args).await,
            Command::Resolve(args) => resolve(&args).await,
        }
    })
}

async fn serve(args: Serve) -> Result<(), Fatal> {
    let Serve {
        engine,
        dependent_votes,
        store,
        site,
    } = args;
    let voter = VoterConfig {
        dependent_votes,
        ..VoterConfig::default()
    };
    site.serve(&PROGRAM, voter, move |opening| {
        let Opening {
            name,
            rule,
            recorder,
            data,
        } = opening;
        let storage = storage(&name, data.as_deref(), store)?;
        let options = engine::Options {
            rule,
            recorder,
            storage,
            ..engine::Options::default()
        };
        Ok(engine::open_with(engine, options))
    })
    .await
}

#[cfg_attr(
    not(feature = "fjall-store"),
    expect(unused_variables, reason = "a store in memory has no name")
)]
fn storage(
    name: &str,
    data: Option<&Path>,
    store: Option<StoreKind>,
) -> Result<Arc<dyn storage::Storage>, Fatal> {
    let kind = match (data, store) {
        (None, None) => StoreKind::Memory,
        (_, Some(kind)) => kind,
        (Some(_), None) => StoreKind::DURABLE,
    };
    match (kind, data) {
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
            let store = storage::FjallStore::open(&folder.join("store"), name);
            Ok(Arc::new(store.map_err(Fatal::new)?))
        }
        #[cfg(feature = "fjall-store")]
        (StoreKind::Fjall, None) => Err(Fatal::because(
            "a store on the disk needs a log as well; give a folder with --data",
        )),
    }
}
