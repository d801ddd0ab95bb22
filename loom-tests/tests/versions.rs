//! The version order: readers, writers and queries that meet.
#![cfg(co_loom)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::sync::Arc;

use co_core::{
    AbortReason, Grant, Outcome, Position, Queries, Reading, Scheduler, Stamp, State, Txn,
    VersionOrder, Vote, WriteKind,
};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use loom_tests::{begin, close, explore, withhold};

type Versions = Arc<VersionOrder<u8>>;

fn versions(scheduler: &Scheduler) -> Versions {
    Arc::new(VersionOrder::new(scheduler.clone()))
}

/// The position that a read shows; nobody is late.
fn shown(answer: Result<Reading, AbortReason>) -> Result<Position, AbortReason> {
    match answer? {
        Reading::Now(snapshot) => Ok(snapshot.position()),
        Reading::After(turn) => panic!("{turn:?}"),
    }
}

/// Ends everything; nothing may be left (I7).
fn end(scheduler: &Scheduler, versions: &VersionOrder<u8>, txns: &[&Txn]) {
    close(scheduler, txns);
    for txn in txns {
        versions.retire(txn);
    }
    assert!(versions.is_empty(), "I7");
}

/// Installs, decides and retires, as an engine does when a commit is learned.
fn commit(scheduler: &Scheduler, versions: &VersionOrder<u8>, txn: &Txn) {
    versions.install(txn, |_| ()).unwrap();
    scheduler.decided(txn, Outcome::Commit).unwrap();
    versions.retire(txn);
}

/// MV3: a reader and a writer of one key meet. The reader comes first in the order, so they do not both vote.
#[test]
fn reader_against_intent() {
    explore("reader_against_intent", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let [reader, writer] = begin(&scheduler);
        let writes = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let writer = writer.clone();
            move || {
                versions.intend(&writer, &7, WriteKind::Put).unwrap();
                drop(scheduler.request_vote(&writer));
            }
        });
        assert_eq!(shown(versions.read(&reader, &7)), Ok(Position(0)));
        drop(scheduler.request_vote(&reader));
        writes.join().unwrap();
        let states = [reader.state(), writer.state()];
        assert!(
            matches!(
                states,
                [State::Voted, State::Withheld] | [State::Withheld, State::Voted]
            ),
            "I2: {states:?}"
        );
        end(&scheduler, &versions, &[&reader, &writer]);
    });
}

/// MV3 for ranges: a scan, and a writer that brings a new key into its range.
#[test]
fn scan_against_intent() {
    explore("scan_against_intent", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let [scanner, writer] = begin(&scheduler);
        let writes = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let writer = writer.clone();
            move || {
                versions.intend(&writer, &7, WriteKind::Put).unwrap();
                drop(scheduler.request_vote(&writer));
            }
        });
        assert_eq!(
            shown(versions.scan(&scanner, &5, Some(&9))),
            Ok(Position(0))
        );
        drop(scheduler.request_vote(&scanner));
        writes.join().unwrap();
        let states = [scanner.state(), writer.state()];
        assert!(
            matches!(
                states,
                [State::Voted, State::Withheld] | [State::Withheld, State::Voted]
            ),
            "I2: {states:?}"
        );
        end(&scheduler, &versions, &[&scanner, &writer]);
    });
}

/// MV2, MV4, conditions A and B: a reader comes while a voted writer installs and commits. It sees the new
/// version and its value, or it is refused; it never votes YES on the old one.
#[test]
fn reader_against_install() {
    explore("reader_against_install", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let [writer, reader] = begin(&scheduler);
        let value = Arc::new(AtomicU64::new(0));
        versions.intend(&writer, &7, WriteKind::Put).unwrap();
        assert_eq!(scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
        let commits = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let value = Arc::clone(&value);
            move || {
                let store = |position: Position| value.store(position.0, Ordering::Relaxed);
                versions.install(&writer, store).unwrap();
                scheduler.decided(&writer, Outcome::Commit).unwrap();
                versions.retire(&writer);
            }
        });
        let read = shown(versions.read(&reader, &7));
        let expected = match read {
            Ok(Position(0)) | Err(AbortReason::Overtaken) => Vote::No(AbortReason::Overtaken),
            Ok(Position(1)) => {
                assert_eq!(value.load(Ordering::Relaxed), 1, "MV4");
                Vote::Yes
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(scheduler.request_vote_blocking(&reader), expected);
        commits.join().unwrap();
        end(&scheduler, &versions, &[&reader]);
    });
}

/// Condition B against D: a reader comes while the writer asks for its vote. Exactly one of them votes; if it is
/// the writer, its commit ends the reader.
#[test]
fn late_reader_against_vote() {
    explore("late_reader_against_vote", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let [reader, writer] = begin(&scheduler);
        versions.intend(&writer, &7, WriteKind::Put).unwrap();
        let votes = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let writer = writer.clone();
            move || {
                if scheduler.request_vote(&writer).peek() == Some(Vote::Yes) {
                    commit(&scheduler, &versions, &writer);
                }
            }
        });
        let read = shown(versions.read(&reader, &7));
        let vote = scheduler.request_vote(&reader);
        votes.join().unwrap();
        match (writer.state(), read) {
            (State::Withheld, Ok(Position(0))) | (State::Committed, Ok(Position(1))) => {
                assert_eq!(vote.peek(), Some(Vote::Yes));
            }
            (State::Committed, Ok(Position(0)) | Err(AbortReason::Overtaken)) => {
                assert_eq!(vote.peek(), Some(Vote::No(AbortReason::Overtaken)));
            }
            other => panic!("{other:?}"),
        }
        end(&scheduler, &versions, &[&reader, &writer]);
    });
}

/// MV7: a late reader asks for its turn while the writer's last predecessor and then the writer end.
#[test]
fn turn_against_the_writers_end() {
    explore("turn_against_the_writers_end", || {
        let scheduler = withhold();
        let versions: Versions = Arc::new(VersionOrder::with_late_readers(scheduler.clone(), 0));
        let [early, writer, late] = begin(&scheduler);
        versions.intend(&writer, &7, WriteKind::Put).unwrap();
        assert_eq!(shown(versions.read(&early, &7)), Ok(Position(0)));
        assert_eq!(scheduler.request_vote(&writer).peek(), None);
        // Met ready: by one that was there before, and so is not late.
        versions.snapshot(&early).unwrap();
        assert_eq!(shown(versions.scan(&early, &7, None)), Ok(Position(0)));
        let ends = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let writer = writer.clone();
            move || {
                scheduler.decided(&early, Outcome::Abort).unwrap();
                versions.retire(&early);
                assert_eq!(writer.state(), State::Voted);
                commit(&scheduler, &versions, &writer);
            }
        });
        let read = loop {
            match versions.read(&late, &7) {
                Ok(Reading::Now(snapshot)) => break Ok(snapshot.position()),
                Ok(Reading::After(turn)) => assert_eq!(turn.wait(), Grant::Granted),
                Err(reason) => break Err(reason),
            }
        };
        ends.join().unwrap();
        let vote = scheduler.request_vote_blocking(&late);
        match read {
            Ok(Position(1)) => assert_eq!(vote, Vote::Yes),
            // It came when the writer had just voted.
            Ok(Position(0)) | Err(AbortReason::Overtaken) => {
                assert_eq!(vote, Vote::No(AbortReason::Overtaken));
            }
            other => panic!("{other:?}"),
        }
        end(&scheduler, &versions, &[&late]);
    });
}

/// MV1: a read while another thread aborts the reader and takes its marks away: none is left.
#[test]
fn operation_against_retirement() {
    explore("operation_against_retirement", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let [reader] = begin(&scheduler);
        let aborts = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let reader = reader.clone();
            move || {
                scheduler.decided(&reader, Outcome::Abort).unwrap();
                versions.retire(&reader);
            }
        });
        drop(versions.read(&reader, &7));
        aborts.join().unwrap();
        assert!(versions.is_empty(), "I7");
        close(&scheduler, &[]);
    });
}

/// Q1: a query looks while a writer votes. If it need not wait, the vote's stamp is later than the query's.
#[test]
fn query_against_vote() {
    explore("query_against_vote", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let queries = Arc::new(Queries::new());
        let [writer] = begin(&scheduler);
        versions.intend(&writer, &7, WriteKind::Put).unwrap();
        let votes = thread::spawn({
            let (scheduler, queries) = (scheduler.clone(), Arc::clone(&queries));
            let writer = writer.clone();
            move || {
                assert_eq!(scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
                queries.vote(&writer).unwrap()
            }
        });
        let query = queries.begin(&scheduler, Stamp(1)).unwrap();
        let settled = query.settled(&versions, &7, None).is_settled();
        drop(query);
        let stamp = votes.join().unwrap();
        assert!(!settled || stamp > Stamp(1), "Q1: {stamp:?}");
        end(&scheduler, &versions, &[&writer]);
        queries.settle(&writer);
        assert!(queries.is_empty(), "I7");
    });
}

/// Q2: a thread waits as of the stamp of a vote that is just decided. It is woken, and finds the value.
#[test]
fn waiting_query_against_decision() {
    explore("waiting_query_against_decision", || {
        let scheduler = withhold();
        let versions = versions(&scheduler);
        let queries = Arc::new(Queries::new());
        let [writer] = begin(&scheduler);
        let value = Arc::new(AtomicU64::new(0));
        versions.intend(&writer, &7, WriteKind::Put).unwrap();
        assert_eq!(scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
        let stamp = queries.vote(&writer).unwrap();
        let decides = thread::spawn({
            let (scheduler, versions) = (scheduler.clone(), Arc::clone(&versions));
            let (queries, value) = (Arc::clone(&queries), Arc::clone(&value));
            move || {
                let store = |position: Position| value.store(position.0, Ordering::Relaxed);
                versions.install(&writer, store).unwrap();
                scheduler.decided(&writer, Outcome::Commit).unwrap();
                queries.settle(&writer);
                versions.retire(&writer);
            }
        });
        let query = queries.begin(&scheduler, stamp).unwrap();
        query.settled(&versions, &7, None).wait();
        assert_eq!(
            value.load(Ordering::Relaxed),
            1,
            "what was decided is there"
        );
        drop(query);
        decides.join().unwrap();
        end(&scheduler, &versions, &[]);
        assert!(queries.is_empty(), "I7");
    });
}
