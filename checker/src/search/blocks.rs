//! Saturation where there are too many chains for rows of numbers: reachability as rows of bits, of a block of
//! transactions at a time.
//!
//! The bits of an event say which transactions of the block reach it. One block after another, from the last to the
//! first in the order of the graph, is propagated through all that comes after it, and both rules of
//! [`saturate`](super::saturate) are applied to its versions. A round takes time in proportion to edges times
//! transactions, less a factor of 1,024, in memory of 64 bytes an event (128 where a transaction is two events).
//!
//! - **B1** What is added rests on edges that were there when the block was propagated, so that orders of versions are
//!   proven by those of lower numbers. Edges that agree with the order of the round count from the next block on, the
//!   others from the next round on.
//! - **B2** Of the versions that are found before another one, those that reach another of these need no edge of their
//!   own; some that reach one of an earlier block get one all the same.

use std::collections::HashSet;
use std::time::Instant;

use super::clocks::{Graph, graph, topological};
use super::csr::Csr;
use super::facts::NONE;
use super::problem::{Known, MOST_EDGES, Order, Problem};
use super::saturate::{Saturated, on_cycles};
use super::verdict::Doubt;

/// Words of a row.
const WORDS: usize = 8;

/// Transactions of a block.
const BLOCK: usize = 64 * WORDS;

/// Edges after which what has been found must do.
const ENOUGH: usize = MOST_EDGES / 4;

/// Which transactions of the block.
type Row = [u64; WORDS];

/// Adds forced orders until none is left, or a cycle is, or the time is over.
pub(super) fn saturate(
    problem: &mut Problem<'_>,
    mut lists: Graph,
    mut order: Vec<u32>,
    deadline: Instant,
) -> Result<Saturated, Doubt> {
    let events = problem.events();
    let known = problem.orders.iter();
    let mut applied: HashSet<(u32, u32)> = known.map(|it| (it.earlier, it.later)).collect();
    loop {
        let before = problem.edges.len();
        let finished = Round::new(problem, &lists, &order).run(problem, &mut applied, deadline);
        if problem.edges.len() > MOST_EDGES {
            return Err(Doubt::TooLarge(MOST_EDGES));
        }
        let added = problem.edges.len() - before;
        if added > 0 {
            lists = graph(events, &problem.edges);
            order = topological(&lists, events);
            if order.len() < events as usize {
                return Ok(Saturated::Cyclic(on_cycles(&order, events), None));
            }
        }
        if added == 0 || !finished {
            return Ok(Saturated::Acyclic(order, None));
        }
    }
}

/// What is the same for all blocks of a round.
struct Round {
    position: Vec<u32>,
    /// The positions of the events before each, by position.
    into: Csr<u32>,
    /// The same of the edges that this round has added, and how many edges these lists have seen.
    more: Vec<Vec<u32>>,
    seen: usize,
    /// All members, in the order of their snapshots.
    members: Vec<u32>,
    /// Whose snapshot, and whose installation, reaches the event at each position; the first has both where they are
    /// the same event.
    begun: Vec<Row>,
    committed: Vec<Row>,
    /// For each slot, one that was found to be before it in this round, by each rule.
    found: [Vec<u32>; 2],
    /// The position of the first event of the block; rows before it mean nothing.
    first: usize,
}

impl Round {
    fn new(problem: &Problem<'_>, lists: &Graph, order: &[u32]) -> Self {
        let mut position = vec![0; order.len()];
        for (event, place) in order.iter().zip(0_u32..) {
            position[*event as usize] = place;
        }
        let edges = problem
            .edges
            .iter()
            .map(|edge| (position[edge.to as usize], position[edge.from as usize]));
        let into = Csr::new(lists.len(), edges);
        let begins = order
            .iter()
            .filter(|event| problem.begin(problem.member(**event)) == **event);
        let both = if problem.split { order.len() } else { 0 };
        Self {
            into,
            more: vec![Vec::new(); order.len()],
            seen: problem.edges.len(),
            members: begins.map(|event| problem.member(*event)).collect(),
            position,
            begun: vec![[0; WORDS]; order.len()],
            committed: vec![[0; WORDS]; both],
            found: [(); 2].map(|()| vec![NONE; problem.facts.slots.len()]),
            first: 0,
        }
    }

    /// Applies both rules to all blocks; false if the time is over.
    fn run(
        &mut self,
        problem: &mut Problem<'_>,
        applied: &mut HashSet<(u32, u32)>,
        deadline: Instant,
    ) -> bool {
        let members = std::mem::take(&mut self.members);
        for block in members.chunks(BLOCK).rev() {
            if Instant::now() > deadline || problem.edges.len() > ENOUGH {
                return false;
            }
            self.propagate(problem, block);
            for of_key in versions(problem, block).chunk_by(|one, other| one.0 == other.0) {
                let mut versions = Versions {
                    key: of_key[0].0,
                    slots: [NONE; BLOCK],
                    mask: [0; WORDS],
                };
                for (_, bit, slot) in of_key {
                    versions.slots[*bit] = *slot;
                    versions.mask[bit / 64] |= 1 << (bit % 64);
                }
                self.rule_a(problem, &versions);
                self.rule_b(problem, &versions, applied);
            }
        }
        true
    }

    /// Takes in what the block before added (B1).
    fn take_in(&mut self, problem: &Problem<'_>) {
        for edge in &problem.edges[self.seen..] {
            let from = self.position[edge.from as usize];
            let to = self.position[edge.to as usize];
            if from < to {
                self.more[to as usize].push(from);
            }
        }
        self.seen = problem.edges.len();
    }

    fn propagate(&mut self, problem: &Problem<'_>, block: &[u32]) {
        self.take_in(problem);
        let first = self.position[problem.begin(block[0]) as usize] as usize;
        for rows in [&mut self.begun, &mut self.committed] {
            rows.iter_mut()
                .skip(first)
                .for_each(|row| *row = [0; WORDS]);
        }
        for (member, bit) in block.iter().zip(0_usize..) {
            let at = |event: u32| self.position[event as usize] as usize;
            self.begun[at(problem.begin(*member))][bit / 64] |= 1 << (bit % 64);
            if problem.split {
                self.committed[at(problem.commit(*member))][bit / 64] |= 1 << (bit % 64);
            }
        }
        for rows in [&mut self.begun, &mut self.committed] {
            for at in first..rows.len() {
                let mut row = rows[at];
                let place = u32::try_from(at).expect("events are counted in 32 bits");
                for earlier in self.into.get(place).iter().chain(&self.more[at]) {
                    let earlier = *earlier as usize;
                    if earlier >= first {
                        row.iter_mut()
                            .zip(&rows[earlier])
                            .for_each(|(word, other)| *word |= other);
                    }
                }
                rows[at] = row;
            }
        }
        self.first = first;
    }

    /// Whose snapshot reaches an event.
    fn begun(&self, event: u32) -> Row {
        self.row(&self.begun, event)
    }

    /// Whose installation reaches an event.
    fn committed(&self, event: u32) -> Row {
        let same = self.committed.is_empty();
        self.row(if same { &self.begun } else { &self.committed }, event)
    }

    fn row(&self, rows: &[Row], event: u32) -> Row {
        let at = self.position[event as usize] as usize;
        if at < self.first {
            [0; WORDS]
        } else {
            rows[at]
        }
    }

    fn rule_a(&mut self, problem: &mut Problem<'_>, versions: &Versions) {
        let facts = problem.facts;
        for later in facts.key_slots.get(versions.key) {
            if problem.readers.get(*later).is_empty() {
                continue;
            }
            let writer = facts.slot(*later).writer;
            let known = self.committed(problem.begin(writer));
            for place in 0..problem.readers.get(*later).len() {
                let reader = problem.readers.get(*later)[place];
                let mut open = and(self.committed(problem.begin(reader)), versions.mask);
                open = less(open, known);
                if let Some(found) = facts.slots.get(self.found[0][*later as usize] as usize) {
                    open = less(open, self.committed(problem.commit(found.writer)));
                }
                while let Some(earlier) = versions.take_last(&mut open) {
                    let other = facts.slot(earlier).writer;
                    if earlier == *later || other == reader {
                        continue;
                    }
                    open = less(open, self.committed(problem.commit(other)));
                    self.found[0][*later as usize] = earlier;
                    let order = Order {
                        earlier,
                        later: *later,
                        reader,
                    };
                    let number = problem.order(order);
                    let edge = problem.after(earlier, *later, number);
                    problem.edges.push(edge);
                }
            }
        }
    }

    fn rule_b(
        &mut self,
        problem: &mut Problem<'_>,
        versions: &Versions,
        applied: &mut HashSet<(u32, u32)>,
    ) {
        let facts = problem.facts;
        for later in facts.key_slots.get(versions.key) {
            let writer = facts.slot(*later).writer;
            let mut open = and(self.begun(problem.commit(writer)), versions.mask);
            if let Some(found) = facts.slots.get(self.found[1][*later as usize] as usize) {
                open = less(open, self.begun(problem.commit(found.writer)));
            }
            let known = self.committed(problem.begin(writer));
            while let Some(earlier) = versions.take_last(&mut open) {
                if earlier == *later {
                    continue;
                }
                let other = facts.slot(earlier).writer;
                open = less(open, self.begun(problem.commit(other)));
                self.found[1][*later as usize] = earlier;
                if applied.insert((earlier, *later)) {
                    let reaches = versions.is_in(earlier, &known);
                    force(problem, earlier, *later, reaches);
                }
            }
        }
    }
}

/// Adds the edges of an order of versions that rule B found, the one between the writers only if it is not `known`.
fn force(problem: &mut Problem<'_>, earlier: u32, later: u32, known: bool) {
    let writer = problem.facts.slot(later).writer;
    let after = (!known).then(|| problem.after(earlier, later, NONE));
    let readers = problem.readers.get(earlier).iter();
    let overwrites = readers
        .filter(|reader| **reader != writer)
        .map(|reader| problem.overwrite(*reader, earlier, later, NONE));
    let edges: Vec<Known> = after.into_iter().chain(overwrites).collect();
    if edges.is_empty() {
        return;
    }
    let order = problem.order(Order {
        earlier,
        later,
        reader: NONE,
    });
    let numbered = edges.into_iter().map(|edge| Known { order, ..edge });
    problem.edges.extend(numbered);
}

/// The versions of a key that the block wrote.
struct Versions {
    key: u32,
    /// By bit.
    slots: [u32; BLOCK],
    mask: Row,
}

impl Versions {
    /// Takes the last of some.
    fn take_last(&self, open: &mut Row) -> Option<u32> {
        let word = open.iter().rposition(|word| *word != 0)?;
        let bit = 63 - open[word].leading_zeros() as usize;
        open[word] &= !(1 << bit);
        Some(self.slots[64 * word + bit])
    }

    /// Whether one of them is in a row.
    fn is_in(&self, slot: u32, row: &Row) -> bool {
        let bit = self.slots.iter().position(|there| *there == slot);
        bit.is_some_and(|bit| row[bit / 64] >> (bit % 64) & 1 == 1)
    }
}

/// What a block wrote: key, bit, slot, by key.
fn versions(problem: &Problem<'_>, block: &[u32]) -> Vec<(u32, usize, u32)> {
    let mut all = Vec::new();
    for (member, bit) in block.iter().zip(0_usize..) {
        let slots = problem.facts.slots_of(*member);
        all.extend(slots.map(|slot| (problem.facts.slot(slot).key, bit, slot)));
    }
    all.sort_unstable();
    all
}

fn and(row: Row, other: Row) -> Row {
    std::array::from_fn(|word| row[word] & other[word])
}

fn less(row: Row, other: Row) -> Row {
    std::array::from_fn(|word| row[word] & !other[word])
}
