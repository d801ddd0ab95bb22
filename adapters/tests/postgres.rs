//! What PostgreSQL does that one would not expect, and what the adapter makes of it; tables of others; the guard.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests: a skipped one says so, and what fails panics"
)]

use std::sync::{Arc, mpsc};

use adapters::columns::{Cell, Kind, Kinds, TableColumns};
use adapters::ordered::{self, Ordered};
use adapters::postgres::{OpenError, Postgres, PostgresOptions};
use adapters::{Backend, BranchName, Ending, NotPrepared};
use co_core::{Gtid, Priority, Stamp};
use databases::{Product, Server, Settings};
use participant::conformance::block_on;
use participant::{
    Ballot, Begin, Change, Decision, Key, KeyRange, Operation, OperationError, Participant,
    Prepared, Reply, TxnName, Value,
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

fn server(settings: Settings<'static>) -> Option<Server> {
    Server::for_test(Product::Postgres, settings)
}

const QUICK: Settings<'static> = &[("fsync", "off")];

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move {
        let _the_server_may_end = connection.await;
    });
    client
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Failed {
    Open(#[from] OpenError),
    Adapter(#[from] ordered::OpenError),
}

fn open(
    name: &'static str,
    options: PostgresOptions,
    life: u64,
) -> Result<Arc<Ordered<Postgres>>, Failed> {
    let connect = async move { Ok::<_, Failed>(Postgres::open(name, options).await?) };
    let engine = participant::engine::Options::default();
    ordered::open(engine, life, connect).map(Arc::new)
}

fn key(text: &str) -> Key {
    text.as_bytes().into()
}

fn value(text: &str) -> Value {
    text.as_bytes().into()
}

fn vote(site: &Ordered<Postgres>, name: TxnName) -> Ballot {
    let (tell, told) = mpsc::channel();
    site.prepare(
        name,
        Box::new(move |ballot| tell.send(ballot).unwrap_or_default()),
    );
    told.recv().unwrap()
}

/// Runs a transaction of one site to its vote, and returns its answers.
fn work(
    site: &Ordered<Postgres>,
    gtid: u64,
    operations: &[Operation],
) -> Result<Vec<Reply>, OperationError> {
    let name = TxnName::Global(Gtid(gtid));
    let priority = Priority(gtid);
    site.begin(Begin { name, priority })?;
    operations
        .iter()
        .map(|operation| block_on(site.execute(name, operation)))
        .collect()
}

fn commit(site: &Ordered<Postgres>, gtid: u64, operations: &[Operation]) -> Vec<Reply> {
    let replies = work(site, gtid, operations).unwrap();
    let name = TxnName::Global(Gtid(gtid));
    let ballot = vote(site, name);
    let Ballot::Yes { stamp, .. } = ballot else {
        panic!("{ballot:?}");
    };
    site.decide(name, Decision::Commit(stamp)).unwrap();
    replies
}

fn count(runtime: &Runtime, client: &Client) -> i64 {
    let row = client.query_one("SELECT count(*) FROM pg_prepared_xacts", &[]);
    runtime.block_on(row).unwrap().get(0)
}

/// A table with a key of two columns, a value of two, and a column that the site does not know.
fn bank(runtime: &Runtime, server: &Server) -> (Client, PostgresOptions) {
    let client = runtime.block_on(session(&server.url()));
    let make = "CREATE TABLE accounts (branch int, name text, balance numeric(12,2) NOT NULL, note text, \
                opened timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (branch, name)); \
                INSERT INTO accounts VALUES (-1, 'eve', 5, NULL), (2, 'adam', 7.5, 'it''s'), (10, 'adam', 1, '')";
    runtime.block_on(client.batch_execute(make)).unwrap();
    let options = PostgresOptions {
        schema: "public".to_owned(),
        table: "accounts".to_owned(),
        columns: Some(TableColumns {
            key: vec!["branch".to_owned(), "name".to_owned()],
            value: vec!["balance".to_owned(), "note".to_owned()],
        }),
        guard: false,
        ..PostgresOptions::new(&server.url())
    };
    (client, options)
}

fn account(branch: i64, name: &str) -> Key {
    let kinds = Kinds::new(vec![Kind::Integer, Kind::Text]);
    let cells = [Cell::Integer(branch), Cell::Text(name.to_owned())];
    kinds.encode(&cells).unwrap().into()
}

/// All accounts of the branches from here on begin so.
fn branch_start(branch: i64) -> Key {
    let kinds = Kinds::new(vec![Kind::Integer]);
    kinds.encode(&[Cell::Integer(branch)]).unwrap().into()
}

fn row(text: &str) -> Reply {
    Reply::Value(Some(value(text)))
}

#[test]
fn a_table_of_others_is_read_and_written_by_its_columns() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let (client, options) = bank(&runtime, &server);
    let site = open("bank", options, 1).unwrap();
    let replies = commit(
        &site,
        1,
        &[
            Operation::Get(account(2, "adam")),
            Operation::Get(account(-1, "eve")),
            Operation::Get(account(2, "eve")),
            Operation::Put(
                account(2, "eve"),
                value(r#"{"note": null, "balance": "3.25"}"#),
            ),
            Operation::Delete(account(10, "adam")),
            Operation::Scan(KeyRange {
                low: branch_start(-1),
                high: Some(branch_start(11)),
            }),
        ],
    );
    assert_eq!(replies[0], row(r#"{"balance":"7.50","note":"it's"}"#));
    assert_eq!(replies[1], row(r#"{"balance":"5.00","note":null}"#));
    assert_eq!(replies[2], Reply::Value(None));
    let Reply::Rows(rows) = &replies[5] else {
        panic!("{replies:?}");
    };
    let keys: Vec<&Key> = rows.iter().map(|(key, _)| key).collect();
    let expected = [account(-1, "eve"), account(2, "adam"), account(2, "eve")];
    assert_eq!(keys, expected.iter().collect::<Vec<_>>());
    site.quiesce();
    let left = "SELECT branch::text || name || balance::text FROM accounts ORDER BY branch, name";
    let left = runtime.block_on(client.query(left, &[])).unwrap();
    let left: Vec<&str> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["-1eve5.00", "2adam7.50", "2eve3.25"]);
}

/// Half a column, a value of other columns, increments; and what the table itself forbids.
#[test]
fn what_a_table_of_others_cannot_hold_is_refused_and_leaves_nothing_behind() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let (client, options) = bank(&runtime, &server);
    let site = open("bank", options, 1).unwrap();
    let wrong = [
        Operation::Get(key("half")),
        Operation::Put(account(1, "x"), value(r#"{"balance": "1"}"#)),
        Operation::Increment(account(1, "x"), 1),
        Operation::Scan(KeyRange {
            low: key("x"),
            high: None,
        }),
    ];
    for operation in wrong {
        let refused = work(&site, 2, std::slice::from_ref(&operation));
        let unsupported = matches!(refused, Err(OperationError::Unsupported { .. }));
        assert!(unsupported, "{operation:?}: {refused:?}");
        site.decide(TxnName::Global(Gtid(2)), Decision::Abort)
            .unwrap();
    }
    let forbidden = Operation::Put(account(3, "x"), value(r#"{"balance":"much","note":null}"#));
    work(&site, 3, &[forbidden]).unwrap();
    let ballot = vote(&site, TxnName::Global(Gtid(3)));
    assert!(matches!(ballot, Ballot::No(_)), "{ballot:?}");
    site.quiesce();
    assert_eq!(count(&runtime, &client), 0);
}

#[test]
fn a_key_of_one_column_is_read_and_scanned_by_parameters() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(session(&server.url()));
    let make = "CREATE TABLE plain (id uuid PRIMARY KEY, n bigint NOT NULL)";
    runtime.block_on(client.batch_execute(make)).unwrap();
    let options = PostgresOptions {
        schema: "public".to_owned(),
        table: "plain".to_owned(),
        columns: Some(TableColumns {
            key: vec!["id".to_owned()],
            value: vec!["n".to_owned()],
        }),
        ..PostgresOptions::new(&server.url())
    };
    let site = open("plain", options, 1).unwrap();
    let id: Key = [7; 16].into();
    let put = |text: &str| Operation::Put(Key::clone(&id), value(text));
    commit(&site, 1, &[put("41")]);
    commit(&site, 2, &[put("42")]);
    let range = KeyRange {
        low: [0; 16].into(),
        high: Some([255; 16].into()),
    };
    let operations = [Operation::Get(Key::clone(&id)), Operation::Scan(range)];
    let replies = commit(&site, 3, &operations);
    assert_eq!(replies[0], row("42"));
    assert_eq!(replies[1], Reply::Rows(vec![(id, value("42"))]));
}

#[test]
fn a_table_that_does_not_keep_what_the_order_needs_is_refused_with_what_to_do() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(session(&server.url()));
    let make = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
                CREATE TABLE loose (k text COLLATE loose PRIMARY KEY, v text NOT NULL); \
                CREATE TABLE half (a int, b int, v text, PRIMARY KEY (a, b)); \
                CREATE TABLE needs (k int PRIMARY KEY, v text, other text NOT NULL); \
                CREATE UNLOGGED TABLE light (k int PRIMARY KEY, v text); \
                CREATE TABLE real (k float8 PRIMARY KEY, v text); \
                CREATE TABLE open_end (k int UNIQUE, v text)";
    runtime.block_on(client.batch_execute(make)).unwrap();
    for (table, keys, said) in [
        ("loose", "k", "deterministic"),
        ("half", "a", "unique index"),
        ("needs", "k", "`other`"),
        ("light", "k", "SET LOGGED"),
        ("real", "k", "double precision"),
        ("open_end", "k", "SET NOT NULL"),
        ("nothing", "k", "none of that name"),
    ] {
        let options = PostgresOptions {
            schema: "public".to_owned(),
            table: table.to_owned(),
            columns: Some(TableColumns {
                key: vec![keys.to_owned()],
                value: vec!["v".to_owned()],
            }),
            ..PostgresOptions::new(&server.url())
        };
        let error = open("site", options, 1).expect_err(table);
        let text = error.to_string();
        assert!(
            matches!(error, Failed::Open(OpenError::UnfitTable { .. })),
            "{text}"
        );
        assert!(text.contains(said), "{table}: {text}");
    }
}

#[test]
fn who_writes_past_the_site_is_refused_and_told_where_to_go() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let site = open("berlin", PostgresOptions::new(&server.url()), 1).unwrap();
    commit(&site, 1, &[Operation::Put(key("a"), value("1"))]);
    site.quiesce();
    let client = runtime.block_on(session(&server.url()));
    for statement in [
        "UPDATE co.rows SET value = ''",
        "DELETE FROM co.rows",
        "INSERT INTO co.rows VALUES ('\\x62', '')",
        "TRUNCATE co.rows",
    ] {
        let refused = runtime.block_on(client.batch_execute(statement));
        let error = refused.expect_err(statement);
        let said = error.as_db_error().unwrap().message();
        assert!(said.contains("write to it through site berlin"), "{said}");
    }
    let replies = commit(&site, 2, &[Operation::Get(key("a"))]);
    assert_eq!(replies, [Reply::Value(Some(value("1")))]);
}

#[test]
fn settings_that_do_not_fit_are_said_with_the_statement_that_mends_them() {
    const OFF: Settings<'static> = &[("fsync", "off"), ("max_prepared_transactions", "0")];
    let Some(server) = server(OFF) else { return };
    let error =
        open("site", PostgresOptions::new(&server.url()), 1).expect_err("nothing can be prepared");
    let said = error.to_string();
    assert!(
        said.contains("ALTER SYSTEM SET max_prepared_transactions = 200"),
        "{said}"
    );
}

fn branch(number: u64) -> BranchName {
    BranchName::Global(Gtid(number))
}

#[test]
fn a_branch_is_ended_once_and_asked_for_as_often_as_one_likes() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let site = Postgres::open("site", PostgresOptions::new(&server.url()))
            .await
            .unwrap();
        let put = |text: &str| [Change::Put(key(text), value("1"))];
        site.prepare(branch(1), &put("a")).await.unwrap();
        assert_eq!(site.branches().await.unwrap(), [branch(1)]);
        assert_eq!(site.commit(branch(1)).await.unwrap(), Ending::Now);
        assert_eq!(site.commit(branch(1)).await.unwrap(), Ending::Before);
        assert_eq!(site.roll_back(branch(1)).await.unwrap(), Ending::Before);
        site.prepare(branch(2), &put("b")).await.unwrap();
        assert_eq!(site.roll_back(branch(2)).await.unwrap(), Ending::Now);
        assert_eq!(site.commit(branch(2)).await.unwrap(), Ending::Before);
        assert_eq!(site.get(&key("a")).await.unwrap(), Some(value("1")));
        assert_eq!(site.get(&key("b")).await.unwrap(), None);
    });
}

/// A transaction that has failed answers `ROLLBACK` to `PREPARE TRANSACTION`, and no client library tells.
#[test]
fn a_branch_whose_transaction_has_failed_is_not_prepared_and_says_so() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let client = session(&server.url()).await;
        let failed = "BEGIN; SELECT 1/0";
        client
            .batch_execute(failed)
            .await
            .expect_err("it divides by zero");
        let naive = client.batch_execute("PREPARE TRANSACTION 'naive'").await;
        assert!(
            naive.is_ok(),
            "the server answers with a tag that nobody sees: {naive:?}"
        );
        let left = client.query("SELECT gid FROM pg_prepared_xacts", &[]).await;
        assert!(left.unwrap().is_empty(), "and nothing is prepared");

        let options = PostgresOptions {
            guard: false,
            ..PostgresOptions::new(&server.url())
        };
        let site = Postgres::open("site", options).await.unwrap();
        let forbid = "ALTER TABLE co.rows ADD CHECK (length(value) < 3)";
        client.batch_execute(forbid).await.unwrap();
        let long = [Change::Put(key("a"), value("long"))];
        let refused = site.prepare(branch(1), &long).await;
        assert!(
            matches!(refused, Err(NotPrepared::Refused(_))),
            "{refused:?}"
        );
        assert!(site.branches().await.unwrap().is_empty());
        // The session that failed is of use again.
        let short = [Change::Put(key("a"), value("ok"))];
        site.prepare(branch(1), &short).await.unwrap();
        site.commit(branch(1)).await.unwrap();
    });
}

/// Whoever holds a row without coming through the site costs the transaction its vote, and not more.
#[test]
fn a_row_that_somebody_else_holds_is_a_no() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let options = PostgresOptions {
        guard: false,
        ..PostgresOptions::new(&server.url())
    };
    let site = open("site", options, 1).unwrap();
    commit(&site, 1, &[Operation::Put(key("a"), value("1"))]);
    site.quiesce();
    let client = runtime.block_on(session(&server.url()));
    let hold = "BEGIN; SELECT * FROM co.rows FOR UPDATE";
    runtime.block_on(client.batch_execute(hold)).unwrap();
    work(&site, 2, &[Operation::Put(key("a"), value("2"))]).unwrap();
    assert!(matches!(
        vote(&site, TxnName::Global(Gtid(2))),
        Ballot::No(_)
    ));
    runtime.block_on(client.batch_execute("ROLLBACK")).unwrap();
    commit(&site, 3, &[Operation::Put(key("a"), value("3"))]);
}

/// The connection breaks while the branch is being prepared: its process is ended before the branch is rolled back.
#[test]
fn a_branch_whose_preparation_lost_its_session_does_not_come_back() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let options = PostgresOptions {
            guard: false,
            ..PostgresOptions::new(&server.url())
        };
        let site = Arc::new(Postgres::open("site", options).await.unwrap());
        let client = session(&server.url()).await;
        let hold = "INSERT INTO co.rows VALUES ('a', ''); BEGIN; SELECT * FROM co.rows FOR UPDATE";
        client.batch_execute(hold).await.unwrap();
        let (preparing, changes) = (Arc::clone(&site), [Change::Put(key("a"), value("1"))]);
        let prepared = tokio::spawn(async move { preparing.prepare(branch(1), &changes).await });
        let other = session(&server.url()).await;
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        while !prepared.is_finished() && other.query(end, &[]).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let prepared = prepared.await.unwrap();
        assert!(
            matches!(prepared, Err(NotPrepared::Unknown(_))),
            "{prepared:?}"
        );
        assert_eq!(site.roll_back(branch(1)).await.unwrap(), Ending::Before);
        client.batch_execute("ROLLBACK").await.unwrap();
        assert!(site.branches().await.unwrap().is_empty());
    });
}

#[test]
fn branches_of_a_former_life_are_ended_and_those_of_others_are_left_alone() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let options = || PostgresOptions::new(&server.url());
    let client = runtime.block_on(session(&server.url()));
    runtime.block_on(async {
        let site = Postgres::open("site", options()).await.unwrap();
        for (number, name) in (1..).zip(["orphan", "committed", "doubtful"]) {
            let changes = [Change::Put(key(name), value("new"))];
            site.prepare(branch(number), &changes).await.unwrap();
        }
        let foreign = "BEGIN; CREATE TABLE foreign_one (); PREPARE TRANSACTION 'co:sites:g1'; \
                       BEGIN; CREATE TABLE foreign_two (); PREPARE TRANSACTION 'payroll'";
        let statements: Vec<&str> = foreign.split("; ").collect();
        for statement in statements {
            client.batch_execute(statement).await.unwrap();
        }
    });
    let site = open("site", options(), 2).unwrap();
    // The log has a commit of one, a vote of another, and nothing of the third.
    let put = |name: &str| Change::Put(key(name), value("new"));
    site.restore(Stamp(5), vec![put("committed")]);
    let prepared = Prepared {
        changes: vec![put("doubtful")],
        ..Prepared::default()
    };
    site.recover(Gtid(3), Priority(3), Stamp(6), prepared);
    site.recovered();
    assert_eq!(site.stored().failure().map(|it| it.to_string()), None);
    assert_eq!(
        count(&runtime, &client),
        3,
        "the doubtful one and two of others"
    );
    site.decide(TxnName::Global(Gtid(3)), Decision::Commit(Stamp(6)))
        .unwrap();
    let all = ["orphan", "committed", "doubtful"].map(|name| Operation::Get(key(name)));
    let there = || Reply::Value(Some(value("new")));
    assert_eq!(
        commit(&site, 9, &all),
        [Reply::Value(None), there(), there()]
    );
    site.quiesce();
    assert_eq!(count(&runtime, &client), 2, "those of others");
}

#[test]
fn branches_in_another_database_or_of_another_role_stop_the_site_at_once() {
    let Some(server) = server(QUICK) else { return };
    let runtime = Runtime::new().unwrap();
    let url = server.url();
    runtime.block_on(async {
        let client = session(&url).await;
        for statement in ["CREATE DATABASE elsewhere", "CREATE ROLE lesser LOGIN"] {
            client.batch_execute(statement).await.unwrap();
        }
        let site = Postgres::open("site", PostgresOptions::new(&url)).await.unwrap();
        site.prepare(branch(1), &[Change::Put(key("a"), value("1"))]).await.unwrap();
        let elsewhere = format!("{}/elsewhere", url.rsplit_once('/').unwrap().0);
        let other = Postgres::open("site", PostgresOptions::new(&elsewhere)).await;
        let said = other.expect_err("the branch is in the other one").to_string();
        assert!(said.contains("prepared in database `postgres`"), "{said}");

        let grant = "GRANT CREATE ON DATABASE postgres TO lesser; GRANT ALL ON SCHEMA co TO lesser; \
                     GRANT ALL ON ALL TABLES IN SCHEMA co TO lesser";
        client.batch_execute(grant).await.unwrap();
        let lesser = format!("postgres://lesser@{}", url.split_once('@').unwrap().1);
        let other = Postgres::open("site", PostgresOptions::new(&lesser)).await;
        let said = other.expect_err("the branch is somebody else's").to_string();
        assert!(said.contains("prepared by role"), "{said}");
        site.roll_back(branch(1)).await.unwrap();
    });
}

#[test]
fn a_branch_survives_kill_and_is_committed_by_the_next_session() {
    let Some(mut server) = server(&[("fsync", "on")]) else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let site = open("site", PostgresOptions::new(&server.url()), 1).unwrap();
    work(&site, 1, &[Operation::Put(key("a"), value("1"))]).unwrap();
    let name = TxnName::Global(Gtid(1));
    let Ballot::Yes { stamp, .. } = vote(&site, name) else {
        panic!("nobody is in its way");
    };
    server.kill();
    let away = work(&site, 2, &[Operation::Get(key("b"))]);
    assert_eq!(away, Err(OperationError::DatabaseAway));
    site.decide(TxnName::Global(Gtid(2)), Decision::Abort)
        .unwrap();
    // Decided while the server is away: what is decided is seen, and the branch follows when the server is back.
    site.decide(name, Decision::Commit(stamp)).unwrap();
    let replies = work(&site, 3, &[Operation::Get(key("a"))]).unwrap();
    assert_eq!(replies, [Reply::Value(Some(value("1")))]);
    site.decide(TxnName::Global(Gtid(3)), Decision::Abort)
        .unwrap();
    // A checkpoint has to wait for another time, and that is no reason for the site to end.
    assert!(site.stored().persist().is_err());
    assert_eq!(site.stored().failure().map(|it| it.to_string()), None);
    server.start().unwrap();
    site.quiesce();
    assert_eq!(site.stored().persist().unwrap().ordinal, 1);
    let client = runtime.block_on(session(&server.url()));
    assert_eq!(count(&runtime, &client), 0);
    let rows = "SELECT value FROM co.rows";
    let rows = runtime.block_on(client.query(rows, &[])).unwrap();
    assert_eq!(rows[0].get::<_, &[u8]>(0), b"1");
}
