//! One hot record: how many transactions a second can change it, when every one of them works at two sites, commits
//! by two-phase commit, and every message takes a while.
//!
//! Everything but the network and the clock is the real thing: one `Coordinator`, two `Site`s with their engines,
//! voters and logs. Time is virtual, so the figures are exact and repeat: a message takes [`DELAY_MICROS`], an append is
//! durable at once, computing takes no time. What is measured is therefore the protocol and nothing of the machine.
//!
//! A client works at site A first, then at site B, and asks for the commit when both have answered. Three of four
//! transactions write the hot record, the fourth reads it; every one writes a record of its own at site B. One of a
//! hundred is given up by its client after it has worked, and one that aborts is tried again as old as it was.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use co_core::{Gtid, Priority, Statistics, VoteRule};
use coco::log::{Log as _, MemoryLog};
use coco::protocol::{
    CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect, CoordinatorId,
    DeadlockPolicy, Incarnation, SiteName, Time, ToCoordinator, ToParticipant, VoterConfig,
};
use participant::engine::{EngineKind, open};
use participant::site::{Input, Parts, Site, SiteConfig};
use participant::{Begin, Key, Operation, OperationError, Recorder, Reply, TxnName, Value};

use crate::realtime::{Interval, clock_site};

/// How long a message takes, in microseconds.
pub const DELAY_MICROS: u64 = 5_000;
/// How often the sites look at their waits, in microseconds.
const TICK_MICROS: u64 = 10_000;
/// How long after the end of a run the last client may be at work, in microseconds.
const PATIENCE_MICROS: u64 = 600_000_000;
const COORDINATOR: CoordinatorId = CoordinatorId(0);
/// One transaction of so many is given up by its client.
const GIVES_UP: u64 = 100;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The engine of both sites.
    pub engine: EngineKind,
    /// Whether votes may depend on others; withheld otherwise.
    pub dependent: bool,
}

/// What came of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// Transactions that committed.
    pub commits: u64,
    /// Of these, a second of virtual time.
    pub per_second: f64,
    /// Attempts that were aborted by anybody but their own client.
    pub aborts: u64,
    /// Attempts that their clients gave up.
    pub given_up: u64,
    /// Aborts that took others along at a site, and the transactions they took.
    pub cascades: u64,
    /// The transactions that fell with another.
    pub cascaded: u64,
    /// Votes that named others.
    pub dependent_votes: u64,
}

type Running = Pin<Box<dyn Future<Output = Result<Reply, OperationError>> + Send>>;

enum Event {
    ToSite(usize, ToParticipant),
    ToCoordinator(usize, ToCoordinator),
    /// A client's word at the coordinator: commit, or give up.
    Finish(usize),
    /// A client's operation arrives at a site.
    Operate(usize, usize),
    /// A client hears the answer to its operation at a site.
    Answered(usize, usize, bool),
    /// A client hears what became of its transaction.
    Ended(usize, bool),
    /// A client begins, or begins again.
    Begin(usize),
    Tick,
}

struct Node {
    name: SiteName,
    site: Site,
    said: Arc<Mutex<Vec<ToCoordinator>>>,
    recorder: Recorder,
}

struct Client {
    gtid: Gtid,
    /// When it asked for that.
    begun: u64,
    priority: Option<Priority>,
    /// The how-manieth transaction it is on.
    turn: u64,
    /// An operation that waits, and where.
    running: Option<(usize, Running)>,
    gives_up: bool,
}

struct World {
    setting: Setting,
    now: u64,
    next: u64,
    events: BTreeMap<u64, Event>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    coordinator: Coordinator,
    log: MemoryLog,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    callers: BTreeMap<CallerId, usize>,
    commits: u64,
    /// All of them, later ones too.
    committed: Vec<Interval>,
    aborts: u64,
    given_up: u64,
    /// How many clients have not ended.
    active: usize,
    /// No client begins anew after this time.
    until: u64,
    seed: u64,
}

impl World {
    fn new(setting: Setting, clients: usize, until: u64) -> Self {
        let config = CoordinatorConfig {
            deadlocks: DeadlockPolicy::Search,
            // Under locks the last of many clients waits for all the others.
            vote_timeout: std::time::Duration::from_secs(600),
            idle_timeout: std::time::Duration::from_secs(600),
            ..CoordinatorConfig::default()
        };
        let mut effects = Vec::new();
        let coordinator = Coordinator::recover(config, COORDINATOR, [], &mut effects)
            .expect("an empty log is always recovered");
        let nodes = ["A", "B"].map(|name| node(name, setting));
        let mut world = Self {
            setting,
            now: 0,
            next: 0,
            events: BTreeMap::new(),
            queue: BinaryHeap::new(),
            coordinator,
            log: MemoryLog::automatic(),
            nodes: nodes.into(),
            clients: Vec::new(),
            callers: BTreeMap::new(),
            commits: 0,
            committed: Vec::new(),
            aborts: 0,
            given_up: 0,
            active: clients,
            until,
            seed: 0x9E37_79B9_7F4A_7C15,
        };
        world.perform(effects);
        for site in 0..world.nodes.len() {
            let now = world.time();
            world.nodes[site].site.run(now);
            world.nodes[site]
                .site
                .handle(Input::LinkUp(COORDINATOR), now);
            world.collect(site);
        }
        for client in 0..clients {
            world.clients.push(Client {
                gtid: Gtid(0),
                begun: 0,
                priority: None,
                turn: client as u64,
                running: None,
                gives_up: false,
            });
            // After the hellos.
            world.after(2 * DELAY_MICROS, Event::Begin(client));
        }
        world.after(TICK_MICROS, Event::Tick);
        world
    }

    fn time(&self) -> Time {
        Time(self.now)
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((self.now + delay, self.next)));
        self.events.insert(self.next, event);
    }

    fn random(&mut self, bound: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % bound
    }

    fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = at;
            let event = self.events.remove(&number);
            self.take(event.expect("every place in the queue has its event"));
            self.resume();
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.time();
        match event {
            Event::ToSite(site, message) => {
                let input = Input::Message(COORDINATOR, message);
                self.nodes[site].site.handle(input, now);
                self.collect(site);
            }
            Event::ToCoordinator(site, message) => {
                let mut effects = Vec::new();
                let name = self.nodes[site].name.clone();
                self.coordinator
                    .handle_message(now, &name, message, &mut effects);
                self.perform(effects);
            }
            Event::Begin(client) => self.begin(client),
            Event::Operate(client, site) => self.operate(client, site),
            Event::Answered(client, site, done) => self.answered(client, site, done),
            Event::Finish(client) => self.finish(client),
            Event::Ended(client, committed) => self.ended(client, committed),
            Event::Tick => self.tick(),
        }
    }

    fn tick(&mut self) {
        let now = self.time();
        let mut effects = Vec::new();
        self.coordinator.handle_tick(now, &mut effects);
        self.perform(effects);
        for site in 0..self.nodes.len() {
            self.nodes[site].site.handle(Input::Tick, now);
            self.collect(site);
        }
        // Late enough, whoever waits waits for ever.
        if self.active > 0 && self.now < self.until + PATIENCE_MICROS {
            self.after(TICK_MICROS, Event::Tick);
        }
    }

    /// Sends what a site has said.
    fn collect(&mut self, site: usize) {
        let now = self.time();
        self.nodes[site].site.run(now);
        let said = std::mem::take(&mut *lock(&self.nodes[site].said));
        for message in said {
            self.after(DELAY_MICROS, Event::ToCoordinator(site, message));
        }
    }

    fn perform(&mut self, effects: Vec<CoordinatorEffect>) {
        for effect in effects {
            match effect {
                CoordinatorEffect::Append { record, token } => {
                    self.log.append_lazy(&record.encode());
                    let mut more = Vec::new();
                    self.coordinator
                        .handle_durable(self.time(), token, &mut more);
                    self.perform(more);
                }
                CoordinatorEffect::AppendLazy { record } => {
                    self.log.append_lazy(&record.encode());
                }
                CoordinatorEffect::Send { to, message } => {
                    let site = usize::from(to.as_str() == "B");
                    self.after(DELAY_MICROS, Event::ToSite(site, message));
                }
                CoordinatorEffect::Answer { caller, answer, .. } => {
                    let client = self.callers.remove(&caller);
                    let client = client.expect("a caller is answered once");
                    let committed = matches!(answer, CommitAnswer::Committed { .. });
                    self.after(DELAY_MICROS, Event::Ended(client, committed));
                }
                CoordinatorEffect::SendPeer { .. } | CoordinatorEffect::Note(_) => {}
            }
        }
    }

    /// The client's request and the coordinator's answer, in one event.
    fn begin(&mut self, client: usize) {
        let mut effects = Vec::new();
        let priority = self.clients[client].priority;
        let begun = self
            .coordinator
            .handle_begin(self.time(), priority, &mut effects)
            .expect("the epoch is durable, and there is room");
        self.perform(effects);
        let gives_up = self.random(GIVES_UP) == 0;
        let state = &mut self.clients[client];
        state.gtid = begun.gtid;
        state.begun = self.now;
        state.priority = Some(begun.priority);
        state.gives_up = gives_up;
        self.after(2 * DELAY_MICROS, Event::Operate(client, 0));
    }

    fn operate(&mut self, client: usize, site: usize) {
        let state = &self.clients[client];
        let (gtid, turn) = (state.gtid, state.turn);
        let name = TxnName::Global(gtid);
        let priority = state.priority.expect("it has begun");
        let begun = self.nodes[site].site.begin(Begin { name, priority });
        if begun.is_err() {
            self.after(DELAY_MICROS, Event::Answered(client, site, false));
            return;
        }
        let value = Value::from(gtid.0.to_le_bytes().as_slice());
        let operation = match (site, turn % 4) {
            (0, 3) => Operation::Get(key("hot")),
            (0, _) => Operation::Put(key("hot"), value),
            _ => Operation::Put(key(&format!("own {client}")), value),
        };
        let participant = Arc::clone(self.nodes[site].site.participant());
        let running = async move { participant.execute(name, &operation).await };
        self.clients[client].running = Some((site, Box::pin(running)));
    }

    /// Lets every operation go on that can: what has happened may have granted locks.
    fn resume(&mut self) {
        for site in 0..self.nodes.len() {
            self.collect(site);
        }
        let mut context = Context::from_waker(Waker::noop());
        for client in 0..self.clients.len() {
            let Some((site, mut running)) = self.clients[client].running.take() else {
                continue;
            };
            match running.as_mut().poll(&mut context) {
                Poll::Pending => self.clients[client].running = Some((site, running)),
                Poll::Ready(answer) => {
                    self.after(DELAY_MICROS, Event::Answered(client, site, answer.is_ok()));
                }
            }
        }
    }

    fn answered(&mut self, client: usize, site: usize, done: bool) {
        if !done {
            self.clients[client].gives_up = false;
            self.after(DELAY_MICROS, Event::Finish(client));
            return;
        }
        let next = if site == 0 {
            Event::Operate(client, 1)
        } else {
            Event::Finish(client)
        };
        self.after(DELAY_MICROS, next);
    }

    fn finish(&mut self, client: usize) {
        let gtid = self.clients[client].gtid;
        let caller = CallerId(self.next);
        self.callers.insert(caller, client);
        let sites: Vec<SiteName> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let (now, mut effects) = (self.time(), Vec::new());
        let ask = if self.clients[client].gives_up {
            Coordinator::handle_rollback
        } else if self.setting.dependent {
            Coordinator::handle_commit_dependent
        } else {
            Coordinator::handle_commit
        };
        ask(
            &mut self.coordinator,
            now,
            caller,
            gtid,
            &sites,
            &mut effects,
        );
        self.perform(effects);
    }

    fn ended(&mut self, client: usize, committed: bool) {
        let state = &mut self.clients[client];
        match (committed, state.gives_up) {
            (true, _) => {
                self.commits += u64::from(self.now <= self.until);
                self.committed.push(Interval {
                    gtid: state.gtid,
                    begun: state.begun,
                    ended: self.now,
                });
            }
            (false, true) => self.given_up += 1,
            (false, false) => self.aborts += 1,
        }
        if committed || state.gives_up {
            state.turn += 1;
            state.priority = None;
        }
        if self.now < self.until {
            self.after(0, Event::Begin(client));
        } else {
            self.active -= 1;
        }
    }

    /// What both histories say, by the checker's word: serializable, commitment ordered, and strictly so.
    fn judge(&self) -> Result<(), String> {
        let mut histories = Vec::new();
        for node in &self.nodes {
            node.recorder.finish().map_err(|error| error.to_string())?;
            let text = node.recorder.text().unwrap_or_default();
            let history = checker::parse::read_history(text.as_bytes(), node.name.as_str());
            histories.push(history.map_err(|error| error.to_string())?);
        }
        for level in [
            checker::Level::Serializability,
            checker::Level::CommitmentOrdering,
        ] {
            let report = checker::judge(&histories, level);
            if !matches!(report.verdict, checker::Verdict::Valid { .. }) {
                return Err(format!("{level:?}: {:?}", report.verdict));
            }
        }
        let clock = clock_site(&self.committed);
        let clock = checker::parse::read_history(clock.as_bytes(), "clock");
        histories.push(clock.map_err(|error| error.to_string())?);
        let report = checker::judge(&histories, checker::Level::Serializability);
        match report.verdict {
            checker::Verdict::Valid { .. } => Ok(()),
            verdict @ (checker::Verdict::Invalid { .. } | checker::Verdict::Unknown { .. }) => {
                Err(format!("strictly: {verdict:?}"))
            }
        }
    }
}

fn node(name: &str, setting: Setting) -> Node {
    let (recorder, said) = (Recorder::memory(name), Arc::default());
    let out: Arc<Mutex<Vec<ToCoordinator>>> = Arc::clone(&said);
    let name = SiteName::new(name);
    let config = SiteConfig {
        name: name.clone(),
        voter: VoterConfig {
            dependent_votes: setting.dependent,
            ..VoterConfig::default()
        },
        incarnation: Incarnation(0),
    };
    let parts = Parts {
        participant: open(setting.engine, VoteRule::Withhold, recorder.clone()),
        log: Arc::new(MemoryLog::automatic()),
        outbox: Box::new(move |_, message| lock(&out).push(message)),
        wake: Box::new(|| {}),
    };
    let site = Site::open(config, parts, &[], Time(0)).expect("an empty log is always recovered");
    Node {
        name,
        site,
        said,
        recorder,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(name: &str) -> Key {
    Key::from(name.as_bytes())
}

/// Runs so many clients for so many seconds of virtual time, and has the checker judge what they did.
///
/// # Errors
/// What the checker says if the run is not strictly serializable and commitment ordered, or what was left behind.
///
/// # Panics
/// On a bug of the coordinator or the sites.
pub fn run(setting: Setting, clients: usize, seconds: u64) -> Result<Figures, String> {
    let mut world = World::new(setting, clients, seconds * 1_000_000);
    world.run();
    let left: Vec<usize> = world
        .nodes
        .iter()
        .map(|node| node.site.participant().in_flight())
        .collect();
    if left.iter().any(|left| *left > 0) {
        return Err(format!(
            "transactions were left behind at the sites: {left:?}"
        ));
    }
    world.judge()?;
    let sum = |of: fn(&Statistics) -> u64| {
        let nodes = world.nodes.iter();
        let each = nodes.map(|node| of(&node.site.participant().statistics()));
        each.sum::<u64>()
    };
    let votes = world.nodes.iter();
    let dependent_votes = votes.map(|node| node.site.stats().votes_dependent).sum();
    #[allow(clippy::cast_precision_loss, reason = "commits of seconds are few")]
    let per_second = world.commits as f64 / seconds as f64;
    Ok(Figures {
        commits: world.commits,
        per_second,
        aborts: world.aborts,
        given_up: world.given_up,
        cascades: sum(|it| it.cascades),
        cascaded: sum(|it| it.cascaded),
        dependent_votes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(engine: EngineKind, dependent: bool, clients: usize) -> f64 {
        let setting = Setting { engine, dependent };
        let figures = run(setting, clients, 3).unwrap();
        assert!(!dependent || figures.dependent_votes > 0);
        assert!(figures.commits > 0);
        figures.per_second
    }

    #[test]
    fn dependent_votes_change_a_hot_record_twenty_times_as_often_as_locks() {
        let locks = per_second(EngineKind::Ss2pl, false, 64);
        let withheld = per_second(EngineKind::Shared, false, 64);
        let dependent = per_second(EngineKind::Shared, true, 64);
        assert!(withheld > locks, "{withheld} against {locks}");
        assert!(dependent >= 20.0 * locks, "{dependent} against {locks}");
        // Not bounded by the way to the coordinator and back.
        let more = per_second(EngineKind::Shared, true, 128);
        assert!(more > 1.5 * dependent, "{more} against {dependent}");
    }

    #[test]
    fn a_run_repeats_to_the_last_figure() {
        let setting = Setting {
            engine: EngineKind::Shared,
            dependent: true,
        };
        assert_eq!(run(setting, 16, 2), run(setting, 16, 2));
    }
}
