//! Why a specification is not monotone: two histories and an outcome (Complete CALM, section 3.4).

use super::history::History;
use super::smallest::Ranked;
use super::specification::{HistoryOf, Specification};

/// An outcome that a future does not refine.
#[derive(Debug, Clone)]
pub struct Witness<S: Specification> {
    /// The history that admits the outcome.
    pub before: HistoryOf<S>,
    /// The outcome.
    pub outcome: S::Outcome,
    /// A future of that history in which nothing refines the outcome.
    pub after: HistoryOf<S>,
    /// What the future admits. Nothing, if it cannot come to be.
    pub later: Vec<S::Outcome>,
}

impl<S: Specification> Witness<S> {
    /// Whether this is a witness, from the definition alone: the outcome is admitted before, the second history is a future
    /// of the first, and nothing that it admits refines the outcome.
    #[must_use]
    pub fn is_sound(&self, spec: &S) -> bool {
        let later = spec.outcomes(&self.after);
        self.after.is_future_of(&self.before)
            && spec.outcomes(&self.before).contains(&self.outcome)
            && !later.iter().any(|later| spec.refines(&self.outcome, later))
            && later == self.later
    }
}

impl<S: Specification> Ranked for Witness<S> {
    type Rank<'a>
        = (usize, usize, &'a HistoryOf<S>, &'a HistoryOf<S>)
    where
        Self: 'a;

    fn rank(&self) -> Self::Rank<'_> {
        let messages = |history: &HistoryOf<S>| {
            let send = |id| matches!(history.get(id), Some(super::history::Event::Send { .. }));
            history.events().filter(|(id, _)| send(*id)).count()
        };
        (
            self.after.len(),
            messages(&self.after),
            &self.after,
            &self.before,
        )
    }

    fn events(&self) -> usize {
        self.after.len()
    }
}

impl<Op: super::history::Label, Value: super::history::Label> History<Op, Value> {
    /// Its events in an order that agrees with happens-before, those of `first` before all others.
    ///
    /// # Panics
    ///
    /// Never: happens-before has no cycle.
    #[must_use]
    pub fn told_after(&self, first: &Self) -> Vec<super::history::EventId> {
        let old = |id: super::history::EventId| {
            first.process(usize::from(id.process)).len() > usize::from(id.place)
        };
        let mut rest: Vec<_> = self.events().map(|(id, _)| id).collect();
        let mut told = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let ready =
                |id: &super::history::EventId| !rest.iter().any(|other| self.precedes(*other, *id));
            let next = rest
                .iter()
                .copied()
                .filter(ready)
                .min_by_key(|id| (!old(*id), *id))
                .expect("happens-before has no cycle");
            rest.retain(|id| *id != next);
            told.push(next);
        }
        told
    }
}
