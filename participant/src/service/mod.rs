//! A site as a server: the engine's operations for clients, the voter's link to the coordinator.
//!
//! ```text
//! clients ──Execute──► handler ──► engine ◄──── site (voter, log) ◄──── driver ◄──link── coordinator
//!                         └─────begin, abandon, commit_local───┘            └── ticks, wakes
//! ```
//!
//! Invariants:
//! - P1 One operation of a transaction runs at a time; a second one is refused.
//! - P2 An operation whose client has gone, or that waits too long, ends its transaction, unless the vote
//!   was asked for.
//! - P3 A transaction whose client is silent for the idle timeout is aborted, unless its vote was asked for.

mod activity;
mod by_hand;
mod driver;
mod handler;
mod metrics;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coco::failpoint;
use coco::log::Log;
use coco::protocol::{CoordinatorId, Durability, Incarnation, SiteName, VoterConfig};
use coco::service::audit::Audit;
use coco::service::link::{EVENTS, Link};
use coco::service::net::{Connector, Listener};
use coco::service::security::Credentials;
use coco::service::site::SiteServer;
use coco::service::{Front, InvalidUri};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::activity::Activity;
use self::driver::{Around, Driver};
use self::handler::Handler;
pub use self::metrics::SiteMetrics;
use self::watched::Watch;
use crate::error::HistoryError;
use crate::participant::Participant;
use crate::site::{CHECKPOINT_BYTES, NoLog, RecoverError, Site};

/// How often a site that drains is asked whether it is empty.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How long a shutdown waits for calls in flight.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How a site serves.
pub struct ParticipantOptions {
    /// The site's name: unique among the sites of its coordinator.
    pub name: SiteName,
    /// The addresses of the coordinators that the site works for.
    pub coordinators: BTreeMap<CoordinatorId, String>,
    /// The address that clients are told, such as `http://host:7001`; without it, that of the listener.
    pub advertise: Option<String>,
    /// How long a transaction's client may be silent.
    pub idle_timeout: Duration,
    /// How long one operation may wait for its locks.
    pub operation_timeout: Duration,
    /// How often timers and waits are looked at.
    pub tick: Duration,
    /// By how many bytes the log of a site with a durable storage grows between checkpoints.
    pub checkpoint_bytes: u64,
    /// Whom it lets in, and how much of it.
    pub front: Front,
    /// What it shows to its coordinator.
    pub credentials: Credentials,
    /// How it connects to its coordinators.
    pub connector: Connector,
    /// Where what operators do by hand is written down; without it they can do nothing.
    pub audit: Option<Audit>,
    /// How the site votes; address and durability are filled in.
    pub voter: VoterConfig,
    /// Called with what an operator wants to see: the link's ups and downs.
    pub on_event: Box<dyn Fn(&str) + Send>,
}

impl ParticipantOptions {
    /// Ordinary patience, and one coordinator, whose id is 0.
    #[must_use]
    pub fn new(name: &str, coordinator: &str) -> Self {
        Self {
            name: SiteName::new(name),
            coordinators: BTreeMap::from([(CoordinatorId(0), coordinator.to_owned())]),
            advertise: None,
            idle_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(10),
            tick: Duration::from_millis(5),
            checkpoint_bytes: CHECKPOINT_BYTES,
            front: Front::default(),
            credentials: Credentials::none(),
            connector: Connector::tcp(),
            audit: None,
            voter: VoterConfig::default(),
            on_event: Box::new(|_| {}),
        }
    }
}

impl fmt::Debug for ParticipantOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParticipantOptions")
            .field("name", &self.name)
            .field("coordinators", &self.coordinators)
            .finish_non_exhaustive()
    }
}

/// What survives a restart of the site.
pub enum Storage {
    /// Nothing.
    Volatile,
    /// What is in this log, which held these records.
    Durable {
        /// The log.
        log: Arc<dyn Log>,
        /// Its records.
        records: Vec<Vec<u8>>,
    },
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volatile => "Volatile",
            Self::Durable { .. } => "Durable",
        })
    }
}

/// Why a site did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its log makes no sense.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A coordinator's address is none.
    #[error(transparent)]
    Coordinator(#[from] InvalidUri),
    /// The listener has no address.
    #[error("the listening socket failed: {0}")]
    Listener(#[from] io::Error),
}

/// A running site.
#[derive(Debug)]
pub struct ParticipantServer {
    site: Arc<Site>,
    metrics: SiteMetrics,
    draining: Arc<AtomicBool>,
    server: SiteServer,
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl ParticipantServer {
    /// Serves `participant`, whose storage is empty or was left by this log, on `listener`, in the present tokio
    /// runtime. The links to the coordinators come up as soon as these are there.
    ///
    /// # Errors
    /// If the log makes no sense, or an address is none.
    pub fn start(
        mut options: ParticipantOptions,
        participant: Arc<dyn Participant>,
        storage: Storage,
        listener: impl Listener,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr()?;
        let advertised = options.advertise.clone().unwrap_or_else(|| {
            let encrypted = options.front.security.has_tls();
            let scheme = if encrypted { "https" } else { "http" };
            format!("{scheme}://{address}")
        });
        let (log, records, durability): (Arc<dyn Log>, _, _) = match storage {
            Storage::Volatile => (Arc::new(NoLog::new()), Vec::new(), Durability::Volatile),
            Storage::Durable { log, records } => (log, records, Durability::Durable),
        };
        let voter = VoterConfig {
            address: advertised,
            durability,
            ..std::mem::take(&mut options.voter)
        };
        failpoint::io("site: recover")?;
        let driver = Driver::open(&options, voter, participant, log, &records)?;
        failpoint::io("site: recovered")?;
        let site = driver.site();
        site.checkpoint_every(options.checkpoint_bytes);
        let activity = Arc::new(Activity::new());
        let watch = Arc::new(Watch::default());
        let draining = Arc::new(AtomicBool::new(false));
        let front = options.front.clone();
        let handler = Handler::new(
            Arc::clone(&site),
            Arc::clone(&activity),
            Arc::clone(&watch),
            options.operation_timeout,
        )
        .bounded(&front, Arc::clone(&draining))
        .audited(options.audit.take());
        let (events, told) = mpsc::channel(EVENTS);
        let open = |(&id, uri): (&CoordinatorId, &String)| {
            let (name, credentials) = (options.name.clone(), options.credentials.clone());
            let connector = options.connector.clone();
            Link::open_with(id, uri, name, credentials, connector, events.clone())
        };
        let links: Vec<Link> = options
            .coordinators
            .iter()
            .map(open)
            .collect::<Result<_, _>>()?;
        failpoint::io("site: serve")?;
        let (serving, is_serving) = watch::channel(false);
        let server = SiteServer::start_with(listener, Arc::new(handler), &front, is_serving)?;
        let (stop, stopped) = oneshot::channel();
        let around = Around {
            activity,
            watch: Arc::clone(&watch),
            draining: Arc::clone(&draining),
            serving,
        };
        let driver = tokio::spawn(driver.run(options, links, told, around, stopped));
        Ok(Self {
            metrics: SiteMetrics::new(Arc::clone(&site), watch, &front),
            draining,
            site,
            server,
            stop,
            driver,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The site behind it.
    #[must_use]
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// Where its metrics come from.
    #[must_use]
    pub fn metrics(&self) -> SiteMetrics {
        self.metrics.clone()
    }

    /// Begins nothing more, says so to those who ask after its health, and waits until all transactions that
    /// run here are decided and nothing of them is on its way to a database any more, but no longer than `patience`. Then
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// If the history could not be written in full.
    pub async fn drain(self, patience: Duration) -> Result<(), HistoryError> {
        self.draining.store(true, Ordering::SeqCst);
        let quiet = async {
            while self.site.participant().in_flight() > 0 {
                // Many things end a transaction, none of which tells: the engine is asked.
                tokio::time::sleep(DRAIN_POLL).await;
            }
            let (tell, told) = oneshot::channel::<()>();
            let participant = Arc::clone(self.site.participant());
            // A thread of its own: nobody waits for one that waits for a database which does not come back.
            std::thread::spawn(move || {
                participant.quiesce();
                drop(tell);
            });
            let _quiet = told.await;
        };
        let _late = tokio::time::timeout(patience, quiet).await;
        self.shutdown().await
    }

    /// Takes no more calls, waits a moment for those in flight, and finishes the history with its footer.
    ///
    /// # Errors
    /// If the history could not be written in full.
    pub async fn shutdown(self) -> Result<(), HistoryError> {
        // A server that had failed does not change what the history says.
        let _failed = self.server.shutdown(SHUTDOWN_GRACE).await;
        // Errors mean that the driver has ended already.
        let _driver_ended = self.stop.send(());
        let _driver_ended = self.driver.await;
        self.site.participant().recorder().finish()
    }

    /// Ends at once, as a crash would.
    pub fn kill(self) {
        self.driver.abort();
        self.server.kill();
    }
}

/// A life of a volatile site: later ones have to be larger, and all it can go by is the clock.
fn volatile_incarnation() -> Incarnation {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = now.map_or(0, |now| now.as_micros());
    Incarnation(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
