//! Runs of the service under a simulated network: they hold, and they repeat.
#![allow(
    clippy::print_stdout,
    reason = "the figures of a run belong into its output"
)]

use std::process::Command;

use turmoil_tests::run;

/// Some seeds; `TURMOIL_SEEDS=A..B` asks for others.
#[test]
fn whatever_the_network_does_nothing_is_lost_and_everything_ends() {
    let seeds = std::env::var("TURMOIL_SEEDS").unwrap_or_else(|_| "0..24".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_storm"))
        .args(["--seeds", &seeds])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().unwrap();
    let number = |what: &str| -> u64 {
        let words: Vec<&str> = last.split([' ', ',']).collect();
        let at = words.iter().position(|word| *word == what).unwrap();
        words[at - 1].parse().unwrap()
    };
    // No fewer faults than promised, and the system does its work in between.
    assert!(number("faults") >= 60 * number("seeds"), "{last}");
    assert!(number("crashes") >= 10 * number("seeds"), "{last}");
    assert!(number("commits") >= 15 * number("seeds"), "{last}");
}

/// Word by word, but for what tokio's `select!` does when several branches are ready in the same instant: it
/// draws from a generator that can be seeded only in builds with `--cfg tokio_unstable`. That shows in about
/// one run of fifty, and here two runs are compared.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds = 100..116;
    let mut others = Vec::new();
    let mut hashes = std::collections::BTreeSet::new();
    for seed in seeds.clone() {
        let (one, two) = (run(seed, None, true), run(seed, None, true));
        assert!(one.events > 100);
        hashes.insert(one.trace_hash);
        if one.trace != two.trace {
            others.push(seed);
        }
    }
    assert_eq!(hashes.len(), seeds.count(), "seeds differ");
    assert!(others.len() <= 6, "{others:?} do not repeat");
}
