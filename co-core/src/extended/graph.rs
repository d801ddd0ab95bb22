//! The serialization graph of one site over single-version data, committed transactions included.
//!
//! An edge a → b says that an operation of a conflicts with a later one of b. It is recorded from *every*
//! remembered earlier accessor of the key, so that the abort of one accessor takes nothing away from the
//! others.
//!
//! Invariants:
//! - H1 An edge's head was open (neither voted nor decided) when the edge was recorded: only open transactions
//!   do operations. So a path into a decided or voted node grows only through an open node that reaches it.
//! - H2 The graph is acyclic: an operation that would close a cycle is refused.
//! - H3 A doomed node has no edges; its marks stand until it is decided, because its effects do.
//! - H4 What is forgotten is closed under predecessors and cannot come to matter again ([`Graph::forget`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::id::TxnId;

/// What an operation does to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Read,
    Write,
    Increment,
}

/// The operations that one transaction has done on one key.
#[derive(Clone, Copy, Default)]
struct Mark {
    reads: bool,
    writes: bool,
    increments: bool,
}

impl Mark {
    fn add(&mut self, mode: Mode) {
        match mode {
            Mode::Read => self.reads = true,
            Mode::Write => self.writes = true,
            Mode::Increment => self.increments = true,
        }
    }

    /// Whether `mode` does not commute with what was done.
    fn conflicts(self, mode: Mode) -> bool {
        self.in_the_way(mode) || (self.reads && mode != Mode::Read)
    }

    /// Whether `mode` has to wait for the end of whoever did this: strictness.
    fn in_the_way(self, mode: Mode) -> bool {
        self.writes || (self.increments && mode != Mode::Increment)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Open,
    Voted,
    Committed,
    Doomed,
}

struct Node<K> {
    global: bool,
    standing: Standing,
    /// When it voted and when its commit was learned; `NEVER` before that.
    voted: u64,
    learned: u64,
    successors: BTreeSet<TxnId>,
    predecessors: BTreeSet<TxnId>,
    keys: BTreeSet<K>,
}

const NEVER: u64 = u64::MAX;

/// Below this many nodes nothing is gained by forgetting early.
const SMALL: usize = 32;

/// Why an operation is not done.
pub(super) enum Refused {
    Busy(TxnId),
    Cycle,
    LatePath,
}

/// What the graph says about the vote of a global transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Yes,
    Wait,
    Overtaken,
}

pub(super) struct Graph<K> {
    nodes: BTreeMap<TxnId, Node<K>>,
    marks: BTreeMap<K, BTreeMap<TxnId, Mark>>,
    /// Counts votes and learned commits: the stamps of E2.
    clock: u64,
    /// Nodes that stood after the last look for what can be forgotten.
    kept: usize,
}

impl<K: Ord + Clone> Graph<K> {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            marks: BTreeMap::new(),
            clock: 0,
            kept: 0,
        }
    }

    pub(super) fn insert(&mut self, id: TxnId, global: bool) {
        let node = Node {
            global,
            standing: Standing::Open,
            voted: NEVER,
            learned: NEVER,
            successors: BTreeSet::new(),
            predecessors: BTreeSet::new(),
            keys: BTreeSet::new(),
        };
        self.nodes.insert(id, node);
    }

    /// Does one operation of an open node: records its edges and its mark, or says why not. After
    /// `Refused::Busy` nothing has changed; after the others the node must be doomed.
    pub(super) fn access(&mut self, id: TxnId, key: &K, mode: Mode) -> Result<(), Refused> {
        let mut earlier = Vec::new();
        for (&other, mark) in self.marks.get(key).into_iter().flatten() {
            if other == id {
                continue;
            }
            let standing = self.node(other).standing;
            if standing != Standing::Committed && mark.in_the_way(mode) {
                return Err(Refused::Busy(other));
            }
            let known = self.node(id).predecessors.contains(&other);
            if standing != Standing::Doomed && mark.conflicts(mode) && !known {
                earlier.push(other);
            }
        }
        if earlier.is_empty() {
            // No new edge, so no new path.
            self.mark(id, key, mode);
            return Ok(());
        }
        let later = self.reach([id], |node| &node.successors);
        if earlier.iter().any(|other| later.contains(other)) {
            return Err(Refused::Cycle);
        }
        for other in earlier {
            self.node_mut(other).successors.insert(id);
            self.node_mut(id).predecessors.insert(other);
        }
        self.mark(id, key, mode);
        if self.late_path(id) {
            return Err(Refused::LatePath);
        }
        Ok(())
    }

    /// Marks `key` without a look at others: for [`Graph::access`] and after a restart.
    pub(super) fn mark(&mut self, id: TxnId, key: &K, mode: Mode) {
        let marks = self.marks.entry(key.clone()).or_default();
        marks.entry(id).or_default().add(mode);
        self.node_mut(id).keys.insert(key.clone());
    }

    /// The guard of E2 (§2.7): whether the local node `id` links a global that was not decided here to one
    /// that had voted here before that. The order in which the site *learned* decisions does not tell: of two
    /// globals that were in doubt together the site may learn the later decision first.
    fn late_path(&self, id: TxnId) -> bool {
        if self.node(id).global {
            return false;
        }
        let before = self.globals(id, |node| &node.predecessors);
        let after = self.globals(id, |node| &node.successors);
        let learned = before
            .iter()
            .map(|&other| self.node(other))
            .filter(|node| node.has_voted())
            .map(|node| node.learned)
            .max();
        let voted = after
            .iter()
            .map(|&other| self.node(other))
            .filter(|node| node.has_voted())
            .map(|node| node.voted)
            .min();
        matches!((learned, voted), (Some(learned), Some(voted)) if learned >= voted)
    }

    /// Whether the global node `id` may vote: not while a global that precedes it through local nodes is
    /// undecided, and never once a global that it precedes has voted (a NO also when that one is in doubt:
    /// waiting for it to abort would be a wait against the direction of the edges, a stuck state without a
    /// cycle).
    pub(super) fn verdict(&self, id: TxnId) -> Verdict {
        let after = self.globals(id, |node| &node.successors);
        if after.iter().any(|&other| self.node(other).has_voted()) {
            return Verdict::Overtaken;
        }
        if self.undecided_before(id).is_empty() {
            Verdict::Yes
        } else {
            Verdict::Wait
        }
    }

    /// The undecided globals that precede `id` through local nodes.
    pub(super) fn undecided_before(&self, id: TxnId) -> Vec<TxnId> {
        let mut before = self.globals(id, |node| &node.predecessors);
        before.retain(|&other| self.node(other).standing != Standing::Committed);
        before
    }

    pub(super) fn vote(&mut self, id: TxnId) {
        self.clock += 1;
        let now = self.clock;
        let node = self.node_mut(id);
        node.standing = Standing::Voted;
        node.voted = now;
    }

    /// Commits a node; returns the globals that it has overtaken. They would get NO at their vote: to doom them
    /// now saves their work.
    pub(super) fn commit(&mut self, id: TxnId) -> Vec<TxnId> {
        self.clock += 1;
        let now = self.clock;
        let node = self.node_mut(id);
        node.standing = Standing::Committed;
        node.learned = now;
        if !node.global {
            return Vec::new();
        }
        let mut before = self.globals(id, |node| &node.predecessors);
        before.retain(|&other| self.node(other).standing == Standing::Open);
        before
    }

    /// Takes a doomed node out of every path (H3).
    pub(super) fn doom(&mut self, id: TxnId) {
        let node = self.node_mut(id);
        node.standing = Standing::Doomed;
        let successors = std::mem::take(&mut node.successors);
        let predecessors = std::mem::take(&mut node.predecessors);
        for other in successors {
            self.node_mut(other).predecessors.remove(&id);
        }
        for other in predecessors {
            self.node_mut(other).successors.remove(&id);
        }
    }

    pub(super) fn remove(&mut self, id: TxnId) {
        self.doom(id);
        let Some(node) = self.nodes.remove(&id) else {
            return;
        };
        for key in node.keys {
            if let Some(marks) = self.marks.get_mut(&key) {
                marks.remove(&id);
                if marks.is_empty() {
                    self.marks.remove(&key);
                }
            }
        }
    }

    /// Looks for what can be forgotten when the graph has doubled since the last look, so that the looks cost
    /// a constant share of the work; and when nothing is undecided, so that an idle site remembers nothing.
    pub(super) fn forget_sometimes(&mut self, undecided: usize) {
        if undecided == 0 || self.nodes.len() >= SMALL.max(2 * self.kept) {
            self.forget();
        }
    }

    /// Forgets the committed nodes that cannot matter any more (H4). A committed node stays
    /// - while an undecided node reaches it: a cycle may close through it;
    /// - while it is, or is reached by, a global that was learned after the vote of some global that an *open*
    ///   node reaches: that open node may come to link the two, against E2.
    ///
    /// By H1 neither can become true again once both are false.
    pub(super) fn forget(&mut self) {
        let open = self.with_standing(|standing| standing == Standing::Open);
        let earliest_vote = self
            .reach(open, |node| &node.successors)
            .into_iter()
            .map(|id| self.node(id))
            .filter(|node| node.global && node.has_voted())
            .map(|node| node.voted)
            .min()
            .unwrap_or(NEVER);
        let undecided = self.with_standing(|standing| standing != Standing::Committed);
        let late = self
            .nodes
            .iter()
            .filter(|(_, node)| node.global && node.standing == Standing::Committed)
            .filter(|(_, node)| node.learned >= earliest_vote)
            .map(|(&id, _)| id);
        let needed = self.reach(undecided.into_iter().chain(late), |node| &node.successors);
        let all: Vec<_> = self.nodes.keys().copied().collect();
        for id in all {
            if !needed.contains(&id) {
                self.remove(id);
            }
        }
        self.kept = self.nodes.len();
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.marks.is_empty()
    }

    fn with_standing(&self, wanted: impl Fn(Standing) -> bool) -> Vec<TxnId> {
        let nodes = self.nodes.iter();
        nodes
            .filter(|(_, node)| wanted(node.standing))
            .map(|(&id, _)| id)
            .collect()
    }

    /// All nodes on paths from `from`, those included.
    fn reach(
        &self,
        from: impl IntoIterator<Item = TxnId>,
        next: impl Fn(&Node<K>) -> &BTreeSet<TxnId>,
    ) -> BTreeSet<TxnId> {
        let mut seen = BTreeSet::new();
        let mut queue: Vec<_> = from.into_iter().collect();
        while let Some(id) = queue.pop() {
            if seen.insert(id) {
                queue.extend(next(self.node(id)));
            }
        }
        seen
    }

    /// The globals at the ends of the paths from `from` whose inner nodes are local.
    fn globals(&self, from: TxnId, next: impl Fn(&Node<K>) -> &BTreeSet<TxnId>) -> Vec<TxnId> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut queue: Vec<_> = next(self.node(from)).iter().copied().collect();
        while let Some(id) = queue.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = self.node(id);
            if node.global {
                found.push(id);
            } else {
                queue.extend(next(node));
            }
        }
        found
    }

    fn node(&self, id: TxnId) -> &Node<K> {
        self.nodes
            .get(&id)
            .expect("edges and marks name nodes that stand: a node leaves with its edges and marks")
    }

    fn node_mut(&mut self, id: TxnId) -> &mut Node<K> {
        self.nodes
            .get_mut(&id)
            .expect("edges and marks name nodes that stand: a node leaves with its edges and marks")
    }
}

impl<K> Node<K> {
    /// Voted, or committed: in doubt or in the past.
    fn has_voted(&self) -> bool {
        matches!(self.standing, Standing::Voted | Standing::Committed)
    }
}
