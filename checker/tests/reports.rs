//! What a report shows, and how much of it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use checker::parse::read_history;
use checker::{Anomaly, Case, Level, MAX_SHOWN, SiteHistory, Token, TxnId, TxnRef, Verdict, judge};

fn site(name: &str, lines: &[String]) -> SiteHistory {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let text = format!("co-history 1 {name}\n{body}end {}\n", lines.len());
    read_history(text.as_bytes(), name).unwrap()
}

fn many(line: impl Fn(usize) -> String) -> Vec<String> {
    (1..=MAX_SHOWN + 5).map(line).collect()
}

/// How many anomalies or reasons are shown, and how many there are.
fn shown(sites: &[SiteHistory]) -> (usize, usize) {
    match judge(sites, Level::Serializability).verdict {
        Verdict::Invalid { anomalies, total } => (anomalies.len(), total),
        Verdict::Unknown { reasons, total } => (reasons.len(), total),
        Verdict::Valid { .. } => panic!("valid"),
    }
}

#[test]
fn of_many_alike_some_are_shown_and_all_are_counted() {
    let (few, all) = (MAX_SHOWN, MAX_SHOWN + 5);
    let garbage = many(|it| format!("c L{it} - - r:x@{it}"));
    assert_eq!(shown(&[site("A", &garbage)]), (few, all));
    let commits = site("A", &many(|it| format!("c G{it} 1 {it} w:x")));
    let aborts = site("B", &many(|it| format!("a G{it} late")));
    assert_eq!(shown(&[commits.clone(), aborts]), (few, all));
    let doubts = site("B", &many(|it| format!("u G{it} w:x")));
    assert_eq!(shown(&[commits.clone(), doubts]), (few, all));
    let others = site("B", &many(|it| format!("c G{it} 2 {it} w:x")));
    assert_eq!(shown(&[commits, others]), (few, all));
}

#[test]
fn different_sorts_are_shown_beside_each_other() {
    let mut lines = many(|it| format!("c L{it} - - r:x@{}", it + 100));
    lines.push("c G1 1 1 w:y".to_owned());
    let torn = site("B", &["a G1 late".to_owned()]);
    let total = MAX_SHOWN + 6;
    assert_eq!(shown(&[site("A", &lines), torn]), (MAX_SHOWN + 1, total));
}

#[test]
fn a_case_is_drawn_up_to_the_size_that_is_asked_for() {
    let lines = ["c L1 1 1 w:x", "c L2 2 2 w:x", "c L3 3 - r:x@2"].map(str::to_owned);
    let sites = [site("A", &lines)];
    let case = Case::new(&sites);
    assert_eq!(case.conflicts(2), None);
    let steps = case.conflicts(3).unwrap();
    let pairs: Vec<String> = steps
        .iter()
        .map(|it| format!("{} {}", it.from, it.to))
        .collect();
    assert_eq!(pairs, ["L1@A L2@A", "L2@A L3@A"]);
}

/// The sentence about each pair of transactions in conflict.
fn sentences(lines: &[&str]) -> Vec<String> {
    let lines: Vec<String> = lines.iter().copied().map(str::to_owned).collect();
    let sites = [site("A", &lines)];
    let steps = Case::new(&sites).conflicts(lines.len()).unwrap();
    steps.iter().map(ToString::to_string).collect()
}

/// It has read the key twice; only the second time the sum held the increments.
#[test]
fn a_conflict_is_explained_by_the_read_that_saw_it() {
    let said = sentences(&[
        "c L1 1 1 w:n",
        "c L2 2 2 i:n",
        "c L3 3 3 i:n",
        "c L4 4 - r:n@1 r:n@3",
    ]);
    for (from, seq) in [("L2@A", 2), ("L3@A", 3)] {
        let sentence = format!(
            "At site A, {from} incremented \"n\" (seq {seq}), and L4@A saw a sum that includes it \
             (version 3): so {from} precedes L4@A."
        );
        assert!(said.contains(&sentence), "{said:#?}");
    }
}

#[test]
fn a_scan_that_finds_nothing_has_seen_the_deletion() {
    let said = sentences(&["c L1 1 1 w:k", "c L2 2 2 x:k", "c L3 3 - s:a..z@2[]"]);
    let sentence = "At site A, L2@A deleted \"k\" (seq 2), and L3@A scanned \"a\" to \"z\" at position 2 \
                    and did not find it: so L2@A precedes L3@A.";
    assert!(said.iter().any(|it| it == sentence), "{said:#?}");
}

/// A case is called serializable all the same only if there is nothing else against it.
#[test]
fn decisions_out_of_order_do_not_make_an_impossible_read_serializable() {
    let fine = ["c L1 2 - r:x@0", "c L2 1 1 w:x"].map(str::to_owned);
    let dirty = [
        fine[0].clone(),
        fine[1].clone(),
        "c L3 3 - r:y@7".to_owned(),
    ];
    for (lines, expected) in [(&fine[..], true), (&dirty[..], false)] {
        let sites = [site("A", lines)];
        let verdict = judge(&sites, Level::CommitmentOrdering).verdict;
        let Verdict::Invalid { anomalies, .. } = verdict else {
            panic!("{verdict:?}")
        };
        let said = anomalies.iter().find_map(|it| {
            if let Anomaly::OutOfOrder { serializable, .. } = it {
                Some(*serializable)
            } else {
                None
            }
        });
        assert_eq!(said, Some(expected), "{anomalies:?}");
    }
}

/// What a lost record could not mend is an anomaly, although the file was cut short.
#[test]
fn a_file_that_was_cut_short_excuses_only_what_it_may_have_held() {
    let judged = |scan: &str| {
        let text = format!("co-history 1 A\nc L1 1 1 w:k\nc L2 2 2 x:k\nc L3 3 - {scan}\n");
        let sites = [read_history(text.as_bytes(), "f").unwrap()];
        judge(&sites, Level::Serializability).verdict
    };
    for scan in ["s:x..z@2[k@1]", "s:a..z@1[k@1,k@1]", "s:a..z@2[k@1]"] {
        let verdict = judged(scan);
        assert!(
            matches!(verdict, Verdict::Invalid { .. }),
            "{scan}: {verdict:?}"
        );
    }
    for scan in ["r:k@7", "s:a..z@1[]", "s:a..z@2[]"] {
        let verdict = judged(scan);
        assert!(
            matches!(verdict, Verdict::Unknown { .. }),
            "{scan}: {verdict:?}"
        );
    }
}

#[test]
fn a_local_transaction_is_named_with_its_site_and_a_global_one_without() {
    let site = Token::from("A");
    let local = TxnRef::new(TxnId::Local(1), &site);
    assert_eq!((local.id(), local.site()), (TxnId::Local(1), Some(&site)));
    assert_eq!(TxnRef::new(TxnId::Global(1), &site).site(), None);
}
