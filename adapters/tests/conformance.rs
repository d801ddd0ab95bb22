//! The suite that every participant passes, over a real server.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: a skipped one says so, and what fails panics"
)]

use std::sync::Arc;

use adapters::mariadb::{MariaDb, MariaDbOptions};
use adapters::postgres::{Postgres, PostgresOptions};
use adapters::{mariadb, ordered};
use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use databases::{Product, Server};
use mysql_async::prelude::Queryable;
use participant::conformance::{Subject, Suite};
use participant::engine::Options;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

fn assert_ordered(case: &str, history: &str) {
    let site = read_history(history.as_bytes(), case).unwrap();
    let report = judge(&[site], Level::CommitmentOrdering);
    // In some runs everybody aborts.
    let empty = report.statistics.committed == 0;
    let valid = matches!(report.verdict, Verdict::Valid { .. });
    assert!(valid || empty, "{case}: {:?}\n{history}", report.verdict);
}

/// How many interleavings of the same programs are run; `INTERLEAVINGS=100000` runs them all, up to 4 200.
const INTERLEAVINGS: usize = 400;

/// Runs every case, each with a site of its own from `open`. `CASES_FROM=name` begins with that case.
fn run_suite(open: impl Fn(Options) -> Subject) {
    let suite = Suite::new(
        |rule, recorder| {
            open(Options {
                rule,
                recorder,
                ..Options::default()
            })
        },
        assert_ordered,
    )
    .with_at_most(INTERLEAVINGS);
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    for (name, case) in Suite::cases().skip_while(|(name, _)| !from.is_empty() && *name != from) {
        eprintln!("{name}");
        case(&suite);
    }
}

/// Takes everything away that a site has left: branches first, for they hold locks.
async fn empty(client: &Client) {
    loop {
        let left = "SELECT gid FROM pg_prepared_xacts";
        let left = client.query(left, &[]).await.unwrap();
        for row in &left {
            let gid: &str = row.get(0);
            // Somebody else may be at it.
            let _other = client
                .batch_execute(&format!("ROLLBACK PREPARED '{gid}'"))
                .await;
        }
        let busy = "SELECT 1 FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid() \
                    AND backend_type = 'client backend'";
        let busy = client.query(busy, &[]).await.unwrap();
        if left.is_empty() && busy.is_empty() {
            break;
        }
    }
    let statement = "TRUNCATE co.rows, co.sites";
    client.batch_execute(statement).await.unwrap();
}

#[test]
fn postgres_keeps_every_promise_of_a_participant() {
    let Some(server) = Server::for_test(Product::Postgres, &[("fsync", "off")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let (backend, client) = runtime.block_on(async {
        let options = PostgresOptions::new(&server.url());
        let backend = Postgres::open("site", options).await.unwrap();
        let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        // The guard lets nobody else empty the table.
        client.batch_execute("SET co.site = 'site'").await.unwrap();
        (Arc::new(backend), client)
    });
    run_suite(|options| {
        runtime.block_on(empty(&client));
        let backend = Arc::clone(&backend);
        let open = async move { Ok::<_, ordered::OpenError>(backend) };
        let site = Arc::new(ordered::open(options, 1, open).unwrap());
        let seen = Arc::clone(&site);
        Subject::new(site).with_idle(move || seen.is_idle())
    });
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Failed {
    Open(#[from] mariadb::OpenError),
    Adapter(#[from] ordered::OpenError),
}

#[test]
fn mariadb_keeps_every_promise_of_a_participant() {
    let settings = &[("innodb_flush_log_at_trx_commit", "2")];
    let Some(server) = Server::for_test(Product::MariaDb, settings) else {
        return;
    };
    run_suite(|engine| {
        // Making a table takes longer than a case.
        empty_mariadb(&server.url());
        let options = MariaDbOptions {
            sessions: 4,
            lazy_flush: true,
            ..MariaDbOptions::new(&server.url())
        };
        let connect = async move { Ok::<_, Failed>(MariaDb::open("site", options).await?) };
        let site = Arc::new(ordered::open(engine, 1, connect).unwrap());
        let seen = Arc::clone(&site);
        Subject::new(site).with_idle(move || seen.is_idle())
    });
}

/// Forgets what the case before has left, if there was one.
fn empty_mariadb(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut conn = mysql_async::Conn::from_url(url).await.unwrap();
        let statements = "SET @co_writer = 1; DELETE FROM co.rows; DELETE FROM co.sites";
        match conn.query_drop(statements).await {
            Err(mysql_async::Error::Server(error)) => assert_eq!(error.code, 1146, "{error}"),
            other => other.unwrap(),
        }
        conn.disconnect().await.unwrap();
    });
}
