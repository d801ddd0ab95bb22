//! Random long lives of a log that ends again and again: power losses, kills, failing operations, full
//! disks and damage, over the log's own code on a folder in memory.
//!
//! `COCO_POWER_LOSSES` sets how many power losses a run has; `cargo xtask test power-loss` runs a
//! million. A failure prints the seed of its world; `COCO_POWER_LOSS_SEED` runs that world alone.
#![allow(
    clippy::print_stdout,
    reason = "a count that nobody sees proves nothing"
)]

mod damage;
mod differential;
mod points;
mod reference;
mod sabotage;
mod world;

use self::sabotage::Bug;
use self::world::{Counts, World};

/// A world goes on for so many lives: long enough for many segments, short enough to be read.
const LIVES: usize = 60;

/// What a run of `cargo test` has; optimised runs are asked for more.
const POWER_LOSSES: u64 = 50_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "a count that nobody sees proves nothing"
)]
fn nothing_acknowledged_is_lost_whatever_the_machine_does() {
    let wanted = number("COCO_POWER_LOSSES").unwrap_or(POWER_LOSSES);
    let only = number("COCO_POWER_LOSS_SEED");
    let started = std::time::Instant::now();
    let mut counts = Counts::default();
    for seed in only.unwrap_or(0).. {
        if let Err(violation) = World::new(seed, None).run(LIVES, &mut counts) {
            panic!("COCO_POWER_LOSS_SEED={seed}: {violation}");
        }
        if only.is_some() || counts.power_losses >= wanted {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = counts.power_losses as f64 / seconds;
    println!("{counts:#?}\n{rate:.0} power losses per second, {seconds:.1} s");
    if only.is_none() {
        counts.assert_nothing_is_rare();
    }
}

/// The same exploration finds each of these bugs, so that its silence means something.
#[test]
fn every_seeded_bug_is_found() {
    for bug in Bug::ALL {
        let mut counts = Counts::default();
        let found = (0..2_000).find_map(|seed| {
            let found = World::new(seed, Some(bug)).run(LIVES, &mut counts);
            found.err().map(|violation| (seed, violation))
        });
        let Some((seed, violation)) = found else {
            panic!("{bug:?} survived {} power losses", counts.power_losses);
        };
        assert!(
            counts.power_losses < 60_000,
            "{bug:?} is found too late: {counts:?}"
        );
        println!(
            "{bug:?}: {} power losses, seed {seed}: {violation}",
            counts.power_losses
        );
    }
}

#[test]
fn a_seed_is_a_run() {
    let run = |seed| {
        let mut counts = Counts::default();
        World::new(seed, None).run(LIVES, &mut counts).unwrap();
        counts
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
