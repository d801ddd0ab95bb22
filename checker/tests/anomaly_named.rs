//! Each anomaly is found by its name, alone and planted in a long serializable history; and what means nothing changes
//! nothing.
#![allow(clippy::unwrap_used, reason = "a test crate")]

mod anomaly_small;
mod random;

use anomaly_small::{Act, Small, observed};
use checker::anomaly::{self, Judgement, Options, Verdict, witness};
use checker::models::{Model, ModelSet};
use checker::observed::{Interval, Observed, ObservedBuilder, Outcome};
use random::Random;

/// A transaction in short: `ax1` appends 1 to x, `rx12` reads the list [1 2], `wx1` and `Rx1` are of registers, `R_`
/// of nothing; `!` aborted, `?` got no answer, `@2` is of session 2, `3-5` ran from 3 to 5.
fn txn(text: &str) -> Small {
    let mut txn = Small::new(Vec::new());
    for word in text.split_whitespace() {
        let digits =
            |from: usize| -> Vec<u8> { word[from..].bytes().map(|digit| digit - b'0').collect() };
        let key = || u8::try_from("xyzu".find(&word[1..2]).unwrap()).unwrap();
        match word.as_bytes()[0] {
            b'a' => txn.acts.push(Act::Append(key(), digits(2)[0])),
            b'r' => txn.acts.push(Act::List(key(), digits(2))),
            b'w' => txn.acts.push(Act::Write(key(), digits(2)[0])),
            b'R' => txn.acts.push(Act::Read(key(), digits(2).first().copied())),
            b'!' => txn.outcome = Outcome::Aborted,
            b'?' => txn.outcome = Outcome::Unknown,
            b'@' => txn.session = Some(word[1..].parse().unwrap()),
            _ => {
                let (begin, end) = word.split_once('-').unwrap();
                txn.interval = Some((begin.parse().unwrap(), end.parse().unwrap()));
            }
        }
    }
    txn
}

fn txns(text: &str) -> Vec<Small> {
    text.split(';').map(txn).collect()
}

fn judged(txns: &[Small], options: &Options) -> Judgement {
    let history = observed(txns);
    let judgement = anomaly::judge(&history, options);
    for found in judgement.anomalies.iter().chain(&judgement.others) {
        assert_eq!(
            witness::check(&history, options, found),
            Ok(()),
            "{found:?}"
        );
        assert!(
            !found.sentences.is_empty()
                && found
                    .sentences
                    .iter()
                    .all(|sentence| sentence.ends_with('.'))
        );
    }
    judgement
}

/// What is found: names, and the weakest models that are ruled out.
fn said(judgement: &Judgement) -> (String, String) {
    let mut names: Vec<&str> = judgement
        .anomalies
        .iter()
        .chain(&judgement.others)
        .map(|found| found.name.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    (names.join(" "), judgement.ruled_out.not.names().join(" "))
}

/// What each history is, by name: history, anomalies, the weakest models that are ruled out.
const CASES: &[(&str, &str, &str)] = &[
    // Cycles of values.
    ("ax1 ay1; ax2 ay2; rx12 ry21", "G0", "read-uncommitted"),
    ("ax1 ry1; ax2 ay1; rx12 ry1", "G1c", "read-committed"),
    (
        "ax1 ay1; ax2 ry; rx12",
        "G-single-item",
        "consistent-view repeatable-read",
    ),
    (
        "ax1 ay1; rx1 ry",
        "G-single-item",
        "consistent-view repeatable-read",
    ),
    (
        "ax1; rx1 ry; ay1; ry1 rx",
        "G-nonadjacent-item",
        "snapshot-isolation repeatable-read",
    ),
    ("rx ay1; ry ax1", "G2-item", "repeatable-read"),
    ("ax1; rx1 ry; rz ay1; az1 rx", "G2-item", "repeatable-read"),
    (
        "Rx1 Ry; wx1 wy1",
        "G-single-item",
        "consistent-view repeatable-read",
    ),
    ("wx1 Ry1; wy1 Rx1", "G1c", "read-committed"),
    ("Rx wy1; Ry wx1", "G2-item", "repeatable-read"),
    // Two of them in one component: the milder is not implied.
    (
        "ax1 ay1; ax2 ay2; ax3 ay3; rx12; ry2",
        "G-single-item G0",
        "read-uncommitted",
    ),
    // Without cycles.
    ("ax1 !; rx1", "G1a", "read-committed"),
    ("wx1 !; Rx1", "G1a", "read-committed"),
    ("ax1 ax2; rx1", "G-single-item G1b", "read-committed"),
    ("wx1 wx2; Rx1", "G1b", "read-committed"),
    ("ax1 !; ax2; rx12", "G1a dirty-update", "read-committed"),
    (
        "ax1 !; ax2 ?; ax3; rx123",
        "G1a dirty-update",
        "read-committed",
    ),
    (
        "ax1 ry1; ax2; ax3 ay1; rx13; rx123",
        "G1c incompatible-order",
        "read-committed",
    ),
    ("ax1 ax2; rx21", "G1b incompatible-order", "read-committed"),
    (
        "ax1 ry1; ax2 ay1; rx121",
        "G1c duplicate-elements",
        "read-uncommitted",
    ),
    ("ax1; rx17", "garbage-read", "read-uncommitted"),
    ("wx1; Rx7", "garbage-read", "read-uncommitted"),
    ("rx1 ax1; ry ay1", "future-read", "read-committed"),
    ("Rx1 wx1; Ry wy1", "future-read", "read-committed"),
    ("ax1; rx1 ax2 rx1", "internal", "read-atomic"),
    ("wx1; Rx1 wx2 Rx1", "internal", "read-atomic"),
    (
        "wx1; Rx Rx1",
        "G-single-item internal",
        "read-atomic consistent-view repeatable-read",
    ),
    (
        "ax0; rx0 ax1; rx0 ax2",
        "G2-item lost-update",
        "update-atomic cursor-stability",
    ),
    (
        "wx1; Rx1 wx2; Rx1 wx3",
        "G2-item lost-update",
        "update-atomic cursor-stability",
    ),
    // In sessions.
    (
        "ax1 @0; ax2 @1; rx1 @1; rx12 @2",
        "G-single-item-process",
        "strong-session-snapshot-isolation",
    ),
    (
        "rx rz1 @0; ax1 @1; rz @1; az1 @2",
        "G-nonadjacent-item-process",
        "strong-session-snapshot-isolation",
    ),
    (
        "rx1 @0; ax1 @0",
        "G1c-process",
        "strong-session-read-committed",
    ),
    (
        "ax1 @0; ax2 @0; rx21 @1",
        "G0-process",
        "strong-session-read-uncommitted",
    ),
    (
        "ax1 @0; ry @0; ay1 rx @1",
        "G2-item-process",
        "strong-session-serializable",
    ),
    // In real time.
    (
        "ax1 0-1; ax2 2-3; rx1 4-5; rx12 6-7",
        "G-single-item-realtime",
        "strong-snapshot-isolation",
    ),
    ("rx1 0-1; ax1 2-3", "G1c-realtime", "strong-read-committed"),
    (
        "ax1 0-1; ax2 2-3; rx21 0-9",
        "G0-realtime",
        "strong-read-uncommitted",
    ),
    (
        "ax1 0-1; ry 2-3; ay1 rx 0-9",
        "G2-item-realtime",
        "strict-serializable",
    ),
    // At the same instant is not before.
    ("ax1 0-4; rx 4-5", "", ""),
    // Nothing wrong.
    ("ax1 @0 0-1; rx1 ax2 @0 2-3; rx12 @1 4-5", "", ""),
    ("ax1 ?; rx ay1; ry1", "", ""),
];

#[test]
fn each_anomaly_has_its_name() {
    let options = Options::default();
    let mut wrong = Vec::new();
    for &(text, names, not) in CASES {
        let judgement = judged(&txns(text), &options);
        if said(&judgement) != (names.to_owned(), not.to_owned()) {
            wrong.push(format!(
                "{text}\n  {names:?} not {not:?}\n  {:?}",
                said(&judgement)
            ));
        }
        assert_eq!(
            judgement.verdict == Verdict::Invalid,
            !names.is_empty(),
            "{text}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One operation of a long history: what was written, or what was there to be read.
struct LongOp {
    key: String,
    wrote: Option<String>,
    seen: Vec<String>,
}

/// Many transactions one after another, with the planted ones among them, in their order.
fn long_history(random: &mut Random, planted: &[Small], lists: bool) -> Observed {
    let mut state = vec![Vec::<String>::new(); 12];
    let mut txns = Vec::new();
    for number in 0..150 {
        let mut ops = Vec::new();
        for _ in 0..1 + random.below(5) {
            let place = random.below(state.len());
            let wrote = (random.below(2) == 0).then(|| format!("{number}.{}", ops.len()));
            let seen = state[place].clone();
            if let Some(value) = &wrote {
                if !lists {
                    state[place].clear();
                }
                state[place].push(value.clone());
            }
            ops.push(LongOp {
                key: format!("k{place}"),
                wrote,
                seen,
            });
        }
        txns.push((ops, u32::try_from(random.below(5)).unwrap()));
    }
    observed_long(&txns, planted, lists)
}

fn observed_long(txns: &[(Vec<LongOp>, u32)], planted: &[Small], lists: bool) -> Observed {
    let mut builder = ObservedBuilder::new("long");
    let step = txns.len() / (planted.len() + 1);
    let mut next = 0;
    for (number, (ops, session)) in txns.iter().enumerate() {
        if number > 0 && number % step == 0 && next < planted.len() {
            plant(&mut builder, &planted[next]);
            next += 1;
        }
        for LongOp { key, wrote, seen } in ops {
            let key = builder.key(key).unwrap();
            let seen: Vec<_> = seen
                .iter()
                .map(|value| builder.value(value).unwrap())
                .collect();
            match wrote {
                Some(value) if lists => {
                    let value = builder.value(value).unwrap();
                    builder.append(key, value).unwrap();
                }
                Some(value) => {
                    let value = builder.value(value).unwrap();
                    builder.write(key, value).unwrap();
                }
                None if lists => builder.read_list(key, &seen).unwrap(),
                None => builder.read(key, seen.last().copied()).unwrap(),
            }
        }
        // They run one after another; the planted ones overlap with all of them.
        let begin = 1_000 + 10 * u32::try_from(number).unwrap();
        let interval = Some(Interval {
            begin,
            end: begin + 5,
        });
        builder
            .end(Some(10 + session), Outcome::Committed, interval, 0)
            .unwrap();
    }
    assert_eq!(next, planted.len());
    builder.finish()
}

fn plant(builder: &mut ObservedBuilder, txn: &Small) {
    let name = |key: u8| format!("planted {key}");
    for act in &txn.acts {
        match act {
            Act::Append(key, value) => {
                let (key, value) = (
                    builder.key(&name(*key)).unwrap(),
                    builder.value(&value.to_string()).unwrap(),
                );
                builder.append(key, value).unwrap();
            }
            Act::Write(key, value) => {
                let (key, value) = (
                    builder.key(&name(*key)).unwrap(),
                    builder.value(&value.to_string()).unwrap(),
                );
                builder.write(key, value).unwrap();
            }
            Act::List(key, list) => {
                let key = builder.key(&name(*key)).unwrap();
                let list: Vec<_> = list
                    .iter()
                    .map(|value| builder.value(&value.to_string()).unwrap())
                    .collect();
                builder.read_list(key, &list).unwrap();
            }
            Act::Read(key, value) => {
                let key = builder.key(&name(*key)).unwrap();
                let value = value.map(|value| builder.value(&value.to_string()).unwrap());
                builder.read(key, value).unwrap();
            }
        }
    }
    // Without intervals of their own they overlap with everything.
    let (begin, end) = txn
        .interval
        .map_or((0, u32::MAX), |(begin, end)| (begin * 100, end * 100));
    builder
        .end(txn.session, txn.outcome, Some(Interval { begin, end }), 0)
        .unwrap();
}

#[test]
fn what_is_planted_in_a_long_history_is_found_and_nothing_else() {
    let options = Options::default();
    let mut random = Random(5);
    for &(text, names, not) in CASES {
        let planted = txns(text);
        for lists in [true, false] {
            let history = long_history(&mut random, &planted, lists);
            let judgement = anomaly::judge(&history, &options);
            assert_eq!(
                said(&judgement),
                (names.to_owned(), not.to_owned()),
                "{text} lists: {lists}"
            );
            for found in judgement.anomalies.iter().chain(&judgement.others) {
                assert_eq!(
                    witness::check(&history, &options, found),
                    Ok(()),
                    "{found:?}"
                );
            }
            if names.is_empty() && lists {
                assert_eq!(judgement.verdict, Verdict::Valid, "{:?}", judgement.reasons);
            }
        }
    }
}

#[test]
fn names_and_the_order_of_independent_lines_mean_nothing() {
    let options = Options::default();
    for &(text, names, not) in CASES {
        let original = txns(text);
        // Other keys, other values, other sessions.
        let key = |key: u8| 3 - key;
        let renamed: Vec<Small> = original
            .iter()
            .map(|txn| Small {
                acts: txn
                    .acts
                    .iter()
                    .map(|act| match act {
                        Act::Append(of, value) => Act::Append(key(*of), 99 - value),
                        Act::Write(of, value) => Act::Write(key(*of), 99 - value),
                        Act::List(of, list) => {
                            Act::List(key(*of), list.iter().map(|value| 99 - value).collect())
                        }
                        Act::Read(of, value) => Act::Read(key(*of), value.map(|value| 99 - value)),
                    })
                    .collect(),
                session: txn.session.map(|session| 7 - session),
                ..txn.clone()
            })
            .collect();
        let expected = (names.to_owned(), not.to_owned());
        assert_eq!(
            said(&judged(&renamed, &options)),
            expected,
            "{text} renamed"
        );
        // Lines of different sessions, in another order.
        let mut reversed = original.clone();
        if original.iter().all(|txn| txn.session.is_none()) {
            reversed.reverse();
        } else {
            reversed.sort_by_key(|txn| txn.session);
        }
        assert_eq!(
            said(&judged(&reversed, &options)),
            expected,
            "{text} reordered"
        );
    }
}

#[test]
fn more_reads_never_make_an_invalid_history_valid() {
    let mut checked = 0;
    let options = Options::default();
    for &(text, ..) in CASES {
        let original = txns(text);
        let before = judged(&original, &options);
        let lists: [&[u8]; 7] = [&[], &[1], &[2], &[1, 2], &[2, 1], &[1, 2, 3], &[5]];
        let mut reads: Vec<Act> = Vec::new();
        for key in 0..2 {
            reads.extend(lists.iter().map(|list| Act::List(key, list.to_vec())));
            reads.extend([None, Some(1), Some(2)].map(|value| Act::Read(key, value)));
        }
        let uses_lists = original
            .iter()
            .flat_map(|txn| &txn.acts)
            .any(|act| matches!(act, Act::Append(..)));
        reads.retain(|act| matches!(act, Act::List(..)) == uses_lists);
        for read in reads {
            // A transaction of its own, or one more operation at the end of one that is there.
            for place in 0..=original.len() {
                let mut more = original.clone();
                match more.get_mut(place) {
                    Some(txn) => txn.acts.push(read.clone()),
                    None => more.push(Small::new(vec![read.clone()])),
                }
                let after = judged(&more, &options);
                let turned = before.ruled_out.all().intersection(after.proven);
                assert!(
                    turned.is_empty(),
                    "{text} with {read:?} at {place}: {turned:?}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 1_000, "{checked}");
}

#[test]
fn verdicts_are_about_what_was_asked() {
    let skew = txns("rx ay1; ry ax1");
    for &model in Model::ALL {
        let judgement = judged(&skew, &Options::new([model]));
        let forbids = model.implied().contains(Model::RepeatableRead)
            || model.implied().contains(Model::Serializable);
        match judgement.verdict {
            Verdict::Invalid => assert!(forbids, "{model:?}"),
            Verdict::Valid => assert!(!forbids, "{model:?}"),
            Verdict::Unknown => {
                let needs_time = model.name().starts_with("strong");
                let untested = model == Model::UpdateSerializable;
                assert!(needs_time || untested, "{model:?} {:?}", judgement.reasons);
            }
        }
    }
    // What was not asked for is said all the same.
    let judgement = judged(&skew, &Options::new([Model::SnapshotIsolation]));
    assert!(judgement.anomalies.is_empty());
    assert_eq!(judgement.others.len(), 1);
    let left: ModelSet = judgement.strongest_left();
    assert!(left.contains(Model::StrongSnapshotIsolation), "{left:?}");
}

#[test]
fn a_history_that_tests_nothing_is_unknown() {
    for text in ["ax1", "ax1; ay1", "rx; ry", "wx1; wx2", "ax1 !; rx", ""] {
        let judgement = judged(&txns(text), &Options::new([Model::ReadUncommitted]));
        assert_eq!(judgement.verdict, Verdict::Unknown, "{text}");
        assert_eq!(
            judgement.reasons[0].name(),
            "empty-transaction-graph",
            "{text}"
        );
    }
}

#[test]
fn values_that_are_not_unique_are_doubted_and_not_guessed() {
    for text in ["wx1; wx1; Rx1 wy1; Ry1", "ax1; ax1; rx1 ay1; ry1"] {
        let judgement = judged(&txns(text), &Options::new([Model::Serializable]));
        assert_eq!(judgement.verdict, Verdict::Unknown, "{text}");
        assert!(
            judgement
                .reasons
                .iter()
                .any(|reason| reason.name() == "ambiguous-values"),
            "{text}"
        );
    }
}

#[test]
fn a_witness_that_was_tampered_with_is_refused() {
    let history = observed(&txns("ax1 ay1; ax2 ry; rx12"));
    let options = Options::default();
    let judgement = anomaly::judge(&history, &options);
    let found = &judgement.anomalies[0];
    assert_eq!(witness::check(&history, &options, found), Ok(()));
    let mut other = found.clone();
    other.name = checker::models::Anomaly::G0;
    assert!(witness::check(&history, &options, &other).is_err());
    let mut other = found.clone();
    other.cycle.reverse();
    let edge = other.cycle[0];
    other.cycle[0] = checker::observed::Edge {
        from: edge.to,
        to: edge.from,
        why: edge.why,
    };
    assert!(witness::check(&history, &options, &other).is_err());
    let mut other = found.clone();
    other.cycle.truncate(1);
    assert!(witness::check(&history, &options, &other).is_err());
    let other_history = observed(&txns("ax1 ay1; ax2 ry1; rx12"));
    assert!(witness::check(&other_history, &options, found).is_err());
}

#[test]
fn json_says_what_the_judgement_says() {
    let history = observed(&txns("ax1 ay1; ax2 ry; rx12"));
    let judgement = anomaly::judge(&history, &Options::new([Model::Serializable]));
    let json = judgement.to_json(&history);
    assert_eq!(json["verdict"], "invalid");
    assert_eq!(
        json["not"],
        serde_json::json!(["consistent-view", "repeatable-read"])
    );
    let found = &json["anomalies"][0];
    assert_eq!(found["name"], "G-single-item");
    assert_eq!(found["lines"], serde_json::json!([2, 1]));
    let cycle = serde_json::json!([
        { "from": 1, "to": 0, "type": "rw", "key": "y", "value": null, "value'": "1" },
        { "from": 0, "to": 1, "type": "ww", "key": "x", "value": "1", "value'": "2" },
    ]);
    assert_eq!(found["cycle"], cycle);
    assert_eq!(
        found["sentences"][1],
        "T0 appended 1 to x, T1 appended 2, and T2 read [1 2]: so T0 precedes T1."
    );
}
