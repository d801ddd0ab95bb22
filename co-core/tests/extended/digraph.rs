//! Graphs of at most 32 nodes, one word of successors a node: the judge of every random schedule.

pub(crate) const NODES: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digraph([u32; NODES]);

impl Digraph {
    pub(crate) fn add(&mut self, from: usize, to: usize) {
        if from != to {
            self.0[from] |= 1 << to;
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (mine, its) in self.0.iter_mut().zip(other.0) {
            *mine |= its;
        }
    }

    pub(crate) fn successors(&self, of: usize) -> impl Iterator<Item = usize> {
        members(self.0[of])
    }

    /// Without the nodes outside `of`.
    pub(crate) fn restricted(&self, of: u32) -> Self {
        let mut inner = Self::default();
        for node in members(of) {
            inner.0[node] = self.0[node] & of;
        }
        inner
    }

    /// The nodes at the other ends of paths from `from` whose inner nodes are all in `through`.
    pub(crate) fn reach(&self, from: usize, through: u32) -> u32 {
        let mut found = self.0[from];
        let mut done = 0;
        loop {
            let next = found & through & !done;
            if next == 0 {
                return found;
            }
            for node in members(next) {
                found |= self.0[node];
            }
            done |= next;
        }
    }

    pub(crate) fn has_cycle(&self) -> bool {
        let mut left = u32::MAX;
        loop {
            // A node without successors among those left is on no cycle.
            let ends =
                (0..NODES).filter(|&node| left & (1 << node) != 0 && self.0[node] & left == 0);
            let ends = ends.fold(0, |set, node| set | (1 << node));
            if ends == 0 {
                return left != 0;
            }
            left &= !ends;
        }
    }
}

pub(crate) fn members(set: u32) -> impl Iterator<Item = usize> {
    (0..NODES).filter(move |&node| set & (1 << node) != 0)
}

#[test]
fn a_cycle_is_seen_and_a_chain_is_none() {
    let mut graph = Digraph::default();
    graph.add(1, 2);
    graph.add(2, 3);
    assert!(!graph.has_cycle());
    assert_eq!(graph.reach(1, 1 << 2), 1 << 2 | 1 << 3);
    assert_eq!(graph.reach(1, 0), 1 << 2);
    graph.add(3, 1);
    assert!(graph.has_cycle());
    assert!(!graph.restricted(1 << 1 | 1 << 2).has_cycle());
}
