//! Applications that are none: a merge that is no join, a transaction that takes away, a start that is not valid.

use std::fmt;

use checker::spec::confluence::lattice::{Both, Counters, Grow, Rows};
use checker::spec::confluence::{Law, Model, ReplicaId, Semilattice, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;

use super::decided;

const MAXIMUM: u8 = 0;
const SUM: u8 = 1;
const FIRST: u8 = 2;
const ROUND: u8 = 3;
const DIFFERENCE: u8 = 4;

/// A number with one of several merges, of which only the maximum is a join.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Number<const MERGE: u8>(u8);

impl<const MERGE: u8> fmt::Display for Number<MERGE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<const MERGE: u8> Semilattice for Number<MERGE> {
    fn merge(&self, other: &Self) -> Self {
        let (one, two) = (self.0, other.0);
        Self(match MERGE {
            SUM => one.saturating_add(two),
            // The first wins, but over nothing.
            FIRST => {
                if one == 0 {
                    two
                } else {
                    one
                }
            }
            // 1 loses to 2, 2 to 3, 3 to 1; all win over nothing.
            ROUND => match (one.min(two), one.max(two)) {
                (1, 3) => 1,
                (_, greater) => greater,
            },
            // Idempotent and commutative, but what differs is forgotten.
            DIFFERENCE => {
                if one == two {
                    one
                } else {
                    one ^ two
                }
            }
            _ => one.max(two),
        })
    }
}

fn choices<const MERGE: u8>(start: u8) -> Verdict {
    let mut model = Model::new(Number::<MERGE>(start));
    for choice in 1..4 {
        model = model.transaction(format!("choose {choice}"), move |state, _| {
            (*state == Number(0)).then_some(Number(choice))
        });
    }
    decided(&model, 2)
}

fn law(verdict: Verdict) -> Option<Law> {
    match verdict {
        Verdict::Breach { breach } => Some(breach.law),
        Verdict::Confluent { .. } | Verdict::NotConfluent { .. } | Verdict::Unknown { .. } => None,
    }
}

#[test]
fn a_maximum_is_a_merge() {
    assert_eq!(law(choices::<MAXIMUM>(0)), None);
}

#[test]
fn a_merge_must_be_idempotent() {
    assert_eq!(law(choices::<SUM>(0)), Some(Law::Idempotent));
}

#[test]
fn a_merge_must_be_commutative() {
    assert_eq!(law(choices::<FIRST>(0)), Some(Law::Commutative));
}

#[test]
fn a_merge_must_be_associative() {
    assert_eq!(law(choices::<ROUND>(0)), Some(Law::Associative));
}

#[test]
fn a_merge_must_contain_what_it_merged() {
    assert_eq!(law(choices::<DIFFERENCE>(0)), Some(Law::Absorbing));
}

#[test]
fn a_breach_is_told_with_its_states() {
    let words = choices::<FIRST>(0).to_string();
    assert_eq!(
        words,
        "no verdict: the merge is not commutative\n  on: 1\n  on: 2\n  gives: 1\n  gives: 2"
    );
    let json = serde_json::to_value(choices::<FIRST>(0)).unwrap();
    assert_eq!(json["verdict"], "breach");
    assert_eq!(json["breach"]["law"], "commutative");
}

#[test]
fn a_transaction_may_not_take_away() {
    let shrinking = Model::new(Number::<MAXIMUM>(5)).update("reset", |state, _| *state = Number(0));
    assert_eq!(law(decided(&shrinking, 2)), Some(Law::Growing));
}

#[test]
fn the_initial_state_must_be_there_and_valid() {
    let invalid = Model::new(Number::<MAXIMUM>(5)).invariant("below 3", |state| state.0 < 3);
    assert_eq!(law(decided(&invalid, 2)), Some(Law::InitialValid));
    let second = Model::new(Number::<MAXIMUM>(1)).or_from(Number(5));
    let second = second.invariant("below 3", |state| state.0 < 3);
    assert_eq!(law(decided(&second, 2)), Some(Law::InitialValid));
}

fn laws<S: Semilattice>(one: &S, two: &S, three: &S) {
    assert_eq!(one.merge(one), *one);
    assert_eq!(one.merge(two), two.merge(one));
    assert_eq!(one.merge(two).merge(three), one.merge(&two.merge(three)));
    assert!(one.is_below(&one.merge(two)));
    assert_eq!(one.is_below(two), one.merge(two) == *two);
}

/// Deeds at three replicas, one after the other at each: a state for each replica, and what all did in all.
fn replicated<S: Semilattice + Default>(
    deeds: &[(u8, u8, i32)],
    run: impl Fn(&mut S, ReplicaId, u8, i32),
) -> ([S; 3], S) {
    let mut states: [S; 3] = Default::default();
    let mut everything = S::default();
    for (at, name, amount) in deeds {
        run(
            &mut states[usize::from(*at)],
            ReplicaId(*at),
            *name,
            *amount,
        );
        run(&mut everything, ReplicaId(*at), *name, *amount);
    }
    (states, everything)
}

proptest! {
    #[test]
    fn the_lattices_are_lattices_and_lose_nothing(
        deeds in vec((0..3_u8, 0..4_u8, -3..4_i32), 0..12),
    ) {
        let (states, all) = replicated(&deeds, |state: &mut Counters<u8>, at, name, amount| {
            state.add(name, at, amount);
        });
        let [one, two, three] = states;
        laws(&one, &two, &three);
        let merged = one.merge(&two).merge(&three);
        for name in 0..4 {
            let sum: i32 = deeds.iter().filter(|it| it.1 == name).map(|it| it.2).sum();
            prop_assert_eq!(merged.value(&name), i64::from(sum));
        }
        prop_assert_eq!(merged, all);

        type Tables = Both<Rows<u8>, Grow<i32>>;
        let (states, all) = replicated(&deeds, |state: &mut Tables, _, name, amount| {
            if amount < 0 {
                state.0.delete(name);
            } else {
                state.0.insert(name);
            }
            state.1.insert(amount);
        });
        let [one, two, three] = states;
        laws(&one, &two, &three);
        let merged = one.merge(&two).merge(&three);
        let live: Vec<u8> = merged.0.live().copied().collect();
        let is_live = |name: &u8| {
            let of = || deeds.iter().filter(|it| it.1 == *name);
            of().any(|it| it.2 >= 0) && of().all(|it| it.2 >= 0)
        };
        prop_assert_eq!(live, (0..4).filter(is_live).collect::<Vec<u8>>());
        prop_assert_eq!(merged, all);
    }
}
