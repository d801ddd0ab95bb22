//! Transactions over several sites, from a client's side.
//!
//! ```no_run
//! use coco::client::{Client, Commit};
//! # async fn transfer() -> Result<(), coco::client::ClientError> {
//! let client = Client::connect("http://127.0.0.1:7000").await?;
//! let mut txn = client.begin().await?;
//! txn.increment("berlin", b"alice", -10).await?;
//! txn.increment("madrid", b"bob", 10).await?;
//! match txn.commit().await? {
//!     Commit::Committed(stamp) => println!("committed at {stamp}"),
//!     Commit::Aborted(cause) => println!("aborted: {cause:?}; try again"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - K1 "Aborted" is said only of a transaction that is aborted everywhere. Whatever leaves that open after
//!   a commit was asked for is [`ClientError::OutcomeUnknown`].
//! - K2 A transaction that is aborted at one site, or whose operation was lost on the way, does no more
//!   work: it is rolled back at its other sites, and further calls say that it has ended.
//! - K3 No request that could be done twice is sent twice. One that was refused for lack of room has not been
//!   looked at by anybody: it is sent again, later and later, within [`ClientOptions::overload_patience`].

mod backoff;
mod error;
mod lease;
mod local;
mod operator;
mod retry;
mod sites;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use co_core::{Priority, Stamp};
use tonic::Status;

use self::backoff::Backoff;
use self::lease::Leases;
use self::sites::Directory;
use crate::protocol::{AbortCause, CommitAnswer};
use crate::service::coordinator::{SiteInfo, Statistics};
use crate::service::net::Connector;
use crate::service::security::Credentials;
use crate::service::site::{Range, Row, SiteStatistics};
use crate::service::{
    CommitReply, CoordinatorClient, MAX_MESSAGE_BYTES, Transport, answer_of, commit_request,
    endpoint, rollback_request, statistics_of, statistics_request, with_timeout,
};

pub use self::error::{ClientError, Unresolved};
pub use self::local::LocalTransaction;
pub use self::operator::SiteOperator;
pub use self::retry::Retry;
pub use self::transaction::{Commit, Transaction};
pub use crate::service::site::{Operation, OperationReply, Table};

/// A connection to a coordinator and its sites. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    coordinator: CoordinatorClient<Transport>,
    directory: Directory,
    leases: Leases,
    options: ClientOptions,
}

/// A client's patience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientOptions {
    /// How long an operation at a site may take; it may have to wait for locks there. Longer than the
    /// site's own patience, whose answer says more.
    pub operation_timeout: Duration,
    /// How long a commit may take before its outcome is called unknown. Longer than the coordinator waits
    /// for votes.
    pub commit_timeout: Duration,
    /// Most identifiers that are fetched ahead, so that beginning costs no round trip; 1 fetches each one
    /// when it is needed.
    pub lease: u32,
    /// How long a request is sent again that was refused because there was no room for it.
    pub overload_patience: Duration,
    /// What is shown to the coordinator and the sites.
    pub credentials: Credentials,
    /// How the coordinator and the sites are connected to.
    pub connector: Connector,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            operation_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(30),
            lease: 64,
            overload_patience: Duration::from_secs(10),
            credentials: Credentials::none(),
            connector: Connector::tcp(),
        }
    }
}

impl Client {
    /// Connects to the coordinator at `uri`, such as `http://127.0.0.1:7000`.
    ///
    /// # Errors
    /// If `uri` is no address, or nobody listens there.
    pub async fn connect(uri: &str) -> Result<Self, ClientError> {
        Self::connect_with(uri, ClientOptions::default()).await
    }

    /// [`Client::connect`] with other patience.
    ///
    /// # Errors
    /// If `uri` is no address, or nobody listens there.
    pub async fn connect_with(uri: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let target = endpoint(uri, &options.credentials, &options.connector)?;
        let channel = target
            .connect()
            .await
            .map_err(|source| ClientError::Connect {
                uri: uri.to_owned(),
                source,
            })?;
        let coordinator =
            CoordinatorClient::with_interceptor(channel, options.credentials.bearer())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let shared = Shared {
            directory: Directory::new(coordinator.clone(), &options),
            leases: Leases::new(coordinator.clone(), &options),
            coordinator,
            options,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Waits until the coordinator knows all these sites as connected.
    ///
    /// # Errors
    /// [`ClientError::SitesMissing`] names those that are not, when `patience` has run out.
    pub async fn wait_for_sites(
        &self,
        sites: &[&str],
        patience: Duration,
    ) -> Result<(), ClientError> {
        self.shared.directory.wait_for(sites, patience).await
    }

    /// The sites that the coordinator knows.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn sites(&self) -> Result<Vec<SiteInfo>, ClientError> {
        self.shared.directory.list().await
    }

    /// What the coordinator has done so far.
    ///
    /// # Errors
    /// If the coordinator cannot be asked.
    pub async fn statistics(&self) -> Result<Statistics, ClientError> {
        let reply = self
            .shared
            .coordinator
            .clone()
            .statistics(with_timeout(
                statistics_request(),
                self.shared.options.operation_timeout,
            ))
            .await;
        let reply = reply.map_err(error::of_coordinator)?;
        Ok(statistics_of(reply.into_inner())?)
    }

    /// What a site has done so far.
    ///
    /// # Errors
    /// If the site is not known or cannot be asked.
    pub async fn site_statistics(&self, site: &str) -> Result<SiteStatistics, ClientError> {
        self.shared.directory.statistics(site).await
    }

    /// Begins a transaction. It is at no site yet: it comes to a site with its first operation there.
    ///
    /// # Errors
    /// If the coordinator takes no new transactions.
    pub async fn begin(&self) -> Result<Transaction, ClientError> {
        let (gtid, priority) = self.shared.leases.next().await?;
        Ok(Transaction::new(self.clone(), gtid, priority))
    }

    /// Begins a transaction again that was aborted, as old as its first attempt: it grows old enough to
    /// win against those that it lost to. See [`Transaction::priority`].
    ///
    /// # Errors
    /// If the coordinator takes no new transactions.
    pub async fn begin_again(&self, priority: Priority) -> Result<Transaction, ClientError> {
        let gtid = self.shared.leases.begin_as(priority).await?;
        Ok(Transaction::new(self.clone(), gtid, priority))
    }

    /// A transaction of one site alone: the coordinator has no part in it.
    #[must_use]
    pub fn local(&self, site: &str) -> LocalTransaction {
        LocalTransaction::new(self.clone(), site, None)
    }

    /// [`Client::local`] for a local transaction that was aborted, as old as its first attempt.
    #[must_use]
    pub fn local_again(&self, site: &str, priority: Priority) -> LocalTransaction {
        LocalTransaction::new(self.clone(), site, Some(priority))
    }

    /// Reads a range of a site as of a stamp: everything that was decided up to there, nothing later,
    /// without a transaction. Only multi-version sites can.
    ///
    /// # Errors
    /// If the site cannot be reached, or keeps no old versions.
    pub async fn query(
        &self,
        site: &str,
        stamp: Stamp,
        range: Range,
    ) -> Result<Vec<Row>, ClientError> {
        let timeout = self.shared.options.operation_timeout;
        self.shared
            .directory
            .query(site, stamp, range, timeout)
            .await
    }

    /// Asks for the outcome of a commit again; see [`ClientError::OutcomeUnknown`]. Harmless however often:
    /// the coordinator ends a transaction once.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`] if it is still not known.
    pub async fn ask_again(&self, unresolved: &Unresolved) -> Result<Commit, ClientError> {
        self.end(unresolved.clone(), End::CommitAgain).await
    }

    /// Asks for the end of a transaction, for the first time or again.
    async fn end(&self, what: Unresolved, how: End) -> Result<Commit, ClientError> {
        let timeout = self.shared.options.commit_timeout;
        let mut backoff = Backoff::new(self.shared.options.overload_patience);
        let answer = loop {
            match self.ask_for_end(&what, how, timeout).await {
                Err(status) if backoff.again(&status).await => {}
                answer => break answer,
            }
        };
        let answer = match answer {
            Ok(Some(reply)) => Ok(answer_of(reply)?),
            Ok(None) => Ok(CommitAnswer::Aborted {
                cause: AbortCause::Client,
            }),
            Err(status) => Err(status),
        };
        if !matches!(
            answer,
            Ok(CommitAnswer::Committed { .. } | CommitAnswer::Aborted { .. })
        ) {
            // The coordinator may have started anew: it would not know what it handed out before.
            self.shared.leases.discard().await;
        }
        error::outcome(what, how, answer)
    }

    fn coordinator(&self) -> CoordinatorClient<Transport> {
        self.shared.coordinator.clone()
    }

    fn patience(&self) -> Duration {
        self.shared.options.operation_timeout
    }

    /// Asks once. A rollback has no reply: it is done when it is answered.
    async fn ask_for_end(
        &self,
        what: &Unresolved,
        how: End,
        timeout: Duration,
    ) -> Result<Option<CommitReply>, Status> {
        let mut coordinator = self.shared.coordinator.clone();
        match how {
            End::Rollback => {
                let request = rollback_request(what.gtid, &what.sites, timeout);
                coordinator.rollback(request).await.map(|_| None)
            }
            End::Commit { .. } | End::CommitAgain => {
                let dependent = how == End::Commit { dependent: true };
                let request = commit_request(what.gtid, &what.sites, dependent, timeout);
                let reply = coordinator.commit(request).await?;
                Ok(Some(reply.into_inner()))
            }
        }
    }
}

/// What is asked for at the end of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Commit { dependent: bool },
    CommitAgain,
    Rollback,
}
