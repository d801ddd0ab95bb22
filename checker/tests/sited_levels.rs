//! Extended commitment ordering, recoverability and the names of anomalies, each against a slow and obvious oracle on
//! random small histories, and on the examples that tell them apart.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise"
)]

use std::collections::BTreeSet;

use checker::models::{self, Model};
use checker::parse::read_history;
use checker::recovery::{Answer, Gap};
use checker::{
    Anomaly, Case, Ending, HistoryBuilder, Level, Reason, Record, SeenBy, SiteHistory, Step, TxnId,
    TxnRef, Verdict, verify,
};

#[path = "oracle/plan.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod plan;
#[path = "oracle/replay.rs"]
#[allow(dead_code, reason = "shared with the oracle's tests")]
mod replay;

use plan::{bends, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

fn sites(texts: &[&str]) -> Vec<SiteHistory> {
    let read = |text: &&str| read_history(text.as_bytes(), "f").unwrap();
    texts.iter().map(read).collect()
}

fn is_valid(case: &Case<'_>, sites: &[SiteHistory], level: Level) -> bool {
    match case.judge(level).verdict {
        Verdict::Valid { serial_order } => {
            assert_eq!(verify::verify(sites, &serial_order), Ok(()));
            true
        }
        Verdict::Invalid { .. } => false,
        Verdict::Unknown { reasons, .. } => panic!("{reasons:?}"),
    }
}

fn stamp(sites: &[SiteHistory], txn: &TxnRef) -> u64 {
    let mut records = sites.iter().flat_map(|site| {
        let committed = replay::committed(site);
        committed.filter(move |record| TxnRef::new(record.txn, site.site()) == *txn)
    });
    records.next().unwrap().stamp.unwrap().0
}

const fn is_global(txn: &TxnRef) -> bool {
    matches!(txn.id(), TxnId::Global(_))
}

/// The definition: from each global transaction along conflicts, through local ones only, to global ones.
fn extended(sites: &[SiteHistory], steps: &[Step]) -> bool {
    let globals: BTreeSet<&TxnRef> = steps.iter().map(|step| &step.from).collect();
    globals
        .into_iter()
        .filter(|txn| is_global(txn))
        .all(|start| {
            let (mut reached, mut left) = (BTreeSet::new(), vec![start]);
            while let Some(at) = left.pop() {
                for step in steps.iter().filter(|step| step.from == *at) {
                    if is_global(&step.to) {
                        if step.to != *start && stamp(sites, start) >= stamp(sites, &step.to) {
                            return false;
                        }
                    } else if reached.insert(&step.to) {
                        left.push(&step.to);
                    }
                }
            }
            true
        })
}

fn letters(steps: &[Step], sites: &[SiteHistory], kinds: &[&str]) -> bool {
    let mut of_kind = steps
        .iter()
        .filter(|step| kinds.contains(&step.reason.letters()));
    of_kind.all(|step| stamp(sites, &step.from) < stamp(sites, &step.to))
}

const fn is_violated(answer: &Answer) -> bool {
    matches!(answer, Answer::Violated { .. })
}

fn is_phantom(step: &Step) -> bool {
    matches!(&step.reason, Reason::ReadWrite { seen, .. } if matches!(seen.by, SeenBy::Scan { found: false, .. }))
}

/// Every simple cycle's letters, an upper-case `P` for an anti-dependency on a predicate.
fn cycles(steps: &[Step]) -> BTreeSet<Vec<char>> {
    let letter = |step: &Step| match step.reason.letters() {
        "ww" => 'w',
        "wr" => 'r',
        _ if is_phantom(step) => 'P',
        _ => 'a',
    };
    let edges: BTreeSet<(&TxnRef, char, &TxnRef)> = steps
        .iter()
        .map(|step| (&step.from, letter(step), &step.to))
        .collect();
    let mut found = BTreeSet::new();
    let starts: BTreeSet<&TxnRef> = edges.iter().map(|edge| edge.0).collect();
    for start in starts {
        let mut left = vec![(start, vec![start], Vec::new())];
        while let Some((at, path, word)) = left.pop() {
            for (_, letter, to) in edges.iter().filter(|edge| edge.0 == at) {
                let mut word = word.clone();
                word.push(*letter);
                if *to == start {
                    found.insert(word);
                } else if *to > start && !path.contains(to) {
                    let mut path = path.clone();
                    path.push(to);
                    left.push((to, path, word));
                }
            }
        }
    }
    found
}

/// The models that the cycles forbid, from the definitions.
fn ruled_out(steps: &[Step]) -> Vec<Model> {
    let mut out = models::ModelSet::default();
    for word in cycles(steps) {
        let anti = |letter: &char| matches!(letter, 'a' | 'P');
        let count = word.iter().filter(|letter| anti(letter)).count();
        let phantom = word.contains(&'P');
        let pairs = word.iter().zip(word.iter().cycle().skip(1));
        let adjacent = count > 1 && pairs.into_iter().any(|(one, next)| anti(one) && anti(next));
        let name = match (count, adjacent, phantom) {
            (0, _, _) if word.contains(&'r') => models::Anomaly::G1c,
            (0, _, _) => models::Anomaly::G0,
            (1, _, false) => models::Anomaly::GSingleItem,
            (1, _, true) => models::Anomaly::GSingle,
            (_, false, false) => models::Anomaly::GNonadjacentItem,
            (_, false, true) => models::Anomaly::GNonadjacent,
            (_, true, false) => models::Anomaly::G2Item,
            (_, true, true) => models::Anomaly::G2,
        };
        out = out.union(name.rules_out());
    }
    out.iter().collect()
}

fn check(sites: &[SiteHistory]) -> Option<[bool; 3]> {
    let case = Case::new(sites);
    let text: String = sites.iter().map(ToString::to_string).collect();
    let serializable = case.judge(Level::Serializability);
    if let Verdict::Invalid { anomalies, .. } = &serializable.verdict
        && !anomalies.iter().all(|one| matches!(one, Anomaly::Cycle(_)))
    {
        assert!(!is_valid(&case, sites, Level::ExtendedCommitmentOrdering));
        return None;
    }
    let steps = case.conflicts(usize::MAX).unwrap();
    let acyclic = is_valid(&case, sites, Level::Serializability);
    let paths = acyclic && extended(sites, &steps);
    assert_eq!(
        is_valid(&case, sites, Level::ExtendedCommitmentOrdering),
        paths,
        "{text}"
    );
    let ordered = is_valid(&case, sites, Level::CommitmentOrdering);
    assert!(
        paths || !ordered,
        "commitment ordering implies the extended form\n{text}"
    );
    let recovery = case.recovery();
    let expected = [&["wr"][..], &["wr"], &["wr", "ww"], &["wr", "ww", "rw"]];
    let answers = [
        &recovery.recoverable,
        &recovery.cascadeless,
        &recovery.strict,
        &recovery.rigorous,
    ];
    for (kinds, answer) in expected.into_iter().zip(answers) {
        assert_eq!(
            is_violated(answer),
            !letters(&steps, sites, kinds),
            "{kinds:?}\n{text}"
        );
    }
    let recoverable = !is_violated(&recovery.recoverable);
    assert_eq!(recovery.recoverable == Answer::Holds, recoverable, "{text}");
    let named = case.named();
    assert!(!named.gave_up);
    let found: Vec<Model> = named.ruled_out.all().iter().collect();
    assert_eq!(found, ruled_out(&steps), "{:?}\n{text}", named.found);
    for anomaly in &named.found {
        let steps = &anomaly.cycle;
        assert!(
            steps.len() > 1
                && steps
                    .iter()
                    .zip(steps.iter().cycle().skip(1))
                    .all(|(a, b)| a.to == b.from)
        );
        assert!(!anomaly.name.name().ends_with("item") || !steps.iter().any(is_phantom));
    }
    Some([acyclic, paths, recoverable])
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(3000), ..Config::default() })]

    #[test]
    fn levels_and_names_are_those_of_the_definitions(plan in plan(), bends in bends()) {
        prop_assert_eq!(check(&plan.execute()), Some([true; 3]));
        check(&plan.execute_bent(&bends));
    }
}

#[test]
fn the_random_histories_tell_the_levels_apart() {
    let mut runner = TestRunner::deterministic();
    let (mut between, mut extended_only, mut unrecoverable, mut cyclic) = (0, 0, 0, 0);
    for _ in 0..1500 {
        let (plan, bends) = (plan(), bends()).new_tree(&mut runner).unwrap().current();
        let sites = plan.execute_bent(&bends);
        let Some([acyclic, paths, recoverable]) = check(&sites) else {
            continue;
        };
        let ordered = is_valid(&Case::new(&sites), &sites, Level::CommitmentOrdering);
        extended_only += usize::from(paths && !ordered);
        between += usize::from(acyclic && !paths);
        unrecoverable += usize::from(!recoverable);
        cyclic += usize::from(!acyclic);
    }
    let counts = [between, extended_only, unrecoverable, cyclic];
    assert!(counts.iter().all(|count| *count >= 20), "{counts:?}");
}

#[test]
fn a_local_transaction_may_be_decided_in_any_order_until_it_links_two_global_ones() {
    // L1 reads before G1 overwrites, and is decided after it.
    let alone = sites(&["co-history 1 A\nc G1 5 1 w:x\nc L1 6 - r:x@0\nend 2\n"]);
    let case = Case::new(&alone);
    assert!(!is_valid(&case, &alone, Level::CommitmentOrdering));
    assert!(is_valid(&case, &alone, Level::ExtendedCommitmentOrdering));
    // G1 before L1 before G2, and G2 decided first.
    let linked =
        sites(&["co-history 1 A\nc G1 9 1 w:x\nc L1 1 - r:x@1 r:y@0\nc G2 5 2 w:y\nend 3\n"]);
    let report = Case::new(&linked).judge(Level::ExtendedCommitmentOrdering);
    let Verdict::Invalid {
        anomalies,
        total: 1,
    } = report.verdict
    else {
        panic!("{report:?}")
    };
    assert_eq!(
        anomalies[0].to_string(),
        "At site A, G1 wrote \"x\" (seq 1), and L1@A read that version: so G1 precedes L1@A. At site A, L1@A read \
         \"y\" in its initial state, and G2 then installed a newer version (seq 2): so L1@A precedes G2. But G1 was \
         decided at 9 and G2 at 5."
    );
}

#[test]
fn recoverability_is_judged_and_what_needs_times_of_operations_is_not() {
    let ordered = sites(&["co-history 1 A\nc L1 5 1 w:x\nc L2 6 - r:x@1\nend 2\n"]);
    let recovery = Case::new(&ordered).recovery();
    assert_eq!(recovery.recoverable, Answer::Holds);
    for answer in [recovery.cascadeless, recovery.strict, recovery.rigorous] {
        assert_eq!(
            answer,
            Answer::Unknown {
                because: vec![Gap::TimesOfOperations]
            }
        );
    }
    let early = sites(&["co-history 1 A\nc L1 5 1 w:x\nc L2 4 - r:x@1\nend 2\n"]);
    assert!(is_violated(&Case::new(&early).recovery().recoverable));
    let overtaken = sites(&["co-history 1 A\nc L1 5 2 w:x\nc L2 6 1 w:x\nend 2\n"]);
    let recovery = Case::new(&overtaken).recovery();
    assert_eq!(recovery.recoverable, Answer::Holds);
    assert!(is_violated(&recovery.strict) && !is_violated(&recovery.cascadeless));
}

#[test]
fn an_incomplete_history_is_never_said_to_be_recoverable() {
    let mut builder = HistoryBuilder::new("f", "A".into());
    let whole = sites(&["co-history 1 A\nc L1 5 1 w:x\nc L2 6 - r:x@1\nend 2\n"]);
    for record in whole[0].records() {
        let record: &Record = record;
        builder.push(record.clone()).unwrap();
    }
    let cut = [builder.finish(Ending::CutShort)];
    assert!(matches!(
        Case::new(&cut).recovery().recoverable,
        Answer::Unknown { .. }
    ));
}
