//! Statements: what they may touch, and what they leave.

use participant::conformance::{found, get, put};
use participant::{OperationError, Reply};

use super::{Foreign, Life, server, sql};

#[test]
fn statements_touch_tables_of_innodb_only_and_a_refused_one_leaves_the_transaction_as_it_was() {
    let Some(server) = server() else { return };
    let foreign = Foreign::to(&server.url());
    foreign
        .run("CREATE DATABASE co; USE co; CREATE TABLE t (a INT PRIMARY KEY, b VARCHAR(9)) ENGINE=InnoDB; \
              CREATE TABLE Loose (a INT) ENGINE=Aria; CREATE VIEW seen AS SELECT a AS c FROM Loose; \
              CREATE TABLE u (a INT) ENGINE=InnoDB; CREATE SEQUENCE s; \
              CREATE TRIGGER noted AFTER INSERT ON u FOR EACH ROW INSERT INTO Loose VALUES (NEW.a); \
              CREATE FUNCTION f() RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM Loose)")
        .unwrap();
    let life = Life::begin(&server.url().replace("/mysql", "/co"));
    let client = life.client(1);
    assert!(
        client
            .run(sql("INSERT INTO t VALUES (1, 'one'), (2, NULL)"))
            .is_ok()
    );
    for text in [
        "INSERT INTO Loose VALUES (1)",
        "INSERT INTO t SELECT a, 'x' FROM `co`.`Loose`",
        "SELECT c FROM seen",
        "INSERT INTO u VALUES (1)",
        "SELECT f()",
        "SELECT NEXT VALUE FOR s",
        "SELECT COUNT(*) FROM mysql.user",
        "SELECT COUNT(*) FROM information_schema.tables",
        "DELETE FROM co.sites",
        "INSERT INTO branches VALUES (1)",
    ] {
        let refused = client.run(sql(text));
        assert!(
            matches!(&refused, Err(OperationError::Statement { code, .. }) if code == "engine"),
            "{text}: {refused:?}"
        );
    }
    for (text, expected) in [
        ("INSERT INTO t VALUES (3, 'x'), (1, 'again')", "1062"),
        ("SELECT nothing FROM t", "1054"),
        ("SELEC 1", ""),
        ("COMMIT", ""),
        ("ALTER TABLE t ADD c INT", ""),
        ("SELECT 1; COMMIT", ""),
    ] {
        match client.run(sql(text)) {
            Err(OperationError::Statement { code, .. }) => assert_eq!(code, expected, "{text}"),
            Err(OperationError::NotYours { .. }) => assert_eq!("", expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let Ok(Reply::Table(all)) = client.run(sql("SELECT a, b FROM t ORDER BY a")) else {
        panic!("it is as it was");
    };
    let cell = |text: &str| Some(text.to_owned());
    assert_eq!(all.columns, ["a", "b"]);
    assert_eq!(
        all.rows,
        [vec![cell("1"), cell("one")], vec![cell("2"), None]]
    );
    // A statement's reads are locked as all others are.
    let ballots = client.prepare();
    assert!(ballots.yes().is_some());
    let other = life.client(2);
    let mut waiting = other.start(sql("SELECT COUNT(*) FROM t"));
    assert_eq!(waiting.poll(), None);
    assert!(client.conclude(&ballots).is_ok());
    assert!(matches!(waiting.poll(), Some(Ok(Reply::Table(table))) if table.rows == [[cell("2")]]));
    other.commit();
    life.site.quiesce();
    assert_eq!(foreign.numbers("SELECT COUNT(*) FROM co.Loose"), [0]);
}

/// What a function sets stays set after it: at READ COMMITTED the next branch's reads would hold nothing.
#[test]
fn what_a_statement_sets_in_a_session_is_gone_for_the_next_transaction() {
    let Some(server) = server() else { return };
    Foreign::to(&server.url())
        .run(
            "CREATE DATABASE co; USE co; CREATE FUNCTION loosen() RETURNS INT NOT DETERMINISTIC BEGIN \
              SET SESSION tx_isolation = 'READ-COMMITTED'; SET SESSION time_zone = '+05:00'; RETURN 1; END",
        )
        .unwrap();
    let life = Life::begin(&server.url().replace("/mysql", "/co"));
    life.put(90, &[("x", "old")]);
    let first = life.client(1);
    assert!(first.run(sql("SELECT loosen()")).is_ok());
    first.commit();
    life.site.quiesce();
    let reader = life.client(2);
    assert_eq!(reader.run(get("x")), Ok(found("old")));
    let zone = reader.run(sql("SELECT TIMEDIFF(NOW(), UTC_TIMESTAMP()) = '05:00:00'"));
    assert!(
        matches!(&zone, Ok(Reply::Table(table)) if table.rows == [[Some("0".to_owned())]]),
        "{zone:?}"
    );
    let ballots = reader.prepare();
    assert!(ballots.yes().is_some());
    let writer = life.client(3);
    let mut waiting = writer.start(put("x", "new"));
    assert_eq!(waiting.poll(), None, "the reader's lock stands");
    assert!(reader.conclude(&ballots).is_ok());
    assert_eq!(waiting.poll(), Some(Ok(Reply::Done)));
    writer.commit();
}
