//! The longest beginning of a history that is still well.

use super::{Options, Verdict, assess};
use crate::observed::Observed;

/// How many transactions from the beginning satisfy what was asked: with one more it fails. What comes later counts as
/// far as those transactions have seen it, as if nobody had been told its outcome.
///
/// Judges the history again for each of about log2(n) lengths.
#[must_use]
pub fn longest_valid_prefix(history: &Observed, options: &Options) -> usize {
    let fails = |count: usize| {
        let verdict = assess(&history.first(count), options, &mut |_| {}).verdict();
        verdict == Verdict::Invalid
    };
    let (mut well, mut failing) = (0, history.txns().len());
    while well + 1 < failing {
        let middle = well + (failing - well) / 2;
        if fails(middle) {
            failing = middle;
        } else {
            well = middle;
        }
    }
    well
}
