//! Everything at once: mixed engines, transfers, audits and local work by several clients, while links are
//! cut, sites and the coordinator killed and started again. Afterwards the money is all there and the
//! histories are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use coco::client::{Client, ClientError, Retry};
use coco::protocol::CoordinatorConfig;
use participant::engine::EngineKind;

use crate::cluster::{COORDINATOR, Cluster, GatedLog, PATIENCE, Wire, number};

const SITES: [(&str, EngineKind); 4] = [
    ("A", EngineKind::Ss2pl),
    ("B", EngineKind::Sco),
    ("C", EngineKind::Optimistic),
    ("D", EngineKind::Mvcc),
];
const ACCOUNTS: u64 = 3;

/// A small generator of our own: the order of choices is all that matters.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn account(&mut self) -> (&'static str, [u8; 1]) {
        let site = SITES[usize::try_from(self.below(4)).unwrap()].0;
        (site, [b'0' + u8::try_from(self.below(ACCOUNTS)).unwrap()])
    }
}

/// Moves money by reading and writing, or by increments, or within one site, or only looks.
async fn one(client: &Client, dice: &mut Dice) -> Result<(), ClientError> {
    let (from, to) = (dice.account(), dice.account());
    let few = Retry {
        attempts: 5,
        ..Retry::default()
    };
    let kind = dice.below(4);
    let work = client.retry(few, |mut txn| async move {
        if kind == 0 {
            for (site, _) in SITES {
                txn.scan(site, b"0", None).await?;
            }
        } else if kind == 1 {
            txn.increment(from.0, from.1, -1).await?;
            txn.increment(to.0, to.1, 1).await?;
        } else if from != to {
            let left = number(txn.get(from.0, from.1).await?);
            txn.put(from.0, from.1, (left - 1).to_le_bytes()).await?;
            let right = number(txn.get(to.0, to.1).await?);
            txn.put(to.0, to.1, (right + 1).to_le_bytes()).await?;
        }
        Ok((txn, ()))
    });
    work.await.map(drop)?;
    let mut local = client.local(from.0);
    local.scan(b"0", None).await?;
    local.put(b"local", [0]).await?;
    local.commit().await.map(drop)
}

async fn worker(uri: String, seed: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut dice = Dice(seed);
    while !stop.load(Ordering::Relaxed) {
        let Ok(client) = Client::connect(&uri).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            match one(&client, &mut dice).await {
                Ok(()) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Err(ClientError::Aborted(_)) => {}
                // Something is away: a new client finds out what is there.
                Err(_) => break,
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn chaos(seed: u64, rounds: u32) {
    println!("seed {seed}");
    let config = CoordinatorConfig {
        vote_timeout: Duration::from_millis(500),
        resend_after: Duration::from_millis(50),
        ..CoordinatorConfig::default()
    };
    let mut cluster = Cluster::start_with(config, &[]).await;
    let logs = SITES.map(|_| GatedLog::default());
    let mut wires = Vec::new();
    let mut logs = logs.to_vec();
    for place in 0..SITES.len() {
        wires.push(Wire::to(cluster.address()).await);
        start(&mut cluster, &wires, &mut logs, place).await;
    }
    cluster.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..6)
        .map(|id| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(worker(cluster.uri(), seed * 100 + id, stop, done))
        })
        .collect();
    let mut dice = Dice(seed);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(50 + dice.below(150))).await;
        let place = usize::try_from(dice.below(4)).unwrap();
        match dice.below(3) {
            0 => {
                cluster.kill_coordinator();
                tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
                cluster.start_coordinator().await;
            }
            1 => {
                cluster.kill_site(SITES[place].0);
                tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
                start(&mut cluster, &wires, &mut logs, place).await;
            }
            _ => {
                wires[place].cut();
                tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
                wires[place].mend();
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        tokio::time::timeout(PATIENCE, worker)
            .await
            .unwrap()
            .unwrap();
    }
    assert!(done.load(Ordering::Relaxed) > 0, "something was done");
    let client = cluster.client().await;
    println!("seed {seed}: {} done", done.load(Ordering::Relaxed));
    assert_eq!(money(&client).await, 0, "money was made or lost");
    drop(client);
    cluster.finish().await;
}

/// What all accounts hold together.
async fn money(client: &Client) -> i64 {
    let audit = client.retry(Retry::default(), |mut txn| async move {
        let mut sum = 0;
        for (site, _) in SITES {
            let rows = txn.scan(site, b"0", Some(b"a")).await?;
            sum += rows
                .into_iter()
                .map(|(_, value)| number(Some(value)))
                .sum::<i64>();
        }
        Ok((txn, sum))
    });
    audit.await.unwrap().0
}

async fn start(cluster: &mut Cluster, wires: &[Wire], logs: &mut [GatedLog], place: usize) {
    let (name, engine) = SITES[place];
    logs[place] = logs[place].survivors();
    let uri = wires[place].uri();
    cluster
        .start_site(name, engine, logs[place].storage(), |options| {
            options.coordinators.insert(COORDINATOR, uri);
            options.idle_timeout = Duration::from_millis(500);
            options.operation_timeout = Duration::from_millis(400);
        })
        .await;
}

#[tokio::test]
async fn nothing_is_lost_or_torn_while_everything_fails_in_turn() {
    for seed in 1..=3 {
        chaos(seed, 12).await;
    }
}

#[tokio::test]
#[ignore = "takes minutes; for a longer search"]
async fn nothing_is_lost_or_torn_for_a_long_time() {
    for seed in 100..140 {
        chaos(seed, 40).await;
    }
}
