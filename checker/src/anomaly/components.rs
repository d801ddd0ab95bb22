//! Strongly connected components (Tarjan, 1972), without recursion.

use super::graph::Digraph;

/// Not visited yet.
const NEW: u32 = u32::MAX;

/// The components of a graph that have more than one node, numbered from zero.
#[derive(Debug)]
pub(super) struct Components {
    /// The component of each node; [`Components::ALONE`] for one that is on no cycle.
    of: Vec<u32>,
    count: u32,
}

impl Components {
    /// Of a node that is on no cycle.
    const ALONE: u32 = u32::MAX;

    /// Finds them.
    pub(super) fn of(graph: &impl Digraph) -> Self {
        let nodes = graph.nodes() as usize;
        let mut search = Search {
            graph,
            order: vec![NEW; nodes],
            low: vec![0; nodes],
            next: 0,
            open: Vec::new(),
            found: Self {
                of: vec![Self::ALONE; nodes],
                count: 0,
            },
        };
        for node in 0..graph.nodes() {
            if search.order[node as usize] == NEW {
                search.from(node);
            }
        }
        search.found
    }

    /// Whether there is a cycle.
    pub(super) const fn any(&self) -> bool {
        self.count > 0
    }

    /// The component of a node, if it is on a cycle.
    pub(super) fn component(&self, node: u32) -> Option<u32> {
        let component = self.of[node as usize];
        (component != Self::ALONE).then_some(component)
    }

    /// Whether two nodes are on a cycle together.
    pub(super) fn together(&self, one: u32, other: u32) -> bool {
        let component = self.of[one as usize];
        component != Self::ALONE && component == self.of[other as usize]
    }

    /// The nodes of each component, in ascending order; the components by size, small ones first.
    pub(super) fn lists(&self) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); self.count as usize];
        for (node, &component) in (0_u32..).zip(&self.of) {
            if component != Self::ALONE {
                lists[component as usize].push(node);
            }
        }
        lists.sort_by_key(Vec::len);
        lists
    }
}

struct Search<'a, G> {
    graph: &'a G,
    /// When each node was met; `CLOSED` is told by `low` (see `leave`).
    order: Vec<u32>,
    low: Vec<u32>,
    next: u32,
    /// Met, and not yet known to which component it belongs.
    open: Vec<u32>,
    found: Components,
}

/// The `low` of a node whose component is complete: never the minimum.
const CLOSED: u32 = u32::MAX;

impl<G: Digraph> Search<'_, G> {
    fn from(&mut self, root: u32) {
        let mut path = Vec::new();
        self.enter(root, &mut path);
        while let Some((node, hop, end)) = path.last_mut() {
            let node = *node;
            if *hop == *end {
                path.pop();
                self.leave(node, path.last().map(|&(parent, _, _)| parent));
                continue;
            }
            let taken = *hop;
            *hop += 1;
            let Some(to) = self.graph.hop(node, taken) else {
                continue;
            };
            if self.order[to as usize] == NEW {
                self.enter(to, &mut path);
            } else if self.low[to as usize] != CLOSED {
                let seen = self.order[to as usize];
                self.low[node as usize] = self.low[node as usize].min(seen);
            }
        }
    }

    fn enter(&mut self, node: u32, path: &mut Vec<(u32, u32, u32)>) {
        self.order[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.open.push(node);
        let (first, end) = self.graph.span(node);
        path.push((node, first, end));
    }

    fn leave(&mut self, node: u32, parent: Option<u32>) {
        let low = self.low[node as usize];
        if low == self.order[node as usize] {
            self.close(node);
        } else if let Some(parent) = parent {
            self.low[parent as usize] = self.low[parent as usize].min(low);
        }
    }

    /// `node` is the first that was met of its component: the rest is what was opened since.
    fn close(&mut self, node: u32) {
        let alone = self.open.last() == Some(&node);
        while let Some(member) = self.open.pop() {
            self.low[member as usize] = CLOSED;
            if !alone {
                self.found.of[member as usize] = self.found.count;
            }
            if member == node {
                break;
            }
        }
        self.found.count += u32::from(!alone);
    }
}
