//! The laws of a merge, tried on given states.

use std::fmt::Display;

use super::application::Semilattice;
use super::verdict::{Breach, Law};

/// `a ⊔ a = a`.
pub(super) fn idempotent<S: Semilattice>(state: &S) -> Result<(), Breach> {
    same(Law::Idempotent, &[state], &state.merge(state), state)
}

/// That a merge is commutative and contains both its operands; gives the merge.
pub(super) fn join<S: Semilattice>(left: &S, right: &S) -> Result<S, Breach> {
    let merged = left.merge(right);
    same(
        Law::Commutative,
        &[left, right],
        &merged,
        &right.merge(left),
    )?;
    for operand in [left, right] {
        let again = operand.merge(&merged);
        same(Law::Absorbing, &[operand, &merged], &again, &merged)?;
    }
    Ok(merged)
}

/// `(a ⊔ b) ⊔ c = a ⊔ (b ⊔ c)`, and the same for the two other ways to begin.
pub(super) fn associative<S: Semilattice>(first: &S, second: &S, third: &S) -> Result<(), Breach> {
    let operands = [first, second, third];
    let left = first.merge(second).merge(third);
    let right = first.merge(&second.merge(third));
    same(Law::Associative, &operands, &left, &right)?;
    let outer = second.merge(&first.merge(third));
    same(Law::Associative, &operands, &left, &outer)
}

/// `a ⊔ t(a) = t(a)`.
pub(super) fn growing<S: Semilattice>(before: &S, after: &S) -> Result<(), Breach> {
    same(Law::Growing, &[before], &before.merge(after), after)
}

fn same<S: Eq + Display>(law: Law, operands: &[&S], one: &S, other: &S) -> Result<(), Breach> {
    if one == other {
        return Ok(());
    }
    Err(Breach {
        law,
        operands: operands.iter().map(ToString::to_string).collect(),
        results: vec![one.to_string(), other.to_string()],
    })
}
