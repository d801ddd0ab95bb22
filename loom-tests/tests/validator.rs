//! The optimistic validator: admissions that overlap.
#![cfg(co_loom)]
#![allow(clippy::unwrap_used, reason = "a model fails by panicking")]

use std::sync::Arc;

use co_core::{AbortReason, Footprint, Outcome, State, Validator, Vote, WriteKind};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use loom_tests::{begin, close, explore, explore_bounded, withhold};

fn footprint(reads: &[u8], writes: &[u8]) -> Footprint<u8> {
    Footprint {
        reads: reads.to_vec(),
        ranges: Vec::new(),
        writes: writes.iter().map(|key| (*key, WriteKind::Put)).collect(),
    }
}

/// V1: a reader of the old version never votes YES once the writer of the new one commits, wherever its
/// admission falls between install, decision and retirement.
#[test]
fn admission_against_commit() {
    explore("admission_against_commit", || {
        let scheduler = withhold();
        let validator = Arc::new(Validator::new(scheduler.clone()));
        let [writer, reader] = begin(&scheduler);
        let version = Arc::new(AtomicUsize::new(0));
        validator
            .admit(&writer, footprint(&[], &[7]), || true)
            .unwrap();
        assert_eq!(scheduler.request_vote(&writer).peek(), Some(Vote::Yes));
        let commit = thread::spawn({
            let (scheduler, validator) = (scheduler.clone(), Arc::clone(&validator));
            let version = Arc::clone(&version);
            move || {
                version.store(1, Ordering::Release);
                scheduler.decided(&writer, Outcome::Commit).unwrap();
                validator.retire(&writer);
            }
        });
        let admitted = validator.admit(&reader, footprint(&[7], &[]), || {
            version.load(Ordering::Acquire) == 0
        });
        let answer = match admitted {
            Ok(()) => scheduler.request_vote_blocking(&reader),
            Err(reason) => Vote::No(reason),
        };
        assert!(
            matches!(
                answer,
                Vote::No(AbortReason::Conflict | AbortReason::Overtaken)
            ),
            "{answer:?}"
        );
        commit.join().unwrap();
        close(&scheduler, &[&reader]);
        validator.retire(&reader);
        assert!(validator.is_empty(), "I7");
    });
}

/// A write skew: the two admissions see each other in some order, and one of the two commits.
#[test]
fn two_admissions_of_a_write_skew() {
    explore_bounded("two_admissions_of_a_write_skew", 2, || {
        let scheduler = withhold();
        let validator = Arc::new(Validator::new(scheduler.clone()));
        let [older, younger] = begin(&scheduler);
        let other = thread::spawn({
            let (scheduler, validator) = (scheduler.clone(), Arc::clone(&validator));
            let younger = younger.clone();
            move || {
                // Doomed before its admission ends, by the search of the older one's vote, it asks for none.
                let admitted = validator.admit(&younger, footprint(&[2], &[1]), || true);
                admitted.ok().map(|()| scheduler.request_vote(&younger))
            }
        });
        validator
            .admit(&older, footprint(&[1], &[2]), || true)
            .unwrap();
        let vote = scheduler.request_vote(&older);
        let other = other.join().unwrap();
        let loses = if younger.state() == State::Voted {
            &older
        } else {
            &younger
        };
        let wins = if loses == &older { &younger } else { &older };
        if wins.state() == State::Voted {
            scheduler.decided(wins, Outcome::Commit).unwrap();
            assert_eq!(loses.doomed(), Some(AbortReason::Overtaken));
            scheduler.decided(loses, Outcome::Abort).unwrap();
        } else {
            assert_eq!(loses.doomed(), Some(AbortReason::Cycle));
            scheduler.decided(loses, Outcome::Abort).unwrap();
            assert_eq!(vote.peek(), Some(Vote::Yes));
        }
        drop(other);
        close(&scheduler, &[&older, &younger]);
        validator.retire(&older);
        validator.retire(&younger);
        assert!(validator.is_empty(), "I7");
    });
}

/// F2: a local transaction that finds its keys clear and one that is being admitted see each other: never does
/// the first install while the second has voted on the version before.
#[test]
fn clearance_against_admission() {
    explore("clearance_against_admission", || {
        let scheduler = withhold();
        let validator = Arc::new(Validator::new(scheduler.clone()));
        let [reader] = begin(&scheduler);
        let (locked, version) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let writer = thread::spawn({
            let (validator, locked) = (Arc::clone(&validator), Arc::clone(&locked));
            let version = Arc::clone(&version);
            move || {
                locked.store(1, Ordering::Release);
                let clear = validator.is_clear(&footprint(&[], &[7]));
                if clear {
                    version.store(1, Ordering::Release);
                }
                locked.store(0, Ordering::Release);
                clear
            }
        });
        let admitted = validator.admit(&reader, footprint(&[7], &[]), || {
            locked.load(Ordering::Acquire) == 0 && version.load(Ordering::Acquire) == 0
        });
        let voted = admitted.is_ok() && scheduler.request_vote_blocking(&reader) == Vote::Yes;
        let installed = writer.join().unwrap();
        assert!(!(voted && installed), "both missed each other");
        close(&scheduler, &[&reader]);
        validator.retire(&reader);
        assert!(validator.is_empty(), "I7");
    });
}
