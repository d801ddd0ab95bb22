//! Queries over input that arrives at several nodes: the transducer instantiation (Complete CALM, section 6.1).
//!
//! The input is what arrived anywhere, the outcome is what the query says of it. Queries are Datalog rules, evaluated
//! stratum by stratum.

use std::collections::BTreeSet;

use super::super::history::{Event, EventId, History};
use super::super::specification::{Ack, Specification};
use super::super::universe::{Action, Program, Universe};
use super::Row;
use super::answers::{alike, say_set};

pub(super) fn rows() -> Vec<Row> {
    const SECTION: &str = "Complete CALM, section 6.1; Keeping CALM, section 2";
    vec![
        Row::new("positive-datalog", "transitive closure, a positive Datalog query", SECTION)
            .monotone(Query { strata: &[PATHS], seals: false }, true),
        Row::new("datalog-with-negation", "what paths do not reach, a Datalog query with negation", SECTION)
            .monotone(Query { strata: &[PATHS, UNREACHED], seals: false }, false),
        Row::new(
            "sealed-datalog-with-negation",
            "what paths do not reach, once all nodes have said that their input is complete",
            "Complete CALM, remark 5, appendix E",
        )
        .remark("The names of the nodes are in the rule, so membership is known; each says when no more input comes. The program still \
            contains negation: looking at the program cannot tell that its output is monotone (Complete CALM, theorem 2 of section 4.1).")
        .monotone(Query { strata: &[PATHS, SEALED_UNREACHED], seals: true }, true),
    ]
}

/// A fact, or a pattern of facts: a relation and its columns. Capital letters are variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Atom(&'static str, [&'static str; 2]);

/// A rule: the head holds if all of `with` hold and none of `without` does.
struct Rule {
    head: Atom,
    with: &'static [Atom],
    without: &'static [Atom],
}

const PATHS: &[Rule] = &[
    Rule {
        head: Atom("path", ["X", "Y"]),
        with: &[Atom("edge", ["X", "Y"])],
        without: &[],
    },
    Rule {
        head: Atom("path", ["X", "Z"]),
        with: &[Atom("edge", ["X", "Y"]), Atom("path", ["Y", "Z"])],
        without: &[],
    },
];

const UNREACHED: &[Rule] = &[Rule {
    head: Atom("unreached", ["X", "Y"]),
    with: &[Atom("edge", ["X", "V"]), Atom("edge", ["W", "Y"])],
    without: &[Atom("path", ["X", "Y"])],
}];

const SEALED_UNREACHED: &[Rule] = &[Rule {
    head: Atom("unreached", ["X", "Y"]),
    with: &[
        Atom("sealed", ["n1", ""]),
        Atom("sealed", ["n2", ""]),
        Atom("sealed", ["n3", ""]),
        Atom("edge", ["X", "V"]),
        Atom("edge", ["W", "Y"]),
    ],
    without: &[Atom("path", ["X", "Y"])],
}];

type Facts = BTreeSet<Atom>;
type Bindings = Vec<(&'static str, &'static str)>;

fn is_variable(term: &str) -> bool {
    term.starts_with(|letter: char| letter.is_ascii_uppercase())
}

impl Atom {
    fn with(self, bound: &Bindings) -> Self {
        let value = |term: &'static str| {
            let found = bound.iter().find(|(variable, _)| *variable == term);
            found.map_or(term, |(_, value)| *value)
        };
        Self(self.0, self.1.map(value))
    }

    /// The bindings with those under which this pattern is a fact, if there are such.
    fn unify(self, fact: Self, bound: &Bindings) -> Option<Bindings> {
        let pattern = self.with(bound);
        if pattern.0 != fact.0 {
            return None;
        }
        let mut bound = bound.clone();
        for (term, value) in pattern.1.into_iter().zip(fact.1) {
            match bound.iter().find(|(variable, _)| *variable == term) {
                Some((_, earlier)) if *earlier != value => return None,
                Some(_) => {}
                None if is_variable(term) => bound.push((term, value)),
                None if term != value => return None,
                None => {}
            }
        }
        Some(bound)
    }
}

impl Rule {
    fn derive(&self, facts: &Facts) -> Facts {
        let mut bindings = vec![Bindings::new()];
        for pattern in self.with {
            let unified = |bound: &Bindings| {
                facts
                    .iter()
                    .filter_map(|fact| pattern.unify(*fact, bound))
                    .collect::<Vec<_>>()
            };
            bindings = bindings.iter().flat_map(unified).collect();
        }
        let absent = |bound: &&Bindings| {
            !self
                .without
                .iter()
                .any(|pattern| facts.contains(&pattern.with(bound)))
        };
        bindings
            .iter()
            .filter(absent)
            .map(|bound| self.head.with(bound))
            .collect()
    }
}

/// A query: strata of rules, in whose order what is negated is complete before.
struct Query {
    strata: &'static [&'static [Rule]],
    /// Whether nodes say that no more input comes.
    seals: bool,
}

impl Query {
    /// All that follows from the input.
    fn evaluate(&self, input: Facts) -> Facts {
        let mut facts = input;
        for stratum in self.strata {
            loop {
                let derived: Facts = stratum
                    .iter()
                    .flat_map(|rule| rule.derive(&facts))
                    .collect();
                let before = facts.len();
                facts.extend(derived);
                if facts.len() == before {
                    break;
                }
            }
        }
        facts
    }
}

/// An input fact that arrives. The node that it arrives at says the first column of `sealed`.
type Op = Atom;

const SEAL: Atom = Atom("sealed", ["here", ""]);
const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl Specification for Query {
    type Op = Op;
    type Value = Ack;
    type Outcome = Facts;

    fn universe(&self) -> Universe<Self> {
        let seals = self.seals;
        let program = Program::new(move |done| {
            let arrived = |fact: &Atom| done.contains(&Event::Invoke(*fact));
            if arrived(&SEAL) {
                return Vec::new();
            }
            let edges = [["a", "b"], ["b", "c"], ["c", "a"]].map(|ends| Atom("edge", ends));
            let more = edges.into_iter().chain(seals.then_some(SEAL));
            more.filter(|fact| !arrived(fact))
                .map(Action::Call)
                .collect()
        });
        alike(12, &NODES, &program, 0, next_fact, Ack::clone)
    }

    fn outcomes(&self, history: &History<Op, Ack>) -> Vec<Facts> {
        let input = history.invocations().map(|(id, fact)| match *fact {
            SEAL => Atom("sealed", [NODES[usize::from(id.process)], ""]),
            edge => edge,
        });
        vec![self.evaluate(input.collect())]
    }

    fn refines(&self, earlier: &Facts, later: &Facts) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, _: &Facts, _: &History<Op, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, op: &Op) -> String {
        say_fact(op)
    }

    fn say_outcome(&self, outcome: &Facts, _: &History<Op, Ack>) -> String {
        say_set(outcome.iter().map(say_fact))
    }
}

fn say_fact(Atom(relation, columns): &Atom) -> String {
    let columns: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|column| !column.is_empty())
        .collect();
    format!("{relation}({})", columns.join(", "))
}

fn next_fact(Atom(relation, columns): &Atom) -> Atom {
    Atom(
        relation,
        columns.map(|column| match column {
            "a" => "b",
            "b" => "c",
            "c" => "a",
            other => other,
        }),
    )
}
