//! What this engine adds to the conformance suite: a read may have to wait for its turn.

use std::future::Future as _;

use co_core::{Stamp, VoteRule};

use crate::conformance::Client;
use crate::engine::{EngineKind, Options, open, open_with};
use crate::error::OperationError;
use crate::history::Recorder;
use crate::participant::{Change, Decision, Key, KeyRange, Operation, Reply, Value};

fn key(text: &str) -> Key {
    Key::from(text.as_bytes())
}

fn value(text: &str) -> Value {
    Value::from(text.as_bytes())
}

fn all() -> Operation {
    Operation::Scan(KeyRange {
        low: key("a"),
        high: None,
    })
}

/// Every second reader scans. Each comes before the last one has ended, so without turns the writer's vote
/// would be withheld until they stop coming.
#[test]
fn readers_that_keep_coming_wait_for_a_writer_that_has_waited_for_others() {
    let site = open(EngineKind::Mvcc, VoteRule::Withhold, Recorder::off());
    let mut last = Client::begin(&site, 1);
    assert_eq!(last.run(Operation::Get(key("x"))), Ok(Reply::Value(None)));
    let writer = Client::begin(&site, 2);
    let put = Operation::Put(key("x"), value("new"));
    assert_eq!(writer.run(put), Ok(Reply::Done));
    let ballots = writer.prepare();
    assert_eq!(ballots.cast(), None);

    let mut waiting = Vec::new();
    for number in 3..60 {
        let reader = Client::begin(&site, number);
        let scans = number % 2 == 0;
        let read = if scans {
            all()
        } else {
            Operation::Get(key("x"))
        };
        let mut reading = reader.start(read);
        match reading.poll() {
            Some(Ok(Reply::Value(None))) => {}
            Some(Ok(Reply::Rows(rows))) => assert_eq!(rows, []),
            Some(other) => panic!("{other:?}"),
            None => {
                waiting.push((reader, scans, reading));
                continue;
            }
        }
        std::mem::replace(&mut last, reader).commit();
    }
    assert!(waiting.len() > 40, "{} wait", waiting.len());
    assert_eq!(ballots.cast(), None, "one reader is left");
    last.commit();
    let stamp = ballots.yes().expect("nobody stands in its way any more");
    assert_eq!(writer.decide(Decision::Commit(stamp)), Ok(()));
    for (reader, scans, mut reading) in waiting {
        let seen = if scans {
            Reply::Rows(vec![(key("x"), value("new"))])
        } else {
            Reply::Value(Some(value("new")))
        };
        assert_eq!(reading.poll(), Some(Ok(seen)));
        reader.commit();
    }
    assert_eq!(site.in_flight(), 0);
}

#[test]
fn a_query_of_what_is_forgotten_is_told_which_stamps_can_be_read() {
    let site = open_with(
        EngineKind::Mvcc,
        Options {
            kept_commits: 2,
            ..Options::default()
        },
    );
    for number in 1..=6u64 {
        let stamp = Stamp(number * 10);
        site.restore(stamp, vec![Change::Increment(key("n"), 1)]);
    }
    let range = KeyRange {
        low: key("a"),
        high: None,
    };
    let query = |stamp| {
        let answer = site.query(Stamp(stamp), &range);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(answer) = std::pin::pin!(answer).poll(&mut context) else {
            panic!("nobody is in doubt")
        };
        answer.map(|rows| rows[0].1[0])
    };
    let oldest = Stamp(40);
    for gone in [10, 39] {
        assert_eq!(query(gone), Err(OperationError::TooOld { oldest }));
    }
    assert_eq!(
        [40, 49, 50, 60, 99].map(query),
        [Ok(4), Ok(4), Ok(5), Ok(6), Ok(6)]
    );
    // A stamp that nobody can have been given would use up those to come.
    let latest = Stamp(99 + (1 << 44));
    assert_eq!(query(u64::MAX), Err(OperationError::TooFarAhead { latest }));
    assert_eq!(query(latest.0), Ok(6));
}
