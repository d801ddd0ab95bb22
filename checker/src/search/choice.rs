//! Decides what saturation leaves open: a search over orders of pairs of versions, with the graph as its theory.
//!
//! At any time there is an order of events that fits what is known and decided ([`Dynamic`]). Where it does not explain
//! a read, or lets two writers of a key overlap, the pair of neighbouring versions that are to blame becomes a variable:
//! either order of the two puts edges into the graph. A cycle is a conflict, from which the solver learns. If no order
//! of the pairs remains, their cycles are the refutation; if every read is explained, the order is the certificate. The
//! pairs that are never in the way are never looked at.

use std::collections::HashMap;
use std::time::Instant;

use super::clocks::Graph;
use super::dynamic::{Decided, Dynamic, Step};
use super::explain::ASSUMED;
use super::facts::NONE;
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
    /// The keys whose neighbours may have changed.
    dirty: Vec<bool>,
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
            } else if !self.sat.decide() && !self.look() {
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

    /// Looks where the order is wrong, and makes variables of the pairs that are to blame; false if there are none.
    fn look(&mut self) -> bool {
        for event in self.dynamic.take_moved() {
            let member = self.problem.member(event);
            for read in self.problem.facts.reads.get(member) {
                self.dirty[read.key as usize] = true;
            }
            for slot in self.problem.facts.slots_of(member) {
                self.dirty[self.problem.facts.slot(slot).key as usize] = true;
            }
        }
        let before = self.sat.variables();
        for key in 0..self.dirty.len() {
            if std::mem::replace(&mut self.dirty[key], false) {
                self.look_at(u32::try_from(key).expect("keys are counted in 32 bits"));
            }
        }
        self.sat.variables() > before
    }

    fn look_at(&mut self, key: u32) {
        let problem = self.problem;
        let mut slots = problem.facts.key_slots.get(key).to_vec();
        let commit = |slot: u32| {
            self.dynamic
                .position(problem.commit(problem.facts.slot(slot).writer))
        };
        let begin = |slot: u32| {
            self.dynamic
                .position(problem.begin(problem.facts.slot(slot).writer))
        };
        slots.sort_by_key(|slot| commit(*slot));
        let mut found = Vec::new();
        for pair in slots.windows(2) {
            let [earlier, later] = [pair[0], pair[1]];
            let writer = problem.facts.slot(later).writer;
            let readers = problem
                .readers
                .get(earlier)
                .iter()
                .filter(|reader| **reader != writer);
            let last = readers
                .map(|reader| self.dynamic.position(problem.begin(*reader)))
                .max();
            let overlap = problem.split && begin(later) < commit(earlier);
            let overtaken = last.is_some_and(|last| last > commit(later));
            if overlap || overtaken {
                // The later version may be meant for the place before both, or for the place after the last reader.
                let to_reader = last.unwrap_or(0).saturating_sub(commit(later));
                let keep = overlap || to_reader < commit(later) - commit(earlier);
                found.push((earlier, later, keep));
            }
        }
        for (earlier, later, keep) in found {
            self.variable(earlier, later, keep);
        }
    }

    fn variable(&mut self, earlier: u32, later: u32, keep: bool) {
        let pair = (earlier.min(later), earlier.max(later));
        let next =
            u32::try_from(self.pairs.len()).expect("pairs are bounded by what was looked at");
        let there = *self.variables.entry(pair).or_insert(next);
        assert_eq!(
            there, next,
            "a pair that is decided has its edges, and the order fits them (D1)"
        );
        self.pairs.push(pair);
        let variable = self.sat.variable(keep == (pair.0 == earlier));
        debug_assert!(variable == next && variable != NONE);
    }
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
