//! A coordinator and its sites in one thread: every message, every sync, every tick is a step that the
//! caller chooses.
//!
//! The coordinator, the voters, the engines and the logs' users are the real ones; what is simulated is
//! the transport (queues), the disk (`coco::log::MemoryLog`) and time (a number).
//!
//! Invariants:
//! - W1 A link keeps the order of its messages, unless [`World::deliver`] or [`World::reorder_down`] change it; a crash of a site loses what is in both its queues.
//! - W2 Nothing happens but in a step; so the same choices give the same run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use co_core::{Gtid, Priority, VoteRule};
use coco::log::{Log, LogError, Lsn, MemoryLog};
use coco::protocol::{
    CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect, CoordinatorId,
    Durability, SiteName, Time, ToCoordinator, ToParticipant, Token, VoterConfig,
};
use participant::engine::EngineKind;
use participant::site::{Input, NoLog, Parts, Site, SiteConfig};
use participant::{Participant, Recorder};

/// How a world is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine of each site; sites are called A, B, C, ...
    pub engines: Vec<EngineKind>,
    /// The rule by which all sites vote.
    pub rule: VoteRule,
    /// The coordinator's settings.
    pub coordinator: CoordinatorConfig,
    /// Whether sites keep a log and survive a crash.
    pub durable: bool,
    /// How long a wait must last before a site reports it; `None` for fully autonomous sites.
    pub report_after: Option<Duration>,
    /// Whether sites and transactions allow votes that depend on others.
    pub dependent_votes: bool,
}

impl Options {
    /// Volatile sites with these engines.
    #[must_use]
    pub fn new(engines: &[EngineKind], rule: VoteRule) -> Self {
        Self {
            engines: engines.to_vec(),
            rule,
            coordinator: CoordinatorConfig::default(),
            durable: false,
            report_after: VoterConfig::default().report_after,
            dependent_votes: false,
        }
    }
}

/// One thing that can happen next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// The oldest message from this site reaches the coordinator.
    Up(usize),
    /// The oldest message from the coordinator reaches this site.
    Down(usize),
    /// The coordinator's disk finishes a sync.
    SyncCoordinator,
    /// This site's disk finishes a sync.
    SyncSite(usize),
}

/// The only coordinator.
pub const ID: CoordinatorId = CoordinatorId(1);

/// Opens the participant of a site, by its index, in each of its lives.
pub type OpenParticipant = Box<dyn Fn(usize, Recorder) -> Arc<dyn Participant> + Send>;

type Queue<T> = Arc<Mutex<VecDeque<T>>>;

/// Locks a queue; a panic elsewhere ends the run anyway.
fn lock<T>(queue: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Life {
    participant: Arc<dyn Participant>,
    site: Arc<Site>,
}

struct Node {
    name: SiteName,
    life: Option<Life>,
    lives: u64,
    log: Option<MemoryLog>,
    up: Queue<ToCoordinator>,
    down: VecDeque<ToParticipant>,
    /// Outlives the site's crashes, as a file would.
    recorder: Recorder,
}

/// A coordinator, its sites, and everything between them.
pub struct World {
    options: Options,
    open: OpenParticipant,
    now: Time,
    coordinator: Coordinator,
    coordinator_log: MemoryLog,
    durable: Queue<(Token, Result<Lsn, LogError>)>,
    nodes: Vec<Node>,
    next_caller: u64,
    answers: BTreeMap<CallerId, CommitAnswer>,
}

impl World {
    /// Builds the world and lets the sites say hello.
    ///
    /// # Panics
    /// If an empty log cannot be recovered: a bug.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (engines, rule) = (options.engines.clone(), options.rule);
        let sites = engines.len();
        let open =
            move |site: usize, recorder| participant::engine::open(engines[site], rule, recorder);
        Self::with_participants(options, sites, Box::new(open))
    }

    /// Builds a world of this many sites over participants of the caller's: neither the engines nor the rule of the
    /// options count.
    ///
    /// # Panics
    /// If an empty log cannot be recovered: a bug.
    #[must_use]
    pub fn with_participants(options: Options, sites: usize, open: OpenParticipant) -> Self {
        let mut effects = Vec::new();
        let coordinator = Coordinator::recover(
            options.coordinator.clone(),
            ID,
            std::iter::empty(),
            &mut effects,
        )
        .expect("an empty log is always recovered");
        let names = ('A'..='Z').map(|letter| SiteName::new(&letter.to_string()));
        let nodes = names
            .take(sites)
            .map(|name| Node {
                recorder: Recorder::memory(name.as_str()),
                name,
                life: None,
                lives: 0,
                log: options.durable.then(MemoryLog::manual),
                up: Queue::default(),
                down: VecDeque::new(),
            })
            .collect();
        let mut world = Self {
            options,
            open,
            now: Time(1),
            coordinator,
            coordinator_log: MemoryLog::manual(),
            durable: Queue::default(),
            nodes,
            next_caller: 0,
            answers: BTreeMap::new(),
        };
        world.perform(effects);
        for site in 0..world.nodes.len() {
            world.start(site);
        }
        world.settle();
        world
    }

    /// How many sites there are.
    #[must_use]
    pub fn sites(&self) -> usize {
        self.nodes.len()
    }

    /// The engine of a running site.
    ///
    /// # Panics
    /// If the site is down.
    #[must_use]
    pub fn participant(&self, site: usize) -> &Arc<dyn Participant> {
        &self.life(site).participant
    }

    /// The running site itself.
    ///
    /// # Panics
    /// If the site is down.
    #[must_use]
    pub fn site(&self, site: usize) -> &Arc<Site> {
        &self.life(site).site
    }

    fn life(&self, site: usize) -> &Life {
        self.nodes[site].life.as_ref().expect("the site is up")
    }

    /// The time that has passed.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The coordinator, to look at.
    #[must_use]
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Begins a global transaction.
    ///
    /// # Panics
    /// If the coordinator refuses: its epoch is durable and its log is sound.
    pub fn begin(&mut self, priority: Option<Priority>) -> (Gtid, Priority) {
        let mut effects = Vec::new();
        let begun = self
            .coordinator
            .handle_begin(self.now, priority, &mut effects)
            .expect("the coordinator is up and its log is sound");
        self.perform(effects);
        (begun.gtid, begun.priority)
    }

    /// Asks for the commit of a global transaction that worked at these sites.
    pub fn commit(&mut self, gtid: Gtid, sites: &[usize]) -> CallerId {
        let how = if self.options.dependent_votes {
            Coordinator::handle_commit_dependent
        } else {
            Coordinator::handle_commit
        };
        self.end(gtid, sites, how)
    }

    /// Gives a global transaction up.
    pub fn rollback(&mut self, gtid: Gtid, sites: &[usize]) -> CallerId {
        self.end(gtid, sites, Coordinator::handle_rollback)
    }

    fn end(
        &mut self,
        gtid: Gtid,
        sites: &[usize],
        how: fn(&mut Coordinator, Time, CallerId, Gtid, &[SiteName], &mut Vec<CoordinatorEffect>),
    ) -> CallerId {
        self.next_caller += 1;
        let caller = CallerId(self.next_caller);
        let names: Vec<SiteName> = sites
            .iter()
            .map(|site| self.nodes[*site].name.clone())
            .collect();
        let mut effects = Vec::new();
        how(
            &mut self.coordinator,
            self.now,
            caller,
            gtid,
            &names,
            &mut effects,
        );
        self.perform(effects);
        caller
    }

    /// What a caller was answered, if it was.
    #[must_use]
    pub fn answer(&self, caller: CallerId) -> Option<CommitAnswer> {
        self.answers.get(&caller).copied()
    }

    /// The steps that are possible now, in a fixed order.
    #[must_use]
    pub fn possible(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.coordinator_log.pending() > 0 {
            steps.push(Step::SyncCoordinator);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if !lock(&node.up).is_empty() {
                steps.push(Step::Up(index));
            }
            if !node.down.is_empty() {
                steps.push(Step::Down(index));
            }
            if node.log.as_ref().is_some_and(|log| log.pending() > 0) {
                steps.push(Step::SyncSite(index));
            }
        }
        steps
    }

    /// Does one step; nothing if it is not possible.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Up(index) => self.deliver_up(index),
            Step::Down(index) => self.deliver_down(index),
            Step::SyncCoordinator => self.coordinator_log.sync(),
            Step::SyncSite(index) => {
                if let Some(log) = &self.nodes[index].log {
                    log.sync();
                }
            }
        }
        self.run();
    }

    /// Does every possible step until nothing moves; time stands still.
    pub fn settle(&mut self) {
        self.run();
        while let Some(step) = self.possible().first().copied() {
            self.step(step);
        }
    }

    /// Lets time pass and everybody look at their timers and waits.
    pub fn pass(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.now = Time(self.now.0.saturating_add(micros));
        let mut effects = Vec::new();
        self.coordinator.handle_tick(self.now, &mut effects);
        self.perform(effects);
        for node in &self.nodes {
            if let Some(life) = &node.life {
                life.site.handle(Input::Tick, self.now);
            }
        }
        self.run();
    }

    /// One hop of time: every message that is on its way arrives, every record that is being written is
    /// durable, and everybody looks at their timers and waits. What comes of it is on its way till the next.
    pub fn round(&mut self, span: Duration) {
        let ups: Vec<usize> = self.nodes.iter().map(|node| lock(&node.up).len()).collect();
        let downs: Vec<usize> = self.nodes.iter().map(|node| node.down.len()).collect();
        self.coordinator_log.sync();
        for log in self.nodes.iter().filter_map(|node| node.log.as_ref()) {
            log.sync();
        }
        for (index, (ups, downs)) in ups.into_iter().zip(downs).enumerate() {
            (0..ups).for_each(|_| self.deliver_up(index));
            (0..downs).for_each(|_| self.deliver_down(index));
        }
        self.pass(span);
    }

    /// The two oldest messages to a site change places, as they may when a link breaks and what was on it
    /// is said again.
    pub fn reorder_down(&mut self, site: usize) {
        let down = &mut self.nodes[site].down;
        if down.len() >= 2 {
            down.swap(0, 1);
        }
    }

    /// The messages on their way to a site, oldest first.
    pub fn underway(&self, site: usize) -> impl Iterator<Item = &ToParticipant> {
        self.nodes[site].down.iter()
    }

    /// The oldest message on its way from a site to the coordinator.
    #[must_use]
    pub fn oldest_up(&self, site: usize) -> Option<ToCoordinator> {
        lock(&self.nodes[site].up).front().cloned()
    }

    /// The oldest message about one transaction reaches a site before all that are about others, as it may when their
    /// coordinators are different ones. Nothing happens if there is none.
    pub fn deliver(&mut self, site: usize, gtid: Gtid) {
        let node = &mut self.nodes[site];
        let place = node.down.iter().position(|message| message.gtid() == gtid);
        let message = place.and_then(|place| node.down.remove(place));
        if let (Some(message), Some(life)) = (message, &node.life) {
            life.site.handle(Input::Message(ID, message), self.now);
        }
        self.run();
    }

    /// The site's process dies: it loses everything but what it had handed to its log, synced or not.
    pub fn crash(&mut self, site: usize) {
        let node = &mut self.nodes[site];
        if node.life.take().is_none() {
            return;
        }
        lock(&node.up).clear();
        node.down.clear();
        if let Some(log) = &mut node.log {
            *log = MemoryLog::manual().holding(log.crash(usize::MAX));
        }
        let name = node.name.clone();
        let mut effects = Vec::new();
        self.coordinator
            .handle_link_down(self.now, &name, &mut effects);
        self.perform(effects);
    }

    /// Starts a site that is down, from its log if it has one.
    ///
    /// # Panics
    /// If the log cannot be recovered: the simulated disk keeps what it made durable.
    pub fn start(&mut self, site: usize) {
        let node = &mut self.nodes[site];
        node.lives += 1;
        let participant = (self.open)(site, node.recorder.clone());
        let outbox = {
            let up = Arc::clone(&node.up);
            Box::new(move |_, message| lock(&up).push_back(message))
        };
        let (log, records): (Arc<dyn Log>, Vec<Vec<u8>>) = match &node.log {
            Some(log) => (Arc::new(log.clone()), log.durable()),
            None => (Arc::new(NoLog::default()), Vec::new()),
        };
        let durability = if node.log.is_some() {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        let config = SiteConfig {
            name: node.name.clone(),
            voter: VoterConfig {
                durability,
                dependent_votes: self.options.dependent_votes,
                report_after: self.options.report_after,
                ..VoterConfig::default()
            },
            incarnation: coco::protocol::Incarnation(node.lives),
        };
        let parts = Parts {
            participant: Arc::clone(&participant),
            log,
            outbox,
            wake: Box::new(|| {}),
        };
        let opened = Site::open(config, parts, &records, self.now);
        let opened = Arc::new(opened.expect("a log that the simulation kept is sound"));
        opened.handle(Input::LinkUp(ID), self.now);
        node.life = Some(Life {
            participant,
            site: opened,
        });
        self.run();
    }

    /// Lets every site and the coordinator take up what engines and logs have reported.
    pub fn run(&mut self) {
        for node in &self.nodes {
            if let Some(life) = &node.life {
                life.site.run(self.now);
            }
        }
        loop {
            let Some((token, result)) = lock(&self.durable).pop_front() else {
                break;
            };
            let mut effects = Vec::new();
            match result {
                Ok(_) => self
                    .coordinator
                    .handle_durable(self.now, token, &mut effects),
                Err(_) => self.coordinator.handle_log_failed(self.now, &mut effects),
            }
            self.perform(effects);
        }
    }

    fn deliver_up(&mut self, index: usize) {
        let Some(message) = lock(&self.nodes[index].up).pop_front() else {
            return;
        };
        let name = self.nodes[index].name.clone();
        let mut effects = Vec::new();
        self.coordinator
            .handle_message(self.now, &name, message, &mut effects);
        self.perform(effects);
    }

    fn deliver_down(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if let Some(message) = node.down.pop_front()
            && let Some(life) = &node.life
        {
            life.site.handle(Input::Message(ID, message), self.now);
        }
    }

    fn perform(&mut self, effects: Vec<CoordinatorEffect>) {
        for effect in effects {
            match effect {
                CoordinatorEffect::Append { record, token } => {
                    let durable = Arc::clone(&self.durable);
                    let done = move |result| lock(&durable).push_back((token, result));
                    self.coordinator_log
                        .append(&record.encode(), Box::new(done));
                }
                CoordinatorEffect::AppendLazy { record } => {
                    self.coordinator_log.append_lazy(&record.encode());
                }
                CoordinatorEffect::Send { to, message } => {
                    let node = self.nodes.iter_mut().find(|node| node.name == to);
                    if let Some(node) = node.filter(|node| node.life.is_some()) {
                        node.down.push_back(message);
                    }
                }
                CoordinatorEffect::Answer { caller, answer, .. } => {
                    self.answers.insert(caller, answer);
                }
                // It is alone.
                CoordinatorEffect::SendPeer { .. } | CoordinatorEffect::Note(_) => {}
            }
        }
    }

    /// Ends the recording and returns each site's history, parsed by the checker.
    ///
    /// # Panics
    /// If a recorded history is not in the checker's format: that is a bug of the recorder.
    #[must_use]
    pub fn histories(&mut self) -> Vec<checker::SiteHistory> {
        let mut histories = Vec::new();
        for node in &self.nodes {
            node.recorder.finish().expect("memory does not fail");
            let text = node
                .recorder
                .text()
                .expect("the recorder keeps its text in memory");
            let history = checker::parse::read_history(text.as_bytes(), node.name.as_str());
            histories.push(history.expect("the recorder writes what the checker reads"));
        }
        histories
    }

    /// Whether every engine and the coordinator hold nothing (I7).
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.coordinator.in_flight() == 0
            && self
                .nodes
                .iter()
                .filter_map(|node| node.life.as_ref())
                .all(|life| life.participant.in_flight() == 0)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("coordinator", &self.coordinator)
            .finish_non_exhaustive()
    }
}
