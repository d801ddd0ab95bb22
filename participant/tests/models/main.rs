//! Each engine against a sequential model, in random sequences of steps with restarts: whatever commits must have
//! been answered as if it had run alone, behind all that committed before; who has said YES is in doubt after a
//! restart; what is stored at the end, and again after a last restart, is what the model holds; and the checker finds
//! the history commitment ordered.
//!
//! `PARTICIPANT_MODEL_CASES` multiplies the number of cases.
#![cfg(feature = "fjall-store")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it has seen"
)]

mod machine;
mod oracle;
mod rig;

use std::panic::{AssertUnwindSafe, catch_unwind};

use participant::engine::EngineKind;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use self::machine::{Cases, Clients, Step};
use self::rig::{Rig, Tally, take_tally};

/// The test of [`Cases`].
struct Test<const KIND: usize, const FJALL: bool, const LIE: usize>;

impl<const KIND: usize, const FJALL: bool, const LIE: usize> StateMachineTest
    for Test<KIND, FJALL, LIE>
{
    type SystemUnderTest = Rig;
    type Reference = Cases<KIND, FJALL, LIE>;

    fn init_test(state: &Clients) -> Rig {
        Rig::new(state.setup)
    }

    fn apply(mut rig: Rig, _: &Clients, step: Step) -> Rig {
        rig.step(step);
        rig
    }

    fn teardown(rig: Rig, _: Clients) {
        rig.end();
    }
}

/// So many cases of up to 60 steps, the same in every run unless there are more.
fn run<const KIND: usize, const FJALL: bool, const LIE: usize>(cases: u32) -> Result<(), String> {
    let times = std::env::var("PARTICIPANT_MODEL_CASES");
    let times: u32 = times.map_or(1, |times| times.parse().unwrap());
    let config = Config {
        cases: cases * times,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config.clone(), rng);
    let strategy = Cases::<KIND, FJALL, LIE>::sequential_strategy(1..60);
    let ran = runner.run(&strategy, |(state, steps, seen)| {
        Test::<KIND, FJALL, LIE>::test_sequential(config.clone(), state, steps, seen);
        Ok(())
    });
    ran.map_err(|error| error.to_string())
}

/// The engine behaves like the model.
#[track_caller]
fn holds<const KIND: usize, const FJALL: bool>(kind: EngineKind, cases: u32) {
    assert_eq!(EngineKind::ALL[KIND], kind);
    let ran = run::<KIND, FJALL, 0>(cases);
    let tally = take_tally();
    if let Err(error) = ran {
        panic!("{kind}: {error}");
    }
    println!("{kind}, {cases} cases: {tally:?}");
    let Tally {
        commits,
        aborts,
        dependent,
        in_doubt,
        survivors,
        checkpoints,
    } = tally;
    let cases = u64::from(cases);
    assert!(commits > 2 * cases && aborts > cases / 8, "{tally:?}");
    assert!(in_doubt > cases / 8 && survivors > cases / 100, "{tally:?}");
    assert_eq!(
        dependent > cases / 16,
        kind == EngineKind::Shared,
        "{tally:?}"
    );
    assert_eq!(checkpoints > cases / 8, FJALL, "{tally:?}");
}

/// The model notices what is broken, within so many cases.
#[track_caller]
fn notices<const KIND: usize, const LIE: usize>(cases: u32) {
    let ran = catch_unwind(AssertUnwindSafe(|| run::<KIND, false, LIE>(cases)));
    assert!(
        matches!(ran, Ok(Err(_)) | Err(_)),
        "{:?} is not noticed",
        EngineKind::ALL[KIND]
    );
}

const IN_MEMORY: u32 = 5_000;
const ON_DISK: u32 = 150;

#[test]
fn ss2pl_in_memory() {
    holds::<0, false>(EngineKind::Ss2pl, IN_MEMORY);
}

#[test]
fn sco_in_memory() {
    holds::<1, false>(EngineKind::Sco, IN_MEMORY);
}

#[test]
fn optimistic_in_memory() {
    holds::<2, false>(EngineKind::Optimistic, IN_MEMORY);
}

#[test]
fn mvcc_in_memory() {
    holds::<3, false>(EngineKind::Mvcc, IN_MEMORY);
}

#[test]
fn shared_in_memory() {
    holds::<4, false>(EngineKind::Shared, IN_MEMORY);
}

#[test]
fn ss2pl_on_disk() {
    holds::<0, true>(EngineKind::Ss2pl, ON_DISK);
}

#[test]
fn sco_on_disk() {
    holds::<1, true>(EngineKind::Sco, ON_DISK);
}

#[test]
fn optimistic_on_disk() {
    holds::<2, true>(EngineKind::Optimistic, ON_DISK);
}

#[test]
fn mvcc_on_disk() {
    holds::<3, true>(EngineKind::Mvcc, ON_DISK);
}

#[test]
fn shared_on_disk() {
    holds::<4, true>(EngineKind::Shared, ON_DISK);
}

#[test]
fn a_storage_that_keeps_what_was_deleted_is_noticed() {
    notices::<0, 1>(1_000);
}

#[test]
fn a_log_that_loses_its_last_record_is_noticed() {
    notices::<3, 2>(1_000);
}

#[test]
fn forgotten_reads_of_transactions_in_doubt_are_noticed() {
    notices::<1, 3>(4_000);
}

#[test]
fn increments_that_a_restart_doubles_are_noticed() {
    notices::<2, 4>(1_000);
}
