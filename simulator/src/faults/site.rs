//! A site's process: the real site, engine and log, in a shell that does what the service does: runs
//! operations, ends what its clients have left, looks at its timers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use co_core::{Priority, Stamp, VoteRule};
use coco::log::{ManualLog, Owner};
use coco::protocol::{
    AbortCause, CommitAnswer, CoordinatorId, Durability, Incarnation, ToCoordinator, ToParticipant,
    VoterConfig,
};
use participant::engine::{EngineKind, Mvcc, Optimistic, Options, Shared, Ss2pl};
use participant::site::{Input, LocalOutcome, Parts, RecoverError, Site, SiteConfig};
use participant::storage::{Memory, SimStorage, Storage};
use participant::{
    Begin, Decision, Operation, OperationError, Participant, Recorder, Reply, TxnName,
};

use super::bug::{Bug, SiteLog, records_read};
use super::coordinator::{id_of, owner_name};
use super::history::{LifeHistory, Replay, Stamps};
use super::plan::{MS, ProcId, SitePlan};
use super::tap::{Amnesia, NeverPersists, Tap};
use super::world::{Answer, Caller, Request, Wire, World};
use super::{Problem, site_name};

type Execution = Pin<Box<dyn Future<Output = Result<Reply, OperationError>> + Send>>;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Running {
    caller: Caller,
    execution: Execution,
    woken: Arc<Flag>,
}

type Queue<T> = Arc<Mutex<Vec<T>>>;

fn drain<T>(queue: &Queue<T>) -> Vec<T> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.drain(..).collect()
}

pub(crate) struct SiteProcess {
    plan: SitePlan,
    /// What is under the engine, if that is durable.
    pub(crate) store: Option<SimStorage>,
    pub(crate) life: Option<Life>,
    /// What the lives so far have recorded.
    pub(crate) histories: Vec<LifeHistory>,
}

pub(crate) struct Life {
    pub(crate) log: Arc<ManualLog>,
    site: Site,
    participant: Arc<dyn Participant>,
    is_idle: Box<dyn Fn() -> bool + Send + Sync>,
    recorder: Recorder,
    stamps: Stamps,
    replay: Replay,
    running: BTreeMap<TxnName, Running>,
    /// When each transaction's client was last heard of.
    active: BTreeMap<TxnName, u64>,
    up: Queue<(CoordinatorId, ToCoordinator)>,
    local: Queue<(Caller, LocalOutcome)>,
    ends_early: Arc<Mutex<Vec<(TxnName, Stamp)>>>,
    inquiries: BTreeMap<co_core::Gtid, u32>,
}

impl SiteProcess {
    pub(crate) fn new(plan: SitePlan) -> Self {
        Self {
            plan,
            store: plan.store.map(|_| SimStorage::new()),
            life: None,
            histories: Vec::new(),
        }
    }

    /// What is under the engine in its next life.
    fn storage(&self, bug: Option<Bug>) -> Arc<dyn Storage> {
        match &self.store {
            None => Arc::new(Memory::new()),
            Some(store) if bug == Some(Bug::PersistIgnored) => {
                Arc::new(NeverPersists(store.clone()))
            }
            Some(store) => Arc::new(store.clone()),
        }
    }

    /// No transaction, lock, mark, operation, timer is left (I7).
    pub(crate) fn is_empty(&self) -> bool {
        self.life.as_ref().is_some_and(|life| {
            life.participant.in_flight() == 0
                && life.running.is_empty()
                && life.site.next_deadline().is_none()
                && !life.log.has_work()
                && !life.site.log_failed()
                && (life.is_idle)()
        })
    }

    pub(crate) fn left_over(&self, index: usize) -> String {
        let name = site_name(index);
        match &self.life {
            Some(life) if !self.is_empty() => format!(
                "site {name}: {} in flight, {} operations run, {}, {}; ",
                life.participant.in_flight(),
                life.running.len(),
                if (life.is_idle)() {
                    "tables empty"
                } else {
                    "tables hold something"
                },
                if life.site.next_deadline().is_some() {
                    "a timer"
                } else {
                    "no timer"
                },
            ),
            Some(_) | None => String::new(),
        }
    }

    /// What the present life reads of the whole store, once nothing is undecided.
    pub(crate) fn rows(&self) -> Option<Vec<(participant::Key, participant::Value)>> {
        rows_of(&*self.life.as_ref()?.participant)
    }
}

/// What is in an engine, once nothing is undecided there.
pub(crate) fn rows_of(
    engine: &dyn Participant,
) -> Option<Vec<(participant::Key, participant::Value)>> {
    let name = TxnName::Local(u64::MAX / 2);
    let priority = Priority(0);
    engine.begin(Begin { name, priority }).ok()?;
    let range = participant::KeyRange {
        low: Arc::from([0_u8].as_slice()),
        high: None,
    };
    let operation = Operation::Scan(range);
    let mut execution = engine.execute(name, &operation);
    let polled = execution
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    drop(execution);
    let ended = engine.decide(name, Decision::Abort);
    match (polled, ended) {
        (Poll::Ready(Ok(Reply::Rows(rows))), Ok(())) => Some(rows),
        _ => None,
    }
}

/// An engine, and how to ask whether it holds anything.
pub(crate) type Engine = (Arc<dyn Participant>, Box<dyn Fn() -> bool + Send + Sync>);

/// An engine of this kind.
pub(crate) fn engine(kind: EngineKind, recorder: Recorder, storage: Arc<dyn Storage>) -> Engine {
    let rule = VoteRule::Withhold;
    let options = Options {
        rule,
        recorder,
        storage,
        ..Options::default()
    };
    macro_rules! opened {
        ($engine:expr) => {{
            let engine = Arc::new($engine);
            let seen = Arc::clone(&engine);
            (
                engine as Arc<dyn Participant>,
                Box::new(move || seen.is_idle()),
            )
        }};
    }
    match kind {
        EngineKind::Ss2pl => opened!(Ss2pl::new(options)),
        EngineKind::Sco => opened!(Ss2pl::strict_commit_order(options)),
        EngineKind::Optimistic => opened!(Optimistic::new(options)),
        EngineKind::Mvcc => opened!(Mvcc::new(options)),
        EngineKind::Shared => opened!(Shared::new(options)),
    }
}

impl World {
    /// Opens a process's log. If that fails as it should, a later start will do better.
    pub(crate) fn open_log(&mut self, proc: ProcId) -> Option<(Arc<ManualLog>, Vec<Vec<u8>>)> {
        let owner = match proc.checked_sub(self.plan.coordinators) {
            Some(site) => Owner::participant(site_name(site).as_str()),
            None => Owner::coordinator(&owner_name(proc)),
        };
        let flips = self.take_flip(proc);
        let dies = !self.healed && self.plan.faults.len() > 4 && self.processes[proc].life > 0;
        let process = &mut self.processes[proc];
        if dies && process.rng.u8(..6) == 0 {
            // The machine stops again while it opens the log.
            process.disk.dies_in(process.rng.u64(..4));
        }
        let salt = process.rng.u32(..);
        let _excused_before = process.disk.is_excused();
        let disk = process.disk.clone();
        let segment_bytes = self.plan.segment_bytes;
        let open = || ManualLog::open_in(Box::new(disk.clone()), &owner, segment_bytes, salt);
        let opened = match open() {
            Ok(opened) => opened,
            Err(error) => {
                self.not_opened(proc, &error.to_string());
                return None;
            }
        };
        if !flips {
            return Some((Arc::new(opened.0), opened.1));
        }
        let true_records = opened.1;
        drop(opened.0);
        let Some(flip) = disk.flip(&mut process.rng) else {
            return self.open_log(proc);
        };
        self.counts.flips += 1;
        match open() {
            // A bit that means nothing.
            Ok((log, records)) if records == true_records => Some((Arc::new(log), records)),
            Ok((_, records)) => {
                self.fail(Problem::Damage(format!(
                    "process {proc} starts with a flipped bit ({flip:?}): {} records for {}",
                    records.len(),
                    true_records.len()
                )));
                None
            }
            Err(_) => {
                // It stays down until the operator has restored the log.
                self.counts.flips_detected += 1;
                disk.restore(&flip);
                self.after(200 * MS, super::world::Event::Start(proc));
                None
            }
        }
    }

    fn not_opened(&mut self, proc: ProcId, error: &str) {
        let process = &mut self.processes[proc];
        let excused = process.disk.is_excused();
        let mut rng = process.rng.clone();
        process.disk.power_loss(&mut rng);
        process.rng = rng;
        if excused {
            self.counts.starts_failed += 1;
            self.after(50 * MS, super::world::Event::Start(proc));
        } else {
            self.fail(Problem::Unrecoverable(format!("process {proc}: {error}")));
        }
    }

    pub(crate) fn start_site(&mut self, index: usize, log: Arc<ManualLog>, records: Vec<Vec<u8>>) {
        let proc = self.plan.coordinators + index;
        let bug = self.plan.bug;
        let records = records_read(bug, records);
        let recorder = Recorder::memory(site_name(index).as_str());
        let process = &self.sites[index];
        let plan = process.plan;
        let replay = Replay::of(&records, process.histories.last());
        let (engine, is_idle) = engine(plan.engine, recorder.clone(), process.storage(bug));
        let stamps = Stamps::default();
        let ends_early: Arc<Mutex<Vec<(TxnName, Stamp)>>> = Arc::default();
        let tap = Arc::new(Tap {
            amnesia: Amnesia::of(&engine),
            engine,
            stamps: Arc::clone(&stamps),
            ends_early: Arc::clone(&ends_early),
            bug,
        });
        let participant: Arc<dyn Participant> = Arc::clone(&tap) as Arc<dyn Participant>;
        let site_log = Arc::new(SiteLog::new(Arc::clone(&log), bug));
        let up: Queue<(CoordinatorId, ToCoordinator)> = Arc::default();
        let outbox = Arc::clone(&up);
        let parts = Parts {
            participant: Arc::clone(&participant),
            log: Arc::clone(&site_log) as Arc<dyn coco::log::Log>,
            outbox: Box::new(move |to, message| {
                let mut queue = outbox.lock().unwrap_or_else(PoisonError::into_inner);
                queue.push((to, message));
            }),
            wake: Box::new(|| {}),
        };
        let now = self.clock(proc);
        let site = match Site::open(self.site_config(index), parts, &records, now) {
            Ok(site) => site,
            Err(error) => return self.site_not_opened(index, &error),
        };
        tap.opened();
        if let Some(bytes) = plan.store.and_then(|store| store.checkpoints) {
            site.checkpoint_every(bytes);
        }
        let replay = replay.unwrap_or_else(|text| {
            self.fail(Problem::Lost(format!("site {}: {text}", site_name(index))));
            Replay::default()
        });
        self.sites[index].life = Some(Life {
            log,
            site,
            participant,
            is_idle,
            recorder,
            stamps,
            replay,
            running: BTreeMap::new(),
            active: BTreeMap::new(),
            up,
            local: Arc::default(),
            ends_early,
            inquiries: BTreeMap::new(),
        });
        for link in self.links_of(proc) {
            self.redial(link);
        }
        self.settle_site(index);
    }

    fn site_config(&self, index: usize) -> SiteConfig {
        let timing = &self.plan.timing;
        SiteConfig {
            name: site_name(index),
            voter: VoterConfig {
                durability: Durability::Durable,
                inquire_after: Duration::from_micros(timing.inquire),
                inquire_limit: Duration::from_micros(timing.inquire_limit),
                remembered_outcomes: timing.remembered_by_sites,
                dependent_votes: self.plan.sites[index].dependent_votes,
                report_after: self.plan.reports.then_some(Duration::from_millis(5)),
                ..VoterConfig::default()
            },
            incarnation: Incarnation(0),
        }
    }

    fn site_not_opened(&mut self, index: usize, error: &RecoverError) {
        let proc = self.plan.coordinators + index;
        if let (RecoverError::Storage(_), Some(_)) = (error, &self.sites[index].store) {
            // A store fails when it is told to only, and is asked again later.
            self.counts.starts_failed += 1;
            self.processes[proc].up = false;
            self.crash_store(index);
            self.after(50 * MS, super::world::Event::Start(proc));
        } else {
            let site = site_name(index);
            self.fail(Problem::Unrecoverable(format!("site {site}: {error}")));
        }
    }

    /// The life of a site ends: what it has recorded is kept.
    pub(crate) fn end_life(&mut self, index: usize) {
        let site = &mut self.sites[index];
        if let Some(life) = site.life.take() {
            self.counts.site_checkpoints += life.site.checkpoints();
            let history = LifeHistory::new(&life.recorder, &life.stamps, life.replay);
            site.histories.push(history);
        }
    }

    /// The machine stops while the site does what follows from a write: its store takes some of what comes, and
    /// nobody hears of anything.
    pub(crate) fn die_at_work(&mut self, index: usize) {
        let proc = self.plan.coordinators + index;
        let now = self.clock(proc);
        let site = &self.sites[index];
        if let (Some(life), Some(store)) = (&site.life, &site.store) {
            store.fail_after(self.processes[proc].rng.u64(..3));
            life.site.run(now);
        }
    }

    /// What a crash leaves of the store.
    pub(crate) fn crash_store(&mut self, index: usize) {
        let rng = &mut self.processes[self.plan.coordinators + index].rng;
        if let Some(store) = &mut self.sites[index].store {
            let written = store.unpersisted();
            let survivors = rng.usize(..=written);
            self.counts.batches_lost += (written - survivors) as u64;
            *store = store.crash(survivors);
        }
    }

    /// A link has come up or gone down.
    pub(crate) fn site_link(&mut self, index: usize, coordinator: usize, up: bool) {
        let id = id_of(coordinator);
        let input = if up {
            Input::LinkUp(id)
        } else {
            Input::LinkDown(id)
        };
        self.input(index, input);
    }

    pub(crate) fn at_site(&mut self, index: usize, coordinator: usize, message: &ToParticipant) {
        self.input(index, Input::Message(id_of(coordinator), message.clone()));
    }

    fn input(&mut self, index: usize, input: Input) {
        let now = self.clock(self.plan.coordinators + index);
        if let Some(life) = &self.sites[index].life {
            life.site.handle(input, now);
            self.settle_site(index);
        }
    }

    pub(crate) fn tick_site(&mut self, index: usize) {
        let patience = self.plan.timing.idle;
        let now = self.now;
        if let Some(life) = &mut self.sites[index].life {
            let running = &life.running;
            let silent = |(name, heard): (&TxnName, &u64)| {
                (!running.contains_key(name) && heard + patience <= now).then_some(*name)
            };
            let silent: Vec<TxnName> = life.active.iter().filter_map(silent).collect();
            for name in silent {
                life.active.remove(&name);
                life.site.abandon(name, AbortCause::Timeout);
            }
        }
        self.input(index, Input::Tick);
    }

    pub(crate) fn client_gone(&mut self, index: usize, name: TxnName) {
        let Some(life) = &mut self.sites[index].life else {
            return;
        };
        life.running.remove(&name);
        if life.active.remove(&name).is_some() {
            life.site.abandon(name, AbortCause::Timeout);
        }
        self.settle_site(index);
    }

    pub(crate) fn site_request(&mut self, index: usize, from: Caller, request: Request) {
        match request {
            Request::Execute {
                name,
                priority,
                first,
                operation,
            } => {
                let begin = first.then_some(Begin { name, priority });
                if let Err(error) = self.execute(index, from, name, begin, operation) {
                    if matches!(error, OperationError::DuplicateBegin) {
                        let name = format!("{name:?} begins twice at {}", site_name(index));
                        self.fail(Problem::Refused(name));
                    }
                    self.reply(from, Answer::Failed);
                }
            }
            Request::CommitLocal { number } => {
                if let Some(life) = &mut self.sites[index].life {
                    let known = life.active.remove(&TxnName::Local(number)).is_some();
                    if known {
                        let told = Arc::clone(&life.local);
                        let done = move |outcome| {
                            let mut queue = told.lock().unwrap_or_else(PoisonError::into_inner);
                            queue.push((from, outcome));
                        };
                        life.site.commit_local(number, Box::new(done));
                    } else {
                        self.reply(from, Answer::Failed);
                    }
                }
            }
            Request::Begin { .. } | Request::End { .. } => {}
        }
        self.settle_site(index);
    }

    fn execute(
        &mut self,
        index: usize,
        caller: Caller,
        name: TxnName,
        begin: Option<Begin>,
        operation: Operation,
    ) -> Result<(), OperationError> {
        let now = self.now;
        let Some(life) = &mut self.sites[index].life else {
            return Ok(());
        };
        match begin {
            Some(begin) => life.site.begin(begin)?,
            None if !life.active.contains_key(&name) => {
                return Err(OperationError::UnknownTransaction);
            }
            None => {}
        }
        life.active.insert(name, now);
        let participant = Arc::clone(&life.participant);
        let execution = async move { participant.execute(name, &operation).await };
        let running = Running {
            caller,
            execution: Box::pin(execution),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        };
        life.running.insert(name, running);
        Ok(())
    }

    /// Lets the site do all that it can do now.
    pub(crate) fn settle_site(&mut self, index: usize) {
        let proc = self.plan.coordinators + index;
        let now = self.clock(proc);
        loop {
            let Some(life) = &mut self.sites[index].life else {
                return;
            };
            life.site.run(now);
            let mut moved = false;
            for (name, stamp) in drain(&life.ends_early) {
                moved = true;
                // The bug; that the real decision finds nothing to do is part of it.
                let _ended = life.participant.decide(name, Decision::Commit(stamp));
            }
            let answers = life.poll(self.now);
            let messages = drain(&life.up);
            let outcomes = drain(&life.local);
            moved |= !(answers.is_empty() && messages.is_empty() && outcomes.is_empty());
            for (caller, answer) in answers {
                self.reply(caller, answer);
            }
            for (to, message) in messages {
                self.say(index, to, message);
            }
            for (caller, outcome) in outcomes {
                self.reply(caller, Answer::Outcome(local_answer(outcome)));
            }
            if !moved {
                break;
            }
        }
        let Some(life) = &self.sites[index].life else {
            return;
        };
        let has_work = life.log.has_work();
        let has_failed = life.log.has_failed() || life.site.log_failed();
        let deadline = life.site.next_deadline();
        let busy = life.participant.in_flight() > 0;
        let silent = life
            .active
            .values()
            .min()
            .map(|heard| heard + self.plan.timing.idle);
        self.see_to_log(proc, has_work, has_failed);
        self.tick_when(proc, deadline);
        if busy {
            self.tick_at(proc, self.now + self.plan.timing.tick);
        }
        if let Some(at) = silent {
            self.tick_at(proc, at.max(self.now + MS));
        }
    }

    fn say(&mut self, index: usize, to: CoordinatorId, message: ToCoordinator) {
        if let (Some(Bug::DoubtGivenUp), &ToCoordinator::Inquire { gtid }) =
            (self.plan.bug, &message)
            && let Some(life) = &mut self.sites[index].life
        {
            let asked = life.inquiries.entry(gtid).or_default();
            *asked += 1;
            if *asked == 2 {
                let cause = AbortCause::Timeout;
                let decision = coco::protocol::Decision::Abort { cause };
                let message = ToParticipant::Decide { gtid, decision };
                let now = self.processes[self.plan.coordinators + index]
                    .clock
                    .read(self.now);
                life.site.handle(Input::Message(to, message), now);
                return;
            }
        }
        if let Some(coordinator) = usize::from(to.0).checked_sub(1) {
            let link = self.link_of(index, coordinator);
            self.send(link, Wire::Up(message));
        }
    }
}

fn local_answer(outcome: LocalOutcome) -> CommitAnswer {
    match outcome {
        LocalOutcome::Committed { stamp } => CommitAnswer::Committed { stamp },
        LocalOutcome::Aborted { cause } => CommitAnswer::Aborted { cause },
        LocalOutcome::Unknown => CommitAnswer::Unknown,
    }
}

impl Life {
    /// Goes on with the operations that were woken; the answers of those that have ended.
    fn poll(&mut self, now: u64) -> Vec<(Caller, Answer)> {
        let mut answers = Vec::new();
        let names: Vec<TxnName> = self.running.keys().copied().collect();
        for name in names {
            let Some(running) = self.running.get_mut(&name) else {
                continue;
            };
            if !running.woken.0.swap(false, Ordering::AcqRel) {
                continue;
            }
            let waker = Waker::from(Arc::clone(&running.woken));
            let polled = running
                .execution
                .as_mut()
                .poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(result) = polled {
                let caller = running.caller;
                self.running.remove(&name);
                self.active.insert(name, now);
                answers.push((caller, result.map_or(Answer::Failed, Answer::Replied)));
            }
        }
        answers
    }
}
