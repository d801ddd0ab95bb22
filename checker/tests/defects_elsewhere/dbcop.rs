//! dbcop (rnbguy, commit b4af1b7 of May 2026), and AWDIT's importer of its files (lassemoldrup, cde5da5 of March 2025).

use super::*;
use crate::random::Random;
use checker::formats::Format;
use checker::search::Budget;

/// A session wrote, and another read that twice.
const READ_TWICE: &str = "[x:=1]\n---\n[x==1 x==1]\n";

/// All models that a history without real time can be judged by.
const MODELS: [Model; 5] = [
    Model::StrongSessionSerializable,
    Model::Serializable,
    Model::StrongSessionSnapshotIsolation,
    Model::SnapshotIsolation,
    Model::ReadAtomic,
];

fn is_valid_at_every_level(history: &Observed) {
    for model in MODELS {
        assert_eq!(verdict(history, model), "valid", "{}", model.name());
    }
    for weaker in weak::Level::ALL {
        assert_eq!(level(history, weaker), "valid", "{weaker:?}");
    }
}

/// dbcop rejects it at every level, with an edge from the reader to itself (`Cycle { CommittedRead }`): each read after
/// the first is compared with the writer of the one before, although that is the same. Two reads of one value by one
/// transaction say no more than one does.
#[test]
fn a_value_that_is_read_twice_is_no_cycle() {
    let history = read(READ_TWICE.as_bytes());
    assert_eq!(history.op_count(), 3);
    is_valid_at_every_level(&history);
    for format in [Format::DbcopBincode, Format::DbcopJson, Format::Text] {
        let mut bytes = Vec::new();
        formats::write(&history, format, &mut bytes).unwrap();
        is_valid_at_every_level(&read(&bytes));
    }
}

/// dbcop fails what its own `generate` writes (three of three, as non-repeatable reads): transactions there use a key
/// more than once. Run one after another they are serializable, whatever keys they repeat.
#[test]
fn transactions_that_use_a_key_again_and_again_are_serializable_one_after_another() {
    for seed in 1..=20 {
        let mut random = Random(seed);
        let mut state = [0; 3];
        let mut sessions = vec![String::new(); 4];
        for number in 0..100 {
            let session = &mut sessions[random.below(4)];
            session.push('[');
            for place in 0..4 {
                let key = random.below(3);
                if random.below(2) == 0 {
                    state[key] = 1 + number * 4 + place;
                    session.push_str(&format!("k{key}:={} ", state[key]));
                } else {
                    session.push_str(&format!("k{key}=={} ", state[key]));
                }
            }
            session.push_str("]\n");
        }
        let history = read(sessions.join("---\n").as_bytes());
        assert_eq!((history.txns().len(), history.op_count()), (100, 400));
        is_valid_at_every_level(&history);
    }
}

/// dbcop's search runs for more than 20 s and through 0.6 to 2.2 GB to reject one write skew among 50 transactions of
/// four sessions, because it tries all orders. Almost all of them follow from what was read, and few remain to be tried.
#[test]
fn one_write_skew_is_rejected_after_few_orders() {
    let mut sessions = vec![String::new(); 4];
    let mut random = Random(7);
    let mut state = [0; 10];
    for number in 0..50 {
        let session = &mut sessions[random.below(4)];
        let (from, to) = (random.below(10), random.below(10));
        session.push_str(&format!(
            "[k{from}=={} k{to}:={}]\n",
            state[from],
            number + 1
        ));
        state[to] = number + 1;
    }
    sessions[0].push_str("[a==0 b==0 a:=1]\n");
    sessions[1].push_str("[a==0 b==0 b:=1]\n");
    let history = read(sessions.join("---\n").as_bytes());
    let little = Budget {
        conflicts: 10,
        ..Budget::default()
    };
    let serializable = search::judge(&history, search::Level::SERIALIZABLE, &little);
    let search::Verdict::Invalid(refutation) = serializable else {
        panic!("{serializable:?}");
    };
    let level = search::Level::SERIALIZABLE;
    assert_eq!(
        search::verify_refutation(&history, level, &refutation),
        Ok(())
    );
    let snapshots = search::judge(&history, search::Level::SNAPSHOT, &little);
    assert!(
        matches!(snapshots, search::Verdict::Valid(_)),
        "{snapshots:?}"
    );
}

/// A session of three transactions, of which the second did not commit: the JSON form of 2019, which has a flag for the
/// transaction and one for each event.
fn with_flags(transaction: bool, event: bool, seen: u64) -> String {
    let event_of = |write: bool, value: u64, success: bool| {
        format!("{{\"write\":{write},\"variable\":7,\"value\":{value},\"success\":{success}}}")
    };
    let txn =
        |event: &str, success: bool| format!("{{\"events\":[{event}],\"success\":{success}}}");
    format!(
        "{{\"data\":[[{},{},{}]]}}",
        txn(&event_of(true, 1, true), true),
        txn(&event_of(true, 2, event), transaction),
        txn(&event_of(false, seen, true), true),
    )
}

/// AWDIT's importer (`from_dbcop_history`) does not look at the flags, and takes what was aborted for committed: it
/// finds PolySI's history of Dgraph not to be read atomic, which it is. Here a session that goes on reading what it
/// wrote before an aborted write would lose sight of its own writes.
#[test]
fn both_success_flags_count() {
    for (transaction, event) in [(false, true), (false, false), (true, false)] {
        let text = with_flags(transaction, event, 1);
        let history = read(text.as_bytes());
        let mut binary = Vec::new();
        formats::write(&history, Format::DbcopBincode, &mut binary).unwrap();
        for history in [history, read(&binary)] {
            for weaker in weak::Level::ALL {
                assert_eq!(level(&history, weaker), "valid", "{text} {weaker:?}");
            }
            assert_eq!(
                verdict(&history, Model::StrongSessionSerializable),
                "valid",
                "{text}"
            );
        }
        // What was aborted must not be seen.
        let dirty = read(with_flags(transaction, event, 2).as_bytes());
        let assessment = assessed(&dirty);
        assert_eq!(assessment.verdict(), Verdict::Invalid);
        assert_eq!(names(&assessment), ["G1a"]);
        assert!(assessment.fails.contains(Model::ReadCommitted));
        assert!(!assessment.fails.contains(Model::ReadUncommitted));
    }
    // With both flags set it is what the session must not see.
    let lost = read(with_flags(true, true, 1).as_bytes());
    assert_eq!(level(&lost, weak::Level::ReadAtomic), "invalid");
    assert_eq!(verdict(&lost, Model::StrongSessionSerializable), "invalid");
}
