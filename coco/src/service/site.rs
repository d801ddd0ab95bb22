//! A site's server for clients, over a trait of plain values: whoever implements [`SiteHandler`] serves
//! clients without knowing the wire format.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use co_core::{Gtid, Priority, Stamp};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::convert::{
    Refused, RefusedCode, answer_to_wire, done_by_hand_to_wire, execute_answer_to_wire, execute_of,
    pending_to_wire, query_of, rows_to_wire, site_resolve_of, site_statistics_to_wire,
};
use super::guard::{Caller, Front, PeerKey};
use super::health::with_health;
use super::net::Listener;
use super::transport::serve;
use super::wire;
use crate::protocol::{AbortCause, ByHand, CommitAnswer, Decision, Heuristic};

/// How long the last answers of a server that ends may take to leave.
const FLUSH: Duration = Duration::from_millis(100);

/// The service's name, for those who ask after its health.
const SERVICE: &str = "coco.v1.SiteService";

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Which transaction a request belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SiteTxn {
    /// A global one.
    Global(Gtid),
    /// One of this site alone, as the site has named it.
    Local(u64),
    /// One of this site alone that begins with this request.
    NewLocal,
}

/// Keys from `low` up to, not including, `high`; without `high` up to the end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Range {
    /// The first key.
    pub low: Vec<u8>,
    /// The first key after the range.
    pub high: Option<Vec<u8>>,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Reads a key.
    Get(Vec<u8>),
    /// Writes a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Reads a range.
    Scan(Range),
    /// Adds to a number.
    Increment(Vec<u8>, i64),
    /// Names all keys that the transaction is going to use at the site.
    Declare(Vec<Vec<u8>>),
    /// Runs one statement of the site's database.
    Sql(String),
}

/// What a statement returned, as text.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Table {
    /// The names of the columns; none if the statement returns no rows.
    pub columns: Vec<String>,
    /// The rows: one cell for each column, `None` where the value is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows it returned or changed, as the database counts.
    pub affected: u64,
}

/// What an operation answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum OperationReply {
    /// The value read, if there is one.
    Value(Option<Vec<u8>>),
    /// The rows read, in order of their keys.
    Rows(Vec<Row>),
    /// Done.
    Done,
    /// What a statement returned.
    Table(Table),
}

/// A request to run operations.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Execute {
    /// Of which transaction.
    pub txn: SiteTxn,
    /// It begins here with this request, and this is its age.
    pub begin: Option<Priority>,
    /// What to run, in order. It ends at the first one that fails.
    pub operations: Vec<Operation>,
}

/// A local transaction that has begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NewLocal {
    /// Its name, from one.
    pub name: u64,
    /// Its age; a retry passes it on.
    pub priority: Priority,
}

/// The answer to a request to run operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecuteAnswer {
    /// The local transaction that began with it.
    pub local: Option<NewLocal>,
    /// What came of the operations.
    pub outcome: ExecuteOutcome,
}

/// What came of operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExecuteOutcome {
    /// One answer each.
    Results(Vec<OperationReply>),
    /// The transaction is aborted at this site.
    Aborted(AbortCause),
    /// One of them was refused; those before it are done, and the transaction goes on.
    Refused(Refused),
}

/// What a site has done so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SiteStatistics {
    /// Its engine.
    pub engine: String,
    /// Votes that were asked for.
    pub votes_requested: u64,
    /// Votes that had to wait for a predecessor.
    pub votes_withheld: u64,
    /// Cycles of conflicts and waits found and broken at this site.
    pub local_cycles: u64,
    /// Transactions that preceded a committed one and were aborted for it.
    pub overtaken: u64,
    /// Transactions that have begun and are not decided.
    pub in_flight: u64,
}

/// A transaction that has voted YES at a site and whose decision the site does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InDoubtInfo {
    /// Which.
    pub gtid: Gtid,
    /// For how long, since the site started at most.
    pub age: Duration,
}

/// A transaction that waits at a site, its operation or its vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteWait {
    /// Which.
    pub gtid: Gtid,
    /// The global transactions that it waits for.
    pub waits_for: Vec<Gtid>,
    /// For how long.
    pub age: Duration,
}

/// What is not settled at a site.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// In doubt.
    pub in_doubt: Vec<InDoubtInfo>,
    /// Waiting.
    pub waits: Vec<SiteWait>,
    /// Decided here by hand: the coordinator has not been heard, or has decided the other way.
    pub heuristics: Vec<Heuristic>,
}

/// What an operator has done at a site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoneByHand {
    /// What was decided; none if it was damage that is acknowledged now.
    pub decision: Option<Decision>,
    /// Transactions in doubt that had read from it and are aborted with it.
    pub along: Vec<Gtid>,
}

/// Whose request it is, as far as bounds go: a token's, or an address's if there are no tokens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer(PeerKey);

impl Peer {
    /// The one with a token of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(PeerKey::Token(name.into()))
    }
}

/// What a site does for its clients.
pub trait SiteHandler: Send + Sync + 'static {
    /// Runs operations of one transaction.
    ///
    /// # Cancel safety
    /// The future is dropped when the client goes away: the transaction should then be aborted.
    fn execute(&self, peer: Peer, request: Execute) -> impl Future<Output = ExecuteAnswer> + Send;

    /// Commits a local transaction. When the future is dropped the commit goes on.
    fn commit_local(&self, name: u64) -> impl Future<Output = CommitAnswer> + Send;

    /// Aborts a local transaction.
    fn rollback_local(&self, name: u64) -> impl Future<Output = ()> + Send;

    /// Reads a range as of a stamp.
    fn query(
        &self,
        stamp: Stamp,
        range: Range,
    ) -> impl Future<Output = Result<Vec<Row>, Refused>> + Send;

    /// What the site has done so far.
    fn statistics(&self) -> SiteStatistics;

    /// What is not settled here.
    fn pending(&self) -> Pending;

    /// An operator decides a transaction in doubt at this site alone, or acknowledges damage. What is asked for,
    /// by whom and why, is written down before it is done.
    fn resolve(
        &self,
        operator: String,
        gtid: Gtid,
        how: ByHand,
        reason: String,
    ) -> impl Future<Output = Result<DoneByHand, Refused>> + Send;
}

/// A running site server.
#[derive(Debug)]
pub struct SiteServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Calls run while this is held.
    calls: watch::Sender<()>,
    /// Of a server that is always healthy.
    serving: Option<watch::Sender<bool>>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl SiteServer {
    /// Serves `handler` on `listener`, in the present tokio runtime.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start<H: SiteHandler>(listener: impl Listener, handler: Arc<H>) -> io::Result<Self> {
        // Healthy as long as it runs.
        let (serving, is_serving) = watch::channel(true);
        let mut server = Self::start_with(listener, handler, &Front::default(), is_serving)?;
        server.serving = Some(serving);
        Ok(server)
    }

    /// [`SiteServer::start`] that lets in whom the front does, and how much of it; and is healthy while
    /// `serving` says so.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start_with<H: SiteHandler>(
        listener: impl Listener,
        handler: Arc<H>,
        front: &Front,
        serving: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (calls, running) = watch::channel(());
        let operations = front.limits.operations;
        let adapter = Adapter {
            handler,
            running,
            operations,
        };
        let service = wire::site_service_server::SiteServiceServer::new(adapter)
            .max_decoding_message_size(front.limits.message_bytes)
            .max_encoding_message_size(front.limits.message_bytes);
        let routes = with_health(Routes::new(service), SERVICE, serving);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // An error means that the handle was dropped: that stops the server as well.
            let _stopped_or_dropped = stopped.await;
        };
        let (address, server) = serve(listener, routes, front, stopped)?;
        Ok(Self {
            address,
            stop,
            calls,
            serving: None,
            task: tokio::spawn(server),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections and ends when the calls in flight have, or when they have had that long.
    /// Dropping it ends everything at once.
    ///
    /// # Errors
    /// If the server had failed.
    pub async fn shutdown(mut self, grace: Duration) -> Result<(), tonic::transport::Error> {
        // An error means that the server has ended by itself; its task says why.
        let _already_ended = self.stop.send(());
        let ended = match tokio::time::timeout(grace, &mut self.task).await {
            Ok(ended) => ended,
            Err(_late) => {
                drop(self.calls);
                // Their answers leave; a peer that does not even close its connection is not waited for.
                match tokio::time::timeout(FLUSH, &mut self.task).await {
                    Ok(ended) => ended,
                    Err(_silent) => {
                        self.task.abort();
                        return Ok(());
                    }
                }
            }
        };
        match ended {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    /// Ends at once, as a crash would; clients see their calls break.
    pub fn kill(self) {
        self.task.abort();
    }
}

struct Adapter<H> {
    handler: Arc<H>,
    running: watch::Receiver<()>,
    /// How many operations one request may bring.
    operations: usize,
}

impl<H> Adapter<H> {
    /// Runs a call, unless the server is killed meanwhile.
    async fn call<T>(&self, call: impl Future<Output = T>) -> Result<T, Status> {
        let mut running = self.running.clone();
        tokio::select! {
            biased;
            done = call => Ok(done),
            // An error is what comes: nothing is ever sent, the sender is dropped.
            _ = running.changed() => Err(Status::unavailable("the site is stopping")),
        }
    }
}

#[tonic::async_trait]
impl<H: SiteHandler> wire::site_service_server::SiteService for Adapter<H> {
    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<wire::ExecuteReply>, Status> {
        let peer = Peer(Caller::of(&request).key);
        let request = execute_of(request.into_inner())?;
        if request.operations.len() > self.operations {
            let message = format!(
                "the request brings {} operations; send at most {} at once",
                request.operations.len(),
                self.operations
            );
            let refused = Refused {
                code: RefusedCode::InvalidOperation,
                message,
                retry_after: None,
            };
            return Ok(Response::new(execute_answer_to_wire(ExecuteAnswer {
                local: None,
                outcome: ExecuteOutcome::Refused(refused),
            })));
        }
        let answer = self.call(self.handler.execute(peer, request)).await?;
        Ok(Response::new(execute_answer_to_wire(answer)))
    }

    async fn commit_local(
        &self,
        request: Request<wire::LocalRequest>,
    ) -> Result<Response<wire::CommitReply>, Status> {
        let answer = self.call(self.handler.commit_local(request.into_inner().local));
        let answer = answer.await?;
        Ok(Response::new(answer_to_wire(answer)))
    }

    async fn rollback_local(
        &self,
        request: Request<wire::LocalRequest>,
    ) -> Result<Response<wire::RollbackReply>, Status> {
        let rollback = self.handler.rollback_local(request.into_inner().local);
        self.call(rollback).await?;
        Ok(Response::new(wire::RollbackReply {}))
    }

    async fn query(
        &self,
        request: Request<wire::QueryRequest>,
    ) -> Result<Response<wire::QueryReply>, Status> {
        let (stamp, range) = query_of(request.into_inner())?;
        let outcome = match self.call(self.handler.query(stamp, range)).await? {
            Ok(rows) => wire::query_reply::Outcome::Rows(rows_to_wire(rows)),
            Err(refused) => wire::query_reply::Outcome::Refused(refused.into()),
        };
        Ok(Response::new(wire::QueryReply {
            outcome: Some(outcome),
        }))
    }

    async fn site_statistics(
        &self,
        _request: Request<wire::StatisticsRequest>,
    ) -> Result<Response<wire::SiteStatisticsReply>, Status> {
        Ok(Response::new(site_statistics_to_wire(
            self.handler.statistics(),
        )))
    }

    async fn pending(
        &self,
        _request: Request<wire::PendingRequest>,
    ) -> Result<Response<wire::PendingReply>, Status> {
        Ok(Response::new(pending_to_wire(self.handler.pending())))
    }

    async fn resolve(
        &self,
        request: Request<wire::SiteResolveRequest>,
    ) -> Result<Response<wire::SiteResolveReply>, Status> {
        let operator = Caller::of(&request).name();
        let (gtid, how, reason) = site_resolve_of(request.into_inner())?;
        let done = self.handler.resolve(operator, gtid, how, reason);
        Ok(Response::new(done_by_hand_to_wire(self.call(done).await?)))
    }
}
