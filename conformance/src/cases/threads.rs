//! Random transactions from several threads at once, over two sites, decided by two-phase commit.
//!
//! Each thread is the client and the coordinator of one transaction at a time. A wait that the sites
//! report as part of a cycle over both of them is given up by the youngest of the cycle, which is exact: no
//! timeout takes part. Positions on a tape are given under the tape's mutex, together with the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use checker::TxnId;
use co_core::{Gtid, Kind, Outcome, Priority, State, Txn};
use fastrand::Rng;

use super::Case;
use super::random::Plan;
use crate::cluster::{Running, Said, is_outcome, note, on_cycle, start, vote};
use crate::context::Context;
use crate::engine::{Answer, Engine};
use crate::judge::judge;
use crate::log::Log;
use crate::notation::{Operation, site_letter};
use crate::outcome::CaseOutcome;
use crate::report::Finding;
use crate::tape::{Tag, Tape};

/// How often a waiting coordinator looks for a cycle over both sites.
const LOOK: Duration = Duration::from_millis(1);

const HANG_ADVICE: &str = "a wait that co-core does not know of cannot be broken: report it (contract 3); and wake every waiter on every decision";
const CALL_ADVICE: &str = "an operation or a vote of an active transaction waits, succeeds, or is refused as Refusal::Aborted, also when other threads are at work";

pub(super) fn cases<E: Engine>(threads: u64) -> Vec<Case<E>> {
    let mut case = Case::new(
        "threads",
        "random transactions from several threads over two sites",
        run,
    );
    if threads == 0 {
        case.skip = Some("no threads were asked for");
    }
    vec![case]
}

struct Site<E> {
    engine: Arc<E>,
    tape: Mutex<Tape>,
}

struct Shared<E> {
    sites: [Site<E>; 2],
    /// The branches of the global transactions that are at work.
    at_work: Mutex<BTreeMap<u64, Vec<(usize, Txn)>>>,
    log: Mutex<Log>,
    stop: AtomicBool,
    next: AtomicU64,
    stamp: AtomicU64,
    tag: AtomicU64,
    ended: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked is reported as such; what it left behind is still worth judging.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run<E: Engine>(context: &Context<E>) -> Result<CaseOutcome, Finding> {
    let open = |site| -> Result<Site<E>, Finding> {
        Ok(Site {
            engine: Arc::new(context.open(context.new_place())?),
            tape: Mutex::new(Tape::new(site)),
        })
    };
    let shared = Arc::new(Shared {
        sites: [open(0)?, open(1)?],
        at_work: Mutex::default(),
        log: Mutex::default(),
        stop: AtomicBool::new(false),
        next: AtomicU64::new(1),
        stamp: AtomicU64::new(1),
        tag: AtomicU64::new(1),
        ended: AtomicU64::new(0),
    });
    let options = &context.options;
    let (done, all_done) = mpsc::channel();
    for thread in 0..options.threads {
        let (shared, done) = (Arc::clone(&shared), done.clone());
        let seed = options.seed.wrapping_mul(1009).wrapping_add(thread);
        let count = options.thread_transactions;
        thread::spawn(move || {
            worker(&shared, seed, count);
            // The receiver is gone when the run was given up.
            done.send(()).unwrap_or_default();
        });
    }
    drop(done);
    await_workers(context, &shared, &all_done);
    Ok(finish(&shared))
}

/// Until all are done, one has panicked, or nothing has ended for too long.
fn await_workers<E: Engine>(
    context: &Context<E>,
    shared: &Shared<E>,
    all_done: &mpsc::Receiver<()>,
) {
    // Ahead of the runner's own patience, so that this finding is the one that is reported.
    let patience = context.options.patience / 3;
    let mut left = context.options.threads;
    let mut ended = 0;
    while left > 0 {
        context.beat();
        match all_done.recv_timeout(patience) {
            Ok(()) => left -= 1,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let what = "a thread ended early: the engine panicked".to_owned();
                return lock(&shared.log).find(what, CALL_ADVICE);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let now = shared.ended.load(Ordering::Relaxed);
                if now == ended {
                    shared.stop.store(true, Ordering::Relaxed);
                    let what = format!("no transaction has ended for {patience:?}");
                    return lock(&shared.log).find(what, HANG_ADVICE);
                }
                ended = now;
            }
        }
    }
}

fn finish<E: Engine>(shared: &Shared<E>) -> CaseOutcome {
    let mut log = std::mem::take(&mut *lock(&shared.log));
    if log.total == 0 {
        for (number, site) in shared.sites.iter().enumerate() {
            let left = site.engine.scheduler().undecided();
            if left > 0 || !site.engine.is_idle() {
                let at = site_letter(number);
                log.find(
                    format!("I7: all have ended, and site {at} holds {left} undecided transactions or something of theirs"),
                    "release locks, marks and private writes on every path of decide (contract 6)",
                );
            }
        }
    }
    let [first, second] = &shared.sites;
    let (first, second) = (lock(&first.tape), lock(&second.tape));
    CaseOutcome::new(log, judge(&[&first, &second]))
}

fn worker<E: Engine>(shared: &Arc<Shared<E>>, seed: u64, count: u64) {
    let mut rng = Rng::with_seed(seed);
    for _ in 0..count {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let mut client = Client::new(shared, number, Plan::new(&mut rng));
        let willing = client.work(&mut rng);
        client.conclude(willing, &mut rng);
        shared.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A call was refused, or given up.
struct Refused;

/// One transaction and its coordinator.
struct Client<'s, E> {
    shared: &'s Shared<E>,
    number: u64,
    id: TxnId,
    kind: Kind,
    plan: Plan,
    branches: Vec<(usize, Txn)>,
}

impl<'s, E: Engine> Client<'s, E> {
    fn new(shared: &'s Shared<E>, number: u64, plan: Plan) -> Self {
        let priority = Priority(number);
        let (id, kind) = if plan.local {
            (TxnId::Local(number), Kind::Local { priority })
        } else {
            let gtid = Gtid(number);
            (TxnId::Global(number), Kind::Global { gtid, priority })
        };
        Self {
            shared,
            number,
            id,
            kind,
            plan,
            branches: Vec::new(),
        }
    }

    /// All operations and all votes; an error means that it has to be aborted.
    fn work(&mut self, rng: &mut Rng) -> Result<(), Refused> {
        while let Some((site, operation)) = self.plan.steps.pop_front() {
            self.operate(site, &operation)?;
            linger(rng);
        }
        if self.plan.gives_up {
            return Err(Refused);
        }
        let mut branches = self.branches.clone();
        rng.shuffle(&mut branches);
        for (site, txn) in branches {
            let running = vote(&self.shared.sites[site].engine, txn.clone());
            self.drive(running)?;
            if txn.state() != State::Voted {
                let what = format!("T{} said YES and has not voted", self.number);
                lock(&self.shared.log).find(what, CALL_ADVICE);
            }
            linger(rng);
        }
        Ok(())
    }

    fn operate(&mut self, site: usize, operation: &Operation) -> Result<(), Refused> {
        let txn = self.branch(site);
        let here = &self.shared.sites[site];
        let tag = Tag(self.shared.tag.fetch_add(1, Ordering::Relaxed));
        let said = self.drive(start(&here.engine, txn, operation, tag))?;
        if let Err(what) = note(&mut lock(&here.tape), self.id, operation, tag, &said) {
            lock(&self.shared.log).find(what, CALL_ADVICE);
        }
        Ok(())
    }

    fn branch(&mut self, site: usize) -> Txn {
        if let Some((_, txn)) = self.branches.iter().find(|(at, _)| *at == site) {
            return txn.clone();
        }
        let txn = self.shared.sites[site].engine.begin(self.kind);
        self.branches.push((site, txn.clone()));
        if !self.plan.local {
            let branches = self.branches.clone();
            lock(&self.shared.at_work).insert(self.number, branches);
        }
        txn
    }

    /// Waits for a call to end, or for a reason not to wait.
    fn drive(&self, mut running: Running) -> Result<Said, Refused> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match running.as_mut().poll(&mut Task::from_waker(&waker)) {
                Poll::Ready(Ok(said)) => return Ok(said),
                Poll::Ready(Err(refusal)) => {
                    if !is_outcome(&refusal) {
                        let what =
                            format!("a call of T{} ended in an error: {refusal}", self.number);
                        lock(&self.shared.log).find(what, CALL_ADVICE);
                    }
                    return Err(Refused);
                }
                Poll::Pending => {}
            }
            let doomed = self.branches.iter().any(|(_, txn)| txn.doomed().is_some());
            if doomed || self.shared.stop.load(Ordering::Relaxed) || self.is_youngest_of_cycle() {
                return Err(Refused);
            }
            thread::park_timeout(LOOK);
        }
    }

    /// Whether it stands on a cycle of waits over the sites, and none of its members is younger.
    fn is_youngest_of_cycle(&self) -> bool {
        if self.plan.local {
            return false;
        }
        let at_work = lock(&self.shared.at_work).clone();
        let mut waits: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (number, branches) in at_work {
            // Cycles through a younger one are that one's to break.
            if number > self.number {
                continue;
            }
            let blockers = branches.iter().flat_map(|(site, txn)| {
                self.shared.sites[*site].engine.scheduler().blocked_by(txn)
            });
            waits.insert(number, blockers.map(|(gtid, _)| gtid.0).collect());
        }
        on_cycle(self.number, &waits)
    }

    fn conclude(&self, willing: Result<(), Refused>, rng: &mut Rng) {
        lock(&self.shared.at_work).remove(&self.number);
        let outcome = match willing {
            Ok(()) => Outcome::Commit,
            Err(Refused) => Outcome::Abort,
        };
        let stamp = self.shared.stamp.fetch_add(1, Ordering::Relaxed);
        for (site, txn) in &self.branches {
            let here = &self.shared.sites[*site];
            let mut tape = lock(&here.tape);
            if outcome == Outcome::Commit || txn.state().is_undecided() {
                let answer = here.engine.decide(txn, outcome);
                self.check(*site, outcome, &answer);
            }
            match outcome {
                Outcome::Commit => tape.commit(self.id, stamp),
                Outcome::Abort => tape.abort(self.id),
            }
            drop(tape);
            // Each client ends its own transactions; the list is only kept short here.
            drop(here.engine.scheduler().take_doomed());
            linger(rng);
        }
    }

    fn check(&self, site: usize, outcome: Outcome, answer: &Answer<()>) {
        if let Err(refusal) = answer {
            let (number, at) = (self.number, site_letter(site));
            let what = format!("T{number} at site {at}, {outcome:?}: {refusal}");
            lock(&self.shared.log).find(what, CALL_ADVICE);
        }
    }
}

/// Lets others go first, now and then: a store in memory is done with a transaction before the next thread
/// has begun one, and they would hardly ever meet.
fn linger(rng: &mut Rng) {
    for _ in 0..rng.u8(..4) {
        thread::yield_now();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
