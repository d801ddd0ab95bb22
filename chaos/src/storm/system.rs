//! A whole small system in one process: a coordinator and sites with real logs on real files, and messages that
//! are handed over in memory. What the gRPC service does around the same objects, without it.
//!
//! One thread drives everything; only the logs have threads of their own, which wake it. Locals: a client is a
//! future on that thread, and borrows the system between its awaits only.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use co_core::{Gtid, Priority, VoteRule};
use coco::log::{FileLog, Log, Options, Owner, Record};
use coco::protocol::{
    BeginRefused, CallerId, CommitAnswer, Coordinator, CoordinatorConfig, CoordinatorEffect,
    CoordinatorId, Incarnation, SiteName, Time, ToCoordinator, Token, VoterConfig,
};
use participant::engine::{self, EngineKind};
use participant::site::{Input, LocalOutcome, Parts, Site, SiteConfig};
use participant::storage::{FjallStore, Memory, Storage};
use participant::{Begin, OperationError, Participant, Recorder, TxnName};
use tokio::sync::{Notify, oneshot};

use super::bug::{Bug, StormLog};
use super::folder::{Death, MortalFolder, Phase, during};
use crate::lives;
use crate::run::Store;

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(2);

/// Small, so that a short life fills several.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Small, so that a short life cuts its log.
const CHECKPOINT_BYTES: u64 = 8 << 10;

const COORDINATOR: CoordinatorId = CoordinatorId(1);

/// What a life is started with.
#[derive(Clone, Debug)]
pub(super) struct Setup<'a> {
    pub(super) folder: &'a Path,
    pub(super) engines: &'a [EngineKind],
    pub(super) store: Store,
    pub(super) life: u64,
    pub(super) death: Option<&'a Death>,
    pub(super) bug: Option<Bug>,
}

#[derive(Clone)]
pub(super) struct System {
    core: Rc<RefCell<Core>>,
    woken: Arc<Notify>,
}

type Queue<T> = Arc<Mutex<VecDeque<T>>>;

struct Core {
    started: Instant,
    coordinator: Coordinator,
    log: Arc<dyn Log>,
    durable: Queue<Option<Token>>,
    sites: Vec<Node>,
    /// From the sites to the coordinator.
    up: Queue<(usize, ToCoordinator)>,
    callers: BTreeMap<CallerId, oneshot::Sender<CommitAnswer>>,
    next_caller: u64,
    woken: Arc<Notify>,
}

struct Node {
    name: SiteName,
    site: Site,
    participant: Arc<dyn Participant>,
}

/// The name of a site.
pub(super) fn site_name(index: usize) -> String {
    ["A", "B", "C", "D", "E", "F", "G", "H"][index % 8].to_owned()
}

fn drain<T>(queue: &Queue<T>) -> VecDeque<T> {
    std::mem::take(&mut *queue.lock().unwrap_or_else(PoisonError::into_inner))
}

fn push<T>(queue: &Queue<T>, item: T) {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.push_back(item);
}

/// A log and the records that it holds.
type Opened = (Arc<dyn Log>, Vec<Vec<u8>>);

/// Opens a log, number 0 for the coordinator's.
fn open_log(setup: &Setup<'_>, number: usize, path: &Path, owner: &Owner) -> Result<Opened> {
    let death = setup.death.filter(|death| death.log == number).cloned();
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    let (log, mut records) = during(Phase::Open, || -> Result<_> {
        let folder = MortalFolder::open(path, death)?;
        Ok(FileLog::open_in(Box::new(folder), owner, options)?)
    })?;
    if setup.bug == Some(Bug::LastRecordForgotten) {
        records.pop();
    }
    let log = StormLog::new(Arc::new(log), setup.bug, records.len());
    Ok((Arc::new(log), records))
}

impl System {
    /// Recovers everything from what is in the folder.
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self> {
        let woken = Arc::new(Notify::new());
        let owner = Owner::coordinator("C1");
        let (log, records) = open_log(setup, 0, &setup.folder.join("coordinator"), &owner)?;
        let records: Result<Vec<Record>, _> =
            records.iter().map(|bytes| Record::decode(bytes)).collect();
        let config = CoordinatorConfig {
            vote_timeout: Duration::from_millis(200),
            idle_timeout: Duration::from_millis(500),
            resend_after: Duration::from_millis(50),
            ..CoordinatorConfig::default()
        };
        let mut effects = Vec::new();
        let coordinator = Coordinator::recover(config, COORDINATOR, records?, &mut effects)?;
        let mut core = Core {
            started: Instant::now(),
            coordinator,
            log,
            durable: Queue::default(),
            sites: Vec::new(),
            up: Queue::default(),
            callers: BTreeMap::new(),
            next_caller: 0,
            woken: Arc::clone(&woken),
        };
        for index in 0..setup.engines.len() {
            let node = core.open_site(setup, index);
            core.sites
                .push(node.with_context(|| format!("site {}", site_name(index)))?);
        }
        core.perform(effects);
        let now = core.now();
        for node in &core.sites {
            node.site.handle(Input::LinkUp(COORDINATOR), now);
        }
        core.pump();
        let core = Rc::new(RefCell::new(core));
        Ok(Self { core, woken })
    }

    /// Drives everything; never ends.
    pub(super) async fn drive(self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            let ticked = tokio::select! {
                () = self.woken.notified() => false,
                _ = tick.tick() => true,
            };
            let mut core = self.core.borrow_mut();
            if ticked {
                core.tick();
            }
            core.pump();
        }
    }

    /// Waits until nothing is undecided anywhere, and transactions can begin.
    pub(super) async fn quiet(&self) {
        while !self.core.borrow().is_quiet() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }

    pub(super) fn begin(&self) -> Result<(Gtid, Priority), BeginRefused> {
        let mut core = self.core.borrow_mut();
        let (now, mut effects) = (core.now(), Vec::new());
        let begun = core.coordinator.handle_begin(now, None, &mut effects);
        core.perform(effects);
        begun.map(|begun| (begun.gtid, begun.priority))
    }

    pub(super) fn begin_at(&self, site: usize, begin: Begin) -> Result<(), OperationError> {
        self.core.borrow().sites[site].site.begin(begin)
    }

    pub(super) fn participant(&self, site: usize) -> Arc<dyn Participant> {
        Arc::clone(&self.core.borrow().sites[site].participant)
    }

    /// Something was done at an engine: there may be news.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Asks for the commit of a global transaction, or for its rollback.
    pub(super) async fn end(&self, gtid: Gtid, sites: &[usize], commit: bool) -> CommitAnswer {
        let answer = {
            let mut core = self.core.borrow_mut();
            core.next_caller += 1;
            let caller = CallerId(core.next_caller);
            let (tell, answer) = oneshot::channel();
            core.callers.insert(caller, tell);
            let names = sites.iter().map(|site| core.sites[*site].name.clone());
            let names: Vec<SiteName> = names.collect();
            let how = if commit {
                Coordinator::handle_commit
            } else {
                Coordinator::handle_rollback
            };
            let (now, mut effects) = (core.now(), Vec::new());
            how(
                &mut core.coordinator,
                now,
                caller,
                gtid,
                &names,
                &mut effects,
            );
            core.perform(effects);
            core.pump();
            answer
        };
        answer.await.unwrap_or(CommitAnswer::Unknown)
    }

    pub(super) async fn commit_local(&self, site: usize, name: u64) -> LocalOutcome {
        let (tell, answer) = oneshot::channel();
        {
            let mut core = self.core.borrow_mut();
            let done = move |outcome| {
                // Whoever asked may have gone.
                let _gone = tell.send(outcome);
            };
            core.sites[site].site.commit_local(name, Box::new(done));
            core.pump();
        }
        answer.await.unwrap_or(LocalOutcome::Unknown)
    }

    /// Gives a transaction up at a site.
    pub(super) fn abandon(&self, site: usize, name: TxnName) {
        let cause = coco::protocol::AbortCause::Client;
        self.core.borrow().sites[site].site.abandon(name, cause);
        self.wake();
    }

    /// Ends the histories.
    pub(super) fn finish(&self) -> Result<()> {
        for node in &self.core.borrow().sites {
            node.participant.recorder().finish()?;
        }
        Ok(())
    }
}

impl Core {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn open_site(&self, setup: &Setup<'_>, index: usize) -> Result<Node> {
        let name = site_name(index);
        let folder = setup.folder.join(&name);
        let (log, records) = open_log(setup, index + 1, &folder, &Owner::participant(&name))?;
        let storage: Arc<dyn Storage> = match setup.store {
            Store::Memory => Arc::new(Memory::new()),
            Store::Fjall => Arc::new(FjallStore::open(&folder.join("store"), &name)?),
        };
        let history = std::fs::File::create(lives::file(setup.folder, &name, setup.life))?;
        let options = engine::Options {
            rule: VoteRule::Withhold,
            recorder: Recorder::to_writer(&name, Box::new(history)),
            storage,
            ..engine::Options::default()
        };
        let participant = engine::open_with(setup.engines[index], options);
        let site_name = SiteName::new(&name);
        let config = SiteConfig {
            name: site_name.clone(),
            voter: VoterConfig::default(),
            incarnation: Incarnation::default(),
        };
        let (up, woken, heard) = (
            Arc::clone(&self.up),
            Arc::clone(&self.woken),
            Arc::clone(&self.woken),
        );
        let parts = Parts {
            participant: Arc::clone(&participant),
            log,
            outbox: Box::new(move |_, message| {
                push(&up, (index, message));
                heard.notify_one();
            }),
            wake: Box::new(move || woken.notify_one()),
        };
        let site = Site::open(config, parts, &records, self.now())?;
        site.checkpoint_every(CHECKPOINT_BYTES);
        Ok(Node {
            name: site_name,
            site,
            participant,
        })
    }

    fn is_quiet(&self) -> bool {
        let sites = &self.sites;
        self.coordinator.is_serving()
            && self.coordinator.transactions().next().is_none()
            && sites.iter().all(|node| {
                node.site.is_serving()
                    && node.site.in_doubt().is_empty()
                    && node.participant.in_flight() == 0
            })
    }

    fn tick(&mut self) {
        let (now, mut effects) = (self.now(), Vec::new());
        self.coordinator.handle_tick(now, &mut effects);
        self.perform(effects);
        for node in &self.sites {
            node.site.handle(Input::Tick, now);
        }
    }

    /// Goes on until nobody has anything to say.
    fn pump(&mut self) {
        loop {
            let now = self.now();
            let mut effects = Vec::new();
            for token in drain(&self.durable) {
                match token {
                    Some(token) => self.coordinator.handle_durable(now, token, &mut effects),
                    None => self.coordinator.handle_log_failed(now, &mut effects),
                }
            }
            for node in &self.sites {
                node.site.run(now);
            }
            for (site, message) in drain(&self.up) {
                let name = self.sites[site].name.clone();
                self.coordinator
                    .handle_message(now, &name, message, &mut effects);
            }
            if effects.is_empty() {
                return;
            }
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<CoordinatorEffect>) {
        for effect in effects {
            match effect {
                CoordinatorEffect::Append { record, token } => {
                    let (durable, woken) = (Arc::clone(&self.durable), Arc::clone(&self.woken));
                    let done = move |written: Result<_, _>| {
                        push(&durable, written.ok().map(|_lsn| token));
                        woken.notify_one();
                    };
                    self.log.append(&record.encode(), Box::new(done));
                }
                CoordinatorEffect::AppendLazy { record } => self.log.append_lazy(&record.encode()),
                CoordinatorEffect::Send { to, message } => {
                    let now = self.now();
                    let node = self.sites.iter().find(|node| node.name == to);
                    if let Some(node) = node {
                        node.site.handle(Input::Message(COORDINATOR, message), now);
                    }
                }
                CoordinatorEffect::Answer { caller, answer, .. } => {
                    if let Some(tell) = self.callers.remove(&caller) {
                        // Whoever asked may have gone.
                        let _gone = tell.send(answer);
                    }
                }
                CoordinatorEffect::SendPeer { .. } | CoordinatorEffect::Note(_) => {}
            }
        }
    }
}
