//! Queries as of a stamp, for engines that keep old versions; the others must say that they do not.

use std::sync::Arc;

use co_core::Stamp;

use super::{Case, Client, Running, Suite, add, commit_alone, get, number, put, range, value};
use crate::error::OperationError;
use crate::participant::{Decision, Key, Operation, Participant, Value};

pub(super) const CASES: &[Case] = &[
    ("a query sees what was decided by its stamp", as_of_a_stamp),
    (
        "a query waits for votes that may commit in time",
        waits_for_votes,
    ),
    (
        "a query sees an increment by its stamp, not by its turn",
        increments_by_stamp,
    ),
    (
        "after a query nothing commits in its past",
        nothing_in_its_past,
    ),
];

type Answer = Result<Vec<(Key, Value)>, OperationError>;

fn query(site: &Arc<dyn Participant>, stamp: u64) -> Running<Answer> {
    let site = Arc::clone(site);
    Running::new(async move { site.query(Stamp(stamp), &range("a", None)).await })
}

fn rows(expected: &[(&str, &str)]) -> Answer {
    let rows = expected.iter();
    Ok(rows
        .map(|(name, text)| (super::key(name), value(text)))
        .collect())
}

/// Whether the engine answers queries; if not, it says so.
fn answers(site: &Arc<dyn Participant>) -> bool {
    match query(site, 0).now() {
        Ok(rows) => {
            assert!(rows.is_empty());
            true
        }
        Err(error) => {
            let refused = matches!(error, OperationError::Unsupported { .. });
            assert!(refused, "{error}");
            false
        }
    }
}

/// Commits one operation at a stamp of the test's choosing.
fn commit_at(site: &Arc<dyn Participant>, number: u64, stamp: u64, operation: Operation) {
    let client = Client::begin(site, number);
    assert!(client.run(operation).is_ok());
    assert!(client.prepare().yes().is_some());
    assert_eq!(client.decide(Decision::Commit(Stamp(stamp))), Ok(()));
}

fn as_of_a_stamp(suite: &Suite<'_>) {
    suite.run("a query sees what was decided by its stamp", |site| {
        if !answers(site) {
            return;
        }
        commit_at(site, 1, 10, put("a", "1"));
        commit_at(site, 2, 20, put("b", "2"));
        commit_at(site, 3, 30, put("a", "3"));
        commit_at(site, 4, 40, super::delete("b"));
        for (stamp, expected) in [
            (9, rows(&[])),
            (10, rows(&[("a", "1")])),
            (29, rows(&[("a", "1"), ("b", "2")])),
            (30, rows(&[("a", "3"), ("b", "2")])),
            (99, rows(&[("a", "3")])),
        ] {
            assert_eq!(query(site, stamp).now(), expected, "as of {stamp}");
        }
    });
}

fn waits_for_votes(suite: &Suite<'_>) {
    for commits in [true, false] {
        suite.run("a query waits for votes that may commit in time", |site| {
            if !answers(site) {
                return;
            }
            commit_at(site, 1, 10, put("a", "1"));
            let working = Client::begin(site, 2);
            assert!(working.run(put("z", "never")).is_ok());
            let voted = Client::begin(site, 3);
            assert!(voted.run(put("a", "2")).is_ok());
            let ballots = voted.prepare();
            let stamp = ballots.yes().expect("nothing precedes it").0;
            let before = query(site, stamp - 1).now();
            assert_eq!(
                before,
                rows(&[("a", "1")]),
                "it cannot commit before its vote"
            );
            let mut waiting = query(site, stamp);
            assert_eq!(waiting.poll(), None, "it may commit at {stamp}");
            if commits {
                assert_eq!(voted.decide(Decision::Commit(Stamp(stamp))), Ok(()));
                assert_eq!(waiting.poll(), Some(rows(&[("a", "2")])));
            } else {
                voted.abort();
                assert_eq!(waiting.poll(), Some(rows(&[("a", "1")])));
            }
            working.abort();
        });
    }
}

fn increments_by_stamp(suite: &Suite<'_>) {
    suite.run(
        "a query sees an increment by its stamp, not by its turn",
        |site| {
            if !answers(site) {
                return;
            }
            commit_alone(site, 1, [add("n", 1)]);
            let [first, second] = [2, 3].map(|number| Client::begin(site, number));
            assert!(first.run(add("n", 10)).is_ok());
            assert!(second.run(add("n", 100)).is_ok());
            assert!(first.prepare().yes().is_some() && second.prepare().yes().is_some());
            // The one that is applied first was decided later.
            assert_eq!(first.decide(Decision::Commit(Stamp(60))), Ok(()));
            assert_eq!(second.decide(Decision::Commit(Stamp(50))), Ok(()));
            for (stamp, sum) in [(49, 1), (50, 101), (59, 101), (60, 111)] {
                let expected = Ok(vec![(super::key("n"), number(sum))]);
                assert_eq!(query(site, stamp).now(), expected, "as of {stamp}");
            }
            let reader = Client::begin(site, 4);
            let sum = crate::participant::Reply::Value(Some(number(111)));
            assert_eq!(reader.run(get("n")), Ok(sum));
            reader.commit();
        },
    );
}

fn nothing_in_its_past(suite: &Suite<'_>) {
    suite.run("after a query nothing commits in its past", |site| {
        if !answers(site) {
            return;
        }
        let client = Client::begin(site, 1);
        assert!(client.run(put("a", "1")).is_ok());
        assert_eq!(query(site, 1000).now(), rows(&[]));
        assert!(client.commit() > Stamp(1000));
        assert_eq!(query(site, 1000).now(), rows(&[]));
    });
}
