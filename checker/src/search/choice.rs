//! Decides what saturation leaves open: a search over orders of pairs of versions, with the graph as its theory.
//!
//! At any time there is an order of events that fits what is known and decided ([`Dynamic`]). Where it does not explain
//! a read, or lets two writers of a key overlap, the pair of neighbouring versions that are to blame becomes a variable:
//! either order of the two puts edges into the graph. A cycle is a conflict, from which the solver learns. If no order
//! of the pairs remains, their cycles are the refutation; if every read is explained, the order is the certificate. The
//! pairs that are never in the way are never looked at, and a pair is decided only while the order has it wrong.
//!
//! - **H1** A pair that has edges in the graph is right in the order, and remains so when they are taken out, until one
//!   of its events moves; then its key is looked at again. So all is explained once no key is left to be looked at and
//!   nothing is on the agenda.

use std::collections::HashMap;
use std::time::Instant;

use super::clocks::Graph;
use super::dynamic::{Decided, Dynamic, Step};
use super::explain::ASSUMED;
use super::level::Budget;
use super::problem::{Known, Problem};
use super::sat::Sat;
use super::verdict::Doubt;

/// Cycles that a refutation may consist of.
const MOST_CYCLES: usize = 20_000;

/// Conflicts until the first restart.
const RESTART: u64 = 64;

/// What a search ends with.
#[derive(Debug)]
pub(super) enum Chosen {
    /// An order of the events that explains every read that has one writer.
    Order(Vec<u32>),
    /// There is none.
    Nothing {
        /// How many conflicts it took to see that.
        conflicts: u64,
        /// Every way to order the versions closes one of these cycles. Decided edges are [`ASSUMED`]. None is given if
        /// there are too many.
        cycles: Vec<Vec<Known>>,
    },
}

/// Searches, from an order that fits the graph.
pub(super) fn choose(
    problem: &Problem<'_>,
    graph: Graph,
    order: Vec<u32>,
    budget: &Budget,
) -> Result<Chosen, Doubt> {
    let mut search = Search {
        problem,
        dynamic: Dynamic::new(&problem.edges, graph, order),
        sat: Sat::new(),
        pairs: Vec::new(),
        variables: HashMap::new(),
        asserted: Vec::new(),
        cycles: Vec::new(),
        conflicts: 0,
        dirty: vec![true; problem.initial.len()],
        marked: (0..u32::try_from(problem.initial.len()).expect("keys are counted in 32 bits"))
            .collect(),
        agenda: Vec::new(),
    };
    search.run(budget)
}

struct Search<'s> {
    problem: &'s Problem<'s>,
    dynamic: Dynamic,
    sat: Sat,
    /// The two slots of each variable: true is "the first before the second".
    pairs: Vec<(u32, u32)>,
    variables: HashMap<(u32, u32), u32>,
    /// For each literal of the trail that is in the graph, how many edges there were before it.
    asserted: Vec<usize>,
    /// The cycles that conflicts were found for.
    cycles: Vec<Vec<Known>>,
    conflicts: u64,
    /// The keys whose versions may be wrong, and a list of them.
    dirty: Vec<bool>,
    marked: Vec<u32>,
    /// What was wrong when it was looked at.
    agenda: Vec<Wrong>,
}

impl Search<'_> {
    fn run(&mut self, budget: &Budget) -> Result<Chosen, Doubt> {
        let started = Instant::now();
        let (mut steps, mut restarts, mut until) = (0_u64, 0_u32, RESTART);
        loop {
            steps += 1;
            if steps.is_multiple_of(256) && started.elapsed() > budget.time {
                return Err(Doubt::Time(budget.time));
            }
            if let Some(conflict) = self.propagate() {
                self.conflicts += 1;
                if self.conflicts > budget.conflicts {
                    return Err(Doubt::Conflicts(budget.conflicts));
                }
                // What is not all in the graph may still be wrong in the order; what is, is not (H1).
                for place in self.asserted.len().saturating_sub(1)..self.sat.trail().len() {
                    let pair = self.pairs[self.sat.trail()[place] as usize >> 1];
                    self.mark(self.problem.facts.slot(pair.0).key);
                }
                if !self.sat.learn(&conflict) {
                    let mut cycles = std::mem::take(&mut self.cycles);
                    if cycles.len() >= MOST_CYCLES {
                        cycles.clear();
                    }
                    let conflicts = self.conflicts;
                    return Ok(Chosen::Nothing { conflicts, cycles });
                }
                self.retract();
            } else if self.conflicts >= until {
                restarts += 1;
                until = self.conflicts + RESTART * luby(restarts);
                self.sat.restart();
                self.retract();
            } else if let Some(wrong) = self.agenda.pop() {
                self.settle(&wrong);
            } else if !self.look() {
                return Ok(Chosen::Order(self.dynamic.order().to_vec()));
            }
        }
    }

    /// Draws conclusions, in clauses and in the graph; returns literals that cannot all be false, but are.
    fn propagate(&mut self) -> Option<Vec<u32>> {
        if let Some(conflict) = self.sat.propagate() {
            return Some(conflict);
        }
        while let Some(literal) = self.sat.trail().get(self.asserted.len()).copied() {
            self.asserted.push(self.dynamic.decided());
            if let Some(conflict) = self.assert(literal) {
                return Some(conflict);
            }
        }
        None
    }

    /// Takes out of the graph what the solver has taken back.
    fn retract(&mut self) {
        let count = self.sat.take_stood();
        if let Some(edges) = self.asserted.get(count) {
            self.dynamic.shrink(*edges);
            self.asserted.truncate(count);
        }
    }

    /// Puts the edges of an order of two versions into the graph.
    fn assert(&mut self, literal: u32) -> Option<Vec<u32>> {
        let pair = self.pairs[literal as usize >> 1];
        let (earlier, later) = if literal & 1 == 0 {
            pair
        } else {
            (pair.1, pair.0)
        };
        let problem = self.problem;
        let after = problem.after(earlier, later, ASSUMED);
        let writer = problem.facts.slot(later).writer;
        let readers = problem
            .readers
            .get(earlier)
            .iter()
            .filter(|reader| **reader != writer);
        let overwrites = readers.map(|reader| problem.overwrite(*reader, earlier, later, ASSUMED));
        for edge in std::iter::once(after).chain(overwrites) {
            let decided = Decided {
                from: edge.from,
                to: edge.to,
                cause: edge.cause,
                literal,
            };
            if let Err(path) = self.dynamic.insert(decided) {
                return Some(self.conflict(edge, literal, &path));
            }
        }
        None
    }

    /// The literals of which one must be false, because the edge and the path close a cycle.
    fn conflict(&mut self, closing: Known, literal: u32, path: &[Step]) -> Vec<u32> {
        let mut literals = vec![literal ^ 1];
        let mut cycle = vec![closing];
        for step in path {
            match step {
                Step::Known(place) => cycle.push(self.problem.edges[*place as usize]),
                Step::Decided(number) => {
                    let edge = self.dynamic.edge(*number);
                    literals.push(edge.literal ^ 1);
                    cycle.push(Known {
                        from: edge.from,
                        to: edge.to,
                        cause: edge.cause,
                        order: ASSUMED,
                    });
                }
            }
        }
        literals.sort_unstable();
        literals.dedup();
        if self.cycles.len() < MOST_CYCLES {
            self.cycles.push(cycle);
        }
        literals
    }

    /// Has a key looked at.
    fn mark(&mut self, key: u32) {
        if !std::mem::replace(&mut self.dirty[key as usize], true) {
            self.marked.push(key);
        }
    }

    /// Looks where the order is wrong, and puts it on the agenda; false if it is wrong nowhere.
    fn look(&mut self) -> bool {
        for event in self.dynamic.take_moved() {
            let problem = self.problem;
            let member = problem.member(event);
            for read in problem.facts.reads.get(member) {
                self.mark(read.key);
            }
            for slot in problem.facts.slots_of(member) {
                self.mark(problem.facts.slot(slot).key);
            }
        }
        for key in std::mem::take(&mut self.marked) {
            self.dirty[key as usize] = false;
            self.look_at(key);
        }
        !self.agenda.is_empty()
    }

    fn look_at(&mut self, key: u32) {
        let problem = self.problem;
        let commit = |slot: &u32| {
            self.dynamic
                .position(problem.commit(problem.facts.slot(*slot).writer))
        };
        let mut slots: Vec<(u32, u32)> = problem
            .facts
            .key_slots
            .get(key)
            .iter()
            .map(|slot| (commit(slot), *slot))
            .collect();
        slots.sort_unstable();
        for pair in slots.windows(2) {
            let wrong = self.wrong(pair[0].1, pair[1].1);
            self.agenda.extend(wrong);
        }
    }

    /// What is wrong with two versions, the first of which is installed before the second.
    fn wrong(&self, earlier: u32, later: u32) -> Option<Wrong> {
        let problem = self.problem;
        let writer = problem.facts.slot(later).writer;
        let position = |event: u32| self.dynamic.position(event);
        let of_earlier = position(problem.commit(problem.facts.slot(earlier).writer));
        let of_later = position(problem.commit(writer));
        if of_earlier > of_later {
            return None;
        }
        let readers = problem.readers.get(earlier).iter();
        let last = readers
            .filter(|reader| **reader != writer)
            .map(|reader| position(problem.begin(*reader)))
            .max();
        let overlap = problem.split && position(problem.begin(writer)) < of_earlier;
        let overtaken = last.is_some_and(|last| last > of_later);
        // The later version may be meant for the place before both, or for the place after the last reader.
        let to_reader = last.unwrap_or(0).saturating_sub(of_later);
        (overlap || overtaken).then_some(Wrong {
            earlier,
            later,
            keep: overlap || to_reader < of_later - of_earlier,
        })
    }

    /// Decides which of two versions comes first, if they are still wrong.
    fn settle(&mut self, wrong: &Wrong) {
        let Some(wrong) = self.wrong(wrong.earlier, wrong.later) else {
            return;
        };
        let pair = (
            wrong.earlier.min(wrong.later),
            wrong.earlier.max(wrong.later),
        );
        let next =
            u32::try_from(self.pairs.len()).expect("pairs are bounded by what was looked at");
        let variable = *self.variables.entry(pair).or_insert(next);
        let keep = wrong.keep == (pair.0 == wrong.earlier);
        if variable == next {
            self.pairs.push(pair);
            self.sat.variable(keep);
        }
        assert!(
            self.sat.is_open(variable),
            "a pair that is decided has its edges, and the order fits them (D1)"
        );
        let first = self.sat.phase(variable);
        self.sat.decide_on(2 * variable + u32::from(!first));
    }
}

/// Two versions that the order has wrong: the first is installed before the second, and read after it; or the second
/// was begun before the first was installed.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    earlier: u32,
    later: u32,
    /// Whether they are rather put right in this order than in the other one.
    keep: bool,
}

/// The sequence 1, 1, 2, 1, 1, 2, 4, ... (Luby et al. 1993), from 1.
fn luby(mut place: u32) -> u64 {
    loop {
        let bits = u32::BITS - place.leading_zeros();
        if place == (1 << bits) - 1 {
            return 1 << (bits - 1);
        }
        place -= (1 << (bits - 1)) - 1;
    }
}

/// Of these cycles, some that leave no way either; all of them if they are too many to try.
pub(super) fn fewer(cycles: Vec<Vec<Known>>) -> Vec<Vec<Known>> {
    const MOST_TRIED: usize = 400;
    let mut kept = cycles;
    if kept.len() > MOST_TRIED {
        return kept;
    }
    let mut place = kept.len();
    while place > 0 {
        place -= 1;
        let cycle = kept.remove(place);
        if !exhaustive(&kept) {
            kept.insert(place, cycle);
        }
    }
    kept
}

/// Whether every way to order the versions closes one of these cycles.
fn exhaustive(cycles: &[Vec<Known>]) -> bool {
    let mut sat = Sat::new();
    let mut variables: HashMap<(u32, u32), u32> = HashMap::new();
    for cycle in cycles {
        let mut clause = Vec::new();
        for edge in cycle.iter().filter(|edge| edge.order == ASSUMED) {
            let (super::problem::Cause::After(a, b) | super::problem::Cause::Overwrite(a, b)) =
                edge.cause
            else {
                continue;
            };
            let variable = *variables
                .entry((a.min(b), a.max(b)))
                .or_insert_with(|| sat.variable(true));
            clause.push(2 * variable + u32::from(a < b));
        }
        if !sat.clause(clause) {
            return true;
        }
    }
    loop {
        if let Some(conflict) = sat.propagate() {
            if !sat.learn(&conflict) {
                return true;
            }
        } else if !sat.decide() {
            return false;
        }
    }
}
