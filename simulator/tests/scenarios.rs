//! The two-site scenarios G1 to G11 of commitment ordering, through the real engines and the real
//! protocol: each with its protection, and each without, to see the failure that it prevents.
//!
//! Sites are called A and B, transactions as in the scenarios' literature. "Without" is one of: plain
//! two-phase commit over sites that are each serializable ([`VoteRule::LocalOnly`]), votes that ignore
//! what was read ([`VoteRule::DangerIgnoreReads`]), no search for deadlocks, or a site that forgets what
//! it must remember.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail"
)]

use std::time::Duration;

use checker::{Case, Level, SiteHistory, Verdict, judge_each};
use co_core::{Priority, Stamp, VoteRule};
use coco::protocol::{CommitAnswer, DeadlockPolicy, ToParticipant};
use participant::engine::EngineKind::{self, Mvcc, Optimistic, Sco, Ss2pl};
use participant::site::Input;
use participant::{Decision, KeyRange, Operation, Reply};
use simulator::{Client, Ending, Options, Progress, Step, World};

const A: usize = 0;
const B: usize = 1;

fn world(engines: [EngineKind; 2], rule: VoteRule) -> World {
    World::new(Options::new(&engines, rule))
}

const fn policy(detect: bool) -> DeadlockPolicy {
    if detect {
        DeadlockPolicy::Search
    } else {
        DeadlockPolicy::Timeouts
    }
}

fn get(key: &str) -> Operation {
    Operation::Get(key.as_bytes().into())
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put(key.as_bytes().into(), value.as_bytes().into())
}

/// Runs an operation that must answer at once.
#[track_caller]
fn run(world: &mut World, client: &mut Client, site: usize, operation: Operation) -> Reply {
    let progress = client.start(world, site, operation);
    world.run();
    match progress {
        Progress::Replied(reply) => reply,
        other => panic!("{:?} did not answer: {other:?}", client.name()),
    }
}

/// Starts an operation that must wait.
#[track_caller]
fn wait(world: &mut World, client: &mut Client, site: usize, operation: Operation) {
    let progress = client.start(world, site, operation);
    world.run();
    assert_eq!(progress, Progress::Waiting, "{:?}", client.name());
}

fn settle(world: &mut World) {
    world.settle();
}

/// Lets time pass, a little at a time, until nothing is left to end.
#[track_caller]
fn endings<const N: usize>(world: &mut World, clients: [&mut Client; N]) -> [Ending; N] {
    for _ in 0..10_000 {
        world.settle();
        let mut open = 0;
        for client in &clients {
            open += usize::from(client.ending(world).is_none());
        }
        if open == 0 {
            return clients.map(|client| client.ending(world).unwrap());
        }
        world.pass(Duration::from_millis(5));
    }
    panic!("{world:?} does not end");
}

/// As a client does: looks at its waiting operation, and rolls back when the site has aborted it or
/// commits when it has answered.
fn carry_on(world: &mut World, client: &mut Client) {
    if client.is_running() && !client.is_asleep() {
        match client.poll(world) {
            Progress::Replied(_) => client.commit(world),
            Progress::Waiting => {}
            Progress::Aborted | Progress::Refused(_) => client.rollback(world),
        }
    }
}

#[track_caller]
fn assert_in_order(world: &mut World) {
    let histories = quiet_histories(world);
    let case = Case::new(&histories);
    for level in [Level::Serializability, Level::CommitmentOrdering] {
        let report = case.judge(level);
        assert!(
            matches!(report.verdict, Verdict::Valid { .. }),
            "{:?}",
            report.verdict
        );
    }
}

/// The sites together are not serializable, and a cycle says so.
#[track_caller]
fn assert_cycle(world: &mut World) {
    let histories = quiet_histories(world);
    let report = checker::judge(&histories, Level::Serializability);
    assert!(report.cycle().is_some(), "no cycle: {:?}", report.verdict);
}

/// Each site alone is serializable, and the sites together are not.
#[track_caller]
fn assert_only_together_wrong(world: &mut World) {
    let histories = quiet_histories(world);
    for report in judge_each(&histories, Level::Serializability) {
        assert!(
            matches!(report.verdict, Verdict::Valid { .. }),
            "{:?}",
            report.verdict
        );
    }
    let report = checker::judge(&histories, Level::Serializability);
    assert!(report.cycle().is_some(), "no cycle: {:?}", report.verdict);
}

#[track_caller]
fn quiet_histories(world: &mut World) -> Vec<SiteHistory> {
    for _ in 0..1_000 {
        world.settle();
        if world.is_quiet() {
            break;
        }
        world.pass(Duration::from_millis(100));
    }
    assert!(world.is_quiet(), "I7: something is left: {world:?}");
    world.histories()
}

fn committed(endings: &[Ending]) -> usize {
    endings
        .iter()
        .filter(|ending| **ending == Ending::Committed)
        .count()
}

/// T1: r(x)@A w(y)@B; T2: r(y)@B w(x)@A; A sees T1 before T2, B sees T2 before T1.
fn write_skew(engines: [EngineKind; 2], rule: VoteRule) -> (World, [Ending; 2]) {
    let mut world = world(engines, rule);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, get("x"));
    run(&mut world, &mut t2, B, get("y"));
    run(&mut world, &mut t1, B, put("y", "1"));
    run(&mut world, &mut t2, A, put("x", "1"));
    t1.commit(&mut world);
    t2.commit(&mut world);
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    (world, endings)
}

#[test]
fn g1_one_of_two_that_the_sites_order_differently_aborts() {
    for engines in [[Mvcc, Mvcc], [Mvcc, Sco], [Sco, Mvcc], [Sco, Sco]] {
        let (mut world, endings) = write_skew(engines, VoteRule::Withhold);
        assert_eq!(committed(&endings), 1, "{engines:?}");
        assert_in_order(&mut world);
    }
    // An optimistic site decides by validation which of the two it is.
    for engines in [
        [Optimistic, Optimistic],
        [Optimistic, Mvcc],
        [Sco, Optimistic],
    ] {
        let (mut world, endings) = write_skew(engines, VoteRule::Withhold);
        assert_eq!(committed(&endings), 1, "{engines:?}");
        assert_in_order(&mut world);
    }
}

#[test]
fn g1_off_two_serializable_sites_commit_a_cycle() {
    let (mut world, endings) = write_skew([Mvcc, Mvcc], VoteRule::LocalOnly);
    assert_eq!(committed(&endings), 2);
    assert_only_together_wrong(&mut world);
}

/// A: w1(x), then T2 waits for x; B: w2(y), then T1 waits for y.
fn global_lock_deadlock(detect: bool) -> (World, Client, Client) {
    let mut options = Options::new(&[Ss2pl, Ss2pl], VoteRule::Withhold);
    options.coordinator.deadlocks = policy(detect);
    let mut world = World::new(options);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, put("x", "1"));
    run(&mut world, &mut t2, B, put("y", "2"));
    wait(&mut world, &mut t2, A, put("x", "2"));
    wait(&mut world, &mut t1, B, put("y", "1"));
    for _ in 0..200 {
        world.settle();
        carry_on(&mut world, &mut t1);
        carry_on(&mut world, &mut t2);
        world.pass(Duration::from_millis(5));
    }
    (world, t1, t2)
}

#[test]
fn g2_a_lock_deadlock_over_two_sites_ends_with_one_victim() {
    let (mut world, mut t1, mut t2) = global_lock_deadlock(true);
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    assert_eq!(
        endings,
        [Ending::Committed, Ending::Aborted],
        "the youngest is the victim"
    );
    assert_eq!(world.coordinator().stats().deadlocks_by_search, 1);
    assert_in_order(&mut world);
}

#[test]
fn g2_off_without_the_search_both_wait_until_a_client_gives_up() {
    let (mut world, mut t1, mut t2) = global_lock_deadlock(false);
    assert!(
        t1.is_asleep() && t2.is_asleep(),
        "a second has passed and nothing has moved"
    );
    t2.rollback(&mut world);
    settle(&mut world);
    carry_on(&mut world, &mut t1);
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    assert_eq!(endings, [Ending::Committed, Ending::Aborted]);
    assert_in_order(&mut world);
}

/// A (SCO): r1(x) w2(x), a conflict; B (SS2PL): w2(y) held, w1(y) waits. No conflict cycle, a deadlock.
fn mixed_cycle(detect: bool) -> (World, Client, Client) {
    let mut options = Options::new(&[Sco, Ss2pl], VoteRule::Withhold);
    options.coordinator.deadlocks = policy(detect);
    let mut world = World::new(options);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, get("x"));
    run(&mut world, &mut t2, A, put("x", "2"));
    run(&mut world, &mut t2, B, put("y", "2"));
    wait(&mut world, &mut t1, B, put("y", "1"));
    t2.commit(&mut world);
    for _ in 0..200 {
        world.settle();
        carry_on(&mut world, &mut t1);
        world.pass(Duration::from_millis(5));
    }
    (world, t1, t2)
}

#[test]
fn g3_a_cycle_of_a_conflict_and_a_lock_wait_ends_with_one_victim() {
    let (mut world, mut t1, mut t2) = mixed_cycle(true);
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    assert_eq!(endings, [Ending::Committed, Ending::Aborted]);
    assert_in_order(&mut world);
}

#[test]
fn g3_off_without_the_search_the_vote_timeout_ends_it() {
    let (mut world, t1, mut t2) = mixed_cycle(false);
    assert!(
        t1.is_asleep() && t2.ending(&world).is_none(),
        "a second has passed"
    );
    let [ending] = endings(&mut world, [&mut t2]);
    assert_eq!(ending, Ending::Aborted);
    assert_eq!(world.coordinator().stats().deadlocks_by_timeout, 1);
}

#[test]
fn g4_a_local_transaction_between_two_global_ones_waits_for_the_first() {
    let mut world = world([Sco, Sco], VoteRule::Withhold);
    let mut g1 = Client::global(&mut world, None);
    let mut g2 = Client::global(&mut world, None);
    let mut local = Client::local(1, Priority(0));
    run(&mut world, &mut g1, A, get("a"));
    run(&mut world, &mut local, A, put("a", "L"));
    run(&mut world, &mut local, A, put("b", "L"));
    local.commit(&mut world);
    settle(&mut world);
    assert_eq!(
        local.ending(&world),
        None,
        "G1 precedes it and is undecided"
    );
    run(&mut world, &mut g2, B, get("c"));
    run(&mut world, &mut g1, B, put("c", "1"));
    wait(&mut world, &mut g2, A, get("b"));
    g1.commit(&mut world);
    for _ in 0..100 {
        settle(&mut world);
        carry_on(&mut world, &mut g2);
        world.pass(Duration::from_millis(5));
    }
    let endings = endings(&mut world, [&mut g1, &mut g2, &mut local]);
    assert_eq!(committed(&endings[..2]), 1, "{endings:?}");
    assert_eq!(endings[2], Ending::Committed);
    assert_in_order(&mut world);
}

#[test]
fn g4_off_a_cycle_through_a_local_transaction_commits() {
    let mut world = world([Mvcc, Mvcc], VoteRule::LocalOnly);
    let mut g1 = Client::global(&mut world, None);
    let mut g2 = Client::global(&mut world, None);
    let mut local = Client::local(1, Priority(0));
    run(&mut world, &mut g1, A, get("a"));
    run(&mut world, &mut local, A, put("a", "L"));
    run(&mut world, &mut local, A, put("b", "L"));
    local.commit(&mut world);
    settle(&mut world);
    assert_eq!(local.ending(&world), Some(Ending::Committed));
    run(&mut world, &mut g2, A, get("b"));
    run(&mut world, &mut g2, B, get("c"));
    run(&mut world, &mut g1, B, put("c", "1"));
    g1.commit(&mut world);
    g2.commit(&mut world);
    assert_eq!(committed(&endings(&mut world, [&mut g1, &mut g2])), 2);
    assert_only_together_wrong(&mut world);
}

/// L reads p, G3 overwrites it; B orders G3 before G1; G1 wrote q at A, and then L writes q.
fn late_path(
    engines: [EngineKind; 2],
    rule: VoteRule,
) -> (World, Client, Client, Client, Progress) {
    let mut world = world(engines, rule);
    let mut local = Client::local(1, Priority(0));
    let mut g3 = Client::global(&mut world, None);
    let mut g1 = Client::global(&mut world, None);
    run(&mut world, &mut local, A, get("p"));
    run(&mut world, &mut g3, B, get("r"));
    run(&mut world, &mut g3, A, put("p", "3"));
    run(&mut world, &mut g1, B, put("r", "1"));
    run(&mut world, &mut g1, A, put("q", "1"));
    g3.commit(&mut world);
    settle(&mut world);
    g1.commit(&mut world);
    settle(&mut world);
    let progress = local.start(&world, A, put("q", "L"));
    world.run();
    (world, local, g3, g1, progress)
}

#[test]
fn g5_a_path_that_a_local_transaction_makes_late_is_not_committed() {
    let (mut world, mut local, mut g3, mut g1, progress) =
        late_path([Sco, Sco], VoteRule::Withhold);
    assert_eq!(g3.ending(&world), None, "L precedes it and is undecided");
    assert_eq!(
        progress,
        Progress::Waiting,
        "G1 holds q and is in doubt here"
    );
    for _ in 0..100 {
        settle(&mut world);
        carry_on(&mut world, &mut local);
        world.pass(Duration::from_millis(5));
    }
    let endings = endings(&mut world, [&mut g1, &mut g3, &mut local]);
    assert_eq!(
        committed(&endings),
        2,
        "one of the three ends the cycle: {endings:?}"
    );
    assert_in_order(&mut world);
}

#[test]
fn g5_off_the_late_path_commits_a_cycle() {
    let (mut world, mut local, mut g3, mut g1, progress) =
        late_path([Mvcc, Mvcc], VoteRule::DangerIgnoreReads);
    assert_eq!(progress, Progress::Replied(Reply::Done));
    local.commit(&mut world);
    assert_eq!(
        committed(&endings(&mut world, [&mut g1, &mut g3, &mut local])),
        3
    );
    assert_cycle(&mut world);
}

/// A: r1(x) w2(x); B: r2(y) w1(y). T1 only reads at A; if `forgets`, A then does as the classical
/// optimisation does: it releases the reader as soon as it has voted.
fn read_only_vote(forgets: bool) -> (World, [Ending; 2]) {
    let mut world = world([Sco, Sco], VoteRule::Withhold);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, get("x"));
    run(&mut world, &mut t2, A, put("x", "2"));
    run(&mut world, &mut t2, B, get("y"));
    run(&mut world, &mut t1, B, put("y", "1"));
    t1.commit(&mut world);
    world.step(Step::Down(A));
    if forgets {
        world
            .participant(A)
            .decide(t1.name(), Decision::Commit(Stamp(1)))
            .unwrap();
    }
    t2.commit(&mut world);
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    (world, endings)
}

#[test]
fn g6_a_read_only_vote_keeps_its_marks_until_the_decision() {
    let (mut world, endings) = read_only_vote(false);
    assert_eq!(committed(&endings), 1, "{endings:?}");
    assert_in_order(&mut world);
}

#[test]
fn g6_off_forgetting_a_reader_after_its_vote_commits_a_cycle() {
    let (mut world, endings) = read_only_vote(true);
    assert_eq!(committed(&endings), 2, "{endings:?}");
    assert_cycle(&mut world);
}

/// All sites SS2PL. T1: r(x)@A w(y)@B; T2: w(x)@A r(y)@B. `early`: A is asked for T1's vote before T1 has
/// finished at B. A forgets the reader after its vote.
fn read_only_vote_under_ss2pl(early: bool) -> (World, [Ending; 2]) {
    let mut world = world([Ss2pl, Ss2pl], VoteRule::Withhold);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, get("x"));
    if !early {
        run(&mut world, &mut t1, B, put("y", "1"));
    }
    let prepare = ToParticipant::prepare(t1.gtid());
    world
        .site(A)
        .handle(Input::Message(simulator::ID, prepare), world.now());
    world.run();
    world
        .participant(A)
        .decide(t1.name(), Decision::Commit(Stamp(1)))
        .unwrap();
    run(&mut world, &mut t2, A, put("x", "2"));
    if early {
        run(&mut world, &mut t2, B, get("y"));
        t2.commit(&mut world);
        settle(&mut world);
        run(&mut world, &mut t1, B, put("y", "1"));
        t1.commit(&mut world);
    } else {
        wait(&mut world, &mut t2, B, get("y"));
        t1.commit(&mut world);
        settle(&mut world);
        carry_on(&mut world, &mut t2);
    }
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    (world, endings)
}

#[test]
fn g6_all_ss2pl_may_forget_readers_once_the_work_is_done_everywhere() {
    let (mut world, endings) = read_only_vote_under_ss2pl(false);
    assert_eq!(committed(&endings), 2);
    let histories = quiet_histories(&mut world);
    let report = checker::judge(&histories, Level::Serializability);
    assert!(
        matches!(report.verdict, Verdict::Valid { .. }),
        "{:?}",
        report.verdict
    );
}

#[test]
fn g6_off_all_ss2pl_with_an_early_prepare_may_not() {
    let (mut world, endings) = read_only_vote_under_ss2pl(true);
    assert_eq!(committed(&endings), 2);
    assert_cycle(&mut world);
}

/// B: V → X. A: L → V and X → L. X's decision reaches A before V's does.
fn eager_vote(rule: VoteRule) -> (World, Client, Client, Client) {
    let mut world = world([Mvcc, Mvcc], rule);
    let mut local = Client::local(1, Priority(0));
    let mut v = Client::global(&mut world, None);
    let mut x = Client::global(&mut world, None);
    run(&mut world, &mut local, A, get("p"));
    run(&mut world, &mut v, A, put("p", "V"));
    run(&mut world, &mut v, B, put("r", "V"));
    run(&mut world, &mut x, A, put("q", "X"));
    wait(&mut world, &mut x, B, put("r", "X"));
    v.commit(&mut world);
    // Everything but A's next message: V may be decided, and A does not learn of it yet.
    for step in [
        Step::Down(A),
        Step::Down(B),
        Step::Up(A),
        Step::Up(B),
        Step::SyncCoordinator,
    ] {
        world.step(step);
    }
    world.step(Step::Down(B));
    world.step(Step::Up(B));
    if !x.is_asleep() {
        x.poll(&world);
        x.commit(&mut world);
        world.reorder_down(A);
        for step in [
            Step::Down(A),
            Step::Down(B),
            Step::Up(A),
            Step::Up(B),
            Step::SyncCoordinator,
        ] {
            world.step(step);
        }
        world.reorder_down(A);
        world.step(Step::Down(A));
    }
    (world, local, v, x)
}

#[test]
fn g7_a_vote_is_not_cast_while_a_local_predecessor_is_undecided() {
    let (mut world, mut local, mut v, mut x) = eager_vote(VoteRule::Withhold);
    assert_eq!(v.ending(&world), None, "L precedes V at A and is undecided");
    run(&mut world, &mut local, A, get("q"));
    local.commit(&mut world);
    settle(&mut world);
    carry_on(&mut world, &mut x);
    let endings = endings(&mut world, [&mut local, &mut v, &mut x]);
    assert_eq!(endings, [Ending::Committed; 3]);
    assert_in_order(&mut world);
}

#[test]
fn g7_off_an_eager_vote_lets_a_local_transaction_commit_in_a_cycle() {
    let (mut world, mut local, mut v, mut x) = eager_vote(VoteRule::DangerIgnoreReads);
    assert_eq!(
        x.ending(&world),
        Some(Ending::Committed),
        "decided after V, known at A before it"
    );
    let reply = run(&mut world, &mut local, A, get("q"));
    // L's snapshot is older than X's version; L overwrites it all the same.
    assert_eq!(reply, Reply::Value(None));
    run(&mut world, &mut local, A, put("q", "L"));
    local.commit(&mut world);
    assert_eq!(
        committed(&endings(&mut world, [&mut local, &mut v, &mut x])),
        3
    );
    assert_cycle(&mut world);
}

/// W is voted at A and known to be committed at B; R reads W's write at B and the old x at A.
fn late_snapshot_reader(rule: VoteRule) -> (World, Client, Client, Progress) {
    let mut world = world([Mvcc, Mvcc], rule);
    let mut w = Client::global(&mut world, None);
    run(&mut world, &mut w, A, put("x", "W"));
    run(&mut world, &mut w, B, put("y", "W"));
    w.commit(&mut world);
    for step in [
        Step::Down(A),
        Step::Down(B),
        Step::Up(A),
        Step::Up(B),
        Step::SyncCoordinator,
    ] {
        world.step(step);
    }
    world.step(Step::Down(B));
    let mut r = Client::global(&mut world, None);
    let reply = run(&mut world, &mut r, B, get("y"));
    assert_eq!(reply, Reply::Value(Some(b"W".as_slice().into())));
    let progress = r.start(&world, A, get("x"));
    (world, w, r, progress)
}

#[test]
fn g8_a_reader_of_what_a_voted_writer_replaces_gets_a_no() {
    let (mut world, mut w, mut r, progress) = late_snapshot_reader(VoteRule::Withhold);
    assert_eq!(
        progress,
        Progress::Replied(Reply::Value(None)),
        "W's version is not there yet"
    );
    run(&mut world, &mut r, B, put("z", "R"));
    r.commit(&mut world);
    let endings = endings(&mut world, [&mut w, &mut r]);
    assert_eq!(endings, [Ending::Committed, Ending::Aborted]);
    assert_in_order(&mut world);
}

#[test]
fn g8_off_plain_two_phase_commit_lets_the_late_reader_commit() {
    let (mut world, mut w, mut r, _) = late_snapshot_reader(VoteRule::LocalOnly);
    run(&mut world, &mut r, B, put("z", "R"));
    r.commit(&mut world);
    assert_eq!(committed(&endings(&mut world, [&mut w, &mut r])), 2);
    assert_only_together_wrong(&mut world);
}

#[test]
fn g8_a_query_before_the_writer_succeeds_and_one_after_waits() {
    let (mut world, mut w, mut r, _) = late_snapshot_reader(VoteRule::Withhold);
    let all = KeyRange {
        low: b"".as_slice().into(),
        high: None,
    };
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let site = std::sync::Arc::clone(world.participant(A));

    // W voted at A, so it will commit at or after that stamp: before it, x has no value, for ever.
    let before = site.query(Stamp(0), &all).as_mut().poll(&mut context);
    assert!(matches!(before, std::task::Poll::Ready(Ok(rows)) if rows.is_empty()));
    let mut after = site.query(Stamp(100), &all);
    assert!(
        after.as_mut().poll(&mut context).is_pending(),
        "W may commit before 100"
    );
    settle(&mut world);
    let std::task::Poll::Ready(Ok(rows)) = after.as_mut().poll(&mut context) else {
        panic!("W is decided")
    };
    assert_eq!(rows.len(), 1);
    let again = site.query(Stamp(0), &all).as_mut().poll(&mut context);
    assert!(matches!(again, std::task::Poll::Ready(Ok(rows)) if rows.is_empty()));
    drop(after);
    r.rollback(&mut world);
    endings(&mut world, [&mut w, &mut r]);
    assert_in_order(&mut world);
}

/// A votes YES on T1, which has read x there, and crashes; T2 then overwrites x at A. At B, T2 read what T1
/// overwrites. If `forgets`, A comes back without the read mark.
fn crash_in_doubt(engine: EngineKind, forgets: bool) -> (World, [Ending; 2]) {
    let mut options = Options::new(&[engine, Sco], VoteRule::Withhold);
    options.durable = true;
    let mut world = World::new(options);
    let mut t1 = Client::global(&mut world, None);
    let mut t2 = Client::global(&mut world, None);
    run(&mut world, &mut t1, A, get("x"));
    run(&mut world, &mut t2, B, get("y"));
    run(&mut world, &mut t1, B, put("y", "1"));
    t1.commit(&mut world);
    settle(&mut world);
    assert_eq!(
        t1.ending(&world),
        None,
        "B withholds it: T2 precedes it there"
    );
    world.crash(A);
    world.start(A);
    settle(&mut world);
    if forgets {
        world
            .participant(A)
            .decide(t1.name(), Decision::Commit(Stamp(1)))
            .unwrap();
    }
    match t2.start(&world, A, put("x", "2")) {
        Progress::Replied(_) => t2.commit(&mut world),
        Progress::Waiting => {}
        other => panic!("{other:?}"),
    }
    for _ in 0..100 {
        settle(&mut world);
        carry_on(&mut world, &mut t2);
        world.pass(Duration::from_millis(5));
    }
    let endings = endings(&mut world, [&mut t1, &mut t2]);
    (world, endings)
}

#[test]
fn g9_read_marks_of_a_transaction_in_doubt_survive_a_crash() {
    for engine in [Ss2pl, Sco, Optimistic, Mvcc] {
        let (mut world, endings) = crash_in_doubt(engine, false);
        assert_eq!(committed(&endings), 1, "{engine}: {endings:?}");
        assert_in_order(&mut world);
    }
}

#[test]
fn g9_off_a_site_that_forgets_them_commits_a_cycle() {
    for engine in [Ss2pl, Sco, Optimistic, Mvcc] {
        let (mut world, endings) = crash_in_doubt(engine, true);
        assert_eq!(committed(&endings), 2, "{engine}: {endings:?}");
        assert_cycle(&mut world);
    }
}

#[test]
fn g10_no_reader_ever_votes_on_what_an_undecided_transaction_wrote() {
    for engine in [Ss2pl, Sco, Optimistic, Mvcc] {
        let mut world = world([engine, Ss2pl], VoteRule::Withhold);
        let mut t = Client::global(&mut world, None);
        let mut r = Client::global(&mut world, None);
        run(&mut world, &mut t, A, put("x", "T"));
        let progress = r.start(&world, A, get("x"));
        let dirty = Progress::Replied(Reply::Value(Some(b"T".as_slice().into())));
        assert_ne!(progress, dirty, "{engine} read what is undecided");
        t.rollback(&mut world);
        settle(&mut world);
        if r.is_running() {
            assert_eq!(
                r.poll(&world),
                Progress::Replied(Reply::Value(None)),
                "{engine}"
            );
        }
        run(&mut world, &mut r, B, put("y", "R"));
        r.commit(&mut world);
        let endings = endings(&mut world, [&mut t, &mut r]);
        assert_eq!(endings, [Ending::Aborted, Ending::Committed], "{engine}");
        assert_in_order(&mut world);
    }
}

#[test]
fn g10_off_a_dirty_read_without_a_cascade_is_found_by_the_checker() {
    // The cascade itself is co-core's (its tests show it): an engine that reads dirty and does not report
    // the read as such leaves a history like this one.
    let text = "co-history 1 A\na G1 Requested\nc G2 7 - r:x@3\nend 2\n";
    let history = checker::parse::read_history(text.as_bytes(), "A").unwrap();
    let report = checker::judge(&[history], Level::Serializability);
    assert!(
        matches!(report.verdict, Verdict::Invalid { .. }),
        "{:?}",
        report.verdict
    );
}

/// The older T is withheld at A behind the younger P, which has voted there; P is withheld at B behind T.
fn older_behind_voted_younger(detect: bool) -> (World, Client, Client) {
    let mut options = Options::new(&[Sco, Sco], VoteRule::Withhold);
    options.coordinator.deadlocks = policy(detect);
    let mut world = World::new(options);
    let mut t = Client::global(&mut world, None);
    let mut p = Client::global(&mut world, None);
    run(&mut world, &mut p, A, get("x"));
    run(&mut world, &mut t, A, put("x", "T"));
    run(&mut world, &mut t, B, get("y"));
    run(&mut world, &mut p, B, put("y", "P"));
    p.commit(&mut world);
    settle(&mut world);
    t.commit(&mut world);
    for _ in 0..100 {
        settle(&mut world);
        world.pass(Duration::from_millis(5));
    }
    (world, t, p)
}

#[test]
fn g11_the_coordinator_ends_a_voted_younger_transaction_for_an_older_one() {
    let (mut world, mut t, mut p) = older_behind_voted_younger(true);
    let endings = endings(&mut world, [&mut t, &mut p]);
    assert_eq!(endings, [Ending::Committed, Ending::Aborted]);
    assert_in_order(&mut world);
}

#[test]
fn g11_off_no_site_can_end_it_alone() {
    let (mut world, mut t, mut p) = older_behind_voted_younger(false);
    assert_eq!(t.ending(&world), None, "half a second has passed");
    assert_eq!(p.ending(&world), None);
    // The timeouts do, and the younger runs out of time first.
    let endings = endings(&mut world, [&mut t, &mut p]);
    assert_eq!(endings, [Ending::Committed, Ending::Aborted]);
    assert_in_order(&mut world);
}

#[test]
fn a_repeated_commit_gets_the_same_answer() {
    let mut world = world([Ss2pl, Mvcc], VoteRule::Withhold);
    let mut t = Client::global(&mut world, None);
    run(&mut world, &mut t, A, put("x", "1"));
    run(&mut world, &mut t, B, put("x", "1"));
    t.commit(&mut world);
    settle(&mut world);
    let again = world.commit(t.gtid(), &[A, B]);
    assert!(matches!(
        world.answer(again),
        Some(CommitAnswer::Committed { .. })
    ));
    assert_in_order(&mut world);
}
