//! Replaying is compared with judging the whole by the graph: on random histories, valid and bent, in every order of
//! lines and with windows of every width.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise, and tells how much it saw"
)]

#[path = "oracle/plan.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod plan;
#[path = "follow/random.rs"]
mod random;
#[path = "oracle/replay.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod replay;

use checker::parse::read_history;
use checker::replay::{Options, Replayed, Undecided};
use checker::{Case, Level, Op, Record, SiteHistory, Statistics, Verdict};
use plan::{bends, plan};
use proptest::prelude::*;
use proptest::test_runner::Config;
use random::{History, Numbers, shuffled};

const LEVELS: [Level; 3] = [
    Level::CommitmentOrdering,
    Level::Serializability,
    Level::ExtendedCommitmentOrdering,
];

fn parsed(texts: &[String]) -> Vec<SiteHistory> {
    let parse = |text: &String| read_history(text.as_bytes(), "f").unwrap();
    texts.iter().map(parse).collect()
}

fn replayed(texts: &[String], window: usize) -> Result<Replayed, Undecided> {
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let options = Options {
        window,
        with_order: true,
        ..Options::default()
    };
    checker::replay::replay(&texts, &options)
}

/// Forms that are left to the graph although nothing is wrong with them: a stamp that only another site knows, and a
/// transaction that reads or scans at a position that is not before its own.
fn is_left_to_the_graph(sites: &[SiteHistory]) -> bool {
    let mut records = sites.iter().flat_map(SiteHistory::records);
    records.any(|record| {
        let Record::Committed(committed) = record else {
            return false;
        };
        let behind = |pos| committed.seq.is_some_and(|seq| seq <= pos);
        let ops = &committed.ops;
        committed.stamp.is_none()
            || ops.iter().any(|op| match op {
                Op::Read { version, .. } => behind(*version),
                Op::Scan(scan) => behind(scan.pos),
                Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => false,
            })
    })
}

/// Compares on one history; whether it is commitment ordered.
fn check(texts: &[String], numbers: &mut Numbers) -> bool {
    let sites = parsed(texts);
    let case = Case::new(&sites);
    let reports = LEVELS.map(|level| case.judge(level));
    let is_valid = matches!(reports[0].verdict, Verdict::Valid { .. });
    let wide = replayed(texts, Options::default().window);
    let narrow = replayed(texts, numbers.below(6) as usize);
    for outcome in [&wide, &narrow] {
        let Ok(replayed) = outcome else { continue };
        for (level, report) in LEVELS.into_iter().zip(&reports) {
            assert_eq!(
                &replayed.report(level).unwrap().verdict,
                &report.verdict,
                "{texts:?}"
            );
        }
        let expected = Statistics {
            edges: 0,
            ..case.statistics()
        };
        assert_eq!(replayed.statistics(), expected, "{texts:?}");
        assert_eq!(replayed.recovery(), case.recovery(), "{texts:?}");
    }
    let left = is_left_to_the_graph(&sites);
    assert!(
        !is_valid || wide.is_ok() || left,
        "{wide:?}\n{}",
        texts.concat()
    );
    is_valid
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(1000), ..Config::default() })]

    #[test]
    fn small_histories_are_judged_as_by_the_graph(plan in plan(), bends in bends(), seed in any::<u64>()) {
        let texts = |sites: Vec<SiteHistory>| sites.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut numbers = Numbers(seed);
        prop_assert!(check(&texts(plan.execute()), &mut numbers));
        check(&texts(plan.execute_bent(&bends)), &mut numbers);
    }
}

#[test]
fn longer_histories_are_judged_as_by_the_graph() {
    let mut counts = [0; 2];
    for seed in 0..3000 {
        let mut numbers = Numbers(seed);
        let history = History::random(&mut numbers);
        let texts = history.texts();
        counts[usize::from(check(&texts, &mut numbers))] += 1;
        check(&shuffled(&texts, &mut numbers), &mut numbers);
    }
    eprintln!("not commitment ordered, and commitment ordered: {counts:?}");
    assert!(counts.iter().all(|&count| count > 500), "{counts:?}");
}

/// Whatever is wrong with a line, nothing is said of it here.
#[test]
fn damaged_lines_are_never_passed_over() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..8000 {
        let mut numbers = Numbers(seed);
        let text = History::random(&mut numbers).texts().swap_remove(0);
        let mut bytes = text.into_bytes();
        for _ in 0..=numbers.below(2) {
            let place = numbers.below(bytes.len() as u64) as usize;
            let junk = b" -@:%.[]#,0aGLrwxe9\n\xff";
            match numbers.below(4) {
                0 => drop(bytes.remove(place)),
                1 => bytes.insert(place, junk[numbers.below(junk.len() as u64) as usize]),
                2 => bytes.truncate(bytes.len() - numbers.below(8) as usize),
                _ => bytes[place] = junk[numbers.below(junk.len() as u64) as usize],
            }
            if bytes.is_empty() {
                break;
            }
        }
        if checker::replay::replay(&[&bytes], &Options::default()).is_err() {
            refused += 1;
            continue;
        }
        taken += 1;
        let sites = [read_history(&bytes[..], "f").unwrap()];
        let report = checker::judge(&sites, Level::CommitmentOrdering);
        let is_valid = matches!(report.verdict, Verdict::Valid { .. });
        assert!(is_valid, "{}", String::from_utf8_lossy(&bytes));
    }
    assert!(refused > 1000 && taken > 300, "{refused}, {taken}");
}

fn one(lines: &[&str]) -> Result<usize, Undecided> {
    let text = format!(
        "co-history 1 A\n{}\nend {}\n",
        lines.join("\n"),
        lines.len()
    );
    replayed(&[text], 1 << 16).map(|replayed| replayed.statistics().keys)
}

#[test]
fn transactions_of_one_stamp_must_not_conflict() {
    let disagrees = Err(Undecided::Disagrees);
    assert_eq!(one(&["c L1 5 1 w:x", "c L2 5 2 w:y"]), Ok(2));
    assert_eq!(one(&["c L1 5 1 w:x", "c L2 5 2 w:x"]), disagrees);
    assert_eq!(one(&["c L1 5 1 w:x", "c L2 5 - r:x@1"]), disagrees);
    assert_eq!(one(&["c L1 5 - r:x@0", "c L2 5 1 w:x"]), disagrees);
    assert_eq!(one(&["c L1 5 - r:x@0", "c L2 5 - r:x@0"]), Ok(1));
    assert_eq!(one(&["c L1 5 - r:x@0", "c L2 5 1 r:x@0 w:x"]), disagrees);
    assert_eq!(one(&["c L1 5 1 i:x", "c L2 5 2 i:x"]), Ok(1));
    assert_eq!(one(&["c L1 5 1 i:x", "c L2 5 2 i:x w:x"]), disagrees);
    assert_eq!(one(&["c L1 5 1 w:x", "c L2 5 2 i:x"]), disagrees);
    assert_eq!(one(&["c L1 5 - s:a..@0[]", "c L2 5 1 w:x"]), disagrees);
    assert_eq!(one(&["c L1 5 - s:a..@0[]", "c L2 6 1 w:x"]), Ok(1));
}

#[test]
fn increments_come_in_any_order_but_not_behind_who_saw_the_sum() {
    let disagrees = Err(Undecided::Disagrees);
    assert_eq!(
        one(&["c L1 1 2 i:x", "c L2 2 1 i:x", "c L3 3 - r:x@2"]),
        Ok(1)
    );
    assert_eq!(
        one(&["c L1 1 2 i:x", "c L2 2 - r:x@2", "c L3 3 1 i:x"]),
        disagrees
    );
    assert_eq!(one(&["c L1 1 2 i:x", "c L2 2 1 w:x"]), disagrees);
    // It adds and then overwrites, or the other way round: there is one version, a value.
    assert_eq!(
        one(&["c L1 1 1 i:x w:x", "c L2 2 2 i:x", "c L3 3 - r:x@2"]),
        Ok(1)
    );
    assert_eq!(one(&["c L1 1 2 w:x i:x", "c L2 2 1 i:x"]), disagrees);
    assert_eq!(one(&["c L1 1 1 w:x x:x", "c L2 2 - s:..@1[]"]), Ok(1));
    assert_eq!(one(&["c L1 1 1 x:x i:x", "c L2 2 - s:..@1[]"]), disagrees);
}

#[test]
fn scans_see_what_is_named_only_later() {
    let disagrees = Err(Undecided::Disagrees);
    assert_eq!(one(&["c L1 1 - s:a..c@7[]", "c L2 2 3 w:b"]), disagrees);
    assert_eq!(one(&["c L1 1 - s:a..c@7[]", "c L2 2 3 w:c"]), Ok(1));
    assert_eq!(one(&["c L1 1 - s:a..c@7[]", "c L2 2 8 w:b"]), Ok(1));
    assert_eq!(
        one(&["c L1 1 - s:a..c@0[]", "c L2 2 - s:b..@0[b@0]"]),
        disagrees
    );
    assert_eq!(
        one(&["c L1 1 - s:a..b@0[]", "c L2 2 - s:b..@0[b@0]"]),
        Ok(1)
    );
    // More scans than are known by their ranges: a key that is named after that may have been missed.
    let scans: Vec<String> = (1..=1100)
        .map(|n| format!("c L{n} {n} - s:a..b@7[]"))
        .collect();
    let after = |line| {
        let mut lines: Vec<&str> = scans.iter().map(String::as_str).collect();
        lines.push(line);
        one(&lines)
    };
    assert_eq!(after("c L2000 2000 8 w:z"), Ok(1));
    assert_eq!(after("c L2000 2000 3 w:z"), disagrees);
    assert_eq!(after("c L2000 2000 - s:z..@0[z@0]"), disagrees);
}

#[test]
fn what_comes_later_than_the_window_is_not_judged() {
    let lines: Vec<String> = (2..=100)
        .map(|n| format!("c L{n} {n} {n} w:k{n}"))
        .collect();
    let text = format!(
        "co-history 1 A\n{}\nc L1 1 1 w:k\nend 100\n",
        lines.join("\n")
    );
    assert_eq!(
        replayed(std::slice::from_ref(&text), 99).map(|it| it.statistics().committed),
        Ok(100)
    );
    assert_eq!(replayed(&[text], 98).unwrap_err(), Undecided::Late);
}

#[test]
fn sites_must_agree() {
    let a = "co-history 1 A\nc G1 5 1 w:x\nend 1\n";
    let of =
        |b: &str| replayed(&[a.to_owned(), b.to_owned()], 16).map(|it| it.statistics().committed);
    assert_eq!(of("co-history 1 B\nc G1 5 1 w:x\nend 1\n"), Ok(1));
    assert_eq!(of("co-history 1 B\nc L1 5 1 w:x\nend 1\n"), Ok(2));
    assert_eq!(
        of("co-history 1 B\nc G1 6 1 w:x\nend 1\n"),
        Err(Undecided::Disagrees)
    );
    assert_eq!(
        of("co-history 1 B\na G1 Why\nend 1\n"),
        Err(Undecided::Disagrees)
    );
    assert_eq!(
        of("co-history 1 B\nu G1 w:x\nend 1\n"),
        Err(Undecided::Disagrees)
    );
    assert_eq!(of("co-history 1 B\nc G1 5 1 w:x\n"), Err(Undecided::Doubt));
    assert_eq!(
        of("co-history 1 A\nc G1 5 1 w:x\nend 1\n"),
        Err(Undecided::Doubt)
    );
    assert_eq!(
        of("co-history 2 B\nc G1 5 1 w:x\nend 1\n"),
        Err(Undecided::Unreadable)
    );
    assert_eq!(
        of("co-history 1 B\nc G1 5 1 w:x\nend 01"),
        Err(Undecided::Doubt)
    );
    assert_eq!(of("co-history 1 B\nc G1 5 1 w:x\nend 1"), Ok(1));
}

#[test]
fn a_position_is_used_once_and_a_scan_returns_a_key_once() {
    let twice = one(&["c L1 1 1 w:x", "c L2 2 1 w:y"]);
    assert_eq!(twice, Err(Undecided::Unreadable));
    let repeated = one(&["c L1 1 1 w:x", "c L2 2 - s:..@1[x@1,x@1]"]);
    assert_eq!(repeated, Err(Undecided::Disagrees));
}
