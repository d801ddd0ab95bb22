//! Mode `serial`: statements of any kind, one transaction at a time.

use adapters::postgres::native::Mode;
use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use co_core::AbortReason;
use participant::conformance::{Client, found, get, put};
use participant::engine::Options;
use participant::{Ballot, Operation, OperationError, Recorder, Reply, Table};

use super::{Foreign, Life, options, server};

fn sql(text: &str) -> Operation {
    Operation::Sql(text.to_owned())
}

fn table(client: &Client, text: &str) -> Table {
    match client.run(sql(text)) {
        Ok(Reply::Table(table)) => table,
        other => panic!("{text}: {other:?}"),
    }
}

fn cell(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn statements_answer_with_text_and_a_refused_one_leaves_the_transaction_as_it_was() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Serial);
    let client = life.client(1);
    let made = table(&client, "CREATE TABLE t (a int PRIMARY KEY, b text)");
    assert_eq!(made, Table::default());
    let put_in = table(&client, "INSERT INTO t VALUES (1, 'one'), (2, NULL)");
    assert_eq!(put_in.affected, 2);
    let twice = client.run(sql("INSERT INTO t VALUES (3, 'three'), (1, 'again')"));
    assert!(matches!(twice, Err(OperationError::Statement { code, .. }) if code == "23505"));
    for (text, expected) in [
        ("SELEC 1", "42601"),
        ("SELECT 1; SELECT 2", "42601"),
        ("SELECT $1::int", "42P02"),
        ("SELECT 1 / 0", "22012"),
        ("DO 'BEGIN COMMIT; END'", "2D000"),
    ] {
        let refused = client.run(sql(text));
        let Err(
            OperationError::Statement { code, .. } | OperationError::NotYours { what: code, .. },
        ) = refused
        else {
            panic!("{text}: {refused:?}");
        };
        assert!(code == expected || code == "SELEC", "{text}: {code}");
    }
    for text in [
        "COMMIT",
        "/* now */ ROLLBACK",
        "SAVEPOINT s",
        "SET ROLE postgres",
        "LISTEN l",
    ] {
        let refused = client.run(sql(text));
        assert!(
            matches!(refused, Err(OperationError::NotYours { .. })),
            "{text}"
        );
    }
    let all = table(&client, "SELECT a, b FROM t ORDER BY a");
    let expected = Table {
        columns: vec!["a".to_owned(), "b".to_owned()],
        rows: vec![vec![cell("1"), cell("one")], vec![cell("2"), None]],
        affected: 2,
    };
    assert_eq!(all, expected);
    // Keys work beside them.
    assert!(client.run(put("x", "1")).is_ok());
    assert_eq!(client.run(get("x")), Ok(found("1")));
    client.commit();
    let next = life.client(2);
    assert_eq!(table(&next, "SELECT count(*) FROM t").rows, [[cell("2")]]);
    next.commit();
}

/// What the server refuses to prepare is a NO, and leaves nothing.
#[test]
fn what_cannot_be_prepared_is_a_no() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Serial);
    for (number, text) in [
        (1, "CREATE TEMP TABLE gone (a int)"),
        (2, "SELECT pg_notify('l', 'told')"),
    ] {
        let client = life.client(number);
        table(&client, text);
        let no = Ballot::No(AbortReason::Conflict);
        assert_eq!(client.prepare().cast(), Some(no), "{text}");
        client.abort();
    }
    life.site.quiesce();
    assert_eq!(Foreign::to(&server.url()).prepared(), 0);
}

/// A function can do what a statement may not; the session forgets it, and the branch is the site's.
#[test]
fn what_a_statement_leaves_in_its_session_is_gone_with_the_transaction() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Serial);
    let foreign = Foreign::to(&server.url());
    foreign.run("CREATE ROLE clerk").unwrap();
    let client = life.client(1);
    table(&client, "SELECT set_config('role', 'clerk', false)");
    table(
        &client,
        "SELECT set_config('search_path', 'nowhere', false)",
    );
    table(&client, "SELECT pg_advisory_lock(7)");
    let ballots = client.prepare();
    assert!(ballots.yes().is_some());
    let own = "SELECT count(*) FROM pg_prepared_xacts WHERE owner = 'postgres'";
    assert_eq!(foreign.number(own), 1);
    assert!(client.conclude(&ballots).is_ok());
    life.site.quiesce();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(foreign.number(locks), 0);
    let next = life.client(2);
    let seen = table(
        &next,
        "SELECT current_user, current_setting('search_path') LIKE '%public%'",
    );
    assert_eq!(seen.rows, [[cell("postgres"), cell("t")]]);
    next.commit();
}

/// Also against one that is prepared and not decided; and the history says so.
#[test]
fn one_transaction_at_a_time_sees_all_that_was_decided_before_it() {
    let Some(server) = server() else { return };
    let recorder = Recorder::memory("site");
    let host = Options {
        recorder: recorder.clone(),
        ..Options::default()
    };
    let life = Life::of("site", 1, options(&server.url(), Mode::Serial), host);
    let setup = life.client(1);
    table(&setup, "CREATE TABLE t (a int)");
    table(&setup, "INSERT INTO t VALUES (0)");
    setup.commit();
    let [first, second] = [2, 3].map(|number| life.client(number));
    assert_eq!(table(&first, "SELECT a FROM t").rows, [[cell("0")]]);
    let mut waiting = second.start(sql("UPDATE t SET a = a + 1 RETURNING a"));
    assert_eq!(waiting.poll(), None);
    assert_eq!(
        table(&first, "UPDATE t SET a = a + 10 RETURNING a").rows,
        [[cell("10")]]
    );
    let ballots = first.prepare();
    assert!(ballots.yes().is_some());
    assert_eq!(
        waiting.poll(),
        None,
        "a prepared transaction keeps its turn"
    );
    assert!(first.conclude(&ballots).is_ok());
    let Some(Ok(Reply::Table(updated))) = waiting.poll() else {
        panic!("it is its turn");
    };
    assert_eq!(updated.rows, [[cell("11")]]);
    second.commit();
    life.site.quiesce();
    recorder.finish().unwrap();
    let history = recorder.text().unwrap();
    let site = read_history(history.as_bytes(), "statements").unwrap();
    let report = judge(&[site], Level::CommitmentOrdering);
    assert_eq!(report.statistics.committed, 3, "{history}");
    assert!(matches!(report.verdict, Verdict::Valid { .. }), "{history}");
    assert!(history.contains("w:(sql)"), "{history}");
}
