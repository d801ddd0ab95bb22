//! Which workloads are run.

use std::path::Path;

use crate::workload::{Access, Bound, Only, Program, Workload};

/// Two transactions of two operations each on up to so many keys.
const fn two_by_two(keys: usize, only: Only, giving_up: bool) -> Bound {
    Bound {
        transactions: 2,
        operations: (2, 2),
        keys,
        sites: 2,
        giving_up,
        only,
    }
}

const TWO_BY_THREE: Bound = Bound {
    operations: (2, 3),
    ..two_by_two(3, Only::Contended, false)
};

const THREE_BY_TWO: Bound = Bound {
    transactions: 3,
    ..two_by_two(3, Only::Circles, false)
};

const THREE_BY_THREE: Bound = Bound {
    operations: (3, 3),
    ..THREE_BY_TWO
};

/// Three local transactions, each of which reads what the next one writes.
const ROUND: &str = "r(x)@A w(y)@A; r(y)@A w(z)@A; r(z)@A w(x)@A";

/// T1 and T3 are global and precede each other through the local T2 at A (*commitment ordering*, indirect conflicts).
pub(crate) const INDIRECT: &str = "r(x)@A w(y)@B; w(x)@A w(z)@A; r(z)@A r(y)@B";

/// A local T1 precedes T2 and may come to follow T3 at A, when both are decided (a late path); T2 precedes T3 at B.
pub(crate) const LATE: &str = "r(x)@A w(y)@A; w(x)@A r(z)@B; w(y)@A w(z)@B";

/// A local T1 precedes T2 and follows T3 at A; T2 precedes T3 at B.
pub(crate) const BETWEEN: &str = "r(x)@A r(y)@A; w(x)@A w(z)@B; w(y)@A w(z)@B";

const fn all(bound: Bound) -> Bound {
    Bound {
        only: Only::All,
        ..bound
    }
}

const fn contended_only(bound: Bound) -> Bound {
    Bound {
        only: Only::Contended,
        ..bound
    }
}

/// One workload in so many, evenly spread.
fn every(count: usize, bound: Bound) -> Vec<Workload> {
    bound.workloads().into_iter().step_by(count).collect()
}

/// What is run by `PROPER_BOUND`.
pub(crate) fn workloads() -> Vec<Workload> {
    let bound = std::env::var("PROPER_BOUND").unwrap_or_default();
    match bound.as_str() {
        "" => {
            let mut all = two_by_two(2, Only::All, false).workloads();
            let gives_up =
                |workload: &Workload| workload.programs.iter().any(|program| program.gives_up);
            let contended = two_by_two(2, Only::Contended, true).workloads();
            all.extend(contended.into_iter().filter(gives_up));
            all.extend(every(97, TWO_BY_THREE));
            all.push(read(ROUND));
            all
        }
        "2x2" => two_by_two(3, Only::All, true).workloads(),
        "2x3" => TWO_BY_THREE.workloads(),
        "2x3-all" => all(TWO_BY_THREE).workloads(),
        "3x2" => THREE_BY_TWO.workloads(),
        "3x2-contended" => contended_only(THREE_BY_TWO).workloads(),
        "3x3" => every(6000, THREE_BY_THREE),
        other => {
            panic!("PROPER_BOUND is {other}: leave it out, or use one of those that main.rs lists")
        }
    }
}

/// Whether `PROPER_BOUND` is left out.
pub(crate) fn is_default() -> bool {
    std::env::var_os("PROPER_BOUND").is_none_or(|bound| bound.is_empty())
}

/// The page that says what was found.
pub(crate) fn theory() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/theory.md");
    std::fs::read_to_string(path).expect("the documentation is there")
}

/// Where witnesses are looked for.
pub(crate) fn contended(giving_up: bool) -> Vec<Workload> {
    two_by_two(2, Only::Contended, giving_up).workloads()
}

/// Reads programs as a workload prints them, without the names of transactions.
pub(crate) fn read(text: &str) -> Workload {
    let mut site_of = Vec::new();
    let programs = text.split("; ").map(|program| {
        let accesses = program.split(' ').map(|access| {
            let letters: Vec<char> = access.chars().collect();
            let [verb, '(', key, ')', '@', site] = letters[..] else {
                panic!("{access}: write r(x)@A");
            };
            let number = |names: [char; 3], name| names.iter().position(|other| *other == name);
            let key = number(['x', 'y', 'z'], key).expect("a key is x, y or z");
            let site = number(['A', 'B', 'C'], site).expect("a site is A, B or C");
            site_of.resize(site_of.len().max(key + 1), site);
            site_of[key] = site;
            Access {
                key,
                write: verb == 'w',
            }
        });
        Program {
            accesses: accesses.collect(),
            gives_up: false,
        }
    });
    let programs = programs.collect();
    Workload { programs, site_of }
}

#[test]
fn the_bounds_have_the_sizes_that_the_documentation_says() {
    assert_eq!(two_by_two(2, Only::All, false).workloads().len(), 134);
    assert_eq!(two_by_two(3, Only::All, true).workloads().len(), 958);
    assert_eq!(TWO_BY_THREE.workloads().len(), 1560);
    assert_eq!(all(TWO_BY_THREE).workloads().len(), 18_210);
    assert_eq!(THREE_BY_TWO.workloads().len(), 146);
    assert_eq!(contended_only(THREE_BY_TWO).workloads().len(), 541);
    assert_eq!(every(6000, THREE_BY_THREE).len(), 8);
    let printed = "T1: r(x)@A w(y)@B; T2 (local): w(x)@A w(z)@A; T3: r(z)@A r(y)@B";
    assert_eq!(read(INDIRECT).to_string(), printed);
}
