//! No sequence of calls panics or leaves anything behind, in whatever order and state they come.

use co_core::{
    AbortReason, Footprint, Gtid, Kind, Misuse, Outcome, Priority, Queries, Reading, Scheduler,
    Stamp, State, VersionOrder, VoteRule, WriteKind,
};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Call {
    Snapshot,
    Read(u8),
    Scan(u8, Option<u8>),
    Intend(u8, WriteKind),
    Ready,
    Request,
    Doom,
    Install,
    Decide(Outcome),
    Retire,
    Reinstate(u8),
    Vote,
    Settle,
    Query(u64, u8),
    Forget(u64),
}

fn call() -> impl Strategy<Value = Call> {
    let key = 0..4_u8;
    let kind = prop_oneof![Just(WriteKind::Put), Just(WriteKind::Increment)];
    let outcome = prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)];
    prop_oneof![
        1 => Just(Call::Snapshot),
        4 => key.clone().prop_map(Call::Read),
        2 => (key.clone(), proptest::option::of(key.clone())).prop_map(|(a, b)| Call::Scan(a, b)),
        4 => (key.clone(), kind).prop_map(|(key, kind)| Call::Intend(key, kind)),
        1 => Just(Call::Ready),
        4 => Just(Call::Request),
        1 => Just(Call::Doom),
        2 => Just(Call::Install),
        3 => outcome.prop_map(Call::Decide),
        3 => Just(Call::Retire),
        1 => key.clone().prop_map(Call::Reinstate),
        1 => Just(Call::Vote),
        1 => Just(Call::Settle),
        1 => (0..9_u64, key).prop_map(|(stamp, key)| Call::Query(stamp, key)),
        1 => (0..9_u64).prop_map(Call::Forget),
    ]
}

fn rule() -> impl Strategy<Value = VoteRule> {
    prop_oneof![
        3 => Just(VoteRule::Withhold),
        1 => Just(VoteRule::LocalOnly),
        1 => Just(VoteRule::LocalSnapshot),
        1 => Just(VoteRule::DangerIgnoreReads),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_calls_panics(
        rule in rule(),
        limit in 0..3_usize,
        calls in prop::collection::vec((0..5_usize, call()), 1..60),
    ) {
        let scheduler = Scheduler::new(rule);
        let versions = VersionOrder::with_late_readers(scheduler.clone(), limit);
        let queries = Queries::new();
        let mut txns: Vec<_> = (1..=3)
            .map(|age| scheduler.begin(Kind::Global { gtid: Gtid(age), priority: Priority(age) }))
            .collect();
        txns.push(scheduler.recover(Gtid(4), Priority(4)));
        txns.push(scheduler.begin(Kind::Query { stamp: Stamp(3) }));
        for (index, call) in calls {
            let txn = &txns[index];
            match call {
                Call::Snapshot => drop(versions.snapshot(txn)),
                Call::Read(key) => drop(versions.read(txn, &key)),
                Call::Scan(low, high) => drop(versions.scan(txn, &low, high.as_ref())),
                Call::Intend(key, kind) => drop(versions.intend(txn, &key, kind)),
                Call::Ready => drop(scheduler.ready(txn)),
                Call::Request => drop(scheduler.request_vote(txn)),
                Call::Doom => { scheduler.doom(txn, AbortReason::Requested); }
                Call::Install => drop(versions.install(txn, |_| ())),
                Call::Decide(outcome) => drop(scheduler.decided(txn, outcome)),
                Call::Retire => versions.retire(txn),
                Call::Reinstate(key) => versions.reinstate(txn, Footprint {
                    reads: vec![key, key],
                    ranges: vec![(key, Some(key + 1)), (key, None)],
                    writes: vec![(key, WriteKind::Increment), (key, WriteKind::Put)],
                }),
                Call::Vote => drop(queries.vote(txn)),
                Call::Settle => queries.settle(txn),
                Call::Query(stamp, key) => {
                    if let Ok(query) = queries.begin(&scheduler, Stamp(stamp)) {
                        let _settled = query.settled(&versions, &key, None).is_settled();
                    }
                }
                Call::Forget(stamp) => { queries.forget_before(Stamp(stamp)); }
            }
        }
        for txn in &txns {
            if txn.state().is_undecided() {
                scheduler.decided(txn, Outcome::Abort).unwrap();
            }
            versions.retire(txn);
            queries.settle(txn);
        }
        prop_assert_eq!(scheduler.undecided(), 0, "I7");
        prop_assert!(versions.is_empty(), "I7");
        prop_assert!(queries.is_empty(), "I7");
    }
}

#[test]
fn what_has_ended_leaves_no_mark() {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let versions = VersionOrder::new(scheduler.clone());
    let txn = scheduler.begin(Kind::Local {
        priority: Priority(1),
    });
    assert!(matches!(versions.read(&txn, &1), Ok(Reading::Now(_))));
    versions.retire(&txn);
    assert_eq!(versions.held(), 1, "it is undecided");
    scheduler.decided(&txn, Outcome::Abort).unwrap();
    versions.retire(&txn);
    for answer in [
        versions.read(&txn, &1).err(),
        versions.scan(&txn, &1, None).err(),
        versions.intend(&txn, &1, WriteKind::Put).err(),
        versions.snapshot(&txn).err(),
    ] {
        assert_eq!(answer, Some(AbortReason::Requested));
    }
    versions.reinstate(
        &txn,
        Footprint {
            reads: vec![1],
            ..Footprint::default()
        },
    );
    assert!(versions.is_empty());
}

#[test]
fn only_a_voted_transaction_installs() {
    let scheduler = Scheduler::new(VoteRule::Withhold);
    let versions = VersionOrder::new(scheduler.clone());
    let txn = scheduler.begin(Kind::Local {
        priority: Priority(1),
    });
    assert_eq!(versions.intend(&txn, &1, WriteKind::Put), Ok(()));
    let refused = versions.install(&txn, |_| panic!("nothing is stored"));
    let Err(Misuse::WrongState { state, attempted }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((state, attempted), (State::Active, "install its versions"));
    assert!(scheduler.doom(&txn, AbortReason::Requested));
    assert_eq!(
        versions.intend(&txn, &2, WriteKind::Put),
        Err(AbortReason::Requested)
    );
    scheduler.decided(&txn, Outcome::Abort).unwrap();
    versions.retire(&txn);
    assert!(versions.is_empty());
}
