//! Do replicas that know the same answer the same? (Complete CALM, section 7.4.)
//!
//! Monotone and convergent are independent: under causal consistency two replicas may disagree for ever on the order of
//! concurrent writes, and nothing ever contradicts either. The paper ties convergence to joins of the outcome order; joins of outcomes
//! cannot tell causal consistency from linearizability, though, because outcomes of either that answer one read differently
//! have no join. So what is decided here is replica consistency itself.

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::history::{Cut, EventId};
use super::smallest::{Ranked, Size, Smallest};
use super::specification::{HistoryOf, Specification};

/// Two answers that differ, although both processes knew the same updates.
#[derive(Debug)]
pub struct Disagreement<S: Specification> {
    /// Where.
    pub history: HistoryOf<S>,
    /// The two invocations.
    pub invocations: [EventId; 2],
}

impl<S: Specification> Ranked for Disagreement<S> {
    type Rank<'a>
        = (usize, &'a HistoryOf<S>)
    where
        Self: 'a;

    fn rank(&self) -> Self::Rank<'_> {
        (self.events(), &self.history)
    }

    fn events(&self) -> usize {
        self.history.len()
    }
}

/// Decides whether, in histories that can come to be, operations that are equal and whose answers have the same updates in
/// their past get the same answer. Returns a smallest disagreement, if there is one.
pub fn convergent<S: Specification>(
    spec: &S,
    is_update: fn(&S::Op) -> bool,
    options: &Options<'_>,
) -> (Option<Disagreement<S>>, Examined) {
    let size = Size::unbounded();
    let (search, examined) = explore(spec, options, || Search {
        is_update,
        smallest: Smallest::nothing(&size),
    });
    (search.smallest.take().map(|found| *found), examined)
}

struct Search<'a, S: Specification> {
    is_update: fn(&S::Op) -> bool,
    smallest: Smallest<'a, Disagreement<S>>,
}

impl<S: Specification> Search<'_, S> {
    fn disagreement(&self, history: &HistoryOf<S>) -> Option<[EventId; 2]> {
        let updates: Vec<EventId> = history
            .invocations()
            .filter_map(|(id, op)| (self.is_update)(op).then_some(id))
            .collect();
        let known = |past: &Cut| {
            let knows = |id: &&EventId| past[usize::from(id.process)] > id.place;
            updates.iter().filter(knows).copied().collect::<Vec<_>>()
        };
        let reads: Vec<_> = history
            .invocations()
            .filter(|(_, op)| !(self.is_update)(op))
            .filter_map(|(id, op)| {
                Some((
                    id,
                    op,
                    history.response(id)?,
                    known(&history.past(history.response_to(id)?)),
                ))
            })
            .collect();
        reads
            .iter()
            .enumerate()
            .find_map(|(place, (one, op, answer, knew))| {
                let differs = reads[place + 1..]
                    .iter()
                    .find(|(_, other, another, known)| {
                        other == op && known == knew && another != answer
                    });
                differs.map(|(other, ..)| [*one, *other])
            })
    }
}

impl<S: Specification> Visitor<S> for Search<'_, S> {
    const FUTURES: bool = false;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        if outcomes.is_empty() {
            return;
        }
        if let Some(invocations) = self.disagreement(history) {
            self.smallest.keep(Disagreement {
                history: history.clone(),
                invocations,
            });
        }
    }

    fn future(&mut self, _: &Future<'_, S>) {}

    fn join(&mut self, other: Self) {
        self.smallest.join(other.smallest);
    }

    fn limit(&self) -> usize {
        self.smallest.limit()
    }
}
