//! The conflict graph of all sites together, in space linear in the history.
//!
//! A node is a committed transaction (a global one is one node however many sites it visited) or a
//! *relay*. Relays keep runs of increments linear: increments commute, so a read after `m` of them
//! depends on all `m`, and a run of `m` increments with `k` reads would need `m * k` edges. For a
//! run `i1..im` between the writes `W` and `N` the graph holds instead
//!
//! ```text
//!   W ──► s1 ──► s2 ──► ... ──► sm ──► N        sj ──► ij     (everything from ij on)
//!          i1 ──► p2 ──► ... ──► pm ──► N        ij ──► pj     (everything up to ij)
//!   pj ──► a reader that saw ij          a reader that saw the version before ij ──► sj
//! ```
//!
//! where `i1` itself plays the part of `p1`. A conflict `a → b` is an edge, or a path from `a` to
//! `b` whose inner nodes are all relays.
//!
//! - **I7** Transactions are the nodes `0..txn_count`, relays follow, and an edge between two
//!   relays leads to the higher number; so relays alone form no cycle.
//! - **I8** On every path between two transactions through relays only, all edges carry the same
//!   key, and exactly one of them has a kind other than [`Kind::Chain`]: the kind of the conflict.
//! - **I9** A path from a transaction through relays back to itself says nothing (the transaction
//!   both read and incremented the key), and every search here ignores it.
//!
//! Edges of sessions and of real time (see `orders`) are added for the levels that ask for them. They have no key.
//!
//! Not here: verdicts and words.

use std::collections::HashMap;

use crate::history::{Committed, Record, SiteHistory, Stamp, TxnId};
use crate::index::{Install, Sight, SiteIndex, committed};
use crate::verdict::TxnRef;

/// What an edge stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Leads into, along or out of a run of increments; no conflict of its own (I8).
    Chain,
    /// The later transaction installed a newer version.
    WriteWrite,
    /// The later transaction saw the earlier one's version.
    WriteRead,
    /// The later transaction installed a newer version than the earlier one saw.
    ReadWrite,
    /// The later transaction comes later in its session.
    Session,
    /// The later transaction was asked for when the earlier one's client had been told.
    Realtime,
}

/// Where an edge leads, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) to: u32,
    pub(crate) key: u32,
    pub(crate) kind: Kind,
}

/// A conflict between two transactions, relays contracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conflict {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) key: u32,
    pub(crate) kind: Kind,
}

impl Conflict {
    /// One that is on no key: of a session, or of real time.
    pub(crate) const fn without_key(from: u32, to: u32, kind: Kind) -> Self {
        Self {
            from,
            to,
            key: NO_KEY,
            kind,
        }
    }
}

/// Where a transaction has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) node: u32,
    pub(crate) site: usize,
    pub(crate) record: usize,
}

/// The committed transactions of all sites, joined by global id.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) names: Vec<TxnRef>,
    /// Sorted by node, then site.
    places: Vec<Place>,
    /// The node of each record of each site; `NO_NODE` where the record is not a commit.
    node_of: Vec<Vec<u32>>,
}

impl Members {
    pub(crate) fn new(sites: &[SiteHistory]) -> Self {
        let mut names = Vec::new();
        let mut places = Vec::new();
        let mut globals = HashMap::new();
        let mut node_of = Vec::with_capacity(sites.len());
        for (site, history) in sites.iter().enumerate() {
            let mut nodes = vec![NO_NODE; history.records().len()];
            for (record, committed) in committed(history) {
                let fresh = to_u32(names.len());
                let node = match committed.txn {
                    TxnId::Global(number) => *globals.entry(number).or_insert(fresh),
                    TxnId::Local(_) => fresh,
                };
                if node == fresh {
                    names.push(TxnRef::new(committed.txn, history.site()));
                }
                nodes[record] = node;
                places.push(Place { node, site, record });
            }
            node_of.push(nodes);
        }
        places.sort_unstable();
        Self {
            names,
            places,
            node_of,
        }
    }

    /// The transaction of a committed record.
    pub(crate) fn node(&self, site: usize, record: usize) -> u32 {
        let node = self.node_of[site][record];
        assert!(
            node != NO_NODE,
            "only committed records take part in the graph"
        );
        node
    }

    /// Every record of a transaction.
    pub(crate) fn places(&self, node: u32) -> &[Place] {
        let first = self.places.partition_point(|place| place.node < node);
        let after = self.places.partition_point(|place| place.node <= node);
        &self.places[first..after]
    }

    /// Each transaction's decision stamp: the first that a site knows.
    pub(crate) fn stamps(&self, sites: &[SiteHistory]) -> Vec<Option<Stamp>> {
        let mut stamps = vec![None; self.names.len()];
        for place in &self.places {
            let known = stamp_at(sites, *place);
            let stamp: &mut Option<Stamp> = &mut stamps[place.node as usize];
            *stamp = stamp.or(known);
        }
        stamps
    }
}

/// The stamp that one site gives.
pub(crate) fn stamp_at(sites: &[SiteHistory], place: Place) -> Option<Stamp> {
    committed_at(sites, place).stamp
}

/// The committed record at a place.
pub(crate) fn committed_at(sites: &[SiteHistory], place: Place) -> &Committed {
    match &sites[place.site].records()[place.record] {
        Record::Committed(committed) => committed,
        Record::Aborted { .. } | Record::InDoubt { .. } => {
            unreachable!("places are made of committed records only")
        }
    }
}

/// The edges, grouped by the node they leave.
#[derive(Debug)]
pub(crate) struct Graph {
    txn_count: usize,
    starts: Vec<usize>,
    edges: Vec<Edge>,
}

impl Graph {
    pub(crate) const fn txn_count(&self) -> usize {
        self.txn_count
    }

    pub(crate) const fn node_count(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) const fn edge_count(&self) -> usize {
        self.edges.len()
    }

    pub(crate) const fn is_txn(&self, node: u32) -> bool {
        (node as usize) < self.txn_count
    }

    pub(crate) fn out(&self, node: u32) -> &[Edge] {
        &self.edges[self.starts[node as usize]..self.starts[node as usize + 1]]
    }

    /// The graph with further edges, some of them from and to new relays behind those that there are. Edges between
    /// relays ascend (I7).
    pub(crate) fn with(&self, more: Vec<(u32, Edge)>, relays: usize) -> Self {
        let nodes = self.node_count() + relays;
        let mut edges = Vec::with_capacity(self.edges.len() + more.len());
        for node in (0u32..).take(self.node_count()) {
            edges.extend(self.out(node).iter().map(|edge| (node, *edge)));
        }
        edges.extend(more);
        Self::grouped(self.txn_count, nodes, edges)
    }

    /// Groups edges by the node that they leave.
    fn grouped(txn_count: usize, nodes: usize, list: Vec<(u32, Edge)>) -> Self {
        let mut starts = vec![0; nodes + 1];
        for (from, _) in &list {
            starts[*from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let blank = Edge {
            to: 0,
            key: 0,
            kind: Kind::Chain,
        };
        let mut edges = vec![blank; list.len()];
        for (from, edge) in list {
            let slot = &mut next[from as usize];
            edges[*slot] = edge;
            *slot += 1;
        }
        Self {
            txn_count,
            starts,
            edges,
        }
    }

    /// Calls `visit` with every conflict out of a transaction, relays contracted. Costs what the
    /// expanded runs of increments cost, so it is for small graphs only.
    pub(crate) fn conflicts(&self, from: u32, mut visit: impl FnMut(Conflict)) {
        let mut stack: Vec<(u32, Kind)> = vec![(from, Kind::Chain)];
        while let Some((node, kind)) = stack.pop() {
            for edge in self.out(node) {
                let kind = kind.max(edge.kind);
                if !self.is_txn(edge.to) {
                    stack.push((edge.to, kind));
                } else if edge.to != from {
                    visit(Conflict {
                        from,
                        to: edge.to,
                        key: edge.key,
                        kind,
                    });
                }
            }
        }
    }
}

/// Collects edges, then groups them.
#[derive(Debug)]
pub(crate) struct GraphBuilder<'a> {
    members: &'a Members,
    txn_count: usize,
    next_relay: u32,
    edges: Vec<(u32, Edge)>,
}

impl<'a> GraphBuilder<'a> {
    pub(crate) fn new(members: &'a Members) -> Self {
        let txn_count = members.names.len();
        Self {
            members,
            txn_count,
            next_relay: to_u32(txn_count),
            edges: Vec::new(),
        }
    }

    /// Adds the edges between the versions of every key of a site, and the relays of its runs.
    pub(crate) fn add_versions(&mut self, site: usize, index: &SiteIndex<'_>, keys: Keys) -> Runs {
        let mut runs = Runs {
            site,
            keys,
            until: vec![NO_NODE; index.version_count()],
            from: vec![NO_NODE; index.version_count()],
        };
        for key in 0..index.key_count() {
            let versions = index.versions(key);
            let mut start = 0;
            while start < versions.len() {
                let run = versions[start..]
                    .iter()
                    .position(|version| version.how != Install::Increment)
                    .unwrap_or(versions.len() - start);
                self.add_run(index, key, start..start + run, &mut runs);
                start += run + 1;
            }
        }
        runs
    }

    /// Adds one run of increments (maybe empty) and what leads into and out of it.
    fn add_run(
        &mut self,
        index: &SiteIndex<'_>,
        key: usize,
        run: std::ops::Range<usize>,
        runs: &mut Runs,
    ) {
        let versions = index.versions(key);
        let node = |place: usize| self.members.node(runs.site, versions[place].record);
        let before = run.start.checked_sub(1).map(node);
        let after = (run.end < versions.len()).then(|| node(run.end));
        let nodes: Vec<u32> = run.clone().map(node).collect();
        let label = runs.keys.id(key);
        let first = index.range(key).start + run.start;
        let (mut last_until, mut last_from) = (None, before);
        for (place, &increment) in nodes.iter().enumerate() {
            let into = if place == 0 {
                Kind::WriteWrite
            } else {
                Kind::Chain
            };
            let from = self.relay();
            if let Some(last) = last_from {
                self.add(last, from, label, into);
            }
            self.add(from, increment, label, Kind::Chain);
            let until = match last_until {
                None => increment,
                Some(last) => {
                    let until = self.relay();
                    self.add(last, until, label, Kind::Chain);
                    self.add(increment, until, label, Kind::Chain);
                    until
                }
            };
            (runs.from[first + place], runs.until[first + place]) = (from, until);
            (last_from, last_until) = (Some(from), Some(until));
        }
        let Some(after) = after else { return };
        match (last_from, last_until) {
            (Some(from), Some(until)) => {
                self.add(from, after, label, Kind::Chain);
                self.add(until, after, label, Kind::WriteWrite);
            }
            // An empty run: `from` is the write before it.
            (Some(before), None) => self.add(before, after, label, Kind::WriteWrite),
            (None, _) => {}
        }
    }

    /// Adds what a transaction's sight of a key implies.
    pub(crate) fn add_sight(
        &mut self,
        reader: u32,
        sight: &Sight<'_>,
        index: &SiteIndex<'_>,
        runs: &Runs,
    ) {
        let label = runs.keys.id(sight.key);
        let versions = index.versions(sight.key);
        let first = index.range(sight.key).start;
        let end = |relays: &[u32], place: usize| match relays[first + place] {
            NO_NODE => self.members.node(runs.site, versions[place].record),
            relay => relay,
        };
        let source = sight.seen.checked_sub(1).map(|last| end(&runs.until, last));
        let target = (sight.seen < versions.len()).then(|| end(&runs.from, sight.seen));
        if let Some(source) = source {
            self.add(source, reader, label, Kind::WriteRead);
        }
        if let Some(target) = target {
            self.add(reader, target, label, Kind::ReadWrite);
        }
    }

    pub(crate) fn finish(self) -> Graph {
        Graph::grouped(self.txn_count, self.next_relay as usize, self.edges)
    }

    fn relay(&mut self) -> u32 {
        let relay = self.next_relay;
        self.next_relay = to_u32(relay as usize + 1);
        relay
    }

    fn add(&mut self, from: u32, to: u32, key: u32, kind: Kind) {
        if from != to {
            let relays = from as usize >= self.txn_count && to as usize >= self.txn_count;
            assert!(!relays || from < to, "I7: relay edges ascend");
            self.edges.push((from, Edge { to, key, kind }));
        }
    }
}

/// The numbers of a site's keys among the keys of all sites.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// The number of the site's first key.
    pub(crate) first: usize,
}

impl Keys {
    fn id(self, key: usize) -> u32 {
        to_u32(self.first + key)
    }
}

/// The ends of a site's runs of increments, one entry for each version; `NO_NODE` for a version
/// that is no increment.
#[derive(Debug)]
pub(crate) struct Runs {
    site: usize,
    keys: Keys,
    /// The node that everything in the run up to the version leads to.
    until: Vec<u32>,
    /// The node that leads to everything in the run from the version on.
    from: Vec<u32>,
}

const NO_NODE: u32 = u32::MAX;

/// The key of an edge that is on none: those of sessions and of real time.
pub(crate) const NO_KEY: u32 = u32::MAX;

/// Nodes and keys are numbered in 32 bits, which halves the memory of the graph.
fn to_u32(number: usize) -> u32 {
    let number = u32::try_from(number).expect("four thousand million nodes do not fit memory");
    assert!(number != NO_NODE, "the highest number is reserved");
    number
}
