//! What the transactions of a schedule do: short programs over few keys, drawn from a seed.

use std::sync::Arc;

use fastrand::Rng;
use participant::{Key, KeyRange, Operation};

/// One transaction's operations, each at a site (by its index).
#[derive(Clone, Debug)]
pub struct Program {
    /// Operations in order.
    pub steps: Vec<(usize, Operation)>,
    /// Whether it is committed at its only site, without the coordinator.
    pub local: bool,
}

impl Program {
    /// The sites it touches, ascending.
    #[must_use]
    pub fn sites(&self) -> Vec<usize> {
        let mut sites: Vec<usize> = self.steps.iter().map(|(site, _)| *site).collect();
        sites.sort_unstable();
        sites.dedup();
        sites
    }
}

/// How large the schedules are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Global transactions, each at two sites or more.
    pub globals: usize,
    /// Transactions of one site.
    pub locals: usize,
    /// Keys of each site; few, so that they collide.
    pub keys: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            globals: 4,
            locals: 2,
            keys: 2,
        }
    }
}

/// Draws the programs of one schedule.
#[must_use]
pub fn programs(rng: &mut Rng, shape: Shape, sites: usize) -> Vec<Program> {
    let globals = (0..shape.globals).map(|_| global(rng, shape, sites));
    let mut programs: Vec<Program> = globals.collect();
    programs.extend((0..shape.locals).map(|_| local(rng, shape, sites)));
    programs
}

fn global(rng: &mut Rng, shape: Shape, sites: usize) -> Program {
    let mut steps = Vec::new();
    for site in 0..sites {
        for _ in 0..rng.usize(1..=2) {
            steps.push((site, operation(rng, shape.keys)));
        }
    }
    rng.shuffle(&mut steps);
    Program {
        steps,
        local: false,
    }
}

fn local(rng: &mut Rng, shape: Shape, sites: usize) -> Program {
    let site = rng.usize(..sites);
    let steps = (0..rng.usize(2..=3))
        .map(|_| (site, operation(rng, shape.keys)))
        .collect();
    Program { steps, local: true }
}

fn operation(rng: &mut Rng, keys: u8) -> Operation {
    let name = rng.u8(..keys);
    match rng.u8(..20) {
        0..7 => Operation::Get(key(name)),
        7..13 => Operation::Put(key(name), number(rng.i64(..1_000))),
        13 => Operation::Delete(key(name)),
        14..17 => Operation::Increment(key(name), rng.i64(1..10)),
        _ => Operation::Scan(range(name, rng.u8(name..=keys))),
    }
}

/// The key with this number; its text is one letter.
#[must_use]
pub fn key(number: u8) -> Key {
    Arc::from([b'a' + number].as_slice())
}

fn range(low: u8, high: u8) -> KeyRange {
    KeyRange {
        low: key(low),
        high: Some(key(high.max(low + 1))),
    }
}

/// A number as the engines store it.
#[must_use]
pub fn number(value: i64) -> Arc<[u8]> {
    Arc::from(value.to_le_bytes().as_slice())
}
