//! Is a variant of a specification properly coordinated? (Complete CALM, section 4.1.)
//!
//! For this, futures of one more step are not enough: the history between two admitted ones may be one that the variant
//! forbids. So all pairs of admitted histories are compared.
//!
//! What a variant admits has to be a rule of its own, such as what a scheduler lets happen. By the letter of the definition a
//! specification that only ever fails by admitting nothing, such as serializability, is a proper variant of itself: the histories that
//! break it are not admitted, so they are not asked about. A variant that is made of the specification's own outcomes shows nothing.

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::smallest::{Ranked, Size, Smallest};
use super::specification::{HistoryOf, Specification};
use super::witness::Witness;

/// Whether a variant is a properly coordinated one, within a bound.
#[derive(Debug)]
pub struct Coordination<S: Specification> {
    /// What was found.
    pub verdict: Proper<S>,
    /// How many of the histories the variant admits.
    pub admitted: u64,
    /// How many pairs of an admitted history and an admitted future of it were compared.
    pub pairs: u64,
    /// Which histories were looked at.
    pub examined: Examined,
}

/// What was found.
#[derive(Debug)]
pub enum Proper<S: Specification> {
    /// It adds no outcome, and is monotone over the histories that it admits.
    Proper,
    /// It admits an outcome that the specification does not.
    New {
        /// Where.
        history: HistoryOf<S>,
        /// Which.
        outcome: S::Outcome,
    },
    /// An outcome of an admitted history is not refined in an admitted future of it.
    NotMonotone(Box<Witness<S>>),
}

impl<S: Specification> Coordination<S> {
    /// Whether the variant is properly coordinated within the bound.
    #[must_use]
    pub fn is_proper(&self) -> bool {
        matches!(self.verdict, Proper::Proper)
    }
}

/// Decides whether `variant` is a properly coordinated variant of `spec` over the universe of `spec`. The order is that of
/// `spec`.
pub fn proper<S, V>(variant: &V, spec: &S, options: &Options<'_>) -> Coordination<S>
where
    S: Specification,
    V: Specification<Op = S::Op, Value = S::Value, Outcome = S::Outcome>,
{
    let size = Size::unbounded();
    let at_once = spec.universe().at_once;
    // What is a renaming to the specification need not be one to the variant.
    let options = &Options {
        symmetry: false,
        ..*options
    };
    let (search, examined) = explore(spec, options, || Search {
        spec,
        variant,
        at_once,
        admitted: 0,
        pairs: 0,
        smallest: Smallest::nothing(&size),
    });
    Coordination {
        admitted: search.admitted,
        pairs: search.pairs,
        verdict: search
            .smallest
            .take()
            .map_or(Proper::Proper, |found| *found),
        examined,
    }
}

struct Search<'a, S: Specification, V> {
    spec: &'a S,
    variant: &'a V,
    /// Whether no history of the universe has a call without an answer.
    at_once: bool,
    admitted: u64,
    pairs: u64,
    smallest: Smallest<'a, Proper<S>>,
}

impl<S: Specification> Ranked for Proper<S> {
    type Rank<'a>
        = (usize, u8, Option<[&'a HistoryOf<S>; 2]>)
    where
        Self: 'a;

    /// New outcomes come before outcomes that are lost.
    fn rank(&self) -> Self::Rank<'_> {
        let events = self.events();
        match self {
            Self::New { history, .. } => (events, 0, Some([history, history])),
            Self::NotMonotone(witness) => (events, 1, Some([&witness.after, &witness.before])),
            Self::Proper => (events, 2, None),
        }
    }

    fn events(&self) -> usize {
        match self {
            Self::New { history, .. } => history.len(),
            Self::NotMonotone(witness) => witness.after.len(),
            Self::Proper => usize::MAX,
        }
    }
}

impl<S, V> Visitor<S> for Search<'_, S, V>
where
    S: Specification,
    V: Specification<Op = S::Op, Value = S::Value, Outcome = S::Outcome>,
{
    const FUTURES: bool = true;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        let admitted = self.variant.outcomes(history);
        if admitted.is_empty() {
            return;
        }
        self.admitted += 1;
        if let Some(new) = admitted.iter().find(|outcome| !outcomes.contains(outcome)) {
            self.smallest.keep(Proper::New {
                history: history.clone(),
                outcome: new.clone(),
            });
            return;
        }
        // From the largest down, so that what is found is as late as it can be.
        for cut in history.cuts().iter().rev() {
            let before = history.restrict(cut);
            let between = self.at_once && before.has_pending();
            if between || before.len() == history.len() {
                continue;
            }
            let earlier = self.variant.outcomes(&before);
            self.pairs += u64::from(!earlier.is_empty());
            let refined = |outcome: &S::Outcome| {
                admitted
                    .iter()
                    .any(|later| self.spec.refines(outcome, later))
            };
            if let Some(outcome) = earlier.into_iter().find(|outcome| !refined(outcome)) {
                self.smallest.keep(Proper::NotMonotone(Box::new(Witness {
                    before,
                    outcome,
                    after: history.clone(),
                    later: admitted.clone(),
                })));
                return;
            }
        }
    }

    fn future(&mut self, future: &Future<'_, S>) {
        // Where calls are answered at once, a call that cannot be answered is met as a future only.
        if self.at_once && future.step.is_call_without_answer() {
            self.history(future.history, future.outcomes);
        }
    }

    fn join(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.pairs += other.pairs;
        self.smallest.join(other.smallest);
    }

    fn limit(&self) -> usize {
        self.smallest.limit()
    }
}
