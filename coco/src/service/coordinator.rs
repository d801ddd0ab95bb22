//! The coordinator's server.
//!
//! Remote calls and links only pass on what arrives; one driver task owns the state machine.

mod census;
mod driver;
mod embedded;
mod metrics;
mod observe;
mod peer;
mod points;
mod queue;
mod quota;
mod resolve;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use co_core::{Gtid, Priority};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use self::driver::{Driver, Input, LinkId, NotBegun};
pub use self::embedded::{Embedded, EmbeddedError};
pub use self::metrics::{CoordinatorMetrics, cause_name};

pub use self::peer::PeerError;
use self::queue::DownFrames;
use super::audit::Audit;
use super::convert::{
    Introduction, MalformedWire, answer_to_wire, begin_refused, grant_to_wire, history_to_wire,
    names_of, overloaded, resolved_to_wire, sites_to_wire, statistics_to_wire,
    transactions_to_wire, up_of,
};
use super::guard::{Caller, Front};
use super::health::with_health;
use super::limits::{Reason, Refusals};
use super::net::{Connector, Listener};
use super::security::Credentials;
use super::transport::serve;
use super::wire;
use crate::failpoint;
use crate::log::checkpoint::{self, Checkpoints};
use crate::log::{Log, Record, RecordError};
use crate::protocol::{
    AbortCause, CommitAnswer, CoordinatorConfig, CoordinatorId, CoordinatorStats, Incarnation,
    RecoverError, SiteName, ToCoordinator, TransactionState,
};

/// Requests that wait for the driver before callers have to wait to give theirs.
const INBOX: usize = 4096;

/// How long a connected participant may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a shutdown waits for commits in flight.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Most identifiers that one begin hands out.
const MAX_LEASE: u32 = 1024;

/// Most entries of one list.
const MAX_LIST: usize = 10_000;

/// The service's name, for those who ask after its health.
const SERVICE: &str = "coco.v1.Coordinator";

/// How a coordinator is set up.
pub struct CoordinatorOptions {
    /// Which coordinator: it is part of every gtid.
    pub id: CoordinatorId,
    /// Its patience and bounds.
    pub config: CoordinatorConfig,
    /// The addresses of the other coordinators that work for the same sites, so that deadlocks through
    /// several are found. Without them these end by timeout.
    pub peers: BTreeMap<CoordinatorId, String>,
    /// What it shows to the other coordinators.
    pub peer_credentials: Credentials,
    /// How it connects to the other coordinators.
    pub connector: Connector,
    /// By how many bytes the log grows between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Whom it lets in, and how much of it.
    pub front: Front,
    /// Where what operators do by hand is written down; without it they can do nothing.
    pub audit: Option<Audit>,
    /// Called with what an operator wants to see: oddities that were survived, a log that failed.
    pub on_event: Box<dyn Fn(&str) + Send>,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        Self {
            id: CoordinatorId(0),
            config: CoordinatorConfig::default(),
            peers: BTreeMap::new(),
            peer_credentials: Credentials::none(),
            connector: Connector::tcp(),
            checkpoint_bytes: 4 << 20,
            front: Front::default(),
            audit: None,
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

/// A transaction that is not yet forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionInfo {
    /// Its name.
    pub gtid: Gtid,
    /// Its age among transactions.
    pub priority: Priority,
    /// How far it has come.
    pub state: TransactionState,
    /// For how long: since it was decided, or else since it began; at least so long.
    pub age: Duration,
}

/// A wait that a site has reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitInfo {
    /// Who waits: with an operation while its client works, with its vote once it was asked for.
    pub gtid: Gtid,
    /// Where.
    pub site: SiteName,
    /// For whom.
    pub waits_for: Vec<Gtid>,
    /// For how long.
    pub age: Duration,
}

/// What is not settled at a coordinator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transactions {
    /// Oldest first.
    pub transactions: Vec<TransactionInfo>,
    /// Who waits for whom.
    pub waits: Vec<WaitInfo>,
    /// There are more transactions than were asked for.
    pub more: bool,
}

/// A decision of the past.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecisionInfo {
    /// On which transaction.
    pub gtid: Gtid,
    /// What its client was told.
    pub answer: CommitAnswer,
    /// When.
    pub at: SystemTime,
}

/// A deadlock over several sites that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadlockInfo {
    /// Who was aborted for it.
    pub victim: Gtid,
    /// When.
    pub at: SystemTime,
}

/// What has happened of late, latest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Decisions since the coordinator started, a bounded number.
    pub decisions: Vec<DecisionInfo>,
    /// Deadlocks since the coordinator started, a bounded number.
    pub deadlocks: Vec<DeadlockInfo>,
    /// What operators did by hand: lines of the audit file, JSON objects.
    pub actions: Vec<String>,
}

/// What came of ending a transaction by hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// It is aborted.
    Aborted(AbortCause),
    /// It was left alone, for this reason.
    Refused(String),
    /// Its only site has been asked and has not answered.
    Unknown,
}

/// A running coordinator.
///
/// Dropping it stops it at once, as a crash would.
#[derive(Debug)]
pub struct CoordinatorServer {
    address: SocketAddr,
    refusals: Arc<Refusals>,
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
        listener: impl Listener,
        log: Arc<dyn Log>,
        records: &[Vec<u8>],
    ) -> Result<Self, StartError> {
        failpoint::io("coordinator: recover")?;
        let checkpoints = Checkpoints::new(options.checkpoint_bytes, records);
        let records = checkpoint::live(records).into_iter().map(|(index, bytes)| {
            Record::decode(bytes).map_err(|source| StartError::Record { index, source })
        });
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let mut options = options;
        let front = options.front.clone();
        let audit = options.audit.take().map(Arc::new);
        let (serving, is_serving) = watch::channel(false);
        let (inbox, inputs) = mpsc::channel(INBOX);
        let (ready, is_ready) = oneshot::channel();
        let id = options.id;
        let peers = peer::open_all(
            id,
            &options.peers,
            &options.peer_credentials,
            &options.connector,
            &inbox,
        )?;
        let driver = Driver::recover(options, log, records, checkpoints, ready, serving)?;
        failpoint::io("coordinator: recovered")?;
        let driver = AbortOnDrop(tokio::spawn(driver.run(inputs)));
        if !is_ready.await.unwrap_or(false) {
            return Err(StartError::LogFailed);
        }
        failpoint::io("coordinator: serve")?;
        let adapter = Adapter {
            id,
            inbox: inbox.clone(),
            front: front.clone(),
            audit,
        };
        let service = wire::coordinator_server::CoordinatorServer::new(adapter)
            .max_decoding_message_size(front.limits.message_bytes)
            .max_encoding_message_size(front.limits.message_bytes);
        let routes = with_health(Routes::new(service), SERVICE, is_serving);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // An error means that the handle was dropped: that stops the server as well.
            let _stopped_or_dropped = stopped.await;
        };
        let (address, server) = serve(listener, routes, &front, stopped)?;
        let server = AbortOnDrop(tokio::spawn(server));
        Ok(Self {
            address,
            refusals: front.refusals,
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

    /// Where its metrics come from.
    #[must_use]
    pub fn metrics(&self) -> CoordinatorMetrics {
        CoordinatorMetrics {
            inbox: self.inbox.clone(),
            refusals: Arc::clone(&self.refusals),
            meter: None,
        }
    }

    /// Begins nothing more, says so to those who ask after its health, and waits until all transactions that
    /// run are decided, but no longer than `patience`. What was begun and has worked at none of the connected sites
    /// when they are asked, once, is not waited for. Then [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn drain(self, patience: Duration) -> Result<(), tonic::transport::Error> {
        let (reply, drained) = oneshot::channel();
        // Errors mean that the driver has ended: there is nothing to wait for.
        let _driver_ended = self.inbox.send(Input::Drain { reply }).await;
        let _driver_ended_or_late = tokio::time::timeout(patience, drained).await;
        self.shutdown().await
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
    front: Front,
    audit: Option<Arc<Audit>>,
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
        let peer = Caller::of(&request).key;
        let request = request.into_inner();
        let count = request.count.clamp(1, MAX_LEASE);
        let priority = request.priority.map(Priority);
        let grant = self
            .ask(|reply| Input::Begin {
                count,
                priority,
                peer,
                reply,
            })
            .await?;
        let retry_after = self.front.limits.retry_after;
        let grant = grant.map_err(|refused| match refused {
            NotBegun::Refused(refused) => begin_refused(refused, retry_after),
            NotBegun::PeerIsFull => overloaded("you have too many transactions", retry_after),
            NotBegun::Draining => stopping(),
        })?;
        if failpoint::hit("coordinator: begun") {
            return Err(stopping());
        }
        tracing::debug_span!("begin", gtid = %grant.first, count = grant.count)
            .in_scope(|| tracing::debug!(priority = grant.priority.0));
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
            .instrument(tracing::debug_span!("commit", %gtid))
            .await?;
        if failpoint::hit("coordinator: reply") {
            return Err(stopping());
        }
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

    async fn transactions(
        &self,
        request: Request<wire::TransactionsRequest>,
    ) -> Result<Response<wire::TransactionsReply>, Status> {
        let limit = limit(request.into_inner().limit, 1000);
        let all = self
            .ask(|reply| Input::Transactions { limit, reply })
            .await?;
        Ok(Response::new(transactions_to_wire(all)))
    }

    async fn history(
        &self,
        request: Request<wire::HistoryRequest>,
    ) -> Result<Response<wire::HistoryReply>, Status> {
        let limit = limit(request.into_inner().limit, 100);
        let (decisions, deadlocks) = self.ask(|reply| Input::History { limit, reply }).await?;
        let actions = match self.audit.clone() {
            None => Vec::new(),
            Some(audit) => {
                let read = tokio::task::spawn_blocking(move || audit.latest(limit)).await;
                let unreadable = "the audit file cannot be read; see to the disk";
                let read = read.map_err(|_| Status::internal(unreadable))?;
                read.map_err(|error| Status::internal(format!("{unreadable} ({error})")))?
            }
        };
        Ok(Response::new(history_to_wire(History {
            decisions,
            deadlocks,
            actions,
        })))
    }

    async fn resolve(
        &self,
        request: Request<wire::ResolveRequest>,
    ) -> Result<Response<wire::ResolveReply>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        let resolved = self
            .resolve_by_hand(&caller, Gtid(request.gtid), &request.reason)
            .await?;
        Ok(Response::new(resolved_to_wire(resolved)))
    }

    type LinkStream = DownFrames;

    async fn link(
        &self,
        request: Request<Streaming<wire::UpFrame>>,
    ) -> Result<Response<DownFrames>, Status> {
        let bound = Caller::of(&request).identity.and_then(|it| it.site.clone());
        let mut up = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, up.message());
        let first = first
            .await
            .map_err(|_| Status::from(MalformedWire::NoHello))??;
        let first = first.ok_or(MalformedWire::NoHello)?;
        let (site, messages) = hello(self.id, first)?;
        if let Some(bound) = bound.filter(|bound| *bound != site) {
            self.front.refusals.count(Reason::Forbidden);
            let forbidden = format!("this token speaks for site {bound} and for no other");
            return Err(Status::permission_denied(forbidden));
        }
        if failpoint::hit("coordinator: hello") {
            return Err(stopping());
        }
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

/// How much of a list is asked for.
fn limit(asked: u32, usual: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => usual,
        Ok(asked) => asked.min(MAX_LIST),
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
        if failpoint::hit("coordinator: frame heard") {
            break;
        }
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
        if let Some(working) = frame.working {
            let gtids = working.gtids.into_iter().map(Gtid).collect();
            if inbox.send(Input::Working { id, gtids }).await.is_err() {
                return;
            }
        }
    }
    // An error means that the driver has ended, and with it all links.
    let _driver_ended = inbox.send(Input::LinkEnded { id }).await;
}
