//! Is a specification well-formed for the I/O model? (Complete CALM, section 3.5.)
//!
//! Three conditions on outcomes and answers, which are looked at in every history and every future of one more step, and the three laws
//! of a partial order. Reflexivity is looked at for every outcome, antisymmetry wherever two are compared; transitivity
//! among the outcomes of each history, and both among all outcomes of the smallest histories of the universe. A
//! specification that is seen to break one of them gets no verdict.

use std::collections::BTreeMap;

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::specification::{HistoryOf, Specification};

/// What is broken, and where.
#[derive(Debug, Clone)]
pub struct Breach<S: Specification> {
    /// Which condition.
    pub condition: Condition,
    /// At which history.
    pub history: HistoryOf<S>,
    /// In words, with the outcomes.
    pub words: String,
}

/// What a specification has to keep to get a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every outcome answers every invocation.
    ResponseTotality,
    /// Outcomes agree with the answers that were given.
    ConsistencyWithObservations,
    /// An outcome and what refines it give the same answers.
    RefinementCoherence,
    /// Every outcome refines itself.
    Reflexivity,
    /// No two outcomes refine each other.
    Antisymmetry,
    /// What refines what refines an outcome, refines it.
    Transitivity,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ResponseTotality => "response totality: every outcome answers every invocation",
            Self::ConsistencyWithObservations => {
                "consistency with observations: outcomes agree with the answers that were given"
            }
            Self::RefinementCoherence => {
                "refinement coherence: an outcome and what refines it give the same answers"
            }
            Self::Reflexivity => "reflexivity: every outcome refines itself",
            Self::Antisymmetry => "antisymmetry: no two outcomes refine each other",
            Self::Transitivity => "transitivity: what refines what refines an outcome, refines it",
        })
    }
}

/// Looks at every history of the universe, and at every future of one more step, for a breach; returns a smallest one.
pub fn well_formed<S: Specification>(
    spec: &S,
    options: &Options<'_>,
) -> (Option<Box<Breach<S>>>, Examined) {
    let (contract, examined) = explore(spec, options, || Contract::new(spec));
    (contract.finish(), examined)
}

impl<S: Specification> Visitor<S> for Contract<'_, S> {
    const FUTURES: bool = true;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        self.of_history(history, outcomes);
    }

    fn future(&mut self, future: &Future<'_, S>) {
        self.of_future(future);
    }

    fn join(&mut self, other: Self) {
        if let Some(found) = other.breach {
            self.keep(*found);
        }
        self.smallest.extend(other.smallest);
        while self.smallest.len() > SMALLEST {
            self.smallest.pop_last();
        }
    }

    fn limit(&self) -> usize {
        self.breach_size()
    }
}

/// Looks for breaches; keeps the first in the order of size, so that it does not depend on threads.
pub(crate) struct Contract<'a, S: Specification> {
    spec: &'a S,
    breach: Option<Box<Breach<S>>>,
    /// Some outcomes of the smallest histories, among all of which the order has to be one.
    smallest: Remembered<S>,
}

/// Histories by size, with some of their outcomes.
type Remembered<S> = BTreeMap<(usize, HistoryOf<S>), Vec<<S as Specification>::Outcome>>;

/// How many histories are the smallest ones.
const SMALLEST: usize = 24;
/// How many outcomes of each of them are compared.
const OUTCOMES_OF_EACH: usize = 3;

/// Of how many outcomes of one history all triples are compared.
const TRIPLES: usize = 12;

impl<'a, S: Specification> Contract<'a, S> {
    pub(crate) fn new(spec: &'a S) -> Self {
        Self {
            spec,
            breach: None,
            smallest: BTreeMap::new(),
        }
    }

    /// How many events the smallest history has that shows a breach.
    pub(crate) fn breach_size(&self) -> usize {
        let events = |breach: &Breach<S>| breach.history.len();
        self.breach.as_deref().map_or(usize::MAX, events)
    }

    pub(crate) fn of_history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        self.answers(history, outcomes);
        self.remember(history, outcomes);
        for outcome in outcomes {
            if !self.spec.refines(outcome, outcome) {
                self.found(Condition::Reflexivity, history, format!("{outcome:?}"));
            }
        }
        self.order(history, outcomes);
    }

    fn remember(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        let full = self.smallest.len() >= SMALLEST;
        let last = self
            .smallest
            .last_key_value()
            .map(|((size, last), _)| (*size, last));
        if full && last.is_some_and(|last| last <= (history.len(), history)) {
            return;
        }
        let some = outcomes.iter().take(OUTCOMES_OF_EACH).cloned().collect();
        self.smallest.insert((history.len(), history.clone()), some);
        if full {
            self.smallest.pop_last();
        }
    }

    /// Compares the outcomes of the smallest histories with each other; returns a smallest breach of all.
    pub(crate) fn finish(mut self) -> Option<Box<Breach<S>>> {
        let mut all: Vec<(&HistoryOf<S>, &S::Outcome)> = Vec::new();
        for ((_, history), outcomes) in &self.smallest {
            for outcome in outcomes {
                if !all.iter().any(|(_, held)| *held == outcome) {
                    all.push((history, outcome));
                }
            }
        }
        let refines: Vec<Vec<bool>> = all
            .iter()
            .map(|(_, one)| {
                all.iter()
                    .map(|(_, other)| self.spec.refines(one, other))
                    .collect()
            })
            .collect();
        let mut broken = Vec::new();
        for one in 0..all.len() {
            for other in (0..all.len()).filter(|other| *other != one && refines[one][*other]) {
                if refines[other][one] {
                    broken.push((Condition::Antisymmetry, vec![one, other]));
                }
                let beyond =
                    (0..all.len()).find(|third| refines[other][*third] && !refines[one][*third]);
                broken
                    .extend(beyond.map(|third| (Condition::Transitivity, vec![one, other, third])));
            }
        }
        let found = broken.into_iter().map(|(condition, outcomes)| {
            let history = outcomes
                .iter()
                .map(|place| all[*place].0)
                .max_by_key(|history| history.len());
            let words: Vec<String> = outcomes
                .iter()
                .map(|place| format!("{:?}", all[*place].1))
                .collect();
            let history = history.cloned().expect("two outcomes or three");
            Breach {
                condition,
                history,
                words: words.join(", "),
            }
        });
        for breach in found.collect::<Vec<_>>() {
            self.keep(breach);
        }
        self.breach
    }

    fn answers(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        for outcome in outcomes {
            for (invocation, op) in history.invocations() {
                let given = history.response(invocation);
                let answer = self.spec.answer(outcome, history, invocation);
                let condition = match (&answer, given) {
                    (None, _) => Condition::ResponseTotality,
                    (Some(answer), Some(given)) if answer != given => {
                        Condition::ConsistencyWithObservations
                    }
                    (Some(_), _) => continue,
                };
                let words = format!(
                    "{op:?} was answered with {given:?}, and the outcome {outcome:?} answers {answer:?}"
                );
                self.found(condition, history, words);
            }
        }
    }

    fn order(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        let some = &outcomes[..outcomes.len().min(TRIPLES)];
        let refines = |one, other| self.spec.refines(one, other);
        let mut breach = None;
        for one in some {
            for other in some.iter().filter(|other| refines(one, other)) {
                if one != other && refines(other, one) {
                    breach = Some((Condition::Antisymmetry, format!("{one:?} and {other:?}")));
                }
                for third in some.iter().filter(|third| refines(other, third)) {
                    if !refines(one, third) {
                        let words = format!("{one:?}, {other:?} and {third:?}");
                        breach = Some((Condition::Transitivity, words));
                    }
                }
            }
        }
        if let Some((condition, words)) = breach {
            self.found(condition, history, words);
        }
    }

    pub(crate) fn of_future(&mut self, future: &Future<'_, S>) {
        if future.step.is_call_without_answer() {
            // Where calls are answered at once, this history is met as a future only.
            self.answers(future.history, future.outcomes);
        }
        for outcome in future.before {
            for later in future
                .outcomes
                .iter()
                .filter(|later| self.spec.refines(outcome, later))
            {
                if outcome != later && self.spec.refines(later, outcome) {
                    let words = format!("{outcome:?} and {later:?}");
                    self.found(Condition::Antisymmetry, future.history, words);
                }
                for (invocation, op) in future.earlier.invocations() {
                    let before = self.spec.answer(outcome, future.earlier, invocation);
                    let after = self.spec.answer(later, future.history, invocation);
                    if before != after {
                        let words = format!(
                            "{outcome:?} answers {op:?} with {before:?}, and {later:?} refines it and answers {after:?}"
                        );
                        self.found(Condition::RefinementCoherence, future.history, words);
                    }
                }
            }
        }
    }

    fn found(&mut self, condition: Condition, history: &HistoryOf<S>, words: String) {
        self.keep(Breach {
            condition,
            history: history.clone(),
            words,
        });
    }

    fn keep(&mut self, found: Breach<S>) {
        let rank = |breach: &Breach<S>| {
            (
                breach.history.len(),
                breach.history.clone(),
                breach.condition,
                breach.words.clone(),
            )
        };
        if self
            .breach
            .as_deref()
            .is_none_or(|held| rank(&found) < rank(held))
        {
            self.breach = Some(Box::new(found));
        }
    }
}
