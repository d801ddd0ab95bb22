//! Shapes that make naive methods quadratic or deep: they end, and the verdict is right.
#![allow(clippy::unwrap_used, reason = "a test crate")]

use checker::anomaly::{self, Options, Reason, Verdict, witness};
use checker::models::Model;
use checker::observed::{Interval, Observed, ObservedBuilder, Outcome};

const MANY: u32 = 40_000;

fn committed(builder: &mut ObservedBuilder, session: u32, at: u32) {
    let interval = Some(Interval {
        begin: 2 * at,
        end: 2 * at + 1,
    });
    builder
        .end(Some(session), Outcome::Committed, interval, at)
        .unwrap();
}

fn names(history: &Observed, options: &Options) -> (Verdict, Vec<&'static str>) {
    let judgement = anomaly::judge(history, options);
    for found in &judgement.anomalies {
        assert_eq!(witness::check(history, options, found), Ok(()));
    }
    let mut names: Vec<&str> = judgement
        .anomalies
        .iter()
        .map(|found| found.name.name())
        .collect();
    names.dedup();
    (judgement.verdict, names)
}

#[test]
fn all_read_nothing_of_a_key_that_all_append_to() {
    for is_list in [true, false] {
        let mut builder = ObservedBuilder::new("hub");
        let (x, y) = (builder.key("x").unwrap(), builder.key("y").unwrap());
        for at in 0..MANY {
            let value = builder.value(&at.to_string()).unwrap();
            if is_list {
                builder.read_list(x, &[]).unwrap();
                builder.append(y, value).unwrap();
            } else {
                builder.read(x, None).unwrap();
                builder.write(y, value).unwrap();
            }
            committed(&mut builder, at % 20, at);
        }
        for at in MANY..2 * MANY {
            let value = builder.value(&at.to_string()).unwrap();
            if is_list {
                builder.append(x, value).unwrap();
            } else {
                builder.write(x, value).unwrap();
            }
            committed(&mut builder, at % 20, at);
        }
        let history = builder.finish();
        assert_eq!(
            names(&history, &Options::default()),
            (Verdict::Valid, vec![]),
            "lists: {is_list}"
        );
    }
}

#[test]
fn all_read_nothing_of_a_key_and_append_to_it() {
    let mut builder = ObservedBuilder::new("lost updates");
    let x = builder.key("x").unwrap();
    for at in 0..MANY {
        let value = builder.value(&at.to_string()).unwrap();
        builder.read_list(x, &[]).unwrap();
        builder.append(x, value).unwrap();
        builder.end(None, Outcome::Committed, None, at).unwrap();
    }
    let history = builder.finish();
    let found = names(&history, &Options::new([Model::Serializable]));
    assert_eq!(found, (Verdict::Invalid, vec!["G2-item", "lost-update"]));
}

/// A ring: each sees what the one before it wrote, and the first what the last wrote.
#[test]
fn one_cycle_through_all_transactions() {
    for (last_reads, name) in [(true, "G1c"), (false, "G-single-item")] {
        let mut builder = ObservedBuilder::new("ring");
        for at in 0..MANY {
            let value = builder.value("1").unwrap();
            let own = builder.key(&at.to_string()).unwrap();
            let next = builder.key(&((at + 1) % MANY).to_string()).unwrap();
            builder.append(own, value).unwrap();
            if at + 1 < MANY || last_reads {
                builder.read_list(next, &[value]).unwrap();
            } else {
                let far = builder.key("far").unwrap();
                builder.append(far, value).unwrap();
            }
            if at == 0 && !last_reads {
                let far = builder.key("far").unwrap();
                builder.read_list(far, &[]).unwrap();
            }
            builder.end(None, Outcome::Committed, None, at).unwrap();
        }
        let history = builder.finish();
        // Transaction `at` depends on `at + 1`; the first misses what the last wrote.
        let judgement = anomaly::judge(&history, &Options::new([Model::Serializable]));
        let found: Vec<&str> = judgement
            .anomalies
            .iter()
            .map(|found| found.name.name())
            .collect();
        let cycle = judgement.anomalies.first().map(|found| found.cycle.len());
        assert_eq!((found, cycle), (vec![name], Some(MANY as usize)));
    }
}

/// A store that answers from old states at random: nearly all transactions are in one component.
#[test]
fn a_store_that_is_mostly_broken() {
    for is_list in [true, false] {
        let mut builder = ObservedBuilder::new("broken");
        let mut random = 1_u64;
        let mut below = |bound: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % bound
        };
        let mut states = vec![Vec::new(); MANY as usize / 8];
        for at in 0..MANY {
            for op in 0..4 {
                let number = below(states.len());
                let key = builder.key(&number.to_string()).unwrap();
                let state: &mut Vec<_> = &mut states[number];
                if op % 2 == 0 {
                    let value = builder.value(&format!("{at}{op}")).unwrap();
                    state.push(value);
                    if is_list {
                        builder.append(key, value).unwrap();
                    } else {
                        builder.write(key, value).unwrap();
                    }
                } else {
                    let seen = &state[..state.len() - below(state.len() + 1)];
                    if is_list {
                        builder.read_list(key, seen).unwrap();
                    } else {
                        builder.read(key, seen.last().copied()).unwrap();
                    }
                }
            }
            committed(&mut builder, at % 20, at);
        }
        let history = builder.finish();
        let options = Options {
            budget: 1_000_000,
            ..Options::default()
        };
        let judgement = anomaly::judge(&history, &options);
        assert_eq!(judgement.verdict, Verdict::Invalid);
        assert!(
            judgement.ruled_out.all().contains(Model::Serializable),
            "{:?}",
            judgement.ruled_out
        );
        let cycles = judgement
            .anomalies
            .iter()
            .filter(|found| !found.cycle.is_empty());
        let shortest = cycles.map(|found| found.cycle.len()).min();
        assert_eq!(shortest, Some(2), "{:?}", judgement.reasons);
        assert!(!judgement.reasons.contains(&Reason::OutOfBudget));
    }
}

/// Without a budget nothing is located, and the models are ruled out all the same.
#[test]
fn no_budget_is_no_silence() {
    let mut builder = ObservedBuilder::new("skew");
    let (x, y) = (builder.key("x").unwrap(), builder.key("y").unwrap());
    let one = builder.value("1").unwrap();
    for (reads, appends) in [(x, y), (y, x)] {
        builder.read_list(reads, &[]).unwrap();
        builder.append(appends, one).unwrap();
        builder.end(None, Outcome::Committed, None, 0).unwrap();
    }
    let history = builder.finish();
    let options = Options {
        budget: 0,
        ..Options::new([Model::Serializable])
    };
    let judgement = anomaly::judge(&history, &options);
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert_eq!(judgement.anomalies[0].name.name(), "PL-2.99-cycle-exists");
    assert_eq!(judgement.ruled_out.not.names(), ["repeatable-read"]);
    assert!(
        judgement
            .reasons
            .iter()
            .any(|reason| reason.name() == "cycle-search-out-of-budget")
    );
    assert!(judgement.proven.contains(Model::SnapshotIsolation));
}
