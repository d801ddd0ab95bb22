//! An order of events that is kept while edges come and go (Pearce and Kelly 2006).
//!
//! - **D1** Every edge, known or decided, goes from a lower position to a higher one.
//! - **D2** Decided edges leave in the reverse order of their coming; an order that fits more edges fits fewer.

use super::clocks::Graph;
use super::csr::Csr;
use super::facts::NONE;
use super::problem::{Cause, Known};

/// An edge that holds while a literal does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    /// The earlier event.
    pub(super) from: u32,
    /// The later event.
    pub(super) to: u32,
    /// Why.
    pub(super) cause: Cause,
    /// The literal.
    pub(super) literal: u32,
}

/// A step of a path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// The place of a known edge.
    Known(u32),
    /// The number of a decided edge.
    Decided(u32),
}

/// The order.
#[derive(Debug)]
pub(super) struct Dynamic {
    position: Vec<u32>,
    at: Vec<u32>,
    out: Graph,
    into: Graph,
    decided: Vec<Decided>,
    decided_out: Vec<Vec<u32>>,
    decided_into: Vec<Vec<u32>>,
    /// Events that have moved since the caller last asked.
    moved: Vec<u32>,
    seen: Vec<bool>,
    came_by: Vec<Step>,
}

impl Dynamic {
    /// Starts with the known edges and an order that fits them.
    pub(super) fn new(edges: &[Known], out: Graph, order: Vec<u32>) -> Self {
        let count = order.len();
        let mut position = vec![0; count];
        for (event, place) in order.iter().zip(0_u32..) {
            position[*event as usize] = place;
        }
        debug_assert!(
            edges
                .iter()
                .all(|edge| position[edge.from as usize] < position[edge.to as usize]),
            "D1"
        );
        let into = edges
            .iter()
            .zip(0_u32..)
            .map(|(edge, place)| (edge.to, (edge.from, place)));
        Self {
            position,
            at: order,
            out,
            into: Csr::new(count, into),
            decided: Vec::new(),
            decided_out: vec![Vec::new(); count],
            decided_into: vec![Vec::new(); count],
            moved: Vec::new(),
            seen: vec![false; count],
            came_by: vec![Step::Known(NONE); count],
        }
    }

    /// Where an event is.
    pub(super) fn position(&self, event: u32) -> u32 {
        self.position[event as usize]
    }

    /// The events in their order.
    pub(super) fn order(&self) -> &[u32] {
        &self.at
    }

    /// A decided edge.
    pub(super) fn edge(&self, number: u32) -> Decided {
        self.decided[number as usize]
    }

    /// How many decided edges there are.
    pub(super) const fn decided(&self) -> usize {
        self.decided.len()
    }

    /// The events that have moved since the last call; some may come twice.
    pub(super) fn take_moved(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.moved)
    }

    /// Takes decided edges away until `count` are left (D2).
    pub(super) fn shrink(&mut self, count: usize) {
        while self.decided.len() > count {
            let edge = self.decided.pop().expect("there are more than `count`");
            self.decided_out[edge.from as usize].pop();
            self.decided_into[edge.to as usize].pop();
        }
    }

    /// Adds an edge; if it would close a cycle, adds none and returns the path from its end to its start.
    pub(super) fn insert(&mut self, edge: Decided) -> Result<(), Vec<Step>> {
        let (from, to) = (edge.from, edge.to);
        if from == to {
            return Err(Vec::new());
        }
        if self.position[from as usize] > self.position[to as usize] {
            let later = self.forward(to, from)?;
            let earlier = self.backward(from, self.position[to as usize]);
            self.reorder(earlier, later);
        }
        let number = u32::try_from(self.decided.len()).expect("edges are bounded");
        self.decided.push(edge);
        self.decided_out[from as usize].push(number);
        self.decided_into[to as usize].push(number);
        Ok(())
    }

    /// What `start` reaches at or before the position of `end`, or a path to `end` with as few decided edges as there
    /// can be: breadth first, where known edges are no step.
    fn forward(&mut self, start: u32, end: u32) -> Result<Vec<u32>, Vec<Step>> {
        let bound = self.position[end as usize];
        let mut reached = Vec::new();
        let (mut here, mut beyond) = (vec![start], Vec::new());
        self.seen[start as usize] = true;
        while !here.is_empty() && !self.seen[end as usize] {
            while let Some(event) = here.pop() {
                reached.push(event);
                for (to, place) in self.out.get(event) {
                    if self.position[*to as usize] <= bound && !self.seen[*to as usize] {
                        self.seen[*to as usize] = true;
                        self.came_by[*to as usize] = Step::Known(*place);
                        here.push(*to);
                    }
                }
                if !self.decided_out[event as usize].is_empty() {
                    beyond.push(event);
                }
            }
            if self.seen[end as usize] {
                break;
            }
            for event in beyond.drain(..) {
                for number in &self.decided_out[event as usize] {
                    let to = self.decided[*number as usize].to;
                    if self.position[to as usize] <= bound && !self.seen[to as usize] {
                        self.seen[to as usize] = true;
                        self.came_by[to as usize] = Step::Decided(*number);
                        here.push(to);
                    }
                }
            }
        }
        let cycle = self.seen[end as usize];
        reached
            .iter()
            .chain(&here)
            .for_each(|event| self.seen[*event as usize] = false);
        if cycle {
            Err(self.path(start, end))
        } else {
            Ok(reached)
        }
    }

    fn path(&self, start: u32, end: u32) -> Vec<Step> {
        let mut path = Vec::new();
        let mut at = end;
        while at != start {
            let step = self.came_by[at as usize];
            path.push(step);
            at = match step {
                Step::Known(place) => self.start_of(at, place),
                Step::Decided(number) => self.decided[number as usize].from,
            };
        }
        path.reverse();
        path
    }

    fn start_of(&self, end: u32, place: u32) -> u32 {
        let found = self.into.get(end).iter().find(|(_, there)| *there == place);
        found.expect("both lists hold every known edge").0
    }

    /// What reaches `start` at or after a position.
    fn backward(&mut self, start: u32, bound: u32) -> Vec<u32> {
        let mut reached = vec![start];
        self.seen[start as usize] = true;
        let mut next = 0;
        while next < reached.len() {
            let event = reached[next];
            next += 1;
            let known = self.into.get(event).iter().map(|(from, _)| *from);
            let decided = self.decided_into[event as usize].iter();
            let decided = decided.map(|number| self.decided[*number as usize].from);
            for from in known.chain(decided) {
                if self.position[from as usize] >= bound && !self.seen[from as usize] {
                    self.seen[from as usize] = true;
                    reached.push(from);
                }
            }
        }
        reached
            .iter()
            .for_each(|event| self.seen[*event as usize] = false);
        reached
    }

    /// Puts `earlier` before `later`, in the places that both have now.
    fn reorder(&mut self, mut earlier: Vec<u32>, mut later: Vec<u32>) {
        earlier.sort_unstable_by_key(|event| self.position[*event as usize]);
        later.sort_unstable_by_key(|event| self.position[*event as usize]);
        earlier.append(&mut later);
        let mut places: Vec<u32> = earlier
            .iter()
            .map(|event| self.position[*event as usize])
            .collect();
        places.sort_unstable();
        for (event, place) in earlier.iter().zip(places) {
            self.position[*event as usize] = place;
            self.at[place as usize] = *event;
        }
        self.moved.append(&mut earlier);
    }
}
