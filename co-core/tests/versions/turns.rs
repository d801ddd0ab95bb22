//! Condition D: readers keep coming, and a writer that is ready still gets its vote.

use co_core::{AbortReason, Grant, Outcome, Position, Txn, Vote, VoteFuture};

use crate::site::{Seen, Site};

/// A site with a withheld writer of x, whom transaction 1 delays. The writer was met ready by a reader that
/// came before it was.
fn withheld_writer(limit: usize) -> (Site, Txn, Txn, VoteFuture) {
    let mut site = Site::with_late_readers(limit);
    let [reader, writer] = [1, 2].map(|number| site.begin(number));
    assert_eq!(site.read_now(&reader, 'y'), Ok(0));
    site.write(&writer, 'x').unwrap();
    site.write(&writer, 'y').unwrap();
    let vote = site.scheduler.request_vote(&writer);
    assert_eq!(vote.peek(), None);
    assert_eq!(
        site.read_now(&reader, 'x'),
        Ok(0),
        "it precedes the writer anyway"
    );
    (site, reader, writer, vote)
}

/// Readers of x come one after another, each before the last one has ended. How many there were when the
/// writer got its vote; `None` if a thousand were not enough.
fn readers_until_the_vote(limit: usize) -> Option<usize> {
    let (mut site, mut last, writer, vote) = withheld_writer(limit);
    let mut waiting = Vec::new();
    let mut needed = None;
    for number in 3..1003 {
        let reader = site.begin(number);
        match site.read(&reader, 'x').unwrap() {
            Seen::Now(seen) => {
                assert_eq!(seen, 0);
                site.vote_and_commit(&last);
                last = reader;
            }
            Seen::After(turn) => {
                assert_eq!(turn.peek(), None);
                waiting.push((reader, turn));
                if last.state().is_undecided() {
                    site.vote_and_commit(&last);
                }
            }
        }
        if vote.peek() == Some(Vote::Yes) {
            needed = Some(usize::try_from(number - 2).unwrap());
            break;
        }
    }
    if needed.is_some() {
        let stamp = site.queries.vote(&writer).unwrap();
        site.commit(&writer, stamp);
    }
    for (reader, turn) in waiting {
        assert_eq!(turn.peek(), Some(Grant::Granted));
        assert_eq!(
            site.read_now(&reader, 'x'),
            Ok(2),
            "it reads the new version"
        );
        site.vote_and_commit(&reader);
    }
    site.close(&[&last, &writer]);
    needed
}

#[test]
fn a_ready_writer_gets_its_vote_after_a_bounded_number_of_late_readers() {
    for limit in [0, 1, 8] {
        assert_eq!(readers_until_the_vote(limit), Some(limit + 1));
    }
}

#[test]
fn without_turns_readers_starve_the_writer() {
    assert_eq!(readers_until_the_vote(usize::MAX), None);
}

#[test]
fn a_late_scan_waits_too_and_leaves_no_mark_meanwhile() {
    let (mut site, early, writer, vote) = withheld_writer(0);
    let scanner = site.begin(3);
    let held = site.versions.held();
    let Ok(Seen::After(turn)) = site.scan(&scanner, 'a', None) else {
        panic!("it is late");
    };
    assert_eq!(site.versions.held(), held);
    assert!(scanner.is_waiting());
    assert_eq!(turn.peek(), None);
    site.vote_and_commit(&early);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    let stamp = site.queries.vote(&writer).unwrap();
    site.commit(&writer, stamp);
    assert_eq!(turn.wait(), Grant::Granted);
    assert!(!scanner.is_waiting());
    assert_eq!(site.scan_now(&scanner, 'a', None), Ok(Position(1)));
    site.close(&[&scanner]);
}

#[test]
fn who_was_let_past_once_is_let_past_again() {
    let (mut site, early, writer, _vote) = withheld_writer(1);
    let [passes, waits] = [3, 4].map(|number| site.begin(number));
    assert_eq!(site.read_now(&passes, 'x'), Ok(0));
    assert!(matches!(site.read(&waits, 'x'), Ok(Seen::After(_))));
    assert_eq!(site.read_now(&passes, 'y'), Ok(0));
    site.close(&[&early, &writer, &passes, &waits]);
}

#[test]
fn a_reader_goes_on_after_its_turn_if_what_it_read_is_unchanged() {
    let (mut site, early, writer, _vote) = withheld_writer(0);
    let reader = site.begin(3);
    assert_eq!(site.read_now(&reader, 'z'), Ok(0));
    assert!(site.scan_now(&reader, 'p', Some('r')).is_ok());
    let Ok(Seen::After(turn)) = site.read(&reader, 'x') else {
        panic!("it is late");
    };
    site.vote_and_commit(&early);
    let stamp = site.queries.vote(&writer).unwrap();
    site.commit(&writer, stamp);
    assert_eq!(turn.peek(), Some(Grant::Granted));
    assert_eq!(site.read_now(&reader, 'x'), Ok(2), "its snapshot has moved");
    site.vote_and_commit(&reader);
    site.close(&[]);
}

/// The reader read z at a snapshot that z's next writer then ended. Its snapshot cannot move, and it is
/// overtaken.
#[test]
fn a_reader_whose_reads_have_changed_keeps_its_snapshot() {
    let (mut site, early, writer, _vote) = withheld_writer(0);
    let [reader, other] = [3, 4].map(|number| site.begin(number));
    // The other writer has voted when z is read: condition B.
    site.write(&other, 'z').unwrap();
    assert_eq!(site.scheduler.request_vote(&other).peek(), Some(Vote::Yes));
    let other_stamp = site.queries.vote(&other).unwrap();
    assert_eq!(site.read_now(&reader, 'z'), Ok(0));
    let Ok(Seen::After(turn)) = site.read(&reader, 'x') else {
        panic!("it is late");
    };
    site.commit(&other, other_stamp);
    assert_eq!(turn.peek(), Some(Grant::Aborted(AbortReason::Overtaken)));
    assert!(site.read(&reader, 'x').is_err());
    site.close(&[&early, &writer, &reader]);
}

/// Between the installation of a commit and its decision the reader is not doomed yet. It must not see that
/// commit next to what the commit has replaced.
#[test]
fn a_snapshot_does_not_move_past_a_change_of_what_was_read() {
    for scans in [false, true] {
        let (mut site, early, writer, _vote) = withheld_writer(0);
        let [reader, other] = [3, 4].map(|number| site.begin(number));
        site.write(&other, 'z').unwrap();
        assert_eq!(site.scheduler.request_vote(&other).peek(), Some(Vote::Yes));
        if scans {
            assert_eq!(site.scan_now(&reader, 'z', None), Ok(Position(0)));
        } else {
            assert_eq!(site.read_now(&reader, 'z'), Ok(0));
        }
        let Ok(Seen::After(turn)) = site.read(&reader, 'x') else {
            panic!("it is late");
        };
        let installed = site.versions.install(&other, |position| position);
        assert_eq!(installed, Ok(Position(1)));
        site.abort(&writer);
        assert_eq!(turn.peek(), Some(Grant::Granted));
        assert_eq!(site.scan_now(&reader, 'x', Some('y')), Ok(Position(0)));
        site.scheduler.decided(&other, Outcome::Commit).unwrap();
        site.versions.retire(&other);
        assert_eq!(reader.doomed(), Some(AbortReason::Overtaken));
        site.close(&[&early, &reader]);
    }
}

#[test]
fn a_writer_that_aborts_lets_its_waiters_go_on() {
    let (mut site, early, writer, _vote) = withheld_writer(0);
    let reader = site.begin(3);
    let Ok(Seen::After(turn)) = site.read(&reader, 'x') else {
        panic!("it is late");
    };
    site.abort(&writer);
    assert_eq!(turn.peek(), Some(Grant::Granted));
    assert_eq!(site.read_now(&reader, 'x'), Ok(0));
    site.close(&[&early, &reader]);
}

/// The late reader precedes somebody who precedes the writer: its wait closes a cycle, which is found at once.
#[test]
fn a_wait_for_a_turn_that_closes_a_cycle_is_found() {
    let (mut site, middle, writer, vote) = withheld_writer(0);
    let reader = site.begin(3);
    assert_eq!(site.read_now(&reader, 'q'), Ok(0));
    site.write(&middle, 'q').unwrap();
    let answer = site.read(&reader, 'x').unwrap();
    let Seen::After(turn) = answer else {
        panic!("it is late");
    };
    assert_eq!(turn.peek(), Some(Grant::Aborted(AbortReason::Cycle)));
    site.abort(&reader);
    site.vote_and_commit(&middle);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    site.close(&[&writer]);
}

#[test]
fn a_reader_that_is_doomed_while_it_waits_hears_of_it() {
    let (mut site, early, writer, _vote) = withheld_writer(0);
    let reader = site.begin(3);
    let Ok(Seen::After(turn)) = site.read(&reader, 'x') else {
        panic!("it is late");
    };
    assert!(site.scheduler.doom(&reader, AbortReason::Requested));
    assert_eq!(turn.peek(), Some(Grant::Aborted(AbortReason::Requested)));
    site.close(&[&early, &writer, &reader]);
}
