//! How much coordination does a specification need? (Our own definition; the question is Hellerstein's, "What is
//! coordination, really?")
//!
//! The essay calls an irrevocable narrowing of what is admissible a *commitment*, and says that what makes coordination expensive is that some
//! commitments cannot be made before others have landed. This module counts exactly that, over answers: to give an answer is
//! a commitment, because it can never be taken back.
//!
//! Take a history in which some calls wait for answers. What may be answered is a relation: one row for each outcome, one
//! column for each call. A *round* answers a set of calls at once. Whoever answers one knows what earlier rounds
//! answered, and nothing of the others in the same round; and it may give any answer that is admissible by itself, because that is
//! what the specification promises (demonic exposure, Complete CALM, section 3.5). So a set of calls can share a round only if every combination
//! of such answers is admissible together. The *sequential commitments* of the history are the rounds that the best schedule needs
//! against the worst answers; those of the specification, the most that any history of the universe needs.
//!
//! Why it is defined so:
//!
//! - In one round nobody waits for another's answer. A monotone specification needs one (Complete CALM, remark on joint
//!   consistency without agreement), and so does a function, whose calls have one admissible answer each: *functions
//!   don't need weddings*. The converse does not hold: a collector that declares garbage gives each answer without waiting for another answer, and
//!   has to wait for news that it does not have. What is counted is the waiting of commitments for each other, no more.
//! - In the essay's cascade T1 and T2 exclude each other, and T3 reads from T1. It needs two rounds, and the best schedule begins with T1. A
//!   schedule that begins with T3 needs three: what is counted is forced by the specification, not chosen by an
//!   implementation.
//! - Refusing everybody is no way out: as long as commit is admissible, the schedule has to stand it. Nor is asking one
//!   authority for all answers at once: then the answers are one commitment of somebody who speaks for all, and that is
//!   what the count is to be compared with.

use std::collections::{BTreeSet, HashMap};

use super::explore::{Examined, Future, Options, Visitor, explore_in};
use super::history::EventId;
use super::specification::{HistoryOf, Specification};

/// How many commitments must follow each other.
#[derive(Debug)]
pub struct Rounds<S: Specification> {
    /// The most rounds that a history needs. 1 if no answer ever has to wait for another; 0 if nobody ever asks.
    pub rounds: usize,
    /// A smallest history that needs so many, with the calls that wait in it.
    pub history: HistoryOf<S>,
    /// The calls that a best schedule answers first in it.
    pub first: Vec<EventId>,
    /// Which histories were looked at: those in which others may act between a call and its answer.
    pub examined: Examined,
}

/// Counts the sequential commitments that a specification needs within its universe.
pub fn rounds<S: Specification>(spec: &S, options: &Options<'_>) -> Rounds<S> {
    let universe = spec.universe().answers_take_time();
    let (search, examined) = explore_in(spec, &universe, options, || Search {
        spec,
        known: HashMap::new(),
        found: None,
    });
    let (rounds, history, first) = search.found.unwrap_or_else(|| {
        let nothing = HistoryOf::<S>::new(universe.processes().len());
        (0, nothing, Vec::new())
    });
    Rounds {
        rounds,
        history,
        first,
        examined,
    }
}

/// Which answers go together: one row for each way to answer all calls, one column for each call.
type Relation = BTreeSet<Vec<u8>>;

struct Search<'a, S: Specification> {
    spec: &'a S,
    known: HashMap<Relation, (usize, u8)>,
    found: Option<(usize, HistoryOf<S>, Vec<EventId>)>,
}

impl<S: Specification> Search<'_, S> {
    fn keep(&mut self, found: (usize, HistoryOf<S>, Vec<EventId>)) {
        let better = |held: &(usize, HistoryOf<S>, Vec<EventId>)| {
            let rank = |(rounds, history, _): &(usize, HistoryOf<S>, _)| {
                (usize::MAX - rounds, history.len(), history.clone())
            };
            rank(&found) < rank(held)
        };
        if self.found.as_ref().is_none_or(better) {
            self.found = Some(found);
        }
    }
}

impl<S: Specification> Visitor<S> for Search<'_, S> {
    const FUTURES: bool = false;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        let waiting: Vec<EventId> = (0..history.processes())
            .filter_map(|process| history.pending(process))
            .collect();
        if waiting.is_empty() || outcomes.is_empty() {
            return;
        }
        let mut values: Vec<Vec<S::Value>> = vec![Vec::new(); waiting.len()];
        let mut relation = Relation::new();
        for outcome in outcomes {
            let numbers = waiting.iter().zip(&mut values).map(|(call, values)| {
                let answer = self.spec.answer(outcome, history, *call)?;
                let number = values
                    .iter()
                    .position(|value| *value == answer)
                    .unwrap_or_else(|| {
                        values.push(answer);
                        values.len() - 1
                    });
                u8::try_from(number).ok()
            });
            // A specification that does not answer is not well-formed, and other questions say so.
            relation.extend(numbers.collect::<Option<Vec<u8>>>());
        }
        let (rounds, first) = least_rounds(&relation, &mut self.known);
        let in_first = |place: &usize| first >> place & 1 == 1;
        let first = (0..waiting.len())
            .filter(in_first)
            .map(|place| waiting[place])
            .collect();
        self.keep((rounds, history.clone(), first));
    }

    fn future(&mut self, _: &Future<'_, S>) {}

    fn join(&mut self, other: Self) {
        if let Some(found) = other.found {
            self.keep(found);
        }
    }
}

/// The rounds that a relation needs, and the calls of the first round of a best schedule, as bits.
fn least_rounds(relation: &Relation, known: &mut HashMap<Relation, (usize, u8)>) -> (usize, u8) {
    let columns = relation.first().map_or(0, Vec::len);
    if columns == 0 {
        return (0, 0);
    }
    if let Some(held) = known.get(relation) {
        return *held;
    }
    let project = |row: &Vec<u8>, calls: u8| -> Vec<u8> {
        let chosen = row
            .iter()
            .enumerate()
            .filter(|(place, _)| calls >> place & 1 == 1);
        chosen.map(|(_, answer)| *answer).collect()
    };
    let all = u8::MAX >> (8 - columns);
    let mut best = (usize::MAX, 0);
    // More calls first: a schedule that answers all at once is found at once.
    for calls in (1..=all).rev() {
        let mut together: HashMap<Vec<u8>, Relation> = HashMap::new();
        for row in relation {
            let rest = project(row, all & !calls);
            together
                .entry(project(row, calls))
                .or_default()
                .insert(rest);
        }
        let alone = |place: &usize| {
            relation
                .iter()
                .map(|row| row[*place])
                .collect::<BTreeSet<u8>>()
                .len()
        };
        let chosen = (0..columns).filter(|place| calls >> place & 1 == 1);
        let combinations: usize = chosen.map(|place| alone(&place)).product();
        if together.len() < combinations {
            continue;
        }
        let worst = together
            .values()
            .map(|rest| least_rounds(rest, known).0)
            .max();
        best = best.min((1 + worst.unwrap_or(0), calls));
        if best.0 == 1 {
            break;
        }
    }
    known.insert(relation.clone(), best);
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(rows: &[&[u8]]) -> (usize, u8) {
        let relation = rows.iter().map(|row| row.to_vec()).collect();
        least_rounds(&relation, &mut HashMap::new())
    }

    #[test]
    fn who_does_not_touch_each_other_answers_at_once() {
        assert_eq!(needed(&[&[0, 0], &[0, 1], &[1, 0], &[1, 1]]), (1, 0b11));
        assert_eq!(needed(&[&[3, 5, 7]]).0, 1, "a function");
    }

    #[test]
    fn who_excludes_each_other_waits() {
        assert_eq!(needed(&[&[0, 0], &[0, 1], &[1, 0]]).0, 2);
        // T2 excludes T1 and T3, which do not mind each other: they go first together, or it goes first alone.
        let path: &[&[u8]] = &[&[0, 0, 0], &[1, 0, 0], &[0, 1, 0], &[0, 0, 1], &[1, 0, 1]];
        assert_eq!(needed(path).0, 2);
        // All three exclude each other.
        assert_eq!(
            needed(&[&[0, 0, 0], &[1, 0, 0], &[0, 1, 0], &[0, 0, 1]]).0,
            3
        );
    }

    #[test]
    fn the_cascade_of_the_essay_needs_two_rounds_and_begins_with_t1() {
        // T1 and T2 exclude each other, T3 reads from T1.
        let cascade: &[&[u8]] = &[&[0, 0, 0], &[1, 0, 0], &[0, 1, 0], &[1, 0, 1]];
        assert_eq!(needed(cascade), (2, 0b001));
    }

    #[test]
    fn a_chain_of_readers_can_begin_in_the_middle() {
        // Each commits only if the one before does.
        let chain = |length: u8| -> Relation {
            (0..=length)
                .map(|committed| (0..length).map(|txn| u8::from(txn < committed)).collect())
                .collect()
        };
        let needed: Vec<usize> = (1..=7)
            .map(|length| least_rounds(&chain(length), &mut HashMap::new()).0)
            .collect();
        assert_eq!(
            needed,
            [1, 2, 2, 3, 3, 3, 3],
            "the logarithm, not the length"
        );
    }
}
