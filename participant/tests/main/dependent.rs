//! Threads against one site whose votes depend on each other: a coordinator of few lines decides in the order that
//! the votes name, aborts some of what it could commit, and the checker judges what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use checker::Level;
use co_core::{Gtid, Priority, Stamp};
use participant::conformance::block_on;
use participant::engine::{Options, Shared};
use participant::{
    Ballot, Begin, Decision, Dependencies, Operation, OperationError, Participant, Recorder,
    TxnName,
};

use crate::judge::assert_valid;
use crate::stress::{Random, operation, total};

const THREADS: u64 = 6;
const COMMITS: u64 = 1200;

/// What is decided and carried out.
#[derive(Default)]
struct Coordinator {
    decided: Mutex<BTreeMap<Gtid, Option<Stamp>>>,
    news: Condvar,
}

#[derive(Default)]
struct Counts {
    dependent: AtomicU64,
    broken: AtomicU64,
    cascades: AtomicU64,
}

impl Coordinator {
    /// The stamp to commit with, when its turn has come; `None` if it has to abort.
    fn turn(&self, depends: &Dependencies, vote: Stamp) -> Option<Stamp> {
        let mut decided = self.decided.lock().unwrap();
        let mut stamp = vote;
        for named in depends.iter() {
            let outcome = loop {
                match decided.get(&named) {
                    Some(outcome) => break *outcome,
                    None => decided = self.news.wait(decided).unwrap(),
                }
            };
            match outcome {
                Some(before) => stamp = stamp.max(Stamp(before.0 + 1)),
                None if depends.if_committed.contains(&named) => return None,
                None => {}
            }
        }
        Some(stamp)
    }

    fn carry_out(&self, site: &Shared, gtid: Gtid, outcome: Option<Stamp>) {
        let decision = outcome.map_or(Decision::Abort, Decision::Commit);
        let answer = site.decide(TxnName::Global(gtid), decision);
        assert_eq!(answer, Ok(()), "{gtid:?} {decision:?}");
        self.decided.lock().unwrap().insert(gtid, outcome);
        self.news.notify_all();
    }
}

/// Whether it has committed.
fn attempt(
    site: &Shared,
    coordinator: &Coordinator,
    counts: &Counts,
    (gtid, priority): (Gtid, Priority),
    operations: &[Operation],
    gives_up: bool,
) -> bool {
    let name = TxnName::Global(gtid);
    site.begin(Begin { name, priority }).unwrap();
    for operation in operations {
        match block_on(site.execute(name, operation)) {
            Ok(_) => {}
            Err(OperationError::Aborted(_)) => {
                coordinator.carry_out(site, gtid, None);
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let (tell, told) = mpsc::channel();
    site.prepare_dependent(name, Box::new(move |ballot| tell.send(ballot).unwrap()));
    let (stamp, depends) = match told.recv().unwrap() {
        Ballot::Yes { stamp, depends, .. } => (stamp, depends),
        Ballot::No(reason) => {
            counts.cascades.fetch_add(
                u64::from(reason == co_core::AbortReason::Cascade),
                Ordering::Relaxed,
            );
            coordinator.carry_out(site, gtid, None);
            return false;
        }
    };
    let dependent = !depends.is_empty();
    counts
        .dependent
        .fetch_add(u64::from(dependent), Ordering::Relaxed);
    let turn = coordinator.turn(&depends, stamp);
    counts
        .broken
        .fetch_add(u64::from(turn.is_none()), Ordering::Relaxed);
    let outcome = turn.filter(|_| !gives_up);
    coordinator.carry_out(site, gtid, outcome);
    outcome.is_some()
}

fn client(
    site: &Shared,
    coordinator: &Coordinator,
    counts: &Counts,
    names: &AtomicU64,
    mut random: Random,
) -> i64 {
    let mut increments = 0;
    for _ in 0..COMMITS {
        let first = names.fetch_add(1, Ordering::Relaxed);
        let count = 1 + random.below(5);
        let operations: Vec<_> = (0..count).map(|_| operation(&mut random, first)).collect();
        let mut number = first;
        loop {
            let gives_up = random.below(20) == 0;
            let named = (Gtid(number), Priority(first));
            if attempt(site, coordinator, counts, named, &operations, gives_up) {
                break;
            }
            number = names.fetch_add(1, Ordering::Relaxed);
        }
        let sums = operations.iter();
        increments += sums
            .filter(|operation| matches!(operation, Operation::Increment(..)))
            .count() as i64;
    }
    increments
}

#[test]
fn votes_that_depend_on_each_other_withstand_threads() {
    for seed in [1, 20_090_901] {
        let recorder = Recorder::memory("site");
        let site = Arc::new(Shared::new(Options {
            recorder: recorder.clone(),
            ..Options::default()
        }));
        let (coordinator, counts) = (Coordinator::default(), Counts::default());
        let names = AtomicU64::new(1);
        let increments: i64 = thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let random = Random(seed * 1000 + thread);
                    scope.spawn(|| client(&site, &coordinator, &counts, &names, random))
                })
                .collect();
            let clients = clients.into_iter();
            clients.map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(total(&*site, u64::MAX), increments);
        assert!(site.is_idle(), "I7");
        recorder.finish().unwrap();
        let (dependent, broken) = (counts.dependent.into_inner(), counts.broken.into_inner());
        println!(
            "seed {seed}: {dependent} dependent votes, {broken} broken, {} refused by a cascade",
            counts.cascades.into_inner()
        );
        assert!(dependent > COMMITS, "votes depend on each other");
        assert!(broken > 0, "and fall with each other");
        let history = recorder.text().unwrap();
        let commits = history.lines().filter(|line| line.starts_with("c "));
        assert_eq!(commits.count() as u64, THREADS * COMMITS + 1);
        for level in [Level::Serializability, Level::CommitmentOrdering] {
            assert_valid("dependent votes", &history, level);
        }
    }
}
