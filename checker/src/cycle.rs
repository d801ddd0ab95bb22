//! Finds out whether the graph has a cycle, gives an order if not, and a shortest cycle if so.
//!
//! Two transactions lie on a common cycle exactly when they share a strongly connected component;
//! a component with one transaction is no cycle, even when relays share it (I9). The component
//! search is Tarjan's, iterative, in time linear in nodes and edges.
//!
//! A shortest cycle is found by breadth-first search from the transactions of the components. To
//! search from all of them costs `nodes * edges` of a component, so the effort is bounded by
//! [`SEARCH_BUDGET_EDGES`]: starts with many edges both in and out come first (short cycles pass
//! through them most often), and the result says whether the search was exhaustive.

use crate::graph::{Conflict, Graph, Kind};

/// How many edges the search for a shortest cycle follows before it settles for the best so far.
pub(crate) const SEARCH_BUDGET_EDGES: u64 = 20_000_000;

/// What the component search found.
#[derive(Debug)]
pub(crate) enum Shape {
    /// No cycle. The transactions in an order that respects every edge.
    Acyclic(Vec<u32>),
    /// Cycles.
    Cyclic(Components),
}

/// The components that hold cycles.
#[derive(Debug)]
pub(crate) struct Components {
    /// For each, its transactions in ascending order (at least two).
    pub(crate) groups: Vec<Vec<u32>>,
    /// The component number of every node.
    of: Vec<u32>,
}

impl Components {
    /// Whether two transactions are in one component.
    pub(crate) fn are_together(&self, one: u32, other: u32) -> bool {
        self.of[one as usize] == self.of[other as usize]
    }
}

/// A cycle, as conflicts that each start where the one before ends.
#[derive(Debug)]
pub(crate) struct FoundCycle {
    pub(crate) conflicts: Vec<Conflict>,
    /// Whether the search was complete, so that no shorter cycle exists.
    pub(crate) exhaustive: bool,
}

/// Looks for cycles among transactions.
pub(crate) fn shape(graph: &Graph) -> Shape {
    let (of, members) = components(graph);
    let mut groups = Vec::new();
    let mut order = Vec::with_capacity(graph.txn_count());
    // Tarjan completes a component after everything it leads to.
    for mut group in members.into_iter().rev() {
        group.retain(|node| graph.is_txn(*node));
        group.sort_unstable();
        order.extend_from_slice(&group);
        if group.len() > 1 {
            groups.push(group);
        }
    }
    assert_eq!(
        order.len(),
        graph.txn_count(),
        "every transaction is in one component"
    );
    if groups.is_empty() {
        Shape::Acyclic(order)
    } else {
        Shape::Cyclic(Components { groups, of })
    }
}

/// All nodes, relays too, by components: each before whatever it leads to, and ascending within a component.
pub(crate) fn in_order(graph: &Graph) -> Vec<Vec<u32>> {
    let (_, mut members) = components(graph);
    members.reverse();
    members.iter_mut().for_each(|group| group.sort_unstable());
    members
}

const UNSEEN: u32 = u32::MAX;

/// Tarjan's algorithm with an explicit stack: the component of each node, and the nodes of each
/// component in order of completion.
fn components(graph: &Graph) -> (Vec<u32>, Vec<Vec<u32>>) {
    let nodes = graph.node_count();
    let mut search = Tarjan {
        order: vec![UNSEEN; nodes],
        low: vec![0; nodes],
        of: vec![UNSEEN; nodes],
        open: Vec::new(),
        groups: Vec::new(),
        clock: 0,
        component: 0,
    };
    let mut path: Vec<(u32, usize)> = Vec::new();
    for root in (0u32..).take(nodes) {
        if search.order[root as usize] != UNSEEN {
            continue;
        }
        search.enter(root);
        path.push((root, 0));
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if let Some(edge) = graph.out(node).get(*next) {
                *next += 1;
                if search.order[edge.to as usize] == UNSEEN {
                    search.enter(edge.to);
                    path.push((edge.to, 0));
                } else if search.of[edge.to as usize] == UNSEEN {
                    let seen = search.order[edge.to as usize];
                    search.lower(node, seen);
                }
            } else {
                search.leave(node);
                path.pop();
                if let Some((parent, _)) = path.last() {
                    let low = search.low[node as usize];
                    search.lower(*parent, low);
                }
            }
        }
    }
    (search.of, search.groups)
}

struct Tarjan {
    order: Vec<u32>,
    low: Vec<u32>,
    of: Vec<u32>,
    open: Vec<u32>,
    groups: Vec<Vec<u32>>,
    clock: u32,
    component: u32,
}

impl Tarjan {
    fn enter(&mut self, node: u32) {
        self.order[node as usize] = self.clock;
        self.low[node as usize] = self.clock;
        self.clock += 1;
        self.open.push(node);
    }

    fn lower(&mut self, node: u32, to: u32) {
        let low = &mut self.low[node as usize];
        *low = (*low).min(to);
    }

    fn leave(&mut self, node: u32) {
        if self.low[node as usize] != self.order[node as usize] {
            return;
        }
        let mut group = Vec::new();
        while let Some(member) = self.open.pop() {
            self.of[member as usize] = self.component;
            group.push(member);
            if member == node {
                break;
            }
        }
        self.groups.push(group);
        self.component += 1;
    }
}

/// A shortest cycle, within the budget.
pub(crate) fn shortest_cycle(graph: &Graph, components: &Components, budget: u64) -> FoundCycle {
    let mut search = Search::new(graph, components, budget);
    let mut best: Option<Vec<Conflict>> = None;
    for start in starts_by_promise(graph, components) {
        if best.as_ref().is_some_and(|cycle| cycle.len() == 2) {
            break;
        }
        if search.spent >= budget && best.is_some() {
            break;
        }
        let limit = best.as_ref().map_or(usize::MAX, |cycle| cycle.len() - 1);
        best = search.through(start, limit).or(best);
    }
    let conflicts = best.expect("a component of two transactions holds a cycle");
    assert!(
        conflicts
            .iter()
            .zip(conflicts.iter().cycle().skip(1))
            .all(|(a, b)| a.to == b.from),
        "a cycle closes"
    );
    let exhaustive = conflicts.len() == 2 || search.spent < budget;
    FoundCycle {
        conflicts,
        exhaustive,
    }
}

/// The transactions on cycles, the best connected first.
fn starts_by_promise(graph: &Graph, components: &Components) -> Vec<u32> {
    let mut into = vec![0u32; graph.node_count()];
    let mut out = vec![0u32; graph.node_count()];
    for node in (0u32..).take(graph.node_count()) {
        for edge in graph.out(node) {
            if components.of[node as usize] == components.of[edge.to as usize] {
                out[node as usize] += 1;
                into[edge.to as usize] += 1;
            }
        }
    }
    let mut starts: Vec<u32> = components.groups.iter().flatten().copied().collect();
    let promise = |node: &u32| into[*node as usize].min(out[*node as usize]);
    starts.sort_by_key(|node| (std::cmp::Reverse(promise(node)), *node));
    starts
}

/// Breadth-first search, one layer for each transaction. Marks are stamped with the number of the
/// search, so nothing is cleared between two searches.
struct Search<'a> {
    graph: &'a Graph,
    components: &'a Components,
    budget: u64,
    spent: u64,
    round: u32,
    /// The last round that reached the node.
    reached: Vec<u32>,
    /// The last round that reached the relay straight from its start; such a visit must not hide
    /// the relay from others, because only they may use it to close the cycle (I9).
    reached_first: Vec<u32>,
    /// How the round reached the transaction.
    came_by: Vec<Option<Conflict>>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, components: &'a Components, budget: u64) -> Self {
        let nodes = graph.node_count();
        Self {
            graph,
            components,
            budget,
            spent: 0,
            round: 0,
            reached: vec![0; nodes],
            reached_first: vec![0; nodes],
            came_by: vec![None; graph.txn_count()],
        }
    }

    /// A shortest cycle through `start` of at most `limit` conflicts.
    fn through(&mut self, start: u32, limit: usize) -> Option<Vec<Conflict>> {
        self.round += 1;
        self.reached[start as usize] = self.round;
        let mut layer = vec![start];
        for _ in 0..limit {
            let mut next = Vec::new();
            for from in layer {
                if let Some(closing) = self.expand(start, from, &mut next) {
                    return Some(self.trace(start, closing));
                }
            }
            // A first cycle is always found; later ones must be worth their cost.
            if next.is_empty() || (limit != usize::MAX && self.spent >= self.budget) {
                return None;
            }
            layer = next;
        }
        None
    }

    /// Reaches every transaction that `from` conflicts into; returns the conflict that closes the
    /// cycle, if there is one.
    fn expand(&mut self, start: u32, from: u32, next: &mut Vec<u32>) -> Option<Conflict> {
        let graph = self.graph;
        let mut stack = vec![(from, Kind::Chain)];
        while let Some((node, kind)) = stack.pop() {
            for edge in graph.out(node) {
                let to = edge.to as usize;
                self.spent += 1;
                if self.components.of[to] != self.components.of[start as usize] {
                    continue;
                }
                let conflict = Conflict {
                    from,
                    to: edge.to,
                    key: edge.key,
                    kind: kind.max(edge.kind),
                };
                if edge.to == start {
                    if from != start {
                        return Some(conflict);
                    }
                } else if graph.is_txn(edge.to) {
                    if self.reached[to] != self.round {
                        self.reached[to] = self.round;
                        self.came_by[to] = Some(conflict);
                        next.push(edge.to);
                    }
                } else {
                    let marks = if from == start {
                        &mut self.reached_first
                    } else {
                        &mut self.reached
                    };
                    if marks[to] != self.round {
                        marks[to] = self.round;
                        stack.push((edge.to, conflict.kind));
                    }
                }
            }
        }
        None
    }

    fn trace(&self, start: u32, closing: Conflict) -> Vec<Conflict> {
        let mut cycle = vec![closing];
        let mut at = closing.from;
        while at != start {
            let step = self.came_by[at as usize].expect("a reached transaction knows its way");
            cycle.push(step);
            at = step.from;
        }
        cycle.reverse();
        cycle
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Keys, Members};
    use crate::index::{SiteIndex, committed};
    use crate::parse::read_history;

    fn graph(lines: &str) -> Graph {
        let text = format!("co-history 1 A\n{lines}\nend {}\n", lines.lines().count());
        let sites = [read_history(text.as_bytes(), "f").unwrap()];
        let index = SiteIndex::new(&sites[0]);
        let members = Members::new(&sites);
        let mut builder = GraphBuilder::new(&members);
        let runs = builder.add_versions(0, &index, Keys { first: 0 });
        for (record, committed) in committed(&sites[0]) {
            for sight in &index.sights(record, committed).seen {
                builder.add_sight(members.node(0, record), sight, &index, &runs);
            }
        }
        builder.finish()
    }

    /// How long a cycle is found within a budget, and whether it is said to be a shortest one.
    fn found(graph: &Graph, budget: u64) -> (usize, bool) {
        let Shape::Cyclic(components) = shape(graph) else {
            panic!("no cycle")
        };
        let found = shortest_cycle(graph, &components, budget);
        (found.conflicts.len(), found.exhaustive)
    }

    /// Each of three reads the initial state of what the next one writes.
    const THREE: &str = "c L1 1 1 r:b@0 w:a\nc L2 2 2 r:c@0 w:b\nc L3 3 3 r:a@0 w:c";

    #[test]
    fn a_cycle_is_found_whatever_the_budget_and_called_shortest_only_within_it() {
        let three = graph(THREE);
        assert_eq!(found(&three, u64::MAX), (3, true));
        assert_eq!(found(&three, 1), (3, false));
        assert_eq!(found(&three, 0), (3, false));
        let two = graph("c L1 1 1 r:b@0 w:a\nc L2 2 2 r:a@0 w:b");
        assert_eq!(found(&two, 0), (2, true), "there is none shorter");
    }

    /// Counted in edges: three from the first start, and two from each other, which looks for shorter ones only.
    #[test]
    fn the_budget_is_what_the_search_costs() {
        let three = graph(THREE);
        assert_eq!(found(&three, 7), (3, false));
        assert_eq!(found(&three, 8), (3, true));
    }
}
