//! Random schedules by the thousand, judged by the checker. A failure prints its seed;
//! `cargo run --release -p simulator --bin schedules -- --seeds SEED --count 1` runs it again.

use co_core::VoteRule;
use coco::protocol::DeadlockPolicy;
use simulator::program::{Shape, Workload};
use simulator::schedule::{Run, Setup, run};

/// Runs the seeds and adds up what came of them.
#[track_caller]
fn all(setup: &Setup, seeds: std::ops::Range<u64>) -> (u64, u64) {
    let mut commits = 0;
    let mut disordered = 0;
    for seed in seeds {
        let Run {
            problem,
            serializable,
            commits: committed,
            ..
        } = run(seed, setup);
        if let Some(problem) = problem {
            panic!("seed {seed} under {:?}: {problem}", setup.options.rule);
        }
        commits += committed;
        disordered += u64::from(!serializable);
    }
    (commits, disordered)
}

#[test]
fn with_vote_ordering_every_schedule_is_serializable_and_commitment_ordered() {
    let (commits, disordered) = all(&Setup::new(VoteRule::Withhold), 0..10_000);
    assert_eq!(disordered, 0);
    assert!(
        commits > 20_000,
        "too little was committed to mean anything: {commits}"
    );
}

#[test]
fn with_logs_whose_syncs_take_their_time_too() {
    let mut setup = Setup::new(VoteRule::Withhold);
    setup.options.durable = true;
    let (_, disordered) = all(&setup, 0..5_000);
    assert_eq!(disordered, 0);
}

#[test]
fn with_timeouts_alone_everything_still_ends() {
    let mut setup = Setup::new(VoteRule::Withhold);
    setup.options.coordinator.deadlocks = DeadlockPolicy::Timeouts;
    let (_, disordered) = all(&setup, 0..500);
    assert_eq!(disordered, 0);
}

#[test]
fn with_more_transactions_on_more_keys() {
    let mut setup = Setup::new(VoteRule::Withhold);
    setup.shape = Shape {
        globals: 10,
        locals: 5,
        keys: 4,
    };
    let (_, disordered) = all(&setup, 0..1_000);
    assert_eq!(disordered, 0);
}

#[test]
fn without_it_every_site_is_serializable_and_all_together_are_not() {
    // `all` demands that each site alone is serializable in every schedule.
    let (_, disordered) = all(&Setup::new(VoteRule::LocalOnly), 0..5_000);
    assert!(
        disordered > 100,
        "plain two-phase commit went wrong {disordered} times only"
    );
}

#[test]
fn the_checker_sees_it_when_reads_are_ignored() {
    let (_, disordered) = all(&Setup::new(VoteRule::DangerIgnoreReads), 0..1_000);
    assert!(disordered > 100, "{disordered}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let setup = Setup::new(VoteRule::Withhold);
    for seed in 0..200 {
        let once = run(seed, &setup);
        let again = run(seed, &setup);
        assert_eq!(
            (once.steps, once.commits, once.aborts),
            (again.steps, again.commits, again.aborts)
        );
    }
}

/// Without local transactions: a local commit that was on its way to the log when the site died comes back
/// under another version number than it might have been seen with, and a history cannot say so yet.
#[test]
fn with_sites_that_crash_and_come_back_from_their_logs() {
    let mut setup = Setup::new(VoteRule::Withhold);
    setup.options.durable = true;
    setup.crash_one_in = 50;
    setup.shape = Shape {
        globals: 5,
        locals: 0,
        keys: 2,
    };
    let (commits, disordered) = all(&setup, 0..3_000);
    assert_eq!(disordered, 0);
    assert!(commits > 2_000, "{commits}");
}

#[test]
fn lists_registers_money_skew_forks_and_pairs_with_dependent_votes() {
    let mut setup = Setup::new(VoteRule::Withhold);
    setup.workload = Workload::Shapes;
    setup.options.dependent_votes = true;
    let (commits, disordered) = all(&setup, 0..5_000);
    assert_eq!(disordered, 0);
    assert!(commits > 15_000, "{commits}");
}

#[test]
fn the_shapes_are_those_that_go_wrong_without_ordering() {
    let mut setup = Setup::new(VoteRule::LocalOnly);
    setup.workload = Workload::Shapes;
    let (_, disordered) = all(&setup, 0..5_000);
    assert!(disordered > 100, "{disordered}");
}
