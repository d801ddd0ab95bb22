//! All small schedules of some kind, one after the other.

use std::collections::BTreeSet;

use crate::script::{Act, Op};

use Act::{Abort, Commit, Read, Write};

/// Every sequence of `length` reads and writes of `x` and `y`.
pub(super) fn programs(txn: u32, length: usize) -> Vec<Vec<Op>> {
    let mut programs = vec![Vec::new()];
    for _ in 0..length {
        let steps = [(Read, 'x'), (Read, 'y'), (Write, 'x'), (Write, 'y')];
        let longer = programs.iter().flat_map(|program: &Vec<Op>| {
            steps.map(|(act, item)| [program.as_slice(), &[Op::new(act, txn, item)]].concat())
        });
        programs = longer.collect();
    }
    programs
}

/// `programs`, each with each of `ends`.
pub(super) fn ended(programs: Vec<Vec<Op>>, ends: &[Act]) -> Vec<Vec<Op>> {
    let with = |program: Vec<Op>| {
        let txn = program[0].txn;
        let end = |act: &Act| [program.as_slice(), &[Op::end(*act, txn)]].concat();
        ends.iter().map(end).collect::<Vec<_>>()
    };
    programs.into_iter().flat_map(with).collect()
}

/// Visits every interleaving of `programs`.
fn interleave(programs: &[&[Op]], visit: &mut dyn FnMut(&[Op])) {
    fn go(left: &mut [&[Op]], schedule: &mut Vec<Op>, visit: &mut dyn FnMut(&[Op])) {
        if left.iter().all(|program| program.is_empty()) {
            return visit(schedule);
        }
        for index in 0..left.len() {
            let program = left[index];
            if let Some((first, rest)) = program.split_first() {
                left[index] = rest;
                schedule.push(first.clone());
                go(left, schedule, visit);
                schedule.pop();
                left[index] = program;
            }
        }
    }
    go(&mut programs.to_vec(), &mut Vec::new(), visit);
}

/// Visits every interleaving of every choice of one program each; of two that differ in the names of the items
/// only the one that begins with `x`.
pub(super) fn all_of(choices: &[Vec<Vec<Op>>], visit: &mut dyn FnMut(&[Op])) {
    let mut picked = vec![Vec::new()];
    for programs in choices {
        let longer = picked.iter().flat_map(|picked: &Vec<&[Op]>| {
            let longer = |program| [picked.as_slice(), &[program]].concat();
            programs.iter().map(Vec::as_slice).map(longer)
        });
        picked = longer.collect();
    }
    for programs in picked.iter().filter(|picked| picked[0][0].item == 'x') {
        interleave(programs, visit);
    }
}

/// Two transactions of one or two operations, each of which commits or aborts.
pub(super) fn pairs_with_aborts(visit: &mut dyn FnMut(&[Op])) {
    let of = |txn| {
        let programs = (1..=2).flat_map(|length| programs(txn, length)).collect();
        ended(programs, &[Commit, Abort])
    };
    all_of(&[of(1), of(2)], visit);
}

/// Two transactions of which the first has three operations, and the second one to three. All commit.
pub(super) fn longer_pairs(visit: &mut dyn FnMut(&[Op])) {
    let second = (1..=3).flat_map(|length| programs(2, length)).collect();
    let first = ended(programs(1, 3), &[Commit]);
    all_of(&[first, ended(second, &[Commit])], visit);
}

/// Three transactions of one operation, or two for the first. All commit.
pub(super) fn triples(visit: &mut dyn FnMut(&[Op])) {
    let first = (1..=2).flat_map(|length| programs(1, length)).collect();
    let others = [2, 3].map(|txn| ended(programs(txn, 1), &[Commit]));
    let [second, third] = others;
    all_of(&[ended(first, &[Commit]), second, third], visit);
}

/// A sample of three transactions of two operations, which commit.
pub(super) fn sampled_triples(visit: &mut dyn FnMut(&[Op])) {
    let choices = [1, 2, 3].map(|txn| ended(programs(txn, 2), &[Commit]));
    let mut state = 1_u64;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for _ in 0..20_000 {
        let mut left = choices
            .each_ref()
            .map(|programs| programs[below(programs.len())].as_slice());
        let mut schedule = Vec::new();
        while left.iter().any(|program| !program.is_empty()) {
            let index = below(left.len());
            if let Some((first, rest)) = left[index].split_first() {
                left[index] = rest;
                schedule.push(first.clone());
            }
        }
        visit(&schedule);
    }
}

/// Visits `schedule` with every choice of versions: the initial one or that of an earlier writer, and one's own
/// if there is one. An item is written at most once by a transaction here, so a version has one name.
fn choose_versions(schedule: &[Op], visit: &mut dyn FnMut(&[Op])) {
    let mut chosen: Vec<Vec<Op>> = vec![Vec::new()];
    for op in schedule {
        let longer = chosen.iter().flat_map(|before| {
            let written = before
                .iter()
                .filter(|other| other.act == Write && other.item == op.item);
            let writers: BTreeSet<_> = written.map(|write| write.txn).chain([0]).collect();
            let versions = match op.act {
                Read if writers.contains(&op.txn) => vec![Some(op.txn)],
                Read => writers.into_iter().map(Some).collect(),
                Write | Act::Increment | Commit | Abort => vec![None],
            };
            let with = |version| Op {
                version,
                ..op.clone()
            };
            let longer = |version| [before.as_slice(), &[with(version)]].concat();
            versions.into_iter().map(longer).collect::<Vec<_>>()
        });
        chosen = longer.collect();
    }
    for schedule in &chosen {
        visit(schedule);
    }
}

fn writes_once(schedule: &[Op]) -> bool {
    let writes = schedule.iter().filter(|op| op.act == Write);
    let mut seen = BTreeSet::new();
    writes.into_iter().all(|op| seen.insert((op.txn, op.item)))
}

pub(super) fn all_versioned(visit: &mut dyn FnMut(&[Op])) {
    let of = |txn| {
        ended(
            (1..=2).flat_map(|length| programs(txn, length)).collect(),
            &[Commit],
        )
    };
    let mut once = |schedule: &[Op]| {
        if writes_once(schedule) {
            choose_versions(schedule, visit);
        }
    };
    all_of(&[of(1), of(2)], &mut once);
    triples(&mut once);
}
