//! Restarts: what had committed is applied again, what was in doubt comes back with its marks.
//!
//! Sites whose branches outlive them in a database ([`Participant::keeps_branches`]) make nothing of it again, and what
//! lies there cannot be made up: restarting them is for the tests of their own.

use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp};

use super::{
    Case, Client, Suite, absent, add, assert_reads, commit_alone, delete, found, get, key, number,
    put, range, rows, scan, value,
};
use crate::participant::{Change, Decision, Operation, Participant, Prepared, Reply, TxnName};

pub(super) const CASES: &[Case] = &[
    ("what had committed is there after a restart", restored),
    (
        "what is in doubt blocks its conflicts and nothing else",
        in_doubt,
    ),
    ("what is prepared is what is recovered", round_trip),
];

const IN_DOUBT: Gtid = Gtid(500);
const VOTED_AT: Stamp = Stamp(70);

fn restored(suite: &Suite<'_>) {
    suite.run("what had committed is there after a restart", |site| {
        if site.keeps_branches() {
            return;
        }
        site.restore(Stamp(4), vec![Change::Put(key("a"), value("1"))]);
        let second = vec![Change::Put(key("a"), value("2")), grown(site, 5)];
        site.restore(Stamp(9), second);
        site.restore(Stamp(9), vec![Change::Delete(key("gone"))]);
        site.restore(Stamp(9), Vec::new());
        site.recovered();
        assert_reads(site, 1, scan("a", "b"), &rows(&[("a", "2")]));
        let client = Client::begin(site, 2);
        assert_eq!(client.run(get("n")), Ok(Reply::Value(Some(number(5)))));
        assert!(client.commit() > Stamp(9), "I6 over the restart");
    });
}

/// The first increment of `n`, as a log holds it: where increments do not commute they are logged as puts.
fn grown(site: &Arc<dyn Participant>, by: i64) -> Change {
    if site.increments_commute() {
        Change::Increment(key("n"), by)
    } else {
        Change::Put(key("n"), number(by))
    }
}

/// What the transaction in doubt adds to `n`: nothing where others could not add to it meanwhile.
fn added_in_doubt(site: &Arc<dyn Participant>) -> i64 {
    if site.increments_commute() { 10 } else { 0 }
}

fn doubtful(site: &Arc<dyn Participant>) -> Prepared {
    let mut changes = vec![
        Change::Put(key("put"), value("new")),
        Change::Delete(key("gone")),
    ];
    match added_in_doubt(site) {
        0 => {}
        added => changes.push(Change::Increment(key("n"), added)),
    }
    Prepared {
        changes,
        reads: vec![key("read")],
        scans: vec![range("s", Some("t"))],
    }
}

/// Operations that conflict with the transaction in doubt.
fn conflicting(site: &Arc<dyn Participant>) -> Vec<Operation> {
    let mut conflicting = vec![
        put("read", "x"),
        delete("read"),
        put("s1", "x"),
        add("s2", 1),
        put("put", "x"),
        get("put"),
        get("gone"),
        scan("a", "h"),
    ];
    if added_in_doubt(site) != 0 {
        conflicting.push(get("n"));
    }
    conflicting
}

fn in_doubt(suite: &Suite<'_>) {
    for commits in [true, false] {
        suite.run(
            "what is in doubt blocks its conflicts and nothing else",
            |site| {
                if site.keeps_branches() {
                    return;
                }
                let before = ["put", "gone", "read", "s1"];
                let before = before.map(|name| Change::Put(key(name), value("old")));
                site.restore(Stamp(3), before.to_vec());
                site.restore(Stamp(4), vec![grown(site, 1)]);
                site.recover(IN_DOUBT, Priority(500), VOTED_AT, doubtful(site));
                site.recovered();
                let mut expected = doubtful(site);
                let mut prepared = site.prepared(TxnName::Global(IN_DOUBT)).unwrap_or_default();
                expected.changes.sort_by_key(|change| change.key().clone());
                prepared.changes.sort_by_key(|change| change.key().clone());
                assert_eq!(prepared, expected);
                assert_eq!(site.in_flight(), 1);

                // Nothing else is blocked: not what is elsewhere, not readers of what it read, not other
                // increments of what it increments.
                commit_alone(site, 1, [put("other", "1"), get("read"), add("n", 100)]);
                commit_alone(site, 2, [scan("s", "t"), scan("o", "p"), delete("other")]);

                for (number, operation) in (10..).zip(conflicting(site)) {
                    let client = Client::begin(site, number);
                    let mut running = client.start(operation.clone());
                    if running.poll().is_some() {
                        assert_eq!(client.prepare().yes(), None, "{operation:?}");
                    }
                    client.abort();
                }
                conclude_doubt(site, commits);
            },
        );
    }
}

/// The decision arrives while one conflicting writer waits; it goes on, and the outcome shows.
fn conclude_doubt(site: &Arc<dyn Participant>, commits: bool) {
    let later = Client::begin(site, 30);
    let mut running = later.start(put("read", "later"));
    let ballots = running.poll().map(|_| later.prepare());
    let decision = if commits {
        Decision::Commit(VOTED_AT)
    } else {
        Decision::Abort
    };
    assert_eq!(site.decide(TxnName::Global(IN_DOUBT), decision), Ok(()));
    let ballots = ballots.unwrap_or_else(|| {
        assert_eq!(running.poll(), Some(Ok(Reply::Done)));
        later.prepare()
    });
    let stamp = later.conclude(&ballots);
    assert!(stamp.is_ok_and(|stamp| stamp > VOTED_AT), "{stamp:?}");

    let (left, gone, sum) = if commits {
        ("new", absent(), 101 + added_in_doubt(site))
    } else {
        ("old", found("old"), 101)
    };
    assert_reads(site, 40, get("put"), &found(left));
    assert_reads(site, 41, get("gone"), &gone);
    assert_reads(site, 42, get("n"), &Reply::Value(Some(number(sum))));
    assert_reads(site, 43, get("read"), &found("later"));
}

fn round_trip(suite: &Suite<'_>) {
    suite.run("what is prepared is what is recovered", |site| {
        commit_alone(site, 1, [put("a", "old")]);
        let client = Client::begin(site, 2);
        for operation in [
            get("a"),
            get("missing"),
            scan("s", "t"),
            put("a", "new"),
            add("n", 3),
        ] {
            assert!(client.run(operation).is_ok());
        }
        let ballots = client.prepare();
        let stamp = ballots.yes().expect("nothing precedes it");
        let prepared = site.prepared(client.name()).expect("it has voted");
        assert!(prepared.reads.contains(&key("a")) && prepared.reads.contains(&key("missing")));
        assert_eq!(prepared.scans, [range("s", Some("t"))]);
        client.abort();
        if site.keeps_branches() {
            assert_reads(site, 4, get("a"), &found("old"));
            return;
        }
        // The same site plays the restarted one: the transaction comes back under another name.
        site.recover(Gtid(3), Priority(2), stamp, prepared.clone());
        site.recovered();
        let again = Client::of(site, TxnName::Global(Gtid(3)));
        assert_eq!(site.prepared(again.name()), Some(prepared));
        assert_eq!(again.decide(Decision::Commit(stamp)), Ok(()));
        assert_reads(site, 4, get("a"), &found("new"));
        assert_reads(site, 5, get("n"), &Reply::Value(Some(number(3))));
    });
}
