//! MariaDB at SERIALIZABLE with XA: the suite, what the server does with read locks, raw, and what the site makes of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::Threads;
use adapters::mariadb::MariaDbOptions;
use adapters::mariadb::native::{MariaDbSessions, NativeOptions};
use adapters::native::{Native, open_on};
use co_core::{AbortReason, Gtid, Priority, Stamp};
use databases::{Product, Server};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use participant::conformance::{Client, Subject, Suite, absent, block_on, found, get, put, scan};
use participant::engine::Options;
use participant::{
    Ballot, Decision, Operation, OperationError, Participant, Prepared, Reply, TxnName,
};

use super::NEVER;
use super::suite::assert_ordered;

const NO: Ballot = Ballot::No(AbortReason::Conflict);
const CONFLICT: OperationError = OperationError::Aborted(AbortReason::Conflict);

/// How old the server's table of transactions may be.
const COPY: Duration = Duration::from_millis(150);

/// A server of the test's own; `None`, said loudly, where there is none.
fn server() -> Option<Server> {
    let settings = [("innodb_flush_log_at_trx_commit", "2")];
    match Server::private(Product::MariaDb, &settings) {
        Ok(server) => Some(server),
        Err(error) if error.is_missing() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn options(url: &str) -> NativeOptions {
    NativeOptions {
        mariadb: MariaDbOptions {
            sessions: 40,
            lazy_flush: true,
            ..MariaDbOptions::new(url)
        },
        lock_timeout: NEVER,
    }
}

/// One life of a site.
pub(crate) struct Life {
    pub(crate) site: Arc<dyn Participant>,
    backend: Arc<MariaDbSessions>,
    threads: Threads,
}

impl Life {
    fn of(life: u64, options: NativeOptions) -> Self {
        let threads = Threads::start().unwrap();
        let backend = threads.wait_for(async move { MariaDbSessions::open("site", options).await });
        let backend = Arc::new(backend.unwrap());
        let native: Native<MariaDbSessions> =
            open_on(Options::default(), life, &threads, &backend).unwrap();
        Self {
            site: Arc::new(native),
            backend,
            threads,
        }
    }

    fn begin(url: &str) -> Self {
        let life = Self::of(1, options(url));
        life.site.recovered();
        life
    }

    fn client(&self, number: u64) -> Client {
        Client::begin(&self.site, number)
    }

    fn put(&self, number: u64, rows: &[(&str, &str)]) {
        let client = self.client(number);
        for (key, value) in rows {
            assert_eq!(client.run(put(key, value)), Ok(Reply::Done));
        }
        client.commit();
        self.site.quiesce();
    }

    fn crash(self) {
        let Self {
            site,
            backend,
            threads,
        } = self;
        drop((site, backend));
        drop(threads);
    }
}

/// Somebody who does not come through the site.
struct Foreign {
    threads: Threads,
    conn: Arc<tokio::sync::Mutex<Conn>>,
}

impl Foreign {
    fn to(url: &str) -> Self {
        let threads = Threads::start().unwrap();
        let url = url.to_owned();
        let conn = threads.wait_for(async move { Conn::from_url(url).await.unwrap() });
        Self {
            threads,
            conn: Arc::new(tokio::sync::Mutex::new(conn)),
        }
    }

    /// The error is the server's code.
    fn run(&self, text: &str) -> Result<(), u16> {
        let (conn, text) = (Arc::clone(&self.conn), text.to_owned());
        let done = self
            .threads
            .wait_for(async move { conn.lock().await.query_drop(text).await });
        done.map_err(|error| match error {
            mysql_async::Error::Server(said) => said.code,
            other => panic!("{other}"),
        })
    }

    fn numbers(&self, text: &str) -> Vec<u64> {
        let (conn, text) = (Arc::clone(&self.conn), text.to_owned());
        let rows = self
            .threads
            .wait_for(async move { conn.lock().await.query(text).await });
        rows.unwrap()
    }

    fn prepared(&self) -> usize {
        let conn = Arc::clone(&self.conn);
        let rows = self.threads.wait_for(async move {
            let rows: Vec<mysql_async::Row> = conn.lock().await.query("XA RECOVER").await.unwrap();
            rows.len()
        });
        rows
    }

    /// Ends all sessions that have a prepared branch or a transaction.
    fn kill_transactions(&self) {
        let transactions = "SELECT ID FROM information_schema.PROCESSLIST WHERE ID IN \
             (SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX) AND ID <> CONNECTION_ID()";
        let mut threads = self.numbers(transactions);
        while threads.is_empty() {
            // The table is a copy, and as old as its last reader.
            std::thread::sleep(COPY);
            threads = self.numbers(transactions);
        }
        for thread in threads {
            self.run(&format!("KILL {thread}")).unwrap();
        }
    }
}

fn sql(text: &str) -> Operation {
    Operation::Sql(text.to_owned())
}

#[test]
#[ignore = "takes many minutes: each wait is seen after 100 ms, and has not been run to its end yet"]
fn serializable_xa_keeps_every_promise_of_a_participant() {
    let Some(server) = server() else { return };
    let threads = Threads::start().unwrap();
    let options = options(&server.url());
    let backend = threads.wait_for(async move { MariaDbSessions::open("suite", options).await });
    let backend = Arc::new(backend.unwrap());
    let broom = Mutex::new(Foreign::to(&server.url()));
    let suite = Suite::new(
        |rule, recorder| {
            broom.lock().unwrap().run("TRUNCATE co.`rows`").unwrap();
            let options = Options {
                rule,
                recorder,
                ..Options::default()
            };
            let site: Native<MariaDbSessions> = open_on(options, 1, &threads, &backend).unwrap();
            let site = Arc::new(site);
            let seen = Arc::clone(&site);
            Subject::new(site).with_idle(move || seen.is_idle())
        },
        assert_ordered,
    );
    // `CASES_FROM=name` begins with that case.
    let from = std::env::var("CASES_FROM").unwrap_or_default();
    for (name, case) in Suite::cases().skip_while(|(name, _)| !from.is_empty() && *name != from) {
        eprintln!("mariadb-lock {name}");
        case(&suite);
    }
}

/// What the server does: `XA PREPARE` keeps the locks of what was read at one level and not below it, and a session that
/// ends takes them along.
#[test]
fn raw_read_locks_go_at_repeatable_read_and_with_the_session() {
    let Some(server) = server() else { return };
    let [reader, writer] = [0, 1].map(|_| Foreign::to(&server.url()));
    writer
        .run(
            "CREATE DATABASE raw; CREATE TABLE raw.t (k INT PRIMARY KEY, v INT) ENGINE=InnoDB; \
              INSERT INTO raw.t VALUES (1, 0); SET innodb_lock_wait_timeout = 1",
        )
        .unwrap();
    let write = "UPDATE raw.t SET v = v + 1 WHERE k = 1";
    let read = |level: &str, how: &str, also: &str| {
        format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL {level}; XA START 'r'; SELECT v FROM raw.t WHERE k = 1{how}; {also} \
             XA END 'r'; XA PREPARE 'r'"
        )
    };
    reader
        .run(&read(
            "REPEATABLE READ",
            " LOCK IN SHARE MODE",
            "INSERT INTO raw.t VALUES (9, 9);",
        ))
        .unwrap();
    assert_eq!(writer.run(write), Ok(()), "case 27: the lock is gone");
    reader.run("XA COMMIT 'r'").unwrap();
    reader.run(&read("SERIALIZABLE", "", "")).unwrap();
    assert_eq!(writer.run(write), Err(1205), "it is kept");
    drop(reader);
    // The server ends the session some time after that.
    while writer.run(write).is_err() {}
    assert!(writer.prepared() <= 1, "a branch that nothing holds to");
}

#[test]
fn read_locks_of_a_read_only_branch_stand_until_the_decision() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url());
    life.put(90, &[("x", "old")]);
    let [row, nothing, range] = [1, 2, 3].map(|number| life.client(number));
    assert_eq!(row.run(get("x")), Ok(found("old")));
    assert_eq!(nothing.run(get("b")), Ok(absent()));
    assert_eq!(range.run(scan("p", "q")), Ok(Reply::Rows(Vec::new())));
    let ballots = [&row, &nothing, &range].map(Client::prepare);
    assert!(ballots.iter().all(|it| it.yes().is_some()));
    let writers = [("x", 4), ("b", 5), ("pp", 6)].map(|(key, number)| {
        let client = life.client(number);
        let running = client.start(put(key, "new"));
        (client, running)
    });
    let mut writers = writers.map(|(client, mut running)| {
        assert_eq!(running.poll(), None);
        (client, running)
    });
    // The waits are known by the names of the transactions.
    life.site.quiesce();
    let blocked = life.site.blocked();
    for gtid in [1, 2, 3] {
        let by = |it: &participant::Blocked| it.by.iter().any(|(other, _)| other.0 == gtid);
        assert!(blocked.iter().any(by), "{gtid}: {blocked:?}");
    }
    for (client, ballots) in [&row, &nothing, &range].into_iter().zip(&ballots) {
        assert!(client.conclude(ballots).is_ok());
    }
    for (client, running) in &mut writers {
        assert_eq!(running.poll(), Some(Ok(Reply::Done)));
        client.commit();
    }
}

/// The reader's vote is out, and its session is killed: nobody may vote behind its back.
#[test]
fn the_loss_of_an_undecided_readers_session_ends_the_life_and_is_a_no_for_the_next() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url());
    life.put(90, &[("x", "old")]);
    let reader = life.client(1);
    assert_eq!(reader.run(get("x")), Ok(found("old")));
    let vote = reader.prepare();
    let stamp = vote.yes().unwrap();
    let prepared = life.site.prepared(reader.name()).unwrap();
    let foreign = Foreign::to(&server.url());
    foreign.kill_transactions();
    let writer = life.client(2);
    // The lock is gone; or the site has noticed already.
    if block_on(life.site.execute(writer.name(), &put("x", "new"))).is_ok() {
        assert_eq!(writer.prepare().yes(), None);
    }
    let started = std::time::Instant::now();
    while life.site.stored().failure().is_none() {
        assert!(started.elapsed() < NEVER);
        std::thread::yield_now();
    }
    let failure = life.site.stored().failure().unwrap().to_string();
    assert!(failure.contains("g1"), "{failure}");
    life.crash();
    fence_holds(&server, stamp, prepared);
}

/// The next life: the reader is in doubt, its branch may be gone, and nothing begins before it is decided.
fn fence_holds(server: &Server, stamp: Stamp, prepared: Prepared) {
    let life = Life::of(2, options(&server.url()));
    life.site.recover(Gtid(1), Priority(1), stamp, prepared);
    life.site.recovered();
    let writer = life.client(3);
    let mut waiting = writer.start(put("x", "new"));
    assert_eq!(waiting.poll(), None, "the fence");
    assert_eq!(life.site.blocked()[0].by, [(Gtid(1), Priority(1))]);
    let name = TxnName::Global(Gtid(1));
    assert_eq!(life.site.decide(name, Decision::Commit(stamp)), Ok(()));
    assert_eq!(waiting.poll(), Some(Ok(Reply::Done)));
    assert!(writer.commit() > stamp);
    life.site.quiesce();
    assert!(life.site.stored().failure().is_none());
    assert_eq!(Foreign::to(&server.url()).prepared(), 0);
}

/// Case 28: the server is killed while the vote of another site is pending.
#[test]
fn nothing_votes_over_a_killed_server_before_all_that_is_in_doubt_is_decided() {
    let Some(mut server) = server() else { return };
    let life = Life::begin(&server.url());
    life.put(90, &[("x", "old")]);
    let reader = life.client(1);
    assert_eq!(reader.run(get("x")), Ok(found("old")));
    let vote = reader.prepare();
    let stamp = vote.yes().unwrap();
    let prepared = life.site.prepared(reader.name()).unwrap();
    server.kill();
    server.start().unwrap();
    // What the server would let happen: the row is free, although the reader is undecided.
    let writer = life.client(2);
    let written = block_on(life.site.execute(writer.name(), &put("x", "new")));
    assert_eq!(written, Ok(Reply::Done));
    assert_eq!(writer.prepare().cast(), Some(NO));
    let next = life.client(4);
    if block_on(life.site.execute(next.name(), &put("x", "newer"))).is_ok() {
        assert_eq!(next.prepare().yes(), None);
    }
    life.crash();
    fence_holds(&server, stamp, prepared);
}

#[test]
fn a_wait_that_takes_too_long_dooms_the_branch() {
    let Some(server) = server() else { return };
    let short = NativeOptions {
        lock_timeout: Duration::from_secs(1),
        ..options(&server.url())
    };
    let life = Life::of(1, short);
    life.site.recovered();
    life.put(90, &[("x", "0"), ("y", "0")]);
    let foreign = Foreign::to(&server.url());
    foreign
        .run("SET @co_writer = 1; START TRANSACTION; UPDATE co.`rows` SET value = '2' WHERE `key` = 'x'")
        .unwrap();
    for text in [None, Some("SELECT value FROM co.`rows` WHERE `key` = 'x'")] {
        let number = 1 + u64::from(text.is_some());
        let client = life.client(number);
        assert!(client.run(put("y", "1")).is_ok());
        let operation = text.map_or_else(|| get("x"), sql);
        let waited = block_on(life.site.execute(client.name(), &operation));
        assert_eq!(waited, Err(CONFLICT));
        assert_eq!(client.prepare().yes(), None);
        client.abort();
    }
    foreign.run("ROLLBACK").unwrap();
    let client = life.client(3);
    assert_eq!(
        client.run(get("y")),
        Ok(found("0")),
        "nothing of it is left"
    );
    client.commit();
}

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

/// Each reads at both and writes at its own one, if the other's is one. One after the other, one of them is left.
fn write_skew(sites: [&Arc<dyn Participant>; 2]) {
    for (site, name) in sites.iter().zip(["x", "y"]) {
        let client = Client::begin(site, 90);
        assert!(client.run(put(name, "1")).is_ok());
        client.commit();
        site.quiesce();
    }
    let clients = [1, 2].map(|number| sites.map(|site| Client::begin(site, number)));
    for transaction in &clients {
        assert_eq!(transaction[0].run(get("x")), Ok(found("1")));
        assert_eq!(transaction[1].run(get("y")), Ok(found("1")));
    }
    let mut first = clients[0][0].start(put("x", "0"));
    assert_eq!(first.poll(), None, "the other has read it");
    let mut second = clients[1][1].start(put("y", "0"));
    assert_eq!(second.poll(), None, "the other has read it");
    // A circle that no server sees. What the coordinator does.
    let blocked: Vec<_> = sites
        .iter()
        .flat_map(|site| {
            site.quiesce();
            site.blocked()
        })
        .map(|it| (it.gtid.0, it.by[0].0.0))
        .collect();
    assert_eq!(blocked, [(1, 2), (2, 1)]);
    clients[1].iter().for_each(Client::abort);
    assert_eq!(first.poll(), Some(Ok(Reply::Done)));
    let ballots = clients[0].each_ref().map(Client::prepare);
    let stamp = ballots.iter().map(|it| it.yes().unwrap()).max().unwrap();
    for client in &clients[0] {
        assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
    }
    for (site, name, value) in [(sites[0], "x", "0"), (sites[1], "y", "1")] {
        let client = Client::begin(site, 91);
        assert_eq!(client.run(get(name)), Ok(found(value)));
        client.commit();
    }
}

#[test]
fn write_skew_over_two_mariadb_servers_is_prevented_and_its_circle_is_seen() {
    let (Some(one), Some(other)) = (server(), server()) else {
        return;
    };
    let lives = [Life::begin(&one.url()), Life::begin(&other.url())];
    write_skew([&lives[0].site, &lives[1].site]);
}

#[test]
fn write_skew_over_postgres_and_mariadb_is_prevented_and_its_circle_is_seen() {
    let (Some(one), Some(other)) = (super::server(), server()) else {
        return;
    };
    let mode = adapters::postgres::native::Mode::Lock;
    let lives = (
        super::Life::begin(&one.url(), mode),
        Life::begin(&other.url()),
    );
    write_skew([&lives.0.site, &lives.1.site]);
}
