//! The conflict graph: an edge that comes in while one of its ends moves.
#![cfg(co_loom)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use co_core::{AbortReason, EdgeKind, Outcome, State, Vote};
use loom::thread;
use loom_tests::{begin, close, explore, explore_bounded, withhold};

/// G2: the edge is counted and released, or the decision came first; the vote is never forgotten.
#[test]
fn edge_against_decision() {
    explore("edge_against_decision", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        assert_eq!(scheduler.request_vote(&first).peek(), Some(Vote::Yes));
        let decision = thread::spawn({
            let (scheduler, first) = (scheduler.clone(), first.clone());
            move || scheduler.decided(&first, Outcome::Commit).unwrap()
        });
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let vote = scheduler.request_vote(&second);
        assert!(
            vote.peek().is_none() || first.state() == State::Committed,
            "I1"
        );
        decision.join().unwrap();
        assert_eq!(vote.peek(), Some(Vote::Yes));
        close(&scheduler, &[&first, &second]);
    });
}

/// A dirty read is doomed however its report and the writer's abort interleave.
#[test]
fn dirty_read_against_abort() {
    explore("dirty_read_against_abort", || {
        let scheduler = withhold();
        let [writer, reader] = begin(&scheduler);
        let decision = thread::spawn({
            let (scheduler, writer) = (scheduler.clone(), writer.clone());
            move || scheduler.decided(&writer, Outcome::Abort).unwrap()
        });
        scheduler
            .edge(&writer, &reader, EdgeKind::WriteRead)
            .unwrap();
        let vote = scheduler.request_vote(&reader);
        decision.join().unwrap();
        assert_eq!(vote.peek(), Some(Vote::No(AbortReason::Cascade)));
        close(&scheduler, &[&writer, &reader]);
    });
}

/// G1: an edge that arrives as the vote is released is counted before it or sees that it is cast; so exactly
/// one of the two waits for the other.
#[test]
fn edge_against_release() {
    explore("edge_against_release", || {
        let scheduler = withhold();
        let [first, voter, late] = begin(&scheduler);
        scheduler.edge(&first, &voter, EdgeKind::ReadWrite).unwrap();
        let vote = scheduler.request_vote(&voter);
        let release = thread::spawn({
            let scheduler = scheduler.clone();
            move || scheduler.decided(&first, Outcome::Abort).unwrap()
        });
        scheduler.edge(&late, &voter, EdgeKind::ReadWrite).unwrap();
        release.join().unwrap();
        let late_vote = scheduler.request_vote(&late);
        if voter.state() == State::Voted {
            assert_eq!(
                (vote.peek(), late_vote.peek()),
                (Some(Vote::Yes), None),
                "I2"
            );
            scheduler.decided(&voter, Outcome::Commit).unwrap();
            assert_eq!(late_vote.peek(), Some(Vote::No(AbortReason::Overtaken)));
        } else {
            assert_eq!(
                (vote.peek(), late_vote.peek()),
                (None, Some(Vote::Yes)),
                "I2"
            );
            scheduler.decided(&late, Outcome::Commit).unwrap();
            assert_eq!(vote.peek(), Some(Vote::Yes));
        }
        close(&scheduler, &[&voter, &late]);
    });
}

/// Condition B becomes condition A at the decision; there is no moment at which neither holds.
fn late_edge(outcome: Outcome, expected: Vote) {
    let scheduler = withhold();
    let [reader, writer] = begin(&scheduler);
    assert_eq!(scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
    let decision = thread::spawn({
        let (scheduler, writer) = (scheduler.clone(), writer.clone());
        move || scheduler.decided(&writer, outcome).unwrap()
    });
    scheduler
        .edge(&reader, &writer, EdgeKind::ReadWrite)
        .unwrap();
    let vote = scheduler.request_vote(&reader);
    decision.join().unwrap();
    assert_eq!(vote.peek(), Some(expected));
    close(&scheduler, &[&reader, &writer]);
}

#[test]
fn late_edge_against_commit() {
    explore("late_edge_against_commit", || {
        late_edge(Outcome::Commit, Vote::No(AbortReason::Overtaken));
    });
}

#[test]
fn late_edge_against_abort() {
    explore("late_edge_against_abort", || {
        late_edge(Outcome::Abort, Vote::Yes)
    });
}

/// Each adds its edge and waits; at least one search sees the whole cycle, and both choose the same victim.
fn cycle_of_two() {
    let scheduler = withhold();
    let [older, younger] = begin(&scheduler);
    let other = thread::spawn({
        let (scheduler, older, younger) = (scheduler.clone(), older.clone(), younger.clone());
        move || {
            scheduler
                .edge(&older, &younger, EdgeKind::ReadWrite)
                .unwrap();
            scheduler.request_vote(&younger)
        }
    });
    scheduler
        .edge(&younger, &older, EdgeKind::ReadWrite)
        .unwrap();
    let vote = scheduler.request_vote(&older);
    assert_ne!(vote.peek(), Some(Vote::Yes), "the other one is undecided");
    let refused = other.join().unwrap();
    assert_eq!(refused.peek(), Some(Vote::No(AbortReason::Cycle)));
    assert_eq!((older.doomed(), vote.peek()), (None, None));
    assert_eq!(scheduler.take_doomed().len(), 1);
    scheduler.decided(&younger, Outcome::Abort).unwrap();
    assert_eq!(vote.peek(), Some(Vote::Yes));
    close(&scheduler, &[&older]);
}

#[test]
fn two_close_a_cycle() {
    explore_bounded("two_close_a_cycle", 2, cycle_of_two);
}

/// As with two, over a cycle that no pair of its members can see alone.
#[test]
fn three_close_a_cycle() {
    explore_bounded("three_close_a_cycle", 1, || {
        let scheduler = withhold();
        let txns: [_; 3] = begin(&scheduler);
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|index| {
                let scheduler = scheduler.clone();
                let (before, own) = (txns[index - 1].clone(), txns[index].clone());
                thread::spawn(move || {
                    scheduler.edge(&before, &own, EdgeKind::ReadWrite).unwrap();
                    scheduler.request_vote(&own)
                })
            })
            .collect();
        scheduler
            .edge(&txns[2], &txns[0], EdgeKind::ReadWrite)
            .unwrap();
        let first = scheduler.request_vote(&txns[0]);
        let votes: Vec<_> = others
            .into_iter()
            .map(|other| other.join().unwrap())
            .collect();
        assert_eq!(votes[1].peek(), Some(Vote::No(AbortReason::Cycle)));
        assert_eq!((first.peek(), votes[0].peek()), (None, None));
        scheduler.decided(&txns[2], Outcome::Abort).unwrap();
        assert_eq!(first.peek(), Some(Vote::Yes));
        scheduler.decided(&txns[0], Outcome::Commit).unwrap();
        assert_eq!(votes[0].peek(), Some(Vote::Yes));
        close(&scheduler, &[&txns[1]]);
    });
}

/// G2: of a wait that is taken back as its holder ends, the count is dropped once.
#[test]
fn unwait_against_decision() {
    explore("unwait_against_decision", || {
        let scheduler = withhold();
        let [holder, waiter] = begin(&scheduler);
        scheduler.wait(&waiter, &holder).unwrap();
        let decision = thread::spawn({
            let (scheduler, holder) = (scheduler.clone(), holder.clone());
            move || scheduler.decided(&holder, Outcome::Abort).unwrap()
        });
        scheduler.unwait(&waiter, &holder);
        let vote = scheduler.request_vote(&waiter);
        decision.join().unwrap();
        assert_eq!(vote.peek(), Some(Vote::Yes));
        close(&scheduler, &[&waiter]);
    });
}
