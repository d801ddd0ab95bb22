//! Votes and decisions, step by step: what is withheld is released, what is doomed is told, and a call
//! that the state does not allow is a typed error that changes nothing.

use std::task::{Context as Task, Poll, Waker};

use co_core::{AbortReason, Outcome, State};

use super::Case;
use crate::cluster::{Cluster, Running, Said, vote};
use crate::context::Context;
use crate::engine::{Answer, Engine, Refusal};
use crate::notation::Operation;
use crate::outcome::CaseOutcome;
use crate::report::Finding;

const RELEASE_ADVICE: &str = "call Scheduler::decided and then release the locks or marks on every decision, commit or abort: that releases whoever waits (contract 6)";
const VOTE_ADVICE: &str = "request_vote hands on what the future of Scheduler::request_vote says, every time it is asked (contract 5)";
const DOOM_ADVICE: &str = "hand the answer of LockFuture or VoteFuture on as it is, and have clean_up abort what take_doomed returns (contract 7)";
const MISUSE_ADVICE: &str = "ask the state of the transaction before anything is applied, and pass the Misuse of Scheduler::decided on (contract 6)";
const FROZEN_ADVICE: &str = "a transaction that was asked to vote takes no more operations: its footprint is what it voted on";

pub(super) fn cases<E: Engine>() -> Vec<Case<E>> {
    vec![
        Case::new(
            "vote-after-commit",
            "who waits for a reader goes on when it commits",
            |context| released(context, Outcome::Commit),
        ),
        Case::new(
            "vote-after-abort",
            "who waits for a reader goes on when it aborts",
            |context| released(context, Outcome::Abort),
        ),
        Case::new(
            "vote-twice",
            "asking for the vote again gives the same vote",
            asked_twice,
        ),
        Case::new(
            "vote-of-nothing",
            "a transaction that has done nothing votes, commits and aborts like any other",
            nothing_done,
        ),
        Case::new(
            "doomed",
            "a transaction that is doomed while it waits is told NO at once, and who waits for it goes on",
            doomed,
        ),
        Case::new(
            "doomed-idle",
            "a transaction that is doomed while its client is idle stands in nobody's way",
            doomed_idle,
        ),
        Case::new(
            "decided-twice",
            "a second decision is a typed error and changes nothing",
            decided_twice,
        ),
        Case::new(
            "commit-without-vote",
            "a commit before the vote is a typed error and changes nothing",
            commit_without_vote,
        ),
        Case::new(
            "frozen",
            "after the vote there are no more operations",
            operation_after_vote,
        ),
    ]
}

fn read(key: &str) -> Operation {
    Operation::Read(key.as_bytes().to_vec())
}

fn write(key: &str) -> Operation {
    Operation::Write(key.as_bytes().to_vec())
}

fn one_site<E: Engine>(context: &Context<E>) -> Result<Cluster<'_, E>, Finding> {
    let mut cluster = Cluster::open(context, 1)?;
    for number in 1..=4 {
        cluster.introduce(number, false);
    }
    Ok(cluster)
}

/// T1 reads, T2 overwrites and is asked to vote: it waits somewhere, or it is free to vote.
fn overtaken_reader<E: Engine>(cluster: &mut Cluster<'_, E>) {
    cluster.operate(1, 0, &read("x"));
    cluster.operate(2, 0, &write("x"));
    if !cluster.waits(2) {
        cluster.ask(2, 0);
    }
}

fn released<E: Engine>(context: &Context<E>, end: Outcome) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    overtaken_reader(&mut cluster);
    let waited = cluster.waits(2);
    match end {
        Outcome::Commit => cluster.commit(1),
        Outcome::Abort => cluster.abort(1),
    }
    cluster.log.check(
        !waited || (!cluster.waits(2) && cluster.outcome(2) != Some(Outcome::Abort)),
        "T2 waited for T1 alone, T1 has ended, and T2 does not go on",
        RELEASE_ADVICE,
    );
    cluster.commit(2);
    Ok(cluster.finish())
}

fn asked_twice<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    overtaken_reader(&mut cluster);
    let engine = cluster.engine(0);
    let second_vote = |cluster: &Cluster<'_, E>| {
        let txn = cluster.handle(2, 0);
        txn.map(|txn| vote(&engine, txn))
    };
    // While the first vote is withheld, if the engine withholds votes.
    let mut again = None;
    if cluster.is_asked(2, 0) {
        again = second_vote(&cluster);
        let early = again.as_mut().and_then(poll).is_some();
        let what = "the first vote is withheld, the second is not";
        cluster.log.check(!early, what, VOTE_ADVICE);
        again = again.filter(|_| !early);
    }
    cluster.abort(1);
    if !cluster.has_voted(2, 0) {
        cluster.ask(2, 0);
    }
    let first = cluster.has_voted(2, 0);
    for mut call in [again, second_vote(&cluster)].into_iter().flatten() {
        let yes = matches!(poll(&mut call), Some(Ok(Said::Done)));
        cluster.log.check(
            yes == first,
            "a vote that was asked for twice is not the same twice",
            VOTE_ADVICE,
        );
    }
    cluster.commit(2);
    Ok(cluster.finish())
}

fn nothing_done<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    for number in 1..=3 {
        cluster.ask(number, 0);
        let voted = cluster.has_voted(number, 0);
        let what = "a transaction without operations does not get its YES";
        cluster.log.check(voted, what, VOTE_ADVICE);
        if number == 2 {
            cluster.abort(2);
        } else {
            cluster.commit(number);
        }
    }
    Ok(cluster.finish())
}

fn doomed<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    cluster.operate(1, 0, &read("x"));
    cluster.operate(2, 0, &write("x"));
    if !cluster.waits(2) {
        cluster.ask(2, 0);
    }
    if cluster.waits(2) {
        cluster.operate(3, 0, &read("x"));
        doom(&mut cluster, 2);
        let told = cluster.outcome(2) == Some(Outcome::Abort);
        let what = "T2 was doomed while it waited, and its call has not ended";
        cluster.log.check(told, what, DOOM_ADVICE);
        let goes_on = !cluster.waits(3);
        let what = "T3 waited for T2 alone, T2 is gone, and T3 does not go on";
        cluster.log.check(goes_on, what, RELEASE_ADVICE);
        cluster.commit(3);
    }
    cluster.commit(1);
    Ok(cluster.finish())
}

fn doomed_idle<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    cluster.operate(1, 0, &write("x"));
    cluster.operate(2, 0, &write("x"));
    if !cluster.waits(2) {
        cluster.ask(2, 0);
    }
    let waited = cluster.waits(2);
    doom(&mut cluster, 1);
    let gone = cluster.outcome(1) == Some(Outcome::Abort);
    let what = "T1 was doomed while its client was idle, and is still there after clean_up";
    cluster.log.check(gone, what, DOOM_ADVICE);
    let what = "T2 waited for T1 alone, T1 is gone, and T2 does not go on";
    let goes_on = !waited || !cluster.waits(2);
    cluster.log.check(goes_on, what, RELEASE_ADVICE);
    cluster.commit(2);
    Ok(cluster.finish())
}

fn doom<E: Engine>(cluster: &mut Cluster<'_, E>, number: u64) {
    if let Some(txn) = cluster.handle(number, 0) {
        let engine = cluster.engine(0);
        engine.scheduler().doom(&txn, AbortReason::Requested);
    }
    cluster.settle();
}

fn decided_twice<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    cluster.operate(1, 0, &write("x"));
    cluster.commit(1);
    cluster.operate(2, 0, &write("x"));
    cluster.operate(2, 0, &write("y"));
    cluster.abort(2);
    let engine = cluster.engine(0);
    for number in [1, 2] {
        let Some(txn) = cluster.handle(number, 0) else {
            continue;
        };
        for outcome in [Outcome::Commit, Outcome::Abort] {
            let answer = engine.decide(&txn, outcome);
            refused_as_misuse(
                &mut cluster,
                &format!("{outcome:?} after the decision"),
                &answer,
            );
        }
    }
    // The values are those of the first decisions: the reads are judged.
    cluster.operate(3, 0, &read("x"));
    cluster.operate(3, 0, &read("y"));
    cluster.commit(3);
    Ok(cluster.finish())
}

fn commit_without_vote<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    cluster.operate(1, 0, &write("x"));
    if let Some(txn) = cluster.handle(1, 0) {
        let answer = cluster.engine(0).decide(&txn, Outcome::Commit);
        refused_as_misuse(&mut cluster, "Commit before the vote", &answer);
        let undecided = txn.state() == State::Active;
        let what = "a refused commit has changed the state of its transaction";
        cluster.log.check(undecided, what, MISUSE_ADVICE);
    }
    cluster.abort(1);
    cluster.operate(2, 0, &read("x"));
    cluster.commit(2);
    Ok(cluster.finish())
}

fn refused_as_misuse<E: Engine>(cluster: &mut Cluster<'_, E>, what: &str, answer: &Answer<()>) {
    if !matches!(answer, Err(Refusal::Misused(_))) {
        let got = match answer {
            Ok(()) => "was accepted".to_owned(),
            Err(refusal) => format!("was refused otherwise: {refusal}"),
        };
        cluster.log.find(
            format!("{what} is no Refusal::Misused: it {got}"),
            MISUSE_ADVICE,
        );
    }
}

fn operation_after_vote<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let mut cluster = one_site(context)?;
    cluster.operate(1, 0, &write("x"));
    cluster.ask(1, 0);
    let engine = cluster.engine(0);
    if let Some(txn) = cluster.handle(1, 0) {
        let key = b"y".as_slice();
        let reads = ready(engine.read(&txn, key));
        let writes = ready(engine.write(&txn, key, Some(b"0")));
        let scans = ready(engine.scan(&txn, key, None));
        for (what, refused) in [
            ("read", matches!(reads, Some(Err(_)))),
            ("write", matches!(writes, Some(Err(_)))),
            ("scan", matches!(scans, Some(Err(_)))),
        ] {
            if !refused {
                let what = format!("a {what} after the vote is not refused");
                cluster.log.find(what, FROZEN_ADVICE);
            }
        }
    }
    cluster.commit(1);
    cluster.operate(2, 0, &read("x"));
    cluster.operate(2, 0, &read("y"));
    cluster.commit(2);
    Ok(cluster.finish())
}

fn poll(running: &mut Running) -> Option<Answer<Said>> {
    match running.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// The answer of a call that is polled once.
fn ready<T>(call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    match call.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
