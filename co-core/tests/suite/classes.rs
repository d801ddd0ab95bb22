//! Which class a schedule belongs to, by definition and at leisure. Nothing here knows the scheduler.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::{Act, Op, parse};

type Edges = BTreeSet<(u32, u32)>;

pub(crate) fn committed(schedule: &[Op]) -> BTreeSet<u32> {
    let commits = schedule.iter().filter(|op| op.act == Act::Commit);
    commits.map(|op| op.txn).collect()
}

fn position(schedule: &[Op], act: Act, txn: u32) -> Option<usize> {
    schedule
        .iter()
        .position(|op| op.act == act && op.txn == txn)
}

/// Where a transaction commits or aborts; beyond the schedule if it does neither.
fn end(schedule: &[Op], txn: u32) -> usize {
    schedule
        .iter()
        .position(|op| op.act.is_end() && op.txn == txn)
        .unwrap_or(usize::MAX)
}

/// The conflict graph.
pub(crate) fn edges(schedule: &[Op]) -> Edges {
    let mut edges = Edges::new();
    for (index, earlier) in schedule.iter().enumerate() {
        for later in &schedule[index + 1..] {
            if earlier.conflicts(later) {
                edges.insert((earlier.txn, later.txn));
            }
        }
    }
    edges
}

/// Every order of `items`; for a handful of them.
pub(crate) fn permutations(items: &[u32]) -> Vec<Vec<u32>> {
    let Some((first, rest)) = items.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for shorter in permutations(rest) {
        for index in 0..=shorter.len() {
            let mut order = shorter.clone();
            order.insert(index, *first);
            all.push(order);
        }
    }
    all
}

pub(crate) fn respects(order: &[u32], edges: &Edges) -> bool {
    let rank = |txn| order.iter().position(|other| *other == txn);
    edges.iter().all(|(a, b)| match (rank(*a), rank(*b)) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    })
}

fn serializable(transactions: &BTreeSet<u32>, edges: &Edges) -> bool {
    let transactions: Vec<_> = transactions.iter().copied().collect();
    permutations(&transactions)
        .iter()
        .any(|order| respects(order, edges))
}

/// Conflict serializable.
pub(crate) fn csr(schedule: &[Op]) -> bool {
    serializable(&committed(schedule), &edges(schedule))
}

fn in_commit_order(schedule: &[Op], edges: &Edges) -> bool {
    let commit = |txn| position(schedule, Act::Commit, txn);
    edges.iter().all(|(a, b)| match (commit(*a), commit(*b)) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    })
}

/// Commitment ordered.
pub(crate) fn co(schedule: &[Op]) -> bool {
    in_commit_order(schedule, &edges(schedule))
}

/// What rule WITHHOLD lets pass as it is: of every edge the earlier one *ends* before the later one commits.
/// Stronger than CO, because at the later one's vote nobody knows yet that the earlier one will abort.
pub(crate) fn withheld_nothing(schedule: &[Op]) -> bool {
    edges(schedule).iter().all(|(a, b)| {
        position(schedule, Act::Commit, *b).is_none_or(|commit| end(schedule, *a) < commit)
    })
}

/// Who read from whom, and where.
fn reads_from(schedule: &[Op]) -> Vec<(u32, u32, usize)> {
    let mut found = Vec::new();
    for (index, read) in schedule
        .iter()
        .enumerate()
        .filter(|(_, op)| op.act == Act::Read)
    {
        let writer = schedule[..index].iter().rev().find(|op| {
            let undone = position(schedule, Act::Abort, op.txn).is_some_and(|abort| abort < index);
            op.act.changes() && op.item == read.item && !undone
        });
        if let Some(writer) = writer.filter(|writer| writer.txn != read.txn) {
            found.push((writer.txn, read.txn, index));
        }
    }
    found
}

/// Recoverable.
pub(crate) fn rec(schedule: &[Op]) -> bool {
    let commit = |txn| position(schedule, Act::Commit, txn);
    reads_from(schedule).iter().all(|(writer, reader, _)| {
        match (commit(*writer), commit(*reader)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(writer), Some(reader)) => writer < reader,
        }
    })
}

/// Avoids cascading aborts.
pub(crate) fn aca(schedule: &[Op]) -> bool {
    reads_from(schedule).iter().all(|(writer, _, read)| {
        position(schedule, Act::Commit, *writer).is_some_and(|commit| commit < *read)
    })
}

/// Nothing in `between` happens on an item before whoever wrote it has ended.
fn locked(schedule: &[Op], holds: impl Fn(&Op, &Op) -> bool) -> bool {
    schedule.iter().enumerate().all(|(index, earlier)| {
        let later = schedule[index + 1..].iter().zip(index + 1..);
        later
            .filter(|(later, _)| holds(earlier, later))
            .all(|(_, at)| end(schedule, earlier.txn) < at)
    })
}

/// Strict.
pub(crate) fn st(schedule: &[Op]) -> bool {
    locked(schedule, |earlier, later| {
        earlier.act == Act::Write
            && matches!(later.act, Act::Read | Act::Write)
            && later.item == earlier.item
            && later.txn != earlier.txn
    })
}

/// Rigorous, which is what strong strict two-phase locking produces.
pub(crate) fn ss2pl(schedule: &[Op]) -> bool {
    locked(schedule, Op::conflicts)
}

/// Strict and commitment ordered.
pub(crate) fn sco(schedule: &[Op]) -> bool {
    st(schedule) && co(schedule)
}

/// Edges of a multi-version schedule; versions are ordered as their writers committed.
pub(crate) fn version_edges(schedule: &[Op]) -> Edges {
    let alive = committed(schedule);
    let rank = |txn: u32| position(schedule, Act::Commit, txn);
    let mut writers: BTreeMap<char, BTreeSet<u32>> = BTreeMap::new();
    for op in schedule
        .iter()
        .filter(|op| op.act == Act::Write && alive.contains(&op.txn))
    {
        writers.entry(op.item).or_default().insert(op.txn);
    }
    let mut edges = Edges::new();
    for writers in writers.values() {
        for (a, b) in writers
            .iter()
            .flat_map(|a| writers.iter().map(move |b| (*a, *b)))
        {
            if rank(a) < rank(b) {
                edges.insert((a, b));
            }
        }
    }
    for read in schedule
        .iter()
        .filter(|op| op.act == Act::Read && alive.contains(&op.txn))
    {
        let version = read.version.unwrap_or(0);
        if version != 0 && version != read.txn {
            edges.insert((version, read.txn));
        }
        for writer in writers.get(&read.item).into_iter().flatten() {
            let newer = version == 0 || rank(version) < rank(*writer);
            if *writer != read.txn && *writer != version && newer {
                edges.insert((read.txn, *writer));
            }
        }
    }
    edges
}

/// One-copy serializable, for the version order above.
pub(crate) fn one_copy(schedule: &[Op]) -> bool {
    serializable(&committed(schedule), &version_edges(schedule))
}

/// Commitment ordered by versions.
pub(crate) fn mvco(schedule: &[Op]) -> bool {
    in_commit_order(schedule, &version_edges(schedule))
}

/// As [`mvco`] for those that write; the others only need some place in a serial order.
pub(crate) fn mvco_queries_exempt(schedule: &[Op]) -> bool {
    let writes = |txn| {
        schedule
            .iter()
            .any(|op| op.txn == txn && op.act == Act::Write)
    };
    let among_updaters = version_edges(schedule)
        .into_iter()
        .filter(|(a, b)| writes(*a) && writes(*b))
        .collect();
    one_copy(schedule) && in_commit_order(schedule, &among_updaters)
}

#[test]
fn permutations_are_all_there() {
    assert_eq!(permutations(&[1, 2, 3]).len(), 6);
    assert!(respects(&[2, 1], &edges(&parse("w2(x) r1(x)"))));
    assert!(!respects(&[1, 2], &edges(&parse("w2(x) r1(x)"))));
}
