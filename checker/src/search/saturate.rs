//! Orders of versions that follow from reachability, to a fixed point.
//!
//! Of two versions of a key, either one may be the later. Where one of the two would close a cycle, the other is forced
//! (the pruning of Cobra, Tan et al. 2020, and PolySI, Huang et al. 2023). Two rules find all of these cases:
//!
//! - **A** if `r` read what `a` wrote, and `commit(b)` reaches `begin(r)`, then `b <x a`: otherwise `r` would have to
//!   take its snapshot before `b` commits;
//! - **B** if `begin(a)` reaches `commit(b)`, then `a <x b`: otherwise `b` would have to commit before `a` begins.
//!
//! In each chain only the last writer that reaches needs a look, since those before it reach that one. A round takes
//! time in proportion to the number of operations whose rows have changed, times the chains in which their keys are
//! written; it is the causality check of AWDIT (2025), repeated with what it has found.

use super::clocks::{Chains, Clocks, graph, topological};
use super::csr::Csr;
use super::facts::{NONE, Source};
use super::problem::{Known, MOST_EDGES, Order, Problem};
use super::verdict::Doubt;

/// What saturation leads to.
#[derive(Debug)]
pub(crate) enum Saturated {
    /// The edges have a cycle, through at least one of these events. The rows are from before.
    Cyclic(Vec<u32>, Option<Clocks>),
    /// They have none; this order of the events agrees with them.
    Acyclic(Vec<u32>),
}

/// A run of the slots of a key whose writers are in one chain, in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    chain: u32,
    from: u32,
    to: u32,
}

/// The slots of each key, by chain.
#[derive(Debug)]
pub(crate) struct Runs {
    slots: Csr<u32>,
    runs: Csr<Run>,
}

impl Runs {
    pub(crate) fn new(problem: &Problem<'_>, clocks: &Clocks) -> Self {
        let mut slots = problem.facts.key_slots.clone();
        let place = |slot: &u32| {
            let writer = problem.facts.slot(*slot).writer;
            (clocks.chain(writer), clocks.own(problem.commit(writer)))
        };
        slots.sort_each_by_key(place);
        let mut flat: Vec<(u32, Run)> = Vec::new();
        for key in 0..u32::try_from(slots.len()).expect("keys are counted in 32 bits") {
            for (slot, at) in slots.get(key).iter().zip(0_u32..) {
                let chain = place(slot).0;
                match flat.last_mut() {
                    Some((of, run)) if *of == key && run.chain == chain => run.to = at + 1,
                    _ => flat.push((
                        key,
                        Run {
                            chain,
                            from: at,
                            to: at + 1,
                        },
                    )),
                }
            }
        }
        let runs = Csr::new(slots.len(), flat.iter().copied());
        Self { slots, runs }
    }

    /// For each chain in which the key is written, the last slot of another member than `not` for which `reached`.
    pub(crate) fn last(
        &self,
        key: u32,
        not: impl Fn(u32) -> bool,
        reached: impl Fn(u32, u32) -> bool,
        mut found: impl FnMut(u32),
    ) {
        let slots = self.slots.get(key);
        for run in self.runs.get(key) {
            let run_slots = &slots[run.from as usize..run.to as usize];
            let count = run_slots.partition_point(|slot| reached(run.chain, *slot));
            if let Some(last) = run_slots[..count].iter().rev().find(|slot| !not(**slot)) {
                found(*last);
            }
        }
    }
}

/// Adds forced orders until none is left, or a cycle is. Without affordable chains, or if not `forced`, it adds none.
pub(crate) fn saturate(problem: &mut Problem<'_>, forced: bool) -> Result<Saturated, Doubt> {
    let events = problem.events();
    let mut lists = graph(events, &problem.edges);
    let mut order = topological(&lists, events);
    if order.len() < events as usize {
        return Ok(Saturated::Cyclic(on_cycles(&order, events), None));
    }
    let chains = Chains::new(problem, &order);
    if !forced || !chains.affordable(events) {
        return Ok(Saturated::Acyclic(order));
    }
    let mut clocks = Clocks::new(problem, chains);
    let runs = Runs::new(problem, &clocks);
    loop {
        let changed = clocks.update(&lists, &order);
        if round(problem, &clocks, &runs, &changed) == 0 {
            return Ok(Saturated::Acyclic(order));
        }
        if problem.edges.len() > MOST_EDGES {
            return Err(Doubt::TooLarge(MOST_EDGES));
        }
        lists = graph(events, &problem.edges);
        order = topological(&lists, events);
        if order.len() < events as usize {
            return Ok(Saturated::Cyclic(on_cycles(&order, events), Some(clocks)));
        }
    }
}

/// The events that are missing from an order.
pub(crate) fn on_cycles(order: &[u32], events: u32) -> Vec<u32> {
    let mut there = vec![false; events as usize];
    order.iter().for_each(|event| there[*event as usize] = true);
    (0..events)
        .filter(|event| !there[*event as usize])
        .collect()
}

/// Applies both rules to what has changed; returns how many edges that added.
fn round(problem: &mut Problem<'_>, clocks: &Clocks, runs: &Runs, changed: &[bool]) -> usize {
    let before = problem.edges.len();
    for member in 0..problem.facts.count() {
        if changed[problem.begin(member) as usize] {
            rule_a(problem, clocks, runs, member);
        }
        if changed[problem.commit(member) as usize] {
            rule_b(problem, clocks, runs, member);
        }
    }
    problem.edges.len() - before
}

fn rule_a(problem: &mut Problem<'_>, clocks: &Clocks, runs: &Runs, reader: u32) {
    let facts = problem.facts;
    let begin = problem.begin(reader);
    let row = clocks.row(begin);
    for read in facts.reads.get(reader) {
        let Source::Slot(later) = read.source else {
            continue;
        };
        let not = |slot: u32| slot == later || facts.slot(slot).writer == reader;
        let reached = |chain: u32, slot: u32| {
            row[chain as usize] >= clocks.own(problem.commit(facts.slot(slot).writer))
        };
        let mut found = Vec::new();
        runs.last(read.key, not, reached, |earlier| {
            let edge = problem.after(earlier, later, NONE);
            if !clocks.reaches(edge.from, edge.to) {
                found.push((earlier, edge));
            }
        });
        for (earlier, edge) in found {
            let order = problem.order(Order {
                earlier,
                later,
                reader,
            });
            problem.edges.push(Known { order, ..edge });
        }
    }
}

fn rule_b(problem: &mut Problem<'_>, clocks: &Clocks, runs: &Runs, writer: u32) {
    let facts = problem.facts;
    let row = clocks.row(problem.commit(writer));
    for later in facts.slots_of(writer) {
        let not = |slot: u32| slot == later;
        let reached = |chain: u32, slot: u32| {
            row[chain as usize] >= clocks.own(problem.begin(facts.slot(slot).writer))
        };
        let mut found: Vec<(u32, Known)> = Vec::new();
        runs.last(facts.slot(later).key, not, reached, |earlier| {
            let after = problem.after(earlier, later, NONE);
            if !clocks.reaches(after.from, after.to) {
                found.push((earlier, after));
            }
            let readers = problem
                .readers
                .get(earlier)
                .iter()
                .filter(|reader| **reader != writer);
            for reader in readers {
                let edge = problem.overwrite(*reader, earlier, later, NONE);
                if !clocks.reaches(edge.from, edge.to) {
                    found.push((earlier, edge));
                }
            }
        });
        let mut last = None;
        for (earlier, edge) in found {
            let order = match last {
                Some((of, order)) if of == earlier => order,
                _ => problem.order(Order {
                    earlier,
                    later,
                    reader: NONE,
                }),
            };
            last = Some((earlier, order));
            problem.edges.push(Known { order, ..edge });
        }
    }
}
