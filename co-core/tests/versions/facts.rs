//! Single facts, one edge at a time.

use co_core::{AbortReason, Footprint, Outcome, Position, Vote, WriteKind};

use crate::site::{Seen, Site};

#[test]
fn a_snapshot_shows_the_whole_of_a_commit_or_nothing() {
    let mut site = Site::new();
    let [early, writer, late] = [1, 2, 3].map(|number| site.begin(number));
    let before = site.versions.snapshot(&early).unwrap();
    for key in ['x', 'y'] {
        site.write(&writer, key).unwrap();
    }
    site.vote_and_commit(&writer);
    assert_eq!(before.position(), Position(0));
    assert_eq!(site.versions.snapshot(&early).unwrap(), before, "it stays");
    assert_eq!(site.versions.horizon(), Position(0));
    let after = site.versions.snapshot(&late).unwrap();
    assert_eq!(after.position(), Position(1));
    for key in ['x', 'y'] {
        assert_eq!(site.writer_at(key, before.position()), 0);
        assert_eq!(site.read_now(&late, key), Ok(2));
    }
    site.close(&[&early, &late]);
    assert_eq!(site.versions.horizon(), Position(1));
}

#[test]
fn condition_a_who_read_before_a_commit_is_overtaken_by_it() {
    let mut site = Site::new();
    let [reader, writer] = [1, 2].map(|number| site.begin(number));
    assert_eq!(site.read_now(&reader, 'y'), Ok(0));
    site.write(&writer, 'x').unwrap();
    site.vote_and_commit(&writer);
    let late = site.read(&reader, 'x').err();
    assert_eq!(late, Some(AbortReason::Overtaken));
    site.close(&[&reader]);
}

/// G8: the writer has voted when the reader comes.
#[test]
fn g8_a_reader_of_what_a_voted_writer_replaces_waits_for_its_decision() {
    for outcome in [Outcome::Commit, Outcome::Abort] {
        let mut site = Site::new();
        let [reader, writer] = [1, 2].map(|number| site.begin(number));
        site.write(&writer, 'x').unwrap();
        assert_eq!(site.scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
        let stamp = site.queries.vote(&writer).unwrap();
        assert_eq!(site.read_now(&reader, 'x'), Ok(0));
        let vote = site.scheduler.request_vote(&reader);
        assert_eq!(vote.peek(), None, "condition B");
        let expected = match outcome {
            Outcome::Commit => {
                site.commit(&writer, stamp);
                Vote::No(AbortReason::Overtaken)
            }
            Outcome::Abort => {
                site.abort(&writer);
                Vote::Yes
            }
        };
        assert_eq!(vote.peek(), Some(expected));
        site.close(&[&reader]);
    }
}

#[test]
fn condition_c_a_writer_waits_for_a_voted_reader() {
    let mut site = Site::new();
    let [reader, writer] = [1, 2].map(|number| site.begin(number));
    assert_eq!(site.read_now(&reader, 'x'), Ok(0));
    assert_eq!(site.scheduler.request_vote(&reader).peek(), Some(Vote::Yes));
    site.write(&writer, 'x').unwrap();
    let vote = site.scheduler.request_vote(&writer);
    assert_eq!(vote.peek(), None);
    site.abort(&reader);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    site.close(&[&writer]);
}

#[test]
fn versions_of_a_key_come_in_the_order_of_the_intents() {
    let mut site = Site::new();
    let [first, second] = [1, 2].map(|number| site.begin(number));
    site.write(&first, 'x').unwrap();
    site.write(&second, 'x').unwrap();
    let vote = site.scheduler.request_vote(&second);
    assert_eq!(vote.peek(), None);
    site.vote_and_commit(&first);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    let stamp = site.queries.vote(&second).unwrap();
    site.commit(&second, stamp);
    let writers: Vec<_> = site.chains[&'x'].iter().map(|v| v.writer).collect();
    assert_eq!(writers, [1, 2]);
    site.close(&[]);
}

#[test]
fn a_lost_update_is_a_cycle_and_the_younger_one_goes() {
    let mut site = Site::new();
    let [older, younger] = [1, 2].map(|number| site.begin(number));
    for txn in [&older, &younger] {
        assert_eq!(site.read_now(txn, 'x'), Ok(0));
    }
    site.write(&younger, 'x').unwrap();
    site.write(&older, 'x').unwrap();
    let votes = [&younger, &older].map(|txn| site.scheduler.request_vote(txn));
    assert_eq!(younger.doomed(), Some(AbortReason::Cycle));
    assert_eq!(votes[0].peek(), Some(Vote::No(AbortReason::Cycle)));
    site.abort(&younger);
    assert_eq!(votes[1].peek(), Some(Vote::Yes));
    site.close(&[&older]);
}

#[test]
fn increments_commute_with_each_other_only() {
    let mut site = Site::new();
    let [one, other, reader, put] = [1, 2, 3, 4].map(|number| site.begin(number));
    for txn in [&one, &other] {
        site.change(txn, 'n', WriteKind::Increment).unwrap();
    }
    let vote = site.scheduler.request_vote(&other);
    assert_eq!(vote.peek(), Some(Vote::Yes), "it does not follow the first");
    assert_eq!(site.read_now(&reader, 'n'), Ok(0));
    site.write(&put, 'n').unwrap();
    let waiting = site.scheduler.request_vote(&put);
    assert_eq!(waiting.peek(), None);
    for txn in [&one, &other] {
        site.abort(txn);
    }
    assert_eq!(waiting.peek(), None, "the reader is left");
    site.vote_and_commit(&reader);
    assert_eq!(waiting.peek(), Some(Vote::Yes));
    site.close(&[&put]);
}

#[test]
fn an_increment_of_an_own_write_is_a_write() {
    let mut site = Site::new();
    let [both, adder] = [1, 2].map(|number| site.begin(number));
    site.write(&both, 'n').unwrap();
    site.change(&both, 'n', WriteKind::Increment).unwrap();
    site.change(&adder, 'n', WriteKind::Increment).unwrap();
    assert_eq!(site.scheduler.request_vote(&adder).peek(), None);
    site.close(&[&adder, &both]);
}

#[test]
fn a_scan_precedes_who_brings_a_new_key_before_and_after_it() {
    let mut site = Site::new();
    let [early, scanner, late] = [1, 2, 3].map(|number| site.begin(number));
    site.write(&early, 'c').unwrap();
    assert_eq!(site.scan_now(&scanner, 'b', Some('e')), Ok(Position(0)));
    site.write(&late, 'd').unwrap();
    let votes = [&early, &late].map(|txn| site.scheduler.request_vote(txn));
    for vote in &votes {
        assert_eq!(vote.peek(), None, "a phantom");
    }
    site.vote_and_commit(&scanner);
    for vote in &votes {
        assert_eq!(vote.peek(), Some(Vote::Yes));
    }
    site.close(&[&early, &late]);
}

#[test]
fn a_range_ends_before_its_last_key() {
    let mut site = Site::new();
    let [scanner, writer] = [1, 2].map(|number| site.begin(number));
    assert!(site.scan_now(&scanner, 'b', Some('e')).is_ok());
    assert!(site.scan_now(&scanner, 'x', Some('x')).is_ok(), "empty");
    for key in ['a', 'e', 'x'] {
        site.write(&writer, key).unwrap();
    }
    site.vote_and_commit(&writer);
    site.close(&[&scanner]);
}

#[test]
fn a_key_inside_a_scanned_range_is_marked_once() {
    let mut site = Site::new();
    let scanner = site.begin(1);
    assert!(site.scan_now(&scanner, 'a', None).is_ok());
    for key in ['a', 'b', 'c'] {
        assert_eq!(site.read_now(&scanner, key), Ok(0));
    }
    assert!(site.scan_now(&scanner, 'b', Some('z')).is_ok());
    assert_eq!(site.versions.held(), 1);
    site.close(&[&scanner]);
}

/// G9: marks of a transaction in doubt hold after a restart.
#[test]
fn a_writer_waits_for_a_reader_in_doubt() {
    let mut site = Site::new();
    let in_doubt = site
        .scheduler
        .recover(co_core::Gtid(1), co_core::Priority(1));
    site.versions.reinstate(
        &in_doubt,
        Footprint {
            reads: vec!['x'],
            ranges: vec![('p', Some('t')), ('b', Some('a'))],
            writes: vec![('y', WriteKind::Put)],
        },
    );
    let [writer, inserter, reader] = [2, 3, 4].map(|number| site.begin(number));
    site.write(&writer, 'x').unwrap();
    site.write(&inserter, 'q').unwrap();
    assert_eq!(site.read_now(&reader, 'y'), Ok(0));
    let followers = [&writer, &inserter].map(|txn| site.scheduler.request_vote(txn));
    let overtaken = site.scheduler.request_vote(&reader);
    for vote in followers.iter().chain([&overtaken]) {
        assert_eq!(vote.peek(), None);
    }
    let position = site.versions.install(&in_doubt, |position| position);
    assert_eq!(position, Ok(Position(1)));
    site.scheduler.decided(&in_doubt, Outcome::Commit).unwrap();
    site.versions.retire(&in_doubt);
    for vote in followers {
        assert_eq!(vote.peek(), Some(Vote::Yes));
    }
    assert_eq!(overtaken.peek(), Some(Vote::No(AbortReason::Overtaken)));
    site.close(&[&writer, &inserter, &reader]);
}

#[test]
fn what_had_committed_before_a_restart_comes_first() {
    let mut site = Site::new();
    assert_eq!(site.versions.restore(|position| position), Position(1));
    assert_eq!(site.versions.newest(), Position(1));
    let writer = site.begin(1);
    site.write(&writer, 'x').unwrap();
    site.vote_and_commit(&writer);
    assert_eq!(site.chains[&'x'][0].position, Position(2));
    site.close(&[]);
}

#[test]
fn a_reader_never_waits_for_a_writer_at_work() {
    let mut site = Site::with_late_readers(0);
    let [writer, reader] = [1, 2].map(|number| site.begin(number));
    site.write(&writer, 'x').unwrap();
    assert!(matches!(site.read(&reader, 'x'), Ok(Seen::Now(0))));
    site.close(&[&writer, &reader]);
}
