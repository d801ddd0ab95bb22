//! A cluster as an operator would run it: encrypted, with tokens, watched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use co_core::VoteRule;
use coco::client::{Client, ClientOptions, Commit};
use coco::log::{FileLog, Options, Owner};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use coco::service::metrics::MetricsServer;
use coco::service::security::{
    CredentialFiles, Credentials, SecurityFiles, ServerSecurity, TlsFiles,
};
use coco::service::{Front, Limits};
use participant::Recorder;
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::{Authority, secret};
use crate::cluster::{COORDINATOR, Cluster, PATIENCE, until};

const TOKENS: &str = "client shop client-token-0123456789\n\
    participant A site-a-token-0123456789 site=A\n\
    participant B site-b-token-0123456789 site=B\n\
    operator root operator-token-01234567\n";

struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "ours");
        secret(&folder.path().join("tokens"), TOKENS);
        Self { folder, authority }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Certificate, client authority and tokens of a server.
    fn security(&self, name: &str) -> ServerSecurity {
        let pair = self.authority.issue(self.path(), name);
        let tls = TlsFiles {
            cert: pair.cert,
            key: pair.key,
            client_ca: Some(self.authority.pem.clone()),
        };
        ServerSecurity::load(SecurityFiles {
            tls: Some(tls),
            tokens: Some(self.path().join("tokens")),
        })
        .unwrap()
    }

    fn credentials(&self, name: &str, token: &str) -> Credentials {
        let pair = self.authority.issue(self.path(), &format!("{name}-client"));
        let file = self.path().join(token);
        secret(&file, token);
        Credentials::load(CredentialFiles {
            ca: Some(self.authority.pem.clone()),
            cert: Some(pair.cert),
            key: Some(pair.key),
            token: Some(file),
            server_name: None,
        })
        .unwrap()
    }

    async fn client(&self, address: &str, token: &str) -> Client {
        let options = ClientOptions {
            credentials: self.credentials("someone", token),
            ..ClientOptions::default()
        };
        Client::connect_with(address, options).await.unwrap()
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// One request, one answer.
async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The value of a metric, labels included in its name.
fn value(text: &str, name: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing:\n{text}"))
        .parse()
        .unwrap()
}

/// A metric of a process, now.
pub(crate) async fn scraped(address: std::net::SocketAddr, name: &str) -> f64 {
    value(&get(address, "/metrics").await, name)
}

/// The checker's verdict on what was done.
fn judge(recorders: &[(&str, Recorder)]) {
    let histories: Vec<_> = recorders
        .iter()
        .map(|(name, recorder)| {
            let text = recorder.text().unwrap();
            checker::parse::read_history(text.as_bytes(), name).unwrap()
        })
        .collect();
    let report = checker::judge(&histories, checker::Level::CommitmentOrdering);
    let valid = matches!(report.verdict, checker::Verdict::Valid { .. });
    assert!(valid, "{}", report.to_json());
}

async fn transfer(client: &Client) -> Commit {
    let mut txn = client.begin().await.unwrap();
    txn.increment("A", b"alice", -1).await.unwrap();
    txn.increment("B", b"bob", 1).await.unwrap();
    txn.commit().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one story, step by step")]
async fn certificates_are_changed_under_load_and_no_transaction_is_lost() {
    let files = Files::new();
    let security = files.security("coordinator");
    let options = CoordinatorOptions {
        front: Front::new(security.clone(), Limits::default()),
        ..CoordinatorOptions::default()
    };
    let (log, records) = FileLog::open(
        &files.path().join("log"),
        &Owner::coordinator("C0"),
        Options::default(),
    )
    .unwrap();
    let server = CoordinatorServer::start(options, listener().await, Arc::new(log), &records);
    let server = server.await.unwrap();
    let address = server.address().to_string();
    let (mut sites, mut recorders, mut securities) = (Vec::new(), Vec::new(), Vec::new());
    for (name, token) in [
        ("A", "site-a-token-0123456789"),
        ("B", "site-b-token-0123456789"),
    ] {
        let recorder = Recorder::memory(name);
        let own = files.security(name);
        let mut options = ParticipantOptions::new(name, &address);
        options.front = Front::new(own.clone(), Limits::default());
        options.credentials = files.credentials(name, token);
        let engine = open(EngineKind::Ss2pl, VoteRule::Withhold, recorder.clone());
        let site = ParticipantServer::start(options, engine, Storage::Volatile, listener().await);
        sites.push(site.unwrap());
        recorders.push((name, recorder));
        securities.push(own);
    }
    let client = files.client(&address, "client-token-0123456789").await;
    client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (load, ended) = (client.clone(), Arc::clone(&stop));
    let load = tokio::spawn(async move {
        let mut committed = 0_u64;
        while !ended.load(Ordering::SeqCst) {
            assert!(matches!(transfer(&load).await, Commit::Committed(_)));
            committed += 1;
        }
        committed
    });
    for _ in 0..5 {
        for name in ["coordinator", "A", "B"] {
            files.authority.issue(files.path(), name);
        }
        security.reload().unwrap();
        for own in &securities {
            own.reload().unwrap();
        }
        // A newcomer sees the new certificates, and works beside those who came before.
        let fresh = files.client(&address, "client-token-0123456789").await;
        assert!(matches!(transfer(&fresh).await, Commit::Committed(_)));
    }
    // The authority is replaced: both are trusted while the certificates change, and a newcomer that trusts the new
    // one alone is served.
    let next = Authority::new(files.path(), "next");
    let both = [&files.authority.pem, &next.pem].map(|pem| std::fs::read_to_string(pem).unwrap());
    std::fs::write(&files.authority.pem, both.concat()).unwrap();
    for name in ["coordinator", "A", "B"] {
        next.issue(files.path(), name);
    }
    security.reload().unwrap();
    for own in &securities {
        own.reload().unwrap();
    }
    let newcomer = Files {
        authority: next,
        ..files
    };
    let fresh = newcomer.client(&address, "client-token-0123456789").await;
    assert!(matches!(transfer(&fresh).await, Commit::Committed(_)));
    stop.store(true, Ordering::SeqCst);
    let committed = load.await.unwrap();
    assert!(committed > 0);
    let statistics = client.statistics().await.unwrap();
    assert_eq!(statistics.counters.commits, committed + 6);
    for site in sites {
        until("quiet", || site.site().participant().in_flight() == 0).await;
        site.drain(PATIENCE).await.unwrap();
    }
    server.shutdown().await.unwrap();
    judge(&recorders);
}

#[tokio::test]
async fn metrics_have_their_names_and_types_and_move_as_transactions_run() {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl), ("B", EngineKind::Mvcc)]).await;
    let client = cluster.client().await;
    let source = cluster.coordinator().metrics();
    let coordinator = MetricsServer::start(listener().await, move || {
        let source = source.clone();
        async move { source.render().await }
    })
    .unwrap();
    let source = cluster.site("A").metrics();
    let site = MetricsServer::start(listener().await, move || {
        let source = source.clone();
        async move { source.render() }
    })
    .unwrap();

    let before = get(coordinator.address(), "/metrics").await;
    assert!(before.starts_with("HTTP/1.1 200 OK\r\n"), "{before}");
    assert!(before.contains("application/openmetrics-text; version=1.0.0"));
    assert!(before.ends_with("# EOF\n"));
    for (name, kind) in [
        ("coco_begins", "counter"),
        ("coco_commits", "counter"),
        ("coco_aborts", "counter"),
        ("coco_deadlocks", "counter"),
        ("coco_resends", "counter"),
        ("coco_refused", "counter"),
        ("coco_in_flight", "gauge"),
        ("coco_withheld_votes", "gauge"),
        ("coco_withheld_votes_oldest_seconds", "gauge"),
        ("coco_unacknowledged_oldest_seconds", "gauge"),
        ("coco_site_connected", "gauge"),
    ] {
        assert!(
            before.contains(&format!("# TYPE {name} {kind}\n")),
            "{name}:\n{before}"
        );
        assert!(before.contains(&format!("# HELP {name} ")), "{name}");
    }
    assert_eq!(value(&before, "coco_commits_total"), 0.0);
    assert_eq!(value(&before, "coco_site_connected{site=\"A\"}"), 1.0);

    for _ in 0..3 {
        assert!(matches!(transfer(&client).await, Commit::Committed(_)));
    }
    let mut txn = client.begin().await.unwrap();
    txn.increment("A", b"alice", 1).await.unwrap();
    let during = get(site.address(), "/metrics").await;
    assert_eq!(value(&during, "coco_site_in_flight"), 1.0);
    txn.rollback().await.unwrap();

    let after = get(coordinator.address(), "/metrics").await;
    assert_eq!(value(&after, "coco_commits_total"), 3.0);
    assert_eq!(value(&after, "coco_aborts_total{cause=\"client\"}"), 1.0);
    assert!(value(&after, "coco_begins_total") >= 4.0);
    let after = get(site.address(), "/metrics").await;
    assert_eq!(value(&after, "coco_site_commits_total"), 3.0);
    assert_eq!(value(&after, "coco_site_link_up"), 1.0);
    assert_eq!(value(&after, "coco_site_serving"), 1.0);
    assert_eq!(value(&after, "coco_site_in_doubt"), 0.0);
    assert!(get(site.address(), "/").await.starts_with("HTTP/1.1 404 "));
    drop((coordinator, site));
    cluster.finish().await;
}

#[tokio::test]
async fn the_log_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::participant("A");
    let (log, records) = FileLog::open(folder.path(), &owner, Options::default()).unwrap();
    let (log, meter) = coco::command::metered("coco_site", log);
    let mut cluster = Cluster::start(&[]).await;
    let storage = Storage::Durable { log, records };
    cluster
        .start_site("A", EngineKind::Ss2pl, storage, |_| {})
        .await;
    let client = cluster.client().await;
    for _ in 0..3 {
        let mut txn = client.begin().await.unwrap();
        txn.put("A", b"k", b"v").await.unwrap();
        assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    }
    let text = cluster.site("A").metrics().with_log(meter).render();
    // The life of the site, and three commits.
    assert_eq!(
        value(&text, "coco_site_log_force_seconds_count"),
        4.0,
        "{text}"
    );
    assert!(value(&text, "coco_site_log_force_seconds_sum") > 0.0);
    assert!(value(&text, "coco_site_log_batch_records_count") >= 3.0);
    assert!(text.contains("# TYPE coco_site_log_force_seconds histogram\n"));
    cluster.finish().await;
}

#[tokio::test]
async fn what_is_in_doubt_at_a_site_is_shown_with_its_age() {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl), ("B", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    cluster.log.hold();
    let mut txn = client.begin().await.unwrap();
    let gtid = txn.gtid();
    txn.put("A", b"k", b"v").await.unwrap();
    txn.put("B", b"k", b"v").await.unwrap();
    let commit = tokio::spawn(txn.commit());
    let found = async {
        loop {
            let pending = client.pending("A").await.unwrap();
            if let Some(info) = pending.in_doubt.first() {
                assert_eq!(info.gtid, gtid);
                if info.age > Duration::from_millis(150) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap();
    let text = cluster.site("A").metrics().render();
    assert_eq!(value(&text, "coco_site_in_doubt"), 1.0);
    assert!(value(&text, "coco_site_in_doubt_oldest_seconds") > 0.15);
    cluster.log.release();
    assert!(matches!(commit.await.unwrap(), Ok(Commit::Committed(_))));
    until("settled", || cluster.site("A").site().in_doubt().is_empty()).await;
    cluster.finish().await;
}

#[tokio::test]
async fn a_site_that_drains_begins_nothing_and_ends_what_runs() {
    let recorder = Recorder::memory("A");
    let cluster = Cluster::start(&[]).await;
    let engine = open(EngineKind::Ss2pl, VoteRule::Withhold, recorder.clone());
    let mut options = ParticipantOptions::new("A", "");
    options.coordinators = [(COORDINATOR, cluster.uri())].into();
    let site = ParticipantServer::start(options, engine, Storage::Volatile, listener().await);
    let site = site.unwrap();
    let client = Client::connect(&cluster.uri()).await.unwrap();
    client.wait_for_sites(&["A"], PATIENCE).await.unwrap();
    let mut running = client.begin().await.unwrap();
    running.put("A", b"k", b"v").await.unwrap();
    let drain = tokio::spawn(site.drain(PATIENCE));
    let refused = async {
        loop {
            let mut late = client.begin().await.unwrap();
            if let Err(error) = late.put("A", b"other", b"v").await {
                return error.to_string();
            }
            late.rollback().await.unwrap();
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(refused.contains("begins nothing"), "{refused}");
    running.put("A", b"k2", b"v").await.unwrap();
    assert!(matches!(running.commit().await, Ok(Commit::Committed(_))));
    tokio::time::timeout(PATIENCE, drain)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    judge(&[("A", recorder)]);
}

#[tokio::test]
async fn a_coordinator_that_drains_waits_for_what_has_worked_at_a_site_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::coordinator("C0");
    let (log, records) = FileLog::open(folder.path(), &owner, Options::default()).unwrap();
    let options = CoordinatorOptions::default();
    let server = CoordinatorServer::start(options, listener().await, Arc::new(log), &records);
    let server = server.await.unwrap();
    let address = server.address().to_string();
    let recorder = Recorder::memory("A");
    let engine = open(EngineKind::Ss2pl, VoteRule::Withhold, recorder.clone());
    let options = ParticipantOptions::new("A", &address);
    let site = ParticipantServer::start(options, engine, Storage::Volatile, listener().await);
    let site = site.unwrap();
    let client = Client::connect(&address).await.unwrap();
    client.wait_for_sites(&["A"], PATIENCE).await.unwrap();
    for _ in 0..4 {
        let mut txn = client.begin().await.unwrap();
        txn.increment("A", b"k", 1).await.unwrap();
        assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    }
    let mut running = client.begin().await.unwrap();
    running.increment("A", b"k", 1).await.unwrap();
    let ahead = client.statistics().await.unwrap().in_flight;
    assert!(ahead > 1, "identifiers are fetched ahead: {ahead}");
    let drain = tokio::spawn(server.drain(Duration::from_secs(600)));
    // It goes on as long as the one that has worked runs.
    running.increment("A", b"k", 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!drain.is_finished());
    assert!(matches!(running.commit().await, Ok(Commit::Committed(_))));
    let drained = tokio::time::timeout(PATIENCE, drain).await;
    drained.expect("nothing runs any more").unwrap().unwrap();
    site.shutdown().await.unwrap();
    judge(&[("A", recorder)]);
}
