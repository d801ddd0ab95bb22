//! A run from its seed to its verdict.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use coco::log::Owner;
use simulator::faults::lives::{SimulatedDisk, judge, site_name};
use simulator::faults::{Problem, Told};
use turmoil::{Builder, Sim};

use crate::client::{Notebook, Worker, wait_until_quiet};
use crate::faults::{CLIENTS, Faults};
use crate::hosts;
use crate::machine::Machine;
use crate::plan::{BOUND, FAULTS, FAULTS_LAST, LATENCY, Plan, Planted, SITES, STEP};
use crate::trace::Trace;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What must never be, if it was.
    pub problem: Option<Problem>,
    /// Commits that clients were told of.
    pub commits: u64,
    /// Aborts that they were told of.
    pub aborts: u64,
    /// Commits that they were told nothing of in time.
    pub unknown: u64,
    /// Faults injected.
    pub faults: u32,
    /// Processes that died, those with failed disks included.
    pub crashes: u32,
    /// Logs that failed.
    pub failed_disks: u32,
    /// How much virtual time has passed.
    pub time: Duration,
    /// How much of it after all had healed.
    pub settled_after: Duration,
    /// A hash of everything that happened, in order.
    pub trace_hash: u64,
    /// How many events that was.
    pub events: u64,
    /// The events in words, if they were asked for.
    pub trace: Vec<String>,
}

thread_local! {
    /// `Some` while a run goes on in this thread: panics are kept, and not printed.
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a seed, perhaps with a bug. `readable` asks for the trace in words. The runs of one process take turns:
/// see `align_task_ids`.
#[must_use]
pub fn run(seed: u64, bug: Option<Planted>, readable: bool) -> Outcome {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    align_task_ids();
    keep_panics_quiet();
    CAUGHT.set(Some(Vec::new()));
    let trace = Arc::new(Trace::new(readable));
    let ran = catch_unwind(AssertUnwindSafe(|| {
        World::new(Plan::draw(seed, bug), Arc::clone(&trace)).run()
    }));
    // A task that panics is otherwise just gone.
    let caught = CAUGHT.take().unwrap_or_default();
    let mut outcome = ran.unwrap_or_default();
    if let Some(panic) = caught.into_iter().next() {
        outcome.problem = Some(Problem::Panic(panic));
    }
    outcome.trace_hash = trace.hash();
    outcome.events = trace.events();
    outcome.trace = trace.words();
    outcome
}

/// A runtime that ends drops its tasks in an order that depends on their ids modulo the number of lists that it
/// keeps them in, and ids are counted up in the whole process. So every run begins at a multiple of that number,
/// and has the process for itself; or else the connections of a process that is killed would break in another
/// order each time.
fn align_task_ids() {
    const LISTS: u64 = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without drivers needs nothing of the system");
    loop {
        let id = runtime.spawn(async {}).id().to_string();
        let id: u64 = id.parse().expect("ids are numbers");
        if id.is_multiple_of(LISTS) {
            return;
        }
    }
}

/// Installs, once, a hook that keeps the panics of runs and hands on all others.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = CAUGHT.with_borrow_mut(|caught| {
                let kept = caught.as_mut().map(|texts| texts.push(info.to_string()));
                kept.is_some()
            });
            if !kept {
                before(info);
            }
        }));
    });
}

struct World {
    plan: Arc<Plan>,
    trace: Arc<Trace>,
    notebook: Arc<Notebook>,
    /// Coordinators first, then sites.
    machines: Vec<Arc<Machine>>,
}

impl World {
    fn new(plan: Plan, trace: Arc<Trace>) -> Self {
        let machine = |index: usize, host: String, owner: Owner| {
            let disk = SimulatedDisk::new(plan.inside());
            let rng = plan.rng(100 + index as u64);
            Machine::new(host, owner, disk, rng, Arc::clone(&trace))
        };
        let coordinators = (0..plan.coordinators).map(|index| {
            let host = Plan::coordinator_host(index);
            machine(index, host.clone(), Owner::coordinator(&host))
        });
        let sites = (0..SITES).map(|index| {
            let owner = Owner::participant(site_name(index).as_str());
            machine(10 + index, Plan::site_host(index), owner)
        });
        let machines = coordinators.chain(sites).collect();
        let notebook = Notebook::new(Arc::clone(&trace), plan.clients.len());
        Self {
            machines,
            notebook: Arc::new(notebook),
            trace,
            plan: Arc::new(plan),
        }
    }

    fn run(self) -> Outcome {
        let mut sim = Builder::new()
            .rng_seed(self.plan.seed)
            .epoch(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
            .tick_duration(STEP)
            .simulation_duration(FAULTS_LAST + BOUND * 2)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(LATENCY)
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        self.populate(&mut sim);
        let mut faults = Faults::new(&self.plan, self.machines.clone(), Arc::clone(&self.trace));
        let finished = self.steps(&mut sim, &mut faults);
        let mut outcome = Outcome {
            faults: faults.injected,
            crashes: faults.crashes,
            failed_disks: faults.failed_disks,
            time: sim.elapsed(),
            settled_after: sim.elapsed().saturating_sub(FAULTS_LAST),
            ..Outcome::default()
        };
        outcome.problem = finished.and_then(|()| self.judge(&mut outcome)).err();
        outcome
    }

    fn populate(&self, sim: &mut Sim<'_>) {
        for (index, machine) in self.machines.iter().enumerate() {
            let (plan, machine) = (Arc::clone(&self.plan), Arc::clone(machine));
            let host = machine.host.clone();
            match index.checked_sub(self.plan.coordinators) {
                None => sim.host(host, move || {
                    hosts::coordinator(Arc::clone(&plan), Arc::clone(&machine), index)
                }),
                Some(site) => sim.host(host, move || {
                    hosts::site(Arc::clone(&plan), Arc::clone(&machine), site)
                }),
            }
        }
        let (plan, notebook) = (Arc::clone(&self.plan), Arc::clone(&self.notebook));
        sim.client(CLIENTS, async move {
            let mut workers = tokio::task::JoinSet::new();
            for index in 0..plan.clients.len() {
                let worker = Worker {
                    index,
                    rng: plan.rng(1_000 + index as u64),
                    plan: Arc::clone(&plan),
                    notebook: Arc::clone(&notebook),
                };
                workers.spawn(worker.run());
            }
            while let Some(ended) = workers.join_next().await {
                ended?;
            }
            while !notebook.has_healed() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            wait_until_quiet(&plan, &notebook).await;
            Ok(())
        });
    }

    /// Lets time pass until the clients are done.
    fn steps(&self, sim: &mut Sim<'_>, faults: &mut Faults) -> Result<(), Problem> {
        loop {
            let now = sim.elapsed();
            if self.notebook.has_healed() {
                faults.restart_machines(sim, now);
            } else if now >= FAULTS_LAST && faults.injected >= FAULTS {
                faults.heal(sim);
                self.notebook.healed.store(true, Ordering::Relaxed);
            } else {
                faults.act(sim);
            }
            let stepped = sim.step();
            self.look_at_refusals()?;
            match stepped {
                Ok(true) => return Ok(()),
                Ok(false) if now < FAULTS_LAST + BOUND => {}
                Ok(false) => return Err(Problem::Stuck(self.left_over())),
                Err(error) => return Err(Problem::Panic(error.to_string())),
            }
        }
    }

    fn look_at_refusals(&self) -> Result<(), Problem> {
        for machine in &self.machines {
            if let Some(why) = &machine.state().refusal {
                return Err(Problem::Unrecoverable(format!("{}: {why}", machine.host)));
            }
        }
        Ok(())
    }

    fn left_over(&self) -> String {
        let doing = self.notebook.doing.lock();
        doing.unwrap_or_else(PoisonError::into_inner).join("; ")
    }

    /// What must hold at the end.
    fn judge(&self, outcome: &mut Outcome) -> Result<(), Problem> {
        let sites = &self.machines[self.plan.coordinators..];
        let mut rows = Vec::new();
        let mut lives = Vec::new();
        for machine in sites {
            let mut state = machine.state();
            if let Some(held) = state.held() {
                let host = &machine.host;
                return Err(Problem::Stuck(format!("{host} still has {held}")));
            }
            rows.push(state.lives.last().and_then(|life| life.rows()));
            lives.push(std::mem::take(&mut state.lives));
        }
        let attempts = self.notebook.attempts.lock();
        let attempts = attempts.unwrap_or_else(PoisonError::into_inner);
        for (_, attempt) in attempts.iter() {
            for told in &attempt.told {
                match told {
                    Told::Committed => outcome.commits += 1,
                    Told::Aborted => outcome.aborts += 1,
                    Told::Unknown => outcome.unknown += 1,
                }
            }
        }
        let all: Vec<_> = attempts
            .iter()
            .map(|(_, attempt)| attempt.clone())
            .collect();
        let committed = judge(lives, &all, rows)?;
        let sums = self.notebook.sums.lock();
        let sums = sums.unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = sums.iter().find(|sum| **sum != 0) {
            return Err(Problem::Money(format!("a last audit has seen {sum}")));
        }
        // A client that wants one transfer gets at most one.
        let mut once: BTreeMap<usize, u32> = BTreeMap::new();
        for (script, attempt) in attempts.iter() {
            if committed.contains(&attempt.name) {
                *once.entry(*script).or_default() += 1;
            }
        }
        match once.iter().find(|(_, times)| **times > 1) {
            Some((script, times)) => Err(Problem::Outcome(format!(
                "script {script} was done {times} times"
            ))),
            None => Ok(()),
        }
    }
}
