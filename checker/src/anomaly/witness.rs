//! Re-checks a cycle that a judgement shows, edge by edge, against the history and nothing else.
//!
//! Nothing is shared with the inference: each edge is tested by the definition of its kind, with a scan of the history.

use crate::models::Anomaly;
use crate::observed::{Edge, Key, Observed, Op, Outcome, TxnIndex, Value, Why};

use super::{Found, Options};

/// Why a witness is no witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessFault {
    /// Fewer than two edges.
    #[error("the cycle has fewer than two edges")]
    TooShort,
    /// The edge does not end where the next begins.
    #[error("edge {0} does not end where the next begins")]
    Broken(usize),
    /// The transaction cannot be known to have committed.
    #[error("edge {0} begins at a transaction that is not known to have committed")]
    NotCommitted(usize),
    /// The history does not say so.
    #[error("the history does not bear out edge {0}")]
    NotSo(usize),
    /// The cycle has another name.
    #[error("the edges make a {}, not a {}", .0.name(), .1.name())]
    Misnamed(Anomaly, Anomaly),
}

/// Re-checks the cycle of a finding; one without a cycle passes.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check(history: &Observed, options: &Options, found: &Found) -> Result<(), WitnessFault> {
    let edges = &found.cycle;
    if edges.is_empty() {
        return Ok(());
    }
    if edges.len() < 2 {
        return Err(WitnessFault::TooShort);
    }
    for (place, edge) in edges.iter().enumerate() {
        if edges[(place + 1) % edges.len()].from != edge.to {
            return Err(WitnessFault::Broken(place));
        }
        if !has_committed(history, edge.from) {
            return Err(WitnessFault::NotCommitted(place));
        }
        if edge.from == edge.to || !holds(history, options, edge) {
            return Err(WitnessFault::NotSo(place));
        }
    }
    let name = name(edges);
    if name == found.name {
        Ok(())
    } else {
        Err(WitnessFault::Misnamed(name, found.name))
    }
}

/// The name of a cycle, by its edges.
///
/// # Panics
///
/// Never: all combinations have names.
#[must_use]
pub fn name(edges: &[Edge]) -> Anomaly {
    let is_rw = |edge: &Edge| edge.why.is_anti();
    let anti = edges.iter().filter(|edge| is_rw(edge)).count();
    let reads = edges
        .iter()
        .any(|edge| matches!(edge.why, Why::WriteRead { .. }));
    let next = edges.iter().cycle().skip(1);
    let adjacent = edges
        .iter()
        .zip(next)
        .any(|(one, two)| is_rw(one) && is_rw(two));
    let base = match (anti, reads, adjacent) {
        (0, false, _) => "G0",
        (0, true, _) => "G1c",
        (1, _, _) => "G-single-item",
        (_, _, false) => "G-nonadjacent-item",
        (_, _, true) => "G2-item",
    };
    let time = if edges.iter().any(|edge| edge.why == Why::Realtime) {
        "-realtime"
    } else if edges.iter().any(|edge| edge.why == Why::Session) {
        "-process"
    } else {
        ""
    };
    Anomaly::parse(&format!("{base}{time}")).expect("each of these names is one")
}

/// Whether it committed: its client was told so, or a transaction that did has read from it.
fn has_committed(history: &Observed, txn: TxnIndex) -> bool {
    let mut known: Vec<TxnIndex> = vec![txn];
    let mut next = 0;
    // Who read from it, who read from those, and so on, until one of them is known to have committed.
    while let Some(&txn) = known.get(next) {
        next += 1;
        match history.txn(txn).outcome {
            Outcome::Committed => return true,
            Outcome::Aborted => continue,
            Outcome::Unknown => {}
        }
        for reader in history.indexes().filter(|reader| *reader != txn) {
            let mut wrote = history.ops(txn).iter().filter_map(|op| op.wrote());
            if !known.contains(&reader)
                && wrote.any(|(key, value)| {
                    has_read(history, reader, key, value) && is_unique(history, key, value)
                })
            {
                known.push(reader);
            }
        }
    }
    false
}

fn has_read(history: &Observed, txn: TxnIndex, key: Key, value: Value) -> bool {
    history.ops(txn).iter().any(|op| match *op {
        Op::Read {
            key: of,
            value: read,
        } => of == key && read == Some(value),
        Op::ReadList { key: of, elements } => {
            of == key && history.elements(elements).contains(&value)
        }
        Op::Write { .. } | Op::Append { .. } | Op::Unseen { .. } => false,
    })
}

fn has_written(history: &Observed, txn: TxnIndex, key: Key, value: Value) -> bool {
    history
        .ops(txn)
        .iter()
        .any(|op| op.wrote() == Some((key, value)))
}

fn holds(history: &Observed, options: &Options, edge: &Edge) -> bool {
    let (from, to) = (edge.from, edge.to);
    match edge.why {
        Why::WriteRead { key, value } => {
            has_written(history, from, key, value)
                && has_read(history, to, key, value)
                && is_unique(history, key, value)
        }
        Why::WriteWrite {
            key,
            earlier,
            later,
        } => {
            has_written(history, from, key, earlier)
                && has_written(history, to, key, later)
                && (shows_order(history, key, earlier, later)
                    || is_assumed(history, options, key, Some(earlier), later))
        }
        Why::ReadWrite { key, read, wrote } => {
            has_written(history, to, key, wrote) && misses(history, options, edge, key, read, wrote)
        }
        Why::Session => {
            let session = |txn| history.txn(txn).session;
            session(from).is_some()
                && session(from) == session(to)
                && from < to
                && history.txn(from).outcome == Outcome::Committed
        }
        Why::Realtime => match (history.txn(from).interval, history.txn(to).interval) {
            (Some(first), Some(second)) => {
                first.end < second.begin && history.txn(from).outcome == Outcome::Committed
            }
            _ => false,
        },
    }
}

/// Whether one transaction alone wrote a value to a key.
fn is_unique(history: &Observed, key: Key, value: Value) -> bool {
    history
        .indexes()
        .filter(|&txn| has_written(history, txn, key, value))
        .count()
        == 1
}

/// Every list of a key that was read by a transaction that is known to have committed.
fn lists_of(history: &Observed, key: Key) -> Vec<&[Value]> {
    let mut lists = Vec::new();
    for txn in history.indexes() {
        let reads = history.ops(txn).iter().filter_map(|op| match *op {
            Op::ReadList { key: of, elements } if of == key => Some(history.elements(elements)),
            Op::ReadList { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Append { .. }
            | Op::Unseen { .. } => None,
        });
        let mut reads = reads.peekable();
        if reads.peek().is_some() && has_committed(history, txn) {
            lists.extend(reads);
        }
    }
    lists
}

/// Whether reads show `earlier` before or without `later`, and none shows anything else.
fn shows_order(history: &Observed, key: Key, earlier: Value, later: Value) -> bool {
    let lists = lists_of(history, key);
    let place = |list: &[Value], value: Value| list.iter().position(|&element| element == value);
    let mut shown = false;
    for list in lists {
        match (place(list, earlier), place(list, later)) {
            (Some(one), Some(two)) if one < two => shown = true,
            (Some(_), None) => shown = true,
            (None, None) => {}
            (Some(_) | None, Some(_)) => return false,
        }
    }
    shown
}

/// Whether `from` read a state that `wrote` came after.
fn misses(
    history: &Observed,
    options: &Options,
    edge: &Edge,
    key: Key,
    read: Option<Value>,
    wrote: Value,
) -> bool {
    let mut own = false;
    for op in history.ops(edge.from).iter().filter(|op| op.key() == key) {
        match *op {
            Op::ReadList { elements, .. } => {
                let list = history.elements(elements);
                let agrees = |other: &&[Value]| other.starts_with(list) || list.starts_with(other);
                if list.last().copied() == read
                    && !list.contains(&wrote)
                    && lists_of(history, key).iter().all(agrees)
                {
                    return true;
                }
            }
            Op::Read { value, .. } if !own && value == read => {
                let overwrote = options.keys.writes_follow_reads
                    && is_unique(history, key, value.unwrap_or(wrote))
                    && overwrites(history, edge.to, key, value, wrote);
                let foreign = value.is_none_or(|value| {
                    !history
                        .indexes()
                        .any(|txn| has_written(history, txn, key, value))
                        && options.keys.writes_follow_reads
                        && overwrites(history, edge.to, key, Some(value), wrote)
                });
                return foreign || overwrote || is_assumed(history, options, key, value, wrote);
            }
            Op::Write { .. } => own = true,
            Op::Read { .. } | Op::Append { .. } | Op::Unseen { .. } => {}
        }
    }
    false
}

/// Whether a transaction read a value of a key before it wrote the key, and wrote another one then.
fn overwrites(
    history: &Observed,
    txn: TxnIndex,
    key: Key,
    read: Option<Value>,
    wrote: Value,
) -> bool {
    let mut ops = history.ops(txn).iter().filter(|op| op.key() == key);
    let first = ops.find(|op| !matches!(op, Op::Unseen { .. }));
    matches!(first, Some(&Op::Read { value, .. }) if value == read)
        && ops.any(|op| op.wrote() == Some((key, wrote)))
}

/// Whether what the caller assumes of keys puts one version before another.
fn is_assumed(
    history: &Observed,
    options: &Options,
    key: Key,
    earlier: Option<Value>,
    later: Value,
) -> bool {
    let first = |txn: TxnIndex| {
        let mut ops = history.ops(txn).iter().filter(|op| op.key() == key);
        match *ops.find(|op| !matches!(op, Op::Unseen { .. }))? {
            Op::Read { value, .. } => Some(value),
            Op::Write { .. } => last_written(history, txn, key).map(Some),
            Op::ReadList { .. } | Op::Append { .. } | Op::Unseen { .. } => None,
        }
    };
    let last = |txn: TxnIndex| {
        last_written(history, txn, key)
            .map(Some)
            .or_else(|| first(txn))
    };
    let before: Vec<TxnIndex> = history
        .indexes()
        .filter(|&txn| last(txn) == Some(earlier))
        .collect();
    let after: Vec<TxnIndex> = history
        .indexes()
        .filter(|&txn| first(txn) == Some(Some(later)))
        .collect();
    let pair = |test: &dyn Fn(TxnIndex, TxnIndex) -> bool| {
        before
            .iter()
            .any(|&one| after.iter().any(|&two| one != two && test(one, two)))
    };
    let session = |txn: TxnIndex| history.txn(txn).session;
    let interval = |txn: TxnIndex| history.txn(txn).interval;
    let told = |txn: TxnIndex| history.txn(txn).outcome == Outcome::Committed;
    let sequential =
        |one, two| told(one) && session(one).is_some() && session(one) == session(two) && one < two;
    let linearizable = |one, two| {
        told(one)
            && interval(one)
                .zip(interval(two))
                .is_some_and(|(one, two)| one.end < two.begin)
    };
    let rank = |value: Value| {
        let ranks = options.transaction_order.as_ref()?;
        let writer = history
            .indexes()
            .find(|&txn| has_written(history, txn, key, value))?;
        ranks.get(writer.0 as usize)
    };
    let ranked = earlier
        .and_then(rank)
        .zip(rank(later))
        .is_some_and(|(one, two)| one < two);
    (options.keys.sequential && pair(&sequential))
        || (options.keys.linearizable && pair(&linearizable))
        || ranked
}

fn last_written(history: &Observed, txn: TxnIndex, key: Key) -> Option<Value> {
    let mut wrote = history.ops(txn).iter().rev().filter_map(|op| op.wrote());
    wrote.find(|&(of, _)| of == key).map(|(_, value)| value)
}
