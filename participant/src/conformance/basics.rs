//! One transaction at a time: operations, limits, misuse.

use co_core::{AbortReason, Priority, Stamp};

use super::{
    Case, Client, Suite, absent, add, assert_reads, commit_alone, delete, found, get, key, number,
    put, range, rows, scan,
};
use crate::error::OperationError;
use crate::participant::{
    Ballot, Begin, Decision, MAX_KEY_BYTES, MAX_SCAN_ROWS, MAX_VALUE_BYTES, Operation, Reply, Value,
};

pub(super) const CASES: &[Case] = &[
    ("what is committed is read", what_is_committed_is_read),
    ("a transaction reads its own writes", reads_own_writes),
    ("an abort leaves nothing", an_abort_leaves_nothing),
    ("deleted keys come back", deleted_keys_come_back),
    ("sizes are limited", sizes_are_limited),
    ("only numbers are incremented", only_numbers),
    ("misuse is refused", misuse_is_refused),
    ("a repeated request gets the same vote", repeated_prepare),
    ("a vote tells whether anything was written", read_only_votes),
];

fn what_is_committed_is_read(suite: &Suite<'_>) {
    suite.run("what is committed is read", |site| {
        assert_reads(site, 1, get("a"), &absent());
        let all = [put("b", "2"), put("a", "1"), put("c", "3")];
        commit_alone(site, 2, all);
        assert_reads(site, 3, get("a"), &found("1"));
        let expected = rows(&[("a", "1"), ("b", "2")]);
        assert_reads(site, 4, scan("a", "c"), &expected);
        let client = Client::begin(site, 5);
        let reply = client.run(Operation::Scan(range("", None)));
        assert_eq!(reply, Ok(rows(&[("a", "1"), ("b", "2"), ("c", "3")])));
        assert_eq!(site.in_flight(), 1);
        client.commit();
    });
}

fn reads_own_writes(suite: &Suite<'_>) {
    suite.run("a transaction reads its own writes", |site| {
        commit_alone(site, 1, [put("a", "old"), put("b", "old"), add("n", 40)]);
        let client = Client::begin(site, 2);
        let run = |operation| client.run(operation);
        assert_eq!(run(put("a", "new")), Ok(Reply::Done));
        assert_eq!(run(delete("b")), Ok(Reply::Done));
        assert_eq!(run(put("c", "new")), Ok(Reply::Done));
        assert_eq!(run(add("n", 2)), Ok(Reply::Done));
        assert_eq!(run(get("a")), Ok(found("new")));
        assert_eq!(run(get("b")), Ok(absent()));
        assert_eq!(run(get("n")), Ok(Reply::Value(Some(number(42)))));
        assert_eq!(run(scan("a", "d")), Ok(rows(&[("a", "new"), ("c", "new")])));
        assert_eq!(run(add("n", 1)), Ok(Reply::Done));
        let n = Reply::Rows(vec![(key("n"), number(43))]);
        assert_eq!(run(scan("n", "o")), Ok(n));
        client.commit();
        assert_reads(site, 3, get("n"), &Reply::Value(Some(number(43))));
        assert_reads(site, 4, get("b"), &absent());
    });
}

fn an_abort_leaves_nothing(suite: &Suite<'_>) {
    suite.run("an abort leaves nothing", |site| {
        commit_alone(site, 1, [put("a", "1"), add("n", 1)]);
        for (number, prepared) in [(2, false), (3, true)] {
            let client = Client::begin(site, number);
            for operation in [get("z"), put("a", "2"), delete("n"), put("b", "2")] {
                assert!(client.run(operation).is_ok());
            }
            assert!(client.run(scan("a", "z")).is_ok());
            if prepared {
                assert!(client.prepare().yes().is_some());
            }
            client.abort();
            assert_eq!(site.in_flight(), 0);
        }
        assert_reads(site, 4, scan("a", "c"), &rows(&[("a", "1")]));
        assert_reads(site, 5, get("n"), &Reply::Value(Some(number(1))));
    });
}

fn deleted_keys_come_back(suite: &Suite<'_>) {
    suite.run("deleted keys come back", |site| {
        commit_alone(site, 1, [delete("a")]);
        commit_alone(site, 2, [put("a", "1")]);
        commit_alone(site, 3, [delete("a")]);
        assert_reads(site, 4, get("a"), &absent());
        assert_reads(site, 5, scan("a", "b"), &rows(&[]));
        commit_alone(site, 6, [add("a", 7)]);
        assert_reads(site, 7, get("a"), &Reply::Value(Some(number(7))));
    });
}

fn sizes_are_limited(suite: &Suite<'_>) {
    suite.run("sizes are limited", |site| {
        let client = Client::begin(site, 1);
        let long = |bytes: usize| "k".repeat(bytes);
        let bytes = MAX_KEY_BYTES + 1;
        let refused = Err(OperationError::KeyTooLong { bytes });
        for operation in [
            get(&long(bytes)),
            delete(&long(bytes)),
            add(&long(bytes), 1),
            put(&long(bytes), "v"),
        ] {
            assert_eq!(client.run(operation), refused);
        }
        assert_eq!(client.run(get("")), Err(OperationError::EmptyKey));
        let bytes = MAX_VALUE_BYTES + 1;
        let value = |bytes| Value::from(vec![0; bytes]);
        let refused = client.run(Operation::Put(key("k"), value(bytes)));
        assert_eq!(refused, Err(OperationError::ValueTooLong { bytes }));
        assert_eq!(
            client.run(scan("b", "a")),
            Err(OperationError::InvalidRange)
        );
        assert_eq!(
            client.run(scan("a", "a")),
            Err(OperationError::InvalidRange)
        );
        // A refused operation leaves the transaction as it was, and the limits themselves are allowed.
        let largest = Operation::Put(key(&long(MAX_KEY_BYTES)), value(MAX_VALUE_BYTES));
        assert_eq!(client.run(largest), Ok(Reply::Done));
        client.commit();

        let writer = Client::begin(site, 2);
        for row in 0..=MAX_SCAN_ROWS {
            assert!(writer.run(put(&format!("r{row:06}"), "")).is_ok());
        }
        let everything = || Operation::Scan(range("r", None));
        assert_eq!(writer.run(everything()), Err(OperationError::TooManyRows));
        writer.commit();
        let reader = Client::begin(site, 3);
        assert_eq!(reader.run(everything()), Err(OperationError::TooManyRows));
        let Ok(Reply::Rows(most)) = reader.run(Operation::Scan(range("r000001", None))) else {
            panic!("a scan of as many rows as allowed was refused");
        };
        assert_eq!(most.len(), MAX_SCAN_ROWS);
        reader.commit();
    });
}

fn only_numbers(suite: &Suite<'_>) {
    suite.run("only numbers are incremented", |site| {
        commit_alone(site, 1, [put("a", "text")]);
        let client = Client::begin(site, 2);
        let refused = Err(OperationError::NotANumber { bytes: 4 });
        assert_eq!(client.run(add("a", 1)), refused);
        assert_eq!(client.run(put("b", "long text")), Ok(Reply::Done));
        let refused = Err(OperationError::NotANumber { bytes: 9 });
        assert_eq!(client.run(add("b", 1)), refused);
        assert_eq!(client.run(add("c", i64::MAX)), Ok(Reply::Done));
        assert_eq!(client.run(add("c", 1)), Ok(Reply::Done));
        client.commit();
        let wrapped = Reply::Value(Some(number(i64::MIN)));
        assert_reads(site, 3, get("c"), &wrapped);
        assert_reads(site, 4, get("b"), &found("long text"));
    });
}

fn misuse_is_refused(suite: &Suite<'_>) {
    suite.run("misuse is refused", |site| {
        let client = Client::begin(site, 1);
        let begin = Begin {
            name: client.name(),
            priority: Priority(1),
        };
        assert_eq!(site.begin(begin), Err(OperationError::DuplicateBegin));
        let commit = Decision::Commit(Stamp(1));
        assert_eq!(client.decide(commit), Err(OperationError::NotVoted));
        assert_eq!(site.prepared(client.name()), None);
        assert!(client.run(put("a", "1")).is_ok());
        let stamp = client.prepare().yes().expect("nothing precedes it");
        for operation in [get("a"), put("a", "2"), scan("a", "b"), add("n", 1)] {
            assert_eq!(client.run(operation), Err(OperationError::AlreadyEnded));
        }
        for _ in 0..2 {
            assert_eq!(client.decide(Decision::Commit(stamp)), Ok(()));
        }
        client.abort();
        assert_reads(site, 2, get("a"), &found("1"));
        let unknown = Err(OperationError::UnknownTransaction);
        assert_eq!(client.run(get("a")), unknown);
        let refused = Ballot::No(AbortReason::Requested);
        assert_eq!(client.prepare().cast(), Some(refused));
    });
}

fn repeated_prepare(suite: &Suite<'_>) {
    suite.run("a repeated request gets the same vote", |site| {
        let client = Client::begin(site, 1);
        assert!(client.run(put("a", "1")).is_ok());
        let first = client.prepare();
        let second = client.prepare();
        assert!(first.yes().is_some());
        assert_eq!(first.cast(), second.cast());
        assert!(client.conclude(&first).is_ok());
    });
}

fn read_only_votes(suite: &Suite<'_>) {
    suite.run("a vote tells whether anything was written", |site| {
        for (number, operation, expected) in [(1, get("a"), true), (2, add("a", 1), false)] {
            let client = Client::begin(site, number);
            assert!(client.run(operation).is_ok());
            let ballots = client.prepare();
            let Some(Ballot::Yes { read_only, .. }) = ballots.cast() else {
                panic!("nothing precedes transaction {number}");
            };
            assert_eq!(read_only, expected);
            assert!(client.conclude(&ballots).is_ok());
        }
    });
}
