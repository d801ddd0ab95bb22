//! What the schedulers of this project admit is proper.

use checker::spec::Proper;
use co_core::{Certification, Reads, VoteRule};
use participant::engine::EngineKind::{self, Mvcc, Optimistic, Sco, Shared, Ss2pl};

use crate::bounds::{BETWEEN, INDIRECT, LATE, contended, is_default, read, theory, workloads};
use crate::explore::{Search, Tally, explore};
use crate::orders::Order;
use crate::print::witness;
use crate::proper::Counts;
use crate::specification;
use crate::variant::{At, Trap, Variant};
use crate::workload::Workload;

pub(crate) const fn ordered(kind: EngineKind) -> At {
    At::Engine(kind, VoteRule::Withhold)
}

pub(crate) const ECO: At = At::Kept(Order::Eco { all_local: false });

const fn gco(reads: Reads, certification: Certification) -> At {
    At::Kept(Order::Gco(reads, certification))
}

/// Every history that the variant admits, over all workloads of the bound: both conditions hold, and there is something
/// to see. Of the bound that is run by default `docs/theory.md` has the counts.
#[track_caller]
fn assert_proper(variant: Variant) {
    let (counts, tally) = assert_proper_on(variant, &workloads());
    if is_default() {
        let cells = [tally.schedules, counts.histories, counts.pairs].map(grouped);
        let row = format!("| {} |\n", cells.join(" | "));
        assert!(
            theory().contains(&row),
            "docs/theory.md has another row than {row}"
        );
    }
}

/// A number as the documentation writes it: `12 345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[track_caller]
fn assert_proper_on(variant: Variant, workloads: &[Workload]) -> (Counts, Tally) {
    let (mut counts, mut tally) = (Counts::default(), Tally::default());
    for workload in workloads {
        for variant in variant.arrangements() {
            let explored = explore(variant, workload, Search::Sleeping);
            match explored.admitted.decide() {
                Ok(more) => counts.add(more),
                Err(failure) => panic!("{}", witness(variant, workload, &explored, &failure)),
            }
            tally.add(explored.tally);
        }
    }
    println!(
        "{:<40} {:>5} workloads {:>8} schedules {:>9} histories {:>10} pairs; all commit in {}, interleaved in {}, \
         somebody waits or falls in {}",
        variant.name,
        workloads.len(),
        tally.schedules,
        counts.histories,
        counts.pairs,
        tally.all_commit,
        tally.interleaved,
        tally.contested
    );
    assert!(
        tally.interleaved > 0 && tally.contested > 0,
        "there is nothing to see: {tally:?}"
    );
    (counts, tally)
}

#[test]
fn ss2pl_is_proper() {
    assert_proper(Variant::uniform("SS2PL", ordered(Ss2pl)));
}

#[test]
fn sco_is_proper() {
    assert_proper(Variant::uniform("SCO", ordered(Sco)));
}

#[test]
fn commitment_ordering_over_optimistic_validation_is_proper() {
    assert_proper(Variant::uniform("CO over optimistic", ordered(Optimistic)));
}

#[test]
fn commitment_ordering_over_versions_is_proper() {
    assert_proper(Variant::uniform("CO over versions", ordered(Mvcc)));
}

#[test]
fn ordered_sharing_is_proper() {
    assert_proper(Variant::uniform("ordered sharing", ordered(Shared)));
}

#[test]
fn ordered_sharing_with_dependent_votes_is_proper() {
    let variant = Variant::uniform("ordered sharing, dependent votes", ordered(Shared));
    assert_proper(variant.with_dependent_votes());
}

#[test]
fn extended_commitment_ordering_is_proper() {
    assert_proper(Variant::uniform("ECO", ECO));
}

#[test]
fn generalised_commitment_ordering_by_intervals_is_proper() {
    let site = gco(Reads::Snapshot, Certification::Interval);
    assert_proper(Variant::uniform("GCO, snapshots, intervals", site));
}

#[test]
fn generalised_commitment_ordering_by_the_order_of_commits_is_proper() {
    let site = gco(Reads::Newest, Certification::CommitOrder);
    assert_proper(Variant::uniform("GCO, newest versions, commit order", site));
}

#[test]
fn locks_with_versions_at_the_other_site_are_proper() {
    assert_proper(Variant::mixed(
        "SS2PL and CO over versions",
        [ordered(Ss2pl), ordered(Mvcc)],
    ));
}

#[test]
fn shared_locks_with_validation_at_the_other_site_are_proper() {
    assert_proper(Variant::mixed(
        "ordered sharing and optimistic",
        [ordered(Shared), ordered(Optimistic)],
    ));
}

#[test]
fn extended_ordering_with_plain_ordering_at_the_other_site_is_proper() {
    assert_proper(Variant::mixed("ECO and SCO", [ECO, ordered(Sco)]));
}

#[test]
fn forgetting_readers_is_proper_where_all_sites_lock_and_are_asked_when_all_work_is_done() {
    let variant = Variant::uniform("SS2PL, readers forgotten", ordered(Ss2pl));
    assert_proper(variant.with(Trap::ForgetReaders));
}

#[test]
fn two_global_transactions_around_a_local_one_are_proper() {
    let intervals = gco(Reads::Snapshot, Certification::Interval);
    for (name, site, texts) in [
        (
            "ECO, around a local one",
            ECO,
            &[INDIRECT, LATE, BETWEEN][..],
        ),
        ("GCO, around a local one", intervals, &[LATE]),
        (
            "CO over versions, around a local one",
            ordered(Mvcc),
            &[INDIRECT],
        ),
    ] {
        let workloads: Vec<Workload> = texts.iter().map(|text| read(text)).collect();
        assert_proper_on(Variant::uniform(name, site), &workloads);
    }
}

#[test]
fn the_search_meets_every_history_that_trying_all_steps_meets() {
    for site in [ordered(Sco), ordered(Mvcc), ECO] {
        let variant = Variant::uniform("each step", site);
        for text in [
            "r(x)@A w(y)@B; r(y)@B w(x)@A",
            "w(x)@A w(y)@B; r(x)@A w(x)@A",
        ] {
            let workload = read(text);
            let all = explore(variant, &workload, Search::EveryStep);
            let some = explore(variant, &workload, Search::Sleeping);
            assert_eq!(some.admitted.spelled(), all.admitted.spelled(), "{text}");
        }
    }
}

#[test]
fn another_decider_of_another_library_finds_the_same() {
    let lock_only = At::Engine(Sco, VoteRule::LocalOnly);
    for site in [ordered(Ss2pl), ordered(Sco), ordered(Mvcc), ECO, lock_only] {
        let variant = Variant::uniform("twice", site);
        let mut improper = 0;
        for workload in contended(false) {
            let explored = explore(variant, &workload, Search::Sleeping);
            let again = specification::decide(&explored.admitted);
            match (explored.admitted.decide(), &again.verdict) {
                (Ok(counts), Proper::Proper) => {
                    let counted = Counts {
                        histories: again.admitted,
                        pairs: again.pairs,
                    };
                    assert_eq!(counts, counted, "{site}: {workload}");
                }
                (Err(failure), Proper::New { history, outcome }) => {
                    improper += 1;
                    let found = explored.admitted.history(failure.at());
                    assert_eq!(history.len(), found.size, "{site}: {workload}");
                    assert!(
                        !crate::judge::is_serializable(outcome),
                        "{site}: {workload}"
                    );
                }
                (ours, theirs) => panic!("{site}: {workload}: {ours:?}, {theirs:?}"),
            }
        }
        assert_eq!(improper > 0, site == lock_only, "{site}");
    }
}
