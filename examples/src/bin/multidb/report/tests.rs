//! Reports of made-up runs.

use std::time::Duration;

use clap::Parser as _;
use coco::protocol::AbortCause;

use super::*;
use crate::args::{Args, Options};
use crate::cluster::ProcessInfo;
use crate::end_state::EndState;
use crate::figures::{CoordinatorFigures, SiteFigures};
use crate::invariants;
use crate::judge::{Judged, Judgement, Outcome};
use crate::samples::Samples;
use crate::site::{Pair, Site};
use crate::tally::{Tally, Witness};

fn options() -> Options {
    Args::parse_from(["multidb"]).options
}

fn judged(outcome: Outcome) -> Judged {
    let invalid = outcome == Outcome::Invalid;
    let words = |text: &str| {
        if invalid {
            vec![text.to_owned()]
        } else {
            Vec::new()
        }
    };
    Judged {
        outcome,
        grounds: words("A shortest cycle: G1 → G2 → G1."),
        cycle: words("At site B, G1 read \"x\": so G1 precedes G2."),
        entangled: if invalid { 2 } else { 0 },
    }
}

fn made_up(ordering: Ordering, impossible: u64, outcome: Outcome) -> RunReport {
    let mut tally = Tally {
        commits: 20_500,
        local_commits: 1_234,
        ..Tally::default()
    };
    tally.aborts.insert(AbortCause::StaleRead, 1_001);
    for request in 0..impossible {
        let impossible = invariants::registers(Pair::BC, 0, [0, 0]).unwrap();
        tally.witness(Witness {
            at: Duration::from_millis(5),
            client: 3,
            request,
            impossible,
        });
    }
    let mut latencies = Samples::default();
    latencies.add(Duration::from_micros(1_500));
    let process = ProcessInfo {
        name: "p".to_owned(),
        pid: 1,
        address: "127.0.0.1:1".to_owned(),
    };
    RunReport {
        ordering,
        processes: vec![process],
        elapsed: Duration::from_secs(10),
        tally,
        latencies: latencies.sorted(),
        coordinator: CoordinatorFigures {
            deadlocks_by_search: 4,
            ..CoordinatorFigures::default()
        },
        sites: Site::ALL
            .map(|site| {
                (
                    site,
                    SiteFigures {
                        votes_withheld: 7,
                        ..SiteFigures::default()
                    },
                )
            })
            .into(),
        end_state: EndState {
            total: 300,
            expected_total: 300,
            ..EndState::default()
        },
        judgement: Judgement {
            serializability: judged(outcome),
            commitment_ordering: judged(outcome),
            alone: Site::ALL.map(|site| (site, judged(Outcome::Valid))).into(),
            statistics: checker::Statistics::default(),
            took: Duration::from_millis(20),
        },
        kept: None,
    }
}

#[test]
fn only_runs_with_ordering_on_can_fail() {
    let off = || made_up(Ordering::Off, 9, Outcome::Invalid);
    let with = |on| Conclusion::of(&[off(), on]).exit_status();
    assert_eq!(Conclusion::of(&[off()]).exit_status(), 0);
    assert_eq!(with(made_up(Ordering::On, 0, Outcome::Valid)), 0);
    assert_eq!(with(made_up(Ordering::On, 1, Outcome::Valid)), 1);
    assert_eq!(with(made_up(Ordering::On, 0, Outcome::Invalid)), 1);
    assert_eq!(with(made_up(Ordering::On, 0, Outcome::Unknown)), 2);
    let mut broken_at_the_end = made_up(Ordering::On, 0, Outcome::Valid);
    broken_at_the_end.end_state.faults.push("wrong".to_owned());
    assert_eq!(with(broken_at_the_end), 1);
    let mut one_site = made_up(Ordering::On, 0, Outcome::Valid);
    one_site.judgement.alone[1].1 = judged(Outcome::Invalid);
    assert_eq!(with(one_site), 1);
    let mut disordered = made_up(Ordering::On, 0, Outcome::Valid);
    disordered.judgement.commitment_ordering = judged(Outcome::Invalid);
    assert_eq!(with(disordered), 1);
}

#[test]
fn a_run_is_told_with_everything_that_was_asked_for() {
    let text = run(&made_up(Ordering::Off, 9, Outcome::Invalid), Paint::plain());
    let expected = [
        "Ordering off: plain two-phase commit",
        "2,050 per second: 20,500 in 10.0 s, 1,234 of them at a single site",
        "p50 1.50 ms, p99 1.50 ms",
        "1,001  read a version since replaced",
        "21: A 7, B 7, C 7",
        "4 resolved by cycle search, 0 by timeout",
        "9 committed transactions saw a state that no serial execution can show",
        "After 0.01 s (client 3, request 0): register 0 was 0 at B and 0 at C;",
        "A serializable, B serializable, C serializable",
        "NOT serializable",
        "2 transactions lie on cycles",
        "At site B, G1 read \"x\": so G1 precedes G2.",
    ];
    for words in expected {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours without being asked");
    assert!(
        run(
            &made_up(Ordering::Off, 0, Outcome::Valid),
            Paint::colourful()
        )
        .contains("\x1b[32m")
    );
}

#[test]
fn values_are_aligned_and_lines_fit() {
    let text = run(&made_up(Ordering::Off, 9, Outcome::Invalid), Paint::plain());
    for line in text.lines().filter(|line| line.starts_with(' ')) {
        assert!(line.chars().count() <= 100, "{line}");
        let before_value: String = line.chars().take(24).collect();
        assert!(
            before_value.ends_with("  ") && line.chars().nth(24).is_some(),
            "{line}"
        );
    }
}

/// The last lines with single spaces.
fn unbroken(runs: &[RunReport]) -> String {
    let text = comparison(runs, Paint::plain());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_last_lines_compare_and_conclude() {
    let off = || made_up(Ordering::Off, 9, Outcome::Invalid);
    let mut on = made_up(Ordering::On, 0, Outcome::Valid);
    on.tally.commits = 10_250;
    let text = unbroken(&[off(), on]);
    assert!(
        text.contains("ordering off 2,050, ordering on 1,025 (50 %)"),
        "{text}"
    );
    assert!(
        text.contains("9 committed transactions saw a state that cannot be"),
        "{text}"
    );
    assert!(
        text.contains("no committed transaction saw an impossible state"),
        "{text}"
    );

    let quiet = made_up(Ordering::Off, 0, Outcome::Valid);
    let text = unbroken(&[quiet]);
    assert!(text.contains("longer or hotter"), "{text}");

    let bad = made_up(Ordering::On, 2, Outcome::Invalid);
    let text = unbroken(&[off(), bad]);
    assert!(
        text.contains("With ordering on, an anomaly was found"),
        "{text}"
    );
}

#[test]
fn the_document_carries_the_same() {
    let runs = [
        made_up(Ordering::Off, 9, Outcome::Invalid),
        made_up(Ordering::On, 0, Outcome::Valid),
    ];
    let document = document(&options(), &runs);
    assert_eq!(document["exit_status"], 0);
    assert_eq!(document["throughput_on_to_off"], 1.0);
    let off = &document["runs"][0];
    assert_eq!(off["finding"], "anomalous");
    assert_eq!(off["impossible_reads"]["count"], 9);
    assert_eq!(off["impossible_reads"]["by_rule"][0]["rule"], "registers");
    assert_eq!(off["aborts"]["stale_read"], 1_001);
    assert_eq!(off["latency_micros"]["p99"], 1_500);
    assert_eq!(off["site_statistics"]["B"]["votes_withheld"], 7);
    assert_eq!(off["checker"]["each_site_alone"]["C"], "valid");
    assert_eq!(off["processes"][0]["pid"], 1);
    assert_eq!(document["runs"][1]["finding"], "clean");
}
