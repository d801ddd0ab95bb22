//! What this engine adds to the conformance suite: a read may have to wait for its turn.

use co_core::VoteRule;

use crate::conformance::Client;
use crate::engine::{EngineKind, open};
use crate::history::Recorder;
use crate::participant::{Decision, Key, KeyRange, Operation, Reply, Value};

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
