//! Commitment ordering: does every conflict agree with the decision stamps?
//!
//! Conflicts that pass through relays are checked without listing them: each relay carries the
//! transaction that was decided last among those that lead to it, and, if there is one, another
//! that was decided at the same time. One alone would not do, because it may be the very
//! transaction that the relay leads to (I9), which must not hide the other. Relays ascend (I7), so
//! one pass in their order suffices and the whole check is linear.

use crate::graph::{Conflict, Graph, Kind};
use crate::history::Stamp;

/// Conflicts that disagree with the stamps.
#[derive(Debug)]
pub(crate) struct Violations {
    /// The one whose later transaction was decided first of all.
    pub(crate) first: Conflict,
    /// How many edges into a transaction disagree.
    pub(crate) count: usize,
}

/// Conflicts `a → b` with known stamps and `stamp(a) >= stamp(b)`.
pub(crate) fn stamp_violations(graph: &Graph, stamps: &[Option<Stamp>]) -> Option<Violations> {
    let all = [
        Kind::WriteWrite,
        Kind::WriteRead,
        Kind::ReadWrite,
        Kind::Session,
        Kind::Realtime,
    ];
    stamp_violations_of(graph, stamps, &all)
}

/// The same of conflicts of some kinds only. On the way through relays, one edge alone has a kind (I8), so leaving out
/// the edges of other kinds leaves out the conflicts of other kinds.
pub(crate) fn stamp_violations_of(
    graph: &Graph,
    stamps: &[Option<Stamp>],
    kinds: &[Kind],
) -> Option<Violations> {
    let mut pass = Pass {
        stamps,
        first: None,
        count: 0,
        latest: vec![[None; 2]; graph.node_count() - graph.txn_count()],
    };
    for node in (0u32..).take(graph.node_count()) {
        let sources = match (node as usize).checked_sub(graph.txn_count()) {
            Some(relay) => pass.latest[relay],
            None => [
                Some(Source {
                    node,
                    kind: Kind::Chain,
                }),
                None,
            ],
        };
        for edge in graph.out(node) {
            if edge.kind != Kind::Chain && !kinds.contains(&edge.kind) {
                continue;
            }
            let carried = sources.map(|source| {
                source.map(|Source { node, kind }| Source {
                    node,
                    kind: kind.max(edge.kind),
                })
            });
            match (edge.to as usize).checked_sub(graph.txn_count()) {
                Some(relay) => carried
                    .into_iter()
                    .flatten()
                    .for_each(|s| pass.absorb(relay, s)),
                None => pass.check(carried, edge.to, edge.key),
            }
        }
    }
    pass.first.map(|(_, first)| Violations {
        first,
        count: pass.count,
    })
}

/// A transaction that leads to a relay, and the kind of conflict so far.
#[derive(Debug, Clone, Copy)]
struct Source {
    node: u32,
    kind: Kind,
}

struct Pass<'a> {
    stamps: &'a [Option<Stamp>],
    first: Option<(Stamp, Conflict)>,
    count: usize,
    /// For each relay, its latest source, and another of the same stamp.
    latest: Vec<[Option<Source>; 2]>,
}

impl Pass<'_> {
    fn stamp(&self, node: u32) -> Option<Stamp> {
        self.stamps[node as usize]
    }

    fn absorb(&mut self, relay: usize, source: Source) {
        let Some(stamp) = self.stamp(source.node) else {
            return;
        };
        let [first, second] = self.latest[relay];
        let latest = first.and_then(|first| self.stamp(first.node));
        let known = |other: Option<Source>| other.is_some_and(|other| other.node == source.node);
        if latest.is_none_or(|latest| latest < stamp) {
            self.latest[relay] = [Some(source), None];
        } else if latest == Some(stamp) && second.is_none() && !known(first) {
            self.latest[relay] = [first, Some(source)];
        }
    }

    fn check(&mut self, sources: [Option<Source>; 2], to: u32, key: u32) {
        let Some(later) = self.stamp(to) else { return };
        let source = sources
            .into_iter()
            .flatten()
            .find(|source| source.node != to);
        let Some(Source { node: from, kind }) = source else {
            return;
        };
        if self.stamp(from).is_none_or(|earlier| earlier < later) {
            return;
        }
        self.count += 1;
        let found = (
            later,
            Conflict {
                from,
                to,
                key,
                kind,
            },
        );
        if self.first.is_none_or(|first| found < first) {
            self.first = Some(found);
        }
    }
}
