//! The coordinator's server.
//!
//! Remote calls and links only pass on what arrives; one driver task owns the state machine.

mod checkpoint;
mod driver;
mod peer;
mod queue;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use co_core::{Gtid, Priority};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use self::checkpoint::Checkpoints;
use self::driver::{Driver, Input, LinkId};
pub use self::peer::PeerError;
use self::queue::DownFrames;
use super::convert::{
    Introduction, MalformedWire, answer_to_wire, begin_refused, grant_to_wire, names_of,
    sites_to_wire, statistics_to_wire, up_of,
};
use super::transport::{MAX_MESSAGE_BYTES, serve};
use super::wire;
use crate::log::{Log, Record, RecordError};
use crate::protocol::{
    CommitAnswer, CoordinatorConfig, CoordinatorId, CoordinatorStats, Incarnation, RecoverError,
    SiteName, ToCoordinator,
};

/// Requests that wait for the driver before callers have to wait to give theirs.
const INBOX: usize = 4096;

/// How long a connected participant may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a shutdown waits for commits in flight.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Most identifiers that one begin hands out.
const MAX_LEASE: u32 = 1024;

/// How a coordinator is set up.
pub struct CoordinatorOptions {
    /// Which coordinator: it is part of every gtid.
    pub id: CoordinatorId,
    /// Its patience and bounds.
    pub config: CoordinatorConfig,
    /// The addresses of the other coordinators that work for the same sites, so that deadlocks through
    /// several are found. Without them these end by timeout.
    pub peers: BTreeMap<CoordinatorId, String>,
    /// By how many bytes the log grows between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Called with what an operator wants to see: oddities that were survived, a log that failed.
    pub on_event: Box<dyn Fn(&str) + Send>,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        Self {
            id: CoordinatorId(0),
            config: CoordinatorConfig::default(),
            peers: BTreeMap::new(),
            checkpoint_bytes: 4 << 20,
            on_event: Box::new(|_| {}),
        }
    }
}

impl std::fmt::Debug for CoordinatorOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoordinatorOptions")
            .field("id", &self.id)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A record of its log cannot be read.
    #[error("record {index} of the coordinator's log cannot be read: {source}")]
    Record {
        /// Its place, from 1.
        index: usize,
        /// Why.
        source: RecordError,
    },
    /// The records make no sense.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// The record of its new epoch could not be written.
    #[error("the coordinator's log failed at the first record of this start; mend the disk")]
    LogFailed,
    /// The address of another coordinator is none, or is this one's own id.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The listener has no address.
    #[error("the listening socket failed: {0}")]
    Listener(#[from] io::Error),
}

/// Gtids handed out together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeginGrant {
    /// The first.
    pub first: Gtid,
    /// How many consecutive ones.
    pub count: u32,
    /// The age of the first; each of the others is one younger, unless an age was asked for.
    pub priority: Priority,
    /// How long the coordinator keeps them unheard of.
    pub lease: Duration,
}

/// A site as clients see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteInfo {
    /// Its name.
    pub name: SiteName,
    /// Where it serves clients.
    pub address: String,
    /// Whether its link is up.
    pub connected: bool,
    /// Its present life.
    pub incarnation: Incarnation,
}

/// What a coordinator has done and does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// Since it started.
    pub counters: CoordinatorStats,
    /// Transactions that are undecided now.
    pub in_flight: u64,
    /// Its present epoch: how often it has started.
    pub epoch: u32,
    /// Whether it takes new transactions.
    pub serving: bool,
}

/// A running coordinator.
///
/// Dropping it stops it at once, as a crash would.
#[derive(Debug)]
pub struct CoordinatorServer {
    address: SocketAddr,
    inbox: mpsc::Sender<Input>,
    stop: oneshot::Sender<()>,
    driver: AbortOnDrop<()>,
    server: AbortOnDrop<Result<(), tonic::transport::Error>>,
    /// The links to other coordinators.
    _peers: Vec<AbortOnDrop<()>>,
}

impl CoordinatorServer {
    /// Serves on `listener`, in the present tokio runtime, from what `log` holds. Returns when the epoch
    /// of this start is durable: from then on transactions can begin.
    ///
    /// # Errors
    /// If the records make no sense, or the log fails at once.
    pub async fn start(
        options: CoordinatorOptions,
        listener: TcpListener,
        log: Arc<dyn Log>,
        records: &[Vec<u8>],
    ) -> Result<Self, StartError> {
        let checkpoints = Checkpoints::new(options.checkpoint_bytes, records);
        let records = checkpoint::live(records).into_iter().map(|(index, bytes)| {
            Record::decode(bytes).map_err(|source| StartError::Record { index, source })
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let (inbox, inputs) = mpsc::channel(INBOX);
        let (ready, is_ready) = oneshot::channel();
        let id = options.id;
        let peers = peer::open_all(id, &options.peers, &inbox)?;
        let driver = Driver::recover(options, log, records, checkpoints, ready)?;
        let driver = AbortOnDrop(tokio::spawn(driver.run(inputs)));
        if !is_ready.await.unwrap_or(false) {
            return Err(StartError::LogFailed);
        }
        let adapter = Adapter {
            id,
            inbox: inbox.clone(),
        };
        let service = wire::coordinator_server::CoordinatorServer::new(adapter)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // An error means that the handle was dropped: that stops the server as well.
            let _stopped_or_dropped = stopped.await;
        };
        let (address, server) = serve(listener, Routes::new(service), stopped)?;
        let server = AbortOnDrop(tokio::spawn(server));
        Ok(Self {
            address,
            inbox,
            stop,
            driver,
            server,
            _peers: peers,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, waits a moment for the commits in flight, then closes all links.
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn shutdown(mut self) -> Result<(), tonic::transport::Error> {
        // Errors below mean that the task in question has ended by itself already.
        let _server_ended = self.stop.send(());
        let _driver_ended = self
            .inbox
            .send(Input::Shutdown {
                grace: SHUTDOWN_GRACE,
            })
            .await;
        let _driver_ended = (&mut self.driver.0).await;
        drop(self.inbox);
        match tokio::time::timeout(SHUTDOWN_GRACE, &mut self.server.0).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Ends at once, as a crash would: what is not in the log is forgotten.
    pub fn kill(self) {
        drop(self);
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes remote calls on to the driver.
struct Adapter {
    id: CoordinatorId,
    inbox: mpsc::Sender<Input>,
}

impl Adapter {
    /// Gives the driver an input that it answers.
    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .send(input(reply))
            .await
            .map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }
}

fn stopping() -> Status {
    Status::unavailable("the coordinator is stopping")
}

#[tonic::async_trait]
impl wire::coordinator_server::Coordinator for Adapter {
    async fn begin(
        &self,
        request: Request<wire::BeginRequest>,
    ) -> Result<Response<wire::BeginReply>, Status> {
        let request = request.into_inner();
        let count = request.count.clamp(1, MAX_LEASE);
        let priority = request.priority.map(Priority);
        let grant = self
            .ask(|reply| Input::Begin {
                count,
                priority,
                reply,
            })
            .await?;
        let grant = grant.map_err(begin_refused)?;
        Ok(Response::new(grant_to_wire(&grant)))
    }

    async fn commit(
        &self,
        request: Request<wire::CommitRequest>,
    ) -> Result<Response<wire::CommitReply>, Status> {
        let request = request.into_inner();
        let (gtid, sites) = (Gtid(request.gtid), names_of(request.sites)?);
        let dependent = request.dependent;
        let answer: CommitAnswer = self
            .ask(|reply| Input::Commit {
                gtid,
                sites,
                dependent,
                reply,
            })
            .await?;
        Ok(Response::new(answer_to_wire(answer)))
    }

    async fn rollback(
        &self,
        request: Request<wire::RollbackRequest>,
    ) -> Result<Response<wire::RollbackReply>, Status> {
        let request = request.into_inner();
        let (gtid, sites) = (Gtid(request.gtid), names_of(request.sites)?);
        self.ask(|reply| Input::Rollback { gtid, sites, reply })
            .await?;
        Ok(Response::new(wire::RollbackReply {}))
    }

    async fn sites(
        &self,
        _request: Request<wire::SitesRequest>,
    ) -> Result<Response<wire::SitesReply>, Status> {
        let sites = self.ask(|reply| Input::Sites { reply }).await?;
        Ok(Response::new(sites_to_wire(sites)))
    }

    async fn statistics(
        &self,
        _request: Request<wire::StatisticsRequest>,
    ) -> Result<Response<wire::CoordinatorStatistics>, Status> {
        let statistics = self.ask(|reply| Input::Statistics { reply }).await?;
        Ok(Response::new(statistics_to_wire(&statistics)))
    }

    type LinkStream = DownFrames;

    async fn link(
        &self,
        request: Request<Streaming<wire::UpFrame>>,
    ) -> Result<Response<DownFrames>, Status> {
        let mut up = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, up.message());
        let first = first
            .await
            .map_err(|_| Status::from(MalformedWire::NoHello))??;
        let first = first.ok_or(MalformedWire::NoHello)?;
        let (site, messages) = hello(self.id, first)?;
        let linked = {
            let site = site.clone();
            self.ask(|reply| Input::Link {
                site,
                messages,
                reply,
            })
            .await?
        };
        let (id, frames) = linked?;
        tokio::spawn(receive(up, site, id, self.inbox.clone()));
        Ok(Response::new(frames))
    }

    async fn peer(
        &self,
        request: Request<Streaming<wire::PeerFrame>>,
    ) -> Result<Response<wire::PeerReply>, Status> {
        peer::receive(self.id, request.into_inner(), &self.inbox).await?;
        Ok(Response::new(wire::PeerReply {}))
    }
}

/// The first frame of a link: a hello, and whatever follows it.
fn hello(
    own: CoordinatorId,
    frame: wire::UpFrame,
) -> Result<(SiteName, Vec<ToCoordinator>), Status> {
    let mut messages = frame.messages.into_iter();
    let first = messages.next().ok_or(MalformedWire::NoHello)?;
    let (Some(Introduction { site, to }), hello) = up_of(first)? else {
        return Err(MalformedWire::NoHello.into());
    };
    if to != own {
        return Err(Status::failed_precondition(format!(
            "this is coordinator {own}, and site {site} takes it for {to}: correct the site's --coordinator"
        )));
    }
    let mut all = vec![hello];
    for message in messages {
        all.push(of_site(message, &site)?);
    }
    Ok((site, all))
}

fn of_site(message: wire::ToCoordinator, site: &SiteName) -> Result<ToCoordinator, MalformedWire> {
    match up_of(message)? {
        (Some(other), _) if other.site != *site => Err(MalformedWire::NoHello),
        (_, message) => Ok(message),
    }
}

/// Passes on what a linked site says, until the stream ends or breaks the rules.
async fn receive(
    mut up: Streaming<wire::UpFrame>,
    site: SiteName,
    id: LinkId,
    inbox: mpsc::Sender<Input>,
) {
    loop {
        let frame = tokio::select! {
            frame = up.message() => frame,
            // The driver has ended: a peer that goes on talking must not hold up the server's end.
            () = inbox.closed() => return,
        };
        let Ok(Some(frame)) = frame else { break };
        let messages = frame
            .messages
            .into_iter()
            .map(|message| of_site(message, &site));
        let Ok(messages) = messages.collect::<Result<Vec<_>, _>>() else {
            break;
        };
        if inbox.send(Input::Messages { id, messages }).await.is_err() {
            return;
        }
    }
    // An error means that the driver has ended, and with it all links.
    let _driver_ended = inbox.send(Input::LinkEnded { id }).await;
}
