//! Search structures (Complete CALM, appendix C.3; Lehman and Yao, "Efficient locking for concurrent operations on
//! B-trees").

use std::collections::BTreeSet;

use super::super::history::{EventId, History};
use super::super::specification::{Ack, Specification};
use super::super::universe::{Action, Program, Universe};
use super::Row;

pub(super) fn rows() -> Vec<Row> {
    const SOURCE: &str = "Complete CALM, appendix C.3";
    vec![
        Row::new("exact-location", "lookups that must find a key where it is now", SOURCE)
            .monotone(Structure { links: true, exact: true }, false),
        Row::new("forward-reachability", "lookups that may follow links", SOURCE)
            .remark("A key that moves leaves a link behind: the link invariant.")
            .monotone(Structure { links: true, exact: false }, true),
        Row::new("no-links", "lookups that may follow links, where moves leave none", SOURCE)
            .remark("The same without the link invariant: a key that moves is lost to who looks where it was.")
            .monotone(Structure { links: false, exact: false }, false),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Op {
    /// A key comes to be at a position.
    Insert { key: u8, at: u8 },
    /// A key moves from one position to another, as in a split.
    Move { key: u8, from: u8, to: u8 },
}

/// Positions hold keys, and may have links to others.
#[derive(Debug, Clone, Copy)]
struct Structure {
    /// Whether a move leaves a link.
    links: bool,
    /// Whether a lookup has to find the key where it begins.
    exact: bool,
}

impl Specification for Structure {
    type Op = Op;
    type Value = Ack;
    /// The lookups that are valid: a key, and the position where a lookup begins.
    type Outcome = BTreeSet<(u8, u8)>;

    /// One process inserts keys; each of them moves on to higher positions, in a process of its own that hears of it.
    fn universe(&self) -> Universe<Self> {
        let inserts = [Op::Insert { key: 0, at: 0 }, Op::Insert { key: 1, at: 0 }];
        let mover = |key: u8| {
            Program::new(move |done| {
                let moved = done
                    .iter()
                    .filter(|event| matches!(event, super::super::history::Event::Internal(_)))
                    .count();
                let next = match moved {
                    0 if done.is_empty() => return Vec::new(),
                    0 => Op::Move {
                        key,
                        from: 0,
                        to: 1,
                    },
                    1 => Op::Move {
                        key,
                        from: 1,
                        to: 2,
                    },
                    _ => return Vec::new(),
                };
                vec![Action::Internal(next)]
            })
        };
        Universe::new(12)
            .process("inserts", Program::script(&inserts).and_send(&[1, 2], 2))
            .process("moves 0", mover(0))
            .process("moves 1", mover(1))
    }

    fn outcomes(&self, history: &History<Op, Ack>) -> Vec<Self::Outcome> {
        let ops = || history.operations().map(|(_, op)| *op);
        let inserted = ops().filter_map(|op| match op {
            Op::Insert { key, at } => Some((key, at)),
            Op::Move { .. } => None,
        });
        let mut places: BTreeSet<(u8, u8)> = inserted.collect();
        let mut links: BTreeSet<(u8, u8)> = BTreeSet::new();
        // Moves of a key are in the order of its positions.
        let mut moves: Vec<(u8, u8, u8)> = ops()
            .filter_map(|op| match op {
                Op::Move { key, from, to } => Some((from, to, key)),
                Op::Insert { .. } => None,
            })
            .collect();
        moves.sort_unstable();
        for (from, to, key) in moves {
            if places.remove(&(key, from)) {
                places.insert((key, to));
                if self.links {
                    links.insert((from, to));
                }
            }
        }
        // A lookup that follows links finds what it finds from where a link leads.
        let mut valid = places;
        let mut before = BTreeSet::new();
        while !self.exact && before != valid {
            before.clone_from(&valid);
            let back = |(from, to): &(u8, u8)| {
                let (from, to) = (*from, *to);
                let there = before.iter().filter(move |(_, at)| *at == to);
                there.map(move |(key, _)| (*key, from))
            };
            valid.extend(links.iter().flat_map(back));
        }
        vec![valid]
    }

    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, _: &Self::Outcome, _: &History<Op, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, op: &Op) -> String {
        match op {
            Op::Insert { key, at } => format!("insert {key} at {at}"),
            Op::Move { key, from, to } => format!("move {key} from {from} to {to}"),
        }
    }

    fn say_outcome(&self, outcome: &Self::Outcome, _: &History<Op, Ack>) -> String {
        let one = |(key, at): &(u8, u8)| format!("{key} from {at}");
        format!(
            "found: {{{}}}",
            outcome.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    }
}
