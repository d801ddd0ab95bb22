//! What a decision says at the edges: the cap, the bounds, more than two replicas, several initial states, JSON.

use checker::spec::confluence::lattice::{Counters, Grow};
use checker::spec::confluence::{Bounds, BoundsError, Deed, Model, ReplicaId, Verdict, decide};
use serde_json::json;

use super::{bounds, decided};

fn counter(start: i32) -> Counters<&'static str> {
    let mut counter = Counters::default();
    counter.add("x", ReplicaId::INITIAL, start);
    counter
}

/// A counter from `start` that is decremented, and must stay above 0.
fn withdrawals(start: i32) -> Model<Counters<&'static str>> {
    Model::new(counter(start))
        .update("withdraw", |x, at| x.add("x", at, -1))
        .invariant("x > 0", |x| x.value(&"x") > 0)
}

#[test]
fn a_yes_needs_every_situation_and_not_one_less() {
    let model = withdrawals(9);
    let coverage = decided(&model, 3).coverage().unwrap().clone();
    let capped = |cap: u64| {
        let cap = u32::try_from(cap).unwrap();
        decide(&model, &Bounds::new(2, 3, cap).unwrap())
    };
    assert_eq!(capped(coverage.situations).is_confluent(), Some(true));
    let unknown = capped(coverage.situations - 1);
    assert!(matches!(unknown, Verdict::Unknown { .. }), "{unknown}");
    let words = unknown.to_string();
    assert!(
        words.starts_with("unknown: the cap of 99 situations was reached"),
        "{words}"
    );
    assert_eq!(unknown.coverage().unwrap().situations, 99);
}

#[test]
fn no_cap_makes_a_no_into_a_yes() {
    let model = withdrawals(4);
    let mut verdicts = Vec::new();
    for cap in 1..60 {
        let verdict = decide(&model, &Bounds::new(2, 3, cap).unwrap());
        assert_ne!(verdict.is_confluent(), Some(true), "cap {cap}: {verdict}");
        verdicts.push(verdict.is_confluent());
    }
    assert!(verdicts.contains(&None) && verdicts.contains(&Some(false)));
}

#[test]
fn the_bound_is_part_of_the_verdict() {
    // The sixth of six withdrawals is one too many: three at each replica. Two at each do not get there. Of the 36 pairs
    // of states, 9 have one state behind the other in both numbers, which nobody is about what he did himself.
    let model = withdrawals(6);
    assert_eq!(
        decided(&model, 2).to_string(),
        "confluent on all 27 pairs of states that 2 replicas can hold after up to 2 transactions at each and any \
         exchange of states (9 states, 36 situations)"
    );
    let witness = decided(&model, 3).witness().unwrap().clone();
    assert_eq!(witness.transactions, 6);
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    assert_eq!(Bounds::new(1, 3, 9), Err(BoundsError::Replicas(1)));
    assert_eq!(Bounds::new(5, 3, 9), Err(BoundsError::Replicas(5)));
    assert_eq!(Bounds::new(2, 3, 0), Err(BoundsError::NoSituations));
    assert!(Bounds::new(4, 0, 1).is_ok());
}

/// Each replica adds its own number; the numbers 0, 1 and 2 may not come together.
fn committee() -> Model<Grow<u8>> {
    Model::new(Grow::default())
        .update("join", |state: &mut Grow<u8>, at| state.insert(at.0))
        .invariant("not all three", |state| {
            !(0..3).all(|it| state.contains(&it))
        })
}

#[test]
fn a_third_replica_finds_what_two_cannot() {
    assert_eq!(decided(&committee(), 2).is_confluent(), Some(true));
    let verdict = decide(&committee(), &bounds(3, 1));
    let witness = verdict.witness().unwrap();
    assert_eq!(witness.transactions, 3);
    assert_eq!(witness.others.len(), 1, "{witness}");
    assert_eq!(
        witness.reached_by,
        [],
        "the ancestor is the initial state: {witness}"
    );
    let received = [&witness.left, &witness.right, &witness.others[0]]
        .iter()
        .flat_map(|branch| &branch.steps)
        .filter(|step| matches!(step.deed, Deed::ReceivesFrom(_)))
        .count();
    assert_eq!(received, 1, "{witness}");
    assert_eq!(witness.merged, "{0, 1, 2}");
}

/// What replica 2 knows, the others must receive: one transaction and two exchanges. What they find out by themselves
/// takes each a transaction and no exchange.
#[test]
fn a_witness_has_the_fewest_transactions_and_not_the_fewest_steps() {
    let model = Model::new(Grow::default())
        .transaction("tell", |state: &Grow<u8>, at| {
            let mut next = state.clone();
            next.insert(2);
            (at == ReplicaId(2)).then_some(next)
        })
        .update("find out", |state, at| state.insert(20 + at.0))
        .transaction("act", |state, at| {
            let mut next = state.clone();
            next.insert(10 + at.0);
            (state.contains(&2) || state.contains(&(20 + at.0))).then_some(next)
        })
        .invariant("0 and 1 do not both act", |state| {
            !(state.contains(&10) && state.contains(&11))
        });
    let verdict = decide(&model, &bounds(3, 2));
    let witness = verdict.witness().unwrap();
    assert_eq!(witness.transactions, 3, "{witness}");
}

/// States that descend from different initial states have no common ancestor, and are not merged.
#[test]
fn initial_states_are_searches_of_their_own() {
    let start = |number| [number].into_iter().collect::<Grow<u8>>();
    let model = |model: Model<Grow<u8>>| {
        model
            .update("nothing new", |state: &mut Grow<u8>, _| state.insert(9))
            .invariant("1 and 2 are not both there", |state| {
                !(state.contains(&1) && state.contains(&2))
            })
    };
    let both = model(Model::new(start(1)).or_from(start(2)));
    let verdict = decided(&both, 2);
    assert_eq!(verdict.is_confluent(), Some(true), "{verdict}");
    assert_eq!(verdict.coverage().unwrap().states, 4);
    // The second initial state is searched as well.
    let second = Model::new(start(1)).or_from(start(2));
    let second = second
        .transaction("add own", |state: &Grow<u8>, at| {
            let mut next = state.clone();
            next.insert(10 + at.0);
            state.contains(&2).then_some(next)
        })
        .invariant("not 10 and 11", |state| {
            !(state.contains(&10) && state.contains(&11))
        });
    assert_eq!(decided(&second, 1).witness().unwrap().ancestor, "{2}");
}

#[test]
fn what_transactions_do_is_counted() {
    let model = withdrawals(2)
        .transaction("give up", |_, _| None)
        .update("look", |_, _| {});
    let verdict = decided(&model, 0);
    assert_eq!(verdict.coverage().unwrap().transactions[0].committed, 0);
    let verdict = decided(&model, 1);
    let coverage = verdict.coverage().unwrap();
    let [withdraw, give_up, look] = &coverage.transactions[..] else {
        panic!("three transactions");
    };
    assert!(withdraw.committed > 0, "{withdraw:?}");
    assert!(
        give_up.aborted_itself > 0 && give_up.committed == 0,
        "{give_up:?}"
    );
    assert!(look.unchanged > 0 && look.committed == 0, "{look:?}");
    let last_one = withdrawals(1);
    let coverage = decided(&last_one, 1).coverage().unwrap().clone();
    assert_eq!((coverage.states, coverage.pairs), (1, 0));
    assert_eq!(coverage.transactions[0].refused, 2);
}

#[test]
fn a_witness_is_text_and_json() {
    let verdict = decided(&withdrawals(2), 3);
    assert_eq!(
        verdict.to_string(),
        "not confluent
  both replicas hold x = 2
  replica 0 commits: withdraw
    and holds x = 1
  replica 1 commits: withdraw
    and holds x = 1
  merged:  x = 0
  broken:  x > 0"
    );
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["verdict"], "not-confluent");
    let step = json!({"replica": 1, "commits": "withdraw"});
    assert_eq!(
        json["witness"],
        json!({
            "transactions": 2,
            "reached_by": [],
            "ancestor": "x = 2",
            "left": {"replica": 0, "steps": [{"replica": 0, "commits": "withdraw"}], "state": "x = 1"},
            "right": {"replica": 1, "steps": [step], "state": "x = 1"},
            "others": [],
            "merged": "x = 0",
            "broken": "x > 0",
        })
    );
}
