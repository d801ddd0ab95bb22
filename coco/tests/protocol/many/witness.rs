//! Transcripts of shortest paths to what should happen sometimes, and of what follows when the world is left
//! alone. They read like those in `tests/scripts`, and show two coordinators, of which a script has one.
//!
//! After a wanted change run with `COCO_REGENERATE=1` and read the difference.

use std::path::Path;

use super::rules::Met;
use super::search::{Search, explore};
use super::steps::Budget;
use super::{Kind, Plan};

#[track_caller]
fn is_witnessed(file: &str, about: &str, plan: Plan, met: Met) {
    let search = Search {
        until: Some(met),
        ..Search::default()
    };
    let found = explore(plan, search).expect_err("it happens");
    assert!(found.rule.starts_with("met"), "{found:#?}");
    let actual = format!("# {about}\n{}", found.transcript);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witnesses");
    let path = folder.join(file);
    if std::env::var_os("COCO_REGENERATE").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, (is, was)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, was, "{file} line {}", line + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{file}");
}

#[test]
fn a_deadlock_over_two_coordinators() {
    let plan = Plan::of(2)
        .owned_by(&[0, 1])
        .order(0, &[0, 1], Kind::Order)
        .order(1, &[1, 0], Kind::Order);
    let about =
        "A withholds T2 behind T1, B withholds T1 behind T2; each is another coordinator's.";
    is_witnessed(
        "deadlock-over-two-coordinators.txt",
        about,
        plan,
        Met::SEARCH,
    );
}

#[test]
fn a_vote_said_again_when_another_coordinator_has_decided() {
    let plan = Plan::of(2)
        .owned_by(&[0, 1])
        .order(0, &[0, 1], Kind::Data)
        .dependent();
    let about =
        "T2 of C1 has read at A what T1 of C0 wrote: A says its vote again when T1 is committed.";
    is_witnessed("vote-said-again.txt", about, plan, Met::SETTLED);
}

#[test]
fn a_commit_held_back() {
    let budget = Budget {
        losses: 1,
        ..Budget::NONE
    };
    let plan = Plan::of(2).order(0, &[0, 1], Kind::Order).dependent();
    let about =
        "The decision on T1 is lost on its way to A, and that on T2 is not: A holds T2 back.";
    is_witnessed("held-commit.txt", about, plan.budget(budget), Met::HELD);
}
