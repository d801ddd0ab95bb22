//! `chaos overload`: what a coordinator and two sites do when they are asked for several times as much as they
//! can do.
//!
//! Three loads, one after the other, on the same real processes with real logs and stores. *Capacity*: so many
//! clients, each of which begins its next transaction when the one before has ended; what they get done is the
//! capacity. *Overload*: transactions arrive at a multiple of that rate, whether others have ended or not, and
//! none comes again when it is refused. *After*: the first load again, a second after the second has ended.
//!
//! Demanded: what is not done is refused with the typed "overloaded, retry after" and nothing else; the slowest
//! hundredth of what is accepted takes less than [`SLOWER`] times as long as at capacity; no process takes more
//! memory than [`GROWTH`] beyond what it had; a second after the end nothing is in flight, and throughput and
//! latency are what they were. The accounts add up, and the checker judges the histories.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use coco::client::{Client, ClientError, ClientOptions, Commit};
use coco::service::process::warn;
use fastrand::Rng;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::lives;
use crate::progress::Progress;
use crate::server::{Server, Spec, ports};

/// How many times as slow the slowest hundredth of what is accepted may be.
pub const SLOWER: f64 = 5.0;

/// How many bytes a process may grow while it is overloaded.
pub const GROWTH: u64 = 96 << 20;

/// What must be reached again of the throughput at capacity, a second after the end.
pub const RECOVERED: f64 = 0.6;

/// How long servers take to be normal again, at most.
const RECOVERY: Duration = Duration::from_secs(1);

const PATIENCE: Duration = Duration::from_secs(30);

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For how long more is offered than can be done.
    pub time: Duration,
    /// How many times as much.
    pub factor: f64,
    /// How many clients there are at capacity.
    pub clients: usize,
    /// How many transactions the servers are told to take at a time.
    pub limit: usize,
    /// What is drawn: which accounts.
    pub seed: u64,
    /// How often it may be tried.
    pub attempts: u32,
}

/// What came of one load.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// How long it lasted.
    pub time: Duration,
    /// Transactions that arrived.
    pub offered: u64,
    /// Committed.
    pub committed: u64,
    /// Aborted by the order or a conflict.
    pub aborted: u64,
    /// Refused with "overloaded, retry after".
    pub shed: u64,
    /// Ended in any other way.
    pub failed: u64,
    /// The first of those.
    pub failure: Option<String>,
    /// Without an answer when they should have had one for a second.
    pub unanswered: u64,
    /// How long each committed one took, in microseconds, sorted.
    latencies: Vec<u64>,
}

impl Load {
    /// Commits a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.committed as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// How long all but this share of the committed ones took at most.
    #[must_use]
    pub fn quantile(&self, above: f64) -> Duration {
        let count = self.latencies.len();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in the list"
        )]
        let place = (count as f64 * (1.0 - above)) as usize;
        let micros = self.latencies.get(place.min(count.saturating_sub(1)));
        Duration::from_micros(micros.copied().unwrap_or_default())
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "seconds": self.time.as_secs_f64(),
            "offered": self.offered,
            "committed": self.committed,
            "per_second": self.rate(),
            "aborted": self.aborted,
            "shed": self.shed,
            "failed": self.failed,
            "unanswered": self.unanswered,
            "p50_ms": self.quantile(0.5).as_secs_f64() * 1e3,
            "p99_ms": self.quantile(0.01).as_secs_f64() * 1e3,
        })
    }
}

/// What came of it all.
#[derive(Debug, Default)]
pub struct Outcome {
    /// As fast as the clients can.
    pub capacity: Load,
    /// Several times as much.
    pub overload: Load,
    /// The first load again.
    pub after: Load,
    /// By process: bytes at capacity, and most during overload.
    pub memory: Vec<(String, u64, u64)>,
    /// Committed transactions that the checker judged.
    pub judged: u64,
    /// What took too long: others may have used the machine.
    pub late: Vec<String>,
    /// What does not hold, however long things take.
    pub wrong: Vec<String>,
}

/// Offers the loads, again while all that is wrong is that something took too long, and attempts are left.
///
/// # Errors
/// If the servers cannot be started, or end.
pub async fn overload(options: &Options) -> Result<Outcome> {
    let mut attempt = 1;
    loop {
        let outcome = once(options).await?;
        if attempt == options.attempts || outcome.late.is_empty() || !outcome.wrong.is_empty() {
            return Ok(outcome);
        }
        warn(
            "chaos",
            &format!("attempt {attempt}: {}", outcome.late.join("; ")),
        );
        attempt += 1;
    }
}

async fn once(options: &Options) -> Result<Outcome> {
    let folder = tempfile::Builder::new()
        .prefix("chaos-overload-")
        .tempdir()?;
    let mut dice = Rng::with_seed(options.seed);
    let (servers, uri) = start(options, folder.path()).await?;
    let clients = connect(&uri, 16).await?;
    let mut outcome = Outcome::default();
    let measured = (options.time / 6).clamp(Duration::from_secs(2), Duration::from_secs(10));
    // Connections, caches and the first files are not what is measured.
    closed(options, &clients, Duration::from_secs(1), &mut dice).await?;
    outcome.capacity = closed(options, &clients, measured, &mut dice).await?;
    let before = memory(&servers)?;
    let most = Arc::new(Mutex::new(before.clone()));
    let rate = outcome.capacity.rate() * options.factor;
    {
        let progress = Progress::seconds("overload", options.time);
        let load = open(options, &clients, rate, &mut dice);
        tokio::pin!(load);
        let mut watch = interval(Duration::from_millis(100));
        outcome.overload = loop {
            tokio::select! {
                load = &mut load => break load?,
                _ = watch.tick() => {
                    let now = memory(&servers)?;
                    let mut most = most.lock().unwrap_or_else(PoisonError::into_inner);
                    for (most, now) in most.iter_mut().zip(now) {
                        most.1 = most.1.max(now.1);
                    }
                }
            }
        };
        drop(progress);
    }
    outcome.after = closed(options, &clients, measured, &mut dice).await?;
    let most = most.lock().unwrap_or_else(PoisonError::into_inner).clone();
    outcome.memory = before
        .into_iter()
        .zip(most)
        .map(|((name, before), (_, most))| (name, before, most))
        .collect();
    if let Err(wrong) = accounts(&clients[0]).await {
        outcome.wrong.push(format!("{wrong:#}"));
    }
    drop(clients);
    for server in servers.into_iter().rev() {
        server.end(PATIENCE).await?;
    }
    outcome.judge(folder.path());
    Ok(outcome)
}

const SITES: [(&str, &str); 2] = [("A", "ss2pl"), ("B", "mvcc")];

async fn start(options: &Options, folder: &Path) -> Result<(Vec<Server>, String)> {
    let port = ports(1)?[0];
    let uri = format!("http://127.0.0.1:{port}");
    let limit = options.limit;
    let common = "--json --exit-with-parent --log-level warn";
    let mut all = vec![(
        "coordinator".to_owned(),
        format!(
            "coordinator serve {common} --listen 127.0.0.1:{port} --max-transactions {limit} --retry-after-ms 20"
        ),
    )];
    for (site, engine) in SITES {
        let history = lives::file(folder, site, 1);
        // A site also has those that are decided and not yet applied.
        let arguments = format!(
            "participant serve {common} --name {site} --engine {engine} --coordinator {uri} \
             --max-transactions {} --history {}",
            limit * 2,
            history.display()
        );
        all.push((format!("site {site}"), arguments));
    }
    let mut servers = Vec::new();
    for (name, arguments) in all {
        let data = folder.join(&name);
        let mut arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        arguments.extend(["--data".to_owned(), data.display().to_string()]);
        let log = folder.join(format!("{name}.stderr"));
        let mut server = Server::spawn(&Spec {
            name,
            arguments,
            log,
        })?;
        server.ready(PATIENCE).await?;
        servers.push(server);
    }
    Ok((servers, uri))
}

fn memory(servers: &[Server]) -> Result<Vec<(String, u64)>> {
    let of = |server: &Server| Ok((server.name().to_owned(), server.resident()?));
    servers.iter().map(of).collect()
}

async fn connect(uri: &str, count: usize) -> Result<Vec<Client>> {
    let options = ClientOptions {
        // One identifier at a time: what is fetched ahead takes the place of others.
        lease: 1,
        // Whoever is refused is gone.
        overload_patience: Duration::ZERO,
        ..ClientOptions::default()
    };
    let mut clients = Vec::new();
    for _ in 0..count {
        let client = Client::connect_with(uri, options.clone()).await?;
        client.wait_for_sites(&["A", "B"], PATIENCE).await?;
        clients.push(client);
    }
    Ok(clients)
}

/// How many accounts a site has: many, since conflicts are not what is measured.
const ACCOUNTS: u32 = 20_000;

fn key(account: u32) -> String {
    format!("a{account:05}")
}

/// Moves one unit from an account of one site to one of the other.
async fn transfer(client: &Client, from: u32, to: u32) -> Result<Commit, ClientError> {
    let mut txn = client.begin().await?;
    txn.increment("A", key(from), -1).await?;
    txn.increment("B", key(to), 1).await?;
    txn.commit().await
}

/// What is noted while a load lasts.
#[derive(Debug, Default)]
struct Notes(Mutex<Load>);

impl Notes {
    fn note(&self, result: Result<Commit, ClientError>, took: Duration) {
        let mut load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(Commit::Committed(_)) => {
                load.committed += 1;
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                load.latencies.push(micros);
            }
            Ok(Commit::Aborted(_)) | Err(ClientError::Aborted(_)) => load.aborted += 1,
            Err(ClientError::Overloaded { .. }) => load.shed += 1,
            Err(other) => {
                load.failed += 1;
                load.failure.get_or_insert_with(|| other.to_string());
            }
        }
    }

    fn end(&self, time: Duration, offered: u64) -> Load {
        let mut load = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        load.time = time;
        load.offered = offered;
        load.latencies.sort_unstable();
        load
    }
}

/// Each client begins anew when it has ended.
async fn closed(
    options: &Options,
    clients: &[Client],
    time: Duration,
    dice: &mut Rng,
) -> Result<Load> {
    let (notes, stop) = (Arc::new(Notes::default()), Arc::new(AtomicBool::new(false)));
    let offered = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..options.clients {
        let client = clients[number % clients.len()].clone();
        let (notes, stop, offered) = (Arc::clone(&notes), Arc::clone(&stop), Arc::clone(&offered));
        let mut dice = dice.fork();
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                offered.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                let (from, to) = (dice.u32(0..ACCOUNTS), dice.u32(0..ACCOUNTS));
                let result = transfer(&client, from, to).await;
                let refused = result.is_err();
                notes.note(result, begun.elapsed());
                if refused {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }));
    }
    sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    Ok(notes.end(started.elapsed(), offered.load(Ordering::Relaxed)))
}

/// Transactions arrive at this rate. Returns [`RECOVERY`] after the last arrival.
async fn open(options: &Options, clients: &[Client], rate: f64, dice: &mut Rng) -> Result<Load> {
    let notes = Arc::new(Notes::default());
    let running = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut offered: u64 = 0;
    let mut pulse = interval(Duration::from_millis(1));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while started.elapsed() < options.time {
        pulse.tick().await;
        while (offered as f64) < started.elapsed().as_secs_f64() * rate {
            let client = clients[dice.usize(0..clients.len())].clone();
            let (from, to) = (dice.u32(0..ACCOUNTS), dice.u32(0..ACCOUNTS));
            let (notes, running) = (Arc::clone(&notes), Arc::clone(&running));
            offered += 1;
            running.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let begun = Instant::now();
                let result = transfer(&client, from, to).await;
                notes.note(result, begun.elapsed());
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
    let time = started.elapsed();
    sleep(RECOVERY).await;
    let late = running.load(Ordering::Relaxed);
    let mut load = notes.end(time, offered);
    load.unanswered = late;
    Ok(load)
}

/// Money was only moved.
async fn accounts(client: &Client) -> Result<()> {
    let mut sum = 0;
    for (site, _) in SITES {
        let mut txn = client.local(site);
        let rows = txn.scan(b"a", Some(b"b")).await?;
        txn.commit().await?.committed()?;
        let number = |value: &[u8]| value.try_into().map_or(0, i64::from_le_bytes);
        sum += rows.iter().map(|(_, value)| number(value)).sum::<i64>();
    }
    ensure!(sum == 0, "the accounts hold {sum} together, not nothing");
    Ok(())
}

impl Outcome {
    fn judge(&mut self, folder: &Path) {
        let (mut wrong, mut late) = (Vec::new(), Vec::new());
        for (name, load) in [
            ("at capacity", &self.capacity),
            ("overloaded", &self.overload),
            ("afterwards", &self.after),
        ] {
            if load.failed > 0 {
                let (count, failure) = (load.failed, load.failure.as_deref().unwrap_or_default());
                wrong.push(format!(
                    "{name} {count} were neither done nor refused as they should: {failure}"
                ));
            }
            if load.unanswered > 0 {
                let count = load.unanswered;
                late.push(format!(
                    "a second after the last has come {count} have no answer"
                ));
            }
        }
        if self.overload.shed == 0 {
            wrong.push("nothing was refused".to_owned());
        }
        let slowest = |load: &Load| load.quantile(0.01).as_secs_f64();
        let slower = slowest(&self.overload) / slowest(&self.capacity);
        // What is no number does not hold either.
        if slower.is_nan() || slower >= SLOWER {
            late.push(format!(
                "p99 of the accepted is {slower:.1} times that at capacity"
            ));
        }
        let share = self.after.rate() / self.capacity.rate();
        if share.is_nan() || share <= RECOVERED {
            late.push(format!(
                "a second later {share:.2} of the throughput is reached"
            ));
        }
        let slower = slowest(&self.after) / slowest(&self.capacity);
        if slower.is_nan() || slower >= 1.0 / RECOVERED {
            late.push(format!(
                "a second later p99 is {slower:.1} times what it was"
            ));
        }
        for (name, before, most) in &self.memory {
            let grown = most.saturating_sub(*before);
            if grown > GROWTH {
                wrong.push(format!("{name} grew by {} MiB", grown >> 20));
            }
        }
        match judged(folder) {
            Ok(judged) => self.judged = judged,
            Err(error) => wrong.push(format!("{error:#}")),
        }
        self.wrong.extend(wrong);
        self.late = late;
    }

    /// Whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.wrong.is_empty() && self.late.is_empty()
    }

    /// One object, for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let memory: Vec<_> = self
            .memory
            .iter()
            .map(|(name, before, most)| json!({"process": name, "before": before, "most": most}))
            .collect();
        json!({
            "capacity": self.capacity.to_json(),
            "overload": self.overload.to_json(),
            "after": self.after.to_json(),
            "memory": memory,
            "judged": self.judged,
            "late": self.late,
            "wrong": self.wrong,
        })
    }
}

fn judged(folder: &Path) -> Result<u64> {
    let mut histories = Vec::new();
    for (site, _) in SITES {
        let life = lives::read(folder, site, 1)?;
        histories.push(lives::merge(site, &[life]).context("the only life")?);
    }
    let report = lives::verdict(&histories)?;
    Ok(report.statistics.committed as u64)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9} {:>9}",
            "", "offered/s", "commits/s", "shed/s", "aborted", "failed", "s", "p50 ms", "p99 ms"
        )?;
        for (name, load) in [
            ("capacity", &self.capacity),
            ("overload", &self.overload),
            ("after", &self.after),
        ] {
            let seconds = load.time.as_secs_f64();
            writeln!(
                f,
                "{name:10} {:>9.0} {:>9.0} {:>9.0} {:>8} {:>8} {seconds:>7.1} {:>9.2} {:>9.2}",
                load.offered as f64 / seconds,
                load.rate(),
                load.shed as f64 / seconds,
                load.aborted,
                load.failed,
                load.quantile(0.5).as_secs_f64() * 1e3,
                load.quantile(0.01).as_secs_f64() * 1e3
            )?;
        }
        for (name, before, most) in &self.memory {
            let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "{name}: {:.0} MiB before, at most {:.0} MiB",
                mib(before),
                mib(most)
            )?;
        }
        writeln!(
            f,
            "the checker judged {} committed transactions: serializable, commitment ordered",
            self.judged
        )?;
        for late in &self.late {
            writeln!(f, "TOO LATE: {late}")?;
        }
        for wrong in &self.wrong {
            writeln!(f, "WRONG: {wrong}")?;
        }
        write!(f, "{}", if self.held() { "held" } else { "FAILED" })
    }
}
