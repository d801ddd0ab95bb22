//! How far must an order be widened until a specification is monotone, and is one wider than it must be? (Complete
//! CALM, section 8 and appendix C: the coordination-free frontier.)
//!
//! Over a bounded universe both are questions about a finite graph. Its nodes are the outcomes that occur. Each pair of a history
//! and a future of one more step, with an outcome of the first, makes a *demand*: the outcome has to be refined by one of those that the
//! future admits. An order makes the specification monotone if it meets all demands. The frontier is the set of
//! smallest partial orders that contain the declared one and meet all demands; a declared order is *tight* if no smaller partial order
//! meets them.

use std::collections::{BTreeMap, BTreeSet};

use super::explore::{Examined, Future, Options, Visitor, explore};
use super::smallest::Ranked;
use super::specification::{HistoryOf, Specification};
use super::witness::Witness;

/// The frontier of a specification.
#[derive(Debug)]
pub enum Frontier<S: Specification> {
    /// No wider order helps: here is an outcome, and a future that admits nothing at all.
    Nowhere(Box<Witness<S>>),
    /// No wider order helps: the demands contradict each other, because they would make two outcomes refine each other.
    Contradiction,
    /// The smallest orders that meet all demands, each by the refinements that it adds to the declared one. An order that
    /// adds none is the declared order itself: the specification is monotone.
    Orders {
        /// The orders found, in a fixed order.
        added: Vec<Vec<(S::Outcome, S::Outcome)>>,
        /// Whether these are all.
        all: bool,
    },
    /// There are more outcomes than are compared.
    TooLarge,
}

/// Whether an order is wider than it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tightness<Outcome> {
    /// The order does not even make the specification monotone.
    NotMonotone,
    /// No smaller order makes it monotone.
    Tight,
    /// This refinement can be done without.
    Loose(Outcome, Outcome),
    /// There are more outcomes than are compared.
    TooLarge,
}

/// The most outcomes that are compared with each other.
const MOST_OUTCOMES: usize = 400;
/// The most demands that are kept.
const MOST_DEMANDS: usize = 100_000;
/// The most orders that are listed.
const MOST_ORDERS: usize = 16;

/// Finds the frontier.
pub fn frontier<S: Specification>(spec: &S, options: &Options<'_>) -> (Frontier<S>, Examined)
where
    S::Outcome: Ord,
{
    let (demands, examined) = Demands::of(spec, options);
    if let Some(witness) = demands.nothing {
        return (Frontier::Nowhere(witness), examined);
    }
    let Some(graph) = demands.graph(spec) else {
        return (Frontier::TooLarge, examined);
    };
    let mut found: Vec<Order> = Vec::new();
    let all = graph.widen(&graph.declared, &graph.anything(), &mut |order| {
        let smallest = graph.shrink(order);
        if !found.contains(&smallest) {
            found.push(smallest);
        }
        found.len() < MOST_ORDERS
    });
    if found.is_empty() {
        return (Frontier::Contradiction, examined);
    }
    found.sort_unstable();
    let added = found.iter().map(|order| graph.beyond(order)).collect();
    (Frontier::Orders { added, all }, examined)
}

/// Decides whether a smaller order than the declared one would make the specification monotone as well.
pub fn tightness<S: Specification>(
    spec: &S,
    options: &Options<'_>,
) -> (Tightness<S::Outcome>, Examined)
where
    S::Outcome: Ord,
{
    let (demands, examined) = Demands::of(spec, options);
    let Some(graph) = demands.graph(spec) else {
        return (Tightness::TooLarge, examined);
    };
    let met = |(outcome, later): &(usize, Vec<usize>)| {
        later
            .iter()
            .any(|later| graph.declared.holds(*outcome, *later))
    };
    if demands.nothing.is_some() || !graph.demands.iter().all(met) {
        return (Tightness::NotMonotone, examined);
    }
    let loose = graph.declared.pairs().find(|&(one, other)| {
        let mut rest = graph.declared.clone();
        rest.forbid(one, other);
        one != other && !graph.widen(&graph.nothing(), &rest, &mut |_| false)
    });
    let verdict = loose.map_or(Tightness::Tight, |(one, other)| {
        Tightness::Loose(graph.outcomes[one].clone(), graph.outcomes[other].clone())
    });
    (verdict, examined)
}

/// What orders have to do.
struct Demands<S: Specification> {
    demands: BTreeSet<(S::Outcome, Vec<S::Outcome>)>,
    /// An outcome before a history that admits nothing.
    nothing: Option<Box<Witness<S>>>,
    /// Whether there were more demands than are kept.
    overflow: bool,
}

impl<S: Specification> Demands<S>
where
    S::Outcome: Ord,
{
    fn none() -> Self {
        Self {
            demands: BTreeSet::new(),
            nothing: None,
            overflow: false,
        }
    }

    fn of(spec: &S, options: &Options<'_>) -> (Self, Examined) {
        // Outcomes name processes and labels, so what renamed copies demand are demands of their own.
        let options = Options {
            symmetry: false,
            ..*options
        };
        explore(spec, &options, Self::none)
    }

    /// The demands over numbered outcomes; `None` if there are too many.
    fn graph(&self, spec: &S) -> Option<Graph<S::Outcome>> {
        let mut numbers: BTreeMap<&S::Outcome, usize> = BTreeMap::new();
        for (outcome, later) in &self.demands {
            for outcome in std::iter::once(outcome).chain(later) {
                numbers.insert(outcome, 0);
            }
        }
        if self.overflow || numbers.len() > MOST_OUTCOMES {
            return None;
        }
        for (number, place) in numbers.values_mut().enumerate() {
            *place = number;
        }
        let outcomes: Vec<S::Outcome> = numbers.keys().map(|outcome| (*outcome).clone()).collect();
        let number = |outcome: &S::Outcome| numbers[outcome];
        let demands = self
            .demands
            .iter()
            .map(|(outcome, later)| (number(outcome), later.iter().map(number).collect()));
        let mut declared = Order::empty(outcomes.len());
        for (one, earlier) in outcomes.iter().enumerate() {
            for (other, later) in outcomes.iter().enumerate() {
                if spec.refines(earlier, later) {
                    declared.allow(one, other);
                }
            }
        }
        Some(Graph {
            demands: demands.collect(),
            outcomes,
            declared,
        })
    }
}

impl<S: Specification> Visitor<S> for Demands<S>
where
    S::Outcome: Ord,
{
    const FUTURES: bool = true;

    fn history(&mut self, _: &HistoryOf<S>, _: &[S::Outcome]) {}

    fn future(&mut self, future: &Future<'_, S>) {
        let mut later = future.outcomes.to_vec();
        later.sort_unstable();
        for outcome in future.before {
            if later.is_empty() {
                let witness = Witness {
                    before: future.earlier.clone(),
                    outcome: outcome.clone(),
                    after: future.history.clone(),
                    later: Vec::new(),
                };
                self.join(Self {
                    nothing: Some(Box::new(witness)),
                    ..Self::none()
                });
            } else if self.demands.len() < MOST_DEMANDS {
                self.demands.insert((outcome.clone(), later.clone()));
            } else {
                self.overflow = true;
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.demands.extend(other.demands);
        self.overflow |= other.overflow;
        let smaller = |found: &Witness<S>| {
            self.nothing
                .as_ref()
                .is_none_or(|held| found.rank() < held.rank())
        };
        if let Some(found) = other.nothing.filter(|found| smaller(found)) {
            self.nothing = Some(found);
        }
    }
}

/// A relation between outcomes by number: one row of bits for each, of those that refine it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    rows: Vec<Vec<u64>>,
}

impl Order {
    fn empty(outcomes: usize) -> Self {
        Self {
            rows: vec![vec![0; outcomes.div_ceil(64)]; outcomes],
        }
    }

    fn holds(&self, earlier: usize, later: usize) -> bool {
        self.rows[earlier][later / 64] >> (later % 64) & 1 == 1
    }

    fn allow(&mut self, earlier: usize, later: usize) {
        self.rows[earlier][later / 64] |= 1 << (later % 64);
    }

    fn forbid(&mut self, earlier: usize, later: usize) {
        self.rows[earlier][later / 64] &= !(1 << (later % 64));
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = 0..self.rows.len();
        all.clone()
            .flat_map(move |one| all.clone().map(move |other| (one, other)))
            .filter(|(one, other)| self.holds(*one, *other))
    }

    /// This order with one refinement more and all that follows from it; `None` if that is no partial order within `within`.
    fn with(&self, earlier: usize, later: usize, within: &Self) -> Option<Self> {
        let mut wider = self.clone();
        for one in 0..self.rows.len() {
            if !self.holds(one, earlier) {
                continue;
            }
            for (word, more) in wider.rows[one].iter_mut().zip(&self.rows[later]) {
                *word |= more;
            }
            let beyond = wider.rows[one]
                .iter()
                .zip(&within.rows[one])
                .any(|(word, allowed)| word & !allowed != 0);
            if beyond {
                return None;
            }
        }
        let circular =
            wider.holds(earlier, later) && wider.holds(later, earlier) && earlier != later;
        (!circular).then_some(wider)
    }
}

struct Graph<Outcome> {
    outcomes: Vec<Outcome>,
    demands: Vec<(usize, Vec<usize>)>,
    declared: Order,
}

impl<Outcome: Clone> Graph<Outcome> {
    /// The order in which every outcome refines itself only.
    fn nothing(&self) -> Order {
        let mut order = Order::empty(self.outcomes.len());
        for outcome in 0..self.outcomes.len() {
            order.allow(outcome, outcome);
        }
        order
    }

    fn anything(&self) -> Order {
        let mut order = Order::empty(self.outcomes.len());
        for row in &mut order.rows {
            row.fill(u64::MAX);
        }
        order
    }

    /// Shows partial orders that contain `order`, are contained in `within` and meet all demands, among them all
    /// smallest ones, until the visitor returns false. Says whether it never did.
    fn widen(&self, order: &Order, within: &Order, visit: &mut dyn FnMut(&Order) -> bool) -> bool {
        let open = self
            .demands
            .iter()
            .filter(|(outcome, later)| !later.iter().any(|later| order.holds(*outcome, *later)));
        // The demand with the fewest ways to meet it.
        let ways = |(outcome, later): &(usize, Vec<usize>)| {
            let wider = later
                .iter()
                .filter_map(|later| order.with(*outcome, *later, within));
            wider.collect::<Vec<Order>>()
        };
        let mut least: Option<Vec<Order>> = None;
        for demand in open {
            let ways = ways(demand);
            if least.as_ref().is_none_or(|least| ways.len() < least.len()) {
                let few = ways.len() <= 1;
                least = Some(ways);
                if few {
                    break;
                }
            }
        }
        match least {
            None => visit(order),
            Some(ways) => ways.iter().all(|wider| self.widen(wider, within, visit)),
        }
    }

    /// A smallest order between the declared one and `order` that meets all demands.
    fn shrink(&self, order: &Order) -> Order {
        let mut smallest = order.clone();
        let added: Vec<_> = order
            .pairs()
            .filter(|(one, other)| !self.declared.holds(*one, *other))
            .collect();
        for (one, other) in added {
            if !smallest.holds(one, other) {
                continue;
            }
            let mut within = smallest.clone();
            within.forbid(one, other);
            let mut without = None;
            self.widen(&self.declared, &within, &mut |order| {
                without = Some(order.clone());
                false
            });
            if let Some(without) = without {
                smallest = without;
            }
        }
        smallest
    }

    /// The refinements that an order adds to the declared one, without those that follow from others.
    fn beyond(&self, order: &Order) -> Vec<(Outcome, Outcome)> {
        let added: Vec<_> = order
            .pairs()
            .filter(|(one, other)| !self.declared.holds(*one, *other))
            .collect();
        let follows = |&(one, other): &(usize, usize)| {
            (0..self.outcomes.len()).any(|between| {
                between != one
                    && between != other
                    && order.holds(one, between)
                    && order.holds(between, other)
            })
        };
        let named = |(one, other): &(usize, usize)| {
            (self.outcomes[*one].clone(), self.outcomes[*other].clone())
        };
        added
            .iter()
            .filter(|pair| !follows(pair))
            .map(named)
            .collect()
    }
}
