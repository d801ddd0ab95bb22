//! The orders that every explanation must have, as a graph of events.
//!
//! A transaction is two events, its snapshot ([`Problem::begin`]) and its installation ([`Problem::commit`]); where the
//! level is serializability they are one and the same. With `a <x b` for "the version of `x` that `a` wrote is before
//! that of `b`", an explanation is an order of the events and of the versions with
//!
//! - **E1** `begin(t)` before `commit(t)`;
//! - **E2** `commit(s)` before `begin(t)`, if the level says that `s` precedes `t` (session order, real time), and the
//!   outcome of `s` was told: who was not told it may go on before `s` takes effect;
//! - **E3** `commit(a)` before `begin(r)`, if `r` read what `a` wrote;
//! - **E4** `commit(a)` before `begin(b)`, if `a <x b`: who writes the same key does not run at the same time;
//! - **E5** `begin(r)` before `commit(b)`, if `r` read what `a` wrote, and `a <x b`, and `r` is not `b`; and the same
//!   if `r` read the initial state of `x`, whatever `b` wrote.
//!
//! This is serializability as Papadimitriou (1979) and Bernstein et al. (1987) have it for registers, in the form of a
//! polygraph; and for two events it is snapshot isolation of Berenson et al. (1995) in the form of Cerone and Gotsman
//! (2018): a cycle of E2 to E5 in which no two anti-dependencies (E5) are adjacent.

use std::collections::BTreeSet;

use super::csr::Csr;
use super::facts::{Facts, NONE, Source};
use super::level::{Isolation, Level, Precedence};
use super::realtime;
use super::verdict::Doubt;
use crate::observed::{Observed, Outcome, TxnIndex};

/// Edges that a graph may have.
pub(crate) const MOST_EDGES: usize = 40_000_000;

/// Why one event is before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// E1.
    Program,
    /// E2, of a session.
    Session,
    /// E2, in real time.
    Realtime,
    /// E3, of this slot.
    Read(u32),
    /// E4, of these slots.
    After(u32, u32),
    /// E5, of these slots; [`NONE`] is the initial state.
    Overwrite(u32, u32),
}

/// One event is before another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The earlier event.
    pub(crate) from: u32,
    /// The later event.
    pub(crate) to: u32,
    /// Why.
    pub(crate) cause: Cause,
    /// The number of the order of versions that it follows from; [`NONE`] if it needs none.
    pub(crate) order: u32,
}

/// Two versions whose order is known, because the other one closes a cycle. The path from the end of that edge to its
/// start consists of edges that need orders of lower numbers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// The slot of the earlier version.
    pub(crate) earlier: u32,
    /// The slot of the later version.
    pub(crate) later: u32,
    /// Who has read the later version, if it is that reader's anti-dependency (E5) that closes the cycle; otherwise
    /// [`NONE`], and E4 does.
    pub(crate) reader: u32,
}

/// What is known, and what is left to decide.
#[derive(Debug)]
pub(crate) struct Problem<'f> {
    /// Who wrote what.
    pub(crate) facts: &'f Facts,
    /// Whether a transaction is two events.
    pub(crate) split: bool,
    /// Which orders the level adds.
    pub(crate) precedence: Precedence,
    /// The session of each member, or the part of it between two cuts; [`NONE`] if it does not count.
    segment: Vec<u32>,
    segments: u32,
    /// Who read each slot, once each; in the order of members.
    pub(crate) readers: Csr<u32>,
    /// Who read the initial state of each key.
    pub(crate) initial: Csr<u32>,
    /// What is known.
    pub(crate) edges: Vec<Known>,
    /// What of it had to be proven.
    pub(crate) orders: Vec<Order>,
}

impl<'f> Problem<'f> {
    /// Sessions, where they count, and who read from whom; nothing else. Before the transactions of `cut` their session
    /// does not count.
    pub(crate) fn causes(
        history: &Observed,
        facts: &'f Facts,
        level: Level,
        cut: &BTreeSet<TxnIndex>,
    ) -> Self {
        let reads = || {
            (0..facts.count()).flat_map(|member| {
                facts
                    .reads
                    .get(member)
                    .iter()
                    .map(move |read| (member, *read))
            })
        };
        let readers = reads().filter_map(|(member, read)| match read.source {
            Source::Slot(slot) => Some((slot, member)),
            Source::Initial | Source::Several | Source::Nothing => None,
        });
        let initial = reads().filter_map(|(member, read)| {
            (read.source == Source::Initial).then_some((read.key, member))
        });
        let mut problem = Self {
            facts,
            split: level.isolation == Isolation::Snapshot,
            precedence: level.precedence,
            segment: vec![NONE; facts.members.len()],
            segments: 0,
            readers: Csr::new(facts.slots.len(), readers),
            initial: Csr::new(history.key_count(), initial),
            edges: Vec::new(),
            orders: Vec::new(),
        };
        problem.sessions(history, cut);
        problem.read_edges();
        problem
    }

    /// Puts together what is known without any search.
    pub(crate) fn new(
        history: &Observed,
        facts: &'f Facts,
        level: Level,
        cut: &BTreeSet<TxnIndex>,
    ) -> Result<Self, Doubt> {
        let mut problem = Self::causes(history, facts, level, cut);
        problem.program();
        if level.precedence == Precedence::Realtime {
            realtime::edges(history, &mut problem)?;
        }
        problem.read_modify_writes();
        problem.overwrites_of_initial()?;
        Ok(problem)
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> u32 {
        self.facts.count() * (1 + u32::from(self.split))
    }

    /// When a member takes its snapshot.
    pub(crate) const fn begin(&self, member: u32) -> u32 {
        if self.split { 2 * member } else { member }
    }

    /// When a member installs what it wrote.
    pub(crate) const fn commit(&self, member: u32) -> u32 {
        if self.split { 2 * member + 1 } else { member }
    }

    /// The member of an event.
    pub(crate) const fn member(&self, event: u32) -> u32 {
        if self.split { event / 2 } else { event }
    }

    /// Adds an edge that needs no proof.
    pub(crate) fn know(&mut self, from: u32, to: u32, cause: Cause) {
        self.edges.push(Known {
            from,
            to,
            cause,
            order: NONE,
        });
    }

    /// Adds a proven order of versions, without its edges, and returns its number.
    pub(crate) fn order(&mut self, order: Order) -> u32 {
        self.orders.push(order);
        u32::try_from(self.orders.len() - 1)
            .expect("orders have an edge each, and edges are bounded")
    }

    /// The edge between the writers of two ordered versions (E4).
    pub(crate) fn after(&self, earlier: u32, later: u32, order: u32) -> Known {
        Known {
            from: self.commit(self.facts.slot(earlier).writer),
            to: self.begin(self.facts.slot(later).writer),
            cause: Cause::After(earlier, later),
            order,
        }
    }

    /// The edge of a reader of the earlier of two ordered versions (E5).
    pub(crate) fn overwrite(&self, reader: u32, earlier: u32, later: u32, order: u32) -> Known {
        Known {
            from: self.begin(reader),
            to: self.commit(self.facts.slot(later).writer),
            cause: Cause::Overwrite(earlier, later),
            order,
        }
    }

    fn program(&mut self) {
        if self.split {
            for member in 0..self.facts.count() {
                self.know(self.begin(member), self.commit(member), Cause::Program);
            }
        }
    }

    /// E2 for sessions; each member after the last one before it whose outcome was told, unless the session is cut there.
    fn sessions(&mut self, history: &Observed, cut: &BTreeSet<TxnIndex>) {
        if self.precedence == Precedence::Free {
            return;
        }
        let mut last = vec![NONE; history.session_count() as usize];
        let mut untold = Vec::new();
        for (member, txn) in (0_u32..).zip(&self.facts.members) {
            let Some(session) = history.txn(*txn).session else {
                continue;
            };
            let last = &mut last[session.0 as usize];
            let before = *last;
            if history.txn(*txn).outcome == Outcome::Unknown {
                if before != NONE && !cut.contains(txn) {
                    untold.push((before, member));
                }
                continue;
            }
            *last = member;
            if before == NONE || cut.contains(txn) {
                self.segment[member as usize] = self.segments;
                self.segments += 1;
            } else {
                self.segment[member as usize] = self.segment[before as usize];
                self.know(self.commit(before), self.begin(member), Cause::Session);
            }
        }
        // Behind the others, which make the chains that clocks have.
        for (before, member) in untold {
            self.know(self.commit(before), self.begin(member), Cause::Session);
        }
    }

    /// E3.
    fn read_edges(&mut self) {
        for member in 0..self.facts.count() {
            for read in self.facts.reads.get(member) {
                if let Source::Slot(slot) = read.source {
                    let writer = self.facts.slot(slot).writer;
                    self.know(self.commit(writer), self.begin(member), Cause::Read(slot));
                }
            }
        }
    }

    /// E5 for everybody who read a version that another read and overwrote: the other's version is later, since it
    /// was written by a reader of the earlier one.
    fn read_modify_writes(&mut self) {
        for slot in 0..self.facts.slots.len() {
            let slot = u32::try_from(slot).expect("slots are counted in 32 bits");
            let key = self.facts.slot(slot).key;
            let readers = self.readers.get(slot).to_vec();
            // Two who overwrite what both have read close a cycle already; more of them add nothing.
            let overwriting = readers
                .iter()
                .filter_map(|reader| self.facts.slot_of(*reader, key));
            for later in overwriting.take(2).collect::<Vec<u32>>() {
                let order = self.order(Order {
                    earlier: slot,
                    later,
                    reader: NONE,
                });
                for reader in &readers {
                    if *reader != self.facts.slot(later).writer {
                        let edge = self.overwrite(*reader, slot, later, order);
                        self.edges.push(edge);
                    }
                }
            }
        }
    }

    /// E5 for reads of the initial state. Where sessions count, the first writer of each will do.
    fn overwrites_of_initial(&mut self) -> Result<(), Doubt> {
        let mut seen = vec![NONE; self.segments as usize];
        for key in 0..u32::try_from(self.initial.len()).expect("keys are counted in 32 bits") {
            if self.initial.get(key).is_empty() {
                continue;
            }
            let mut writers = self.facts.key_slots.get(key).to_vec();
            writers.retain(
                |slot| match self.segment[self.facts.slot(*slot).writer as usize] {
                    NONE => true,
                    segment => std::mem::replace(&mut seen[segment as usize], key) != key,
                },
            );
            if self.edges.len() + self.initial.get(key).len() * writers.len() > MOST_EDGES {
                return Err(Doubt::TooLarge(MOST_EDGES));
            }
            for place in 0..self.initial.get(key).len() {
                let reader = self.initial.get(key)[place];
                for slot in writers
                    .iter()
                    .filter(|slot| self.facts.slot(**slot).writer != reader)
                {
                    let edge = self.overwrite(reader, NONE, *slot, NONE);
                    self.edges.push(edge);
                }
            }
        }
        Ok(())
    }
}
