//! Compares the checker with an oracle that shares none of its code: it tries every order of the
//! transactions and runs each, on small random histories.
//!
//! Histories start from a serial execution (so they are valid by construction) and are then bent:
//! positions and stamps are exchanged, versions and scans altered. A bent history may be valid or
//! not; the oracle tells. The edges and the length of the shortest cycle are compared with a
//! quadratic construction straight from the text of the format.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "a test may stop at the first surprise"
)]

mod clients;
mod edges;
mod plan;
mod replay;

use checker::verify::{VerifyError, verify};
use checker::{Anomaly, Case, Level, SiteHistory, TxnRef, Verdict, judge};
use plan::{Plan, bends, plan};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use replay::{any_order_replays, replays, stamp_order, transactions};

fn is_valid(sites: &[SiteHistory], level: Level) -> bool {
    match judge(sites, level).verdict {
        Verdict::Valid { serial_order } => {
            assert_eq!(
                verify(sites, &serial_order),
                Ok(()),
                "the order passes the re-check"
            );
            assert!(replays(sites, &serial_order), "and runs");
            true
        }
        Verdict::Invalid { .. } => false,
        Verdict::Unknown { reasons, .. } => panic!("nothing is unknown here: {reasons:?}"),
    }
}

/// Checks one history against the oracle; tells whether it is valid.
fn check(sites: &[SiteHistory]) -> bool {
    let valid = any_order_replays(sites);
    assert_eq!(is_valid(sites, Level::Serializability), valid);
    // Stamps are distinct, so the only order that commitment ordering allows is theirs.
    let ordered = replays(sites, &stamp_order(sites));
    assert_eq!(is_valid(sites, Level::CommitmentOrdering), ordered);
    assert!(
        valid || !ordered,
        "commitment ordering implies serializability"
    );
    valid
}

fn text(sites: &[SiteHistory]) -> String {
    sites.iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(3000), ..Config::default() })]

    #[test]
    fn a_serial_execution_is_valid_at_both_levels(plan in plan()) {
        let sites = plan.execute();
        prop_assert!(check(&sites), "{}", text(&sites));
        prop_assert!(is_valid(&sites, Level::CommitmentOrdering), "{}", text(&sites));
    }

    #[test]
    fn a_bent_history_is_judged_as_all_its_orders_say(plan in plan(), bends in bends()) {
        check(&plan.execute_bent(&bends));
    }

    #[test]
    fn the_edges_are_those_of_the_definition(plan in plan(), bends in bends()) {
        let sites = plan.execute_bent(&bends);
        let case = Case::new(&sites);
        let report = case.judge(Level::Serializability);
        if !edges::all_reads_explained(&sites) {
            // The edges of such a read are not defined; the verdict must name the read.
            let Verdict::Invalid { anomalies, .. } = report.verdict else { panic!("unexplained") };
            prop_assert!(anomalies.iter().any(|one| matches!(one, Anomaly::ImpossibleRead(_))));
            return Ok(());
        }
        let steps = case.conflicts(usize::MAX).unwrap();
        let mut found: Vec<_> = steps.iter().map(edges::Edge::of).collect();
        found.sort_unstable();
        let defined = edges::defined(&sites);
        prop_assert_eq!(&found, &defined, "{}", text(&sites));
        let length = report.cycle().map(|cycle| cycle.steps.len());
        prop_assert_eq!(length, edges::shortest_cycle(&defined), "{}", text(&sites));
        if let Some(cycle) = report.cycle() {
            prop_assert!(cycle.shortest);
            for step in &cycle.steps {
                prop_assert!(defined.contains(&edges::Edge::of(step)), "{}", step);
            }
        }
    }

    #[test]
    fn the_re_check_accepts_exactly_the_orders_that_run(plan in plan(), bends in bends(), seed in any::<u64>()) {
        let sites = plan.execute_bent(&bends);
        let order = plan::shuffled(transactions(&sites), seed);
        prop_assert_eq!(verify(&sites, &order).is_ok(), replays(&sites, &order), "{}", text(&sites));
    }
}

/// A comparison proves nothing if all histories are alike: both outcomes must be common, and so
/// must commitment ordering violated by a serializable history.
#[test]
fn the_random_histories_are_of_every_sort() {
    let mut runner = TestRunner::deterministic();
    let (mut valid, mut invalid, mut disordered, mut cycles, mut unexplained) = (0, 0, 0, 0, 0);
    for _ in 0..600 {
        let (plan, bends) = (plan(), bends()).new_tree(&mut runner).unwrap().current();
        let sites = Plan::execute_bent(&plan, &bends);
        match judge(&sites, Level::Serializability).verdict {
            Verdict::Valid { .. } => {
                valid += 1;
                disordered += usize::from(!is_valid(&sites, Level::CommitmentOrdering));
            }
            Verdict::Invalid { anomalies, .. } => {
                invalid += 1;
                let cyclic = anomalies.iter().any(|one| matches!(one, Anomaly::Cycle(_)));
                cycles += usize::from(cyclic);
                unexplained += usize::from(matches!(anomalies[0], Anomaly::ImpossibleRead(_)));
            }
            Verdict::Unknown { .. } => unreachable!("nothing is in doubt"),
        }
    }
    let counts = [valid, invalid, disordered, cycles, unexplained];
    assert!(counts.iter().all(|count| *count >= 60), "{counts:?}");
}

#[test]
fn the_re_check_wants_every_transaction_once() {
    let text = "co-history 1 A\nc L1 1 1 w:x\nc L2 2 - r:x@1\nend 2\n";
    let sites = [checker::parse::read_history(text.as_bytes(), "A").unwrap()];
    let [first, second] = transactions(&sites).try_into().unwrap();
    let run = |order: &[&TxnRef]| {
        verify(
            &sites,
            &order.iter().map(|&txn| txn.clone()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(run(&[&first, &second]), Ok(()));
    assert_eq!(
        run(&[&first]),
        Err(VerifyError::Missing {
            txn: second.clone()
        })
    );
    assert_eq!(
        run(&[&first, &first]),
        Err(VerifyError::Surplus { txn: first.clone() })
    );
    assert!(matches!(
        run(&[&second, &first]),
        Err(VerifyError::WrongRead { .. })
    ));
}
