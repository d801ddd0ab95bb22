//! What must not matter does not: names, the order of lines, unrelated transactions, reads that say nothing new; asked of
//! all judges of observed histories at once.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests may stop, and count little"
)]

use std::collections::HashMap;

use checker::anomaly::{self, Options};
use checker::models::Model;
use checker::observed::{Observed, ObservedBuilder, Outcome};
use checker::search::{self, Budget};
use checker::weak;
use proptest::collection::vec;
use proptest::prelude::*;

const SESSIONS: usize = 3;
const KEYS: u32 = 3;

#[derive(Debug, Clone)]
struct Txn {
    session: usize,
    outcome: Outcome,
    ops: Vec<Op>,
}

#[derive(Debug, Clone, PartialEq)]
enum Op {
    Read(u32, Option<u32>),
    Write(u32, u32),
    List(u32, Vec<u32>),
    Append(u32, u32),
}

/// How names are made.
struct Names {
    key: fn(u32) -> String,
    value: fn(u32) -> String,
    session: fn(usize) -> u32,
}

const PLAIN: Names = Names {
    key: |key| key.to_string(),
    value: |value| value.to_string(),
    session: |session| session as u32,
};

/// Others, in another order: what was a number is a word and the other way round.
const RENAMED: Names = Names {
    key: |key| format!("key {}", 9 - key % 10) + &"'".repeat(key as usize / 10),
    value: |value| match value % 2 {
        0 => format!("value {value}"),
        _ => (1_000_000 - value).to_string(),
    },
    session: |session| (7 - session % 8 + session / 8 * 8) as u32,
};

fn observed(txns: &[Txn], names: &Names) -> Observed {
    let mut builder = ObservedBuilder::new("made by a test");
    for txn in txns {
        for op in &txn.ops {
            let (Op::Read(key, _) | Op::Write(key, _) | Op::List(key, _) | Op::Append(key, _)) = op;
            let key = builder.key(&(names.key)(*key)).unwrap();
            let mut value = |value: &u32| builder.value(&(names.value)(*value)).unwrap();
            match op {
                Op::Read(_, seen) => {
                    let seen = seen.as_ref().map(value);
                    builder.read(key, seen).unwrap();
                }
                Op::Write(_, wrote) => {
                    let wrote = value(wrote);
                    builder.write(key, wrote).unwrap();
                }
                Op::List(_, list) => {
                    let list: Vec<_> = list.iter().map(value).collect();
                    builder.read_list(key, &list).unwrap();
                }
                Op::Append(_, appended) => {
                    let appended = value(appended);
                    builder.append(key, appended).unwrap();
                }
            }
        }
        let session = (names.session)(txn.session);
        builder.end(Some(session), txn.outcome, None, 0).unwrap();
    }
    builder.finish()
}

/// A transaction to be run: its session, which outcome, and for each step whether it writes (0), which key, and by how
/// many versions a read lags.
type Script = (usize, u8, Vec<(u8, u32, usize)>);

/// What a store with lagging reads and lost updates showed: some histories are serializable, most are something less.
fn run(kind_is_list: bool, script: &[Script]) -> Vec<Txn> {
    let mut versions: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut next = 1;
    let mut txns = Vec::new();
    for (session, outcome, steps) in script {
        let outcome = match outcome {
            0 => Outcome::Aborted,
            1 => Outcome::Unknown,
            _ => Outcome::Committed,
        };
        let mut ops = Vec::new();
        let mut own: HashMap<u32, Vec<u32>> = HashMap::new();
        for (what, key, lag) in steps {
            let known = versions.entry(*key).or_default();
            let own = own.entry(*key).or_default();
            if *what == 0 {
                own.push(next);
                ops.push(if kind_is_list {
                    Op::Append(*key, next)
                } else {
                    Op::Write(*key, next)
                });
                next += 1;
                continue;
            }
            let seen = known.len().saturating_sub(*lag);
            ops.push(if kind_is_list {
                Op::List(*key, [&known[..seen], own].concat())
            } else {
                Op::Read(*key, own.last().or_else(|| known[..seen].last()).copied())
            });
        }
        if outcome != Outcome::Aborted {
            for (key, own) in own {
                versions.entry(key).or_default().extend(own);
            }
        }
        txns.push(Txn {
            session: *session,
            outcome,
            ops,
        });
    }
    txns
}

fn history() -> impl Strategy<Value = Vec<Txn>> {
    any::<bool>().prop_flat_map(history_of)
}

/// Two histories, both of lists or both of registers.
fn pair() -> impl Strategy<Value = (Vec<Txn>, Vec<Txn>)> {
    any::<bool>().prop_flat_map(|is_list| (history_of(is_list), history_of(is_list)))
}

fn history_of(is_list: bool) -> impl Strategy<Value = Vec<Txn>> {
    let lag = prop_oneof![5 => Just(0_usize), 1 => Just(1_usize), 1 => Just(2_usize)];
    let step = (0..2_u8, 0..KEYS, lag);
    let txn = (0..SESSIONS, 0..16_u8, vec(step, 1..5));
    vec(txn, 1..9).prop_map(move |script| run(is_list, &script))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Valid,
    Invalid,
    Unknown,
}

const LEVELS: [search::Level; 4] = [
    search::Level::SERIALIZABLE,
    search::Level::SESSION_SERIALIZABLE,
    search::Level::SNAPSHOT,
    search::Level::SESSION_SNAPSHOT,
];

const MODELS: [Model; 6] = [
    Model::StrongSessionSerializable,
    Model::Serializable,
    Model::SnapshotIsolation,
    Model::RepeatableRead,
    Model::ReadAtomic,
    Model::ReadCommitted,
];

/// What each judge says at each of its levels, by a name for messages. Lists are for one judge alone.
fn judge(txns: &[Txn], names: &Names) -> Vec<(String, Said)> {
    let history = observed(txns, names);
    let mut said = Vec::new();
    for model in MODELS {
        let verdict = match anomaly::judge(&history, &Options::new([model])).verdict {
            anomaly::Verdict::Valid => Said::Valid,
            anomaly::Verdict::Invalid => Said::Invalid,
            anomaly::Verdict::Unknown => Said::Unknown,
        };
        said.push((model.name().to_owned(), verdict));
    }
    let is_list = |op: &Op| matches!(op, Op::List(..) | Op::Append(..));
    if txns.iter().any(|txn| txn.ops.iter().any(is_list)) {
        return said;
    }
    for level in LEVELS {
        let verdict = match search::judge(&history, level, &Budget::default()) {
            search::Verdict::Valid(_) => Said::Valid,
            search::Verdict::Invalid(_) => Said::Invalid,
            search::Verdict::Unknown(_) => Said::Unknown,
        };
        said.push((format!("{level:?}"), verdict));
    }
    for level in weak::Level::ALL {
        let verdict = match weak::judge(&history, level) {
            weak::Verdict::Valid(_) => Said::Valid,
            weak::Verdict::Invalid(_) => Said::Invalid,
            weak::Verdict::Unknown(_) => Said::Unknown,
        };
        said.push((format!("{level:?}"), verdict));
    }
    said
}

/// The same transactions, those of each session in their order.
fn reordered(txns: &[Txn], choices: &[usize]) -> Vec<Txn> {
    let mut sessions: Vec<Vec<Txn>> = vec![Vec::new(); SESSIONS];
    for txn in txns.iter().rev() {
        sessions[txn.session].push(txn.clone());
    }
    let mut order = Vec::new();
    for choice in choices.iter().cycle() {
        sessions.retain(|left| !left.is_empty());
        if sessions.is_empty() {
            break;
        }
        let place = choice % sessions.len();
        order.extend(sessions[place].pop());
    }
    order
}

/// The two histories as one, of keys and sessions of their own; values may be the same.
fn beside(one: &[Txn], other: &[Txn]) -> Vec<Txn> {
    let moved = |txn: &Txn| {
        let mut txn = txn.clone();
        txn.session += SESSIONS;
        for op in &mut txn.ops {
            let (Op::Read(key, _) | Op::Write(key, _) | Op::List(key, _) | Op::Append(key, _)) = op;
            *key += KEYS;
        }
        txn
    };
    one.iter().cloned().chain(other.iter().map(moved)).collect()
}

/// Repeats a read, or reads back a write, at once.
fn repeated(txns: &[Txn], txn: usize, op: usize) -> Option<Vec<Txn>> {
    let mut txns = txns.to_vec();
    let count = txns.len();
    let ops = &mut txns[txn % count].ops;
    let place = op % ops.len();
    let again = match &ops[place] {
        Op::Write(key, value) => Op::Read(*key, Some(*value)),
        read @ (Op::Read(..) | Op::List(..)) => read.clone(),
        Op::Append(..) => return None,
    };
    ops.insert(place + 1, again);
    Some(txns)
}

/// Reads, in a transaction that does not touch the key, what the last of its committed writers left there.
fn more_read(txns: &[Txn], txn: usize, key: u32, writer: usize) -> Option<Vec<Txn>> {
    let mut txns = txns.to_vec();
    let left: Vec<u32> = txns
        .iter()
        .filter(|txn| txn.outcome == Outcome::Committed)
        .filter_map(|txn| {
            txn.ops.iter().rev().find_map(|op| match op {
                Op::Write(of, value) if *of == key => Some(*value),
                Op::Read(..) | Op::Write(..) | Op::List(..) | Op::Append(..) => None,
            })
        })
        .collect();
    let count = txns.len();
    let reader = &mut txns[txn % count];
    let touches = |op: &Op| {
        let (Op::Read(of, _) | Op::Write(of, _) | Op::List(of, _) | Op::Append(of, _)) = op;
        *of == key || matches!(op, Op::List(..) | Op::Append(..))
    };
    if reader.ops.iter().any(touches) {
        return None;
    }
    let value = left.get(writer % (left.len() + 1)).copied();
    reader.ops.push(Op::Read(key, value));
    Some(txns)
}

/// No judge says Valid of one and Invalid of the other, and Unknown only of both.
fn same(
    txns: &[Txn],
    names: &Names,
    others: &[Txn],
    other_names: &Names,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        judge(txns, names),
        judge(others, other_names),
        "{:?}",
        others
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_of_keys_values_and_sessions_do_not_matter(txns in history()) {
        same(&txns, &PLAIN, &txns, &RENAMED)?;
    }

    #[test]
    fn the_order_of_lines_of_different_sessions_does_not_matter(
        txns in history(),
        choices in vec(0..SESSIONS, 1..12),
    ) {
        same(&txns, &PLAIN, &reordered(&txns, &choices), &PLAIN)?;
    }

    #[test]
    fn two_unrelated_histories_are_valid_together_if_each_is((one, other) in pair()) {
        let (first, second) = (judge(&one, &PLAIN), judge(&other, &PLAIN));
        let together = judge(&beside(&one, &other), &PLAIN);
        let all = together.iter().zip(&first).zip(&second);
        for (place, (((level, together), (_, first)), (_, second))) in all.enumerate() {
            let alone = [*first, *second];
            // Where what holds follows from something stronger in one of them, anomalies may not show it of both.
            let is_shown = place >= MODELS.len();
            if alone.contains(&Said::Invalid) {
                prop_assert_eq!(*together, Said::Invalid, "{}", level);
            } else if alone == [Said::Valid; 2] && is_shown {
                prop_assert_eq!(*together, Said::Valid, "{}", level);
            } else {
                prop_assert_ne!(*together, Said::Invalid, "{}", level);
            }
        }
    }

    #[test]
    fn repeating_a_read_at_once_changes_nothing(txns in history(), txn in 0..8_usize, op in 0..4_usize) {
        if let Some(more) = repeated(&txns, txn, op) {
            let (before, after) = (judge(&txns, &PLAIN), judge(&more, &PLAIN));
            for ((level, before), (_, after)) in before.iter().zip(&after) {
                // What was too little to judge may be enough now, and only then.
                let is_same = before == after || *before == Said::Unknown && *after == Said::Valid;
                prop_assert!(is_same, "{level}: {before:?}, {after:?} of {more:?}");
            }
        }
    }

    #[test]
    fn one_more_read_never_makes_an_invalid_history_valid(
        txns in history(),
        txn in 0..8_usize,
        key in 0..KEYS,
        writer in 0..4_usize,
    ) {
        if let Some(more) = more_read(&txns, txn, key, writer) {
            let (before, after) = (judge(&txns, &PLAIN), judge(&more, &PLAIN));
            for ((level, before), (_, after)) in before.iter().zip(&after) {
                if *before == Said::Invalid {
                    prop_assert_eq!(*after, Said::Invalid, "{} of {:?}", level, more);
                }
            }
        }
    }
}

/// The generator makes what the properties are about: each level has histories that satisfy it and others that do not.
#[test]
fn the_histories_are_neither_all_valid_nor_all_invalid() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut counts: HashMap<(String, u8), u32> = HashMap::new();
    for _ in 0..400 {
        let txns = history().new_tree(&mut runner).unwrap().current();
        for (level, said) in judge(&txns, &PLAIN) {
            *counts.entry((level, said as u8)).or_default() += 1;
        }
    }
    for level in MODELS
        .map(|model| model.name().to_owned())
        .into_iter()
        .chain(LEVELS.map(|level| format!("{level:?}")))
    {
        for said in [Said::Valid, Said::Invalid] {
            // Lagging reads never show what is not committed.
            if level != Model::ReadCommitted.name() {
                assert!(
                    counts.contains_key(&(level.clone(), said as u8)),
                    "{level} {said:?}"
                );
            }
        }
    }
}
