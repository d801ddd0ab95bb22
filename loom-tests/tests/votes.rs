//! Votes: who is told, when, and exactly once.
#![cfg(co_loom)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use co_core::{AbortReason, EdgeKind, Outcome, Scheduler, State, Vote, VoteRule};
use loom::thread;
use loom_tests::{begin, close, explore, withhold};

/// I3: the doom comes before the vote and is answered NO, or after it and changes nothing.
#[test]
fn doom_against_vote() {
    explore("doom_against_vote", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let vote = scheduler.request_vote(&second);
        let release = thread::spawn({
            let scheduler = scheduler.clone();
            move || scheduler.decided(&first, Outcome::Abort).unwrap()
        });
        let doomed = scheduler.doom(&second, AbortReason::Requested);
        release.join().unwrap();
        let (expected, state) = if doomed {
            (Vote::No(AbortReason::Requested), State::Doomed)
        } else {
            (Vote::Yes, State::Voted)
        };
        assert_eq!((vote.peek(), second.state()), (Some(expected), state));
        close(&scheduler, &[&second]);
    });
}

/// A doom that comes while the vote is being asked for is not lost either.
#[test]
fn doom_against_request() {
    explore("doom_against_request", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let doom = thread::spawn({
            let (scheduler, second) = (scheduler.clone(), second.clone());
            move || scheduler.doom(&second, AbortReason::Requested)
        });
        let vote = scheduler.request_vote_blocking(&second);
        assert!(doom.join().unwrap(), "nothing can have released the vote");
        assert_eq!(vote, Vote::No(AbortReason::Requested));
        close(&scheduler, &[&first, &second]);
    });
}

/// A blocked thread is woken: a lost wake-up is a deadlock, which loom reports.
#[test]
fn blocking_vote_is_woken() {
    explore("blocking_vote_is_woken", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let blocked = thread::spawn({
            let (scheduler, second) = (scheduler.clone(), second.clone());
            move || scheduler.request_vote_blocking(&second)
        });
        scheduler.decided(&first, Outcome::Abort).unwrap();
        assert_eq!(blocked.join().unwrap(), Vote::Yes);
        close(&scheduler, &[&second]);
    });
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// C3: a task that polls sees the vote or is woken.
#[test]
fn polled_vote_is_woken() {
    explore("polled_vote_is_woken", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let mut vote = scheduler.request_vote(&second);
        let release = thread::spawn({
            let scheduler = scheduler.clone();
            move || scheduler.decided(&first, Outcome::Abort).unwrap()
        });
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let polled = Pin::new(&mut vote).poll(&mut Context::from_waker(&waker));
        release.join().unwrap();
        let woken = flag.0.load(Ordering::SeqCst);
        assert_eq!(woken, polled == Poll::Pending);
        assert_eq!(vote.peek(), Some(Vote::Yes));
        close(&scheduler, &[&second]);
    });
}

/// Whoever sees in `Txn::state` that the vote is cast may decide before the waiter is told; the waiter is
/// told YES all the same.
#[test]
fn decision_against_the_news_of_the_vote() {
    explore("decision_against_the_news_of_the_vote", || {
        let scheduler = withhold();
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        let vote = scheduler.request_vote(&second);
        let release = thread::spawn({
            let scheduler = scheduler.clone();
            move || scheduler.decided(&first, Outcome::Abort).unwrap()
        });
        if second.state() == State::Voted {
            scheduler.decided(&second, Outcome::Commit).unwrap();
        }
        release.join().unwrap();
        assert_eq!(vote.peek(), Some(Vote::Yes));
        close(&scheduler, &[&second]);
    });
}

/// Two threads ask for the same vote, which is withheld at first, and both hear it.
#[test]
fn two_requests_for_one_vote() {
    explore("two_requests_for_one_vote", || {
        let scheduler = withhold();
        let [first, txn] = begin(&scheduler);
        scheduler.edge(&first, &txn, EdgeKind::ReadWrite).unwrap();
        let other = thread::spawn({
            let (scheduler, txn) = (scheduler.clone(), txn.clone());
            move || scheduler.request_vote_blocking(&txn)
        });
        let vote = scheduler.request_vote(&txn);
        scheduler.decided(&first, Outcome::Abort).unwrap();
        assert_eq!(vote.wait(), Vote::Yes);
        assert_eq!(other.join().unwrap(), Vote::Yes);
        close(&scheduler, &[&first, &txn]);
    });
}

/// A write skew under LocalOnly: exactly one YES, whichever edge is reported when.
#[test]
fn local_only_lets_one_of_a_write_skew_vote() {
    explore("local_only_lets_one_of_a_write_skew_vote", || {
        let scheduler = Scheduler::new(VoteRule::LocalOnly);
        let [left, right] = begin(&scheduler);
        let other = thread::spawn({
            let (scheduler, left, right) = (scheduler.clone(), left.clone(), right.clone());
            move || {
                scheduler.edge(&left, &right, EdgeKind::ReadWrite).unwrap();
                scheduler.request_vote_blocking(&right)
            }
        });
        scheduler.edge(&right, &left, EdgeKind::ReadWrite).unwrap();
        let votes = [
            scheduler.request_vote_blocking(&left),
            other.join().unwrap(),
        ];
        let overtaken = Vote::No(AbortReason::Overtaken);
        assert!(
            votes == [Vote::Yes, overtaken] || votes == [overtaken, Vote::Yes],
            "{votes:?}"
        );
        close(&scheduler, &[&left, &right]);
    });
}

/// Under LocalOnly the last release and the request both try to cast the vote; one of them does.
#[test]
fn local_only_request_against_release() {
    explore("local_only_request_against_release", || {
        let scheduler = Scheduler::new(VoteRule::LocalOnly);
        let [first, second] = begin(&scheduler);
        scheduler
            .edge(&first, &second, EdgeKind::WriteWrite)
            .unwrap();
        let release = thread::spawn({
            let scheduler = scheduler.clone();
            move || scheduler.decided(&first, Outcome::Abort).unwrap()
        });
        assert_eq!(scheduler.request_vote_blocking(&second), Vote::Yes);
        release.join().unwrap();
        close(&scheduler, &[&second]);
    });
}
