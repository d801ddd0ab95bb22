//! Whether what was committed is serializable, by definition: the multi-version serialization graph over all
//! sites, versions ordered as they were installed. Nothing here knows the scheduler.

use std::collections::{BTreeMap, BTreeSet};

use co_core::WriteKind;

/// A committed transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    /// Its place among all decisions; `None` for a query.
    pub(crate) rank: Option<usize>,
    pub(crate) stamp: u64,
}

/// A key of a site.
pub(crate) type Place = (usize, char);

/// What happened at all sites.
#[derive(Default, Debug)]
pub(crate) struct History {
    pub(crate) committed: BTreeMap<u32, End>,
    /// Who installed a version, in this order.
    pub(crate) installed: BTreeMap<Place, Vec<(u32, WriteKind)>>,
    /// Reader, place, and whose versions it saw, overwritten ones included.
    pub(crate) reads: Vec<(u32, Place, BTreeSet<u32>)>,
}

type Edges = BTreeSet<(u32, u32)>;

impl History {
    /// Precedences among committed transactions.
    fn edges(&self) -> Edges {
        self.edges_at(|_| true)
    }

    fn edges_at(&self, counts: impl Fn(usize) -> bool) -> Edges {
        let mut edges = Edges::new();
        let installed = self.installed.iter().filter(|((site, _), _)| counts(*site));
        for (_, chain) in installed {
            for (index, (earlier, kind)) in chain.iter().enumerate() {
                for (later, other) in &chain[index + 1..] {
                    if *kind == WriteKind::Put || *other == WriteKind::Put {
                        edges.insert((*earlier, *later));
                    }
                }
            }
        }
        let reads = self.reads.iter().filter(|(_, (site, _), _)| counts(*site));
        for (reader, place, seen) in reads {
            for (writer, _) in self.installed.get(place).into_iter().flatten() {
                if seen.contains(writer) {
                    edges.insert((*writer, *reader));
                } else {
                    edges.insert((*reader, *writer));
                }
            }
        }
        edges.retain(|(a, b)| {
            a != b && self.committed.contains_key(a) && self.committed.contains_key(b)
        });
        edges
    }

    pub(crate) fn is_serializable(&self) -> bool {
        is_acyclic(&self.edges())
    }

    /// Whether it is, as far as one site can tell.
    pub(crate) fn is_serializable_at(&self, site: usize) -> bool {
        is_acyclic(&self.edges_at(|other| other == site))
    }

    /// The precedence that the order of decisions or of stamps contradicts, if there is one (I1, I6). Of a
    /// query and a writer the stamps alone decide.
    pub(crate) fn out_of_order(&self) -> Option<(u32, u32)> {
        let agrees = |(a, b): &(u32, u32)| {
            let (from, to) = (self.committed[a], self.committed[b]);
            match (from.rank, to.rank) {
                (Some(earlier), Some(later)) => earlier < later && from.stamp < to.stamp,
                (Some(_), None) => from.stamp <= to.stamp,
                (None, _) => from.stamp < to.stamp,
            }
        };
        self.edges().into_iter().find(|edge| !agrees(edge))
    }
}

/// Whether sources can be taken away until nothing is left.
pub(crate) fn is_acyclic(edges: &Edges) -> bool {
    let mut left = edges.clone();
    loop {
        let targets: BTreeSet<u32> = left.iter().map(|(_, to)| *to).collect();
        let before = left.len();
        left.retain(|(from, _)| targets.contains(from));
        if left.len() == before {
            return left.is_empty();
        }
    }
}

#[test]
fn the_oracle_knows_a_cycle() {
    assert!(is_acyclic(&Edges::from([(1, 2), (2, 3), (1, 3)])));
    assert!(!is_acyclic(&Edges::from([(0, 1), (1, 2), (2, 3), (3, 1)])));
    let end = |rank| End {
        rank: Some(rank),
        stamp: rank as u64,
    };
    // A write skew: each read what the other overwrote.
    let skew = History {
        committed: BTreeMap::from([(1, end(1)), (2, end(2))]),
        installed: BTreeMap::from([
            ((0, 'x'), vec![(1, WriteKind::Put)]),
            ((0, 'y'), vec![(2, WriteKind::Put)]),
        ]),
        reads: vec![
            (1, (0, 'y'), BTreeSet::new()),
            (2, (0, 'x'), BTreeSet::new()),
        ],
    };
    assert!(!skew.is_serializable());
    assert_eq!(skew.out_of_order(), Some((2, 1)));
}
