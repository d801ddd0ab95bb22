//! Anomalies by name, stores of known isolation, what must not change a verdict, and what is not decided.

use checker::observed::{Edge, Observed, ObservedBuilder, Outcome};
use checker::search::{
    Budget, Doubt, Forced, Level, ReadFaultKind, Refutation, RefutationFault, Verdict, judge,
    verify_refutation,
};
use checker::weak;

use crate::store::{self, Draw, Told, Workload};

/// A history from words: `0: r x - w y 1 | 1: ...`, a session and its operations; `-` is the initial state, `!` after
/// the session an aborted transaction and `?` one of unknown outcome.
fn words(text: &str) -> Observed {
    let mut builder = ObservedBuilder::new(text);
    for (line, txn) in (1..).zip(text.split('|')) {
        let (session, ops) = txn.trim().split_once(':').unwrap();
        let ops: Vec<&str> = ops.split_whitespace().collect();
        for op in ops.chunks(3) {
            let key = builder.key(op[1]).unwrap();
            let value = (op[2] != "-").then(|| builder.value(op[2]).unwrap());
            match op[0] {
                "w" => builder.write(key, value.unwrap()).unwrap(),
                "r" => builder.read(key, value).unwrap(),
                "a" => builder.append(key, value.unwrap()).unwrap(),
                other => panic!("{other}"),
            }
        }
        let outcome = match session.trim_start_matches(char::is_numeric) {
            "!" => Outcome::Aborted,
            "?" => Outcome::Unknown,
            _ => Outcome::Committed,
        };
        let session = session.trim_end_matches(['!', '?']).parse().ok();
        builder.end(session, outcome, None, line).unwrap();
    }
    builder.finish()
}

/// Judges, with a re-check of every refutation.
fn verdict(history: &Observed, level: Level) -> &'static str {
    match judge(history, level, &Budget::default()) {
        Verdict::Valid(_) => "valid",
        Verdict::Invalid(refutation) => {
            assert_eq!(
                verify_refutation(history, level, &refutation),
                Ok(()),
                "{refutation:?}"
            );
            "invalid"
        }
        Verdict::Unknown(_) => "unknown",
    }
}

#[test]
fn anomalies_are_found_at_the_levels_that_exclude_them() {
    use weak::Level as Weak;
    let write_skew = "0: r x - r y - w x 1 | 1: r x - r y - w y 2";
    let blind_skew =
        "0: w x 1 w y 2 | 1: r x 1 w y 3 | 2: r y 2 w x 4 | 3: r x 1 r y 3 | 4: r x 4 r y 2";
    let lost_update = "0: w x 1 | 1: r x 1 w x 2 | 2: r x 1 w x 3";
    let long_fork = "0: w x 1 | 1: w y 2 | 2: r x 1 r y - | 3: r x - r y 2";
    let read_skew = "0: w x 1 w y 2 | 1: r x - r y 2";
    let circular = "0: w x 1 r y 2 | 1: w y 2 r x 1";
    let causality = "0: w x 1 | 1: r x 1 w y 2 | 2: r y 2 r x -";
    let serial = "0: w x 1 | 1: r x 1 w x 2 | 0: r x 2";
    let table = [
        (serial, "valid", "valid", Some(Weak::Causal)),
        (write_skew, "invalid", "valid", Some(Weak::Causal)),
        (blind_skew, "invalid", "invalid", Some(Weak::Causal)),
        (lost_update, "invalid", "invalid", Some(Weak::Causal)),
        (long_fork, "invalid", "invalid", Some(Weak::Causal)),
        (causality, "invalid", "invalid", Some(Weak::ReadAtomic)),
        (read_skew, "invalid", "invalid", Some(Weak::ReadCommitted)),
        (circular, "invalid", "invalid", Some(Weak::ReadUncommitted)),
    ];
    for (text, serializable, snapshot, strongest) in table {
        let history = words(text);
        assert_eq!(
            verdict(&history, Level::SERIALIZABLE),
            serializable,
            "{text}"
        );
        assert_eq!(verdict(&history, Level::SNAPSHOT), snapshot, "{text}");
        let chain = [
            Weak::ReadUncommitted,
            Weak::ReadCommitted,
            Weak::ReadAtomic,
            Weak::Causal,
        ];
        let holds = |level: &Weak| matches!(weak::judge(&history, *level), weak::Verdict::Valid(_));
        assert_eq!(
            chain.into_iter().take_while(holds).last(),
            strongest,
            "{text}"
        );
    }
}

#[test]
fn reads_that_nothing_explains_are_named() {
    let kinds = |text: &str| match judge(&words(text), Level::SERIALIZABLE, &Budget::default()) {
        Verdict::Invalid(Refutation::Reads(faults)) => faults[0].kind,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(kinds("0: r x 7"), ReadFaultKind::ThinAir);
    assert_eq!(kinds("0: w x 1 r x 7"), ReadFaultKind::ThinAir);
    assert!(matches!(
        kinds("0!: w x 1 | 1: r x 1"),
        ReadFaultKind::Aborted { .. }
    ));
    assert!(matches!(
        kinds("0: w x 1 w x 2 | 1: r x 1"),
        ReadFaultKind::Intermediate { .. }
    ));
    assert_eq!(kinds("0: r x 1 w x 1"), ReadFaultKind::Future);
    assert!(matches!(
        kinds("0: w x 1 | 1: w x 2 r x 1"),
        ReadFaultKind::OwnWrite { .. }
    ));
    assert!(matches!(
        kinds("0: w x 1 | 1: r x - r x 1"),
        ReadFaultKind::Unrepeatable { .. }
    ));
    let thin = words("0: r x 7");
    let uncommitted = weak::judge(&thin, weak::Level::ReadUncommitted);
    assert!(matches!(
        uncommitted,
        weak::Verdict::Invalid(weak::Witness::Reads(_))
    ));
}

#[test]
fn what_is_not_decided_says_why() {
    let doubt = |text: &str, level| match judge(&words(text), level, &Budget::default()) {
        Verdict::Unknown(doubt) => doubt,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(doubt("0!: w x 1", Level::SERIALIZABLE), Doubt::Empty);
    assert!(matches!(
        doubt("0: a x 1", Level::SERIALIZABLE),
        Doubt::NotRegisters { .. }
    ));
    assert!(matches!(
        doubt(": w x 1", Level::SESSION_SERIALIZABLE),
        Doubt::NoSession { .. }
    ));
    assert!(matches!(
        doubt("0: w x 1", Level::STRICT_SERIALIZABLE),
        Doubt::NoRealtime { .. }
    ));
    // Two writers of one value: an order that explains the read is a proof, and without one the answer is open.
    assert_eq!(
        verdict(
            &words("0: w x 1 | 1: w x 1 | 2: r x 1"),
            Level::SERIALIZABLE
        ),
        "valid"
    );
    let twice = "0: w x 1 w y 2 | 1: w x 1 w y 3 | 2: r x 1 r y -";
    assert!(matches!(
        doubt(twice, Level::SERIALIZABLE),
        Doubt::SeveralWriters { .. }
    ));
    let skewed = format!("{twice} | 4: r u - r v - w u 8 | 5: r u - r v - w v 9");
    assert_eq!(verdict(&words(&skewed), Level::SERIALIZABLE), "invalid");
    let none = Budget {
        conflicts: 0,
        shortcuts: false,
        ..Budget::default()
    };
    let hard =
        words("0: w x 1 w y 2 | 1: r x 1 w y 3 | 2: r y 2 w x 4 | 3: r x 1 r y 3 | 4: r x 4 r y 2");
    assert_eq!(
        judge(&hard, Level::SERIALIZABLE, &none),
        Verdict::Unknown(Doubt::Conflicts(0))
    );
}

#[test]
fn unknown_outcomes_count_only_if_read_from() {
    let skewed_if_it_counts = "0: r x - r y - w x 1 | 1?: r x - r y - w y 2";
    assert_eq!(
        verdict(&words(skewed_if_it_counts), Level::SERIALIZABLE),
        "valid"
    );
    let counts = format!("{skewed_if_it_counts} | 2: r y 2");
    assert_eq!(verdict(&words(&counts), Level::SERIALIZABLE), "invalid");
}

fn small_store(overlap: u32, seed: u64) -> Vec<(u32, store::Ran, (u32, u32))> {
    let mut draw = Draw::new(seed);
    let work = Workload {
        txns: 40 + draw.below(60),
        sessions: 3 + draw.below(6),
        ops: 2 + draw.below(4),
        keys: 3 + draw.below(20),
        writes_percent: 20 + draw.below(60),
        overlap,
        skew: None,
    };
    store::run(work, seed)
}

#[test]
fn stores_of_known_isolation_are_what_they_are() {
    let mut skewed = 0;
    for seed in 0..150 {
        let serial = small_store(1, seed);
        for told in [Told::Sessions, Told::Commits, Told::Intervals] {
            let history = store::history(&serial, told);
            assert_eq!(
                verdict(&history, Level::SESSION_SERIALIZABLE),
                "valid",
                "{seed} {told:?}"
            );
            assert_eq!(
                verdict(&history, Level::SERIALIZABLE),
                "valid",
                "{seed} {told:?}"
            );
        }
        assert_eq!(
            verdict(
                &store::history(&serial, Told::Intervals),
                Level::STRICT_SERIALIZABLE
            ),
            "valid",
            "{seed}"
        );
        let snapshots = small_store(4, seed);
        for told in [Told::Sessions, Told::Intervals] {
            let history = store::history(&snapshots, told);
            assert_eq!(
                verdict(&history, Level::SESSION_SNAPSHOT),
                "valid",
                "{seed} {told:?}"
            );
            for level in weak::Level::ALL {
                assert!(
                    matches!(weak::judge(&history, level), weak::Verdict::Valid(_)),
                    "{seed} {level:?}"
                );
            }
        }
        let timed = store::history(&snapshots, Told::Intervals);
        assert_eq!(verdict(&timed, Level::STRONG_SNAPSHOT), "valid", "{seed}");
        skewed += usize::from(verdict(&timed, Level::SESSION_SERIALIZABLE) == "invalid");
    }
    assert!(
        skewed > 30,
        "a store with snapshots has write skew: {skewed}"
    );
}

/// With more transactions than one block of bits has.
#[test]
fn without_sessions_the_verdict_of_the_plain_levels_is_the_same() {
    let mut invalid = 0;
    for seed in 0..6 {
        let work = Workload {
            txns: 1_200,
            sessions: 12,
            ops: 6,
            keys: if seed % 2 == 0 { 40 } else { 300 },
            writes_percent: 50,
            overlap: if seed < 4 { 1 } else { 3 },
            skew: (2..4).contains(&seed).then_some(600),
        };
        let history = store::history(&store::run(work, seed), Told::Sessions);
        for level in [Level::SERIALIZABLE, Level::SNAPSHOT] {
            let want = verdict(&history, level);
            let got = verdict(&store::anonymous(&history), level);
            assert_eq!(got, want, "{seed} {level:?}");
            invalid += usize::from(want == "invalid");
        }
    }
    assert!((2..10).contains(&invalid), "{invalid}");
}

#[test]
fn the_search_alone_agrees_with_the_shortcuts() {
    let mut seen = [0; 2];
    for seed in 0..120 {
        let history = store::history(&small_store(3, seed), Told::Sessions);
        for level in [
            Level::SERIALIZABLE,
            Level::SESSION_SERIALIZABLE,
            Level::SNAPSHOT,
            Level::SESSION_SNAPSHOT,
        ] {
            let alone = Budget {
                shortcuts: false,
                ..Budget::default()
            };
            let want = verdict(&history, level);
            match judge(&history, level, &alone) {
                Verdict::Valid(_) => assert_eq!(want, "valid", "{seed} {level:?}"),
                Verdict::Invalid(refutation) => {
                    assert_eq!(want, "invalid", "{seed} {level:?}");
                    assert_eq!(
                        verify_refutation(&history, level, &refutation),
                        Ok(()),
                        "{seed} {level:?}"
                    );
                }
                Verdict::Unknown(doubt) => panic!("{seed} {level:?}: {doubt}"),
            }
            seen[usize::from(want == "valid")] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

/// The same history with other names, its sessions one after another in another order, and perhaps one more read.
fn disguised(ran: &[(u32, store::Ran, (u32, u32))], draw: &mut Draw, more: bool) -> Observed {
    let turn = draw.below(7);
    let mut ran: Vec<(u32, store::Ran, (u32, u32))> = ran.to_vec();
    if more {
        let at = draw.below(u32::try_from(ran.len()).unwrap()) as usize;
        let from = draw.below(u32::try_from(ran.len()).unwrap()) as usize;
        let (key, value, _) = ran[from].1[0];
        ran[at].1.push((key, value, false));
    }
    for (session, ops, _) in &mut ran {
        *session = (*session + turn) % 7;
        for (key, value, _) in ops {
            *key = 1_000 - *key;
            *value = value.map(|value| 1_000_000 - value);
        }
    }
    store::history(&ran, Told::Sessions)
}

#[test]
fn other_names_change_no_verdict_and_more_reads_make_none_valid() {
    let mut invalid = 0;
    for seed in 0..100 {
        let mut draw = Draw::new(seed);
        let work = Workload {
            txns: 30,
            sessions: 7,
            ops: 3,
            keys: 8,
            writes_percent: 50,
            overlap: 1 + draw.below(4),
            skew: None,
        };
        let ran = store::run(work, seed);
        let plain = store::history(&ran, Told::Sessions);
        let (renamed, more) = (
            disguised(&ran, &mut draw, false),
            disguised(&ran, &mut draw, true),
        );
        for level in [
            Level::SERIALIZABLE,
            Level::SESSION_SERIALIZABLE,
            Level::SNAPSHOT,
            Level::SESSION_SNAPSHOT,
        ] {
            let verdicts = [&plain, &renamed, &more].map(|history| verdict(history, level));
            assert_eq!(verdicts[0], verdicts[1], "{seed} {level:?}");
            assert!(
                verdicts[0] == "valid" || verdicts[2] == "invalid",
                "{seed} {level:?}"
            );
            invalid += usize::from(verdicts[0] == "invalid");
        }
        for level in weak::Level::ALL {
            let valid = |history| matches!(weak::judge(history, level), weak::Verdict::Valid(_));
            assert!(
                valid(&plain) == valid(&renamed) && (valid(&plain) || !valid(&more)),
                "{seed} {level:?}"
            );
        }
    }
    assert!(invalid > 20, "{invalid}");
}

/// A refutation by cases, with one part changed at a time, is none.
#[test]
fn forged_refutations_are_refused() {
    let hard =
        words("0: w x 1 w y 2 | 1: r x 1 w y 3 | 2: r y 2 w x 4 | 3: r x 1 r y 3 | 4: r x 4 r y 2");
    let alone = Budget {
        shortcuts: false,
        ..Budget::default()
    };
    let Verdict::Invalid(refutation) = judge(&hard, Level::SERIALIZABLE, &alone) else {
        panic!("it is not serializable");
    };
    let check = |forced: &[Forced], cycles: &[Vec<Edge>]| {
        let (forced, cycles) = (forced.to_vec(), cycles.to_vec());
        verify_refutation(
            &hard,
            Level::SERIALIZABLE,
            &Refutation::Cycles { forced, cycles },
        )
    };
    let Refutation::Cycles { forced, cycles } = refutation else {
        panic!("its cycles are few");
    };
    assert!(
        cycles.len() > 1,
        "the search alone decides by cases: {cycles:?}"
    );
    assert_eq!(check(&forced, &cycles), Ok(()));
    for at in 0..cycles.len() {
        let mut fewer = cycles.clone();
        fewer.remove(at);
        assert_eq!(
            check(&forced, &fewer),
            Err(RefutationFault::WayOut),
            "without cycle {at}"
        );
        for edge in 0..cycles[at].len() {
            let mut shorter = cycles.clone();
            shorter[at].remove(edge);
            assert!(
                check(&forced, &shorter).is_err(),
                "without edge {edge} of cycle {at}"
            );
            let mut turned = cycles.clone();
            let turned_edge = &mut turned[at][edge];
            (turned_edge.from, turned_edge.to) = (turned_edge.to, turned_edge.from);
            assert!(
                check(&forced, &turned).is_err(),
                "with edge {edge} of cycle {at} turned"
            );
        }
    }
}

/// Of orders that are forced one after another, none is left out.
#[test]
fn refutations_that_lack_an_order_are_refused() {
    let chain = words(
        "0: w x 1 w y 2 | 1: r x 1 w y 3 | 2: r x 1 r y 2 w x 4 | 3: r x 4 r y 2 | 4: r y 3 r x 1",
    );
    let Verdict::Invalid(Refutation::Cycles { forced, cycles }) =
        judge(&chain, Level::SERIALIZABLE, &Budget::default())
    else {
        panic!("it is not serializable, and saturation shows it");
    };
    assert!(!forced.is_empty());
    for at in 0..forced.len() {
        let mut fewer = forced.clone();
        fewer.remove(at);
        let cycles = cycles.clone();
        let forged = Refutation::Cycles {
            forced: fewer,
            cycles,
        };
        assert!(
            verify_refutation(&chain, Level::SERIALIZABLE, &forged).is_err(),
            "without order {at}"
        );
    }
}
