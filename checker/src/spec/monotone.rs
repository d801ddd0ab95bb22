//! Is a specification monotone? (Complete CALM, section 3.4.)
//!
//! It is enough to look at futures of one more step: refinement is transitive, and every future in the universe is reached
//! by steps that stay in it. Well-formedness (section 3.5) is looked at in the same walk and comes first: a
//! specification that breaks it gets no verdict, unless it takes more events to show that than a witness has.

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::history::EventId;
use super::smallest::{Size, Smallest};
use super::specification::{HistoryOf, Specification};
use super::well_formed::{Breach, Contract, well_formed};
use super::witness::Witness;

/// An answer to a question about a specification, within a bound.
#[derive(Debug)]
pub struct Decision<S: Specification> {
    /// What was found.
    pub verdict: Verdict<S>,
    /// Which histories were looked at.
    pub examined: Examined,
}

/// What was found.
#[derive(Debug)]
pub enum Verdict<S: Specification> {
    /// It holds for every history within the bound.
    Holds,
    /// It does not hold; here is a smallest reason.
    Fails(Box<Witness<S>>),
    /// The specification breaks the contract with clients, or its order is none.
    IllFormed(Box<Breach<S>>),
}

impl<S: Specification> Verdict<S> {
    /// A breach outweighs a witness, wherever it is: where the walk was cut short at a witness, the whole universe is
    /// looked at for one.
    pub(crate) fn of(
        spec: &S,
        options: &Options<'_>,
        contract: Contract<'_, S>,
        witness: Option<Box<Witness<S>>>,
    ) -> Self {
        let breach = match (contract.finish(), &witness) {
            (None, Some(_)) => well_formed(spec, options).0,
            (breach, _) => breach,
        };
        match (breach, witness) {
            (Some(breach), _) => Self::IllFormed(breach),
            (None, Some(witness)) => Self::Fails(witness),
            (None, None) => Self::Holds,
        }
    }
}

impl<S: Specification> Decision<S> {
    /// Whether it holds within the bound.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.verdict, Verdict::Holds)
    }

    /// Why it does not hold.
    #[must_use]
    pub fn witness(&self) -> Option<&Witness<S>> {
        match &self.verdict {
            Verdict::Fails(witness) => Some(witness),
            Verdict::Holds | Verdict::IllFormed(_) => None,
        }
    }
}

/// Which steps count as futures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Futures {
    /// All.
    All,
    /// Those that some partition allows.
    Partitioned,
}

/// Decides whether a specification is monotone: whether each outcome of each history is refined in each future
/// (Complete CALM, definition of monotonicity). If it is, it can be had without coordination (theorem 13).
///
/// A witness has the fewest events that any has, and its first history is one step before its second.
pub fn monotone<S: Specification>(spec: &S, options: &Options<'_>) -> Decision<S> {
    decide(spec, options, Futures::All)
}

/// Decides whether a specification is distributed-monotone as the definition in section 5 of Complete CALM has it:
/// monotone under futures in which no message crosses some partition of the nodes. Steps inside one node are such
/// futures. [`available`](super::available) decides what the proof in appendix B uses.
pub fn distributed_monotone<S: Specification>(spec: &S, options: &Options<'_>) -> Decision<S> {
    decide(spec, options, Futures::Partitioned)
}

fn decide<S: Specification>(spec: &S, options: &Options<'_>, futures: Futures) -> Decision<S> {
    let size = Size::unbounded();
    let nodes = spec.universe().nodes();
    let (search, examined) = explore(spec, options, || Search {
        spec,
        contract: Contract::new(spec),
        nodes: &nodes,
        futures,
        smallest: Smallest::nothing(&size),
    });
    Decision {
        verdict: Verdict::of(spec, options, search.contract, search.smallest.take()),
        examined,
    }
}

struct Search<'a, S: Specification> {
    spec: &'a S,
    contract: Contract<'a, S>,
    nodes: &'a [usize],
    futures: Futures,
    smallest: Smallest<'a, Witness<S>>,
}

impl<S: Specification> Search<'_, S> {
    /// Whether some partition of the nodes allows the step.
    fn counts(&self, future: &Future<'_, S>) -> bool {
        let node = |process: usize| self.nodes[process];
        match (self.futures, future.step.received()) {
            (Futures::All, _) => true,
            (Futures::Partitioned, None) => self.several_nodes(2),
            (Futures::Partitioned, Some(EventId { process: from, .. })) => {
                // Sender and receiver have to be on one side, and somebody on the other.
                let (from, to) = (node(usize::from(from)), node(future.step.process));
                self.several_nodes(if from == to { 2 } else { 3 })
            }
        }
    }

    fn several_nodes(&self, least: usize) -> bool {
        let mut nodes = self.nodes.to_vec();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len() >= least
    }
}

impl<S: Specification> Visitor<S> for Search<'_, S> {
    const FUTURES: bool = true;

    fn history(&mut self, history: &HistoryOf<S>, outcomes: &[S::Outcome]) {
        self.contract.of_history(history, outcomes);
    }

    fn future(&mut self, future: &Future<'_, S>) {
        self.contract.of_future(future);
        if !self.counts(future) {
            return;
        }
        for outcome in future.before {
            if !future
                .outcomes
                .iter()
                .any(|later| self.spec.refines(outcome, later))
            {
                self.smallest.keep(Witness {
                    before: future.earlier.clone(),
                    outcome: outcome.clone(),
                    after: future.history.clone(),
                    later: future.outcomes.to_vec(),
                });
                return;
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.contract.join(other.contract);
        self.smallest.join(other.smallest);
    }

    fn limit(&self) -> usize {
        self.smallest.limit().min(self.contract.breach_size())
    }
}
