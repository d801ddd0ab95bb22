//! Extended commitment ordering: does every path between global transactions agree with the decision stamps?
//!
//! Each node carries the global transaction that was decided last among those that lead to it through local
//! transactions and relays only, and the last one but for that (a path from a transaction to itself through relays
//! says nothing, I9). The graph is gone through once in an order that respects its edges, so this is linear.

use std::collections::HashMap;

use crate::cycle;
use crate::graph::{Conflict, Graph};
use crate::history::Stamp;

/// Paths that disagree with the stamps.
#[derive(Debug)]
pub(crate) struct PathViolations {
    /// The one whose last transaction was decided first of all; its conflicts.
    pub(crate) path: Vec<Conflict>,
    /// How many edges into a global transaction end such a path.
    pub(crate) count: usize,
}

/// Paths `a ⇝ b` between global transactions with `stamp(a) >= stamp(b)`, of a graph without cycles.
pub(crate) fn path_violations(
    graph: &Graph,
    stamps: &[Option<Stamp>],
    is_global: &[bool],
) -> Option<PathViolations> {
    let mut pass = Pass {
        graph,
        stamps,
        is_global,
        latest: vec![[None; 2]; graph.node_count()],
        first: None,
        count: 0,
    };
    for nodes in cycle::in_order(graph) {
        // Relays of a component lead from and to its one transaction, whose number is the lowest.
        let (txns, relays): (Vec<u32>, Vec<u32>) =
            nodes.into_iter().partition(|node| graph.is_txn(*node));
        if !txns.is_empty() {
            relays.iter().for_each(|relay| pass.emit(*relay, false));
        }
        txns.iter().for_each(|txn| pass.emit(*txn, true));
        relays.iter().for_each(|relay| pass.emit(*relay, true));
    }
    let (_, from, to) = pass.first?;
    let count = pass.count;
    let path = shortest_path(graph, is_global, from, to);
    Some(PathViolations { path, count })
}

struct Pass<'a> {
    graph: &'a Graph,
    stamps: &'a [Option<Stamp>],
    is_global: &'a [bool],
    /// Ordered: the latest first.
    latest: Vec<[Option<(Stamp, u32)>; 2]>,
    first: Option<(Stamp, u32, u32)>,
    count: usize,
}

impl Pass<'_> {
    /// Hands on what a node carries; `counts` is false for what will be handed on once more.
    fn emit(&mut self, node: u32, counts: bool) {
        let graph = self.graph;
        let carried = if graph.is_txn(node) && self.is_global[node as usize] {
            [self.stamps[node as usize].map(|stamp| (stamp, node)), None]
        } else {
            self.latest[node as usize]
        };
        for edge in graph.out(node) {
            let to = edge.to;
            let others = carried
                .into_iter()
                .flatten()
                .filter(|(_, source)| *source != to);
            if !graph.is_txn(to) || !self.is_global[to as usize] {
                others.for_each(|source| absorb(&mut self.latest[to as usize], source));
                continue;
            }
            let Some(later) = self.stamps[to as usize] else {
                continue;
            };
            let latest = others.max();
            if counts
                && let Some((earlier, from)) = latest
                && earlier >= later
            {
                self.count += 1;
                let found = (later, from, to);
                self.first = Some(self.first.map_or(found, |first| first.min(found)));
            }
        }
    }
}

/// Keeps the latest two of different transactions.
fn absorb(latest: &mut [Option<(Stamp, u32)>; 2], source: (Stamp, u32)) {
    let [first, second] = *latest;
    let same = |one: Option<(Stamp, u32)>| one.is_some_and(|one| one.1 == source.1);
    if same(first) || same(second) {
        return;
    }
    if first.is_none_or(|first| first < source) {
        *latest = [Some(source), first];
    } else if second.is_none_or(|second| second < source) {
        *latest = [first, Some(source)];
    }
}

/// The shortest path on which all nodes but the ends are local.
fn shortest_path(graph: &Graph, is_global: &[bool], from: u32, to: u32) -> Vec<Conflict> {
    let mut came_by: HashMap<u32, Conflict> = HashMap::new();
    let mut layer = vec![from];
    while !came_by.contains_key(&to) {
        assert!(!layer.is_empty(), "the pass came along a path");
        let mut next = Vec::new();
        for node in layer {
            graph.conflicts(node, |conflict| {
                let passes = conflict.to == to || !is_global[conflict.to as usize];
                if passes && conflict.to != from && !came_by.contains_key(&conflict.to) {
                    came_by.insert(conflict.to, conflict);
                    next.push(conflict.to);
                }
            });
        }
        layer = next;
    }
    let mut path = Vec::new();
    let mut at = to;
    while at != from {
        let step = came_by[&at];
        path.push(step);
        at = step.from;
    }
    path.reverse();
    path
}
