//! Processes, links and clients under one virtual clock: what happens next is what is due first.
//!
//! Invariants:
//! - W1 Nothing happens but by an event of the queue, and events of one moment come in the order in which
//!   they were asked for: a run is a function of its plan.
//! - W2 Every generator of random numbers belongs to one process, link or client, so that leaving one out of
//!   a plan disturbs the others little.
//! - W3 After `heal_at` no fault begins, and those that last are ended.

use std::collections::BTreeMap;

use co_core::{Gtid, Priority};
use coco::protocol::{CommitAnswer, PeerMessage, Time, ToCoordinator, ToParticipant};
use fastrand::Rng;
use participant::storage::SimStorage;
use participant::{Operation, Reply, TxnName};

use super::bug::Bug;
use super::client::Client;
use super::coordinator::CoordinatorProcess;
use super::disk::{Disk, Lies};
use super::network::Link;
use super::plan::{FaultKind, MS, Plan, ProcId};
use super::site::SiteProcess;
use super::trace::Trace;
use super::{Counts, Problem};

/// What can happen.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Event {
    Fault(usize),
    FaultEnds(usize),
    Heal,
    Start(ProcId),
    /// The operator restarts a process whose log has failed.
    Operator {
        proc: ProcId,
        life: u64,
    },
    Disk {
        proc: ProcId,
        life: u64,
    },
    Tick {
        proc: ProcId,
        life: u64,
        at: u64,
    },
    Dial {
        link: usize,
    },
    Arrive {
        link: usize,
        connection: u64,
        wire: Wire,
    },
    /// A message of an earlier connection, late.
    Repeat {
        link: usize,
        connection: u64,
        wire: Wire,
    },
    /// Nothing has come for a while, if something is still in the way.
    Silence {
        link: usize,
        connection: u64,
    },
    /// One end notices that its connection is gone.
    Lost {
        link: usize,
        connection: u64,
        at_dialer: bool,
    },
    Request {
        from: Caller,
        to: ProcId,
        request: Request,
    },
    Answer {
        to: Caller,
        answer: Answer,
    },
    /// A client's patience, or its time to think, is over.
    Wake(Caller),
    /// A site notices that a client is gone.
    Gone {
        site: usize,
        name: TxnName,
    },
}

/// A message on a link.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Wire {
    Up(ToCoordinator),
    Down(ToParticipant),
    /// A coordinator begins to speak to another.
    PeerHello,
    Peer(PeerMessage),
}

/// One request of one client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub(crate) struct Caller {
    pub(crate) client: usize,
    pub(crate) request: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Begin {
        priority: Option<Priority>,
    },
    Execute {
        name: TxnName,
        priority: Priority,
        first: bool,
        operation: Operation,
    },
    End {
        gtid: Gtid,
        sites: Vec<usize>,
        commit: bool,
        /// The votes may depend on others.
        dependent: bool,
    },
    CommitLocal {
        number: u64,
    },
}

impl std::hash::Hash for Request {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Begin { priority } => priority.hash(state),
            Self::Execute { name, first, .. } => (name, first).hash(state),
            Self::End {
                gtid,
                sites,
                commit,
                dependent,
            } => (gtid, sites, commit, dependent).hash(state),
            Self::CommitLocal { number } => number.hash(state),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Begun {
        gtid: Gtid,
        priority: Priority,
    },
    Replied(Reply),
    /// The transaction is lost, or the process was not there.
    Failed,
    Outcome(CommitAnswer),
}

impl std::hash::Hash for Answer {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Begun { gtid, priority } => (gtid, priority).hash(state),
            Self::Replied(Reply::Value(value)) => value.hash(state),
            Self::Replied(Reply::Rows(rows)) => rows.hash(state),
            Self::Replied(Reply::Table(table)) => table.rows.hash(state),
            Self::Replied(Reply::Done) | Self::Failed => {}
            Self::Outcome(answer) => answer.hash(state),
        }
    }
}

/// A process's own clock: only differences mean anything, and it starts anew with each life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    since: u64,
    local: u64,
    thousandths: u64,
}

impl Clock {
    const fn started(now: u64, thousandths: u64) -> Self {
        Self {
            since: now,
            local: 0,
            thousandths,
        }
    }

    pub(crate) fn read(&self, now: u64) -> Time {
        let passed = u128::from(now - self.since) * u128::from(self.thousandths) / 1_000;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        Time(self.local.saturating_add(passed))
    }

    /// When it will show `at`.
    fn reaches(&self, at: Time, now: u64) -> u64 {
        let left = at.0.saturating_sub(self.read(now).0);
        let wait = (u128::from(left) * 1_000).div_ceil(u128::from(self.thousandths));
        now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
            .saturating_add(1)
    }

    fn jump(&mut self, now: u64, by: i64) {
        let shown = self.read(now).0;
        *self = Self {
            since: now,
            local: shown.saturating_add_signed(by),
            ..*self
        };
    }

    fn set_rate(&mut self, now: u64, thousandths: u64) {
        self.jump(now, 0);
        self.thousandths = thousandths;
    }
}

/// What every process has, coordinator or site.
pub(crate) struct Process {
    pub(crate) disk: Disk,
    pub(crate) up: bool,
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    paused: bool,
    /// What has come while it was paused.
    held: Vec<Event>,
    sync: u64,
    disk_works: bool,
    tick_at: u64,
    /// A bit is flipped before the next start.
    flip: bool,
    /// How long it stays down after its log has failed.
    down: u64,
    operator_called: bool,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) healed: bool,
    next_event: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) problem: Option<Problem>,
    pub(crate) processes: Vec<Process>,
    pub(crate) coordinators: Vec<CoordinatorProcess>,
    pub(crate) sites: Vec<SiteProcess>,
    pub(crate) links: Vec<Link>,
    pub(crate) clients: Vec<Client>,
}

/// No run takes as many events, unless two parties talk for ever.
const MOST_EVENTS: u64 = 2_000_000;

impl World {
    pub(crate) fn new(plan: Plan, readable: bool) -> Self {
        let lies = Lies {
            failed_syncs_succeed: plan.bug == Some(Bug::SyncFailureIgnored),
            folder_syncs_do_nothing: plan.bug == Some(Bug::FolderNotSynced),
        };
        let seed = |what: u64, index: usize| {
            Rng::with_seed(
                plan.seed.wrapping_mul(0x9e37_79b9).wrapping_add(what) ^ (index as u64) << 40,
            )
        };
        let processes = (0..plan.processes()).map(|index| Process {
            disk: Disk::new(lies),
            up: false,
            life: 0,
            clock: Clock::started(0, 1_000),
            rng: seed(1, index),
            paused: false,
            held: Vec::new(),
            sync: plan.timing.sync,
            disk_works: false,
            tick_at: u64::MAX,
            flip: false,
            down: 100 * MS,
            operator_called: false,
        });
        let processes = processes.collect();
        let links = (0..plan.links()).map(|index| Link::new(&plan, index, seed(2, index)));
        let links = links.collect();
        let clients = plan.clients.iter();
        let clients = clients.map(|client| Client::new(client.clone(), seed(3, client.id)));
        let mut world = Self {
            now: 0,
            healed: false,
            next_event: 0,
            queue: BTreeMap::new(),
            trace: Trace::new(readable),
            counts: Counts::default(),
            problem: None,
            processes,
            coordinators: (0..plan.coordinators)
                .map(CoordinatorProcess::new)
                .collect(),
            sites: plan
                .sites
                .iter()
                .map(|site| SiteProcess::new(*site))
                .collect(),
            links,
            clients: clients.collect(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for proc in 0..self.processes.len() {
            self.at(0, Event::Start(proc));
        }
        for link in 0..self.links.len() {
            self.at(1, Event::Dial { link });
        }
        for (index, fault) in self.plan.faults.clone().iter().enumerate() {
            self.at(fault.at, Event::Fault(index));
        }
        self.at(self.plan.heal_at, Event::Heal);
        for client in 0..self.clients.len() {
            let at = self.clients[client].plan.at;
            self.at(at, Event::Wake(Caller { client, request: 0 }));
        }
    }

    /// Asks for an event (W1).
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue
            .insert((at.max(self.now), self.next_event), event);
    }

    pub(crate) fn after(&mut self, span: u64, event: Event) {
        self.at(self.now.saturating_add(span), event);
    }

    /// Runs until everything is over, or something is wrong.
    pub(crate) fn run(&mut self) {
        let end = self.plan.heal_at + self.plan.bound();
        while self.problem.is_none() {
            if self.healed && self.is_over() {
                return;
            }
            let Some(((at, _), event)) = self.queue.pop_first() else {
                self.fail(Problem::Stuck(self.left_over()));
                return;
            };
            if at > end || self.trace.events() > MOST_EVENTS {
                self.fail(Problem::Stuck(self.left_over()));
                return;
            }
            self.now = at;
            self.happen(event);
        }
    }

    pub(crate) fn fail(&mut self, problem: Problem) {
        self.problem.get_or_insert(problem);
    }

    /// Whether every client has ended, every process runs, and nothing is held anywhere (I7).
    fn is_over(&self) -> bool {
        self.clients.iter().all(|client| client.done)
            && self.processes.iter().all(|process| process.up)
            && self.coordinators.iter().all(CoordinatorProcess::is_empty)
            && self.sites.iter().all(SiteProcess::is_empty)
    }

    fn left_over(&self) -> String {
        let mut text = String::new();
        for (index, client) in self.clients.iter().enumerate() {
            if !client.done {
                text.push_str(&format!("client {index} waits: {}; ", client.text()));
            }
        }
        for (index, process) in self.processes.iter().enumerate() {
            if !process.up {
                text.push_str(&format!("process {index} is down; "));
            }
        }
        for coordinator in &self.coordinators {
            text.push_str(&coordinator.left_over());
        }
        for (index, site) in self.sites.iter().enumerate() {
            text.push_str(&site.left_over(index));
        }
        text
    }

    /// Which process an event happens to, if to one.
    fn target(&self, event: &Event) -> Option<ProcId> {
        match event {
            Event::Disk { proc, .. } | Event::Tick { proc, .. } => Some(*proc),
            Event::Arrive { link, wire, .. } | Event::Repeat { link, wire, .. } => {
                let link = &self.links[*link];
                Some(match wire {
                    Wire::Up(_) | Wire::PeerHello | Wire::Peer(_) => link.coordinator,
                    Wire::Down(_) => link.dialer,
                })
            }
            Event::Lost {
                link, at_dialer, ..
            } => {
                let link = &self.links[*link];
                Some(if *at_dialer {
                    link.dialer
                } else {
                    link.coordinator
                })
            }
            Event::Dial { link } => Some(self.links[*link].dialer),
            Event::Request { to, .. } => Some(*to),
            Event::Gone { site, .. } => Some(self.plan.coordinators + site),
            Event::Fault(_)
            | Event::FaultEnds(_)
            | Event::Heal
            | Event::Start(_)
            | Event::Operator { .. }
            | Event::Silence { .. }
            | Event::Answer { .. }
            | Event::Wake(_) => None,
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(proc) = self.target(&event)
            && self.processes[proc].paused
        {
            self.processes[proc].held.push(event);
            return;
        }
        self.trace.event(self.now, &event, || format!("{event:?}"));
        match event {
            Event::Fault(index) => self.fault(index),
            Event::FaultEnds(index) => self.fault_ends(index),
            Event::Heal => self.heal(),
            Event::Start(proc) => self.start(proc),
            Event::Operator { proc, life } => {
                if self.processes[proc].up && self.processes[proc].life == life {
                    let down = self.processes[proc].down;
                    let power = self.processes[proc].rng.bool();
                    self.crash(proc, power, None, down);
                }
            }
            Event::Disk { proc, life } => self.disk_done(proc, life),
            Event::Tick { proc, life, at } => self.tick(proc, life, at),
            Event::Dial { link } => self.dial(link),
            Event::Arrive {
                link,
                connection,
                wire,
            } => self.arrive(link, connection, wire),
            Event::Repeat {
                link,
                connection,
                wire,
            } => self.repeat(link, connection, wire),
            Event::Silence { link, connection } => self.silence(link, connection),
            Event::Lost {
                link,
                connection,
                at_dialer,
            } => self.lost(link, connection, at_dialer),
            Event::Request { from, to, request } => self.request(from, to, request),
            Event::Answer { to, answer } => self.answered(to, answer),
            Event::Wake(caller) => self.woken(caller),
            Event::Gone { site, name } => self.client_gone(site, name),
        }
    }

    fn request(&mut self, from: Caller, to: ProcId, request: Request) {
        if !self.processes[to].up {
            self.reply(from, Answer::Failed);
        } else if to < self.plan.coordinators {
            self.coordinator_request(to, from, request);
        } else {
            self.site_request(to - self.plan.coordinators, from, request);
        }
    }

    // Faults.

    fn fault(&mut self, index: usize) {
        let what = self.plan.faults[index].what.clone();
        self.counts.faults += 1;
        match what {
            FaultKind::Break { link } => self.break_link(link),
            FaultKind::Block {
                link,
                up,
                down,
                span,
            } => {
                self.block(link, up, down);
                self.after(span, Event::FaultEnds(index));
            }
            FaultKind::Slow { link, delay, span } => {
                self.links[link].extra_delay = delay;
                self.after(span, Event::FaultEnds(index));
            }
            FaultKind::Crash {
                proc,
                power,
                mid_write,
                flip,
                down,
            } => {
                if self.processes[proc].up {
                    self.processes[proc].flip |= flip;
                    self.crash(proc, power, mid_write, down);
                }
            }
            FaultKind::Pause { proc, span } => {
                if self.processes[proc].up && !self.processes[proc].paused {
                    self.processes[proc].paused = true;
                    self.silent_links(proc);
                    self.after(span, Event::FaultEnds(index));
                }
            }
            FaultKind::Jump { proc, by } => {
                let now = self.now;
                self.processes[proc].clock.jump(now, by);
                self.look_again(proc);
            }
            FaultKind::Rate { proc, thousandths } => {
                let now = self.now;
                self.processes[proc].clock.set_rate(now, thousandths);
                self.look_again(proc);
            }
            FaultKind::SlowDisk { proc, sync, span } => {
                self.processes[proc].sync = sync;
                self.after(span, Event::FaultEnds(index));
            }
            FaultKind::FailDisk {
                proc,
                operation,
                down,
            } => {
                self.processes[proc].down = down;
                match self.store(proc) {
                    // One of the two fails.
                    Some(store) if operation % 2 == 1 => store.fail_after(operation / 2),
                    Some(_) | None => self.processes[proc].disk.fails_in(operation),
                }
            }
            FaultKind::FullDisk { proc, span } => {
                self.processes[proc].disk.set_full(true);
                if let Some(store) = self.store(proc) {
                    store.fail_after(0);
                }
                self.after(span, Event::FaultEnds(index));
            }
        }
    }

    fn fault_ends(&mut self, index: usize) {
        match self.plan.faults[index].what.clone() {
            FaultKind::Block { link, up, down, .. } => self.unblock(link, up, down),
            FaultKind::Slow { link, .. } => self.links[link].extra_delay = 0,
            FaultKind::Pause { proc, .. } => self.resume(proc),
            FaultKind::SlowDisk { proc, .. } => {
                self.processes[proc].sync = self.plan.timing.sync;
            }
            FaultKind::FullDisk { proc, .. } => {
                self.processes[proc].disk.set_full(false);
                if let Some(store) = self.store(proc) {
                    store.mend();
                }
            }
            FaultKind::Break { .. }
            | FaultKind::Crash { .. }
            | FaultKind::Jump { .. }
            | FaultKind::Rate { .. }
            | FaultKind::FailDisk { .. } => {}
        }
    }

    /// W3. Processes that are down come back by themselves.
    fn heal(&mut self) {
        self.healed = true;
        for link in 0..self.links.len() {
            self.free(link);
        }
        for proc in 0..self.processes.len() {
            self.resume(proc);
            if let Some(store) = self.store(proc) {
                store.mend();
            }
            let now = self.now;
            let process = &mut self.processes[proc];
            process.clock.set_rate(now, 1_000);
            process.disk.set_full(false);
            process.sync = self.plan.timing.sync;
            process.flip = false;
            process.disk.fails_never();
            self.look_again(proc);
        }
    }

    fn resume(&mut self, proc: ProcId) {
        if std::mem::take(&mut self.processes[proc].paused) {
            for event in std::mem::take(&mut self.processes[proc].held) {
                self.at(self.now, event);
            }
        }
    }

    // Processes.

    pub(crate) fn crash(&mut self, proc: ProcId, power: bool, mid_write: Option<u64>, down: u64) {
        if let Some(operations) = mid_write {
            // The machine stops while a batch is being written.
            self.processes[proc].disk.dies_in(operations);
            self.write_queued(proc);
            if let Some(site) = proc.checked_sub(self.plan.coordinators) {
                self.die_at_work(site);
            }
        }
        let power = power || mid_write.is_some();
        self.counts.crashes += 1;
        if proc < self.plan.coordinators {
            self.coordinators[proc].life = None;
        } else {
            self.end_life(proc - self.plan.coordinators);
            self.crash_store(proc - self.plan.coordinators);
        }
        let process = &mut self.processes[proc];
        process.up = false;
        process.paused = false;
        process.held.clear();
        process.disk_works = false;
        process.tick_at = u64::MAX;
        process.operator_called = false;
        if power {
            let mut rng = process.rng.clone();
            process.disk.power_loss(&mut rng);
            process.rng = rng;
        } else {
            process.disk.kill();
        }
        self.drop_links(proc, power);
        self.after(down, Event::Start(proc));
    }

    /// The store of a site that has a durable one.
    fn store(&self, proc: ProcId) -> Option<&SimStorage> {
        let site = proc.checked_sub(self.plan.coordinators)?;
        self.sites[site].store.as_ref()
    }

    fn write_queued(&self, proc: ProcId) {
        let log = if proc < self.plan.coordinators {
            let life = self.coordinators[proc].life.as_ref();
            life.map(|life| &life.log)
        } else {
            let life = self.sites[proc - self.plan.coordinators].life.as_ref();
            life.map(|life| &life.log)
        };
        if let Some(log) = log {
            log.write_queued();
        }
    }

    fn start(&mut self, proc: ProcId) {
        if self.processes[proc].up {
            return;
        }
        let Some((log, records)) = self.open_log(proc) else {
            return;
        };
        let now = self.now;
        let process = &mut self.processes[proc];
        process.disk.lives();
        process.up = true;
        process.life += 1;
        process.clock = Clock::started(now, process.clock.thousandths);
        if proc < self.plan.coordinators {
            self.start_coordinator(proc, log, &records);
        } else {
            self.start_site(proc - self.plan.coordinators, log, records);
        }
    }

    /// What the disk was asked for is there.
    fn disk_done(&mut self, proc: ProcId, life: u64) {
        let process = &mut self.processes[proc];
        if !process.up || process.life != life {
            return;
        }
        process.disk_works = false;
        self.write_queued(proc);
        self.settle(proc);
    }

    fn tick(&mut self, proc: ProcId, life: u64, at: u64) {
        let process = &mut self.processes[proc];
        if !process.up || process.life != life || process.tick_at != at {
            return;
        }
        process.tick_at = u64::MAX;
        if proc < self.plan.coordinators {
            self.tick_coordinator(proc);
        } else {
            self.tick_site(proc - self.plan.coordinators);
        }
    }

    pub(crate) fn settle(&mut self, proc: ProcId) {
        if proc < self.plan.coordinators {
            self.settle_coordinator(proc);
        } else {
            self.settle_site(proc - self.plan.coordinators);
        }
    }

    pub(crate) fn clock(&self, proc: ProcId) -> Time {
        self.processes[proc].clock.read(self.now)
    }

    /// The process's clock was changed: its timers come due at another time.
    fn look_again(&mut self, proc: ProcId) {
        if self.processes[proc].up {
            self.tick_at(proc, self.now);
        }
    }

    /// Sees to it that the process looks at its timers at this true time, or earlier.
    pub(crate) fn tick_at(&mut self, proc: ProcId, at: u64) {
        let at = at.max(self.now);
        if at < self.processes[proc].tick_at {
            self.processes[proc].tick_at = at;
            let life = self.processes[proc].life;
            self.at(at, Event::Tick { proc, life, at });
        }
    }

    /// The same for a time on its own clock.
    pub(crate) fn tick_when(&mut self, proc: ProcId, deadline: Option<Time>) {
        if let Some(deadline) = deadline {
            let at = self.processes[proc].clock.reaches(deadline, self.now);
            self.tick_at(proc, at);
        }
    }

    /// Starts the disk if somebody waits for it; calls the operator if it has failed.
    pub(crate) fn see_to_log(&mut self, proc: ProcId, has_work: bool, has_failed: bool) {
        let (now, life) = (self.now, self.processes[proc].life);
        let process = &mut self.processes[proc];
        if has_work && !process.disk_works {
            process.disk_works = true;
            let span = process.rng.u64(1..=process.sync.max(1));
            self.at(now + span, Event::Disk { proc, life });
        } else if has_failed && !process.operator_called {
            process.operator_called = true;
            let span = process.down;
            self.counts.failed_logs += 1;
            self.after(span, Event::Operator { proc, life });
        }
    }

    pub(crate) fn is_paused(&self, proc: ProcId) -> bool {
        self.processes[proc].paused
    }

    pub(crate) fn take_flip(&mut self, proc: ProcId) -> bool {
        std::mem::take(&mut self.processes[proc].flip)
    }
}
