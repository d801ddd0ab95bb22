//! Which event reaches which, in a row of numbers for each event.
//!
//! Transactions are cut into chains, of which each member reaches the next: sessions where they count, and paths of
//! the graph. The row of an event says, for each chain, how far down that chain the event is reached from, so that
//! reachability is one comparison (Fidge 1988, Mattern 1989). Rows take 4 bytes for each pair of event and chain.

use super::csr::Csr;
use super::facts::NONE;
use super::level::Precedence;
use super::problem::{Cause, Known, Problem};

/// Bytes that all rows together may take.
const MOST_BYTES: usize = 512 << 20;

/// Chains that are never too many where sessions make them.
const FEW: usize = 128;

/// The graph as lists of (later event, number of the edge), by earlier event.
pub(crate) type Graph = Csr<(u32, u32)>;

/// The graph of all edges.
pub(crate) fn graph(events: u32, edges: &[Known]) -> Graph {
    let pairs = edges
        .iter()
        .zip(0_u32..)
        .map(|(edge, place)| (edge.from, (edge.to, place)));
    Csr::new(events as usize, pairs)
}

/// An order of events that every edge agrees with; the events on cycles, and those behind them, are missing.
pub(crate) fn topological(graph: &Graph, events: u32) -> Vec<u32> {
    let mut missing = vec![0_u32; events as usize];
    for event in 0..events {
        for (to, _) in graph.get(event) {
            missing[*to as usize] += 1;
        }
    }
    let mut order: Vec<u32> = (0..events)
        .filter(|event| missing[*event as usize] == 0)
        .collect();
    let mut next = 0;
    while next < order.len() {
        for (to, _) in graph.get(order[next]) {
            missing[*to as usize] -= 1;
            if missing[*to as usize] == 0 {
                order.push(*to);
            }
        }
        next += 1;
    }
    order
}

/// Transactions in chains.
#[derive(Debug)]
pub(crate) struct Chains {
    /// The chain of each member, and its place there.
    at: Vec<(u32, u32)>,
    count: usize,
}

impl Chains {
    /// Cuts: each member follows, in a chain, the first of those before it that nobody follows yet. `order` is
    /// topological.
    pub(crate) fn new(problem: &Problem<'_>, order: &[u32]) -> Self {
        let members = problem.facts.count() as usize;
        let mut before = vec![NONE; members];
        let mut reserved = vec![false; members];
        for edge in problem
            .edges
            .iter()
            .filter(|edge| edge.cause == Cause::Session)
        {
            // Only the first of those that follow a member is next in its chain.
            let follows =
                std::mem::replace(&mut reserved[problem.member(edge.from) as usize], true);
            if !follows {
                before[problem.member(edge.to) as usize] = problem.member(edge.from);
            }
        }
        let heads = |edge: &&Known| before[problem.member(edge.to) as usize] == NONE;
        let entering = |edge: &Known| {
            let (from, to) = (problem.member(edge.from), problem.member(edge.to));
            (from != to && edge.from == problem.commit(from) && edge.to == problem.begin(to))
                .then_some((to, from))
        };
        let entering = Csr::new(
            members,
            problem.edges.iter().filter(heads).filter_map(entering),
        );
        let mut chains = Self {
            at: vec![(NONE, 0); members],
            count: 0,
        };
        for event in order {
            let member = problem.member(*event);
            if problem.begin(member) != *event {
                continue;
            }
            let mut earlier = before[member as usize];
            if earlier == NONE {
                let free = entering
                    .get(member)
                    .iter()
                    .find(|from| !reserved[**from as usize]);
                earlier = free.copied().unwrap_or(NONE);
            }
            chains.append(member, earlier);
            if earlier != NONE {
                reserved[earlier as usize] = true;
            }
        }
        chains
    }

    fn append(&mut self, member: u32, earlier: u32) {
        self.at[member as usize] = if earlier == NONE {
            let chain = u32::try_from(self.count).expect("there are no more chains than members");
            self.count += 1;
            (chain, 0)
        } else {
            let (chain, place) = self.at[earlier as usize];
            (chain, place + 1)
        };
    }

    /// The chain of a member.
    pub(crate) fn of(&self, member: u32) -> u32 {
        self.at[member as usize].0
    }

    /// Whether rows for them are affordable.
    pub(crate) fn affordable(&self, events: u32) -> bool {
        self.count.saturating_mul(events as usize).saturating_mul(4) <= MOST_BYTES
    }

    /// Whether rows for them are no longer than rows of bits would be.
    pub(super) fn are_few(&self, precedence: Precedence) -> bool {
        let as_bits = self.at.len() / 32;
        self.count
            <= match precedence {
                Precedence::Free => as_bits,
                Precedence::Session | Precedence::Realtime => FEW.max(as_bits),
            }
    }
}

/// The rows.
#[derive(Debug)]
pub(crate) struct Clocks {
    chains: Chains,
    split: bool,
    rows: Vec<u32>,
}

impl Clocks {
    /// Rows without any edge.
    pub(crate) fn new(problem: &Problem<'_>, chains: Chains) -> Self {
        let rows = vec![0; chains.count * problem.events() as usize];
        Self {
            chains,
            split: problem.split,
            rows,
        }
    }

    /// Brings the rows up to date with the graph, and says which have changed: a bit for each chain, counted round
    /// after 64. `order` holds all events.
    pub(crate) fn update(&mut self, graph: &Graph, order: &[u32]) -> Vec<u64> {
        let width = self.chains.count;
        let mut changed = vec![0_u64; order.len()];
        let mut row = vec![0; width];
        for event in order {
            let start = *event as usize * width;
            let (chain, own) = (self.chain_of(*event) as usize, self.own(*event));
            let there = std::mem::replace(&mut self.rows[start + chain], own);
            if there != own {
                // The first time: nothing has been looked at.
                changed[*event as usize] = u64::MAX;
            }
            row.copy_from_slice(&self.rows[start..start + width]);
            for (to, _) in graph.get(*event) {
                let later = &mut self.rows[*to as usize * width..][..width];
                let grows = later
                    .iter()
                    .zip(&row)
                    .fold(false, |grows, (there, here)| grows | (here > there));
                if grows {
                    for ((there, here), bit) in later.iter_mut().zip(&row).zip((0..64_u32).cycle())
                    {
                        changed[*to as usize] |= u64::from(*here > *there) << bit;
                        *there = (*there).max(*here);
                    }
                }
            }
        }
        changed
    }

    /// Whether `from` reaches `to`; every event reaches itself.
    pub(crate) fn reaches(&self, from: u32, to: u32) -> bool {
        self.row(to)[self.chain_of(from) as usize] >= self.own(from)
    }

    /// How far down each chain an event is reached from; compare with [`own`](Self::own).
    pub(crate) fn row(&self, event: u32) -> &[u32] {
        let width = self.chains.count;
        &self.rows[event as usize * width..][..width]
    }

    /// Where an event is in its chain, from one.
    pub(crate) fn own(&self, event: u32) -> u32 {
        let (_, place) = self.chains.at[self.member(event) as usize];
        if self.split {
            2 * place + 1 + (event & 1)
        } else {
            place + 1
        }
    }

    /// The chain of a member.
    pub(crate) fn chain(&self, member: u32) -> u32 {
        self.chains.of(member)
    }

    fn chain_of(&self, event: u32) -> u32 {
        self.chains.of(self.member(event))
    }

    const fn member(&self, event: u32) -> u32 {
        if self.split { event / 2 } else { event }
    }
}
