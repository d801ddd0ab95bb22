//! Which class a schedule belongs to, by definition and at leisure. Nothing here knows the scheduler.

use std::collections::{BTreeMap, BTreeSet};

use crate::script::{Act, Op, parse};

pub(crate) type Edges = BTreeSet<(u32, u32)>;

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
pub(crate) fn reads_from(schedule: &[Op]) -> Vec<(u32, u32, usize)> {
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

/// Strict two-phase locking, where read locks may go before the end.
///
/// There is a point for each transaction at which it holds all its locks. A lock is held from its access or that
/// point, whichever comes first, to its access or that point, whichever comes last, and to the end of the
/// transaction if it is for a change. Points are gaps between operations. Only lower bounds push a point up, so
/// the lowest ones that respect them fit the upper bounds if any do.
pub(crate) fn s2pl(schedule: &[Op]) -> bool {
    let edges = edges(schedule);
    let everybody: BTreeSet<_> = schedule.iter().map(|op| op.txn).collect();
    if !serializable(&everybody, &edges)
        || !locked(schedule, |a, b| a.act.changes() && a.conflicts(b))
    {
        return false;
    }
    let mut points: BTreeMap<u32, usize> = everybody.iter().map(|txn| (*txn, 0)).collect();
    let mut conflicts = Vec::new();
    for (index, earlier) in schedule.iter().enumerate() {
        let kept = if earlier.act.changes() {
            end(schedule, earlier.txn)
        } else {
            index
        };
        let later = schedule.iter().enumerate().skip(index);
        for (at, later) in later.filter(|(_, later)| earlier.conflicts(later)) {
            conflicts.push((earlier.txn, later.txn, kept, at));
        }
    }
    for _ in &everybody {
        for (from, to, kept, _) in &conflicts {
            points.insert(*to, points[to].max(points[from]).max(kept + 1));
        }
    }
    let before_access = conflicts.iter().all(|(from, _, _, at)| points[from] <= *at);
    before_access
        && points
            .iter()
            .all(|(txn, point)| *point <= end(schedule, *txn))
}

/// Strict and commitment ordered.
pub(crate) fn sco(schedule: &[Op]) -> bool {
    st(schedule) && co(schedule)
}

/// Every pair of transactions with a path from one to the other, all of it `among` these.
pub(crate) fn paths(edges: &Edges, among: &BTreeSet<u32>) -> Edges {
    let mut paths: Edges = edges
        .iter()
        .filter(|(a, b)| among.contains(a) && among.contains(b))
        .copied()
        .collect();
    for middle in among {
        let into: Vec<_> = paths.iter().filter(|(_, b)| b == middle).copied().collect();
        let out: Vec<_> = paths.iter().filter(|(a, _)| a == middle).copied().collect();
        for (a, _) in &into {
            paths.extend(out.iter().map(|(_, b)| (*a, *b)));
        }
    }
    paths
}

fn globals_in_commit_order(schedule: &[Op], edges: &Edges, globals: &BTreeSet<u32>) -> bool {
    let among_globals = paths(edges, &committed(schedule))
        .into_iter()
        .filter(|(a, b)| globals.contains(a) && globals.contains(b))
        .collect();
    in_commit_order(schedule, &among_globals)
}

/// Extended commitment ordered: serializable, and global transactions commit in the order of the paths between
/// them, which may lead through local ones.
pub(crate) fn eco(schedule: &[Op], globals: &BTreeSet<u32>) -> bool {
    csr(schedule) && globals_in_commit_order(schedule, &edges(schedule), globals)
}

/// Generalised: as [`eco`] for versions, in *some* order of the versions of each item.
pub(crate) fn gco(schedule: &[Op], globals: &BTreeSet<u32>) -> bool {
    let mut orders = vec![Vec::new()];
    for writers in version_writers(schedule).values() {
        let writers: Vec<_> = writers.iter().copied().collect();
        let longer = orders.iter().flat_map(|order: &Vec<Vec<u32>>| {
            let longer = |next| order.iter().cloned().chain([next]).collect();
            permutations(&writers).into_iter().map(longer)
        });
        orders = longer.collect();
    }
    let items: Vec<_> = version_writers(schedule).into_keys().collect();
    orders.iter().any(|order| {
        let rank = |item, txn: u32| {
            let item = items.iter().position(|other| *other == item)?;
            order[item].iter().position(|writer| *writer == txn)
        };
        let edges = version_edges_by(schedule, rank);
        serializable(&committed(schedule), &edges)
            && globals_in_commit_order(schedule, &edges, globals)
    })
}

/// Whether every read sees the last write before it, as if there were one version of each item.
pub(crate) fn single_version(schedule: &[Op]) -> bool {
    let mut reads = schedule
        .iter()
        .enumerate()
        .filter(|(_, op)| op.act == Act::Read);
    reads.all(|(index, read)| {
        let mut before = schedule[..index].iter().rev();
        let last = before.find(|op| op.act == Act::Write && op.item == read.item);
        read.version.unwrap_or(0) == last.map_or(0, |write| write.txn)
    })
}

/// Who of the committed wrote each item.
fn version_writers(schedule: &[Op]) -> BTreeMap<char, BTreeSet<u32>> {
    let alive = committed(schedule);
    let mut writers: BTreeMap<char, BTreeSet<u32>> = BTreeMap::new();
    for op in schedule
        .iter()
        .filter(|op| op.act == Act::Write && alive.contains(&op.txn))
    {
        writers.entry(op.item).or_default().insert(op.txn);
    }
    writers
}

/// Edges of a multi-version schedule; versions are ordered as their writers committed.
pub(crate) fn version_edges(schedule: &[Op]) -> Edges {
    version_edges_by(schedule, |_, txn| position(schedule, Act::Commit, txn))
}

/// The same for versions that stand in the order of `rank`.
fn version_edges_by(schedule: &[Op], rank: impl Fn(char, u32) -> Option<usize>) -> Edges {
    let alive = committed(schedule);
    let writers = version_writers(schedule);
    let mut edges = Edges::new();
    for (item, writers) in &writers {
        for (a, b) in writers
            .iter()
            .flat_map(|a| writers.iter().map(move |b| (*a, *b)))
        {
            if rank(*item, a) < rank(*item, b) {
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
            let newer = version == 0 || rank(read.item, version) < rank(read.item, *writer);
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
