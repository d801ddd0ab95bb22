//! The coordinator's log on files, cut while transactions are decided.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use co_core::VoteRule;
use coco::client::{Client, Commit};
use coco::log::{FileLog, Options, Owner};
use coco::protocol::CoordinatorId;
use coco::service::coordinator::{CoordinatorOptions, CoordinatorServer};
use participant::Recorder;
use participant::engine::{EngineKind, open};
use participant::service::{ParticipantOptions, ParticipantServer, Storage};

use crate::cluster::{PATIENCE, bind, number, own_address};

const SEGMENT: u64 = 8 * 1024;

async fn start(folder: &Path, address: SocketAddr) -> (CoordinatorServer, usize) {
    let sizes = Options {
        segment_bytes: SEGMENT,
        ..Options::default()
    };
    let owner = Owner::coordinator("C1");
    let (log, records) = loop {
        // The log of the life before is closed by its last owner, a moment after that has ended.
        match FileLog::open(folder, &owner, sizes.clone()) {
            Ok(opened) => break opened,
            Err(coco::log::OpenError::InUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let listener = bind(address).await;
    let options = CoordinatorOptions {
        id: CoordinatorId(0),
        checkpoint_bytes: SEGMENT,
        ..CoordinatorOptions::default()
    };
    let server = CoordinatorServer::start(options, listener, Arc::new(log), &records);
    (server.await.unwrap(), records.len())
}

fn segments(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    files
        .filter(|file| file.path().extension().is_some_and(|it| it == "seg"))
        .count()
}

#[tokio::test]
async fn the_coordinators_log_is_cut_while_it_runs_and_what_is_left_is_enough() {
    const COMMITS: i64 = 600;
    let folder = tempfile::tempdir().unwrap();
    let (mut coordinator, _) = start(folder.path(), own_address()).await;
    let address = coordinator.address();
    let uri = format!("http://{address}");
    let mut sites = Vec::new();
    for name in ["A", "B"] {
        let participant = open(EngineKind::Sco, VoteRule::Withhold, Recorder::off());
        let listener = bind("127.0.0.1:0".parse().unwrap()).await;
        let options = ParticipantOptions::new(name, &uri);
        sites.push(
            ParticipantServer::start(options, participant, Storage::Volatile, listener).unwrap(),
        );
    }
    for life in 1..=3 {
        let client = Client::connect(&uri).await.unwrap();
        client.wait_for_sites(&["A", "B"], PATIENCE).await.unwrap();
        for commit in 1..=COMMITS {
            let mut txn = client.begin().await.unwrap();
            txn.increment("A", b"n", 1).await.unwrap();
            txn.increment("B", b"n", 1).await.unwrap();
            let committed = txn.commit().await.unwrap();
            assert!(matches!(committed, Commit::Committed(_)), "{committed:?}");
            // A checkpoint, what came while it was written, and the segments at both ends.
            assert!(segments(folder.path()) <= 5, "commit {commit}");
        }
        let mut txn = client.begin().await.unwrap();
        let sum = number(txn.get("A", b"n").await.unwrap());
        assert_eq!(sum, life * COMMITS);
        txn.rollback().await.unwrap();
        coordinator.kill();
        let left;
        (coordinator, left) = start(folder.path(), address).await;
        // Each commit has two records.
        assert!(left < 1000, "{left} records");
    }
    coordinator.kill();
    for site in sites {
        site.kill();
    }
}
