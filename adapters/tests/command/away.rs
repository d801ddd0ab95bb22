//! The database server goes away under a site, and comes back: what clients hear, and what the operator reads.

use std::time::Duration;

use coco::client::{Client, ClientError, Commit, Retry};
use coco::protocol::AbortCause;
use databases::{Product, Server};

use crate::system::{Site, client, coordinator, until};

const SITE: &str = "only";
const SECRET: &str = "geheim";
/// Enough for a server to be killed and started.
const PATIENT: Retry = Retry {
    attempts: 10_000,
    first_pause: Duration::from_micros(500),
    longest_pause: Duration::from_millis(20),
};

async fn put(client: &Client, how: Retry, key: &'static str) -> Result<(), ClientError> {
    let work = |mut txn: coco::client::Transaction| async move {
        txn.get(SITE, key).await?;
        txn.put(SITE, key, "1").await?;
        Ok((txn, ()))
    };
    client.retry(how, work).await.map(|_| ())
}

fn assert_away(what: &str, ended: Result<Commit, ClientError>) {
    let away = match &ended {
        Ok(commit) => matches!(commit, Commit::Aborted(AbortCause::DatabaseAway)),
        Err(error) => error.is_database_away(),
    };
    assert!(away, "{what}: {ended:?}");
}

/// A transaction that works, in any mode, before the server goes, and asks for the commit afterwards.
async fn goes_and_comes(product: Product, mode: &'static str, engine: &'static str) {
    let Some(mut server) = Server::for_test(product, &[]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let coordinator = coordinator(folder.path()).await;
    // Nobody asks for it in PostgreSQL; in MariaDB the superuser has none.
    let url = match product {
        Product::Postgres => server.url().replace('@', &format!(":{SECRET}@")),
        Product::MariaDb => server.url(),
    };
    let mut site = Site::new(SITE, &url, &coordinator, folder.path(), false).in_mode(mode, engine);
    site.start();
    let client = client(&coordinator, &[SITE]).await;
    put(&client, Retry::default(), "before").await.unwrap();
    let mut works = client.begin().await.unwrap();
    works.put(SITE, "x", "1").await.unwrap();
    let mut local = client.local(SITE);
    local.put(b"y", b"1").await.unwrap();
    assert!(
        !site.said().contains("cannot be reached"),
        "{}",
        site.said()
    );

    server.kill();
    assert_away("a commit", works.commit().await);
    assert_away("a local commit", local.commit().await);
    for _ in 0..5 {
        let mut reads = client.begin().await.unwrap();
        let refused = reads.get(SITE, "z").await.expect_err("nobody can know");
        assert!(refused.is_database_away(), "{mode}: a read: {refused}");
    }
    let few = Retry {
        attempts: 3,
        ..PATIENT
    };
    let given_up = put(&client, few, "after")
        .await
        .expect_err("nobody is there");
    assert!(given_up.is_database_away(), "{mode}: {given_up}");
    until("the operator is told", || async {
        site.said().contains("cannot be reached")
    })
    .await;

    let patient = std::sync::Arc::clone(&client);
    let again = tokio::spawn(async move { put(&patient, PATIENT, "after").await });
    server.start().unwrap();
    again.await.unwrap().unwrap();
    until("the operator is told", || async {
        site.said().contains("answers again")
    })
    .await;
    put(&client, Retry::default(), "later").await.unwrap();
    let said = site.said();
    for once in ["WARN", "cannot be reached", "answers again"] {
        assert_eq!(said.matches(once).count(), 1, "{mode}: {once} in {said}");
    }
    let name = match product {
        Product::Postgres => "PostgreSQL at 127.0.0.1",
        Product::MariaDb => "MariaDB at 127.0.0.1",
    };
    assert_eq!(said.matches(name).count(), 2, "{said}");
    assert!(!said.contains(SECRET), "{said}");
    site.end();
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_goes_away_and_comes_back_under_the_mode_co() {
    goes_and_comes(Product::Postgres, "co", "postgres").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_goes_away_and_comes_back_under_its_own_locks() {
    goes_and_comes(Product::Postgres, "lock", "postgres-lock").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_goes_away_and_comes_back() {
    goes_and_comes(Product::MariaDb, "co", "mariadb").await;
}
