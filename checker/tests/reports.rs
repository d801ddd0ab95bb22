//! What a report shows, and how much of it.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use checker::parse::read_history;
use checker::{Case, Level, MAX_SHOWN, SiteHistory, Token, TxnId, TxnRef, Verdict, judge};

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

#[test]
fn a_local_transaction_is_named_with_its_site_and_a_global_one_without() {
    let site = Token::from("A");
    let local = TxnRef::new(TxnId::Local(1), &site);
    assert_eq!((local.id(), local.site()), (TxnId::Local(1), Some(&site)));
    assert_eq!(TxnRef::new(TxnId::Global(1), &site).site(), None);
}
