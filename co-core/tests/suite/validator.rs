//! The optimistic validator: each row of its table, under each rule.

use co_core::{
    AbortReason, Footprint, Gtid, Outcome, Priority, State, Txn, Validator, Vote, VoteRule,
    WriteKind,
};

use crate::fixture::{Guarded, abort, doomed, global, under, withheld};

struct Site {
    scheduler: Guarded,
    validator: Validator<u32>,
}

fn reads(key: u32) -> Footprint<u32> {
    Footprint {
        reads: vec![key],
        ..Footprint::default()
    }
}

fn scans(low: u32, high: Option<u32>) -> Footprint<u32> {
    Footprint {
        ranges: vec![(low, high)],
        ..Footprint::default()
    }
}

fn writes(key: u32, kind: WriteKind) -> Footprint<u32> {
    Footprint {
        writes: vec![(key, kind)],
        ..Footprint::default()
    }
}

fn both(read: u32, write: u32) -> Footprint<u32> {
    Footprint {
        writes: vec![(write, Put)],
        ..reads(read)
    }
}

use WriteKind::{Increment, Put};

impl Site {
    fn new(rule: VoteRule) -> Self {
        let scheduler = under(rule);
        Self {
            validator: Validator::new(scheduler.clone()),
            scheduler,
        }
    }

    fn admit(&self, number: u64, footprint: Footprint<u32>) -> Txn {
        let txn = global(&self.scheduler, number);
        self.validator.admit(&txn, footprint, || true).unwrap();
        txn
    }

    fn vote(&self, txn: &Txn) -> Option<Vote> {
        self.scheduler.request_vote(txn).peek()
    }

    fn end(&self, txn: &Txn, outcome: Outcome) {
        self.scheduler.decided(txn, outcome).unwrap();
        self.validator.retire(txn);
    }

    fn close(&self, txns: &[&Txn]) {
        for txn in txns {
            if txn.state().is_undecided() {
                self.end(txn, Outcome::Abort);
            }
        }
        assert!(self.validator.is_empty(), "I7");
        assert_eq!(self.scheduler.undecided(), 0, "I7");
    }
}

/// Who goes first, of a voted `first` and a `second` that is admitted after it.
#[derive(PartialEq, Eq, Debug)]
enum Meeting {
    /// They do not meet.
    Apart,
    /// The second waits, and votes whatever becomes of the first.
    Follows,
    /// The second waits, and votes only if the first aborts.
    Precedes,
}

fn meeting(first: &Footprint<u32>, second: &Footprint<u32>) -> Meeting {
    let fate = |outcome| {
        let site = Site::new(VoteRule::Withhold);
        let voted = site.admit(1, first.clone());
        assert_eq!(site.vote(&voted), Some(Vote::Yes));
        let later = site.admit(2, second.clone());
        let vote = site.scheduler.request_vote(&later);
        let at_once = vote.peek();
        site.end(&voted, outcome);
        let at_last = vote.peek();
        assert!(at_last.is_some(), "the decision releases it or dooms it");
        site.close(&[&voted, &later]);
        (at_once, at_last == Some(Vote::Yes))
    };
    match [Outcome::Commit, Outcome::Abort].map(fate) {
        [(Some(Vote::Yes), true), (Some(Vote::Yes), true)] => Meeting::Apart,
        [(None, true), (None, true)] => Meeting::Follows,
        [(None, false), (None, true)] => Meeting::Precedes,
        other => panic!("{first:?} then {second:?}: {other:?}"),
    }
}

#[test]
fn each_row_of_the_table_holds() {
    use Meeting::{Apart, Follows, Precedes};
    for (first, second, expected) in [
        (reads(7), reads(7), Apart),
        (reads(7), writes(8, Put), Apart),
        (writes(7, Put), reads(7), Precedes),
        (writes(7, Increment), reads(7), Precedes),
        (reads(7), writes(7, Put), Follows),
        (reads(7), writes(7, Increment), Follows),
        (writes(7, Put), writes(7, Put), Follows),
        (writes(7, Put), writes(7, Increment), Follows),
        (writes(7, Increment), writes(7, Put), Follows),
        (writes(7, Increment), writes(7, Increment), Apart),
    ] {
        assert_eq!(
            meeting(&first, &second),
            expected,
            "{first:?} then {second:?}"
        );
    }
}

#[test]
fn ranges_meet_the_keys_inside_them() {
    use Meeting::{Apart, Follows, Precedes};
    for (range, key, inside) in [
        (scans(10, Some(20)), 10, true),
        (scans(10, Some(20)), 20, false),
        (scans(10, Some(20)), 9, false),
        (scans(10, None), u32::MAX, true),
        (scans(20, Some(10)), 15, false),
    ] {
        let write = writes(key, Put);
        let (after, before) = if inside {
            (Follows, Precedes)
        } else {
            (Apart, Apart)
        };
        assert_eq!(meeting(&range, &write), after, "{range:?} then {key}");
        assert_eq!(meeting(&write, &range), before, "{key} then {range:?}");
    }
}

#[test]
fn a_stale_read_is_refused_and_leaves_no_marks() {
    let site = Site::new(VoteRule::Withhold);
    let txn = global(&site.scheduler, 1);
    let refused = site.validator.admit(&txn, both(1, 2), || false);
    assert_eq!(refused, Err(AbortReason::Conflict));
    assert!(site.validator.is_empty());
    site.close(&[&txn]);
}

/// V1: the version may be installed while the mark still stands; who read the old one is caught by the mark.
#[test]
fn a_committed_writer_with_marks_dooms_who_read_before_it() {
    let site = Site::new(VoteRule::Withhold);
    let writer = site.admit(1, writes(7, Put));
    assert_eq!(site.vote(&writer), Some(Vote::Yes));
    site.scheduler.decided(&writer, Outcome::Commit).unwrap();
    let reader = global(&site.scheduler, 2);
    let refused = site.validator.admit(&reader, reads(7), || true);
    assert_eq!(refused, Err(AbortReason::Overtaken));
    assert_eq!(doomed(&site.scheduler), std::slice::from_ref(&reader));
    site.validator.retire(&writer);
    site.close(&[&reader]);
}

/// V2: the marks of a voted reader still delay a writer (the read-only optimisation would forget them).
#[test]
fn marks_outlive_the_vote() {
    let site = Site::new(VoteRule::Withhold);
    let reader = site.admit(1, reads(7));
    assert_eq!(site.vote(&reader), Some(Vote::Yes));
    let writer = site.admit(2, writes(7, Put));
    let vote = withheld(&site.scheduler, &writer);
    site.end(&reader, Outcome::Commit);
    assert_eq!(vote.peek(), Some(Vote::Yes));
    site.close(&[&reader, &writer]);
}

#[test]
fn a_write_skew_loses_one_of_the_two() {
    let site = Site::new(VoteRule::Withhold);
    let left = site.admit(1, both(1, 2));
    let right = site.admit(2, both(2, 1));
    let votes = [&left, &right].map(|txn| site.scheduler.request_vote(txn));
    assert_eq!(right.doomed(), Some(AbortReason::Cycle));
    assert_eq!(votes[0].peek(), None, "until the victim is undone");
    site.end(&right, Outcome::Abort);
    assert_eq!(votes[0].peek(), Some(Vote::Yes));
    site.close(&[&left, &right]);
}

#[test]
fn under_local_only_a_write_skew_loses_the_second_vote() {
    let site = Site::new(VoteRule::LocalOnly);
    let left = site.admit(1, both(1, 2));
    let right = site.admit(2, both(2, 1));
    assert_eq!(site.vote(&right), Some(Vote::Yes));
    assert_eq!(site.vote(&left), Some(Vote::No(AbortReason::Overtaken)));
    site.close(&[&left, &right]);
}

/// What plain two-phase commit does at one site: a reader's vote delays nobody.
#[test]
fn under_local_only_a_writer_does_not_wait_for_a_voted_reader() {
    let site = Site::new(VoteRule::LocalOnly);
    let reader = site.admit(1, reads(7));
    assert_eq!(site.vote(&reader), Some(Vote::Yes));
    let writer = site.admit(2, writes(7, Put));
    assert_eq!(site.vote(&writer), Some(Vote::Yes));
    let stale = site.admit_err(3, reads(7));
    assert_eq!(
        stale.1,
        AbortReason::Overtaken,
        "it precedes a voted writer"
    );
    site.close(&[&reader, &writer, &stale.0]);
}

impl Site {
    fn admit_err(&self, number: u64, footprint: Footprint<u32>) -> (Txn, AbortReason) {
        let txn = global(&self.scheduler, number);
        let refused = self.validator.admit(&txn, footprint, || true).unwrap_err();
        (txn, refused)
    }
}

#[test]
fn who_cannot_be_admitted_is_told() {
    let site = Site::new(VoteRule::Withhold);
    let twice = site.admit(1, reads(7));
    assert_eq!(
        site.validator.admit(&twice, reads(8), || true),
        Err(AbortReason::Requested)
    );
    assert_eq!(site.vote(&twice), Some(Vote::Yes));
    assert_eq!(
        site.validator.admit(&twice, reads(8), || true),
        Err(AbortReason::Requested)
    );
    let dead = global(&site.scheduler, 2);
    site.scheduler.doom(&dead, AbortReason::Conflict);
    assert_eq!(
        site.validator.admit(&dead, reads(9), || true),
        Err(AbortReason::Conflict)
    );
    site.close(&[&twice, &dead]);
}

#[test]
fn a_transaction_does_not_meet_itself() {
    let site = Site::new(VoteRule::Withhold);
    let footprint = Footprint {
        reads: vec![7, 7],
        ranges: vec![(0, None)],
        writes: vec![(7, Put), (7, Increment)],
    };
    let txn = site.admit(1, footprint);
    assert_eq!(site.vote(&txn), Some(Vote::Yes));
    site.close(&[&txn]);
}

#[test]
fn reinstated_marks_delay_writers_and_turn_readers_away() {
    let site = Site::new(VoteRule::Withhold);
    let recovered = site.scheduler.recover(Gtid(9), Priority(9));
    site.validator.reinstate(&recovered, both(1, 2));
    let writer = site.admit(1, writes(1, Put));
    let reader = site.admit(2, reads(2));
    let votes = [&writer, &reader].map(|txn| withheld(&site.scheduler, txn));
    site.end(&recovered, Outcome::Commit);
    assert_eq!(votes[0].peek(), Some(Vote::Yes));
    assert_eq!(votes[1].peek(), Some(Vote::No(AbortReason::Overtaken)));
    assert_eq!(recovered.state(), State::Committed);
    abort(&site.scheduler, &reader);
    site.validator.retire(&reader);
    site.close(&[&writer]);
}
