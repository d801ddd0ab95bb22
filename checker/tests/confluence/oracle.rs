//! An oracle that tries everything with plain states: no numbers for them, nothing remembered but what was visited, no
//! early end. The decider must agree with it on random applications, to the number of pairs.

use std::collections::BTreeSet;

use checker::spec::confluence::lattice::Grow;
use checker::spec::confluence::{
    Application, Model, Outcome, ReplicaId, Semilattice, Verdict, commit,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{bounds, decide};

/// What the oracle found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tried<S: Ord> {
    /// The fewest transactions, in all, of two states with an invalid merge.
    pub(super) fewest: Option<usize>,
    pub(super) states: BTreeSet<S>,
    pub(super) pairs: BTreeSet<(S, S)>,
    pub(super) situations: usize,
}

/// A state and a count of transactions, for each replica.
type Situation<S> = Vec<(S, usize)>;

/// Visits every situation with up to `each` transactions at a replica and up to `all` in all.
pub(super) fn try_all<A: Application>(
    application: &A,
    replicas: u8,
    each: usize,
    all: usize,
) -> Tried<A::State> {
    let mut tried = Tried {
        fewest: None,
        states: BTreeSet::new(),
        pairs: BTreeSet::new(),
        situations: 0,
    };
    let mut seen: BTreeSet<Situation<A::State>> = BTreeSet::new();
    let mut open: Vec<Situation<A::State>> = Vec::new();
    for state in application.initial_states() {
        open.push(vec![(state, 0); usize::from(replicas)]);
    }
    while let Some(situation) = open.pop() {
        if !seen.insert(situation.clone()) {
            continue;
        }
        tried.situations += 1;
        let total: usize = situation.iter().map(|(_, count)| count).sum();
        for (place, (state, count)) in situation.iter().enumerate() {
            tried.states.insert(state.clone());
            for (other, _) in situation.iter().filter(|(other, _)| other != state) {
                let merged = state.merge(other);
                if application.broken(&merged).is_some() {
                    tried.fewest = Some(tried.fewest.map_or(total, |it| it.min(total)));
                    continue;
                }
                let pair = (state.min(other).clone(), state.max(other).clone());
                tried.pairs.insert(pair);
                let mut next = situation.clone();
                next[place].0 = merged;
                open.push(next);
            }
            if *count == each || total == all {
                continue;
            }
            let at = ReplicaId(u8::try_from(place).unwrap());
            for transaction in 0..application.transactions().len() {
                let outcome = commit(application, transaction, state, at);
                if let Outcome::Committed(after) = outcome
                    && after != *state
                {
                    let mut next = situation.clone();
                    next[place] = (after, count + 1);
                    open.push(next);
                }
            }
        }
    }
    tried
}

/// A transaction on sets of small numbers: if all of `needs` and none of `excludes` are there, `adds` comes, in
/// the replica's own numbers or in everybody's.
#[derive(Debug, Clone)]
struct Rule {
    needs: Vec<u8>,
    excludes: Vec<u8>,
    adds: u8,
    is_own: bool,
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let some = || vec(0..6_u8, 0..2);
    let rule =
        (some(), some(), 0..6_u8, any::<bool>()).prop_map(|(needs, excludes, adds, is_own)| Rule {
            needs,
            excludes,
            adds,
            is_own,
        });
    vec(rule, 1..5)
}

/// A model whose invariant forbids some numbers to be there together.
fn model(rules: &[Rule], forbidden: &[Vec<u8>]) -> Model<Grow<u8>> {
    let mut model = Model::new(Grow::default());
    for (number, rule) in rules.iter().cloned().enumerate() {
        model = model.transaction(format!("rule {number}"), move |state: &Grow<u8>, at| {
            let is_ready = rule.needs.iter().all(|it| state.contains(it))
                && !rule.excludes.iter().any(|it| state.contains(it));
            let mut next = state.clone();
            next.insert(rule.adds + if rule.is_own { 6 + 6 * at.0 } else { 0 });
            is_ready.then_some(next)
        });
    }
    let forbidden = forbidden.to_vec();
    model.invariant("none of the forbidden sets is there", move |state| {
        !forbidden
            .iter()
            .any(|set| set.iter().all(|it| state.contains(it)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_decider_agrees_with_trying_everything(
        rules in rules(),
        forbidden in vec(vec(0..18_u8, 1..4), 0..6),
        replicas in 2..=3_u8,
        each in 1..=2_u8,
    ) {
        let model = model(&rules, &forbidden);
        let tried = try_all(&model, replicas, each.into(), usize::MAX);
        match decide(&model, &bounds(replicas, each)) {
            Verdict::Confluent { coverage } => {
                prop_assert_eq!(tried.fewest, None);
                prop_assert_eq!(coverage.states, tried.states.len() as u64);
                prop_assert_eq!(coverage.pairs, tried.pairs.len() as u64);
                prop_assert_eq!(coverage.situations, tried.situations as u64);
            }
            Verdict::NotConfluent { witness, .. } => {
                prop_assert_eq!(tried.fewest, Some(witness.transactions));
            }
            other @ (Verdict::Unknown { .. } | Verdict::Breach { .. }) => {
                prop_assert!(false, "{}", other);
            }
        }
    }
}

#[test]
fn random_applications_have_both_verdicts() {
    let forbids = |set: &[u8]| model(&[rule(0), rule(1)], &[set.to_vec()]);
    assert_eq!(
        super::decided(&forbids(&[0, 1]), 1).is_confluent(),
        Some(false)
    );
    assert_eq!(super::decided(&forbids(&[0]), 1).is_confluent(), Some(true));
}

const fn rule(adds: u8) -> Rule {
    Rule {
        needs: Vec::new(),
        excludes: Vec::new(),
        adds,
        is_own: false,
    }
}
