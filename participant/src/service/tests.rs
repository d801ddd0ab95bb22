//! The handler without a network: what it says to clients that break the rules.

use std::sync::Arc;
use std::time::Duration;

use co_core::{Gtid, Priority, VoteRule};
use coco::protocol::{
    AbortCause, CommitAnswer, CoordinatorId, Decision, Durability, Incarnation, Refusal, SiteName,
    Time, ToParticipant, VoterConfig,
};
use coco::service::site::{
    Execute, ExecuteAnswer, ExecuteOutcome, Operation, OperationReply, Peer, SiteHandler as _,
    SiteTxn,
};
use coco::service::{Front, RefusedCode};

use super::activity::Activity;
use super::handler::Handler;
use crate::Recorder;
use crate::engine::{EngineKind, open};
use crate::site::{Input, NoLog, Parts, Site, SiteConfig};

/// The coordinator whose id is the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);

struct Setup {
    site: Arc<Site>,
    activity: Arc<Activity>,
    handler: Handler,
}

fn setup() -> Setup {
    let voter = VoterConfig {
        durability: Durability::Volatile,
        ..VoterConfig::default()
    };
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter,
        incarnation: Incarnation(7),
    };
    let parts = Parts {
        participant: open(EngineKind::Ss2pl, VoteRule::Withhold, Recorder::off()),
        log: Arc::new(NoLog::new()),
        outbox: Box::new(|_, _| {}),
        wake: Box::new(|| {}),
    };
    let site = Arc::new(Site::open(config, parts, &[], Time(0)).unwrap());
    let activity = Arc::new(Activity::new());
    let patience = Duration::from_millis(50);
    let watch = Arc::default();
    let handler = Handler::new(Arc::clone(&site), Arc::clone(&activity), watch, patience);
    Setup {
        site,
        activity,
        handler,
    }
}

const G: SiteTxn = SiteTxn::Global(Gtid(9));

fn put(txn: SiteTxn, begin: bool) -> Execute {
    let operations = vec![Operation::Put(b"k".to_vec(), b"v".to_vec())];
    Execute {
        txn,
        begin: begin.then_some(Priority(9)),
        operations,
    }
}

fn refused(answer: &ExecuteAnswer) -> &RefusedCode {
    match &answer.outcome {
        ExecuteOutcome::Refused(refused) => &refused.code,
        ExecuteOutcome::Results(_) | ExecuteOutcome::Aborted(_) => panic!("{answer:?}"),
    }
}

fn peer() -> Peer {
    Peer::named("one")
}

fn is_done(answer: &ExecuteAnswer) -> bool {
    answer.outcome == ExecuteOutcome::Results(vec![OperationReply::Done])
}

#[tokio::test]
async fn operations_before_the_begin_after_it_twice_and_after_the_commit_are_refused() {
    let Setup { site, handler, .. } = setup();
    assert_eq!(
        refused(&handler.execute(peer(), put(G, false)).await),
        &RefusedCode::UnknownTransaction
    );
    assert!(is_done(&handler.execute(peer(), put(G, true)).await));
    assert_eq!(
        refused(&handler.execute(peer(), put(G, true)).await),
        &RefusedCode::DuplicateBegin
    );
    assert!(is_done(&handler.execute(peer(), put(G, false)).await));

    site.handle(Input::LinkUp(C), Time(1));
    site.handle(Input::Message(C, ToParticipant::prepare(Gtid(9))), Time(2));
    assert_eq!(
        refused(&handler.execute(peer(), put(G, false)).await),
        &RefusedCode::AlreadyEnded
    );
    let decision = Decision::Commit {
        stamp: co_core::Stamp(100),
    };
    site.handle(
        Input::Message(
            C,
            ToParticipant::Decide {
                gtid: Gtid(9),
                decision,
            },
        ),
        Time(3),
    );
    assert_eq!(
        refused(&handler.execute(peer(), put(G, false)).await),
        &RefusedCode::UnknownTransaction
    );
    assert_eq!(site.participant().in_flight(), 0);
}

#[tokio::test]
async fn the_coordinators_cause_reaches_the_client_that_comes_late() {
    let Setup { site, handler, .. } = setup();
    assert!(is_done(&handler.execute(peer(), put(G, true)).await));
    let decision = Decision::Abort {
        cause: AbortCause::VotingDeadlock,
    };
    site.handle(
        Input::Message(
            C,
            ToParticipant::Decide {
                gtid: Gtid(9),
                decision,
            },
        ),
        Time(1),
    );
    for begin in [false, true] {
        let answer = handler.execute(peer(), put(G, begin)).await;
        assert_eq!(
            answer.outcome,
            ExecuteOutcome::Aborted(AbortCause::VotingDeadlock)
        );
    }
    assert_eq!(site.participant().in_flight(), 0);
}

#[tokio::test]
async fn one_operation_runs_at_a_time_and_one_that_waits_too_long_ends_its_transaction() {
    let Setup { site, handler, .. } = setup();
    assert!(is_done(&handler.execute(peer(), put(G, true)).await));
    let other = SiteTxn::Global(Gtid(10));
    let (waits, second) = tokio::join!(handler.execute(peer(), put(other, true)), async {
        tokio::task::yield_now().await;
        handler.execute(peer(), put(other, false)).await
    });
    assert_eq!(refused(&second), &RefusedCode::Busy);
    assert_eq!(waits.outcome, ExecuteOutcome::Aborted(AbortCause::Timeout));
    assert_eq!(site.participant().in_flight(), 1, "the holder");
    assert_eq!(site.abort_cause(Gtid(10)), Some(AbortCause::Timeout));
}

#[tokio::test]
async fn a_silent_client_is_given_up_but_not_once_its_vote_was_asked_for() {
    let Setup {
        site,
        activity,
        handler,
    } = setup();
    assert!(is_done(&handler.execute(peer(), put(G, true)).await));
    let local = handler.execute(peer(), put(SiteTxn::NewLocal, false)).await;
    assert_eq!(
        local.outcome,
        ExecuteOutcome::Aborted(AbortCause::Timeout),
        "the key is locked"
    );
    site.handle(Input::Message(C, ToParticipant::prepare(Gtid(9))), Time(1));
    activity.reap(&site, Duration::ZERO);
    assert_eq!(site.participant().in_flight(), 1, "in doubt");
    let decision = Decision::Abort {
        cause: AbortCause::Client,
    };
    site.handle(
        Input::Message(
            C,
            ToParticipant::Decide {
                gtid: Gtid(9),
                decision,
            },
        ),
        Time(2),
    );
    let local = handler.execute(peer(), put(SiteTxn::NewLocal, false)).await;
    assert!(is_done(&local));
    activity.reap(&site, Duration::from_secs(60));
    assert_eq!(site.participant().in_flight(), 1, "not silent yet");
    activity.reap(&site, Duration::ZERO);
    assert_eq!(site.participant().in_flight(), 0);
}

#[tokio::test]
async fn local_commits_of_nobody_and_rollbacks_of_anybody_are_harmless() {
    let Setup { site, handler, .. } = setup();
    let unknown = CommitAnswer::Refused(Refusal::UnknownGtid);
    assert_eq!(handler.commit_local(77).await, unknown);
    handler.rollback_local(77).await;
    let begun = handler.execute(peer(), put(SiteTxn::NewLocal, false)).await;
    let name = begun.local.unwrap().name;
    let (answer, ()) = tokio::join!(handler.commit_local(name), async { site.run(Time(1)) });
    assert!(matches!(answer, CommitAnswer::Committed { .. }));
    assert_eq!(handler.commit_local(name).await, unknown);
    assert_eq!(site.participant().in_flight(), 0);
}

/// What a peer holds open counts until it is decided, its wait for the decision included; another one is not kept out.
#[tokio::test]
async fn local_transactions_of_one_peer_are_bounded() {
    let Setup {
        site,
        activity,
        handler,
    } = setup();
    let mut front = Front::default();
    front.limits.transactions_per_peer = 2;
    let handler = handler.bounded(&front, Arc::default());
    let counted = || {
        let mut all = front.refused();
        all.find(|(reason, _)| reason == "transactions_per_peer")
            .unwrap()
            .1
    };
    let put = |key: u8| Execute {
        txn: SiteTxn::NewLocal,
        begin: None,
        operations: vec![Operation::Put(vec![key], vec![1])],
    };
    let first = handler.execute(peer(), put(1)).await.local.unwrap().name;
    let second = handler.execute(peer(), put(2)).await.local.unwrap().name;
    let third = handler.execute(peer(), put(3)).await;
    let ExecuteOutcome::Refused(refusal) = &third.outcome else {
        panic!("{third:?}")
    };
    assert_eq!(refusal.code, RefusedCode::Overloaded);
    assert_eq!(refusal.retry_after, Some(front.limits.retry_after));
    assert_eq!((third.local, counted()), (None, 1));
    assert_eq!(site.participant().in_flight(), 2, "nothing has begun");
    let other = Peer::named("other");
    assert!(is_done(&handler.execute(other, put(4)).await));
    let global = Execute {
        begin: Some(Priority(1)),
        txn: G,
        operations: vec![Operation::Put(vec![5], vec![1])],
    };
    assert!(is_done(&handler.execute(peer(), global).await));

    // Asked for, and not decided before the site runs.
    let mut commit = std::pin::pin!(handler.commit_local(first));
    assert!(futures_poll(commit.as_mut()).is_pending());
    let full = handler.execute(peer(), put(3)).await;
    assert_eq!(refused(&full), &RefusedCode::Overloaded);
    site.run(Time(1));
    assert!(matches!(commit.await, CommitAnswer::Committed { .. }));
    assert!(is_done(&handler.execute(peer(), put(3)).await));
    handler.rollback_local(second).await;
    assert!(is_done(&handler.execute(peer(), put(6)).await));
    assert_eq!(
        refused(&handler.execute(peer(), put(7)).await),
        &RefusedCode::Overloaded
    );
    activity.reap(&site, Duration::ZERO);
    assert!(is_done(&handler.execute(peer(), put(7)).await), "given up");
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
