//! `chaos run`: coordinators and sites as real processes with real logs and stores, clients that work all the
//! time, and a nemesis that kills, stops and restarts the servers all the time.
//!
//! At the end everything is started once more, and within a bound nothing may be in doubt, waited for or in
//! flight; then what was acknowledged is compared with what is there ([`ledger`](crate::ledger)), and the checker
//! judges the histories of all lives ([`lives`](crate::lives)).

mod clients;
mod cluster;
mod finale;
mod nemesis;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use participant::engine::EngineKind;
use serde_json::json;
use tokio::time::Instant;

use self::clients::{Shared, Told, Worker};
use self::cluster::Cluster;
pub use self::nemesis::Harm;
use crate::ledger::{Ledger, Tally};
use crate::progress::Progress;
use crate::server;

/// Where sites keep their committed data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Store {
    /// In a store on the disk; logs are cut at checkpoints.
    Fjall,
    /// In memory, above a log that is kept whole.
    Memory,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fjall => "fjall",
            Self::Memory => "memory",
        })
    }
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long servers are killed.
    pub time: Duration,
    /// How many coordinators.
    pub coordinators: usize,
    /// The sites' engines.
    pub sites: Vec<EngineKind>,
    /// Where the sites keep their data.
    pub store: Store,
    /// How many clients.
    pub clients: u64,
    /// What is drawn: who is killed when, and what the clients do.
    pub seed: u64,
    /// Within which time everything must be decided and empty after the last restart.
    pub bound: Duration,
    /// Whether votes keep the commit order. Off, the histories must be found not to be serializable.
    pub ordering: bool,
    /// Where logs, stores and histories are; a folder that is removed afterwards if none is given.
    pub folder: Option<PathBuf>,
    /// Drops an acknowledged transaction from the ledger before the comparison, which must notice.
    pub forget_one: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    harm: Harm,
    tally: Tally,
    told: Told,
    lives: u64,
    emptied: Option<Duration>,
    judged: u64,
    took: Duration,
    seed: u64,
    /// What does not hold.
    pub wrong: Vec<String>,
    kept: Option<PathBuf>,
}

/// Runs it to its end.
///
/// # Errors
/// If servers cannot be started.
pub async fn run(options: &Options) -> Result<Outcome> {
    let held = tempfile::Builder::new().prefix("chaos-run-").tempdir()?;
    let folder = match &options.folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.clone()
        }
        None => held.path().to_path_buf(),
    };
    let mut outcome = run_in(options, &folder).await?;
    if !outcome.wrong.is_empty() && options.folder.is_none() {
        outcome.kept = Some(held.keep());
    }
    Ok(outcome)
}

async fn run_in(options: &Options, folder: &Path) -> Result<Outcome> {
    let started = Instant::now();
    let mut dice = Rng::with_seed(options.seed);
    let mut cluster = Cluster::new(options, folder)?;
    cluster.up().await?;
    let shared = Arc::new(Shared {
        coordinators: cluster.coordinators.clone(),
        sites: cluster.sites.clone(),
        ledger: Mutex::new(Ledger::default()),
        told: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let workers: Vec<_> = (0..options.clients)
        .map(|number| {
            let worker = Worker::new(Arc::clone(&shared), number, dice.fork());
            tokio::spawn(worker.work())
        })
        .collect();
    let end = Instant::now() + options.time;
    let progress = Progress::seconds("servers are killed", options.time);
    let raged = nemesis::rage(&mut cluster, &mut dice, end).await;
    drop(progress);
    shared.stop.store(true, Ordering::Relaxed);
    let mut outcome = Outcome {
        harm: Harm::default(),
        tally: Tally::default(),
        told: Told::default(),
        lives: 0,
        emptied: None,
        judged: 0,
        took: Duration::ZERO,
        seed: options.seed,
        wrong: Vec::new(),
        kept: None,
    };
    match raged {
        Ok(harm) => outcome.harm = harm,
        Err(error) => outcome.wrong.push(format!("{error:#}{}", said(&cluster))),
    }
    for worker in workers {
        let ended = tokio::time::timeout(Duration::from_secs(30), worker).await;
        ended.context("a client does not end")??;
    }
    if outcome.wrong.is_empty()
        && let Err(error) = finish(options, &mut cluster, folder, &shared, &mut outcome).await
    {
        outcome.wrong.push(format!("{error:#}{}", said(&cluster)));
    }
    outcome.told = shared.told.lock().map(|it| it.clone()).unwrap_or_default();
    outcome.tally = shared
        .ledger
        .lock()
        .map(|it| it.tally())
        .unwrap_or_default();
    outcome.lives = cluster.nodes.iter().map(|node| node.lives).sum();
    outcome.took = started.elapsed();
    Ok(outcome)
}

async fn finish(
    options: &Options,
    cluster: &mut Cluster,
    folder: &Path,
    shared: &Shared,
    outcome: &mut Outcome,
) -> Result<()> {
    outcome.emptied = Some(finale::empty(cluster, options.bound).await?);
    let states = finale::state(cluster, options.clients).await?;
    outcome.wrong = finale::compare(shared, &states, options.forget_one);
    cluster.end().await?;
    let report = finale::judge(cluster, folder)?;
    outcome.judged = report.statistics.committed as u64;
    Ok(())
}

/// What the servers have said last.
fn said(cluster: &Cluster) -> String {
    let mut text = String::new();
    for node in &cluster.nodes {
        let file = node.log_file();
        // That links break is what happens all the time.
        let tail = server::tail(&file, 3, "has no link");
        if !tail.is_empty() {
            text.push_str(&format!("\n{}:\n{tail}", file.display()));
        }
    }
    text
}

impl Outcome {
    /// One object, for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "seed": self.seed,
            "seconds": self.took.as_secs_f64(),
            "kills": self.harm.kills(),
            "coordinator_kills": self.harm.coordinator_kills,
            "site_kills": self.harm.site_kills,
            "kills_in_recovery": self.harm.kills_in_recovery,
            "several_at_once": self.harm.massacres,
            "stops": self.harm.stops,
            "lives": self.lives,
            "committed": self.tally.committed,
            "aborted": self.tally.aborted,
            "unanswered_and_committed": self.tally.seen_committed,
            "unanswered_and_aborted": self.tally.seen_aborted,
            "asked_again": self.told.asked_again,
            "failed_early": self.told.failed_early,
            "audits": self.told.audits,
            "empty_after_seconds": self.emptied.map(|it| it.as_secs_f64()),
            "judged": self.judged,
            "wrong": self.wrong,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (harm, tally, told) = (&self.harm, &self.tally, &self.told);
        writeln!(
            f,
            "seed {}: {:.1} s, {} processes killed ({} coordinators, {} sites; {} while they recovered; {} times several \
             at once), {} stopped for a while, {} lives",
            self.seed,
            self.took.as_secs_f64(),
            harm.kills(),
            harm.coordinator_kills,
            harm.site_kills,
            harm.kills_in_recovery,
            harm.massacres,
            harm.stops,
            self.lives
        )?;
        writeln!(
            f,
            "clients were told: {} commits, {} aborts, {} audits; not answered: {} that committed, {} that did not",
            tally.committed, tally.aborted, told.audits, tally.seen_committed, tally.seen_aborted
        )?;
        if let Some(emptied) = self.emptied {
            writeln!(
                f,
                "everything decided and empty {:.1} s after the last restart",
                emptied.as_secs_f64()
            )?;
        }
        if self.judged > 0 {
            writeln!(
                f,
                "the checker judged {} committed transactions: serializable, commitment ordered",
                self.judged
            )?;
        }
        for wrong in &self.wrong {
            writeln!(f, "WRONG: {wrong}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "logs and histories are kept in {}", kept.display())?;
        }
        write!(
            f,
            "{}",
            if self.wrong.is_empty() {
                "held"
            } else {
                "FAILED"
            }
        )
    }
}
