//! Graphs whose edges are known at different machines (Keeping CALM, section 1.3).
//!
//! A machine declares what it finds in the edges that it knows. What was declared has to be true of all edges there are.

use std::collections::BTreeSet;

use super::super::history::{Cut, Event, EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Action, Program, Universe};
use super::Row;
use super::answers::{Answers, choices, included, say, say_set};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("deadlock-detection", "distributed deadlock detection", "Keeping CALM, section 1.3.1")
            .remark("Each machine knows what one transaction waits for; they exchange edges, and declare transactions that are on a cycle. \
                A cycle never goes away: the lemma of accumulating outcomes (Complete CALM, appendix F).")
            .monotone(Declared::Deadlocks, true)
        .counted(Declared::Deadlocks, 6),
        Row::new("garbage-collection", "distributed garbage collection", "Keeping CALM, section 1.3.2")
            .remark("Machines exchange references, and declare objects that the root does not reach.")
            .monotone(Declared::Garbage, false)
        .counted(Declared::Garbage, 6),
        Row::new(
            "sealed-garbage-collection",
            "distributed garbage collection over sealed graphs",
            "Keeping CALM, section 1.3.2; Complete CALM, remark 5",
        )
        .remark("Each machine says when it has no more references; who the machines are is known. A machine declares garbage once it \
            has heard that from all of them, and nothing before.")
        .monotone(Declared::SealedGarbage, true),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Op {
    /// This machine learns of an edge.
    Edge(&'static str, &'static str),
    /// This machine will learn of no more edges.
    Seal,
    /// Asks what can be declared here.
    Declare,
}

/// What was declared.
type Found = BTreeSet<&'static str>;

/// What machines declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Deadlocks,
    Garbage,
    SealedGarbage,
}

const ROOT: &str = "root";
const REFERENCES: [[Op; 2]; 3] = [
    [Op::Edge(ROOT, "O1"), Op::Edge(ROOT, "O2")],
    [Op::Edge("O1", "O3"), Op::Edge("O2", "O4")],
    [Op::Edge("O3", "O4"), Op::Edge("O4", "O3")],
];

impl Declared {
    /// The edges that the machines may learn of, from the first.
    fn edges(self) -> &'static [[Op; 2]] {
        match self {
            Self::Deadlocks => &[
                [Op::Edge("T1", "T2"), Op::Edge("T1", "T3")],
                [Op::Edge("T2", "T3"), Op::Edge("T2", "T1")],
                [Op::Edge("T3", "T1"), Op::Edge("T3", "T2")],
            ],
            Self::Garbage => &REFERENCES,
            Self::SealedGarbage => &REFERENCES[..2],
        }
    }

    fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Deadlocks => &["T1", "T2", "T3"],
            Self::Garbage | Self::SealedGarbage => &["O1", "O2", "O3", "O4"],
        }
    }

    fn renamed(self) -> fn(&'static str) -> &'static str {
        match self {
            Self::Deadlocks => |name| match name {
                "T1" => "T2",
                "T2" => "T3",
                _ => "T1",
            },
            Self::Garbage | Self::SealedGarbage => |name| match name {
                "O1" => "O2",
                "O2" => "O1",
                "O3" => "O4",
                "O4" => "O3",
                other => other,
            },
        }
    }

    /// What is found in the edges of a cut.
    fn found(self, history: &History<Op, Found>, known: &Cut) -> Found {
        let mut edges = Vec::new();
        let mut sealed = 0;
        for (id, op) in history.operations() {
            if id.place >= known[usize::from(id.process)] {
                continue;
            }
            match *op {
                Op::Edge(from, to) => edges.push((from, to)),
                Op::Seal => sealed += 1,
                Op::Declare => {}
            }
        }
        let all = self.nodes().iter().copied();
        match self {
            Self::Deadlocks => all
                .filter(|node| reached(&edges, node).contains(node))
                .collect(),
            Self::SealedGarbage if sealed < history.processes() => Found::new(),
            Self::Garbage | Self::SealedGarbage => {
                let alive = reached(&edges, ROOT);
                all.filter(|node| !alive.contains(node)).collect()
            }
        }
    }
}

/// What edges lead to from a node; the node itself only if it is on a cycle.
fn reached(edges: &[(&'static str, &'static str)], start: &'static str) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![start];
    while let Some(node) = next.pop() {
        let out = edges.iter().filter(|(from, _)| *from == node);
        next.extend(out.map(|(_, to)| *to).filter(|to| reached.insert(*to)));
    }
    reached
}

impl Specification for Declared {
    type Op = Op;
    type Value = Found;
    type Outcome = Answers<Found>;

    fn universe(&self) -> Universe<Self> {
        let machines = self.edges().len();
        // What is sealed is declared late: at two machines, so that there is room for it.
        let mut universe = Universe::new(if machines == 2 { 11 } else { 7 });
        for (machine, edges) in self.edges().iter().enumerate() {
            let seals = *self == Self::SealedGarbage;
            let program = Program::new(move |done| {
                let learned = |op: &Op| done.contains(&Event::Internal(op.clone()));
                let mut open = Vec::new();
                if !done.contains(&Event::Invoke(Op::Declare)) {
                    open.push(Action::Call(Op::Declare));
                }
                if !learned(&Op::Seal) {
                    let more = edges.iter().filter(|edge| !learned(edge)).cloned();
                    open.extend(more.chain(seals.then_some(Op::Seal)).map(Action::Internal));
                }
                open
            });
            let others: Vec<usize> = (0..machines).filter(|other| *other != machine).collect();
            universe = universe.process(["m1", "m2", "m3"][machine], program.and_send(&others, 1));
        }
        match self {
            Self::Deadlocks => universe.symmetric(&[1, 2, 0], next_op, next_set),
            Self::Garbage | Self::SealedGarbage => {
                let same: Vec<usize> = (0..machines).collect();
                universe.symmetric(&same, other_op, other_set)
            }
        }
    }

    fn outcomes(&self, history: &History<Op, Found>) -> Vec<Answers<Found>> {
        let truth = self.found(history, &history.whole());
        choices(history, |id, _| {
            let declared = self.found(history, &history.past(id));
            declared
                .is_subset(&truth)
                .then_some(declared)
                .into_iter()
                .collect()
        })
    }

    fn refines(&self, earlier: &Answers<Found>, later: &Answers<Found>) -> bool {
        included(earlier, later)
    }

    fn answer(
        &self,
        outcome: &Answers<Found>,
        _: &History<Op, Found>,
        asked: EventId,
    ) -> Option<Found> {
        outcome.get(&asked).cloned()
    }

    fn say_op(&self, op: &Op) -> String {
        match op {
            Op::Edge(from, to) => format!("{from} \u{2192} {to}"),
            Op::Seal => "no more edges here".to_owned(),
            Op::Declare => "declare".to_owned(),
        }
    }

    fn say_value(&self, value: &Found) -> String {
        say_set(value)
    }

    fn say_outcome(&self, outcome: &Answers<Found>, history: &History<Op, Found>) -> String {
        format!("{{{}}}", say(self, history, outcome))
    }
}

fn renamed_op(declared: Declared, op: &Op) -> Op {
    let renamed = declared.renamed();
    match *op {
        Op::Edge(from, to) => Op::Edge(renamed(from), renamed(to)),
        Op::Seal => Op::Seal,
        Op::Declare => Op::Declare,
    }
}

fn renamed_set(declared: Declared, found: &Found) -> Found {
    let renamed = declared.renamed();
    found.iter().map(|node| renamed(node)).collect()
}

fn next_op(op: &Op) -> Op {
    renamed_op(Declared::Deadlocks, op)
}

fn next_set(found: &Found) -> Found {
    renamed_set(Declared::Deadlocks, found)
}

fn other_op(op: &Op) -> Op {
    renamed_op(Declared::Garbage, op)
}

fn other_set(found: &Found) -> Found {
    renamed_set(Declared::Garbage, found)
}
