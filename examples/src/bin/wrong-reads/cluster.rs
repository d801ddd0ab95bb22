//! A coordinator and two sites over two servers, all with logs on the disk, in this process.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use checker::{Level, Verdict};
use coco::client::Client;
use coco::log::{FileLog, Options as LogOptions, Owner};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use databases::Server;
use participant::Recorder;
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use tokio::net::TcpListener;

use crate::variant::Variant;

/// The sites.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs besides the servers.
pub(crate) struct Cluster {
    coordinator: CoordinatorServer,
    sites: Vec<ParticipantServer>,
    histories: Vec<PathBuf>,
    pub(crate) client: Client,
}

/// What the checker says of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Judged {
    /// Serializable in commit order.
    Valid,
    /// Not serializable.
    Invalid,
    /// Not decided.
    Unknown,
    /// Nothing was recorded.
    NotRecorded,
}

impl Cluster {
    /// Starts it; logs and histories go to `folder`, and the rows into tables of their own.
    pub(crate) async fn start(
        variant: Variant,
        servers: [&Server; 2],
        schema: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let (log, _) = open_log(&folder.join("coordinator"), &Owner::coordinator("0"))?;
        let coordinator = CoordinatorServer::start(
            CoordinatorOptions::default(),
            TcpListener::bind("127.0.0.1:0").await?,
            log,
            &[],
        )
        .await?;
        let uri = format!("http://{}", coordinator.address());
        let (mut sites, mut histories) = (Vec::new(), Vec::new());
        let recorded = servers.iter().all(|it| variant.records(it.product()));
        for (name, server) in NAMES.into_iter().zip(servers) {
            let history = folder.join(format!("{name}.hist"));
            let file = BufWriter::new(File::create(&history)?);
            let recorder = if recorded {
                Recorder::to_writer(name, Box::new(file))
            } else {
                Recorder::off()
            };
            let participant =
                variant.open(server, &format!("{schema}-{name}"), schema, recorder)?;
            let (log, records) = open_log(&folder.join(name), &Owner::participant(name))?;
            let options = ParticipantOptions::new(name, &uri);
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let storage = Storage::Durable { log, records };
            sites.push(ParticipantServer::start(
                options,
                participant,
                storage,
                listener,
            )?);
            histories.push(history);
        }
        let client = Client::connect(&uri).await?;
        client.wait_for_sites(&NAMES, PATIENCE).await?;
        Ok(Self {
            coordinator,
            sites,
            histories,
            client,
        })
    }

    /// Ends it in order, and returns the histories.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<PathBuf>> {
        for site in self.sites {
            let recorder = site.site().participant().recorder().clone();
            site.drain(PATIENCE).await?;
            recorder.finish()?;
        }
        self.coordinator.shutdown().await?;
        Ok(self.histories)
    }
}

type Opened = (Arc<dyn coco::log::Log>, Vec<Vec<u8>>);

fn open_log(folder: &Path, owner: &Owner) -> anyhow::Result<Opened> {
    std::fs::create_dir_all(folder)?;
    let (log, records) = FileLog::open(folder, owner, LogOptions::default())?;
    Ok((Arc::new(log), records))
}

/// Judges what both sites have recorded. It computes for a while: not for an async thread.
pub(crate) fn judge(histories: &[PathBuf], commits: u64) -> anyhow::Result<Judged> {
    let sites = histories
        .iter()
        .zip(NAMES)
        .map(|(path, name)| {
            let file = BufReader::new(File::open(path)?);
            let read = checker::parse::read_history(file, name);
            read.with_context(|| format!("the history of site {name} cannot be read"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let case = checker::Case::new(&sites);
    let recorded = case.statistics().committed as u64;
    if recorded < commits {
        bail!("{commits} transactions have committed, and only {recorded} are recorded");
    }
    let verdict = case.judge(Level::Serializability).verdict;
    Ok(match verdict {
        Verdict::Invalid { .. } => Judged::Invalid,
        Verdict::Unknown { .. } => Judged::Unknown,
        Verdict::Valid { .. } => match case.judge(Level::CommitmentOrdering).verdict {
            Verdict::Valid { .. } => Judged::Valid,
            Verdict::Invalid { .. } | Verdict::Unknown { .. } => Judged::Unknown,
        },
    })
}
