//! How long it takes:
//! `cargo test --release -p checker --test search scale -- --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use checker::observed::Observed;
use checker::search::{Budget, Level, Verdict, judge};
use checker::weak;

use crate::store::{self, Told, Workload};

pub(crate) const SERIAL: Workload = Workload {
    txns: 100_000,
    sessions: 20,
    ops: 8,
    keys: 50_000,
    writes_percent: 50,
    overlap: 1,
    skew: None,
};

/// The most memory that the process has had, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("0 0");
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

/// Seconds of processor time that the process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = |place: usize| {
        stat.split_whitespace()
            .nth(place)
            .and_then(|ticks| ticks.parse::<f64>().ok())
    };
    (ticks(13).unwrap_or(0.0) + ticks(14).unwrap_or(0.0)) / 100.0
}

fn timed(what: &str, history: &Observed, level: Level) -> &'static str {
    let budget = Budget {
        time: std::time::Duration::from_secs(20),
        ..Budget::default()
    };
    let (started, used) = (Instant::now(), cpu());
    let verdict = match judge(history, level, &budget) {
        Verdict::Valid(_) => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::Unknown(doubt) => {
            eprintln!("{doubt}");
            "unknown"
        }
    };
    let level = format!("{:?}/{:?}", level.isolation, level.precedence);
    eprintln!(
        "{what:24} {level:24} {verdict:8} {:8.3} s, cpu {:6.2} s, peak {} MB",
        started.elapsed().as_secs_f64(),
        cpu() - used,
        peak()
    );
    verdict
}

#[test]
#[ignore = "measures; minutes in a debug build"]
fn large_histories_of_known_isolation() {
    for txns in [1_000, 10_000, 100_000] {
        let work = Workload {
            txns,
            keys: txns / 2,
            ..SERIAL
        };
        for told in [Told::Sessions, Told::Commits] {
            let history = store::history(&store::run(work, 1), told);
            let what = format!("serial {txns} {told:?}");
            assert_eq!(timed(&what, &history, Level::SESSION_SERIALIZABLE), "valid");
            assert_eq!(timed(&what, &history, Level::SERIALIZABLE), "valid");
            assert_eq!(timed(&what, &history, Level::SESSION_SNAPSHOT), "valid");
        }
        let skewed = Workload {
            skew: Some(txns / 2),
            ..work
        };
        let history = store::history(&store::run(skewed, 2), Told::Sessions);
        let what = format!("skew {txns}");
        assert_eq!(
            timed(&what, &history, Level::SESSION_SERIALIZABLE),
            "invalid"
        );
        assert_eq!(timed(&what, &history, Level::SERIALIZABLE), "invalid");
        assert_eq!(timed(&what, &history, Level::SESSION_SNAPSHOT), "valid");
    }
}

#[test]
#[ignore = "measures; minutes in a debug build"]
fn other_large_histories() {
    let txns = 100_000;
    // Two transactions of a session have changed places: no session order, and still serializable.
    let mut swapped = store::run(SERIAL, 3);
    let of_one: Vec<usize> = (0..swapped.len())
        .filter(|at| swapped[*at].0 == 7)
        .collect();
    for pair in [2_000, 2_500, 3_000] {
        let (a, b) = (of_one[pair], of_one[pair + 1]);
        let (first, second) = (swapped[a].1.clone(), swapped[b].1.clone());
        (swapped[a].0, swapped[b].0) = (1_000, 1_001);
        swapped.push((7, second, (0, 0)));
        swapped.push((7, first, (0, 0)));
    }
    swapped.retain(|(session, ..)| *session < 1_000);
    let history = store::history(&swapped, Told::Sessions);
    assert_eq!(
        timed("sessions swapped", &history, Level::SESSION_SERIALIZABLE),
        "invalid"
    );
    assert_eq!(
        timed("sessions swapped", &history, Level::SERIALIZABLE),
        "valid"
    );
    let overlapping = store::run(
        Workload {
            overlap: 10,
            ..SERIAL
        },
        4,
    );
    let history = store::history(&overlapping, Told::Sessions);
    assert_eq!(
        timed("snapshots", &history, Level::SESSION_SNAPSHOT),
        "valid"
    );
    timed("snapshots", &history, Level::SESSION_SERIALIZABLE);
    let history = store::history(&overlapping, Told::Intervals);
    assert_eq!(
        timed("snapshots, timed", &history, Level::STRONG_SNAPSHOT),
        "valid"
    );
    timed("snapshots, timed", &history, Level::STRICT_SERIALIZABLE);
    for keys in [100, 1_000] {
        let hot = Workload {
            txns,
            keys,
            ..SERIAL
        };
        let history = store::history(&store::run(hot, 5), Told::Sessions);
        assert_eq!(
            timed(
                &format!("{keys} keys"),
                &history,
                Level::SESSION_SERIALIZABLE
            ),
            "valid"
        );
        assert_eq!(
            timed(&format!("{keys} keys"), &history, Level::SESSION_SNAPSHOT),
            "valid"
        );
    }
}

#[test]
#[ignore = "measures; minutes in a debug build"]
fn one_large_history() {
    let history = store::history(&store::run(SERIAL, 1), Told::Sessions);
    assert_eq!(
        timed("serial 100000", &history, Level::SESSION_SERIALIZABLE),
        "valid"
    );
}

#[test]
#[ignore = "measures; minutes in a debug build"]
fn large_histories_at_the_weak_levels() {
    for txns in [10_000, 100_000] {
        let work = Workload {
            txns,
            keys: txns / 2,
            ..SERIAL
        };
        let history = store::history(&store::run(work, 1), Told::Sessions);
        for level in weak::Level::ALL {
            let (started, used) = (Instant::now(), cpu());
            let valid = matches!(weak::judge(&history, level), weak::Verdict::Valid(_));
            eprintln!(
                "{txns:8} {level:?} {:8.3} s, cpu {:6.2} s, peak {} MB",
                started.elapsed().as_secs_f64(),
                cpu() - used,
                peak()
            );
            assert!(valid);
        }
    }
}
