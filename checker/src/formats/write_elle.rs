//! Writes histories as Elle takes them: an entry for each invocation and each completion.

use std::io::Write;

use super::Format;
use super::write::{Loss, WriteError, edn_name, json_name, refuse, refuse_unseen};
use crate::observed::{Observed, Op, Outcome, TxnIndex};

/// Writes a history of lists or of registers, an entry a line.
pub(super) fn write(
    history: &Observed,
    format: Format,
    out: &mut dyn Write,
) -> Result<Vec<Loss>, WriteError> {
    let lists = |op: &Op| matches!(op, Op::ReadList { .. } | Op::Append { .. });
    let registers = |op: &Op| matches!(op, Op::Read { .. } | Op::Write { .. });
    let any =
        |of: &dyn Fn(&Op) -> bool| history.indexes().any(|txn| history.ops(txn).iter().any(of));
    if any(&lists) {
        refuse(history, format, "registers in a history of lists", |txn| {
            history.ops(txn).iter().any(registers)
        })?;
    }
    refuse_unseen(history, format)?;
    let mut losses = Vec::new();
    let plan = Plan::new(history, &mut losses);
    let mut line = String::new();
    for (index, event) in plan.events.iter().enumerate() {
        line.clear();
        entry(history, format, index, *event, &plan, &mut line);
        out.write_all(line.as_bytes())?;
    }
    let unseen = |txn: TxnIndex| {
        let told = history.txn(txn).outcome == Outcome::Committed;
        let mut ops = history.ops(txn).iter();
        !told && ops.any(|op| matches!(op, Op::Read { .. } | Op::ReadList { .. }))
    };
    if history.indexes().any(unseen) {
        losses.push(Loss::AbortedTransactions);
    }
    losses.sort_unstable();
    losses.dedup();
    Ok(losses)
}

/// What an entry is of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Invocation,
    Completion,
}

/// In which order what is written.
struct Plan {
    events: Vec<(Phase, TxnIndex)>,
    /// The process of each transaction.
    processes: Vec<u64>,
}

impl Plan {
    fn new(history: &Observed, losses: &mut Vec<Loss>) -> Self {
        let processes = processes(history, losses);
        let timed = history
            .indexes()
            .all(|txn| history.txn(txn).interval.is_some());
        if let Some(events) = timed.then(|| timed_events(history, &processes)).flatten() {
            return Self { events, processes };
        }
        if history.txns().iter().any(|txn| txn.interval.is_some()) {
            losses.push(Loss::RealTime);
        }
        let events = history.indexes().map(|txn| (Phase::Completion, txn));
        Self {
            events: events.collect(),
            processes,
        }
    }
}

/// A process for each session. A transaction without session has one of its own; so has one in doubt that others
/// of its session follow, because a process that is told nothing is never used again.
pub(super) fn processes(history: &Observed, losses: &mut Vec<Loss>) -> Vec<u64> {
    let mut followed = vec![false; history.session_count() as usize];
    let mut alone = u64::from(history.session_count());
    let mut processes = vec![0; history.txns().len()];
    for index in history.indexes().rev() {
        let txn = history.txn(index);
        let session = txn.session.filter(|session| {
            let later = &mut followed[session.0 as usize];
            let leaves = *later && txn.outcome == Outcome::Unknown;
            *later = true;
            if leaves {
                losses.push(Loss::SessionsInDoubt);
            }
            !leaves
        });
        processes[index.0 as usize] = session.map_or(alone, |session| u64::from(session.0));
        alone += u64::from(session.is_none());
    }
    processes
}

/// Invocations and completions in real time, if processes can run them one at a time. What was never answered
/// completes last, whatever end it has.
fn timed_events(history: &Observed, processes: &[u64]) -> Option<Vec<(Phase, TxnIndex)>> {
    let mut last_ends = vec![None; history.session_count() as usize];
    let mut events = Vec::with_capacity(2 * history.txns().len());
    for index in history.indexes() {
        let txn = history.txn(index);
        let interval = txn.interval?;
        let unknown = txn.outcome == Outcome::Unknown;
        if !unknown && interval.end == u32::MAX {
            return None;
        }
        let end = if unknown { u32::MAX } else { interval.end };
        // Who has a process of its own stands in nobody's way.
        let session = usize::try_from(processes[index.0 as usize]).ok();
        if let Some(last) = session.and_then(|session| last_ends.get_mut(session)) {
            if last.is_some_and(|last| last >= interval.begin) {
                return None;
            }
            *last = Some(end);
        }
        events.push((interval.begin, Phase::Invocation, index));
        events.push((end, Phase::Completion, index));
    }
    // At one time, invocations first: what ends as another begins does not precede it.
    events.sort_unstable();
    Some(
        events
            .into_iter()
            .map(|(_, phase, txn)| (phase, txn))
            .collect(),
    )
}

fn entry(
    history: &Observed,
    format: Format,
    index: usize,
    (phase, txn): (Phase, TxnIndex),
    plan: &Plan,
    line: &mut String,
) {
    let edn = format == Format::ElleEdn;
    let outcome = history.txn(txn).outcome;
    let kind = match (phase, outcome) {
        (Phase::Invocation, _) => "invoke",
        (Phase::Completion, Outcome::Committed) => "ok",
        (Phase::Completion, Outcome::Aborted) => "fail",
        (Phase::Completion, Outcome::Unknown) => "info",
    };
    let process = plan.processes[txn.0 as usize];
    line.push_str(&if edn {
        format!("{{:index {index}, :type :{kind}, :process {process}, :f :txn, :value [")
    } else {
        format!(
            "{{\"index\":{index},\"type\":\"{kind}\",\"process\":{process},\"f\":\"txn\",\"value\":["
        )
    });
    let seen = phase == Phase::Completion && outcome == Outcome::Committed;
    let separator = if edn { ' ' } else { ',' };
    for (place, op) in history.ops(txn).iter().enumerate() {
        if place > 0 {
            line.push(separator);
        }
        operation(history, edn, *op, seen, line);
    }
    line.push_str("]}\n");
}

fn operation(history: &Observed, edn: bool, op: Op, seen: bool, line: &mut String) {
    let name = if edn { edn_name } else { json_name };
    let (separator, quote, nil) = if edn {
        (' ', "", "nil")
    } else {
        (',', "\"", "null")
    };
    let action = match op {
        Op::Read { .. } | Op::ReadList { .. } | Op::Unseen { .. } => "r",
        Op::Write { .. } => "w",
        Op::Append { .. } => "append",
    };
    line.push('[');
    line.push_str(if edn { ":" } else { quote });
    line.push_str(action);
    line.push_str(quote);
    line.push(separator);
    line.push_str(&name(history.key_name(op.key())));
    line.push(separator);
    match op {
        Op::Write { value, .. } | Op::Append { value, .. } => {
            line.push_str(&name(&history.value_name(value)));
        }
        Op::Read {
            value: Some(value), ..
        } if seen => line.push_str(&name(&history.value_name(value))),
        Op::ReadList { elements, .. } if seen => {
            line.push('[');
            for (place, value) in history.elements(elements).iter().enumerate() {
                if place > 0 {
                    line.push(separator);
                }
                line.push_str(&name(&history.value_name(*value)));
            }
            line.push(']');
        }
        Op::Read { .. } | Op::ReadList { .. } | Op::Unseen { .. } => line.push_str(nil),
    }
    line.push(']');
}
