//! Every small history is judged as the definitions say: an anomaly rules out a model only where the model fails, a model
//! is shown to hold only where it does, and of lists every failure is found.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test crate, which says how much it has tested"
)]

mod anomaly_small;
mod random;

use std::collections::BTreeMap;

use anomaly_small::{
    Act, Phenomena, Small, Time, adya, observed, serializable, snapshot_isolation,
    write_cycles_free,
};
use checker::anomaly::{self, Options, Reason, Verdict, witness};
use checker::models::{Model, ModelSet};
use checker::observed::Outcome;
use random::Random;

/// How often each model held and failed, was shown and was ruled out.
type Tally = BTreeMap<Model, [u64; 4]>;

const PLAIN: [(Model, Time); 5] = [
    (Model::ReadUncommitted, Time::None),
    (Model::ReadCommitted, Time::None),
    (Model::RepeatableRead, Time::None),
    (Model::SnapshotIsolation, Time::None),
    (Model::Serializable, Time::None),
];

const TIMED: [(Model, Time); 8] = [
    (Model::StrongSessionReadUncommitted, Time::Session),
    (Model::StrongReadUncommitted, Time::Real),
    (Model::StrongSessionReadCommitted, Time::Session),
    (Model::StrongReadCommitted, Time::Real),
    (Model::StrongSessionSnapshotIsolation, Time::Session),
    (Model::StrongSnapshotIsolation, Time::Real),
    (Model::StrongSessionSerializable, Time::Session),
    (Model::StrictSerializable, Time::Real),
];

/// What the definition says; `None` if it says nothing.
fn truth(txns: &[Small], model: Model, time: Time) -> Option<bool> {
    match model {
        Model::ReadUncommitted
        | Model::StrongSessionReadUncommitted
        | Model::StrongReadUncommitted => write_cycles_free(txns, time),
        Model::ReadCommitted | Model::StrongSessionReadCommitted | Model::StrongReadCommitted => {
            Some(adya(txns, Phenomena::Flow, time))
        }
        Model::RepeatableRead => Some(adya(txns, Phenomena::Item, time)),
        Model::SnapshotIsolation
        | Model::StrongSessionSnapshotIsolation
        | Model::StrongSnapshotIsolation => Some(snapshot_isolation(txns, time)),
        _ => Some(serializable(txns, time)),
    }
}

/// Judges one history. `complete`: every failure has to be found.
fn check(txns: &[Small], models: &[(Model, Time)], complete: bool, tally: &mut Tally) {
    let history = observed(txns);
    let options = Options::new([Model::StrictSerializable]);
    let judgement = anomaly::judge(&history, &options);
    let out = judgement.ruled_out.all();
    assert!(
        out.intersection(judgement.proven).is_empty(),
        "{judgement:?}"
    );
    for found in judgement.anomalies.iter().chain(&judgement.others) {
        assert_eq!(
            witness::check(&history, &options, found),
            Ok(()),
            "{found:?} in {txns:#?}"
        );
    }
    assert!(
        judgement.verdict != Verdict::Unknown || !judgement.reasons.is_empty(),
        "{txns:#?}"
    );
    let said = || {
        format!(
            "{:?} and {:?} proven {:?} {:?}",
            judgement
                .anomalies
                .iter()
                .map(|found| (found.name, &found.sentences))
                .collect::<Vec<_>>(),
            judgement
                .others
                .iter()
                .map(|found| found.name)
                .collect::<Vec<_>>(),
            judgement.proven,
            judgement.reasons,
        )
    };
    for &(model, time) in models {
        let Some(holds) = truth(txns, model, time) else {
            continue;
        };
        let (shown, fails) = (judgement.proven.contains(model), out.contains(model));
        let counts = tally.entry(model).or_default();
        for (count, is) in counts.iter_mut().zip([holds, !holds, shown, fails]) {
            *count += u64::from(is);
        }
        assert!(
            !(fails && holds),
            "{model:?} holds, and {} rules it out, of\n{txns:#?}",
            said()
        );
        assert!(
            !shown || holds,
            "{model:?} fails, and {} says it holds, of\n{txns:#?}",
            said()
        );
        // Of snapshot isolation, the order of appends that nobody read leaves room for doubt, which is said.
        let is_doubted = || {
            let judgement = anomaly::judge(&history, &Options::new([model]));
            let mut reasons = judgement.reasons.iter();
            judgement.verdict == Verdict::Unknown
                && reasons.any(|reason| matches!(reason, Reason::UnreadWrites(_)))
        };
        assert!(
            !complete || holds || fails || is_doubted(),
            "{model:?} fails, and {} does not see it, of\n{txns:#?}",
            said()
        );
    }
}

/// Calls `f` with each history of a shape; transactions in ascending order, because their order means nothing.
fn each(txns: usize, acts: usize, lists: bool, f: &mut impl FnMut(&[Small])) {
    let shapes = 4_usize.pow(u32::try_from(acts).unwrap());
    let mut shape = vec![0; txns];
    loop {
        if shape.is_sorted() {
            each_reads(&shape, acts, lists, f);
        }
        let Some(at) = (0..txns).find(|&at| shape[at] + 1 < shapes) else {
            return;
        };
        shape[..at].fill(0);
        shape[at] += 1;
    }
}

fn each_reads(shape: &[usize], acts: usize, lists: bool, f: &mut impl FnMut(&[Small])) {
    let mut next = [0_u8; 2];
    let mut txns: Vec<Vec<(u8, Option<u8>)>> = Vec::new();
    for &number in shape {
        let mut txn = Vec::new();
        for act in 0..acts {
            let digit = number / 4_usize.pow(u32::try_from(act).unwrap()) % 4;
            let key = u8::try_from(digit % 2).unwrap();
            let writes = digit >= 2;
            next[key as usize] += u8::from(writes);
            txn.push((key, writes.then_some(next[key as usize])));
        }
        txns.push(txn);
    }
    // A history without reads, or without writes, tells nothing.
    let seen: Vec<Vec<Vec<u8>>> = next
        .iter()
        .map(|&count| {
            if lists {
                sequences(count)
            } else {
                singles(count)
            }
        })
        .collect();
    let reads: Vec<u8> = txns
        .iter()
        .flatten()
        .filter(|(_, value)| value.is_none())
        .map(|&(key, _)| key)
        .collect();
    if reads.is_empty() || next == [0, 0] {
        return;
    }
    let mut at = vec![0; reads.len()];
    loop {
        let mut chosen = reads
            .iter()
            .zip(&at)
            .map(|(&key, &at)| &seen[key as usize][at]);
        let history: Vec<Small> = txns
            .iter()
            .map(|txn| {
                Small::new(
                    txn.iter()
                        .map(|&(key, value)| match (value, lists) {
                            (Some(value), true) => Act::Append(key, value),
                            (Some(value), false) => Act::Write(key, value),
                            (None, true) => Act::List(key, chosen.next().unwrap().clone()),
                            (None, false) => {
                                Act::Read(key, chosen.next().unwrap().first().copied())
                            }
                        })
                        .collect(),
                )
            })
            .collect();
        f(&history);
        let Some(read) =
            (0..reads.len()).find(|&read| at[read] + 1 < seen[reads[read] as usize].len())
        else {
            return;
        };
        at[..read].fill(0);
        at[read] += 1;
    }
}

/// Every sequence of distinct numbers up to `count`.
fn sequences(count: u8) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut next = 0;
    while next < all.len() {
        let sequence: Vec<u8> = all[next].clone();
        for value in (1..=count).filter(|value| !sequence.contains(value)) {
            all.push([sequence.as_slice(), &[value]].concat());
        }
        next += 1;
    }
    all
}

fn singles(count: u8) -> Vec<Vec<u8>> {
    std::iter::once(Vec::new())
        .chain((1..=count).map(|value| vec![value]))
        .collect()
}

fn report(what: &str, histories: u64, tally: &Tally) {
    eprintln!("{what}: {histories} histories; held, failed, shown, ruled out:");
    for (model, counts) in tally {
        eprintln!("  {:36} {counts:?}", model.name());
        assert!(
            counts[0] > 0 && counts[2] > 0,
            "{model:?} was never shown to hold"
        );
    }
}

fn exhaust(txns: usize, acts: usize, lists: bool) -> Tally {
    let mut tally = Tally::new();
    let mut histories = 0;
    each(txns, acts, lists, &mut |history| {
        histories += 1;
        // Of registers, nothing pins the order of writes.
        let models = if lists { &PLAIN[..] } else { &PLAIN[1..] };
        check(history, models, lists, &mut tally);
    });
    report(
        &format!("{txns} transactions of {acts}, lists: {lists}"),
        histories,
        &tally,
    );
    tally
}

#[test]
fn every_two_transactions_of_three_operations_on_lists() {
    let tally = exhaust(2, 3, true);
    assert!(tally.values().all(|counts| counts[3] > 50), "{tally:?}");
}

#[test]
fn every_three_transactions_of_two_operations_on_lists() {
    let tally = exhaust(3, 2, true);
    assert!(tally.values().all(|counts| counts[3] > 50), "{tally:?}");
}

#[test]
fn every_two_transactions_of_three_operations_on_registers() {
    exhaust(2, 3, false);
}

#[test]
fn every_three_transactions_of_two_operations_on_registers() {
    exhaust(3, 2, false);
}

/// A history of a store that runs transactions one after another, in snapshots, or anyhow; then perhaps disturbed.
fn random_history(random: &mut Random, lists: bool, timed: bool) -> Vec<Small> {
    let count = 2 + random.below(3);
    let mut next = [0_u8; 3];
    let mut txns: Vec<Small> = Vec::new();
    let mut states: Vec<[Vec<u8>; 3]> = vec![Default::default()];
    for _ in 0..count {
        // The snapshot: usually the newest.
        let newest = states.len() - 1;
        let at = if random.chance(75) {
            newest
        } else {
            random.below(states.len())
        };
        let mut seen = states[at].clone();
        let mut now = states[newest].clone();
        let mut acts = Vec::new();
        for _ in 0..1 + random.below(3) {
            let key = random.below(3);
            let name = u8::try_from(key).unwrap();
            if random.chance(50) {
                next[key] += 1;
                let value = next[key];
                if !lists {
                    seen[key].clear();
                    now[key].clear();
                }
                seen[key].push(value);
                now[key].push(value);
                acts.push(if lists {
                    Act::Append(name, value)
                } else {
                    Act::Write(name, value)
                });
            } else if lists {
                acts.push(Act::List(name, seen[key].clone()));
            } else {
                acts.push(Act::Read(name, seen[key].last().copied()));
            }
        }
        let mut txn = Small::new(acts);
        let fate = random.below(100);
        if !(85..95).contains(&fate) {
            states.push(now);
        }
        if fate >= 85 {
            txn.outcome = if fate < 90 {
                Outcome::Aborted
            } else {
                Outcome::Unknown
            };
            if txn.outcome == Outcome::Unknown {
                txn.acts
                    .retain(|act| matches!(act, Act::Append(..) | Act::Write(..)));
            }
        }
        txns.push(txn);
    }
    finish(random, &mut txns, timed);
    txns
}

/// Changes the order, what was read, and gives times.
fn finish(random: &mut Random, txns: &mut [Small], timed: bool) {
    let count = txns.len();
    if random.chance(30) {
        let (one, other) = (random.below(count), random.below(count));
        txns.swap(one, other);
    }
    if random.chance(25) {
        disturb(random, txns);
    }
    if timed {
        for (index, txn) in txns.iter_mut().enumerate() {
            txn.session = Some(u32::try_from(random.below(3)).unwrap());
            let begin = 4 * u32::try_from(index).unwrap() + u32::try_from(random.below(4)).unwrap();
            txn.interval = Some((begin, begin + u32::try_from(random.below(8)).unwrap()));
        }
        sequential_sessions(txns);
    }
}

/// Changes what a list was read as.
fn disturb(random: &mut Random, txns: &mut [Small]) {
    let at = random.below(txns.len());
    for act in &mut txns[at].acts {
        let Act::List(_, list) = act else { continue };
        if list.is_empty() {
            continue;
        }
        let (one, other) = (random.below(list.len()), random.below(list.len()));
        match random.below(3) {
            0 => list.swap(one, other),
            1 => list.truncate(one),
            _ => drop(list.remove(one)),
        }
    }
}

/// Makes transactions of a session run one after another.
fn sequential_sessions(txns: &mut [Small]) {
    for index in 1..txns.len() {
        let before = txns[..index]
            .iter()
            .rev()
            .find(|txn| txn.session == txns[index].session);
        if let (Some((_, end)), Some((begin, last))) =
            (before.and_then(|txn| txn.interval), txns[index].interval)
            && begin <= end
        {
            txns[index].interval = Some((end + 1, last.max(end + 1)));
        }
    }
}

fn sample(lists: bool, timed: bool, histories: u64) -> Tally {
    let mut tally = Tally::new();
    let mut random = Random(if lists { 1 } else { 2 } + u64::from(timed) * 10);
    let models: Vec<(Model, Time)> = if timed {
        PLAIN.iter().chain(&TIMED).copied().collect()
    } else {
        PLAIN.to_vec()
    };
    let known = |model: Model| lists || !Model::StrongReadUncommitted.implied().contains(model);
    let models: Vec<(Model, Time)> = models
        .into_iter()
        .filter(|&(model, _)| known(model))
        .collect();
    for _ in 0..histories {
        let history = random_history(&mut random, lists, timed);
        check(&history, &models, lists, &mut tally);
    }
    report(
        &format!("random, lists: {lists}, timed: {timed}"),
        histories,
        &tally,
    );
    tally
}

#[test]
fn random_lists() {
    let tally = sample(true, false, 30_000);
    assert!(tally.values().all(|counts| counts[3] > 5), "{tally:?}");
}

#[test]
fn random_lists_in_sessions_and_real_time() {
    let tally = sample(true, true, 30_000);
    assert!(tally.values().all(|counts| counts[3] > 5), "{tally:?}");
}

#[test]
fn random_registers() {
    sample(false, false, 30_000);
}

#[test]
fn random_registers_in_sessions_and_real_time() {
    sample(false, true, 30_000);
}

#[test]
fn what_is_proven_is_closed_under_implication() {
    let mut random = Random(77);
    for _ in 0..2_000 {
        let history = observed(&random_history(&mut random, true, true));
        let proven = anomaly::judge(&history, &Options::default()).proven;
        let implied = proven
            .iter()
            .fold(ModelSet::default(), |all, model| all.union(model.implied()));
        assert_eq!(proven, implied);
    }
}
