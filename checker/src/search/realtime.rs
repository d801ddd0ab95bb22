//! The real-time order, reduced: edges from which all others follow.

use super::problem::{Cause, MOST_EDGES, Problem};
use super::verdict::Doubt;
use crate::observed::{Observed, Outcome};

/// Adds E2 in real time. A transaction follows those that ended before it began; of these, only the ones that no other
/// of them follows need an edge. Transactions without real time get none, and who was never told an outcome has not
/// ended.
pub(super) fn edges(history: &Observed, problem: &mut Problem<'_>) -> Result<(), Doubt> {
    let timed = |member: u32| {
        let interval = history
            .txn(problem.facts.members[member as usize])
            .interval?;
        Some((member, interval))
    };
    let timed: Vec<_> = (0..problem.facts.count()).filter_map(timed).collect();
    let mut by_begin = timed.clone();
    by_begin.sort_by_key(|(_, interval)| interval.begin);
    let mut by_end = timed;
    let outcome = |member: u32| history.txn(problem.facts.members[member as usize]).outcome;
    by_end.retain(|&(member, interval)| {
        interval.end != u32::MAX && outcome(member) == Outcome::Committed
    });
    by_end.sort_by_key(|(_, interval)| interval.end);
    let mut ended = by_end.into_iter().peekable();
    let mut frontier: Vec<(u32, u32)> = Vec::new();
    for (member, interval) in by_begin {
        while let Some((before, past)) = ended.next_if(|(_, past)| past.end < interval.begin) {
            frontier.retain(|(_, end)| *end >= past.begin);
            frontier.push((before, past.end));
        }
        if problem.edges.len() + frontier.len() > MOST_EDGES {
            return Err(Doubt::TooLarge(MOST_EDGES));
        }
        for (before, _) in frontier.iter().filter(|(before, _)| *before != member) {
            problem.know(
                problem.commit(*before),
                problem.begin(member),
                Cause::Realtime,
            );
        }
    }
    Ok(())
}
