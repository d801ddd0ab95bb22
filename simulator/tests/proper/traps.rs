//! What breaks a rule of commitment ordering is found not proper: the smallest witness of the bound is in `witnesses/`.

use std::fs;
use std::path::Path;

use co_core::VoteRule;
use participant::engine::EngineKind::{Mvcc, Optimistic, Sco, Shared, Ss2pl};

use crate::admits::ordered;
use crate::bounds::{BETWEEN, INDIRECT, LATE, contended, read, theory};
use crate::explore::{Search, explore};
use crate::orders::Order;
use crate::print::witness;
use crate::textbook::Rule;
use crate::variant::{At, Trap, Variant};
use crate::workload::Workload;

/// The smallest witness against a variant: fewest events, then the first workload.
fn smallest(variant: Variant, workloads: &[Workload]) -> Option<String> {
    let mut found: Option<(usize, String)> = None;
    for workload in workloads {
        for variant in variant.arrangements() {
            let explored = explore(variant, workload, Search::Sleeping);
            let Err(failure) = explored.admitted.decide() else {
                continue;
            };
            let size = explored.admitted.history(failure.at()).size;
            if found.as_ref().is_none_or(|(least, _)| size < *least) {
                found = Some((size, witness(variant, workload, &explored, &failure)));
            }
        }
    }
    found.map(|(_, text)| text)
}

/// Compares the smallest witness with the one on file, and prints it.
#[track_caller]
fn assert_witness(file: &str, variant: Variant, workloads: &[Workload]) -> String {
    let found = smallest(variant, workloads).expect("it is not proper");
    println!("{found}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/proper/witnesses")
        .join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, known, "UPDATE_GOLDEN=1 writes {file} again");
    found
}

const fn under(kind: participant::engine::EngineKind, rule: VoteRule) -> At {
    At::Engine(kind, rule)
}

#[test]
fn two_phase_commit_over_locking_sites_that_are_each_serializable_is_not_proper() {
    let variant = Variant::uniform(
        "2PC over SCO without the order of votes",
        under(Sco, VoteRule::LocalOnly),
    );
    assert_witness("local-only-sco.txt", variant, &contended(false));
}

#[test]
fn two_phase_commit_over_versioned_sites_that_are_each_serializable_is_not_proper() {
    let variant = Variant::uniform(
        "2PC over versions without the order of votes",
        under(Mvcc, VoteRule::LocalOnly),
    );
    assert_witness("local-only-mvcc.txt", variant, &contended(false));
}

#[test]
fn two_phase_commit_over_validating_sites_that_are_each_serializable_is_not_proper() {
    let variant = Variant::uniform(
        "2PC over optimistic validation without the order of votes",
        under(Optimistic, VoteRule::LocalOnly),
    );
    assert_witness("local-only-optimistic.txt", variant, &contended(false));
}

#[test]
fn two_phase_commit_over_serializable_snapshots_is_not_proper() {
    let site = under(Mvcc, VoteRule::LocalSnapshot);
    let variant = Variant::uniform("2PC over serializable snapshot isolation", site);
    let found = assert_witness("local-snapshot.txt", variant, &contended(false));
    assert!(
        theory().contains(&found),
        "docs/theory.md shows another witness"
    );
}

#[test]
fn one_site_without_the_order_beside_one_of_rigorous_locks_is_not_proper() {
    let sites = [ordered(Ss2pl), under(Mvcc, VoteRule::LocalSnapshot)];
    let variant = Variant::mixed("2PC over SS2PL and serializable snapshot isolation", sites);
    assert_witness("one-site-local.txt", variant, &contended(false));
}

#[test]
fn votes_that_ignore_reads_are_not_proper() {
    let site = under(Mvcc, VoteRule::DangerIgnoreReads);
    let variant = Variant::uniform("CO over versions, reads ignored", site);
    assert_witness("ignore-reads.txt", variant, &contended(false));
}

#[test]
fn dirty_reads_without_the_order_of_votes_are_not_proper() {
    let site = under(Shared, VoteRule::LocalOnly);
    let variant = Variant::uniform("ordered sharing without the order of votes", site);
    assert_witness("dirty-reads.txt", variant, &contended(true));
}

#[test]
fn the_read_only_optimisation_is_not_proper() {
    let variant = Variant::uniform("SCO, readers forgotten at their vote", ordered(Sco));
    assert_witness(
        "read-only.txt",
        variant.with(Trap::ForgetReaders),
        &contended(false),
    );
}

#[test]
fn the_read_only_optimisation_is_not_proper_at_a_locking_site_beside_another() {
    let sites = [ordered(Ss2pl), ordered(Mvcc)];
    let variant = Variant::mixed("SS2PL and versions, readers forgotten at their vote", sites);
    assert_witness(
        "read-only-mixed.txt",
        variant.with(Trap::ForgetReaders),
        &contended(false),
    );
}

#[test]
fn the_read_only_optimisation_with_early_votes_is_not_proper_although_all_sites_lock() {
    let variant = Variant::uniform(
        "SS2PL, asked early, readers forgotten at their vote",
        ordered(Ss2pl),
    );
    assert_witness(
        "read-only-early.txt",
        variant.with(Trap::ForgetReadersEarly),
        &contended(false),
    );
}

#[test]
fn an_abort_by_hand_is_not_proper() {
    let variant = Variant::uniform("SS2PL, one abort by hand", ordered(Ss2pl));
    assert_witness(
        "by-hand.txt",
        variant.with(Trap::AbortByHand),
        &contended(false),
    );
}

#[test]
fn global_transactions_that_are_taken_for_local_ones_are_not_proper() {
    let site = At::Kept(Order::Eco { all_local: true });
    let variant = Variant::uniform("ECO, global transactions taken for local", site);
    assert_witness("taken-for-local.txt", variant, &contended(false));
}

const fn textbook(rule: Rule) -> At {
    At::Kept(Order::Textbook(rule))
}

#[test]
fn an_order_of_votes_on_direct_conflicts_of_globals_is_not_proper() {
    let variant = Variant::uniform("direct conflicts only", textbook(Rule::DirectOnly));
    assert_witness("indirect.txt", variant, &[read(INDIRECT)]);
}

#[test]
fn an_order_of_votes_on_the_paths_at_the_vote_is_not_proper() {
    let variant = Variant::uniform("paths at the vote only", textbook(Rule::PathsAtVote));
    assert_witness("late-path.txt", variant, &[read(LATE)]);
    assert_eq!(smallest(variant, &[read(INDIRECT)]), None);
}

#[test]
fn a_local_commit_before_an_eager_vote_is_not_proper() {
    let variant = Variant::uniform(
        "eager votes, local commits at once",
        textbook(Rule::Eager { naive: true }),
    );
    assert_witness("eager.txt", variant, &[read(BETWEEN)]);
}

#[test]
fn the_rules_that_the_last_ones_break_are_proper_in_the_same_place() {
    for text in [INDIRECT, LATE, BETWEEN] {
        let variant = Variant::uniform("withheld votes", textbook(Rule::Withhold));
        assert_eq!(smallest(variant, &[read(text)]), None);
    }
    let variant = Variant::uniform("eager votes", textbook(Rule::Eager { naive: false }));
    assert_eq!(smallest(variant, &[read(BETWEEN)]), None);
}
