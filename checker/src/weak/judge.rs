//! The steps of a judgement, and its witness.

use std::collections::BTreeSet;

use crate::observed::{Edge, Key, Observed, Outcome, TxnIndex, Why};
use crate::search::clocks::{Graph, graph, topological};
use crate::search::explain::{Paths, short_cycle};
use crate::search::facts::{Facts, NONE, Source};
use crate::search::problem::{Cause, Known, MOST_EDGES, Problem};
use crate::search::saturate::on_cycles;
use crate::search::{Doubt, Isolation, Precedence, ReadFault, ReadFaultKind};

use super::visible::{By, Condition, Finder};
use super::{Because, Level, Step, Verdict, Witness};

/// Decides whether a history is of a level.
#[must_use]
pub fn judge(history: &Observed, level: Level) -> Verdict {
    let facts = Facts::new(history, true);
    decide(history, &facts, level).unwrap_or_else(Verdict::Unknown)
}

fn decide(history: &Observed, facts: &Facts, level: Level) -> Result<Verdict, Doubt> {
    if let Some(txn) = facts.not_registers {
        return Err(Doubt::NotRegisters { txn });
    }
    if facts.members.iter().all(|txn| history.ops(*txn).is_empty()) {
        return Err(Doubt::Empty);
    }
    let faults: Vec<ReadFault> = facts
        .faults
        .iter()
        .copied()
        .filter(|fault| forbids(history, level, fault))
        .collect();
    if !faults.is_empty() {
        return Ok(Verdict::Invalid(Witness::Reads(faults)));
    }
    if level == Level::ReadUncommitted {
        return Ok(Verdict::Valid(Vec::new()));
    }
    let keeps = if level.keeps_sessions() {
        Precedence::Session
    } else {
        Precedence::Free
    };
    let mut problem = Problem::causes(
        history,
        facts,
        crate::search::Level {
            isolation: Isolation::Serializable,
            precedence: keeps,
        },
        &BTreeSet::new(),
    );
    if level == Level::MonotonicWrites {
        writers_in_sessions(history, &mut problem);
    }
    let causes = graph(problem.events(), &problem.edges);
    let order = topological(&causes, problem.events());
    if order.len() < problem.events() as usize {
        return Ok(cycle(history, &problem, &causes, &causes, &order, &[]));
    }
    let conditions = Finder::find(history, facts, &problem, &order, level)?;
    if problem.edges.len() + conditions.len() > MOST_EDGES {
        return Err(Doubt::TooLarge(MOST_EDGES));
    }
    if let Some(condition) = conditions.iter().find(|condition| condition.later == NONE) {
        let overwritten = overwritten(history, &problem, &causes, *condition);
        return Ok(Verdict::Invalid(Witness::Cycle(overwritten)));
    }
    for (condition, number) in conditions.iter().zip(0_u32..) {
        let edge = problem.after(condition.earlier, condition.later, number);
        problem.edges.push(edge);
    }
    let all = graph(problem.events(), &problem.edges);
    let order = topological(&all, problem.events());
    if order.len() < problem.events() as usize {
        return Ok(cycle(history, &problem, &all, &causes, &order, &conditions));
    }
    if let Some((txn, key)) = facts.several {
        return Err(Doubt::SeveralWriters { txn, key });
    }
    if level.needs_sessions()
        && let Some(txn) = facts
            .members
            .iter()
            .find(|txn| history.txn(**txn).session.is_none())
    {
        return Err(Doubt::NoSession { txn: *txn });
    }
    let txn = |event: &u32| facts.members[problem.member(*event) as usize];
    Ok(Verdict::Valid(order.iter().map(txn).collect()))
}

/// Whether a level never returns such a read. Where reads of what is not committed are allowed, being read from does
/// not show that a transaction has committed.
fn forbids(history: &Observed, level: Level, fault: &ReadFault) -> bool {
    match fault.kind {
        ReadFaultKind::ThinAir => {
            level != Level::ReadUncommitted || history.txn(fault.txn).outcome == Outcome::Committed
        }
        ReadFaultKind::Aborted { .. }
        | ReadFaultKind::Intermediate { .. }
        | ReadFaultKind::Future
        | ReadFaultKind::OwnWrite { .. } => level != Level::ReadUncommitted,
        ReadFaultKind::Unrepeatable { .. } => matches!(level, Level::ReadAtomic | Level::Causal),
    }
}

/// Each writing transaction of a session is before the next.
fn writers_in_sessions(history: &Observed, problem: &mut Problem<'_>) {
    let mut last = vec![NONE; history.session_count() as usize];
    for member in 0..problem.facts.count() {
        let Some(session) = history.txn(problem.facts.members[member as usize]).session else {
            continue;
        };
        if !problem.facts.slots_of(member).is_empty() {
            let last = &mut last[session.0 as usize];
            if *last != NONE {
                problem.know(*last, member, Cause::Session);
            }
            if history.txn(problem.facts.members[member as usize]).outcome == Outcome::Committed {
                *last = member;
            }
        }
    }
}

/// The witness for edges that close a cycle.
fn cycle(
    history: &Observed,
    problem: &Problem<'_>,
    all: &Graph,
    causes: &Graph,
    order: &[u32],
    conditions: &[Condition],
) -> Verdict {
    let among = on_cycles(order, problem.events());
    let steps = short_cycle(problem, all, &among).into_iter().map(|place| {
        let known = problem.edges[place as usize];
        let condition = conditions
            .get(known.order as usize)
            .filter(|_| known.order != NONE);
        Step {
            edge: edge(problem, known),
            because: condition.map(|condition| because(history, problem, causes, *condition)),
        }
    });
    Verdict::Invalid(Witness::Cycle(steps.collect()))
}

/// The cycle of a read of an initial state that had been overwritten.
fn overwritten(
    history: &Observed,
    problem: &Problem<'_>,
    causes: &Graph,
    condition: Condition,
) -> Vec<Step> {
    let because = because(history, problem, causes, condition);
    let slot = problem.facts.slot(condition.earlier);
    let read = Edge {
        from: because.reader,
        to: txn(problem, slot.writer),
        why: Why::ReadWrite {
            key: because.key,
            read: None,
            wrote: slot.value,
        },
    };
    let step = |edge| Step {
        edge,
        because: None,
    };
    std::iter::once(read)
        .chain(because.visible)
        .map(step)
        .collect()
}

fn txn(problem: &Problem<'_>, member: u32) -> TxnIndex {
    problem.facts.members[member as usize]
}

fn edge(problem: &Problem<'_>, known: Known) -> Edge {
    let facts = problem.facts;
    let why = match known.cause {
        Cause::Read(slot) => Why::WriteRead {
            key: Key(facts.slot(slot).key),
            value: facts.slot(slot).value,
        },
        Cause::After(earlier, later) => Why::WriteWrite {
            key: Key(facts.slot(later).key),
            earlier: facts.slot(earlier).value,
            later: facts.slot(later).value,
        },
        Cause::Session => Why::Session,
        Cause::Program | Cause::Realtime | Cause::Overwrite(..) => {
            unreachable!("causes are sessions and reads")
        }
    };
    Edge {
        from: txn(problem, known.from),
        to: txn(problem, known.to),
        why,
    }
}

fn because(
    history: &Observed,
    problem: &Problem<'_>,
    causes: &Graph,
    condition: Condition,
) -> Because {
    debug_assert!(history.txns().len() >= problem.facts.members.len());
    let writer = problem.facts.slot(condition.earlier).writer;
    let reader = condition.reader;
    let session = |from, to| Known {
        from,
        to,
        cause: Cause::Session,
        order: NONE,
    };
    let read = |from: u32, to: u32| {
        let of = |source| match source {
            Source::Slot(slot) if problem.facts.slot(slot).writer == from => Some(slot),
            Source::Slot(_) | Source::Initial | Source::Several | Source::Nothing => None,
        };
        let slot = problem
            .facts
            .reads
            .get(to)
            .iter()
            .find_map(|read| of(read.source));
        let cause = Cause::Read(slot.expect("the finder has seen it read"));
        Known {
            from,
            to,
            cause,
            order: NONE,
        }
    };
    let visible = match condition.by {
        By::Session => vec![session(writer, reader)],
        By::Read => vec![read(writer, reader)],
        By::SessionRead(seer) => vec![read(writer, seer), session(seer, reader)],
        By::ReadAfter(read_from) => vec![session(writer, read_from), read(read_from, reader)],
        By::ReadAfterRead(seer, read_from) if seer == read_from => {
            vec![read(writer, seer), read(seer, reader)]
        }
        By::ReadAfterRead(seer, read_from) => {
            vec![
                read(writer, seer),
                session(seer, read_from),
                read(read_from, reader),
            ]
        }
        By::Path => {
            let path = Paths::new(problem.events()).find(problem, causes, writer, reader, |_| true);
            let path = path.expect("the rows say that there is a path");
            path.into_iter()
                .map(|place| problem.edges[place as usize])
                .collect()
        }
    };
    Because {
        reader: txn(problem, reader),
        key: Key(problem.facts.slot(condition.earlier).key),
        visible: visible
            .into_iter()
            .map(|known| edge(problem, known))
            .collect(),
    }
}
