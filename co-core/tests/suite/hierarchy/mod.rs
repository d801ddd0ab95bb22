//! The classes of schedules against each other, and each lock policy against its class, over all small schedules.
//!
//! The classes are those of [`crate::classes`], by definition. A strict inclusion is shown by a search: no
//! schedule is in the smaller class alone, and one is in the larger class alone. The plainest such schedule is
//! pinned here, so that the tables of `docs/theory.md` can be read against it.

mod names;
mod policies;
mod schedules;

use std::collections::{BTreeMap, BTreeSet};

use crate::classes;
use crate::golden::Class;
use crate::script::{Act, Op, render};
use schedules::{
    all_of, all_versioned, ended, longer_pairs, pairs_with_aborts, sampled_triples, triples,
};

use Act::{Abort, Commit, Read, Write};

/// Without aborts, short, the first transaction first: such a witness is the easiest to read.
fn plainness(schedule: &[Op]) -> (usize, usize, u32) {
    let aborts = schedule.iter().filter(|op| op.act == Abort).count();
    (aborts, schedule.len(), schedule[0].txn)
}

/// For each pair of classes the plainest schedule found that is in the first alone.
#[derive(Default)]
struct Witnesses {
    seen: usize,
    found: BTreeMap<(usize, usize), Vec<Op>>,
}

impl Witnesses {
    fn note(&mut self, schedule: &[Op], member: &[bool]) {
        self.seen += 1;
        let (inside, outside): (Vec<_>, Vec<_>) =
            (0..member.len()).partition(|class| member[*class]);
        for pair in inside
            .iter()
            .flat_map(|a| outside.iter().map(move |b| (*a, *b)))
        {
            let shortest = self.found.entry(pair).or_insert_with(|| schedule.to_vec());
            if plainness(schedule) < plainness(shortest) {
                *shortest = schedule.to_vec();
            }
        }
    }

    /// Whether the witnesses are as `expected` says: `"A < B"` and what is in B alone, or `"A # B"` and what is
    /// in A alone.
    fn check(&self, names: &[&str], expected: &[(&str, &str)]) {
        let mut wrong = Vec::new();
        for (claim, witness) in expected {
            let [smaller, relation, larger] = claim.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{claim}");
            };
            let [a, b] = [smaller, larger].map(|name| {
                let known = names.iter().position(|other| *other == name);
                known.unwrap_or_else(|| panic!("{name} is no class"))
            });
            let alone = |a, b| {
                self.found
                    .get(&(a, b))
                    .map_or_else(|| "-".to_owned(), |found| render(found))
            };
            let (none, some) = (alone(a, b), alone(b, a));
            let right = match relation {
                "<" => none == "-" && some == *witness,
                _ => none == *witness,
            };
            if !right {
                wrong.push(format!(
                    "{claim}: {smaller} alone {none}; {larger} alone {some}"
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

const SINGLE: [(&str, Class); 9] = [
    ("CSR", classes::csr),
    ("CO", classes::co),
    ("REC", classes::rec),
    ("ACA", classes::aca),
    ("ST", classes::st),
    ("SCO", classes::sco),
    ("S2PL", classes::s2pl),
    ("SS2PL", classes::ss2pl),
    ("ST&CSR", |schedule| {
        classes::st(schedule) && classes::csr(schedule)
    }),
];

#[test]
fn the_hierarchy_of_single_version_classes_is_strict() {
    let mut witnesses = Witnesses::default();
    let mut visit = |schedule: &[Op]| {
        let member = SINGLE.map(|(_, class)| class(schedule));
        witnesses.note(schedule, &member);
    };
    pairs_with_aborts(&mut visit);
    longer_pairs(&mut visit);
    triples(&mut visit);
    sampled_triples(&mut visit);
    assert_eq!(witnesses.seen, 225_952);
    let expected = [
        ("SS2PL < SCO", "r1(x) w2(x) c1 c2"),
        ("SCO < CO", "w1(x) r2(x) c1 c2"),
        ("CO < CSR", "r1(x) w2(x) c2 c1"),
        ("SCO < ST", "r1(x) w2(x) c2 c1"),
        ("SS2PL < S2PL", "r1(x) w2(x) c1 c2"),
        ("S2PL < ST&CSR", "r1(x) w2(x) c2 w3(y) c3 r1(y) c1"),
        ("ST&CSR < ST", "r1(x) w2(x) c2 r1(x) c1"),
        ("ST&CSR < CSR", "w1(x) r2(x) c1 c2"),
        ("SCO < ST&CSR", "r1(x) w2(x) c2 c1"),
        ("ST < ACA", "w1(x) w2(x) c1 c2"),
        ("ACA < REC", "w1(x) r2(x) c1 c2"),
        ("S2PL # CO", "r1(x) w2(x) c2 c1"),
        ("CO # S2PL", "w1(x) r2(x) c1 c2"),
        ("SCO # S2PL", "r1(x) w2(x) w3(y) c3 r1(y) c1 c2"),
        ("S2PL # SCO", "r1(x) w2(x) c2 c1"),
        ("CO # REC", "w1(x) r2(x) a1 c2"),
        ("REC # CO", "r1(x) w2(x) c2 c1"),
        ("CO # ST", "w1(x) r2(x) c1 c2"),
        ("ST # CO", "r1(x) w2(x) c2 c1"),
    ];
    witnesses.check(&SINGLE.map(|(name, _)| name), &expected);
}

/// The same 960 schedules that a script of the same definitions, written apart from this crate, has counted.
#[test]
fn the_classes_have_the_sizes_that_were_counted_elsewhere() {
    let acts = [Read, Write];
    let pair = |txn, items: [char; 2]| {
        let program =
            move |a| acts.map(|b| vec![Op::new(a, txn, items[0]), Op::new(b, txn, items[1])]);
        ended(acts.into_iter().flat_map(program).collect(), &[Commit])
    };
    let mut sizes = [0; SINGLE.len()];
    let mut seen = 0;
    for items in [['x', 'y'], ['y', 'x'], ['x', 'x']] {
        all_of(&[pair(1, ['x', 'y']), pair(2, items)], &mut |schedule| {
            seen += 1;
            for (size, (_, class)) in sizes.iter_mut().zip(SINGLE) {
                *size += usize::from(class(schedule));
            }
        });
    }
    let counted: BTreeMap<_, _> = SINGLE
        .map(|(name, _)| name)
        .into_iter()
        .zip(sizes)
        .collect();
    assert_eq!(seen, 960);
    let elsewhere = [
        ("CSR", 738),
        ("CO", 512),
        ("REC", 800),
        ("ST", 400),
        ("SS2PL", 210),
        ("SCO", 298),
        ("S2PL", 366),
    ];
    for (name, size) in elsewhere {
        assert_eq!(counted[name], size, "{name}");
    }
}

/// Classes of schedules with versions, for given global transactions. Those of one version contain only what
/// reads the newest write.
const VERSIONED: [&str; 6] = ["CO", "ECO", "MVCO", "GCO", "CSR", "1SR"];

fn versioned(schedule: &[Op], globals: &BTreeSet<u32>) -> [bool; 6] {
    let single = classes::single_version(schedule);
    [
        single && classes::co(schedule),
        single && classes::eco(schedule, globals),
        classes::mvco(schedule),
        classes::gco(schedule, globals),
        single && classes::csr(schedule),
        classes::gco(schedule, &BTreeSet::new()),
    ]
}

#[test]
fn extension_and_versions_each_add_to_commitment_ordering() {
    let mut witnesses = Witnesses::default();
    let globals = BTreeSet::from([1, 2]);
    all_versioned(&mut |schedule| witnesses.note(schedule, &versioned(schedule, &globals)));
    assert_eq!(witnesses.seen, 47_660);
    let expected = [
        ("CO < ECO", "r1(x0) c1 r2(x0) w3(x) c3 c2"),
        ("CO < MVCO", "w1(x) r2(x0) c2 c1"),
        ("ECO < GCO", "w1(x) r2(x0) c2 c1"),
        ("MVCO < GCO", "r1(x0) c1 r2(x0) w3(x) c3 c2"),
        ("ECO # MVCO", "r1(x0) c1 r2(x0) w3(x) c3 c2"),
        ("MVCO # ECO", "w1(x) r2(x0) c2 c1"),
        ("ECO < CSR", "r1(x0) w2(x) c2 c1"),
        ("CSR < 1SR", "w1(x) c1 r2(x0) c2"),
        ("GCO < 1SR", "r1(x0) w2(x) c2 c1"),
        ("MVCO # CSR", "w1(x) r2(x0) c2 c1"),
    ];
    witnesses.check(&VERSIONED, &expected);
}

/// What is not known to be local has to be taken for global; then nothing is gained.
#[test]
fn with_all_global_extended_is_plain_and_with_all_local_it_is_serializability() {
    let (everybody, nobody) = (BTreeSet::from([1, 2, 3]), BTreeSet::new());
    all_versioned(&mut |schedule| {
        let [co, eco, mvco, gco, ..] = versioned(schedule, &everybody);
        assert_eq!((eco, gco), (co, mvco), "{}", render(schedule));
        let [_, eco, _, _, csr, _] = versioned(schedule, &nobody);
        assert_eq!(eco, csr, "{}", render(schedule));
    });
}
