//! The dependency graph: typed links, in compressed rows.
//!
//! Nodes are transactions, by number, and behind them virtual nodes that stand for many links: "each of these
//! precedes each of those" takes a node in the middle and not a link for each pair. A link into a virtual node carries
//! the class, links out of it are [`Class::PASS`].
//!
//! - **G1** A path from one transaction through virtual nodes to another is a link between the two, of the class that
//!   its first link has, and each such link is meant.
//! - **G2** No such path leads from a transaction to itself.
//! - **G3** Links between virtual nodes lead to higher numbers.

/// What kind of link it is: one bit each, so that sets of classes are masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(pub(super) u8);

impl Class {
    /// Write-write.
    pub(crate) const WW: Self = Self(1);
    /// Write-read.
    pub(crate) const WR: Self = Self(2);
    /// Read-write, an anti-dependency.
    pub(crate) const RW: Self = Self(4);
    /// Session order.
    pub(crate) const SESSION: Self = Self(8);
    /// Real time.
    pub(crate) const REALTIME: Self = Self(16);
    /// On the way out of a virtual node.
    pub(crate) const PASS: Self = Self(32);

    /// Either.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have a class in common.
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One link.
#[derive(Debug, Clone, Copy)]
struct Link {
    from: u32,
    to: u32,
    class: Class,
}

/// Links while they are found.
#[derive(Debug, Default)]
pub(crate) struct Links {
    list: Vec<Link>,
    txns: u32,
    nodes: u32,
    classes: u8,
}

impl Links {
    /// None yet, among so many transactions.
    pub(crate) fn new(txns: u32, expected: usize) -> Self {
        Self {
            list: Vec::with_capacity(expected),
            txns,
            nodes: txns,
            classes: 0,
        }
    }

    /// Whether no link was found.
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether some transaction depends on another by what it read or wrote, and not by time alone.
    pub(super) const fn has_dependencies(&self) -> bool {
        let all = Class::WW.or(Class::WR).or(Class::RW);
        self.classes & all.0 != 0
    }

    /// One more; from a transaction to itself is nothing.
    pub(crate) fn push(&mut self, from: u32, to: u32, class: Class) {
        debug_assert!(
            from < self.txns || to < self.txns || from < to || self.txns == 0,
            "G3"
        );
        if from != to {
            self.classes |= class.0;
            self.list.push(Link { from, to, class });
        }
    }

    /// A new virtual node.
    ///
    /// # Panics
    ///
    /// If there are more than 32 bits can count.
    pub(crate) fn virtual_node(&mut self) -> u32 {
        let node = self.nodes;
        self.nodes = node
            .checked_add(1)
            .expect("a graph of fewer than 2^32 nodes");
        node
    }

    /// Each of `before` precedes each of `after`, but none itself (G2); in linearly many links. Sorts both.
    pub(super) fn all_to_all(&mut self, before: &mut Vec<u32>, after: &mut Vec<u32>, class: Class) {
        before.sort_unstable();
        before.dedup();
        after.sort_unstable();
        after.dedup();
        if before.len() * after.len() <= 2 * (before.len() + after.len()) {
            for &from in before.iter() {
                after.iter().for_each(|&to| self.push(from, to, class));
            }
            return;
        }
        let both: Vec<u32> = before
            .iter()
            .copied()
            .filter(|txn| after.binary_search(txn).is_ok())
            .collect();
        let is_both = |txn: &u32| both.binary_search(txn).is_ok();
        let only_after: Vec<u32> = after.iter().copied().filter(|txn| !is_both(txn)).collect();
        let outside = self.fan_out(&only_after);
        let inside = self.fan_out(&both);
        for &from in before.iter() {
            self.enter(from, outside, class);
            if !is_both(&from) {
                self.enter(from, inside, class);
            }
        }
        self.each_to_the_others(&both, class);
    }

    /// A virtual node that leads to all of them.
    fn fan_out(&mut self, to: &[u32]) -> Option<u32> {
        if to.is_empty() {
            return None;
        }
        let node = self.virtual_node();
        to.iter().for_each(|&txn| self.push(node, txn, Class::PASS));
        Some(node)
    }

    fn enter(&mut self, from: u32, node: Option<u32>, class: Class) {
        if let Some(node) = node {
            self.push(from, node, class);
        }
    }

    /// Each precedes each other: through one chain over those before it, and one over those behind it.
    fn each_to_the_others(&mut self, txns: &[u32], class: Class) {
        let count = u32::try_from(txns.len()).expect("transactions are counted in 32 bits");
        let mut chain = |txns: &mut dyn Iterator<Item = u32>| {
            let first = self.nodes;
            self.nodes = first
                .checked_add(count)
                .expect("a graph of fewer than 2^32 nodes");
            let mut passed: Option<u32> = None;
            // From the highest number down, because each leads to those that were passed (G3).
            for (txn, node) in txns.zip((first..self.nodes).rev()) {
                self.enter(txn, passed, class);
                self.push(node, txn, Class::PASS);
                self.enter(node, passed, Class::PASS);
                passed = Some(node);
            }
        };
        chain(&mut txns.iter().copied());
        chain(&mut txns.iter().rev().copied());
    }

    /// The graph of all links.
    pub(crate) fn into_graph(self) -> Graph {
        let mut first = vec![0_u32; self.nodes as usize + 1];
        for link in &self.list {
            first[link.from as usize + 1] += 1;
        }
        for node in 0..self.nodes as usize {
            first[node + 1] += first[node];
        }
        let mut next = first.clone();
        let mut to = vec![0_u32; self.list.len()];
        let mut class = vec![Class(0); self.list.len()];
        for link in &self.list {
            let place = next[link.from as usize] as usize;
            next[link.from as usize] += 1;
            to[place] = link.to;
            class[place] = link.class;
        }
        Graph {
            first,
            to,
            class,
            txns: self.txns,
            classes: Class(self.classes),
        }
    }
}

/// The graph in compressed rows.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Where the links out of each node begin; one more entry than nodes.
    first: Vec<u32>,
    to: Vec<u32>,
    class: Vec<Class>,
    txns: u32,
    classes: Class,
}

impl Graph {
    /// How many transactions there are; nodes from there on are virtual.
    pub(super) const fn txns(&self) -> u32 {
        self.txns
    }

    /// Every class that there is a link of.
    pub(super) const fn classes(&self) -> Class {
        self.classes
    }

    /// Only the links of some classes.
    pub(super) const fn only(&self, classes: Class) -> Only<'_> {
        Only {
            graph: self,
            classes,
        }
    }

    /// The links out of a node.
    pub(super) fn links(&self, node: u32) -> impl Iterator<Item = (u32, Class)> {
        let range = self.first[node as usize] as usize..self.first[node as usize + 1] as usize;
        range.map(|place| (self.to[place], self.class[place]))
    }
}

/// What a search for components needs to know.
pub(super) trait Digraph {
    /// How many nodes there are.
    fn nodes(&self) -> u32;
    /// Which hops lead out of a node.
    fn span(&self, node: u32) -> (u32, u32);
    /// Where a hop leads; `None` if it is not part of the graph that is meant.
    fn hop(&self, node: u32, hop: u32) -> Option<u32>;
}

impl Digraph for Graph {
    fn nodes(&self) -> u32 {
        u32::try_from(self.first.len() - 1).expect("counted in 32 bits")
    }

    fn span(&self, node: u32) -> (u32, u32) {
        (self.first[node as usize], self.first[node as usize + 1])
    }

    fn hop(&self, _: u32, hop: u32) -> Option<u32> {
        Some(self.to[hop as usize])
    }
}

/// Part of a graph: the nodes of one component, and the links between them.
#[derive(Debug)]
pub(super) struct Part {
    /// The nodes' numbers in the whole graph.
    pub(super) nodes: Vec<u32>,
    /// As in [`Graph`].
    graph: Graph,
}

impl Part {
    /// The part of these nodes. `places` is scratch space with an entry for each node of the graph.
    pub(super) fn of(graph: &Graph, nodes: Vec<u32>, places: &mut [u32]) -> Self {
        for (place, &node) in (0..).zip(&nodes) {
            places[node as usize] = place;
        }
        let mut links = Links::new(0, nodes.len() * 2);
        links.nodes = u32::try_from(nodes.len()).expect("counted in 32 bits");
        for (place, &node) in (0..).zip(&nodes) {
            for (to, class) in graph.links(node) {
                let there = places[to as usize];
                if nodes.get(there as usize) == Some(&to) {
                    links.push(place, there, class);
                }
            }
        }
        let graph = links.into_graph();
        Self { nodes, graph }
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> u32 {
        self.graph.nodes()
    }

    /// The links out of a node, both by place in this part.
    pub(super) fn links(&self, place: u32) -> impl Iterator<Item = (u32, Class)> {
        self.graph.links(place)
    }

    /// Every class that there is a link of.
    pub(super) const fn classes(&self) -> Class {
        self.graph.classes()
    }

    /// Only the links of some classes.
    pub(super) const fn only(&self, classes: Class) -> Only<'_> {
        self.graph.only(classes)
    }

    /// Only the links of some classes, and of two anti-dependencies never one after the other: node `2n` is `n` after
    /// any other link, node `2n + 1` is `n` after an anti-dependency.
    pub(super) const fn nonadjacent(&self, classes: Class) -> Nonadjacent<'_> {
        Nonadjacent {
            graph: &self.graph,
            classes,
        }
    }
}

/// See [`Part::only`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Only<'a> {
    graph: &'a Graph,
    classes: Class,
}

impl Digraph for Only<'_> {
    fn nodes(&self) -> u32 {
        self.graph.nodes()
    }

    fn span(&self, node: u32) -> (u32, u32) {
        self.graph.span(node)
    }

    fn hop(&self, _: u32, hop: u32) -> Option<u32> {
        let there = self.graph.class[hop as usize].meets(self.classes.or(Class::PASS));
        there.then(|| self.graph.to[hop as usize])
    }
}

/// See [`Part::nonadjacent`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonadjacent<'a> {
    graph: &'a Graph,
    classes: Class,
}

impl Digraph for Nonadjacent<'_> {
    fn nodes(&self) -> u32 {
        2 * self.graph.nodes()
    }

    fn span(&self, node: u32) -> (u32, u32) {
        self.graph.span(node / 2)
    }

    fn hop(&self, node: u32, hop: u32) -> Option<u32> {
        let class = self.graph.class[hop as usize];
        let after_anti = node % 2;
        let state = step(class, after_anti, self.classes)?;
        Some(2 * self.graph.to[hop as usize] + state)
    }
}

/// The state after a link: 1 after an anti-dependency, 0 after another; `None` if the link may not be taken.
pub(super) const fn step(class: Class, after_anti: u32, classes: Class) -> Option<u32> {
    if class.meets(Class::PASS) {
        Some(after_anti)
    } else if !class.meets(classes) {
        None
    } else if class.meets(Class::RW) {
        if after_anti == 1 { None } else { Some(1) }
    } else {
        Some(0)
    }
}
