//! Each lock policy plays a schedule as it stands exactly if it is of the policy's class.

use co_core::LockPolicy;

use super::schedules::{pairs_with_aborts, triples};
use crate::classes;
use crate::golden::{Class, Player};
use crate::script::{Act, Op, parse, render};
use crate::world::Mode;

use Act::{Abort, Commit, Read};

/// Whether the transaction has read or written the item before. What it reads then is its own, under every policy.
fn is_repeated(schedule: &[Op], index: usize) -> bool {
    let op = &schedule[index];
    let same = |other: &Op| other.txn == op.txn && other.item == op.item && !other.act.is_end();
    op.act == Read && schedule[..index].iter().any(same)
}

fn without_repeated_reads(schedule: &[Op]) -> Vec<Op> {
    let first = schedule
        .iter()
        .enumerate()
        .filter(|(index, _)| !is_repeated(schedule, *index));
    first.map(|(_, op)| op.clone()).collect()
}

/// Who read what was undecided then: writer, reader, where.
fn dirty_reads(schedule: &[Op]) -> Vec<(u32, u32, usize)> {
    let mut reads = classes::reads_from(schedule);
    reads.retain(|(writer, _, read)| {
        let mut past = schedule[..*read].iter();
        !is_repeated(schedule, *read) && !past.any(|op| op.txn == *writer && op.act.is_end())
    });
    reads
}

/// Whether those who read what an aborted transaction wrote are aborted with it, before anything else happens.
fn cascades_at_once(schedule: &[Op]) -> bool {
    let end = |txn| {
        schedule
            .iter()
            .position(|op| op.txn == txn && op.act.is_end())
            .unwrap()
    };
    dirty_reads(schedule)
        .into_iter()
        .all(|(writer, reader, _)| {
            let (writers, readers) = (end(writer), end(reader));
            let falls = || schedule[writers..=readers].iter().all(|op| op.act == Abort);
            schedule[writers].act == Commit || readers < writers || falls()
        })
}

/// Whether a cycle among undecided transactions lasts no longer than to the next step: the abort of the youngest on
/// it, the one with the highest number. It did not close the cycle itself, or its operation would be refused; nor did
/// somebody who reads from it, for that one falls with it.
fn cycles_are_broken_at_once(schedule: &[Op]) -> bool {
    (1..=schedule.len()).all(|length| {
        let (past, future) = schedule.split_at(length);
        let has_ended = |txn| past.iter().any(|op| op.txn == txn && op.act.is_end());
        let open =
            (0..length).filter(|index| !is_repeated(past, *index) && !has_ended(past[*index].txn));
        let open: Vec<_> = open.map(|index| past[index].clone()).collect();
        let everybody = open.iter().map(|op| op.txn).collect();
        let paths = classes::paths(&classes::edges(&open), &everybody);
        let youngest = everybody
            .iter()
            .rev()
            .find(|txn| paths.contains(&(**txn, **txn)));
        youngest.is_none_or(|youngest| {
            let mut reads = dirty_reads(past).into_iter();
            past[length - 1].txn != *youngest
                && reads.all(|(writer, _, at)| writer != *youngest || at != length - 1)
                && future.first() == Some(&Op::end(Abort, *youngest))
        })
    })
}

/// Whether a chain of dirty reads grows at its end only: who was read from reads nothing undecided later.
fn chains_grow_at_the_end(schedule: &[Op]) -> bool {
    let reads = dirty_reads(schedule);
    reads.iter().all(|(_, reader, at)| {
        let mut earlier = reads.iter().filter(|(_, _, before)| before < at);
        earlier.all(|(writer, _, _)| writer != reader)
    })
}

fn sco(schedule: &[Op]) -> bool {
    let first = without_repeated_reads(schedule);
    classes::st(&first) && classes::withheld_nothing(&first) && cycles_are_broken_at_once(schedule)
}

fn ordered_sharing(schedule: &[Op]) -> bool {
    let first = without_repeated_reads(schedule);
    classes::rec(&first)
        && classes::withheld_nothing(&first)
        && cycles_are_broken_at_once(schedule)
        && cascades_at_once(schedule)
        && chains_grow_at_the_end(schedule)
}

fn plays_unchanged(policy: LockPolicy, schedule: &[Op]) -> bool {
    Player::play(Mode::Locks(policy), schedule).world.history == *schedule
}

/// Checks that the engine plays exactly the schedules of `class` as they are; says how many it changes and how many
/// it does not.
fn engine_plays(policy: LockPolicy, class: Class) -> [usize; 2] {
    let mut plays = [0, 0];
    let mut differs = Vec::new();
    let mut visit = |schedule: &[Op]| {
        let unchanged = plays_unchanged(policy, schedule);
        plays[usize::from(unchanged)] += 1;
        if unchanged != class(schedule) {
            differs.push(format!("{} (as it is: {unchanged})", render(schedule)));
        }
    };
    pairs_with_aborts(&mut visit);
    triples(&mut visit);
    differs.sort_by_key(String::len);
    assert!(
        differs.is_empty(),
        "{policy:?}: {} {}",
        differs.len(),
        differs[..differs.len().min(20)].join("\n")
    );
    plays
}

#[test]
fn ss2pl_plays_exactly_the_rigorous_schedules_as_they_are() {
    let plays = engine_plays(LockPolicy::Ss2pl, classes::ss2pl);
    assert_eq!(plays, [29_172, 13_580]);
}

#[test]
fn sco_plays_exactly_the_strict_schedules_whose_commits_wait_for_nobody() {
    let plays = engine_plays(LockPolicy::Sco, sco);
    assert_eq!(plays, [25_166, 17_586]);
}

#[test]
fn ordered_sharing_plays_exactly_the_recoverable_schedules_whose_commits_wait_for_nobody() {
    let plays = engine_plays(
        LockPolicy::OrderedSharing { longest_chain: 8 },
        ordered_sharing,
    );
    assert_eq!(plays, [16_354, 26_398]);
}

/// What keeps ordered sharing from all of "commitment ordered and recoverable": T3 has read from T1, so T1 waits for
/// T2's end where it would read from T2, or the chain would grow in its middle.
#[test]
fn ordered_sharing_delays_a_read_by_who_was_read_from() {
    let schedule = parse("w1(x) w2(y) r3(x) r1(y) c2 c1 c3");
    assert!(classes::co(&schedule) && classes::rec(&schedule));
    assert!(!plays_unchanged(
        LockPolicy::OrderedSharing { longest_chain: 8 },
        &schedule
    ));
}
