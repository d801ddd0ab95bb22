//! Votes, decisions, dooms and the reports about them, one fact each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;

use co_core::{
    AbortReason, EdgeKind, Gtid, Kind, Misuse, Outcome, Priority, Scheduler, Stamp, State, Vote,
    VoteRule,
};

use crate::fixture::{abort, commit, doomed, global, local, poll, under, withheld, withhold};

#[test]
fn a_vote_waits_for_every_predecessor() {
    let scheduler = withhold();
    let [first, second, third] = [1, 2, 3].map(|number| global(&scheduler, number));
    scheduler.edge(&first, &third, EdgeKind::ReadWrite).unwrap();
    scheduler
        .edge(&second, &third, EdgeKind::WriteWrite)
        .unwrap();
    let vote = withheld(&scheduler, &third);
    assert!(third.is_waiting());
    commit(&scheduler, &first);
    assert_eq!(vote.peek(), None);
    abort(&scheduler, &second);
    assert_eq!(
        vote.peek(),
        Some(Vote::Yes),
        "an abort releases as well as a commit"
    );
    assert!(!third.is_waiting());
    assert_eq!(third.state(), State::Voted);
    let statistics = scheduler.statistics();
    assert_eq!((statistics.requested, statistics.withheld), (2, 1));
}

#[test]
fn an_edge_that_is_reported_often_is_released_once() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    let others: Vec<_> = (3..12).map(|number| global(&scheduler, number)).collect();
    for other in &others {
        scheduler
            .edge(&first, &second, EdgeKind::ReadWrite)
            .unwrap();
        scheduler.edge(&first, other, EdgeKind::ReadWrite).unwrap();
    }
    let vote = withheld(&scheduler, &second);
    commit(&scheduler, &first);
    assert_eq!(vote.peek(), Some(Vote::Yes));
}

struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The cell used to keep one waker, so of two tasks that polled clones of one vote only the later was woken.
#[test]
fn every_task_that_waits_for_a_vote_is_woken() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    let wakers = [(); 2].map(|()| Arc::new(Counting(AtomicUsize::new(0))));
    let mut votes = [(); 2].map(|()| scheduler.request_vote(&second));
    for (vote, waker) in votes.iter_mut().zip(&wakers) {
        let waker = Waker::from(Arc::clone(waker));
        assert_eq!(poll(vote, &waker), None);
        assert_eq!(poll(vote, &waker), None, "polling twice registers once");
    }
    commit(&scheduler, &first);
    for (vote, waker) in votes.iter_mut().zip(&wakers) {
        assert_eq!(waker.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(vote, Waker::noop()), Some(Vote::Yes));
    }
}

/// The cell used to keep one callback, and a second request for the vote silenced the first.
#[test]
fn every_callback_runs_once() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    let (answers, heard) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let answers = answers.clone();
        scheduler.request_vote_with(&second, move |vote| answers.send(vote).unwrap());
    }
    assert!(heard.try_recv().is_err());
    commit(&scheduler, &first);
    scheduler.request_vote_with(&second, move |vote| answers.send(vote).unwrap());
    assert_eq!(heard.iter().collect::<Vec<_>>(), [Vote::Yes; 3]);
}

#[test]
fn a_blocked_thread_is_told_of_the_vote() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    let vote = withheld(&scheduler, &second);
    thread::scope(|scope| {
        let blocking = scope.spawn(|| scheduler.request_vote_blocking(&second));
        let waiting = scope.spawn(|| vote.wait());
        commit(&scheduler, &first);
        assert_eq!(blocking.join().unwrap(), Vote::Yes);
        assert_eq!(waiting.join().unwrap(), Vote::Yes);
    });
}

#[test]
fn a_callback_may_call_the_scheduler() {
    let scheduler = withhold();
    let [first, second, third] = [1, 2, 3].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    scheduler
        .edge(&second, &third, EdgeKind::ReadWrite)
        .unwrap();
    let (inner, decided) = (scheduler.clone(), second.clone());
    scheduler.request_vote_with(&second, move |vote| {
        assert_eq!(vote, Vote::Yes);
        inner.decided(&decided, Outcome::Commit).unwrap();
    });
    let last = withheld(&scheduler, &third);
    commit(&scheduler, &first);
    assert_eq!(
        second.state(),
        State::Committed,
        "the callback decided on the spot"
    );
    assert_eq!(
        last.peek(),
        Some(Vote::Yes),
        "and that released the next in line"
    );
}

#[test]
fn a_doomed_transaction_is_told_no_and_reported_once() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    let vote = withheld(&scheduler, &second);
    assert!(scheduler.doom(&second, AbortReason::Requested));
    assert!(
        !scheduler.doom(&second, AbortReason::Conflict),
        "it is doomed already"
    );
    assert_eq!(vote.peek(), Some(Vote::No(AbortReason::Requested)));
    assert_eq!(
        scheduler.request_vote(&second).peek(),
        Some(Vote::No(AbortReason::Requested))
    );
    assert_eq!(doomed(&scheduler), std::slice::from_ref(&second));
    assert!(doomed(&scheduler).is_empty());
    commit(&scheduler, &first);
    assert_eq!(
        second.state(),
        State::Doomed,
        "a release does not revive it"
    );
}

#[test]
fn a_voted_transaction_is_never_doomed() {
    let scheduler = withhold();
    let txn = global(&scheduler, 1);
    assert_eq!(scheduler.request_vote_blocking(&txn), Vote::Yes);
    assert!(!scheduler.doom(&txn, AbortReason::Requested), "I3");
    assert_eq!(txn.doomed(), None);
    abort(&scheduler, &txn);
    assert_eq!(
        txn.state(),
        State::Aborted,
        "the coordinator's word ends it either way"
    );
}

#[test]
fn a_dirty_reader_falls_with_its_writer() {
    let scheduler = withhold();
    let [writer, reader] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&writer, &reader, EdgeKind::WriteRead)
        .unwrap();
    let vote = withheld(&scheduler, &reader);
    abort(&scheduler, &writer);
    assert_eq!(vote.peek(), Some(Vote::No(AbortReason::Cascade)));
    assert_eq!(doomed(&scheduler), [reader]);
}

/// G10: the writer fails at another site after the reader was asked to vote here; had it voted, nothing
/// could take its YES back.
#[test]
fn the_cascade_stops_before_the_votes() {
    let scheduler = withhold();
    let [writer, reader, further] = [1, 2, 3].map(|number| global(&scheduler, number));
    scheduler
        .edge(&writer, &reader, EdgeKind::WriteRead)
        .unwrap();
    scheduler
        .edge(&reader, &further, EdgeKind::WriteRead)
        .unwrap();
    assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
    let votes = [&reader, &further].map(|txn| withheld(&scheduler, txn));
    assert_eq!([reader.state(), further.state()], [State::Withheld; 2]);
    abort(&scheduler, &writer);
    assert_eq!(votes[0].peek(), Some(Vote::No(AbortReason::Cascade)));
    assert_eq!(
        votes[1].peek(),
        Some(Vote::No(AbortReason::Cascade)),
        "its own source must abort"
    );
    assert_eq!(doomed(&scheduler), [reader, further]);
}

#[test]
fn who_reads_from_an_aborted_transaction_is_doomed_at_once() {
    let scheduler = withhold();
    let [writer, reader] = [1, 2].map(|number| global(&scheduler, number));
    abort(&scheduler, &writer);
    scheduler
        .edge(&writer, &reader, EdgeKind::WriteRead)
        .unwrap();
    assert_eq!(reader.doomed(), Some(AbortReason::Cascade));
    assert_eq!(doomed(&scheduler), [reader]);
}

/// Condition B: the edge into a voted transaction makes the earlier one wait.
#[test]
fn an_edge_into_a_voted_transaction_reverses_the_wait() {
    for outcome in [Outcome::Commit, Outcome::Abort] {
        let scheduler = withhold();
        let [reader, writer] = [1, 2].map(|number| global(&scheduler, number));
        assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
        scheduler
            .edge(&reader, &writer, EdgeKind::ReadWrite)
            .unwrap();
        assert_eq!(writer.state(), State::Voted);
        let vote = withheld(&scheduler, &reader);
        assert_eq!(scheduler.blocked_by(&reader), [(Gtid(2), Priority(2))]);
        scheduler.decided(&writer, outcome).unwrap();
        let overtaken = outcome == Outcome::Commit;
        let expected = if overtaken {
            Vote::No(AbortReason::Overtaken)
        } else {
            Vote::Yes
        };
        assert_eq!(vote.peek(), Some(expected));
        assert_eq!(scheduler.statistics().overtaken, u64::from(overtaken));
    }
}

/// Condition A.
#[test]
fn who_precedes_a_committed_transaction_is_doomed() {
    let scheduler = withhold();
    let [reader, writer] = [1, 2].map(|number| global(&scheduler, number));
    commit(&scheduler, &writer);
    scheduler
        .edge(&reader, &writer, EdgeKind::ReadWrite)
        .unwrap();
    assert_eq!(reader.doomed(), Some(AbortReason::Overtaken));
}

#[test]
fn an_ended_transaction_precedes_without_an_edge() {
    let scheduler = withhold();
    let [first, second, third] = [1, 2, 3].map(|number| global(&scheduler, number));
    commit(&scheduler, &first);
    abort(&scheduler, &second);
    scheduler.edge(&first, &third, EdgeKind::WriteRead).unwrap();
    scheduler
        .edge(&second, &third, EdgeKind::WriteWrite)
        .unwrap();
    scheduler
        .edge(&third, &second, EdgeKind::WriteWrite)
        .unwrap();
    commit(&scheduler, &third);
}

#[test]
fn the_youngest_of_a_cycle_is_doomed() {
    for requester in 0..3 {
        let scheduler = withhold();
        let txns = [30, 10, 20].map(|number| global(&scheduler, number));
        for index in 0..3 {
            scheduler
                .edge(&txns[index], &txns[(index + 1) % 3], EdgeKind::ReadWrite)
                .unwrap();
        }
        let _vote = scheduler.request_vote(&txns[requester]);
        assert_eq!(
            doomed(&scheduler),
            [txns[0].clone()],
            "requester {requester}"
        );
        assert_eq!(txns[0].doomed(), Some(AbortReason::Cycle));
        assert_eq!(scheduler.statistics().cycles, 1);
    }
}

#[test]
fn all_cycles_through_a_waiter_are_broken() {
    let scheduler = withhold();
    let [oldest, left, right] = [1, 2, 3].map(|number| global(&scheduler, number));
    for other in [&left, &right] {
        scheduler.edge(&oldest, other, EdgeKind::ReadWrite).unwrap();
        scheduler.edge(other, &oldest, EdgeKind::ReadWrite).unwrap();
    }
    let vote = withheld(&scheduler, &oldest);
    let mut victims = doomed(&scheduler);
    victims.sort_by_key(co_core::Txn::id);
    assert_eq!(victims, [left.clone(), right.clone()]);
    abort(&scheduler, &left);
    abort(&scheduler, &right);
    assert_eq!(vote.peek(), Some(Vote::Yes));
}

#[test]
fn waits_and_conflicts_close_one_cycle_together() {
    let scheduler = withhold();
    let [first, second] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&first, &second, EdgeKind::ReadWrite)
        .unwrap();
    scheduler.wait(&first, &second).unwrap();
    scheduler.blocked(&first);
    assert_eq!(second.doomed(), Some(AbortReason::Cycle));
}

/// Repeated waits are kept once only while they follow each other closely; `unwait` used to take back one.
#[test]
fn a_wait_that_ended_is_taken_back_however_often_it_was_recorded() {
    let scheduler = withhold();
    let [holder, waiter] = [1, 2].map(|number| global(&scheduler, number));
    let others: Vec<_> = (3..10).map(|number| global(&scheduler, number)).collect();
    scheduler.wait(&waiter, &holder).unwrap();
    for other in &others {
        scheduler.wait(other, &holder).unwrap();
    }
    scheduler.wait(&waiter, &holder).unwrap();
    assert_eq!(scheduler.blocked_by(&waiter), [(Gtid(1), Priority(1))]);
    scheduler.unwait(&waiter, &holder);
    assert!(scheduler.blocked_by(&waiter).is_empty());
    commit(&scheduler, &waiter);
    scheduler.unwait(&others[0], &waiter);
    let vote = withheld(&scheduler, &others[0]);
    scheduler.unwait(&others[0], &holder);
    assert_eq!(
        vote.peek(),
        Some(Vote::Yes),
        "taking the last wait back releases the vote"
    );
}

/// G4 of the scenarios: an indirect conflict of two globals through a local transaction.
#[test]
fn blocked_by_looks_through_local_transactions() {
    let scheduler = withhold();
    let [first, behind] = [1, 2].map(|number| global(&scheduler, number));
    let [near, far] = [3, 4].map(|number| local(&scheduler, number));
    let last = global(&scheduler, 5);
    scheduler
        .edge(&behind, &first, EdgeKind::ReadWrite)
        .unwrap();
    scheduler.edge(&first, &far, EdgeKind::ReadWrite).unwrap();
    scheduler.edge(&far, &near, EdgeKind::ReadWrite).unwrap();
    scheduler.edge(&near, &last, EdgeKind::ReadWrite).unwrap();
    let vote = withheld(&scheduler, &last);
    assert_eq!(
        scheduler.blocked_by(&last),
        [(Gtid(1), Priority(1))],
        "the next global one, and no further"
    );
    let locals = [&far, &near].map(|txn| withheld(&scheduler, txn));
    commit(&scheduler, &behind);
    commit(&scheduler, &first);
    assert!(scheduler.blocked_by(&last).is_empty());
    for (txn, local_vote) in [&far, &near].into_iter().zip(locals) {
        assert_eq!(vote.peek(), None);
        assert_eq!(local_vote.peek(), Some(Vote::Yes));
        scheduler.decided(txn, Outcome::Commit).unwrap();
    }
    assert_eq!(vote.peek(), Some(Vote::Yes));
}

#[test]
fn a_query_takes_part_in_no_order() {
    let scheduler = withhold();
    let writer = global(&scheduler, 1);
    let query = scheduler.begin(Kind::Query { stamp: Stamp(7) });
    scheduler
        .edge(&query, &writer, EdgeKind::ReadWrite)
        .unwrap();
    scheduler
        .edge(&writer, &query, EdgeKind::WriteRead)
        .unwrap();
    commit(&scheduler, &writer);
    assert_eq!(query.doomed(), None);
    abort(&scheduler, &query);
    assert_eq!(scheduler.undecided(), 0);
}

/// G9: what was in doubt before the crash still precedes what comes after.
#[test]
fn a_recovered_transaction_is_in_doubt() {
    let scheduler = withhold();
    let recovered = scheduler.recover(Gtid(7), Priority(7));
    assert_eq!(recovered.state(), State::Voted);
    let writer = global(&scheduler, 8);
    scheduler
        .edge(&recovered, &writer, EdgeKind::ReadWrite)
        .unwrap();
    let vote = withheld(&scheduler, &writer);
    assert_eq!(scheduler.request_vote(&recovered).peek(), Some(Vote::Yes));
    scheduler.decided(&recovered, Outcome::Commit).unwrap();
    assert_eq!(vote.peek(), Some(Vote::Yes));
    commit_voted(&scheduler, &writer);
}

fn commit_voted(scheduler: &Scheduler, txn: &co_core::Txn) {
    scheduler.decided(txn, Outcome::Commit).unwrap();
    assert_eq!(scheduler.undecided(), 0, "I7");
}

#[test]
fn under_local_only_the_first_vote_dooms_who_precedes_it() {
    let scheduler = under(VoteRule::LocalOnly);
    let [reader, writer] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&reader, &writer, EdgeKind::ReadWrite)
        .unwrap();
    assert_eq!(
        scheduler.request_vote_blocking(&writer),
        Vote::Yes,
        "no vote waits for a reader"
    );
    assert_eq!(reader.doomed(), Some(AbortReason::Overtaken));
    assert_eq!(doomed(&scheduler), std::slice::from_ref(&reader));
    abort(&scheduler, &reader);
    assert!(scheduler.blocked_by(&writer).is_empty());
    let late = global(&scheduler, 3);
    scheduler.edge(&late, &writer, EdgeKind::Predicate).unwrap();
    assert_eq!(
        late.doomed(),
        Some(AbortReason::Overtaken),
        "also when the order shows after the vote"
    );
    let follower = global(&scheduler, 4);
    scheduler
        .edge(&writer, &follower, EdgeKind::WriteWrite)
        .unwrap();
    let vote = withheld(&scheduler, &follower);
    scheduler.decided(&writer, Outcome::Commit).unwrap();
    assert_eq!(vote.peek(), Some(Vote::Yes), "overwrites still wait");
}

/// One site's reader may vote before the writer under LocalOnly too: the order of votes is the serial order.
#[test]
fn under_local_only_an_earlier_vote_of_the_reader_stands() {
    let scheduler = under(VoteRule::LocalOnly);
    let [reader, writer] = [1, 2].map(|number| global(&scheduler, number));
    scheduler
        .edge(&reader, &writer, EdgeKind::ReadWrite)
        .unwrap();
    assert_eq!(scheduler.request_vote_blocking(&reader), Vote::Yes);
    assert_eq!(scheduler.request_vote_blocking(&writer), Vote::Yes);
    assert_eq!(scheduler.statistics().overtaken, 0);
}

#[test]
fn ignoring_reads_is_what_lets_a_write_skew_through() {
    let both_vote = |rule: VoteRule| {
        let scheduler = under(rule);
        let [left, right] = [1, 2].map(|number| global(&scheduler, number));
        scheduler.edge(&left, &right, EdgeKind::ReadWrite).unwrap();
        scheduler.edge(&right, &left, EdgeKind::Predicate).unwrap();
        [&left, &right].map(|txn| scheduler.request_vote(txn).peek() == Some(Vote::Yes))
            == [true; 2]
    };
    assert!(both_vote(VoteRule::DangerIgnoreReads));
    assert!(!both_vote(VoteRule::LocalOnly));
    assert!(!both_vote(VoteRule::Withhold));
}

#[test]
fn misuse_is_a_typed_error_and_changes_nothing() {
    let scheduler = withhold();
    let [voted, other, reader] = [1, 2, 3].map(|number| global(&scheduler, number));
    let wrong = |result: Result<(), Misuse>, state: State| {
        let Err(Misuse::WrongState { state: found, .. }) = result else {
            panic!("accepted in state {state:?}");
        };
        assert_eq!(found, state);
    };
    wrong(scheduler.decided(&voted, Outcome::Commit), State::Active);
    assert_eq!(scheduler.request_vote_blocking(&voted), Vote::Yes);
    assert_eq!(scheduler.request_vote_blocking(&other), Vote::Yes);
    wrong(scheduler.ready(&voted), State::Voted);
    wrong(scheduler.wait(&voted, &reader), State::Voted);
    wrong(
        scheduler.edge(&voted, &other, EdgeKind::ReadWrite),
        State::Voted,
    );
    // These two were accepted once: a voted reader of undecided data cannot fall with its writer any more,
    // and a voted transaction cannot give way to one that has committed.
    wrong(
        scheduler.edge(&reader, &voted, EdgeKind::WriteRead),
        State::Voted,
    );
    scheduler.decided(&other, Outcome::Commit).unwrap();
    wrong(
        scheduler.edge(&voted, &other, EdgeKind::ReadWrite),
        State::Voted,
    );
    wrong(scheduler.decided(&other, Outcome::Abort), State::Committed);
    assert_eq!(scheduler.undecided(), 2);
    let message = scheduler.ready(&voted).unwrap_err().to_string();
    assert_eq!(message, "cannot become ready: the transaction is Voted");
}
