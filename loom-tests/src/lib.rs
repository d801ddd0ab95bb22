//! Loom models of every concurrent piece of co-core.
//!
//! The models are in `tests/`, one file per piece; the `README.md` here lists what each one shows. They exist
//! only under `--cfg co_loom`, which replaces the atomics and locks of co-core by loom's:
//!
//! ```text
//! RUSTFLAGS="--cfg co_loom" LOOM_MAX_PREEMPTIONS=3 CARGO_TARGET_DIR=target/loom \
//!     cargo test -p loom-tests --release -- --nocapture
//! ```
//!
//! Here is only what they share.
#![forbid(unsafe_code)]
#![cfg(co_loom)]

use std::sync::atomic::{AtomicUsize, Ordering};

use co_core::{Gtid, Kind, Outcome, Priority, Scheduler, Txn, VoteRule};

/// Runs `body` under every schedule with at most `LOOM_MAX_PREEMPTIONS` preemptions (3 if unset) and prints
/// how many there were.
///
/// # Panics
/// As [`explore_bounded`].
pub fn explore(name: &str, body: impl Fn() + Sync + Send + 'static) {
    explore_bounded(name, usize::MAX, body);
}

/// [`explore`] with at most `bound` preemptions, for models that would take too long with more.
///
/// # Panics
/// When `body` panics or deadlocks in one of them, or when there was only one: then nothing was concurrent.
#[allow(
    clippy::print_stderr,
    reason = "the number of executions is the result of a model"
)]
pub fn explore_bounded(name: &str, bound: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    let preemptions = builder.preemption_bound.unwrap_or(3).min(bound);
    builder.preemption_bound = Some(preemptions);
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    let executions = executions.load(Ordering::Relaxed);
    assert!(executions > 1, "{name}: the model has one execution only");
    eprintln!("{name}: {executions} executions, at most {preemptions} preemptions");
}

/// A scheduler under rule WITHHOLD.
#[must_use]
pub fn withhold() -> Scheduler {
    Scheduler::new(VoteRule::Withhold)
}

/// Global transactions named and aged 1, 2, …
#[must_use]
pub fn begin<const COUNT: usize>(scheduler: &Scheduler) -> [Txn; COUNT] {
    let mut number = 0;
    [(); COUNT].map(|()| {
        number += 1;
        scheduler.begin(Kind::Global {
            gtid: Gtid(number),
            priority: Priority(number),
        })
    })
}

/// Aborts whatever is undecided and checks that the graph is empty (I7).
///
/// # Panics
/// When it is not.
pub fn close(scheduler: &Scheduler, txns: &[&Txn]) {
    for txn in txns {
        if txn.state().is_undecided() {
            scheduler
                .decided(txn, Outcome::Abort)
                .expect("an undecided transaction can be aborted");
        }
    }
    assert!(scheduler.is_idle(), "I7");
    drop(scheduler.take_doomed());
}
