//! What is kept does not grow with what has happened.

use std::collections::VecDeque;

use co_core::{Position, Vote, VoteRule, WriteKind};

use crate::site::Site;

/// A hundred thousand transactions, five of them undecided at any time: each reads, scans, writes or adds.
#[test]
fn a_hundred_thousand_transactions_leave_nothing() {
    let mut site = Site::new();
    let keys: Vec<char> = ('a'..='z').collect();
    let mut working = VecDeque::new();
    let mut most = 0;
    let mut commits = 0;
    for number in 1..=100_000_u32 {
        let txn = site.begin(number);
        let key = |offset: u32| keys[((number * 7 + offset) % 26) as usize];
        assert!(site.versions.snapshot(&txn).is_ok());
        match number % 4 {
            0 => site.write(&txn, key(0)).unwrap(),
            1 => site.change(&txn, 'n', WriteKind::Increment).unwrap(),
            2 => drop(site.scan(&txn, key(1), Some(key(3)))),
            _ => drop(site.read(&txn, key(2))),
        }
        working.push_back(txn);
        if working.len() == 5 {
            let oldest = working.pop_front().unwrap();
            // Overtaken, or a younger one at work precedes it.
            if site.scheduler.request_vote(&oldest).peek() == Some(Vote::Yes) {
                let stamp = site.queries.vote(&oldest).unwrap();
                site.commit(&oldest, stamp);
                commits += 1;
            } else {
                site.abort(&oldest);
            }
            for chain in site.chains.values_mut() {
                // As an engine would, at the horizon; one version each is enough here.
                let obsolete = chain.len().saturating_sub(1);
                chain.drain(..obsolete);
            }
        }
        if number % 100 == 0 {
            most = most.max(site.versions.held());
            drop(site.scheduler.take_doomed());
        }
    }
    assert!((1..=20).contains(&most), "{most} marks and versions");
    assert!(commits > 50_000, "{commits} commits");
    let left: Vec<_> = working.iter().collect();
    site.close(&left);
}

/// An old snapshot keeps what it does not show, and its end lets all of that go.
#[test]
fn versions_are_remembered_for_a_snapshot_and_no_longer() {
    let mut site = Site::new();
    let old = site.begin(1);
    site.versions.snapshot(&old).unwrap();
    for number in 2..1002 {
        let writer = site.begin(number);
        site.write(&writer, 'x').unwrap();
        site.vote_and_commit(&writer);
    }
    assert_eq!(site.versions.held(), 1000);
    assert_eq!(site.versions.horizon(), Position(0));
    site.abort(&old);
    assert_eq!(site.versions.held(), 0);
    assert_eq!(site.versions.horizon(), Position(1000));
    site.close(&[]);
}

/// Under the rule of snapshot isolation the marks of a committed reader stay as long as somebody was concurrent.
#[test]
fn marks_of_committed_readers_go_with_the_last_concurrent_transaction() {
    use co_core::{Kind, Outcome, Priority, Reading, Scheduler, VersionOrder};
    let scheduler = Scheduler::new(VoteRule::LocalSnapshot);
    let versions = VersionOrder::new(scheduler.clone());
    let [concurrent, reader] = [1, 2].map(|age| {
        scheduler.begin(Kind::Local {
            priority: Priority(age),
        })
    });
    versions.snapshot(&concurrent).unwrap();
    assert!(matches!(versions.read(&reader, &'x'), Ok(Reading::Now(_))));
    assert_eq!(scheduler.request_vote(&reader).peek(), Some(Vote::Yes));
    scheduler.decided(&reader, Outcome::Commit).unwrap();
    versions.retire(&reader);
    assert_eq!(versions.held(), 1);
    scheduler.decided(&concurrent, Outcome::Abort).unwrap();
    versions.retire(&concurrent);
    assert!(versions.is_empty());
    assert_eq!(scheduler.undecided(), 0, "I7");
}
