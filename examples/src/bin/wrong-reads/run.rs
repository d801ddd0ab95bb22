//! All cells of the table: every variant at every setting, in rounds, so that a slow minute of the machine hits all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use databases::{Product, Server, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::args::{Args, Duo};
use crate::client::{Goal, Seen, Worker, fill};
use crate::cluster::{Cluster, Judged, judge};
use crate::random::Random;
use crate::variant::Variant;

/// One cell: the sum of its rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) sites: String,
    pub(crate) pairs: u32,
    pub(crate) clients: usize,
    pub(crate) variant: &'static str,
    pub(crate) ordered: bool,
    /// Of the best round.
    pub(crate) commits_per_second: f64,
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    pub(crate) wrong_reads: u64,
    pub(crate) unknown: u64,
    pub(crate) median_ms: f64,
    /// What the checker says of the worst round.
    pub(crate) judged: Judged,
}

impl Cell {
    /// Aborts in a hundred attempts.
    pub(crate) fn abort_percent(&self) -> f64 {
        percent(self.aborts, self.aborts + self.commits)
    }

    /// Wrong reads in a hundred commits.
    pub(crate) fn wrong_percent(&self) -> f64 {
        percent(self.wrong_reads, self.commits)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) fsync: bool,
    pub(crate) cells: Vec<Cell>,
}

impl Measured {
    /// Cells of ordered variants that were wrong all the same.
    pub(crate) fn broken(&self) -> impl Iterator<Item = &Cell> {
        let wrong = |cell: &&Cell| cell.wrong_reads > 0 || cell.judged != Judged::Valid;
        self.cells.iter().filter(|cell| cell.ordered).filter(wrong)
    }
}

/// Two servers of each product that is needed.
struct Servers(Vec<Server>);

impl Servers {
    fn start(args: &Args) -> anyhow::Result<Self> {
        const FORCED: Settings<'static> = &[("fsync", "on")];
        const NOT_FORCED: Settings<'static> = &[("fsync", "off")];
        const MARIADB_NOT_FORCED: Settings<'static> = &[("innodb_flush_method", "nosync")];
        let mut servers = Vec::new();
        for product in [Product::Postgres, Product::MariaDb] {
            let count = |duo: &Duo| duo.0.iter().filter(|&&it| it == product).count();
            let settings = match (product, args.no_fsync) {
                (Product::Postgres, false) => FORCED,
                (Product::Postgres, true) => NOT_FORCED,
                (Product::MariaDb, false) => &[],
                (Product::MariaDb, true) => MARIADB_NOT_FORCED,
            };
            for _ in 0..args.sites.iter().map(count).max().unwrap_or(0) {
                servers.push(Server::private(product, settings)?);
            }
        }
        Ok(Self(servers))
    }

    fn pair(&self, duo: Duo) -> [&Server; 2] {
        let mut of_second = self.of(duo.0[1]);
        let first = self.of(duo.0[0]).next().expect("started above");
        let second = if duo.0[0] == duo.0[1] {
            of_second.nth(1)
        } else {
            of_second.next()
        };
        [first, second.expect("started above")]
    }

    fn of(&self, product: Product) -> impl Iterator<Item = &Server> {
        self.0
            .iter()
            .filter(move |server| server.product() == product)
    }
}

/// Runs everything.
///
/// # Errors
/// If a server does not start, something fails, or the checker cannot read what was recorded.
pub(crate) fn all(args: &Args, runtime: &Runtime) -> anyhow::Result<Measured> {
    let servers = Servers::start(args)?;
    let mut cells = Vec::new();
    let settings = args.sites.iter().flat_map(|duo| {
        let pairs = args.pairs.iter();
        pairs.flat_map(move |pairs| {
            args.clients
                .iter()
                .map(move |clients| (*duo, *pairs, *clients))
        })
    });
    let settings: Vec<_> = settings.collect();
    let runs = settings.len() * args.rounds * args.variants.len();
    let bar = progress(runs);
    for (at, (duo, pairs, clients)) in settings.into_iter().enumerate() {
        let mut sums: Vec<Option<Cell>> = vec![None; args.variants.len()];
        for round in 0..args.rounds {
            for (number, (variant, sum)) in args.variants.iter().zip(&mut sums).enumerate() {
                if duo.0.into_iter().any(|product| !variant.is_there(product)) {
                    bar.inc(1);
                    continue;
                }
                bar.set_message(format!("{duo} {pairs} pairs {clients} clients {variant:?}"));
                let load = Load {
                    duo,
                    pairs,
                    clients,
                    variant: *variant,
                    schema: format!("cell_{at}_{round}_{number}"),
                };
                let cell = load.run(args, &servers, runtime);
                let cell = cell.with_context(|| format!("{duo}, {pairs} pairs, {variant:?}"))?;
                add(sum, cell);
                bar.inc(1);
            }
        }
        cells.extend(sums.into_iter().flatten());
    }
    bar.finish_and_clear();
    Ok(Measured {
        fsync: !args.no_fsync,
        cells,
    })
}

fn progress(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}")
        .expect("the template is well formed")
        .progress_chars("=> ");
    bar.set_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn add(sum: &mut Option<Cell>, cell: Cell) {
    let Some(sum) = sum else {
        *sum = Some(cell);
        return;
    };
    if cell.commits_per_second > sum.commits_per_second {
        sum.commits_per_second = cell.commits_per_second;
        sum.median_ms = cell.median_ms;
    }
    sum.commits += cell.commits;
    sum.aborts += cell.aborts;
    sum.wrong_reads += cell.wrong_reads;
    sum.unknown += cell.unknown;
    if cell.judged != Judged::Valid {
        sum.judged = cell.judged;
    }
}

/// One run of one cell.
struct Load {
    duo: Duo,
    pairs: u32,
    clients: usize,
    variant: Variant,
    schema: String,
}

impl Load {
    fn run(&self, args: &Args, servers: &Servers, runtime: &Runtime) -> anyhow::Result<Cell> {
        let folder = tempfile::tempdir()?;
        let _entered = runtime.enter();
        let cluster = runtime.block_on(Cluster::start(
            self.variant,
            servers.pair(self.duo),
            &self.schema,
            folder.path(),
        ))?;
        let client = cluster.client.clone();
        let (seen, took) = runtime.block_on(async {
            fill(&client, self.pairs, self.variant.declares()).await?;
            self.load(args, &client).await
        })?;
        let histories = runtime.block_on(cluster.stop())?;
        let mut products = self.duo.0.into_iter();
        let judged = if products.all(|product| self.variant.records(product)) {
            judge(&histories, seen.commits)?
        } else {
            Judged::NotRecorded
        };
        let mut latencies = seen.latencies;
        latencies.sort_unstable();
        let median = latencies.get(latencies.len() / 2);
        let median_ms = median.map_or(0.0, |median| 1000.0 * median.as_secs_f64());
        #[allow(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^52"
        )]
        Ok(Cell {
            sites: self.duo.to_string(),
            pairs: self.pairs,
            clients: self.clients,
            variant: self.variant.name(),
            ordered: self.variant.is_ordered(),
            commits_per_second: seen.commits as f64 / took.as_secs_f64(),
            commits: seen.commits,
            aborts: seen.aborts,
            wrong_reads: seen.wrong,
            unknown: seen.unknown,
            median_ms,
            judged,
        })
    }

    async fn load(
        &self,
        args: &Args,
        client: &coco::client::Client,
    ) -> anyhow::Result<(Seen, Duration)> {
        let started = Instant::now();
        let until = args.commits.is_none().then(|| started + args.span());
        let goal = Arc::new(Goal {
            until,
            commits: args.commits,
            done: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        let workers: Vec<_> = (0..self.clients)
            .map(|index| {
                let worker = Worker {
                    client: client.clone(),
                    pairs: self.pairs,
                    declares: self.variant.declares(),
                    random: Random::new(args.seed, index),
                    goal: Arc::clone(&goal),
                };
                tokio::spawn(worker.run())
            })
            .collect();
        let mut seen = Seen::default();
        for worker in workers {
            seen.add(worker.await??);
        }
        let took = started.elapsed();
        if seen.commits == 0 {
            bail!(
                "nothing has committed in {took:?} ({} aborts, {} unknown outcomes, {} done)",
                seen.aborts,
                seen.unknown,
                goal.done.load(Ordering::Relaxed)
            );
        }
        Ok((seen, took))
    }
}
