//! `kill -9` of an adapter, and what its next life makes of what it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use co_core::Gtid;
use coco::client::{Client, ClientError, Commit, Transaction};
use databases::Server;
use tokio::task::JoinHandle;

use crate::system::{PATIENCE, Site, client, coordinator, prepared, server, session, until};

const SITES: [&str; 2] = ["pga", "pgb"];
/// What each account holds at the start.
const OPENING: i64 = 1000;

fn encode(number: i64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn decode(value: Option<Vec<u8>>) -> i64 {
    value.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap()))
}

/// One account at each site, and other keys besides.
async fn fill(client: &Client, accounts: u64) {
    let mut txn = client.begin().await.unwrap();
    for site in SITES {
        for account in 0..accounts {
            txn.put(site, format!("account {account}"), encode(OPENING))
                .await
                .unwrap();
        }
    }
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
    // Its client hears of a commit before all sites do, and who reads before that may have to begin again.
    for site in SITES {
        until("the sites have heard of it", || async {
            client.site_statistics(site).await.unwrap().in_flight == 0
        })
        .await;
    }
}

/// The sum of all accounts, as the server itself holds them: not through the adapters.
async fn total(session: &tokio_postgres::Client) -> i64 {
    let mut sum = 0;
    for site in SITES {
        let statement = format!("SELECT value FROM {site}.rows WHERE key >= $1 AND key < $2");
        let range: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&b"account ".as_slice(), &b"account~".as_slice()];
        for row in session.query(&statement, &range).await.unwrap() {
            sum += decode(row.get(0));
        }
    }
    sum
}

async fn nothing_is_prepared(session: &tokio_postgres::Client) {
    until("no branch is left", || async {
        prepared(session, "co:").await == 0
    })
    .await;
}

type Committing = JoinHandle<Result<Commit, ClientError>>;

/// Transactions that wait for each other.
struct Undecided {
    /// The others have written what this one has read.
    reader: Transaction,
    /// It has voted at `pga`, and waits at `pgb`.
    voted: Committing,
    /// It waits at `pga` with its vote.
    orphan: Committing,
    /// Of those two.
    gtids: [Gtid; 2],
}

async fn undecided(client: &Client, session: &tokio_postgres::Client) -> Undecided {
    let mut reader = client.begin().await.unwrap();
    reader.get("pgb", "account 0").await.unwrap();
    reader.get("pga", "orphan").await.unwrap();
    let mut voted = client.begin().await.unwrap();
    let halves = [("pga", OPENING - 10), ("pgb", OPENING + 10)];
    for (site, balance) in halves {
        voted.put(site, "account 0", encode(balance)).await.unwrap();
    }
    let mut orphan = client.begin().await.unwrap();
    for site in SITES {
        orphan.put(site, "orphan", encode(1)).await.unwrap();
    }
    let gtids = [voted.gtid(), orphan.gtid()];
    let voted = tokio::spawn(voted.commit());
    let orphan = tokio::spawn(orphan.commit());
    until("one has voted, both are prepared", || async {
        let pending = client.pending("pga").await.unwrap();
        let voted: Vec<_> = pending.in_doubt.iter().map(|doubt| doubt.gtid).collect();
        voted == gtids[..1] && prepared(session, "co:pga:").await == 2
    })
    .await;
    Undecided {
        reader,
        voted,
        orphan,
        gtids,
    }
}

/// The sites have what was decided, and nothing of what was not.
async fn shows_the_decisions(client: &Client) {
    let mut txn = client.begin().await.unwrap();
    let halves = [
        decode(txn.get("pga", "account 0").await.unwrap()),
        decode(txn.get("pgb", "account 0").await.unwrap()),
    ];
    assert_eq!(halves, [OPENING - 10, OPENING + 10]);
    for site in SITES {
        assert_eq!(txn.get(site, "orphan").await.unwrap(), None);
    }
    assert!(matches!(txn.commit().await, Ok(Commit::Committed(_))));
}

/// One transaction has voted at the site that is killed, another has only been prepared there. After the restart the
/// first is decided by its coordinator, the second was nobody's promise and goes.
async fn killed_between_vote_and_decision(server: &Server, history: bool) {
    let folder = tempfile::tempdir().unwrap();
    let session = session(&server.url()).await;
    let coordinator = coordinator(folder.path()).await;
    let [mut a, mut b] =
        SITES.map(|name| Site::new(name, &server.url(), &coordinator, folder.path(), history));
    a.start();
    b.start();
    let client = client(&coordinator, &SITES).await;
    fill(&client, 1).await;

    let Undecided {
        reader,
        voted,
        orphan,
        gtids,
    } = undecided(&client, &session).await;

    a.kill();
    for gtid in gtids {
        let branch = format!("co:pga:g{}", gtid.0);
        assert_eq!(
            prepared(&session, &branch).await,
            1,
            "it outlives the adapter"
        );
    }
    a.start();
    // Its client may go on, or hear that what it has read at the killed site does not count any more.
    let _aborted_or_not = reader.commit().await;
    let voted = tokio::time::timeout(PATIENCE, voted)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(voted, Ok(Commit::Committed(_))), "{voted:?}");
    let orphan = tokio::time::timeout(PATIENCE, orphan)
        .await
        .unwrap()
        .unwrap();
    assert!(!matches!(orphan, Ok(Commit::Committed(_))), "{orphan:?}");
    nothing_is_prepared(&session).await;

    assert_eq!(total(&session).await, 2 * OPENING);
    client.wait_for_sites(&SITES, PATIENCE).await.unwrap();
    shows_the_decisions(&client).await;
    drop(client);
    a.end();
    b.end();
    coordinator.kill();
    if history {
        chaos::lives::verdict(&[a.history(), b.history()]).unwrap();
    } else {
        let mark = session
            .query_one("SELECT ordinal FROM pga.sites", &[])
            .await;
        assert!(mark.unwrap().get::<_, i64>(0) > 0, "no checkpoint was made");
    }
    let schemas = "DROP SCHEMA pga CASCADE; DROP SCHEMA pgb CASCADE";
    session.batch_execute(schemas).await.unwrap();
}

/// Transfers between the sites until it is told to stop. Says how many committed.
async fn transfers(client: Arc<Client>, seed: u64, accounts: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut committed = 0;
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let pick = |salt: u64| (round * 7 + seed * 13 + salt * 5 + round / 3) % accounts;
        let keys = [pick(1), pick(2)].map(|account| format!("account {account}"));
        let attempt = async {
            let mut txn = client.begin().await?;
            let mut held = [0; 2];
            for (at, site) in SITES.iter().enumerate() {
                held[at] = decode(txn.get(site, &keys[at]).await?);
            }
            let by = if (round + seed).is_multiple_of(2) {
                1
            } else {
                -1
            };
            txn.put(SITES[0], &keys[0], encode(held[0] - by)).await?;
            txn.put(SITES[1], &keys[1], encode(held[1] + by)).await?;
            txn.commit().await
        };
        match attempt.await {
            Ok(Commit::Committed(_)) => committed += 1,
            // Aborted, or a site or an answer was away: what became of it is in the histories.
            Ok(Commit::Aborted(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    committed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_voted_is_decided_and_what_had_not_is_gone() {
    let Some(server) = server() else { return };
    killed_between_vote_and_decision(&server, true).await;
}

/// Without a history the log is cut, so recovery starts in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_a_log_that_is_cut() {
    let Some(server) = server() else { return };
    killed_between_vote_and_decision(&server, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_is_kept_however_often_adapters_are_killed() {
    const KILLS: u64 = 6;
    const ACCOUNTS: u64 = 8;
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let session = session(&server.url()).await;
    let coordinator = coordinator(folder.path()).await;
    let mut sites =
        SITES.map(|name| Site::new(name, &server.url(), &coordinator, folder.path(), true));
    sites.iter_mut().for_each(Site::start);
    let client = client(&coordinator, &SITES).await;
    fill(&client, ACCOUNTS).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|seed| {
            tokio::spawn(transfers(
                Arc::clone(&client),
                seed,
                ACCOUNTS,
                Arc::clone(&stop),
            ))
        })
        .collect();
    // Branches that outlived a kill, over all kills: without one the test would show nothing.
    let outlived = AtomicU64::new(0);
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(400 + 130 * kill)).await;
        let site = &mut sites[usize::from(kill % 2 == 1)];
        site.kill();
        let left = prepared(&session, "co:").await;
        outlived.fetch_add(left.unsigned_abs(), Ordering::Relaxed);
        site.start();
        client.wait_for_sites(&SITES, PATIENCE).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut committed = 0;
    for client in clients {
        let ended = tokio::time::timeout(PATIENCE, client).await;
        committed += ended.expect("a client hangs").unwrap();
    }
    nothing_is_prepared(&session).await;
    let expected = 2 * OPENING * i64::try_from(ACCOUNTS).unwrap();
    assert_eq!(total(&session).await, expected, "{committed} committed");
    drop(client);
    sites.iter_mut().for_each(Site::end);
    coordinator.kill();
    let histories: Vec<_> = sites.iter().map(Site::history).collect();
    chaos::lives::verdict(&histories).unwrap();
    assert!(committed > 20, "{committed} committed");
    assert!(
        outlived.into_inner() > 0,
        "no branch was prepared at any kill"
    );
}
