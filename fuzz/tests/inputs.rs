//! Every target on its stored inputs and on many made from them, the same ones at every run.
//!
//! `FUZZ_INPUTS` sets how many; `FUZZ_SEED` makes others.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise, and says what it did"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use fuzz::{Mutator, Target, target};

/// How many inputs each target gets.
const INPUTS: u64 = 100_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs one input; a panic stores it where it is run from then on.
fn run(target: &Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let path = target.findings().join(format!("{hash:016x}"));
        std::fs::create_dir_all(target.findings()).unwrap();
        std::fs::write(&path, input).unwrap();
        println!("{}: {} bytes stored in {path:?}", target.name, input.len());
        resume_unwind(panic);
    }
}

fn check(name: &str) {
    let target = target(name);
    let inputs = target.inputs().unwrap();
    assert!(!inputs.is_empty(), "nothing to start from");
    for input in &inputs {
        run(&target, input);
    }
    let mut mutator = Mutator::new(number("FUZZ_SEED", 1));
    let started = Instant::now();
    let count = number("FUZZ_INPUTS", INPUTS);
    for _ in 0..count {
        run(&target, &mutator.next(&inputs));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{name}: {} stored and {count} made inputs in {seconds:.1} s",
        inputs.len()
    );
}

#[test]
fn segments() {
    check("segments");
}

#[test]
fn coordinator_records() {
    check("coordinator_records");
}

#[test]
fn site_records() {
    check("site_records");
}

#[test]
fn history() {
    check("history");
}

#[test]
fn observed() {
    check("observed");
}

#[cfg(feature = "wire")]
#[test]
fn wire() {
    check("wire");
}

/// Writes the seeds to the corpus, where libFuzzer finds them.
#[test]
#[ignore = "run by hand when the seeds have changed"]
fn store_the_seeds() {
    for target in fuzz::TARGETS {
        std::fs::create_dir_all(target.corpus()).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = target.corpus().join(format!("seed-{number:02}"));
            std::fs::write(path, seed).unwrap();
        }
    }
}
