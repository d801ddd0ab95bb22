//! One run: start the processes, fill the sites, let the clients work, wait until all is quiet, look
//! at the end state, stop the processes, and judge what they recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::args::{Options, Ordering};
use crate::client::{Client, Until};
use crate::cluster::{Cluster, ProcessInfo};
use crate::database::{Database, Scope, Stop, Transaction};
use crate::end_state::{EndState, inspect};
use crate::figures::{CoordinatorFigures, SiteFigures};
use crate::judge::{Judgement, Outcome, judge};
use crate::process::Supervisor;
use crate::progress::Progress;
use crate::remote::Remote;
use crate::samples::Sorted;
use crate::schema;
use crate::servers::Servers;
use crate::site::Site;
use crate::tally::{Live, Tally};
use crate::workload::Workload;

/// How long the clients may take to end their last requests.
const FINISH_WITHIN: Duration = Duration::from_secs(30);
/// How long the explanation of a failed client, a dead process, may lag behind it.
const EXPLAIN_WITHIN: Duration = Duration::from_secs(2);

/// All that one run showed.
#[derive(Debug)]
pub(crate) struct RunReport {
    pub(crate) ordering: Ordering,
    pub(crate) processes: Vec<ProcessInfo>,
    pub(crate) elapsed: Duration,
    pub(crate) tally: Tally,
    pub(crate) latencies: Sorted,
    pub(crate) coordinator: CoordinatorFigures,
    pub(crate) sites: Vec<(Site, SiteFigures)>,
    pub(crate) end_state: EndState,
    pub(crate) judgement: Judgement,
    /// Where the histories are kept, if they are.
    pub(crate) kept: Option<PathBuf>,
}

/// What a run amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// Nothing impossible was seen, and the checker found everything in order.
    Clean,
    /// Something impossible was seen, or the checker proved a violation.
    Anomalous,
    /// The histories do not decide the matter.
    Undecided,
}

impl RunReport {
    /// Commits per second, transactions of one site included.
    pub(crate) fn commits_per_second(&self) -> f64 {
        self.tally.commits as f64 / self.elapsed.as_secs_f64()
    }

    /// What the run amounts to.
    pub(crate) fn finding(&self) -> Finding {
        let judged = [
            &self.judgement.serializability,
            &self.judgement.commitment_ordering,
        ];
        let alone = self.judgement.alone.iter().map(|(_, judged)| judged);
        let outcomes: Vec<Outcome> = judged
            .into_iter()
            .chain(alone)
            .map(|judged| judged.outcome)
            .collect();
        if self.tally.impossible > 0
            || !self.end_state.faults.is_empty()
            || outcomes.contains(&Outcome::Invalid)
        {
            Finding::Anomalous
        } else if outcomes.contains(&Outcome::Unknown) {
            Finding::Undecided
        } else {
            Finding::Clean
        }
    }

    /// Whether it showed both: impossible states to committed transactions, and a cycle.
    pub(crate) fn shows_the_gap(&self) -> bool {
        self.tally.impossible > 0 && self.judgement.serializability.outcome == Outcome::Invalid
    }
}

/// Carries out one run in `folder`.
///
/// # Errors
/// When the processes or their files fail; an anomaly is no error.
pub(crate) async fn run(
    supervisor: &Supervisor,
    options: &Options,
    servers: &Servers,
    ordering: Ordering,
    folder: &Path,
) -> anyhow::Result<RunReport> {
    let cluster = Cluster::start(supervisor, options, servers, ordering, folder).await?;
    let processes = cluster.processes();
    let announcement = Progress::announce(ordering, &processes);
    let death = cluster.death();
    let worked = tokio::select! {
        worked = work(&cluster, options, announcement) => worked,
        death = death => return Err(death),
    };
    let worked = match worked {
        Ok(worked) => worked,
        Err(error) => {
            // A client notices first that a site is gone; the reason is what the process said.
            let death = tokio::time::timeout(EXPLAIN_WITHIN, cluster.death()).await;
            return Err(death.unwrap_or(error));
        }
    };
    let histories = cluster.stop().await?;
    let judgement = tokio::task::spawn_blocking(move || judge(&histories))
        .await
        .context("the checker stopped")??;
    let Worked {
        elapsed,
        mut tally,
        coordinator,
        sites,
        end_state,
    } = worked;
    let latencies = std::mem::take(&mut tally.latencies).sorted();
    let kept = options.data.is_some().then(|| folder.to_path_buf());
    Ok(RunReport {
        ordering,
        processes,
        elapsed,
        tally,
        latencies,
        coordinator,
        sites,
        end_state,
        judgement,
        kept,
    })
}

struct Worked {
    elapsed: Duration,
    tally: Tally,
    coordinator: CoordinatorFigures,
    sites: Vec<(Site, SiteFigures)>,
    end_state: EndState,
}

/// The part of a run for which the processes must live.
async fn work(cluster: &Cluster, options: &Options, progress: Progress) -> anyhow::Result<Worked> {
    let workload = Workload::new(options.seed, options.sizes());
    let remote = Arc::new(Remote::connect(&cluster.uri(), options.sites()).await?);
    fill(&*remote, workload).await?;
    let live = Arc::new(Live::default());
    let started = Instant::now();
    let span = Duration::from_secs(u64::from(options.seconds));
    let mut clients: JoinSet<anyhow::Result<Tally>> = (0..options.clients)
        .map(|index| {
            let client = Client {
                database: Arc::clone(&remote),
                workload,
                index,
                started,
                until: Until::time(started + span),
                live: Arc::clone(&live),
            };
            client.run()
        })
        .collect();
    let mut tally = Tally::default();
    let gather = async {
        while let Some(client) = clients.join_next().await {
            tally.merge(client.context("a client stopped")??);
        }
        anyhow::Ok(())
    };
    tokio::select! {
        gathered = tokio::time::timeout(span + FINISH_WITHIN, gather) => {
            gathered.with_context(|| {
                format!("clients still wait for answers {} s after the end", FINISH_WITHIN.as_secs())
            })??;
        }
        () = progress.follow(span, &live) => unreachable!("the progress bar never ends by itself"),
    }
    let elapsed = started.elapsed();
    remote.quiet().await?;
    let end_state = inspect(&*remote, options.sizes(), &tally).await?;
    remote.quiet().await?;
    let (coordinator, sites) = remote.figures().await?;
    Ok(Worked {
        elapsed,
        tally,
        coordinator,
        sites,
        end_state,
    })
}

/// Fills all sites in one transaction.
async fn fill<D: Database>(database: &D, workload: Workload) -> anyhow::Result<()> {
    let attempt = async {
        let mut txn = database.begin(Scope::Global, None).await?;
        for site in workload.sizes().sites.all() {
            txn.execute(site, schema::opening(site, workload.sizes()))
                .await?;
        }
        txn.commit().await
    };
    match attempt.await {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error.context("filling the sites")),
        Err(stop @ (Stop::Aborted(_) | Stop::Unknown(_))) => {
            anyhow::bail!("filling the sites, alone, did not commit: {stop:?}")
        }
    }
}
