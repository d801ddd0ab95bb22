//! Threads against one site whose votes depend on each other: a coordinator of few lines decides in the order that
//! the votes name, aborts some of what it could commit, and the checker judges what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use checker::Level;
use co_core::{Gtid, Priority, Stamp};
use participant::conformance::block_on;
use participant::engine::{Options, Shared};
use participant::{
    Ballot, Begin, Decision, Dependencies, Operation, OperationError, Participant, Recorder, Reply,
    TxnName,
};

use crate::judge::assert_valid;
use crate::stress::{Random, operation, total};

const THREADS: u64 = 6;
const COMMITS: u64 = 1200;

/// How many transactions of one client are undecided at a time, and how many votes lie before the first is decided
/// while nobody waits for a decision.
const OPEN: usize = 4;
const UNDECIDED: usize = 16;

struct Voted {
    gtid: Gtid,
    stamp: Stamp,
    depends: Dependencies,
    gives_up: bool,
}

#[derive(Default)]
struct State {
    voted: Vec<Voted>,
    decided: BTreeMap<Gtid, Option<Stamp>>,
    /// How many clients wait for something that only a decision may bring.
    waiting: usize,
    ended: bool,
    dependent: u64,
    broken: u64,
}

/// Decides in the order that the votes name.
#[derive(Default)]
struct Coordinator {
    state: Mutex<State>,
    news: Condvar,
}

impl State {
    /// Takes out a transaction whose turn has come: with its stamp, or `None` if it has to abort.
    fn take(&mut self, random: &mut Random) -> Option<(Gtid, Option<Stamp>)> {
        let is_due = |voted: &Voted| {
            voted
                .depends
                .iter()
                .all(|it| self.decided.contains_key(&it))
        };
        let due: Vec<usize> = (0..self.voted.len())
            .filter(|at| is_due(&self.voted[*at]))
            .collect();
        // None, while the client of the next one has its YES in hand and has not passed it on.
        let chosen = *due.get(random.below(due.len().max(1) as u64) as usize)?;
        let voted = self.voted.swap_remove(chosen);
        let mut stamp = Some(voted.stamp).filter(|_| !voted.gives_up);
        for named in voted.depends.iter() {
            match self.decided[&named] {
                Some(before) => stamp = stamp.map(|stamp| stamp.max(Stamp(before.0 + 1))),
                None if voted.depends.if_committed.contains(&named) => {
                    self.broken += 1;
                    stamp = None;
                }
                None => {}
            }
        }
        Some((voted.gtid, stamp))
    }
}

impl Coordinator {
    fn run(&self, site: &Shared, mut random: Random) {
        let mut state = self.state.lock().unwrap();
        loop {
            let urgent = state.waiting > 0 || state.ended;
            if state.voted.is_empty() && state.ended {
                return;
            }
            if state.voted.is_empty() || (!urgent && state.voted.len() < UNDECIDED) {
                state = self.news.wait(state).unwrap();
                continue;
            }
            let Some((gtid, outcome)) = state.take(&mut random) else {
                state = self.news.wait(state).unwrap();
                continue;
            };
            drop(state);
            self.carry_out(site, gtid, outcome);
            state = self.state.lock().unwrap();
        }
    }

    fn carry_out(&self, site: &Shared, gtid: Gtid, outcome: Option<Stamp>) {
        let decision = outcome.map_or(Decision::Abort, Decision::Commit);
        let answer = site.decide(TxnName::Global(gtid), decision);
        assert_eq!(answer, Ok(()), "{gtid:?} {decision:?}");
        let mut state = self.state.lock().unwrap();
        state.decided.insert(gtid, outcome);
        self.news.notify_all();
    }

    /// Waits for what may need decisions.
    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.state.lock().unwrap().waiting += 1;
        self.news.notify_all();
        let waited = wait();
        self.state.lock().unwrap().waiting -= 1;
        waited
    }

    fn outcome(&self, gtid: Gtid) -> Option<Stamp> {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.news.notify_all();
        loop {
            if let Some(outcome) = state.decided.get(&gtid).copied() {
                state.waiting -= 1;
                return outcome;
            }
            state = self.news.wait(state).unwrap();
        }
    }

    fn run_operation(
        &self,
        site: &Shared,
        name: TxnName,
        operation: &Operation,
    ) -> Result<Reply, OperationError> {
        let mut running = site.execute(name, operation);
        let mut context = Context::from_waker(Waker::noop());
        match running.as_mut().poll(&mut context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => self.waiting(|| block_on(running)),
        }
    }

    /// Whether the transaction has got as far as its YES.
    fn attempt(
        &self,
        site: &Shared,
        (gtid, priority): (Gtid, Priority),
        operations: &[Operation],
        gives_up: bool,
    ) -> bool {
        let name = TxnName::Global(gtid);
        site.begin(Begin { name, priority }).unwrap();
        for operation in operations {
            match self.run_operation(site, name, operation) {
                Ok(_) => {}
                Err(OperationError::Aborted(_)) => {
                    self.carry_out(site, gtid, None);
                    return false;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let (tell, told) = mpsc::channel();
        site.prepare_dependent(name, Box::new(move |ballot| tell.send(ballot).unwrap()));
        let ballot = told.try_recv();
        let ballot = ballot.or_else(|_| self.waiting(|| told.recv()));
        match ballot.unwrap() {
            Ballot::Yes { stamp, depends, .. } => {
                let mut state = self.state.lock().unwrap();
                state.dependent += u64::from(!depends.is_empty());
                state.voted.push(Voted {
                    gtid,
                    stamp,
                    depends,
                    gives_up,
                });
                self.news.notify_all();
                true
            }
            Ballot::No(_) => {
                self.carry_out(site, gtid, None);
                false
            }
        }
    }
}

fn client(site: &Shared, coordinator: &Coordinator, names: &AtomicU64, mut random: Random) -> i64 {
    let mut increments = 0;
    let (mut left, mut again, mut open) = (COMMITS, VecDeque::new(), VecDeque::new());
    loop {
        let job = again.pop_front().or_else(|| {
            left = left.checked_sub(1)?;
            let first = names.fetch_add(1, Ordering::Relaxed);
            let count = 1 + random.below(5);
            let operations = (0..count).map(|_| operation(&mut random, first));
            Some((first, operations.collect::<Vec<_>>()))
        });
        if let Some((first, operations)) = job {
            let gtid = Gtid(names.fetch_add(1, Ordering::Relaxed));
            let gives_up = random.below(20) == 0;
            let named = (gtid, Priority(first));
            if coordinator.attempt(site, named, &operations, gives_up) {
                open.push_back((gtid, first, operations));
            } else {
                again.push_back((first, operations));
            }
        } else if open.is_empty() {
            return increments;
        }
        if (open.len() >= OPEN || (left == 0 && again.is_empty()))
            && let Some((gtid, first, operations)) = open.pop_front()
        {
            if coordinator.outcome(gtid).is_none() {
                again.push_back((first, operations));
                continue;
            }
            let sums = operations.iter();
            increments += sums
                .filter(|operation| matches!(operation, Operation::Increment(..)))
                .count() as i64;
        }
    }
}

#[test]
fn votes_that_depend_on_each_other_withstand_threads() {
    for seed in [1, 20_090_901] {
        let recorder = Recorder::memory("site");
        let site = Arc::new(Shared::new(Options {
            recorder: recorder.clone(),
            ..Options::default()
        }));
        let coordinator = Coordinator::default();
        let names = AtomicU64::new(1);
        let increments: i64 = thread::scope(|scope| {
            scope.spawn(|| coordinator.run(&site, Random(seed)));
            let clients: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let random = Random(seed * 1000 + thread);
                    scope.spawn(|| client(&site, &coordinator, &names, random))
                })
                .collect();
            let clients = clients.into_iter();
            let increments = clients.map(|client| client.join().unwrap()).sum();
            coordinator.state.lock().unwrap().ended = true;
            coordinator.news.notify_all();
            increments
        });
        assert_eq!(total(&*site, u64::MAX), increments);
        assert!(site.is_idle(), "I7");
        recorder.finish().unwrap();
        let state = coordinator.state.into_inner().unwrap();
        let (dependent, broken) = (state.dependent, state.broken);
        println!("seed {seed}: {dependent} dependent votes, {broken} of them broken");
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
