//! Random schedules of several sites: a few in every run of the tests, ten millions on demand.

use std::sync::atomic::{AtomicU64, Ordering};

use co_core::{Certification, Reads};

use crate::reference_gco;
use crate::stage::SHAPES;
use crate::world::{Rule, Setting, Tally, play};

const INTERVAL_SNAPSHOT: &[Rule] = &[Rule::Gco(Reads::Snapshot, Certification::Interval)];
const INTERVAL_NEWEST: &[Rule] = &[Rule::Gco(Reads::Newest, Certification::Interval)];
const ORDER_SNAPSHOT: &[Rule] = &[Rule::Gco(Reads::Snapshot, Certification::CommitOrder)];
const ORDER_NEWEST: &[Rule] = &[Rule::Gco(Reads::Newest, Certification::CommitOrder)];
const ECO: &[Rule] = &[Rule::Eco];
const MIXED: &[Rule] = &[
    Rule::Eco,
    Rule::Gco(Reads::Snapshot, Certification::Interval),
    Rule::Gco(Reads::Newest, Certification::Interval),
];

/// The setting of one seed: every shape, with and without early requests, windows, nervous coordinators and
/// forgetful sites.
fn setting(rules: &'static [Rule], seed: u64) -> Setting {
    let bit = |shift: u32| (seed / 3) & (1 << shift) != 0;
    Setting {
        shape: SHAPES[(seed % 3) as usize],
        rules,
        early: bit(0),
        windows: bit(1),
        nervous: bit(2),
        forgetful: bit(3),
    }
}

fn campaign(rules: &'static [Rule], runs: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..runs {
        match play(setting(rules, seed), seed) {
            Ok(one) => tally.add(one),
            Err(what) => panic!("{:?}, seed {seed}: {what}", setting(rules, seed)),
        }
    }
    eprintln!("{rules:?}: {tally:?}");
    assert!(tally.commits > 2 * runs && tally.stuck > 0, "{tally:?}");
    tally
}

#[test]
fn random_schedules_of_eco_sites_keep_every_invariant() {
    let tally = campaign(ECO, 6_000);
    assert!(tally.out_of_order > 0, "locals never ran ahead: {tally:?}");
}

#[test]
fn random_schedules_of_gco_sites_keep_every_invariant() {
    for rules in [INTERVAL_SNAPSHOT, INTERVAL_NEWEST] {
        let tally = campaign(rules, 6_000);
        assert!(tally.out_of_order > 0, "locals never ran ahead: {tally:?}");
    }
}

#[test]
fn commit_order_lets_no_local_run_ahead_and_aborts_more_of_them() {
    for (order, interval) in [
        (ORDER_SNAPSHOT, INTERVAL_SNAPSHOT),
        (ORDER_NEWEST, INTERVAL_NEWEST),
    ] {
        let order = campaign(order, 3_000);
        let interval = campaign(interval, 3_000);
        assert_eq!(order.out_of_order, 0);
        assert!(interval.local_aborts * 10 < order.local_aborts * 8);
    }
}

#[test]
fn sites_of_both_types_work_together() {
    campaign(MIXED, 6_000);
}

#[test]
#[ignore = "long search; CO_SCHEDULES=10000000"]
fn long_search_of_gco_with_snapshots() {
    search_sites("gco snapshot", INTERVAL_SNAPSHOT);
}

#[test]
#[ignore = "long search; CO_SCHEDULES=10000000"]
fn long_search_of_gco_with_newest_reads() {
    search_sites("gco newest", INTERVAL_NEWEST);
}

#[test]
#[ignore = "long search; CO_SCHEDULES=10000000"]
fn long_search_of_eco() {
    search_sites("eco", ECO);
}

#[test]
#[ignore = "long search; CO_SCHEDULES=10000000"]
fn long_search_of_both_types() {
    search_sites("mixed", MIXED);
}

#[test]
#[ignore = "long search; CO_SCHEDULES=10000000"]
fn long_search_of_the_reference() {
    for (name, snapshots) in [("reference snapshot", true), ("reference newest", false)] {
        search(name, |seed| {
            let shape = SHAPES[(seed % 3) as usize];
            let rule = reference_gco::Rule::Gco;
            let nothing = reference_gco::Without::Nothing;
            let one = reference_gco::run(shape, rule, nothing, snapshots, seed);
            assert_eq!((one.bad, one.after_yes), (0, 0), "{name}, seed {seed}");
            Tally {
                runs: 1,
                stuck: one.stuck,
                commits: one.commits,
                global_aborts: one.global_aborts,
                local_aborts: one.local_aborts,
                out_of_order: 0,
            }
        });
    }
}

fn search_sites(name: &str, rules: &'static [Rule]) {
    search(name, |seed| {
        let one = play(setting(rules, seed), seed);
        one.unwrap_or_else(|what| panic!("{:?}, seed {seed}: {what}", setting(rules, seed)))
    });
}

/// Seeds from a part of their range that the short tests do not use, on two threads.
fn search(name: &str, one: impl Fn(u64) -> Tally + Sync) {
    let runs: u64 = std::env::var("CO_SCHEDULES").map_or(200_000, |text| text.parse().unwrap());
    const CHUNK: u64 = 10_000;
    const FIRST: u64 = 1 << 40;
    #[allow(
        clippy::disallowed_types,
        reason = "the progress of a long search is told in wall time"
    )]
    let started = std::time::Instant::now();
    let next = AtomicU64::new(0);
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let start = next.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= runs {
                return tally;
            }
            for seed in start..(start + CHUNK).min(runs) {
                tally.add(one(FIRST + seed));
            }
            if (start / CHUNK).is_multiple_of(50) {
                eprintln!("{name}: {start} of {runs}, {:.0?}", started.elapsed());
            }
        }
    };
    let tally = std::thread::scope(|scope| {
        let other = scope.spawn(worker);
        let mut tally = worker();
        tally.add(other.join().unwrap());
        tally
    });
    eprintln!("{name}: {tally:?} in {:.0?}", started.elapsed());
    assert_eq!(tally.runs, runs);
}
