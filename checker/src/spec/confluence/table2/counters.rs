//! Thresholds of counters: `>` and `<`, with increments and decrements.

use super::super::application::ReplicaId;
use super::super::catalogue::{About, Claim, Visitor};
use super::super::lattice::Counters;
use super::super::model::Model;

pub(super) fn visit(visitor: &mut impl Visitor) {
    let modelled =
        "a counter x, from 2, as what each replica added and took away; the step is 1 or 2";
    let row = |invariant, operation, claim| About::sql(invariant, operation, claim, modelled);
    let (above, below) = (|x| x > 0, |x| x < 4);
    visitor.visit(
        &row(">", "increment [counter]", Claim::Confluent),
        &counter(1, "x > 0", above),
    );
    visitor.visit(
        &row("<", "increment [counter]", Claim::NotConfluent),
        &counter(1, "x < 4", below),
    );
    visitor.visit(
        &row(">", "decrement [counter]", Claim::NotConfluent),
        &counter(-1, "x > 0", above),
    );
    visitor.visit(
        &row("<", "decrement [counter]", Claim::Confluent),
        &counter(-1, "x < 4", below),
    );
}

/// A counter from 2 that moves in one direction.
fn counter(
    sign: i32,
    name: &'static str,
    holds: impl Fn(i64) -> bool + Send + Sync + 'static,
) -> Model<Counters<&'static str>> {
    let mut start = Counters::default();
    start.add("x", ReplicaId::INITIAL, 2);
    let step = |amount: i32| move |x: &mut Counters<&'static str>, at| x.add("x", at, amount);
    Model::new(start)
        .update(format!("x := x {:+}", sign), step(sign))
        .update(format!("x := x {:+}", 2 * sign), step(2 * sign))
        .explained(move |x| {
            let value = x.value(&"x");
            (!holds(value)).then(|| format!("{name} does not hold: x = {value}"))
        })
}
