//! Two coordinators that work for the same sites.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use co_core::VoteRule;
use coco::client::{Client, Commit};
use coco::log::MemoryLog;
use coco::protocol::{AbortCause, CoordinatorConfig, CoordinatorId};
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use participant::Recorder;
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};
use tokio::net::TcpListener;

use crate::cluster::{PATIENCE, assert_in_order, history_of};

const IDS: [CoordinatorId; 2] = [CoordinatorId(1), CoordinatorId(2)];

struct Two {
    coordinators: Vec<CoordinatorServer>,
    sites: Vec<ParticipantServer>,
    recorders: Vec<Recorder>,
    clients: Vec<Client>,
}

/// Two coordinators, linked or not, and two sites that work for both.
async fn two(linked: bool, vote_timeout: Duration) -> Two {
    let mut listeners = Vec::new();
    let mut uris = BTreeMap::new();
    for id in IDS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        uris.insert(id, format!("http://{}", listener.local_addr().unwrap()));
        listeners.push((id, listener));
    }
    let mut coordinators = Vec::new();
    for (id, listener) in listeners {
        let mut peers = uris.clone();
        peers.retain(|&peer, _| linked && peer != id);
        let options = CoordinatorOptions {
            id,
            peers,
            config: CoordinatorConfig {
                vote_timeout,
                ..CoordinatorConfig::default()
            },
            ..CoordinatorOptions::default()
        };
        let log = Arc::new(MemoryLog::automatic());
        let server = CoordinatorServer::start(options, listener, log, &[]);
        coordinators.push(server.await.unwrap());
    }
    let mut sites = Vec::new();
    let mut recorders = Vec::new();
    for (name, engine) in [("A", EngineKind::Sco), ("B", EngineKind::Optimistic)] {
        let recorder = Recorder::memory(name);
        let options = ParticipantOptions {
            coordinators: uris.clone(),
            ..ParticipantOptions::new(name, "")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = open(engine, VoteRule::Withhold, recorder.clone());
        let site = ParticipantServer::start(options, engine, Storage::Volatile, listener);
        sites.push(site.unwrap());
        recorders.push(recorder);
    }
    let mut clients = Vec::new();
    for uri in uris.values() {
        let client = Client::connect(uri).await.unwrap();
        client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();
        clients.push(client);
    }
    Two {
        coordinators,
        sites,
        recorders,
        clients,
    }
}

impl Two {
    /// T1 of one coordinator precedes T2 of the other at A, and follows it at B: what became of both.
    async fn cross(&self) -> [Commit; 2] {
        let mut one = self.clients[0].begin().await.unwrap();
        let mut two = self.clients[1].begin().await.unwrap();
        one.get("A", b"x").await.unwrap();
        two.get("B", b"y").await.unwrap();
        two.put("A", b"x", b"2").await.unwrap();
        one.put("B", b"y", b"1").await.unwrap();
        let one = tokio::spawn(one.commit());
        let two = tokio::spawn(two.commit());
        [one.await.unwrap().unwrap(), two.await.unwrap().unwrap()]
    }

    async fn finish(self) {
        for site in self.sites {
            site.shutdown().await.unwrap();
        }
        for coordinator in self.coordinators {
            coordinator.shutdown().await.unwrap();
        }
        let recorded = ["A", "B"].into_iter().zip(&self.recorders);
        let histories: Vec<_> = recorded
            .map(|(name, recorder)| history_of(name, recorder))
            .collect();
        assert_in_order(&histories);
    }
}

#[tokio::test]
async fn linked_coordinators_find_a_deadlock_that_neither_sees_alone() {
    // Timeouts would come much too late for this test.
    let cluster = two(true, Duration::from_secs(600)).await;
    let ends = cluster.cross().await;
    let deadlock = Commit::Aborted(AbortCause::VotingDeadlock);
    let aborted = ends.iter().filter(|end| **end == deadlock).count();
    let committed = ends
        .iter()
        .filter(|end| matches!(end, Commit::Committed(_)));
    assert_eq!((aborted, committed.count()), (1, 1), "{ends:?}");
    cluster.finish().await;
}

#[tokio::test]
async fn without_links_the_timeouts_end_it() {
    let cluster = two(false, Duration::from_millis(300)).await;
    let ends = cluster.cross().await;
    let timeout = Commit::Aborted(AbortCause::Timeout);
    assert!(ends.contains(&timeout), "{ends:?}");
    let fine = |end: &Commit| *end == timeout || matches!(end, Commit::Committed(_));
    assert!(ends.iter().all(fine), "{ends:?}");
    cluster.finish().await;
}
