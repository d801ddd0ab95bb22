//! Whole systems under faults: seeds that hold, runs that repeat, and known bugs that are found.
//!
//! A failing seed is run again, and made small, by
//! `cargo run --release -p simulator --bin simulate -- --seeds SEED`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail, and says what it found"
)]

use std::process::Command;

use simulator::faults::{Bug, Counts, FaultKinds, Plan, Wish, run, shrink};

const ALL: Wish = Wish {
    faults: FaultKinds::ALL,
    sites: None,
    txns: None,
    bug: None,
};

/// Runs the seeds, which all have to hold.
#[track_caller]
fn hold(wish: &Wish, seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::default();
    for seed in seeds {
        let outcome = run(Plan::draw(seed, wish), false);
        if let Some(problem) = outcome.problem {
            panic!("seed {seed}: {problem}\n{}", Plan::draw(seed, wish));
        }
        counts.add(&outcome.counts);
    }
    counts
}

#[test]
fn without_faults_every_seed_holds_and_nearly_everything_is_answered() {
    let wish = Wish {
        faults: FaultKinds::default(),
        ..ALL
    };
    let counts = hold(&wish, 0..300);
    assert!(counts.commits > 2_000, "{counts:?}");
    assert!(counts.unknown < counts.commits / 100, "{counts:?}");
    assert_eq!(counts.crashes + counts.failed_logs + counts.flips, 0);
}

#[test]
fn under_all_faults_every_seed_holds() {
    let counts = hold(&ALL, 0..1_500);
    assert!(counts.commits > 5_000, "{counts:?}");
    assert!(counts.faults > 5_000, "{counts:?}");
    let kinds = [
        counts.crashes,
        counts.failed_logs,
        counts.starts_failed,
        counts.flips_detected,
        counts.repeated,
        counts.unknown,
        counts.dependent_votes,
        counts.site_checkpoints,
        counts.coordinator_checkpoints,
        counts.batches_lost,
    ];
    assert!(kinds.iter().all(|kind| *kind > 20), "{counts:?}");
    assert!(counts.flips_detected <= counts.flips);
    // Some are committed whose clients were told "unknown", or nothing.
    assert!(counts.judged > counts.commits * 9 / 10, "{counts:?}");
}

#[test]
fn many_clients_at_few_sites_hold() {
    let wish = Wish {
        sites: Some(2),
        txns: Some(60),
        ..ALL
    };
    hold(&wish, 0..60);
}

#[test]
fn the_same_seed_gives_the_same_trace_in_one_process() {
    for seed in 0..100 {
        let once = run(Plan::draw(seed, &ALL), seed < 10);
        let again = run(Plan::draw(seed, &ALL), seed < 10);
        assert_eq!(once.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!((once.events, once.time), (again.events, again.time));
    }
    let [one, other] = [1, 2].map(|seed| run(Plan::draw(seed, &ALL), false).trace_hash);
    assert_ne!(one, other, "different seeds give different traces");
}

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes() {
    let trace = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
        command.args(["--seeds", "0..20", "--trace", "--json"]);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        // The last line tells how long it took.
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[..lines.len() - 1].to_vec()
    };
    let once = trace();
    assert!(once.len() > 1_000, "{} lines", once.len());
    assert_eq!(once, trace());
    let hash = run(Plan::draw(19, &ALL), false).trace_hash;
    let last = once.last().unwrap();
    assert_eq!(*last, format!("seed 19: trace hash {hash:016x}"));
}

#[test]
fn a_failing_plan_is_made_small_and_fails_the_same_check() {
    let wish = Wish {
        bug: Some(Bug::YesBeforeForce),
        ..ALL
    };
    let failing = |seed: &u64| run(Plan::draw(*seed, &wish), false).problem.is_some();
    let seed = (0..500).find(failing).unwrap();
    let before = run(Plan::draw(seed, &wish), false);
    let small = shrink(Plan::draw(seed, &wish), 1_000);
    let (before_check, after) = (before.problem.unwrap().check(), small.outcome);
    assert_eq!(after.problem.unwrap().check(), before_check);
    assert!(!small.left_out.is_empty());
    assert!(after.events < before.events, "{:?}", small.left_out);
    assert_eq!(after.events, after.trace.len() as u64);
}

#[test]
fn a_failing_seed_ends_the_command_with_status_one_and_says_how_to_repeat_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    command.args(["--seeds", "0..100", "--bug", "stamp-of-own-vote"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("The plan of seed"), "{text}");
    assert!(text.contains("Made small in"), "{text}");
    assert!(text.contains("again: simulate --seeds"), "{text}");
}

/// The bug is found within so many seeds, by one of these checks, and without it the same seeds hold.
#[track_caller]
fn found(bug: Bug, within: u64, checks: &[&str]) {
    let wish = Wish {
        bug: Some(bug),
        ..ALL
    };
    let mut tried = 0..within;
    let found = tried.find_map(|seed| {
        let problem = run(Plan::draw(seed, &wish), false).problem?;
        Some((seed, problem))
    });
    let Some((seed, problem)) = found else {
        panic!("{bug} is not found in {within} seeds");
    };
    println!("{bug}: seed {seed}, {problem}");
    assert!(checks.contains(&problem.check()), "seed {seed}: {problem}");
    hold(&ALL, seed..seed + 1);
}

#[test]
fn read_marks_that_are_not_logged_are_missed() {
    found(Bug::ReadMarksForgotten, 10_000, &["order"]);
}

#[test]
fn a_yes_before_its_record_is_durable_is_found() {
    found(
        Bug::YesBeforeForce,
        1_000,
        &["outcomes", "lost", "assertion", "recovery"],
    );
}

#[test]
fn an_acknowledgement_before_the_record_is_durable_is_found() {
    found(
        Bug::AckBeforeForce,
        1_000,
        &["outcomes", "lost", "assertion", "recovery"],
    );
}

#[test]
fn a_commit_that_is_said_before_it_is_durable_is_found() {
    found(
        Bug::CommitBeforeForce,
        1_000,
        &["outcomes", "lost", "assertion"],
    );
}

#[test]
fn a_caller_that_hears_of_a_commit_before_it_is_durable_is_found() {
    found(Bug::AnswerBeforeForce, 1_000, &["outcomes"]);
}

#[test]
fn identifiers_handed_out_before_their_epoch_is_durable_are_found() {
    found(
        Bug::EpochBeforeForce,
        500,
        &["outcomes", "lost", "order", "refused", "assertion"],
    );
}

#[test]
fn an_abort_that_is_presumed_too_early_is_found() {
    found(
        Bug::PresumedTooEarly,
        1_000,
        &["outcomes", "lost", "assertion"],
    );
}

#[test]
fn successors_that_write_before_the_decision_are_found() {
    found(
        Bug::WokenBeforeLog,
        1_000,
        &["order", "money", "values", "lost", "recovery", "strictness"],
    );
}

#[test]
fn a_site_that_only_read_and_forgets_its_vote_is_found() {
    found(
        Bug::ReadOnlyForgotten,
        500,
        &["order", "outcomes", "lost", "assertion"],
    );
}

#[test]
fn an_acknowledgement_of_a_reader_that_is_not_waited_for_is_found() {
    found(
        Bug::ReadOnlyUnacknowledged,
        2_000,
        &["order", "outcomes", "lost", "assertion"],
    );
}

#[test]
fn one_acknowledgement_that_counts_for_all_is_found() {
    found(
        Bug::FirstAckForAll,
        1_000,
        &["outcomes", "lost", "assertion"],
    );
}

#[test]
fn a_vote_of_an_earlier_life_is_found() {
    found(Bug::IncarnationIgnored, 5_000, &["stale vote"]);
}

#[test]
fn a_coordinator_that_repeats_nothing_is_found() {
    found(Bug::NothingResent, 500, &["liveness"]);
}

#[test]
fn increments_that_are_replayed_twice_are_found() {
    found(Bug::AppliedTwice, 500, &["values", "money", "recovery"]);
}

#[test]
fn a_durable_record_that_is_taken_for_a_torn_tail_is_found() {
    found(
        Bug::LastRecordCut,
        500,
        &["outcomes", "lost", "recovery", "assertion", "values"],
    );
}

#[test]
fn a_site_that_gives_up_what_it_is_in_doubt_about_is_found() {
    found(Bug::DoubtGivenUp, 1_000, &["assertion", "outcomes", "lost"]);
}

#[test]
fn a_commit_with_the_stamp_of_one_s_own_vote_is_found() {
    found(Bug::StampOfOwnVote, 100, &["order", "lost"]);
}

#[test]
fn a_failed_sync_that_counts_as_done_is_found() {
    found(
        Bug::SyncFailureIgnored,
        3_000,
        &["recovery", "outcomes", "lost", "assertion"],
    );
}

#[test]
fn a_folder_that_is_never_synced_is_found() {
    found(
        Bug::FolderNotSynced,
        200,
        &["outcomes", "lost", "recovery", "assertion"],
    );
}

#[test]
fn a_dependent_commit_applied_before_its_predecessor_s_outcome_is_found() {
    found(
        Bug::DependenciesHidden,
        1_000,
        &["assertion", "order", "outcomes"],
    );
}

#[test]
fn a_coordinator_that_does_not_wait_for_what_votes_name_is_found() {
    found(
        Bug::DependenciesIgnored,
        1_000,
        &["order", "assertion", "outcomes"],
    );
}

#[test]
fn a_dependency_that_recovery_forgets_is_found() {
    found(
        Bug::DependencyForgotten,
        12_000,
        &["outcomes", "order", "assertion", "lost"],
    );
}

#[test]
fn a_checkpoint_without_those_in_doubt_is_found() {
    found(
        Bug::UndecidedCut,
        1_000,
        &["recovery", "outcomes", "lost", "assertion"],
    );
}

#[test]
fn a_coordinator_s_checkpoint_without_what_is_not_acknowledged_is_found() {
    found(
        Bug::UndeliveredCut,
        15_000,
        &["outcomes", "lost", "assertion"],
    );
}

#[test]
fn a_store_that_is_ahead_of_its_log_is_found() {
    found(Bug::StoreBeforeLog, 2_000, &["recovery", "lost"]);
}

#[test]
fn a_replay_that_ignores_what_the_store_has_is_found() {
    found(
        Bug::OrdinalIgnored,
        200,
        &["recovery", "values", "assertion"],
    );
}

#[test]
fn a_log_that_is_cut_before_the_store_is_durable_is_found() {
    found(Bug::PersistIgnored, 5_000, &["recovery"]);
}

/// Each has its test here.
#[test]
fn there_are_at_least_twenty_five_known_bugs() {
    let mut names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 25 && names.len() == Bug::ALL.len());
}

/// A reader's commit behind one that a failed store had refused; a coordinator's checkpoint of which a full disk had
/// left the beginning, with the next life behind it.
#[test]
fn seeds_that_have_found_bugs_hold() {
    for seed in [9_797, 10_431] {
        hold(&ALL, seed..seed + 1);
    }
}
