//! Cycles in terms of transactions, with a proof of each order of versions that they need.

use std::collections::BTreeSet;

use super::clocks::{Clocks, Graph};
use super::facts::NONE;
use super::problem::{Cause, Known, Problem};
use super::verdict::{Forced, Refutation};
use crate::observed::{Edge, Key, Observed, TxnIndex, Why};

/// From how many events of a component cycles are looked for.
const STARTS: usize = 64;

/// A short cycle through some of `among`, as the places of its edges. There is one.
pub(crate) fn short_cycle(problem: &Problem<'_>, graph: &Graph, among: &[u32]) -> Vec<u32> {
    let mut inside = vec![false; problem.events() as usize];
    among
        .iter()
        .for_each(|event| inside[*event as usize] = true);
    let component = smallest_component(graph, among, &inside);
    inside.fill(false);
    component
        .iter()
        .for_each(|event| inside[*event as usize] = true);
    let mut paths = Paths::new(problem.events());
    let mut best: Option<Vec<u32>> = None;
    for start in component.iter().take(STARTS) {
        let usable = |edge: u32| inside[problem.edges[edge as usize].to as usize];
        if let Some(cycle) = paths.find(problem, graph, *start, *start, usable)
            && best.as_ref().is_none_or(|best| cycle.len() < best.len())
        {
            best = Some(cycle);
        }
    }
    best.expect("each event of a strongly connected component is on a cycle")
}

/// Breadth-first search, again and again in the same space.
#[derive(Debug)]
pub(crate) struct Paths {
    stamp: u32,
    seen: Vec<u32>,
    came_by: Vec<u32>,
    queue: Vec<u32>,
}

impl Paths {
    pub(crate) fn new(events: u32) -> Self {
        Self {
            stamp: 0,
            seen: vec![0; events as usize],
            came_by: vec![NONE; events as usize],
            queue: Vec::new(),
        }
    }

    /// A shortest path of at least one usable edge, as the places of its edges.
    pub(crate) fn find(
        &mut self,
        problem: &Problem<'_>,
        graph: &Graph,
        from: u32,
        to: u32,
        usable: impl Fn(u32) -> bool,
    ) -> Option<Vec<u32>> {
        self.stamp += 1;
        self.queue.clear();
        self.queue.push(from);
        let mut next = 0;
        while next < self.queue.len() {
            let event = self.queue[next];
            next += 1;
            for (later, edge) in graph.get(event) {
                if self.seen[*later as usize] == self.stamp || !usable(*edge) {
                    continue;
                }
                self.seen[*later as usize] = self.stamp;
                self.came_by[*later as usize] = *edge;
                if *later == to {
                    return Some(self.back(problem, from, to));
                }
                self.queue.push(*later);
            }
        }
        None
    }

    fn back(&self, problem: &Problem<'_>, from: u32, to: u32) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = to;
        loop {
            let edge = self.came_by[at as usize];
            path.push(edge);
            at = problem.edges[edge as usize].from;
            if at == from {
                path.reverse();
                return path;
            }
        }
    }
}

/// The refutation that these cycles are, each given as known edges; `graph` is of all edges of the problem. With
/// `clocks`, paths are looked for only where the rows say that there are any.
pub(crate) fn refutation(
    history: &Observed,
    problem: &Problem<'_>,
    graph: &Graph,
    clocks: Option<&Clocks>,
    cycles: &[Vec<Known>],
) -> Refutation {
    let assumed = |edge: &&Known| edge.order != NONE && edge.order != ASSUMED;
    let mut open: BTreeSet<u32> = cycles
        .iter()
        .flatten()
        .filter(assumed)
        .map(|edge| edge.order)
        .collect();
    let mut paths = Paths::new(problem.events());
    let mut forced = Vec::new();
    while let Some(number) = open.pop_last() {
        let order = problem.orders[number as usize];
        let closing = if order.reader == NONE {
            problem.after(order.later, order.earlier, ASSUMED)
        } else {
            problem.overwrite(order.reader, order.later, order.earlier, ASSUMED)
        };
        let usable = |place: u32| {
            let edge = problem.edges[place as usize];
            (edge.order == NONE || edge.order < number)
                && clocks.is_none_or(|clocks| clocks.reaches(edge.to, closing.from))
        };
        let path = paths.find(problem, graph, closing.to, closing.from, usable);
        let path = path.expect("an order is forced only where a path contradicts the other one");
        let path = path.iter().map(|place| problem.edges[*place as usize]);
        let otherwise: Vec<Known> = std::iter::once(closing).chain(path).collect();
        open.extend(otherwise.iter().filter(assumed).map(|edge| edge.order));
        let txn = |slot: u32| problem.facts.members[problem.facts.slot(slot).writer as usize];
        forced.push(Forced {
            key: Key(problem.facts.slot(order.later).key),
            earlier: txn(order.earlier),
            later: txn(order.later),
            otherwise: observed(history, problem, &otherwise),
        });
    }
    forced.reverse();
    let cycles = cycles
        .iter()
        .map(|cycle| observed(history, problem, cycle))
        .collect();
    Refutation::Cycles { forced, cycles }
}

/// The order of an edge that holds in one of the cases only.
pub(crate) const ASSUMED: u32 = NONE - 1;

/// Edges between transactions; the steps within one are left out.
fn observed(history: &Observed, problem: &Problem<'_>, edges: &[Known]) -> Vec<Edge> {
    let facts = problem.facts;
    let txn = |event: u32| -> TxnIndex { facts.members[problem.member(event) as usize] };
    let why = |cause: Cause| match cause {
        Cause::Program => None,
        Cause::Session => Some(Why::Session),
        Cause::Realtime => Some(Why::Realtime),
        Cause::Read(slot) => Some(Why::WriteRead {
            key: Key(facts.slot(slot).key),
            value: facts.slot(slot).value,
        }),
        Cause::After(earlier, later) => Some(Why::WriteWrite {
            key: Key(facts.slot(later).key),
            earlier: facts.slot(earlier).value,
            later: facts.slot(later).value,
        }),
        Cause::Overwrite(read, wrote) => Some(Why::ReadWrite {
            key: Key(facts.slot(wrote).key),
            read: (read != NONE).then(|| facts.slot(read).value),
            wrote: facts.slot(wrote).value,
        }),
    };
    debug_assert!(facts.members.len() <= history.txns().len());
    let edge = |known: &Known| {
        why(known.cause).map(|why| Edge {
            from: txn(known.from),
            to: txn(known.to),
            why,
        })
    };
    edges.iter().filter_map(edge).collect()
}

/// A smallest strongly connected component of more than one event (Tarjan 1972, without recursion).
fn smallest_component(graph: &Graph, among: &[u32], inside: &[bool]) -> Vec<u32> {
    let mut number = vec![0_u32; inside.len()];
    let mut low = vec![0_u32; inside.len()];
    let mut on_stack = vec![false; inside.len()];
    let (mut count, mut stack, mut best) = (0_u32, Vec::new(), Vec::<u32>::new());
    let mut calls: Vec<(u32, usize)> = Vec::new();
    for root in among {
        if number[*root as usize] == 0 {
            calls.push((*root, 0));
        }
        while let Some((event, next)) = calls.pop() {
            if next == 0 {
                count += 1;
                number[event as usize] = count;
                low[event as usize] = count;
                stack.push(event);
                on_stack[event as usize] = true;
            }
            let edges = graph.get(event);
            if next > 0 {
                let child = edges[next - 1].0;
                low[event as usize] = low[event as usize].min(low[child as usize]);
            }
            let mut place = next;
            let mut descend = None;
            while place < edges.len() && descend.is_none() {
                let later = edges[place].0;
                place += 1;
                if !inside[later as usize] {
                    continue;
                }
                if number[later as usize] == 0 {
                    descend = Some(later);
                } else if on_stack[later as usize] {
                    low[event as usize] = low[event as usize].min(number[later as usize]);
                }
            }
            if let Some(later) = descend {
                calls.push((event, place));
                calls.push((later, 0));
            } else if low[event as usize] == number[event as usize] {
                let from = stack
                    .iter()
                    .rposition(|there| *there == event)
                    .expect("it is on the stack");
                let component = stack.split_off(from);
                component
                    .iter()
                    .for_each(|there| on_stack[*there as usize] = false);
                if component.len() > 1 && (best.is_empty() || component.len() < best.len()) {
                    best = component;
                }
            }
        }
    }
    best
}
