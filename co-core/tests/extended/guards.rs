//! Each guard of the two rules is seen to matter: with it a reference model never ends with a cycle, without it
//! there are runs that do.

use crate::reference_eco::{self, Guard};
use crate::reference_gco::{self, Rule, Without};
use crate::stage::SHAPES;

/// Runs after which a guard would count as not needed. `docs/extended.md` lists the first bad ones.
const LIMIT: u64 = 300_000;

fn eco(guard: Guard, runs: u64) -> reference_eco::Tally {
    let mut tally = reference_eco::Tally::default();
    for seed in 0..runs {
        tally.add(reference_eco::run(guard, seed));
    }
    eprintln!("ECO {guard:?}: {tally:?}");
    tally
}

fn gco(rule: Rule, without: Without, runs: u64) -> reference_gco::Tally {
    let mut tally = reference_gco::Tally::default();
    for seed in 0..runs {
        for shape in SHAPES {
            for snapshots in [false, true] {
                tally.add(reference_gco::run(shape, rule, without, snapshots, seed));
            }
        }
    }
    eprintln!("{rule:?} without {without:?}: {tally:?}");
    tally
}

#[test]
fn with_every_guard_no_eco_run_ends_with_a_cycle() {
    let tally = eco(Guard::Full, 6_000);
    assert_eq!((tally.bad, tally.after_yes), (0, 0));
    assert!(tally.stuck > 0 && tally.aborts > 0, "{tally:?}");
}

#[test]
fn without_a_guard_some_eco_run_ends_with_a_cycle() {
    for (guard, first) in [
        (Guard::None, 37),
        (Guard::InDoubtOnly, 37),
        (Guard::LearnOrder, 92),
        (Guard::DirectOnly, 37),
        (Guard::NoRefusal, 2722),
        (Guard::NoWait, 79),
        (Guard::NoCertification, 12),
    ] {
        let bad = (0..LIMIT).find(|&seed| reference_eco::run(guard, seed).bad > 0);
        eprintln!("ECO {guard:?}: first bad run {bad:?}");
        assert_eq!(bad, Some(first), "{guard:?}");
    }
}

#[test]
fn with_every_rule_no_gco_run_ends_with_a_cycle_and_fewer_locals_abort() {
    let gco = gco(Rule::Gco, Without::Nothing, 700);
    let mvco = self::gco(Rule::Mvco, Without::Nothing, 700);
    for tally in [gco, mvco] {
        assert_eq!((tally.bad, tally.after_yes), (0, 0));
    }
    // 42 to 50 % fewer in the runs that the claim was made of.
    assert!(gco.local_aborts * 10 < mvco.local_aborts * 7);
    assert!(gco.commits > mvco.commits);
}

#[test]
fn without_a_rule_some_gco_run_ends_with_a_cycle() {
    for (without, first) in [
        (Without::Overtaken, 2),
        (Without::DoubtAfter, 9),
        (Without::DoubtBefore, 12),
        (Without::Interval, 3),
        (Without::DoubtStamp, 41_295),
        (Without::ReaderStamp, 16),
        (Without::Inherited, 52),
    ] {
        let bad = (0..LIMIT).find(|&seed| {
            let snapshots = seed % 2 == 0;
            let shape = SHAPES[(seed % 3) as usize];
            reference_gco::run(shape, Rule::Gco, without, snapshots, seed).bad > 0
        });
        eprintln!("GCO without {without:?}: first bad run {bad:?}");
        assert_eq!(bad, Some(first), "{without:?}");
    }
}
