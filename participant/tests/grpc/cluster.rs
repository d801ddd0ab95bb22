//! A coordinator and sites in this process, each of which can be ended, killed and started again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use checker::{Level, Verdict};
use co_core::VoteRule;
use coco::client::Client;
use coco::log::{Done, FileLog, Log, LogError, Lsn, OpenError, Options, Owner};
use coco::protocol::{CoordinatorConfig, CoordinatorId};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use participant::Recorder;
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use tokio::net::TcpListener;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster's only coordinator.
pub(crate) const COORDINATOR: CoordinatorId = CoordinatorId(1);

/// Has the checker judge the histories of all sites together.
pub(crate) fn assert_in_order(histories: &[checker::SiteHistory]) {
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = checker::judge(histories, level);
        let valid = matches!(report.verdict, Verdict::Valid { .. });
        assert!(valid, "{level:?}: {}", report.to_json());
    }
}

/// What a site has recorded, read by the checker.
pub(crate) fn history_of(name: &str, recorder: &Recorder) -> checker::SiteHistory {
    let text = recorder.text().unwrap();
    checker::parse::read_history(text.as_bytes(), name).unwrap()
}

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) config: CoordinatorConfig,
    pub(crate) log: GatedLog,
    address: SocketAddr,
    coordinator: Option<CoordinatorServer>,
    sites: BTreeMap<&'static str, ParticipantServer>,
    recorders: BTreeMap<&'static str, Recorder>,
}

impl Cluster {
    /// A coordinator with ordinary settings, and volatile sites.
    pub(crate) async fn start(sites: &[(&'static str, EngineKind)]) -> Self {
        Self::start_with(CoordinatorConfig::default(), sites).await
    }

    pub(crate) async fn start_with(
        config: CoordinatorConfig,
        sites: &[(&'static str, EngineKind)],
    ) -> Self {
        let mut cluster = Self {
            config,
            log: GatedLog::default(),
            address: own_address(),
            coordinator: None,
            sites: BTreeMap::new(),
            recorders: BTreeMap::new(),
        };
        cluster.start_coordinator().await;
        for &(name, engine) in sites {
            cluster
                .start_site(name, engine, Storage::Volatile, |_| {})
                .await;
        }
        cluster
    }

    /// Starts the coordinator, from what its log holds, where it was before.
    pub(crate) async fn start_coordinator(&mut self) {
        self.log = self.log.survivors();
        let records = self.log.records();
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        let listener = bind(self.address).await;
        let options = CoordinatorOptions {
            id: COORDINATOR,
            config: self.config.clone(),
            ..CoordinatorOptions::default()
        };
        let server = CoordinatorServer::start(options, listener, log, &records)
            .await
            .unwrap();
        self.address = server.address();
        self.coordinator = Some(server);
    }

    /// The coordinator's machine stops: nothing is said to anybody any more.
    pub(crate) fn kill_coordinator(&mut self) {
        self.coordinator.take().unwrap().kill();
    }

    /// Starts a site with a recorder of its own, or the one that it had before.
    pub(crate) async fn start_site(
        &mut self,
        name: &'static str,
        engine: EngineKind,
        storage: Storage,
        adjust: impl FnOnce(&mut ParticipantOptions),
    ) {
        let recorder = self
            .recorders
            .entry(name)
            .or_insert_with(|| Recorder::memory(name))
            .clone();
        let mut options = ParticipantOptions::new(name, &self.uri());
        options.coordinators = BTreeMap::from([(COORDINATOR, self.uri())]);
        options.voter.inquire_after = Duration::from_millis(200);
        adjust(&mut options);
        let listener = bind("127.0.0.1:0".parse().unwrap()).await;
        let participant = open(engine, VoteRule::Withhold, recorder);
        let server = ParticipantServer::start(options, participant, storage, listener).unwrap();
        self.sites.insert(name, server);
    }

    pub(crate) fn kill_site(&mut self, name: &str) {
        self.sites.remove(name).unwrap().kill();
    }

    pub(crate) fn site(&self, name: &str) -> &ParticipantServer {
        &self.sites[name]
    }

    pub(crate) fn coordinator(&self) -> &CoordinatorServer {
        self.coordinator.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that sees all sites connected.
    pub(crate) async fn client(&self) -> Client {
        let client = Client::connect(&self.uri()).await.unwrap();
        let names: Vec<&str> = self.sites.keys().copied().collect();
        client.wait_for_sites(&names, PATIENCE).await.unwrap();
        client
    }

    /// Waits until every transaction is decided everywhere, ends everything, and has the histories judged.
    pub(crate) async fn finish(self) {
        assert_in_order(&self.histories().await);
    }

    /// [`Cluster::finish`] without the judge.
    pub(crate) async fn histories(mut self) -> Vec<checker::SiteHistory> {
        for (name, server) in &self.sites {
            let site = server.site();
            until(&format!("site {name} is quiet"), || {
                site.participant().in_flight() == 0
            })
            .await;
        }
        for (_, server) in std::mem::take(&mut self.sites) {
            server.shutdown().await.unwrap();
        }
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.shutdown().await.unwrap();
        }
        let recorded = self.recorders.iter();
        recorded
            .map(|(name, recorder)| history_of(name, recorder))
            .collect()
    }
}

/// Waits for a fact.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "in vain: {what}"
    );
}

/// Any port of an address of its own: nobody else takes the port of who is killed and comes back.
pub(crate) fn own_address() -> SocketAddr {
    static ADDRESSES: AtomicU32 = AtomicU32::new(1);
    let [.., high, low] = ADDRESSES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0))
}

pub(crate) async fn bind(address: SocketAddr) -> TcpListener {
    // The port of an ended coordinator may be in its last moments.
    for _ in 0..200 {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    TcpListener::bind(address).await.unwrap()
}

/// A site's storage in a folder. A killed site lets go of it when its last task has ended.
pub(crate) async fn durable(folder: &Path, name: &str) -> Storage {
    loop {
        match FileLog::open(folder, &Owner::participant(name), Options::default()) {
            Ok((log, records)) => {
                return Storage::Durable {
                    log: Arc::new(log),
                    records,
                };
            }
            Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// A log whose disk can be made to stand still, to fail, and to be found again after a crash.
#[derive(Clone, Default)]
pub(crate) struct GatedLog(Arc<Mutex<Gate>>);

#[derive(Default)]
struct Gate {
    records: Vec<Vec<u8>>,
    /// While the disk stands still.
    held: Option<Vec<(Vec<u8>, Option<Done>)>>,
    failed: bool,
}

impl GatedLog {
    /// The disk stands still.
    pub(crate) fn hold(&self) {
        self.0.lock().unwrap().held.get_or_insert_default();
    }

    /// The disk goes on.
    pub(crate) fn release(&self) {
        let held = self.0.lock().unwrap().held.take().unwrap_or_default();
        for (record, done) in held {
            self.push(record, done);
        }
    }

    /// The disk fails, from what it holds on.
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().failed = true;
        self.release();
    }

    /// How many appends the disk holds back.
    pub(crate) fn held(&self) -> usize {
        self.0.lock().unwrap().held.as_ref().map_or(0, Vec::len)
    }

    /// What a restart finds.
    pub(crate) fn survivors(&self) -> Self {
        let gate = Gate {
            records: self.records(),
            ..Gate::default()
        };
        Self(Arc::new(Mutex::new(gate)))
    }

    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().records.clone()
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::Durable {
            log: Arc::new(self.clone()),
            records: self.records(),
        }
    }

    fn push(&self, record: Vec<u8>, done: Option<Done>) {
        let mut gate = self.0.lock().unwrap();
        if let Some(held) = &mut gate.held {
            held.push((record, done));
            return;
        }
        let result = if gate.failed {
            let cause = Arc::new(std::io::Error::other("the disk is gone"));
            Err(LogError::Poisoned { cause })
        } else {
            gate.records.push(record);
            Ok(Lsn(gate.records.len() as u64))
        };
        drop(gate);
        if let Some(done) = done {
            done(result);
        }
    }
}

impl Log for GatedLog {
    fn append(&self, record: &[u8], done: Done) {
        self.push(record.to_vec(), Some(done));
    }

    fn append_lazy(&self, record: &[u8]) {
        self.push(record.to_vec(), None);
    }

    fn cut_before(&self, _lsn: Lsn) -> std::io::Result<()> {
        Ok(())
    }
}

/// A wire between a site and the coordinator that can be cut.
pub(crate) struct Wire {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
    open: Arc<std::sync::atomic::AtomicBool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        use std::sync::atomic::{AtomicBool, Ordering};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>> = Arc::default();
        let open = Arc::new(AtomicBool::new(true));
        let (all, is_open) = (Arc::clone(&connections), Arc::clone(&open));
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !is_open.load(Ordering::Relaxed) {
                    continue;
                }
                let carry = tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::TcpStream::connect(target).await else {
                        return;
                    };
                    // However the connection ends, it has ended.
                    let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
                all.lock().unwrap().push(carry);
            }
        });
        Self {
            address,
            connections,
            open,
            accepting,
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks what is connected and lets nothing through.
    pub(crate) fn cut(&self) {
        self.open.store(false, Ordering::Relaxed);
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    pub(crate) fn mend(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

/// The number in a value.
pub(crate) fn number(value: Option<Vec<u8>>) -> i64 {
    value.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap()))
}
