//! What the server does with read locks, raw, and what the site makes of it: which of them it relies on, and what it does when
//! one is lost.

use std::time::Duration;

use adapters::mariadb::native::{MariaDbSessions, NativeOptions};
use co_core::{Gtid, Priority, Stamp};
use databases::Server;
use participant::conformance::{Client, absent, block_on, found, get, put, scan};
use participant::engine::Options;
use participant::{Decision, Prepared, Reply, TxnName};

use super::{AWAY, CONFLICT, Foreign, Life, options, server, sql};
use crate::NEVER;

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

/// What the server does: a prepared branch is there after it was killed, without the locks of what it has not changed.
#[test]
fn raw_locks_of_what_was_not_changed_go_with_the_server() {
    let Some(mut server) = server() else { return };
    let [branch, writer] = [0, 1].map(|_| Foreign::to(&server.url()));
    writer
        .run(
            "CREATE DATABASE raw; CREATE TABLE raw.t (k INT PRIMARY KEY, v INT) ENGINE=InnoDB; \
              INSERT INTO raw.t VALUES (1, 0), (2, 0), (3, 0)",
        )
        .unwrap();
    branch
        .run(
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE; XA START 'b'; SELECT v FROM raw.t WHERE k = 1; \
              SELECT v FROM raw.t WHERE k = 2 FOR UPDATE; UPDATE raw.t SET v = 9 WHERE k = 3; XA END 'b'; XA PREPARE 'b'",
        )
        .unwrap();
    let write = |writer: &Foreign| {
        writer.run("SET innodb_lock_wait_timeout = 1").unwrap();
        [1, 2, 3].map(|k| writer.run(&format!("UPDATE raw.t SET v = v + 1 WHERE k = {k}")))
    };
    assert_eq!(write(&writer), [Err(1205); 3], "all are kept");
    drop((branch, writer));
    server.kill();
    server.start().unwrap();
    let writer = Foreign::to(&server.url());
    assert_eq!(writer.prepared(), 1);
    assert_eq!(write(&writer), [Ok(()), Ok(()), Err(1205)]);
    writer.run("XA ROLLBACK 'b'").unwrap();
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
    let life = Life::of(2, options(&server.url()), Options::default());
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
    // Or the site has noticed already.
    let written = block_on(life.site.execute(writer.name(), &put("x", "new")));
    if written.is_ok() {
        assert_eq!(writer.prepare().cast(), Some(AWAY));
    }
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
    let life = Life::of(1, short, Options::default());
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

/// Those that are prepared need theirs, and who holds one may wait for who wants one, at another site: nobody waits for long.
#[test]
fn an_undecided_branch_keeps_its_session_and_who_finds_none_is_aborted() {
    let Some(server) = server() else { return };
    let mut few = options(&server.url());
    few.mariadb.sessions = 2;
    few.lock_timeout = Duration::from_secs(1);
    let life = Life::of(1, few, Options::default());
    life.site.recovered();
    let [one, two, three, four] = [1, 2, 3, 4].map(|number| life.client(number));
    let ballots = [(&one, "a"), (&two, "b")].map(|(client, key)| {
        assert_eq!(client.run(put(key, "1")), Ok(Reply::Done));
        let ballots = client.prepare();
        assert!(ballots.yes().is_some());
        ballots
    });
    let late = block_on(life.site.execute(three.name(), &put("c", "1")));
    assert_eq!(late, Err(CONFLICT));
    three.abort();
    assert!(one.conclude(&ballots[0]).is_ok());
    assert_eq!(four.run(put("c", "1")), Ok(Reply::Done));
    four.commit();
    assert!(two.conclude(&ballots[1]).is_ok());
}

/// A reset would free the lock that each session of the adapter holds by name, and swallow a commit.
#[test]
fn sessions_are_used_again_and_never_reset() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url());
    for number in 0..4 {
        life.put(90 + number, &[("x", "1"), ("y", "1")]);
        let [reader, dropped, mixed] = [1, 2, 3].map(|it| life.client(10 * it + number));
        for client in [&reader, &dropped, &mixed] {
            assert_eq!(client.run(get("x")), Ok(found("1")));
        }
        reader.commit();
        dropped.abort();
        assert!(mixed.run(sql("SELECT 1")).is_ok());
        mixed.commit();
        life.site.quiesce();
    }
    let foreign = Foreign::to(&server.url());
    let threads = || {
        foreign.numbers(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root' ORDER BY ID",
        )
    };
    let holders = || {
        foreign.numbers(
            "SELECT thread FROM (SELECT IS_USED_LOCK(CONCAT('co:', MD5('site'), ':', seq)) AS thread \
             FROM mysql.seq_0_to_99) AS holders WHERE thread IS NOT NULL ORDER BY thread",
        )
    };
    assert!((4..10).contains(&threads().len()), "{:?}", threads());
    assert_eq!(holders(), threads());
}

#[test]
fn a_user_who_may_not_see_who_waits_is_told_what_right_is_missing() {
    let Some(server) = server() else { return };
    drop(Life::begin(&server.url()));
    let root = Foreign::to(&server.url());
    root.run("CREATE USER plain@'%'; GRANT ALL ON co.* TO plain@'%'")
        .unwrap();
    let open = || {
        let options = options(
            &server
                .url()
                .replace("root@", "plain@")
                .replace("/mysql", "/co"),
        );
        let threads = adapters::Threads::start().unwrap();
        let opened = threads.wait_for(async move { MariaDbSessions::open("plain", options).await });
        opened.map(drop).map_err(|error| error.to_string())
    };
    let refused = open().unwrap_err();
    assert!(refused.contains("`GRANT PROCESS ON *.* TO"), "{refused}");
    root.run("GRANT PROCESS ON *.* TO plain@'%'").unwrap();
    assert_eq!(open(), Ok(()));
}
