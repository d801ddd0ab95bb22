//! Known bugs, planted around the real code, are found, each within so many seeds.

use simulator::faults::Bug;
use turmoil_tests::{Planted, run};

/// The bug, what finds it, and within how many seeds.
const BUGS: [(Planted, &[&str], u64); 9] = [
    (Planted::RetryNotIdempotent, &["outcomes"], 40),
    (Planted::UnknownIsAborted, &["outcomes"], 10),
    (Planted::AcknowledgementDropped, &["liveness"], 10),
    (
        Planted::Inside(Bug::YesBeforeForce),
        &["money", "outcomes", "lost"],
        20,
    ),
    (
        Planted::Inside(Bug::AckBeforeForce),
        &["money", "outcomes", "lost"],
        20,
    ),
    (
        Planted::Inside(Bug::AppliedTwice),
        &["recovery", "values", "money"],
        20,
    ),
    (
        Planted::Inside(Bug::LastRecordCut),
        &["recovery", "lost", "money", "outcomes"],
        10,
    ),
    (
        Planted::Inside(Bug::SyncFailureIgnored),
        &["recovery", "lost", "money", "outcomes"],
        20,
    ),
    (
        Planted::Inside(Bug::FolderNotSynced),
        &["recovery", "lost", "money", "outcomes"],
        10,
    ),
];

#[test]
fn every_planted_bug_is_found_and_its_seed_holds_without_it() {
    for (bug, checks, limit) in BUGS {
        let found = (0..limit).find_map(|seed| {
            let problem = run(seed, Some(bug), false).problem?;
            Some((seed, problem))
        });
        let name = bug.name();
        let (seed, problem) = found.unwrap_or_else(|| panic!("{name} is not found"));
        assert!(checks.contains(&problem.check()), "{name}: {problem}");
        let without = run(seed, None, false).problem;
        assert!(without.is_none(), "seed {seed}: {without:?}");
    }
    assert_eq!(BUGS.map(|(bug, ..)| bug), Planted::ALL);
}
