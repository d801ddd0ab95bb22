//! Re-checks refutations, with nothing of the search's code: each edge by what the history says, each cycle by looking
//! whether it is one, and several cycles by trying the orders of the versions that they depend on.

use std::collections::{HashMap, HashSet};

use super::level::{Isolation, Level, Precedence};
use super::verdict::{ReadFaultKind, Refutation};
use crate::observed::{Edge, Key, Observed, Op, Outcome, TxnIndex, Value, Why};

/// Why a refutation is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefutationFault {
    /// It says nothing.
    #[error("it has no grounds")]
    Empty,
    /// A read is not at fault.
    #[error("the read of transaction {} is not at fault", .0.0)]
    Read(TxnIndex),
    /// An edge does not follow from the history and the orders proven before.
    #[error("{0:?} does not follow")]
    Edge(Edge),
    /// Edges do not close a cycle, or one that the level allows.
    #[error("the edges are no cycle, or one that the level allows")]
    NoCycle,
    /// The cycles leave an order of the versions that closes none of them.
    #[error("an order of the versions closes none of the cycles")]
    WayOut,
    /// It cannot be re-checked: the cycles are not given, or too many.
    #[error("too long to be re-checked")]
    TooLong,
}

/// A version is before another: key, writer, writer.
type Before = (Key, TxnIndex, TxnIndex);

/// Steps that trying the orders of versions may take.
const MOST_STEPS: u64 = 1_000_000;

/// Whether a refutation shows that a history has no explanation at a level.
///
/// # Errors
///
/// Why it does not.
pub fn verify_refutation(
    history: &Observed,
    level: Level,
    refutation: &Refutation,
) -> Result<(), RefutationFault> {
    let check = Check::new(history, level);
    match refutation {
        Refutation::Reads(faults) if faults.is_empty() => Err(RefutationFault::Empty),
        Refutation::Reads(faults) => {
            let unfounded = faults
                .iter()
                .find(|fault| !check.at_fault(fault.txn, fault.key, fault.value, fault.kind));
            unfounded.map_or(Ok(()), |fault| Err(RefutationFault::Read(fault.txn)))
        }
        Refutation::Exhausted { .. } => Err(RefutationFault::TooLong),
        Refutation::Cycles { forced, cycles } => {
            let mut known: HashSet<Before> = HashSet::new();
            for order in forced {
                let other = (order.key, order.later, order.earlier);
                let needs = check.cycle(&order.otherwise)?;
                let given = |before: &&Before| **before == other || known.contains(*before);
                if needs.iter().filter(given).count() < needs.len() {
                    return Err(RefutationFault::Edge(order.otherwise[0]));
                }
                known.insert((order.key, order.earlier, order.later));
            }
            let mut clauses = Vec::new();
            for cycle in cycles {
                let mut needs = check.cycle(cycle)?;
                needs.retain(|before| !known.contains(before));
                clauses.push(needs);
            }
            no_way_out(&clauses)
        }
    }
}

struct Check<'h> {
    history: &'h Observed,
    level: Level,
    /// Who wrote a value to a key: the writer, and whether it was its last write of the key.
    writers: HashMap<(Key, Value), Vec<(TxnIndex, bool)>>,
    /// Who must have committed.
    committed: Vec<bool>,
}

impl<'h> Check<'h> {
    fn new(history: &'h Observed, level: Level) -> Self {
        let mut writers: HashMap<(Key, Value), Vec<(TxnIndex, bool)>> = HashMap::new();
        for txn in history.indexes() {
            let last: HashMap<Key, usize> = history
                .ops(txn)
                .iter()
                .enumerate()
                .filter_map(|(at, op)| op.wrote().map(|(key, _)| (key, at)))
                .collect();
            for (at, op) in history.ops(txn).iter().enumerate() {
                if let Some((key, value)) = op.wrote() {
                    writers
                        .entry((key, value))
                        .or_default()
                        .push((txn, last[&key] == at));
                }
            }
        }
        let committed = history
            .txns()
            .iter()
            .map(|txn| txn.outcome == Outcome::Committed)
            .collect();
        let mut check = Self {
            history,
            level,
            writers,
            committed,
        };
        let mut open: Vec<TxnIndex> = history
            .indexes()
            .filter(|txn| check.committed[txn.0 as usize])
            .collect();
        while let Some(reader) = open.pop() {
            for (key, value) in check.external(reader) {
                let writer = value.and_then(|value| check.only_writer(reader, key, value));
                if let Some(writer) = writer
                    && !std::mem::replace(&mut check.committed[writer.0 as usize], true)
                {
                    open.push(writer);
                }
            }
        }
        check
    }

    /// What a transaction read before it wrote.
    fn external(&self, txn: TxnIndex) -> Vec<(Key, Option<Value>)> {
        let mut wrote = HashSet::new();
        let mut reads = Vec::new();
        for op in self.history.ops(txn) {
            match *op {
                Op::Write { key, .. } => drop(wrote.insert(key)),
                Op::Read { key, value } if !wrote.contains(&key) => reads.push((key, value)),
                Op::Read { .. } | Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => {}
            }
        }
        reads
    }

    fn able(&self, reader: TxnIndex, key: Key, value: Value) -> impl Iterator<Item = TxnIndex> {
        let all = self
            .writers
            .get(&(key, value))
            .map_or(&[][..], |all| &all[..]);
        let outcome = |txn: TxnIndex| self.history.txn(txn).outcome;
        let able = all
            .iter()
            .filter(move |(txn, last)| *last && *txn != reader);
        able.map(|(txn, _)| *txn)
            .filter(move |txn| outcome(*txn) != Outcome::Aborted)
    }

    fn only_writer(&self, reader: TxnIndex, key: Key, value: Value) -> Option<TxnIndex> {
        let mut able = self.able(reader, key, value);
        able.next().filter(|_| able.next().is_none())
    }

    fn at_fault(&self, txn: TxnIndex, key: Key, value: Option<Value>, kind: ReadFaultKind) -> bool {
        let (mut wrote, mut read, mut found) = (None, None, false);
        for op in self.history.ops(txn) {
            match *op {
                Op::Write { key: of, value } if of == key => wrote = Some(value),
                Op::Read {
                    key: of,
                    value: seen,
                } if of == key && wrote.is_some() => {
                    found |= seen == value
                        && seen != wrote
                        && match kind {
                            ReadFaultKind::OwnWrite { .. } => true,
                            ReadFaultKind::ThinAir => {
                                seen.is_some_and(|seen| !self.writers.contains_key(&(key, seen)))
                            }
                            ReadFaultKind::Aborted { .. }
                            | ReadFaultKind::Intermediate { .. }
                            | ReadFaultKind::Future
                            | ReadFaultKind::Unrepeatable { .. } => false,
                        };
                }
                Op::Read {
                    key: of,
                    value: seen,
                } if of == key => {
                    let before = read.replace(seen);
                    found |= seen == value
                        && match kind {
                            ReadFaultKind::OwnWrite { .. } => false,
                            ReadFaultKind::Unrepeatable { .. } => {
                                before.is_some_and(|before| before != seen)
                            }
                            ReadFaultKind::ThinAir
                            | ReadFaultKind::Aborted { .. }
                            | ReadFaultKind::Intermediate { .. }
                            | ReadFaultKind::Future => {
                                seen.is_some_and(|seen| self.able(txn, key, seen).next().is_none())
                            }
                        };
                }
                Op::Read { .. }
                | Op::Write { .. }
                | Op::ReadList { .. }
                | Op::Append { .. }
                | Op::Unseen { .. } => {}
            }
        }
        found && self.committed[txn.0 as usize]
    }

    /// The orders of versions that a cycle needs; an error if it is none, or if an edge has no ground.
    fn cycle(&self, edges: &[Edge]) -> Result<Vec<Before>, RefutationFault> {
        let mut needs = Vec::new();
        for (at, edge) in edges.iter().enumerate() {
            let next = edges[(at + 1) % edges.len()];
            let allowed = self.level.isolation == Isolation::Snapshot
                && edge.why.is_anti()
                && next.why.is_anti();
            if edge.to != next.from || edge.from == edge.to || allowed {
                return Err(RefutationFault::NoCycle);
            }
            if ![edge.from, edge.to]
                .iter()
                .all(|txn| self.committed[txn.0 as usize])
            {
                return Err(RefutationFault::Edge(*edge));
            }
            needs.extend(self.needs(edge).ok_or(RefutationFault::Edge(*edge))?);
        }
        if edges.is_empty() {
            Err(RefutationFault::NoCycle)
        } else {
            Ok(needs)
        }
    }

    /// The order of versions that an edge needs, if any; nothing if it has no ground.
    fn needs(&self, edge: &Edge) -> Option<Option<Before>> {
        let (from, to) = (self.history.txn(edge.from), self.history.txn(edge.to));
        let read = |txn, key, value| self.external(txn).contains(&(key, value));
        let wrote = |txn, key, value| {
            let all = self.writers.get(&(key, value));
            all.is_some_and(|all| all.contains(&(txn, true)))
        };
        let grounded = match edge.why {
            Why::Session => {
                let same =
                    from.session.is_some() && from.session == to.session && edge.from < edge.to;
                let told = from.outcome == Outcome::Committed;
                return (same && told && self.level.precedence != Precedence::Free).then_some(None);
            }
            Why::Realtime => {
                let earlier =
                    from.interval?.end < to.interval?.begin && from.outcome == Outcome::Committed;
                return (earlier && self.level.precedence == Precedence::Realtime).then_some(None);
            }
            Why::WriteRead { key, value } => {
                let only = self.only_writer(edge.to, key, value) == Some(edge.from);
                return (only && read(edge.to, key, Some(value))).then_some(None);
            }
            Why::ReadWrite {
                key,
                read: None,
                wrote: later,
            } => {
                return (read(edge.from, key, None) && wrote(edge.to, key, later)).then_some(None);
            }
            Why::ReadWrite {
                key,
                read: Some(value),
                wrote: later,
            } => {
                let grounded = read(edge.from, key, Some(value)) && wrote(edge.to, key, later);
                grounded.then_some((key, self.only_writer(edge.from, key, value)?, edge.to))
            }
            Why::WriteWrite {
                key,
                earlier,
                later,
            } => {
                let grounded = wrote(edge.from, key, earlier) && wrote(edge.to, key, later);
                grounded.then_some((key, edge.from, edge.to))
            }
        };
        grounded.map(Some)
    }
}

/// Whether each way to order the versions has all that one of the cycles needs. By trying, with what follows first.
fn no_way_out(cycles: &[Vec<Before>]) -> Result<(), RefutationFault> {
    let mut chosen: HashSet<Before> = HashSet::new();
    // What was chosen, and whether its opposite is still to be tried.
    let mut trail: Vec<(Before, bool)> = Vec::new();
    for _ in 0..MOST_STEPS {
        let opposite = |(key, a, b): Before| (key, b, a);
        let open = |cycle: &Vec<Before>| -> Option<Vec<Before>> {
            let avoided = cycle
                .iter()
                .any(|before| chosen.contains(&opposite(*before)));
            let left = cycle
                .iter()
                .copied()
                .filter(|before| !chosen.contains(before));
            (!avoided).then(|| left.collect())
        };
        let shortest = cycles.iter().filter_map(open).min_by_key(Vec::len);
        match shortest.as_deref() {
            None => return Err(RefutationFault::WayOut),
            Some([]) => loop {
                let Some((last, again)) = trail.pop() else {
                    return Ok(());
                };
                chosen.remove(&last);
                if again {
                    chosen.insert(opposite(last));
                    trail.push((opposite(last), false));
                    break;
                }
            },
            Some([first, rest @ ..]) => {
                chosen.insert(opposite(*first));
                trail.push((opposite(*first), !rest.is_empty()));
            }
        }
    }
    Err(RefutationFault::TooLong)
}
