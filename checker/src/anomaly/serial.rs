//! A serial order that the graph allows (Kahn, 1962).

use super::graph::{Class, Digraph as _, Graph};

impl Graph {
    /// The transactions in an order that no link of other classes than `ignored` contradicts; `None` if those close a
    /// cycle. Of transactions that could come next the one that could first does.
    pub(super) fn serial_order(&self, ignored: Class) -> Option<Vec<u32>> {
        let nodes = self.nodes();
        let mut waits_for = vec![0_u32; nodes as usize];
        let followers = |node: u32| {
            let links = self.links(node);
            links.filter_map(move |(to, class)| (!class.meets(ignored)).then_some(to))
        };
        for node in 0..nodes {
            followers(node).for_each(|to| waits_for[to as usize] += 1);
        }
        let mut order: Vec<u32> = (0..nodes)
            .filter(|&node| waits_for[node as usize] == 0)
            .collect();
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            for to in followers(node) {
                waits_for[to as usize] -= 1;
                if waits_for[to as usize] == 0 {
                    order.push(to);
                }
            }
        }
        let is_complete = order.len() == nodes as usize;
        order.retain(|&node| node < self.txns());
        is_complete.then_some(order)
    }
}
