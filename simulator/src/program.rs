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

/// What the transactions of a schedule do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Workload {
    /// Whatever comes.
    #[default]
    Mixed,
    /// Each schedule is about one of the shapes of known anomalies, with a few others among them: [`shapes`].
    Shapes,
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

/// Draws the programs of one schedule in which all but a few have to do with one thing, so that they meet: lists
/// that are read and appended to, a register, money that is moved and counted, write skew (two that each read what the
/// other writes, over items or over ranges: G2), a long fork (two writers, and readers of both), or fractured
/// reads (written at all sites together, and read so).
#[must_use]
pub fn shapes(rng: &mut Rng, shape: Shape, sites: usize) -> Vec<Program> {
    let draw = [list, register, bank, skew, fork, pair][rng.usize(..6)];
    let globals = (0..shape.globals).map(|_| {
        if rng.u8(..6) == 0 {
            global(rng, shape, sites)
        } else {
            let steps = draw(rng, sites);
            Program {
                steps,
                local: false,
            }
        }
    });
    let mut programs: Vec<Program> = globals.collect();
    programs.extend((0..shape.locals).map(|_| local(rng, shape, sites)));
    programs
}

type Steps = Vec<(usize, Operation)>;

fn put(rng: &mut Rng, name: u8) -> Operation {
    Operation::Put(key(name), number(rng.i64(..1_000)))
}

/// Reads lists, and writes some of them with one element more: what it is, does not matter to versions.
fn list(rng: &mut Rng, sites: usize) -> Steps {
    let mut steps = Vec::new();
    for site in 0..sites {
        let name = rng.u8(..2);
        steps.push((site, Operation::Get(key(name))));
        if rng.bool() {
            steps.push((site, put(rng, name)));
        }
    }
    steps
}

fn register(rng: &mut Rng, sites: usize) -> Steps {
    let step = |rng: &mut Rng, site| {
        let write = rng.bool();
        let operation = if write {
            put(rng, 0)
        } else {
            Operation::Get(key(0))
        };
        (site, operation)
    };
    let mut steps: Steps = (0..sites).map(|site| step(rng, site)).collect();
    rng.shuffle(&mut steps);
    steps
}

/// Moves money between two sites, or counts it everywhere.
fn bank(rng: &mut Rng, sites: usize) -> Steps {
    if rng.u8(..3) == 0 {
        let all = (0..sites).map(|site| (site, Operation::Scan(range(0, 2))));
        return all.collect();
    }
    let from = rng.usize(..sites);
    let to = (from + rng.usize(1..sites)) % sites;
    let amount = rng.i64(1..100);
    vec![
        (from, Operation::Increment(key(rng.u8(..2)), -amount)),
        (to, Operation::Increment(key(rng.u8(..2)), amount)),
    ]
}

/// Reads an item or a range at one site, and writes into it at another.
fn skew(rng: &mut Rng, sites: usize) -> Steps {
    let from = rng.usize(..sites);
    let to = (from + rng.usize(1..sites)) % sites;
    let read = if rng.bool() {
        Operation::Get(key(0))
    } else {
        Operation::Scan(range(0, 2))
    };
    vec![(from, read), (to, put(rng, 0))]
}

/// Writes one of two keys at two sites, with something of its own at the other, or reads both in any order.
fn fork(rng: &mut Rng, sites: usize) -> Steps {
    let last = sites - 1;
    if rng.bool() {
        let site = [0, last][rng.usize(..2)];
        let other = last - site;
        return vec![(site, put(rng, 0)), (other, Operation::Get(key(1)))];
    }
    let mut steps = vec![(0, Operation::Get(key(0))), (last, Operation::Get(key(0)))];
    rng.shuffle(&mut steps);
    steps
}

fn pair(rng: &mut Rng, sites: usize) -> Steps {
    let writes = rng.bool();
    let mut sites: Vec<usize> = (0..sites).collect();
    rng.shuffle(&mut sites);
    let step = |site| {
        let operation = if writes {
            put(rng, 0)
        } else {
            Operation::Get(key(0))
        };
        (site, operation)
    };
    sites.into_iter().map(step).collect()
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
