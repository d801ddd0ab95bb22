//! Large histories: linear shapes that a quadratic checker would not survive.
//!
//! Sizes are small here; `CO_CHECK_SCALE=200000 cargo test --release -p checker --test scale --
//! --nocapture` runs the same at full size and prints the time.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "tests may stop, and tell times"
)]

use std::fmt::Write as _;
use std::time::Instant;

use checker::parse::read_history;
use checker::verify::verify;
use checker::{Case, Level, SiteHistory, Verdict};

fn size() -> u64 {
    std::env::var("CO_CHECK_SCALE").map_or(5_000, |size| size.parse().unwrap())
}

fn file(site: &str, lines: &[String]) -> String {
    let mut text = format!("co-history 1 {site}\n");
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    writeln!(text, "end {}", lines.len()).unwrap();
    text
}

/// Reads the texts, judges at both levels and re-checks the order; tells the two verdicts.
fn judge_timed(name: &str, texts: &[String]) -> [Verdict; 2] {
    let start = Instant::now();
    let sites: Vec<SiteHistory> = texts
        .iter()
        .map(|text| read_history(text.as_bytes(), "f").unwrap())
        .collect();
    let read = start.elapsed();
    let case = Case::new(&sites);
    let verdicts =
        [Level::Serializability, Level::CommitmentOrdering].map(|level| case.judge(level).verdict);
    let judged = start.elapsed();
    if let Verdict::Valid { serial_order } = &verdicts[0] {
        verify(&sites, serial_order).unwrap();
    }
    let counts = case.statistics();
    eprintln!(
        "{name}: {} transactions, {} operations, {} edges: read {read:?}, judged after {judged:?}, \
         verified after {:?}",
        counts.committed,
        counts.operations,
        counts.edges,
        start.elapsed()
    );
    verdicts
}

/// A small generator of numbers, so that the histories are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A serial run of transactions over two sites: reads, writes and increments of both.
fn mixed(txns: u64) -> [Vec<String>; 2] {
    let mut numbers = Numbers(7);
    let keys = txns / 4 + 1;
    let mut latest = [vec![0u64; keys as usize], vec![0u64; keys as usize]];
    let mut seqs = [0u64; 2];
    let mut lines = [Vec::new(), Vec::new()];
    for txn in 1..=txns {
        for site in 0..2 {
            let seq = seqs[site] + 1;
            let (read, changed) = (numbers.below(keys), numbers.below(keys));
            let how = ["w", "w", "i", "x"][numbers.below(4) as usize];
            let version = latest[site][read as usize];
            let ops = format!("r:k{read}@{version} {how}:k{changed}");
            latest[site][changed as usize] = seq;
            seqs[site] = seq;
            lines[site].push(format!("c G{txn} {txn} {seq} {ops}"));
        }
    }
    lines
}

#[test]
fn a_long_serial_run_is_valid_at_both_levels() {
    let [a, b] = mixed(size());
    for verdict in judge_timed("mixed", &[file("A", &a), file("B", &b)]) {
        assert!(matches!(verdict, Verdict::Valid { .. }));
    }
}

#[test]
fn one_skew_in_a_long_run_is_found_as_a_cycle_of_two() {
    let txns = size();
    let [mut a, mut b] = mixed(txns);
    a.push(format!("c G{} {} - r:skew1@0", txns + 1, txns + 1));
    a.push(format!("c G{} {} {} w:skew1", txns + 2, txns + 2, txns + 1));
    b.push(format!("c G{} {} - r:skew2@0", txns + 2, txns + 2));
    b.push(format!("c G{} {} {} w:skew2", txns + 1, txns + 1, txns + 1));
    let [verdict, _] = judge_timed("skew", &[file("A", &a), file("B", &b)]);
    let Verdict::Invalid {
        anomalies,
        total: 1,
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    let checker::Anomaly::Cycle(cycle) = &anomalies[0] else {
        panic!("{anomalies:?}")
    };
    assert_eq!(
        (cycle.steps.len(), cycle.entangled, cycle.shortest),
        (2, 2, true)
    );
}

/// Half the transactions increment one key, and half read the sum: a quarter of the square of the
/// number of transactions would conflict pairwise.
#[test]
fn a_hot_counter_stays_linear() {
    let txns = size();
    let lines: Vec<String> = (1..=txns)
        .map(|txn| match txn % 2 {
            0 => format!("c L{txn} {txn} - r:n@{}", txn - 1),
            _ => format!("c L{txn} {txn} {txn} i:n"),
        })
        .collect();
    let text = file("A", &lines);
    let sites = [read_history(text.as_bytes(), "f").unwrap()];
    let edges = Case::new(&sites).statistics().edges as u64;
    assert!(edges <= 5 * txns, "{edges} edges");
    for verdict in judge_timed("counter", &[text]) {
        assert!(matches!(verdict, Verdict::Valid { .. }));
    }
}

/// One transaction closes a circle around the whole run: deep recursion or a search from every
/// start would not end.
#[test]
fn a_cycle_through_every_transaction_is_found() {
    let txns = size();
    let mut lines: Vec<String> = (1..=txns)
        .map(|txn| format!("c L{txn} {txn} {txn} r:k{}@{} w:k{txn}", txn - 1, txn - 1))
        .collect();
    lines[0] = format!("c L1 1 1 r:k{txns}@{txns} w:k1");
    let [verdict, order] = judge_timed("circle", &[file("A", &lines)]);
    let Verdict::Invalid { anomalies, .. } = verdict else {
        panic!("a circle")
    };
    let checker::Anomaly::Cycle(cycle) = &anomalies[0] else {
        panic!("a cycle")
    };
    assert_eq!(cycle.steps.len() as u64, txns);
    assert!(matches!(order, Verdict::Invalid { total: 2, .. }));
}

/// Everything is entangled with everything: the search for a shortest cycle must stay bounded.
#[test]
fn a_large_tangle_yields_a_short_cycle() {
    let txns = size();
    let mut numbers = Numbers(3);
    // Each transaction reads the initial state of a few keys that others have long written.
    let lines: Vec<String> = (1..=txns)
        .map(|txn| {
            let reads: String = (0..3)
                .map(|_| format!("r:k{}@0 ", numbers.below(txns) + 1))
                .collect();
            format!("c L{txn} {txn} {txn} {reads}w:k{txn} w:hot")
        })
        .collect();
    let [verdict, _] = judge_timed("tangle", &[file("A", &lines)]);
    let Verdict::Invalid { anomalies, .. } = verdict else {
        panic!("a tangle")
    };
    let checker::Anomaly::Cycle(cycle) = &anomalies[0] else {
        panic!("a cycle")
    };
    assert!(cycle.steps.len() <= 3, "{}", cycle.steps.len());
    assert!(cycle.entangled as u64 > txns / 2);
}
