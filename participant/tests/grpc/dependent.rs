//! Votes that depend on each other, through the service: two sites of the sharing engine, two coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use checker::{Level, Verdict};
use co_core::VoteRule;
use coco::client::{Client, ClientError, Commit, Transaction};
use coco::protocol::{AbortCause, CoordinatorId};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use participant::Recorder;
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer};
use tokio::net::TcpListener;

use crate::cluster::{
    Cluster, GatedLog, PATIENCE, assert_in_order, history_of, number, own_address, until,
};
use crate::processes::Process;

const IDS: [CoordinatorId; 2] = [CoordinatorId(1), CoordinatorId(2)];
const SITES: [&str; 2] = ["A", "B"];

struct Two {
    logs: Vec<GatedLog>,
    coordinators: Vec<CoordinatorServer>,
    sites: Vec<ParticipantServer>,
    recorders: Vec<Recorder>,
    clients: Vec<Client>,
}

/// Two coordinators, each with a disk that can stand still, and two durable sites that work for both.
async fn two() -> Two {
    let (mut listeners, mut uris) = (Vec::new(), BTreeMap::new());
    for id in IDS {
        let listener = TcpListener::bind(own_address()).await.unwrap();
        uris.insert(id, format!("http://{}", listener.local_addr().unwrap()));
        listeners.push((id, listener));
    }
    let (mut coordinators, mut logs) = (Vec::new(), Vec::new());
    for (id, listener) in listeners {
        let mut peers = uris.clone();
        peers.remove(&id);
        let options = CoordinatorOptions {
            id,
            peers,
            ..CoordinatorOptions::default()
        };
        let log = GatedLog::default();
        let server = CoordinatorServer::start(options, listener, Arc::new(log.clone()), &[]);
        coordinators.push(server.await.unwrap());
        logs.push(log);
    }
    let (mut sites, mut recorders) = (Vec::new(), Vec::new());
    for name in SITES {
        let recorder = Recorder::memory(name);
        let mut options = ParticipantOptions::new(name, "");
        options.coordinators.clone_from(&uris);
        options.voter.dependent_votes = true;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = open(EngineKind::Shared, VoteRule::Withhold, recorder.clone());
        let storage = GatedLog::default().storage();
        let site = ParticipantServer::start(options, engine, storage, listener);
        sites.push(site.unwrap());
        recorders.push(recorder);
    }
    let mut clients = Vec::new();
    for uri in uris.values() {
        let client = Client::connect(uri).await.unwrap();
        client.wait_for_sites(&SITES, PATIENCE).await.unwrap();
        clients.push(client);
    }
    Two {
        logs,
        coordinators,
        sites,
        recorders,
        clients,
    }
}

impl Two {
    /// Reads the hot record and writes one more, at both sites.
    async fn work(&self, client: usize) -> Transaction {
        let mut txn = self.clients[client].begin().await.unwrap();
        for site in SITES {
            let before = number(txn.get(site, b"hot").await.unwrap());
            let after = (before + 1).to_le_bytes();
            txn.put(site, b"hot", after).await.unwrap();
        }
        txn
    }

    fn votes_dependent(&self) -> u64 {
        let stats = self.sites.iter().map(|site| site.site().stats());
        stats.map(|stats| stats.votes_dependent).sum()
    }

    fn in_doubt(&self) -> usize {
        let sites = self.sites.iter().map(|site| site.site().in_doubt().len());
        sites.sum()
    }

    async fn finish(self, sum: i64) {
        let mut check = self.clients[0].begin().await.unwrap();
        for site in SITES {
            assert_eq!(number(check.get(site, b"hot").await.unwrap()), sum);
        }
        assert!(matches!(check.commit().await, Ok(Commit::Committed(_))));
        for site in self.sites {
            until("quiet", || site.site().participant().in_flight() == 0).await;
            site.shutdown().await.unwrap();
        }
        for coordinator in self.coordinators {
            coordinator.shutdown().await.unwrap();
        }
        let recorded = SITES.into_iter().zip(&self.recorders);
        let histories: Vec<_> = recorded
            .map(|(name, recorder)| history_of(name, recorder))
            .collect();
        assert_in_order(&histories);
    }
}

#[tokio::test]
async fn a_chain_through_two_coordinators_votes_at_once_and_commits_in_its_order() {
    let cluster = two().await;
    cluster.logs[0].hold();
    let mut commits = Vec::new();
    for client in [0, 1, 0, 1] {
        let txn = cluster.work(client).await;
        commits.push(tokio::spawn(txn.commit_dependent()));
        // Those of the first coordinator cannot be decided; all vote nevertheless.
        until("voted", || cluster.in_doubt() == 2 * commits.len()).await;
    }
    assert_eq!(
        cluster.votes_dependent(),
        6,
        "all but the first at each site"
    );
    assert!(commits.iter().all(|commit| !commit.is_finished()));
    cluster.logs[0].release();
    let mut before = None;
    for commit in commits {
        let Ok(Commit::Committed(stamp)) = commit.await.unwrap() else {
            panic!()
        };
        assert!(before.is_none_or(|before| before < stamp), "Y1");
        before = Some(stamp);
    }
    cluster.finish(4).await;
}

#[tokio::test]
async fn the_abort_of_the_first_takes_its_readers_along_through_the_other_coordinator() {
    let mut cluster = two().await;
    cluster.logs[0].hold();
    let first = tokio::spawn(cluster.work(0).await.commit_dependent());
    until("voted", || cluster.in_doubt() == 2).await;
    let second = tokio::spawn(cluster.work(1).await.commit_dependent());
    until("voted", || cluster.in_doubt() == 4).await;
    let third = tokio::spawn(cluster.work(1).await.commit_dependent());
    until("voted", || cluster.in_doubt() == 6).await;
    // Its record is lost with its coordinator, which is presumed to have aborted it when it is back.
    let uri = cluster.coordinators[0].address();
    let survivors = cluster.logs[0].survivors();
    cluster.coordinators.remove(0).kill();
    let lost = first.await.unwrap();
    assert!(
        matches!(lost, Err(ClientError::OutcomeUnknown { .. })),
        "{lost:?}"
    );
    let options = CoordinatorOptions {
        id: IDS[0],
        ..CoordinatorOptions::default()
    };
    let records = survivors.records();
    let listener = crate::cluster::bind(uri).await;
    let server = CoordinatorServer::start(options, listener, Arc::new(survivors), &records);
    cluster.coordinators.push(server.await.unwrap());
    for reader in [second, third] {
        let ended = reader.await.unwrap().unwrap();
        assert_eq!(ended, Commit::Aborted(AbortCause::Cascade));
    }
    let client = Client::connect(&uri.to_string()).await.unwrap();
    client.wait_for_sites(&SITES, PATIENCE).await.unwrap();
    cluster.clients[0] = client;
    assert!(matches!(
        cluster.work(1).await.commit_dependent().await,
        Ok(Commit::Committed(_))
    ));
    cluster.finish(1).await;
}

/// A site Q in this process.
async fn site_beside(cluster: &Cluster) -> ParticipantServer {
    let mut options = ParticipantOptions::new("Q", "");
    options.coordinators = [(crate::cluster::COORDINATOR, cluster.uri())].into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = open(EngineKind::Ss2pl, VoteRule::Withhold, Recorder::off());
    let storage = GatedLog::default().storage();
    ParticipantServer::start(options, engine, storage, listener).unwrap()
}

/// As its user starts it. What a site does not allow, or a transaction, is an ordinary vote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines, reason = "one story, step by step")]
async fn a_site_process_gives_dependent_votes_if_it_is_told_to_and_the_transaction_allows_it() {
    for (allowed, dependent, expected) in
        [(true, true, 1.0), (true, false, 0.0), (false, true, 0.0)]
    {
        let cluster = Cluster::start(&[]).await;
        let folder = tempfile::tempdir().unwrap();
        let history = folder.path().join("P.hist");
        let uri = format!("{}={}", crate::cluster::COORDINATOR.0, cluster.uri());
        let mut arguments = vec![
            "serve",
            "--name",
            "P",
            "--engine",
            "shared",
            "--coordinator",
            &uri,
            "--json",
            "--metrics",
            "127.0.0.1:0",
            "--history",
            history.to_str().unwrap(),
        ];
        arguments.extend(allowed.then_some("--dependent-votes"));
        let mut site = Process::start(&arguments);
        let ready: serde_json::Value = serde_json::from_str(&site.line).unwrap();
        let metrics = ready["metrics"].as_str().unwrap().parse().unwrap();
        let second = site_beside(&cluster).await;
        let client = Client::connect(&cluster.uri()).await.unwrap();
        client.wait_for_sites(&["P", "Q"], PATIENCE).await.unwrap();
        cluster.log.hold();
        let mut commits = Vec::new();
        for turn in 1..=2_i64 {
            let mut txn = client.begin().await.unwrap();
            txn.get("P", b"hot").await.unwrap();
            txn.put("P", b"hot", turn.to_le_bytes()).await.unwrap();
            txn.put("Q", turn.to_le_bytes(), b"1").await.unwrap();
            let commit = async move {
                if dependent {
                    txn.commit_dependent().await
                } else {
                    txn.commit().await
                }
            };
            commits.push(tokio::spawn(commit));
            until("at the other site", || {
                second.site().in_doubt().len() == commits.len()
            })
            .await;
            if turn == 1 {
                until("voted", || cluster.log.held() == 1).await;
            }
        }
        // Both have voted, or the second one's vote is withheld.
        let (metric, at_least) = if expected > 0.0 {
            ("coco_site_in_doubt", 2.0)
        } else {
            ("coco_site_votes_withheld_total", 1.0)
        };
        let waiting = async {
            while crate::operations::scraped(metrics, metric).await < at_least {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("in vain: {metric} {allowed} {dependent}"));
        cluster.log.release();
        for commit in commits {
            assert!(matches!(commit.await.unwrap(), Ok(Commit::Committed(_))));
        }
        let given = crate::operations::scraped(metrics, "coco_site_votes_dependent_total").await;
        assert_eq!(given, expected, "{allowed} {dependent}");
        second.shutdown().await.unwrap();
        site.signal("-TERM");
        assert!(site.wait().await.success());
        let text = std::fs::read(&history).unwrap();
        let history = checker::parse::read_history(text.as_slice(), "P").unwrap();
        let report = checker::judge(&[history], Level::CommitmentOrdering);
        assert!(
            matches!(report.verdict, Verdict::Valid { .. }),
            "{}",
            report.to_json()
        );
    }
}
