//! How fast: two-site commits over loopback, everything in one process. Ignored by default because a figure
//! is not a test; run it with
//! `cargo test --release -p participant --test grpc -- --ignored --nocapture measure`.

use std::time::{Duration, Instant};

use coco::client::{Client, Commit};
use participant::engine::EngineKind;

use crate::cluster::Cluster;

const SPAN: Duration = Duration::from_secs(3);

async fn client_loop(client: Client, id: usize, end: Instant) -> Vec<Duration> {
    let mut spans = Vec::new();
    let mut round = 0u64;
    while Instant::now() < end {
        let start = Instant::now();
        round += 1;
        let key = format!("{id}-{}", round % 64);
        let mut txn = client.begin().await.unwrap();
        txn.put("A", &key, b"some value of a hundred bytes or so")
            .await
            .unwrap();
        txn.put("B", &key, b"some value of a hundred bytes or so")
            .await
            .unwrap();
        assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
        spans.push(start.elapsed());
    }
    spans
}

async fn measure(what: &str, clients: usize) {
    let cluster = Cluster::start(&[("A", EngineKind::Ss2pl), ("B", EngineKind::Ss2pl)]).await;
    let client = cluster.client().await;
    let end = Instant::now() + SPAN;
    let tasks: Vec<_> = (0..clients)
        .map(|id| tokio::spawn(client_loop(client.clone(), id, end)))
        .collect();
    let mut spans = Vec::new();
    for task in tasks {
        spans.extend(task.await.unwrap());
    }
    spans.sort_unstable();
    let rate = spans.len() as f64 / SPAN.as_secs_f64();
    let at = |percent: usize| spans[spans.len() * percent / 100];
    println!(
        "{what}, {clients} clients: {rate:.0} commits/s, p50 {:?}, p99 {:?}",
        at(50),
        at(99)
    );
    cluster.finish().await;
}

#[test]
#[ignore = "prints figures and takes half a minute"]
fn measure_two_site_commits() {
    let one = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let two = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    for clients in [1, 16, 64] {
        one().block_on(measure("one thread", clients));
        two().block_on(measure("two threads", clients));
    }
}
