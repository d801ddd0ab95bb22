//! A coordinator and two sites, all of coco as it is, and transactions through them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use checker::{Level, Verdict};
use co_core::{Gtid, Priority, VoteRule};
use coco::client::{Client, Commit, Operation as Asked};
use coco::log::{FileLog, Log, Options as LogOptions, Owner};
use coco::protocol::{CommitAnswer, SiteName};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer, Embedded};
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use participant::site::{NoLog, Site};
use participant::{Begin, Operation, Participant, TxnName};
use participant::{Key, Recorder, Value};
use tokio::net::TcpListener;

use crate::figures::{Figures, Load};
use crate::idle::Idle;

const NAMES: [&str; 2] = ["A", "B"];
const PATIENCE: Duration = Duration::from_secs(10);
/// How many identifiers are fetched at once.
const LEASE: u32 = 64;
/// Each client writes this many keys in turn, and nobody else does.
const KEYS: usize = 64;
const VALUE: &[u8; 32] = b"some value, of thirty-two bytes.";

/// Who asks for the commits, and what they commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// A program that the coordinator is part of, and sites that vote YES to everything.
    Protocol,
    /// The same with an engine and one write at each site, without a wire.
    Engines,
    /// Clients over gRPC: one write at each site, then the commit.
    Clients,
}

/// How the cluster runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    pub(crate) work: Work,
    /// Logs on the disk, all that has to be forced is.
    pub(crate) durable: bool,
    /// What is committed is recorded and judged.
    pub(crate) judged: bool,
}

/// What came of a run, with the forced writes behind it.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) figures: Figures,
    pub(crate) coordinator_syncs: u64,
    pub(crate) site_syncs: u64,
    /// Commits from the first to the last, those that do not count included.
    pub(crate) commits: u64,
}

struct Node {
    server: ParticipantServer,
    log: Option<Arc<FileLog>>,
}

/// Runs a coordinator, two sites and this much work.
///
/// # Errors
/// If something does not start, a transaction does not commit, or what was committed is not serializable.
pub(crate) async fn run(setting: Setting, load: Load, folder: &Path) -> Result<Measured> {
    let log = file_log(setting, folder, &Owner::coordinator("0"))?;
    let volatile: Arc<dyn Log> = Arc::new(NoLog::new());
    let coordinator = CoordinatorServer::start(
        CoordinatorOptions::default(),
        TcpListener::bind("127.0.0.1:0").await?,
        log.clone().map_or(volatile, |log| log as Arc<dyn Log>),
        &[],
    )
    .await?;
    let uri = format!("http://{}", coordinator.address());
    let mut nodes = Vec::new();
    for name in NAMES {
        nodes.push(node(setting, folder, name, &uri).await?);
    }
    let client = Client::connect(&uri).await?;
    client.wait_for_sites(&NAMES, PATIENCE).await?;
    let sites: Vec<Arc<Site>> = nodes
        .iter()
        .map(|node| Arc::clone(node.server.site()))
        .collect();
    let mut tasks = Vec::new();
    for index in 0..load.in_flight {
        let caller = Caller {
            index,
            work: setting.work,
            embedded: coordinator.embedded(),
            client: client.clone(),
            sites: sites.clone(),
            lease: (Gtid(0), Priority(0), 0),
        };
        tasks.push(tokio::spawn(caller.work(load)));
    }
    let (mut figures, mut commits) = (load.begin(), 0);
    for task in tasks {
        let (own, count) = task.await??;
        figures.add(own);
        commits += count;
    }
    let syncs = |log: &Option<Arc<FileLog>>| log.as_ref().map_or(0, |log| log.stats().syncs);
    let measured = Measured {
        figures,
        coordinator_syncs: syncs(&log),
        site_syncs: nodes.iter().map(|node| syncs(&node.log)).sum(),
        commits,
    };
    let mut histories = Vec::new();
    for node in nodes {
        // The answer to a client overtakes the decision on its way to a site.
        node.server.drain(PATIENCE).await?;
        histories.extend(
            sites[histories.len()]
                .participant()
                .recorder()
                .text()
                .filter(|_| setting.judged),
        );
    }
    coordinator.shutdown().await?;
    if setting.judged {
        judge(&histories, commits)?;
    }
    Ok(measured)
}

fn file_log(setting: Setting, folder: &Path, owner: &Owner) -> Result<Option<Arc<FileLog>>> {
    if !setting.durable {
        return Ok(None);
    }
    let path = folder.join(format!("log-{}", owner.name));
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path)?;
    let (log, _records) = FileLog::open(&path, owner, LogOptions::default())?;
    Ok(Some(Arc::new(log)))
}

async fn node(setting: Setting, folder: &Path, name: &str, uri: &str) -> Result<Node> {
    let log = file_log(setting, folder, &Owner::participant(name))?;
    let storage = log.clone().map_or(Storage::Volatile, |log| {
        let (log, records): (Arc<dyn Log>, _) = (log, Vec::new());
        Storage::Durable { log, records }
    });
    let recorder = if setting.judged {
        Recorder::memory(name)
    } else {
        Recorder::off()
    };
    let participant: Arc<dyn Participant> = match setting.work {
        Work::Protocol => Arc::new(Idle::new()),
        Work::Engines | Work::Clients => open(EngineKind::Ss2pl, VoteRule::Withhold, recorder),
    };
    let server = ParticipantServer::start(
        ParticipantOptions::new(name, uri),
        participant,
        storage,
        TcpListener::bind("127.0.0.1:0").await?,
    )?;
    Ok(Node { server, log })
}

struct Caller {
    index: usize,
    work: Work,
    embedded: Embedded,
    client: Client,
    sites: Vec<Arc<Site>>,
    /// The next transaction, its age, and how many there are.
    lease: (Gtid, Priority, u32),
}

impl Caller {
    async fn work(mut self, load: Load) -> Result<(Figures, u64)> {
        let (mut figures, mut count) = (load.begin(), 0);
        while !figures.is_over() {
            let key = format!("{}-{}", self.index, count % KEYS as u64);
            let took = match self.work {
                Work::Protocol | Work::Engines => self.embedded(key.as_bytes()).await?,
                Work::Clients => self.over_the_wire(key.as_bytes()).await?,
            };
            figures.took(took);
            count += 1;
            if !load.pause.is_zero() {
                tokio::time::sleep(load.pause).await;
            }
        }
        Ok((figures, count))
    }

    async fn next(&mut self) -> Result<(Gtid, Priority)> {
        if self.lease.2 == 0 {
            let grant = self.embedded.begin(LEASE, None).await?;
            self.lease = (grant.first, grant.priority, grant.count);
        }
        let (gtid, priority, left) = self.lease;
        self.lease = (Gtid(gtid.0 + 1), Priority(priority.0 + 1), left - 1);
        Ok((gtid, priority))
    }

    /// Returns how long the commit took.
    async fn embedded(&mut self, key: &[u8]) -> Result<Duration> {
        let (gtid, priority) = self.next().await?;
        let name = TxnName::Global(gtid);
        for site in &self.sites {
            site.begin(Begin { name, priority })?;
            if self.work == Work::Engines {
                let put = Operation::Put(Key::from(key), Value::from(VALUE.as_slice()));
                site.participant().execute(name, &put).await?;
            }
        }
        let start = Instant::now();
        let names = NAMES.map(SiteName::new).to_vec();
        match self.embedded.commit(gtid, names, false).await? {
            CommitAnswer::Committed { .. } => Ok(start.elapsed()),
            answer @ (CommitAnswer::Aborted { .. }
            | CommitAnswer::Unknown
            | CommitAnswer::Refused(_)) => bail!("a commit came to {answer:?}"),
        }
    }

    /// Returns how long the commit took.
    async fn over_the_wire(&self, key: &[u8]) -> Result<Duration> {
        let mut txn = self.client.begin().await?;
        for site in NAMES {
            let put = Asked::Put(key.to_vec(), VALUE.to_vec());
            txn.execute(site, vec![put]).await?;
        }
        let start = Instant::now();
        match txn.commit().await? {
            Commit::Committed(_) => Ok(start.elapsed()),
            Commit::Aborted(cause) => bail!("a transaction that meets nobody: {cause:?}"),
        }
    }
}

/// What the checker says of the run.
fn judge(histories: &[String], commits: u64) -> Result<()> {
    let histories = histories
        .iter()
        .zip(NAMES)
        .map(|(text, name)| checker::parse::read_history(text.as_bytes(), name))
        .collect::<Result<Vec<_>, _>>()
        .context("a history cannot be read")?;
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = checker::judge(&histories, level);
        if !matches!(report.verdict, Verdict::Valid { .. }) {
            bail!("the run is not valid at {level:?}: {:?}", report.verdict);
        }
        let recorded = report.statistics.committed as u64;
        if recorded != commits {
            bail!("{commits} transactions have committed, and {recorded} are recorded");
        }
    }
    Ok(())
}
