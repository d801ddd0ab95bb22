//! Every small history, and many random ones, against the oracle that tries everything.

use checker::observed::{Interval, Observed, ObservedBuilder, Outcome, TxnIndex};
use checker::search::verify::verify;
use checker::search::{
    Budget, Certificate, Doubt, Event, Level, Precedence, Verdict, judge, verify_refutation,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{oracle, store, weak};

pub(crate) const LEVELS: [Level; 6] = [
    Level::SERIALIZABLE,
    Level::SESSION_SERIALIZABLE,
    Level::STRICT_SERIALIZABLE,
    Level::SNAPSHOT,
    Level::SESSION_SNAPSHOT,
    Level::STRONG_SNAPSHOT,
];

/// A transaction: its operations (key, nothing for a write or the number of the value read), session and interval.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<(u32, Option<u32>)>,
    pub(crate) session: u32,
    pub(crate) interval: (u32, u32),
    pub(crate) outcome: Outcome,
}

/// The history of a plan. The n-th write of all writes the value n; reads of numbers beyond the writes are of the
/// initial state.
pub(crate) fn history(plan: &[Plan]) -> Observed {
    let mut builder = ObservedBuilder::new("small");
    let keys: Vec<_> = (0..4)
        .map(|key| builder.key(&key.to_string()).unwrap())
        .collect();
    let writes = plan
        .iter()
        .flat_map(|txn| &txn.ops)
        .filter(|op| op.1.is_none())
        .count();
    let mut next = 0_u32;
    for (line, txn) in (1..).zip(plan) {
        for (key, read) in &txn.ops {
            let key = keys[*key as usize];
            match read {
                Some(number) => {
                    let value = (*number as usize) < writes;
                    let value = value.then(|| builder.value(&(number + 1).to_string()).unwrap());
                    builder.read(key, value).unwrap();
                }
                None => {
                    next += 1;
                    let value = builder.value(&next.to_string()).unwrap();
                    builder.write(key, value).unwrap();
                }
            }
        }
        let interval = Interval {
            begin: txn.interval.0,
            end: txn.interval.1,
        };
        builder
            .end(Some(txn.session), txn.outcome, Some(interval), line)
            .unwrap();
    }
    builder.finish()
}

/// Judges at a level, and holds the verdict against the oracle's; says whether it was valid.
pub(crate) fn agrees(history: &Observed, level: Level, what: &dyn std::fmt::Debug) -> bool {
    let want = oracle::explained(history, level);
    assert_judged(history, level, want, what);
    if level.precedence == Precedence::Free {
        // Nothing is gained from sessions where nobody says which they are.
        assert_judged(&store::anonymous(history), level, want, what);
    }
    want
}

fn assert_judged(history: &Observed, level: Level, want: bool, what: &dyn std::fmt::Debug) {
    for shortcuts in [true, false] {
        let budget = Budget {
            shortcuts,
            ..Budget::default()
        };
        let about = || format!("{level:?}, shortcuts {shortcuts}: {what:?}");
        match judge(history, level, &budget) {
            Verdict::Valid(certificate) => {
                assert!(want, "valid, though nothing explains {}", about());
                assert_eq!(verify(history, level, &certificate), Ok(()), "{}", about());
            }
            Verdict::Invalid(refutation) => {
                assert!(
                    !want,
                    "invalid, though it can be explained: {} {refutation:?}",
                    about()
                );
                let checked = verify_refutation(history, level, &refutation);
                assert_eq!(checked, Ok(()), "{} {refutation:?}", about());
            }
            Verdict::Unknown(Doubt::Empty) => assert!(want),
            Verdict::Unknown(doubt) => panic!("undecided: {doubt}, {}", about()),
        }
    }
}

/// All reads that make a difference, for each operation of each shape: a write, or a read of some write of the key or
/// of the initial state.
fn every(shapes: &[Vec<(u32, bool)>], sessions: &[u32], judged: &mut [usize; 2]) {
    let writers: Vec<u32> = shapes
        .iter()
        .flatten()
        .filter(|(_, write)| *write)
        .map(|(key, _)| *key)
        .collect();
    let options = |key: u32| {
        let of_key = (0_u32..)
            .zip(&writers)
            .filter(move |(_, written)| **written == key)
            .map(|(number, _)| number);
        of_key.chain([u32::MAX]).collect::<Vec<u32>>()
    };
    let reads: Vec<Vec<u32>> = shapes
        .iter()
        .flatten()
        .filter(|(_, w)| !w)
        .map(|(key, _)| options(*key))
        .collect();
    let mut choice = vec![0; reads.len()];
    loop {
        let mut picks = choice
            .iter()
            .zip(&reads)
            .map(|(pick, options)| options[*pick]);
        let plan: Vec<Plan> = shapes
            .iter()
            .zip(sessions)
            .map(|(ops, session)| Plan {
                ops: ops
                    .iter()
                    .map(|(key, write)| (*key, if *write { None } else { picks.next() }))
                    .collect(),
                session: *session,
                interval: (*session, 9),
                outcome: Outcome::Committed,
            })
            .collect();
        let made = history(&plan);
        for level in [
            Level::SERIALIZABLE,
            Level::SESSION_SERIALIZABLE,
            Level::SNAPSHOT,
            Level::SESSION_SNAPSHOT,
        ] {
            judged[usize::from(agrees(&made, level, &plan))] += 1;
        }
        for level in checker::weak::Level::ALL {
            weak::agrees(&made, level, &plan);
        }
        let Some(at) = (0..choice.len()).find(|at| choice[*at] + 1 < reads[*at].len()) else {
            break;
        };
        choice[..at].fill(0);
        choice[at] += 1;
    }
}

/// All lists of `count` operations on two keys.
fn shapes(count: u32) -> Vec<Vec<(u32, bool)>> {
    (0..4_u32.pow(count))
        .map(|code| {
            (0..count)
                .map(|at| code >> (2 * at) & 3)
                .map(|op| (op & 1, op & 2 != 0))
                .collect()
        })
        .collect()
}

#[test]
fn every_history_of_two_transactions_agrees_with_the_oracle() {
    let mut judged = [0; 2];
    for (a, b) in [(2, 2), (3, 2), (2, 3), (3, 3)] {
        for first in shapes(a) {
            for second in shapes(b) {
                for sessions in [[0, 0], [0, 1]] {
                    every(&[first.clone(), second.clone()], &sessions, &mut judged);
                }
            }
        }
    }
    eprintln!("{judged:?}");
    assert!(judged.iter().all(|count| *count > 1_000), "{judged:?}");
}

#[test]
fn every_history_of_three_transactions_agrees_with_the_oracle() {
    let mut judged = [0; 2];
    let two = shapes(2);
    for first in &two {
        for second in &two {
            for third in &two {
                for sessions in [[0, 0, 1], [0, 1, 1], [0, 1, 2]] {
                    every(
                        &[first.clone(), second.clone(), third.clone()],
                        &sessions,
                        &mut judged,
                    );
                }
            }
        }
    }
    eprintln!("{judged:?}");
    assert!(judged.iter().all(|count| *count > 1_000), "{judged:?}");
}

/// Runs transactions on a store with snapshots and faults, so that many histories are nearly right.
pub(crate) fn random(seed: u64, count: usize, keys: u32) -> Vec<Plan> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: u32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from((state >> 20) % u64::from(below)).unwrap()
    };
    let mut versions: Vec<Vec<u32>> = vec![vec![u32::MAX]; keys as usize];
    let (mut plan, mut writes) = (Vec::new(), 0);
    for at in 0..u32::try_from(count).unwrap() {
        let mut ops = Vec::new();
        let mut own: Vec<(u32, u32)> = Vec::new();
        let outcome = match draw(12) {
            0 => Outcome::Aborted,
            1 => Outcome::Unknown,
            _ => Outcome::Committed,
        };
        for _ in 0..1 + draw(3) {
            let key = draw(keys);
            if draw(2) == 0 {
                ops.push((key, None));
                own.push((key, writes));
                writes += 1;
            } else {
                let of_key = &versions[key as usize];
                let back = [0, 0, 0, 0, 0, 1, 1, 2][draw(8) as usize]
                    .min(u32::try_from(of_key.len()).unwrap() - 1);
                let seen = of_key[of_key.len() - 1 - back as usize];
                let seen = own
                    .iter()
                    .rev()
                    .find(|(k, _)| *k == key && back == 0)
                    .map_or(seen, |(_, number)| *number);
                ops.push((key, Some(seen)));
            }
        }
        for (key, number) in own {
            if outcome != Outcome::Aborted || draw(4) == 0 {
                versions[key as usize].push(number);
            }
        }
        let begin = 3 * at + draw(3);
        plan.push(Plan {
            ops,
            session: draw(3),
            interval: (begin, begin + draw(9)),
            outcome,
        });
    }
    plan
}

#[test]
fn random_histories_agree_with_the_oracle() {
    let mut judged = [0; 2];
    let config = Config {
        cases: 4_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    runner
        .run(
            &(any::<u64>(), 3_usize..7, 1_u32..4),
            |(seed, count, keys)| {
                let plan = random(seed, count, keys);
                let made = history(&plan);
                for level in LEVELS {
                    agrees(&made, level, &plan);
                }
                Ok(())
            },
        )
        .unwrap();
    for seed in 0..3_000 {
        let plan = random(seed, 5, 2);
        judged[usize::from(agrees(
            &history(&plan),
            LEVELS[usize::try_from(seed).unwrap() % 6],
            &plan,
        ))] += 1;
    }
    eprintln!("{judged:?}");
    assert!(judged.iter().all(|count| *count > 300), "{judged:?}");
}

#[test]
fn an_order_is_verified_exactly_if_running_it_explains_every_read() {
    let mut verified = [0; 2];
    for seed in 0..1_500 {
        let mut plan = random(seed, 4, 2);
        plan.iter_mut()
            .for_each(|txn| txn.outcome = Outcome::Committed);
        let made = history(&plan);
        for level in [LEVELS[0], LEVELS[1], LEVELS[2], LEVELS[5]] {
            for code in 0..24 {
                let mut order: Vec<TxnIndex> = made.indexes().collect();
                order.swap(0, code % 4);
                order.swap(1, 1 + code / 4 % 3);
                order.swap(2, 2 + code / 12);
                let want = oracle::explains(&made, level, &order);
                let got = verify(&made, level, &Certificate::Serial(order.clone()));
                assert_eq!(got.is_ok(), want, "{level:?} {order:?} {got:?} {plan:?}");
                verified[usize::from(want)] += 1;
                order.pop();
                assert!(verify(&made, level, &Certificate::Serial(order)).is_err());
            }
        }
    }
    assert!(verified.iter().all(|count| *count > 500), "{verified:?}");
}

#[test]
fn snapshots_that_overlap_or_disagree_are_not_verified() {
    let (a, b) = (TxnIndex(0), TxnIndex(1));
    let two = |first: &[(u32, Option<u32>)], second: &[(u32, Option<u32>)]| {
        let txn = |ops: &[(u32, Option<u32>)], session| Plan {
            ops: ops.to_vec(),
            session,
            interval: (session, session),
            outcome: Outcome::Committed,
        };
        history(&[txn(first, 0), txn(second, 1)])
    };
    let overlapping = vec![
        Event::Begin(a),
        Event::Begin(b),
        Event::Commit(a),
        Event::Commit(b),
    ];
    let check = |history: &Observed, events: &[Event]| {
        verify(
            history,
            Level::SNAPSHOT,
            &Certificate::Snapshots(events.to_vec()),
        )
        .is_ok()
    };
    let skew = two(&[(0, None), (1, Some(9))], &[(1, None), (0, Some(9))]);
    assert!(check(&skew, &overlapping));
    assert!(!check(
        &skew,
        &[
            Event::Begin(a),
            Event::Commit(a),
            Event::Begin(b),
            Event::Commit(b)
        ]
    ));
    assert!(!check(&skew, &overlapping[..3]));
    assert!(!check(
        &skew,
        &[
            Event::Commit(a),
            Event::Begin(a),
            Event::Begin(b),
            Event::Commit(b)
        ]
    ));
    let certificate = Certificate::Snapshots(overlapping.clone());
    assert!(verify(&skew, Level::SERIALIZABLE, &certificate).is_err());
    assert!(verify(&skew, Level::STRONG_SNAPSHOT, &certificate).is_err());
    let same_key = two(&[(0, None)], &[(0, None)]);
    assert!(!check(&same_key, &overlapping));
}

#[test]
fn a_refutation_of_one_level_refutes_no_weaker_level_that_holds() {
    let mut refused = 0;
    for seed in 0..4_000 {
        let plan = random(seed, 5, 2);
        let made = history(&plan);
        for (strong, weaker) in [(0, 3), (1, 0), (2, 1), (1, 4), (4, 3), (5, 4)] {
            let (strong, weaker) = (LEVELS[strong], LEVELS[weaker]);
            let judged = |level| judge(&made, level, &Budget::default());
            if let (Verdict::Invalid(refutation), Verdict::Valid(_)) =
                (judged(strong), judged(weaker))
            {
                assert!(
                    verify_refutation(&made, weaker, &refutation).is_err(),
                    "{plan:?} {refutation:?}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
