//! Crashes of the site, and of the server under it.

use adapters::postgres::native::Mode;
use co_core::{Priority, Stamp};
use databases::{Product, Server};
use participant::conformance::{Client, absent, found, get, key, put, value};
use participant::engine::Options;
use participant::{Begin, Change, Decision, OperationError, Prepared, Reply, TxnName};

use super::{Foreign, Life, options, server};

fn next_life(url: &str, mode: Mode) -> Life {
    Life::of("site", 2, options(url, mode), Options::default())
}

fn reads(life: &Life, number: u64, name: &str, expected: &Reply) {
    let client = life.client(number);
    assert_eq!(client.run(get(name)).as_ref(), Ok(expected), "{name}");
    client.commit();
}

/// Prepares a transaction that writes one key.
fn vote(life: &Life, number: u64, name: &str) -> Prepared {
    let client = life.client(number);
    assert!(client.run(put(name, "new")).is_ok());
    assert!(client.prepare().yes().is_some());
    life.site.prepared(client.name()).unwrap()
}

/// Committed, in doubt, unknown: each of a global transaction, and two of this site alone.
#[test]
fn the_log_decides_what_becomes_of_the_branches_that_a_crash_has_left() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let in_doubt = vote(&life, 1, "in doubt");
    let committed = vote(&life, 2, "committed");
    vote(&life, 3, "unknown");
    for (number, name) in [(4, "local"), (5, "local, unknown")] {
        let begin = Begin {
            name: TxnName::Local(number),
            priority: Priority(number),
        };
        life.site.begin(begin).unwrap();
        let client = Client::of(&life.site, begin.name);
        assert!(client.run(put(name, "new")).is_ok());
        assert!(client.prepare().yes().is_some());
    }
    let working = life.client(6);
    assert!(working.run(put("at work", "new")).is_ok());
    life.crash();
    let foreign = Foreign::to(&server.url());
    assert_eq!(foreign.prepared(), 5);

    let life = next_life(&server.url(), Mode::Lock);
    life.site.restoring(TxnName::Global(co_core::Gtid(2)));
    life.site.restore(Stamp(10), committed.changes);
    life.site.restoring(TxnName::Local(4));
    let local = Change::Put(key("local"), value("new"));
    life.site.restore(Stamp(11), vec![local]);
    let gtid = co_core::Gtid(1);
    life.site
        .recover(gtid, Priority(1), Stamp(9), in_doubt.clone());
    life.site.recovered();
    assert!(life.site.stored().failure().is_none());
    assert_eq!(foreign.prepared(), 1, "the one in doubt");
    assert_eq!(life.site.stored().newest(), 2);
    assert_eq!(life.site.prepared(TxnName::Global(gtid)), Some(in_doubt));
    reads(&life, 11, "committed", &found("new"));
    reads(&life, 13, "local", &found("new"));
    // It holds its row, and with that the table against those who read what is not there.
    let reader = life.client(14);
    let mut waiting = reader.start(get("in doubt"));
    assert_eq!(waiting.poll(), None);
    let blocked = life.site.blocked();
    assert_eq!(blocked[0].by, [(gtid, Priority(1))]);
    let decided = life
        .site
        .decide(TxnName::Global(gtid), Decision::Commit(Stamp(20)));
    assert_eq!(decided, Ok(()));
    assert_eq!(waiting.poll(), Some(Ok(found("new"))));
    assert!(reader.commit() > Stamp(20));
    for name in ["unknown", "local, unknown", "at work"] {
        reads(&life, 15 + name.len() as u64, name, &absent());
    }
    life.site.quiesce();
    assert_eq!(foreign.prepared(), 0);
}

/// The commit is in the log, its branch was finished, and somebody else has written the row since.
#[test]
fn what_was_finished_is_not_done_again() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let client = life.client(1);
    assert!(client.run(put("x", "ours")).is_ok());
    client.commit();
    life.site.quiesce();
    life.crash();
    let foreign = Foreign::to(&server.url());
    foreign.run("UPDATE co.rows SET value = 'theirs'").unwrap();
    let life = next_life(&server.url(), Mode::Lock);
    life.site.restoring(TxnName::Global(co_core::Gtid(1)));
    let change = Change::Put(key("x"), value("ours"));
    life.site.restore(Stamp(10), vec![change]);
    life.site.recovered();
    reads(&life, 2, "x", &found("theirs"));
    assert_eq!(life.site.stored().newest(), 1);
}

/// It was committed, and the crash came before the log had that.
#[test]
fn nothing_begins_before_one_in_doubt_without_a_branch_is_decided_again() {
    let Some(server) = server() else { return };
    let life = Life::begin(&server.url(), Mode::Lock);
    let client = life.client(1);
    assert!(client.run(put("x", "new")).is_ok());
    let stamp = client.prepare().yes().unwrap();
    let prepared = life.site.prepared(client.name()).unwrap();
    assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
    life.site.quiesce();
    life.crash();
    let life = next_life(&server.url(), Mode::Lock);
    let gtid = co_core::Gtid(1);
    life.site.recover(gtid, Priority(1), stamp, prepared);
    life.site.recovered();
    let other = life.client(2);
    let mut waiting = other.start(get("elsewhere"));
    assert_eq!(waiting.poll(), None);
    assert_eq!(life.site.blocked()[0].by, [(gtid, Priority(1))]);
    let decided = life
        .site
        .decide(TxnName::Global(gtid), Decision::Commit(stamp));
    assert_eq!(decided, Ok(()));
    assert_eq!(waiting.poll(), Some(Ok(absent())));
    other.commit();
    reads(&life, 3, "x", &found("new"));
    assert_eq!(life.site.stored().newest(), 1);
}

/// Why no fence is needed: a reader's locks are part of its prepared branch.
#[test]
fn read_locks_of_a_prepared_branch_survive_a_killed_server() {
    let Some(mut server) = Server::for_test(Product::Postgres, &[]) else {
        return;
    };
    let life = Life::begin(&server.url(), Mode::Lock);
    let before = life.client(9);
    assert!(before.run(put("x", "old")).is_ok());
    before.commit();
    life.site.quiesce();
    let [row, nothing] = [1, 2].map(|number| life.client(number));
    assert_eq!(row.run(get("x")), Ok(found("old")));
    assert!(row.prepare().yes().is_some());
    assert_eq!(nothing.run(get("not there")), Ok(absent()));
    let absence = nothing.prepare();
    assert!(absence.yes().is_some());
    let lost = life.client(3);
    assert_eq!(lost.run(get("x")), Ok(found("old")));
    server.kill();
    server.start().unwrap();
    let gone = Err(OperationError::Aborted(co_core::AbortReason::Unavailable));
    assert_eq!(lost.run(get("x")), gone);
    lost.abort();
    let writer = life.client(4);
    let mut waiting = writer.start(put("x", "new"));
    assert_eq!(waiting.poll(), None);
    assert_eq!(life.site.blocked()[0].by[0].0, co_core::Gtid(2));
    assert!(nothing.conclude(&absence).is_ok());
    assert_eq!(waiting.poll(), None, "for the row");
    assert_eq!(life.site.blocked()[0].by[0].0, co_core::Gtid(1));
    row.abort();
    assert_eq!(waiting.poll(), Some(Ok(Reply::Done)));
    writer.commit();
    reads(&life, 5, "x", &found("new"));
}
