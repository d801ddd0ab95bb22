//! Cycle search over a graph that others are changing.
//!
//! Detection is monotone: edges among undecided transactions only grow (G4), so what a search has seen
//! stays true and what it has missed was added later, by a transaction that will search for itself when
//! it begins to wait. Of two transactions that close a cycle at once, each adds its edges before it
//! searches; the mutexes of the lists order the two, so at least one sees the whole cycle.

use std::collections::{BTreeMap, VecDeque};

use crate::graph::edge::Tie;
use crate::graph::node::Node;
use crate::id::TxnId;
use crate::outcome::State;
use crate::sync::Arc;

/// A shortest cycle through `start`, in edge order and beginning with `start`; `None` if there is none.
///
/// Breadth first, visits only what is reachable from `start`, holds one list lock at a time. Doomed and
/// decided nodes are on their way out and close no cycle; voted ones are on none (G3).
pub(crate) fn find_cycle(start: &Arc<Node>) -> Option<Vec<Arc<Node>>> {
    let mut reached_from: BTreeMap<TxnId, Arc<Node>> = BTreeMap::new();
    let mut queue = VecDeque::from([Arc::clone(start)]);
    while let Some(node) = queue.pop_front() {
        if !is_alive(&node) {
            continue;
        }
        for next in successors_of(&node) {
            if next.id == start.id {
                return Some(path_to(&node, start, &reached_from));
            }
            if !is_alive(&next) || reached_from.contains_key(&next.id) {
                continue;
            }
            reached_from.insert(next.id, Arc::clone(&node));
            queue.push_back(next);
        }
    }
    None
}

/// How many undecided transactions the longest chain has that ends in `node`, each of which has read from the
/// one before; `None` if that is `longest` or more, so that nobody may be added.
pub(crate) fn chain_length(node: &Arc<Node>, longest: usize) -> Option<usize> {
    let length = measure(node, longest, &mut BTreeMap::new());
    (length < longest).then_some(length)
}

/// Many paths lead through few nodes, so each that has several sources is measured once. What is too long is not
/// followed to its end, and a cycle, which only a misuse of `edge` can make of such edges, counts as too long.
fn measure(node: &Arc<Node>, longest: usize, known: &mut BTreeMap<TxnId, usize>) -> usize {
    let mut node = Arc::clone(node);
    let mut length = 1;
    while length < longest {
        let sources = sources_of(&node);
        match &sources[..] {
            [] => return length,
            [only] => {
                length += 1;
                node = Arc::clone(only);
            }
            several => {
                if let Some(measured) = known.get(&node.id) {
                    return length + measured;
                }
                known.insert(node.id, longest);
                let above = several.iter().map(|source| measure(source, longest, known));
                let above = above.max().unwrap_or(0);
                known.insert(node.id, above);
                return length + above;
            }
        }
    }
    length
}

/// The undecided transactions that `node` has read from.
fn sources_of(node: &Node) -> Vec<Arc<Node>> {
    let predecessors = node.links().predecessors.lock();
    let sources = predecessors.iter();
    let sources =
        sources.filter(|(source, tie)| *tie == Tie::Data && source.state().is_undecided());
    sources.map(|(source, _)| Arc::clone(source)).collect()
}

/// Whether a cycle through `node` has to be broken.
pub(crate) fn is_alive(node: &Node) -> bool {
    let state = node.state();
    state.is_unvoted() && state != State::Doomed
}

fn successors_of(node: &Node) -> Vec<Arc<Node>> {
    node.links()
        .successors
        .lock()
        .iter()
        .map(|entry| Arc::clone(&entry.node))
        .collect()
}

fn path_to(
    last: &Arc<Node>,
    start: &Arc<Node>,
    reached_from: &BTreeMap<TxnId, Arc<Node>>,
) -> Vec<Arc<Node>> {
    let mut path = vec![Arc::clone(last)];
    let mut node = last;
    while node.id != start.id {
        node = reached_from
            .get(&node.id)
            .expect("every queued node but the start was reached");
        path.push(Arc::clone(node));
    }
    path.reverse();
    path
}
