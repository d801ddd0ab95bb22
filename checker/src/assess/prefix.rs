//! The longest beginning of a history that is still well.

use super::{Assessment, Options, Verdict, assess};
use crate::anomaly::Reason;
use crate::observed::Observed;

/// How far a history is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// So many transactions from the beginning satisfy what was asked: they are judged valid, or nothing in them
    /// depends on anything, so that there is nothing to violate.
    pub valid: usize,
    /// So many do not. It is one more, unless some between are neither shown to satisfy it nor not to.
    pub invalid: usize,
}

/// How many transactions from the beginning satisfy what was asked. "The first n" is [`Observed::first`]: what comes
/// later counts as far as those transactions have seen it, as if nobody had been told its outcome. So each more
/// transaction adds conditions, and takes none away.
///
/// Judges the history again for each of about 2 log2(n) lengths. The history itself is taken to be invalid.
#[must_use]
pub fn longest_valid_prefix(history: &Observed, options: &Options) -> Prefix {
    let judged = |count: usize| assess(&history.first(count), options, &mut |_| {});
    let all = history.txns().len();
    let invalid = first_that(1, all, |count| judged(count).verdict() == Verdict::Invalid);
    // A beginning that is not shown to be well says nothing of longer ones; those are not looked for.
    let well = |count: usize| is_well(&judged(count));
    let valid = if invalid == 0 || well(invalid - 1) {
        invalid.saturating_sub(1)
    } else {
        first_that(1, invalid - 1, |count| !well(count)) - 1
    };
    Prefix { valid, invalid }
}

/// The least number from `low` to `high` of which something is true that is true of `high`, and of all above the least.
fn first_that(mut low: usize, mut high: usize, test: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if test(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}

/// Whether it is valid, or there is no dependency at all, and nothing that could hide one.
fn is_well(assessment: &Assessment) -> bool {
    let harmless = |reason: &Reason| {
        matches!(
            reason,
            Reason::EmptyGraph
                | Reason::NoCompleteTest(_)
                | Reason::UnorderedRegisters(_)
                | Reason::UnreadWrites(_)
        )
    };
    let reasons = &assessment.judgement.reasons;
    let is_empty = reasons.contains(&Reason::EmptyGraph) && reasons.iter().all(harmless);
    match assessment.verdict() {
        Verdict::Valid => true,
        Verdict::Invalid => false,
        Verdict::Unknown => {
            is_empty && assessment.troubles.is_empty() && assessment.fails.is_empty()
        }
    }
}
