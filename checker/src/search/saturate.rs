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

use std::time::Instant;

use super::blocks;
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
    Acyclic(Vec<u32>, Option<Clocks>),
}

/// A run of the slots of a key whose writers are in one chain, in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    chain: u32,
    from: u32,
    to: u32,
}

/// A slot in a run, with the positions of its writer's events in the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) slot: u32,
    pub(crate) begin: u32,
    pub(crate) commit: u32,
}

/// The slots of each key, by chain.
#[derive(Debug)]
pub(crate) struct Runs {
    entries: Csr<Entry>,
    runs: Csr<Run>,
    /// The chains of each key, as the bits that [`Clocks::update`] returns.
    chains: Vec<u64>,
}

impl Runs {
    pub(crate) fn new(problem: &Problem<'_>, clocks: &Clocks) -> Self {
        let facts = problem.facts;
        let chain = |slot: u32| clocks.chain(facts.slot(slot).writer);
        let slots = 0..u32::try_from(facts.slots.len()).expect("slots are counted in 32 bits");
        let entry = |slot: u32| {
            let writer = facts.slot(slot).writer;
            let begin = clocks.own(problem.begin(writer));
            let commit = clocks.own(problem.commit(writer));
            (
                facts.slot(slot).key,
                Entry {
                    slot,
                    begin,
                    commit,
                },
            )
        };
        let mut entries = Csr::new(problem.initial.len(), slots.map(entry));
        entries.sort_each_by_key(|entry| (chain(entry.slot), entry.begin));
        let mut flat: Vec<(u32, Run)> = Vec::new();
        let mut chains = vec![0_u64; entries.len()];
        for key in 0..u32::try_from(entries.len()).expect("keys are counted in 32 bits") {
            for (entry, at) in entries.get(key).iter().zip(0_u32..) {
                let chain = chain(entry.slot);
                chains[key as usize] |= 1 << (chain % 64);
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
        let runs = Csr::new(entries.len(), flat.iter().copied());
        Self {
            entries,
            runs,
            chains,
        }
    }

    /// For each chain in which the key is written, and that is in `chains`, the last entry that is reached, of those
    /// that are not `not`.
    pub(crate) fn last(
        &self,
        key: u32,
        chains: u64,
        not: impl Fn(u32) -> bool,
        reached: impl Fn(u32, &Entry) -> bool,
        mut found: impl FnMut(u32, Entry),
    ) {
        if self.chains[key as usize] & chains == 0 {
            return;
        }
        let entries = self.entries.get(key);
        for run in self
            .runs
            .get(key)
            .iter()
            .filter(|run| chains >> (run.chain % 64) & 1 == 1)
        {
            let of_run = &entries[run.from as usize..run.to as usize];
            let count = of_run.partition_point(|entry| reached(run.chain, entry));
            if let Some(last) = of_run[..count].iter().rev().find(|entry| !not(entry.slot)) {
                found(run.chain, *last);
            }
        }
    }
}

/// Adds forced orders until none is left, or a cycle is, or the time is over: what has been found holds all the same.
/// Without affordable chains, or without a deadline, it adds none.
pub(crate) fn saturate(
    problem: &mut Problem<'_>,
    deadline: Option<Instant>,
) -> Result<Saturated, Doubt> {
    let events = problem.events();
    let mut lists = graph(events, &problem.edges);
    let mut order = topological(&lists, events);
    if order.len() < events as usize {
        return Ok(Saturated::Cyclic(on_cycles(&order, events), None));
    }
    let chains = Chains::new(problem, &order);
    let Some(deadline) = deadline else {
        return Ok(Saturated::Acyclic(order, None));
    };
    if !chains.are_few(problem.precedence) || !chains.affordable(events) {
        return blocks::saturate(problem, lists, order, deadline);
    }
    let mut clocks = Clocks::new(problem, chains);
    let runs = Runs::new(problem, &clocks);
    loop {
        let changed = clocks.update(&lists, &order);
        if Instant::now() > deadline || round(problem, &clocks, &runs, &changed) == 0 {
            return Ok(Saturated::Acyclic(order, Some(clocks)));
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
fn round(problem: &mut Problem<'_>, clocks: &Clocks, runs: &Runs, changed: &[u64]) -> usize {
    let before = problem.edges.len();
    let mut found = Vec::new();
    for member in 0..problem.facts.count() {
        let chains = changed[problem.begin(member) as usize];
        if chains != 0 {
            rule_a(problem, clocks, runs, member, chains, &mut found);
        }
        let chains = changed[problem.commit(member) as usize];
        if chains != 0 {
            rule_b(problem, clocks, runs, member, chains, &mut found);
        }
    }
    problem.edges.len() - before
}

/// Orders that were found, with an edge of each.
type Found = Vec<(Order, Known)>;

fn rule_a(
    problem: &mut Problem<'_>,
    clocks: &Clocks,
    runs: &Runs,
    reader: u32,
    chains: u64,
    found: &mut Found,
) {
    let facts = problem.facts;
    let row = clocks.row(problem.begin(reader));
    for read in facts.reads.get(reader) {
        let Source::Slot(later) = read.source else {
            continue;
        };
        let of_later = clocks.row(problem.begin(facts.slot(later).writer));
        let not = |slot: u32| slot == later || facts.slot(slot).writer == reader;
        let reached = |chain: u32, entry: &Entry| row[chain as usize] >= entry.commit;
        runs.last(read.key, chains, not, reached, |chain, entry| {
            if of_later[chain as usize] < entry.commit {
                let earlier = entry.slot;
                let order = Order {
                    earlier,
                    later,
                    reader,
                };
                found.push((order, problem.after(earlier, later, NONE)));
            }
        });
    }
    add(problem, found);
}

fn rule_b(
    problem: &mut Problem<'_>,
    clocks: &Clocks,
    runs: &Runs,
    writer: u32,
    chains: u64,
    found: &mut Found,
) {
    let facts = problem.facts;
    let row = clocks.row(problem.commit(writer));
    let of_begin = clocks.row(problem.begin(writer));
    for later in facts.slots_of(writer) {
        let not = |slot: u32| slot == later;
        let reached = |chain: u32, entry: &Entry| row[chain as usize] >= entry.begin;
        runs.last(
            facts.slot(later).key,
            chains,
            not,
            reached,
            |chain, entry| {
                let earlier = entry.slot;
                let order = Order {
                    earlier,
                    later,
                    reader: NONE,
                };
                if of_begin[chain as usize] < entry.commit {
                    found.push((order, problem.after(earlier, later, NONE)));
                }
                for reader in problem
                    .readers
                    .get(earlier)
                    .iter()
                    .filter(|reader| **reader != writer)
                {
                    let edge = problem.overwrite(*reader, earlier, later, NONE);
                    if row[clocks.chain(*reader) as usize] < clocks.own(edge.from) {
                        found.push((order, edge));
                    }
                }
            },
        );
    }
    add(problem, found);
}

/// Adds the edges; those of one order, which are neighbours, share its number.
fn add(problem: &mut Problem<'_>, found: &mut Found) {
    let mut last: Option<(Order, u32)> = None;
    for (order, edge) in found.drain(..) {
        let number = match last {
            Some((same, number)) if same == order => number,
            _ => problem.order(order),
        };
        last = Some((order, number));
        problem.edges.push(Known {
            order: number,
            ..edge
        });
    }
}
