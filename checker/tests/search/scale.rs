//! How long it takes. With `cargo test --release -p checker --test search scale -- --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use checker::observed::Observed;
use checker::search::{Budget, Level, Verdict, judge};

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

fn timed(what: &str, history: &Observed, level: Level) -> &'static str {
    let started = Instant::now();
    let verdict = match judge(history, level, &Budget::default()) {
        Verdict::Valid(_) => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::Unknown(doubt) => {
            eprintln!("{doubt}");
            "unknown"
        }
    };
    let level = format!("{:?}/{:?}", level.isolation, level.precedence);
    eprintln!(
        "{what:24} {level:24} {verdict:8} {:8.3} s, peak {} MB",
        started.elapsed().as_secs_f64(),
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
