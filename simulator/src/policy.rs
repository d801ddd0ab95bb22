//! One workload under every way of ending deadlocks over several sites: what each costs.
//!
//! Time is virtual and goes in rounds of one message delay. Clients work without a pause, each on one
//! transaction after the other, over a few hot keys at two sites; an aborted one is tried again with the age
//! of its first attempt. Before each round the waits of all sites are put together: an abort by the policy
//! is *needed* if its victim ever stood on a cycle of them, and *needless* otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use checker::{Case, Level, Verdict};
use co_core::{Gtid, Priority, VoteRule};
use coco::protocol::{AbortCause, CommitAnswer, DeadlockPolicy};
use fastrand::Rng;
use participant::Operation;
use participant::engine::EngineKind;

use crate::client::{Client, Ending, Progress};
use crate::program::{key, number};
use crate::world::{Options, World};

/// One message delay.
pub const HOP: Duration = Duration::from_millis(1);

/// How a deadlock that spans sites comes to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolver {
    /// Sites report waits, the coordinator follows a policy.
    Policy(DeadlockPolicy),
    /// Sites are fully autonomous: nothing leaves them but votes, and timeouts alone resolve.
    Autonomy,
}

impl Resolver {
    /// All that are compared.
    pub const ALL: [Self; 4] = [
        Self::Policy(DeadlockPolicy::Search),
        Self::Policy(DeadlockPolicy::WoundWait),
        Self::Policy(DeadlockPolicy::WaitDie),
        Self::Autonomy,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy(policy) => policy.name(),
            Self::Autonomy => "autonomy",
        }
    }
}

/// How large the workload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Clients that work at once.
    pub clients: usize,
    /// Hot keys of each of the two sites.
    pub keys: u8,
    /// Rounds of [`HOP`] each.
    pub rounds: u32,
    /// How long the youngest may wait for its votes, and an operation for its lock.
    pub timeout: Duration,
    /// How long a wait must last before it is reported to the search. The other policies look at every wait.
    pub report_after: Duration,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Transactions committed.
    pub commits: u64,
    /// Aborts by the policy or a timeout whose victim stood on a cycle of waits.
    pub needed: u64,
    /// Those whose victim did not.
    pub needless: u64,
    /// Aborts for other reasons: cycles within one site, which the site itself breaks.
    pub local: u64,
    /// From the first attempt to the commit, ascending, in rounds.
    pub latencies: Vec<u32>,
    /// Whether the history is serializable and commitment ordered.
    pub valid: bool,
}

impl Report {
    /// The latency below which this many of a thousand commits stay, in rounds.
    #[must_use]
    pub fn permille(&self, permille: usize) -> u32 {
        let last = self.latencies.len().saturating_sub(1);
        let place = self.latencies.len() * permille / 1000;
        self.latencies.get(place.min(last)).copied().unwrap_or(0)
    }
}

/// A client of the loop, and the transaction that it is at.
struct Worker {
    priority: Option<Priority>,
    since: u32,
    steps: Vec<(usize, Operation)>,
    next: usize,
    waited: u32,
    client: Option<Client>,
}

/// Runs the workload of one seed at two sites with this engine.
#[must_use]
pub fn run(seed: u64, resolver: Resolver, engine: EngineKind, load: &Load) -> Report {
    let mut options = Options::new(&[engine, engine], VoteRule::Withhold);
    options.coordinator.vote_timeout = load.timeout;
    (options.coordinator.deadlocks, options.report_after) = match resolver {
        Resolver::Policy(policy @ DeadlockPolicy::Search) => (policy, Some(load.report_after)),
        Resolver::Policy(policy) => (policy, Some(Duration::ZERO)),
        Resolver::Autonomy => (DeadlockPolicy::Timeouts, None),
    };
    let mut world = World::new(options);
    let mut rng = Rng::with_seed(seed);
    let mut workers: Vec<Worker> = (0..load.clients)
        .map(|_| Worker::new(&mut rng, load, 0))
        .collect();
    let mut report = Report::default();
    let mut cycles = BTreeSet::new();
    for round in 0..load.rounds {
        cycles.extend(on_cycles(&world));
        world.round(HOP);
        for worker in &mut workers {
            worker.turn(&mut world, &mut rng, load, round, &cycles, &mut report);
        }
        world.run();
    }
    report.latencies.sort_unstable();
    let histories = world.histories();
    let case = Case::new(&histories);
    report.valid = [Level::Serializability, Level::CommitmentOrdering]
        .into_iter()
        .all(|level| matches!(case.judge(level).verdict, Verdict::Valid { .. }));
    report
}

impl Worker {
    fn new(rng: &mut Rng, load: &Load, since: u32) -> Self {
        let mut steps = Vec::new();
        for site in 0..2 {
            let name = rng.u8(..load.keys);
            steps.push((site, Operation::Get(key(name))));
            let value = number(rng.i64(..1_000));
            steps.push((site, Operation::Put(key(rng.u8(..load.keys)), value)));
        }
        rng.shuffle(&mut steps);
        Self {
            priority: None,
            since,
            steps,
            next: 0,
            waited: 0,
            client: None,
        }
    }

    /// Takes one step, or sees what became of the last.
    fn turn(
        &mut self,
        world: &mut World,
        rng: &mut Rng,
        load: &Load,
        round: u32,
        cycles: &BTreeSet<Gtid>,
        report: &mut Report,
    ) {
        let Some(client) = &mut self.client else {
            self.begin(world);
            return;
        };
        if let Some(ending) = client.ending(world) {
            if ending == Ending::Committed {
                report.commits += 1;
                report.latencies.push(round - self.since);
                *self = Self::new(rng, load, round);
            } else {
                self.count(world, cycles, report);
                self.client = None;
                self.next = 0;
            }
            return;
        }
        if client.is_ending() {
            return;
        }
        let progress = if client.is_running() {
            client.poll(world)
        } else if let Some((site, operation)) = self.steps.get(self.next) {
            self.next += 1;
            client.start(world, *site, operation.clone())
        } else {
            client.commit(world);
            return;
        };
        self.waited = if progress == Progress::Waiting {
            self.waited + 1
        } else {
            0
        };
        let too_long = HOP * self.waited > load.timeout;
        if too_long || matches!(progress, Progress::Aborted | Progress::Refused(_)) {
            if too_long {
                count(cycles.contains(&client.gtid()), report);
            }
            self.waited = 0;
            client.rollback(world);
        }
    }

    fn begin(&mut self, world: &mut World) {
        let client = Client::global(world, self.priority);
        self.priority = Some(client.priority());
        self.client = Some(client);
    }

    /// Counts the abort that the client has just heard of.
    fn count(&self, world: &World, cycles: &BTreeSet<Gtid>, report: &mut Report) {
        let Some(client) = &self.client else { return };
        let Some(CommitAnswer::Aborted { cause }) = client.answer(world) else {
            return;
        };
        match cause {
            AbortCause::VotingDeadlock | AbortCause::Outranked | AbortCause::Timeout => {
                count(cycles.contains(&client.gtid()), report);
            }
            // Counted when its client gave up waiting.
            AbortCause::Client => {}
            AbortCause::LocalCycle
            | AbortCause::StaleRead
            | AbortCause::WriteConflict
            | AbortCause::Cascade
            | AbortCause::UnknownTransaction
            | AbortCause::SiteUnreachable
            | AbortCause::LogFailure
            | AbortCause::DatabaseAway => report.local += 1,
        }
    }
}

fn count(needed: bool, report: &mut Report) {
    if needed {
        report.needed += 1;
    } else {
        report.needless += 1;
    }
}

/// The transactions that stand on a cycle of the waits of all sites together.
fn on_cycles(world: &World) -> BTreeSet<Gtid> {
    let mut waits: BTreeMap<Gtid, BTreeSet<Gtid>> = BTreeMap::new();
    for site in 0..world.sites() {
        for blocked in world.participant(site).blocked() {
            let by = blocked.by.iter().map(|&(gtid, _)| gtid);
            waits.entry(blocked.gtid).or_default().extend(by);
        }
    }
    let reaches_itself = |start: Gtid| {
        let mut seen = BTreeSet::new();
        let mut untried: Vec<Gtid> = waits[&start].iter().copied().collect();
        while let Some(next) = untried.pop() {
            if next == start {
                return true;
            }
            if seen.insert(next) {
                untried.extend(waits.get(&next).into_iter().flatten());
            }
        }
        false
    };
    let waiters = waits.keys().copied();
    waiters.filter(|&waiter| reaches_itself(waiter)).collect()
}
