//! One site, its log and its storage, crashed everywhere: every acknowledged commit is there once, nothing else
//! is, and the checker finds the history of all lives commitment ordered.
//!
//! The coordinator is played by the test: it decides to commit what has voted YES, keeps its decisions, and says
//! them again after every restart. What a crash leaves of log and storage is any prefix of what was not durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use checker::Level;
use co_core::{Gtid, Priority, Stamp, VoteRule};
use coco::log::MemoryLog;
use coco::protocol::{
    AbortCause, Ballot, CoordinatorId, Decision, Durability, Incarnation, SiteName, Time,
    ToCoordinator, ToParticipant, VoterConfig,
};
use participant::engine::{EngineKind, Options, open_with};
use participant::site::{Input, LocalOutcome, Parts, Site, SiteConfig};
use participant::storage::{Memory, SimStorage, Storage, StorageError};
use participant::{
    Begin, Key, KeyRange, Operation, OperationError, Recorder, Reply, TxnName, Value,
};

use crate::judge::assert_valid;

/// The coordinator whose id is the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

type Said = Arc<Mutex<Vec<ToCoordinator>>>;
type Outcomes = Arc<Mutex<Vec<(u64, LocalOutcome)>>>;

struct World {
    kind: EngineKind,
    site: Site,
    log: MemoryLog,
    /// `None`: the storage is in memory.
    storage: Option<SimStorage>,
    recorder: Recorder,
    said: Said,
    outcomes: Outcomes,
    random: Random,
    next: u64,
    /// Global transactions that work, and which of them were asked to vote.
    working: Vec<u64>,
    asked: BTreeMap<u64, bool>,
    /// What the coordinator has decided and the site has not acknowledged.
    decided: BTreeMap<u64, Stamp>,
    /// One-phase transactions whose outcome is not known.
    one_phase: BTreeSet<u64>,
    locals: Vec<u64>,
    committing: BTreeSet<u64>,
    /// How many increments of the counter are acknowledged, and how many may be there.
    sure: u64,
    perhaps: u64,
    checkpoints: u64,
}

fn key(name: u64) -> Key {
    Key::from([b'k', u8::try_from(name).unwrap()].as_slice())
}

fn counter() -> Key {
    Key::from(b"counter".as_slice())
}

const CHECKPOINT_BYTES: u64 = 600;

fn start(
    kind: EngineKind,
    log: &MemoryLog,
    storage: Option<&SimStorage>,
    recorder: &Recorder,
    said: &Said,
) -> Site {
    let storage: Arc<dyn Storage> = match storage {
        Some(storage) => Arc::new(storage.clone()),
        None => Arc::new(Memory::new()),
    };
    let options = Options {
        rule: VoteRule::Withhold,
        recorder: recorder.clone(),
        storage,
        kept_commits: 4,
    };
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter: VoterConfig {
            durability: Durability::Durable,
            ..VoterConfig::default()
        },
        incarnation: Incarnation(0),
    };
    let out = Arc::clone(said);
    let parts = Parts {
        participant: open_with(kind, options),
        log: Arc::new(log.clone()),
        outbox: Box::new(move |_, message| out.lock().unwrap().push(message)),
        wake: Box::new(|| {}),
    };
    let site = Site::open(config, parts, &log.durable(), Time(0)).unwrap();
    site.checkpoint_every(CHECKPOINT_BYTES);
    site
}

impl World {
    fn new(kind: EngineKind, durable: bool, seed: u64) -> Self {
        let (log, storage) = (MemoryLog::manual(), durable.then(SimStorage::new));
        let (recorder, said) = (Recorder::memory("s"), Said::default());
        let site = start(kind, &log, storage.as_ref(), &recorder, &said);
        Self {
            kind,
            site,
            log,
            storage,
            recorder,
            said,
            outcomes: Outcomes::default(),
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            next: 1,
            working: Vec::new(),
            asked: BTreeMap::new(),
            decided: BTreeMap::new(),
            one_phase: BTreeSet::new(),
            locals: Vec::new(),
            committing: BTreeSet::new(),
            sure: 0,
            perhaps: 0,
            checkpoints: 0,
        }
    }

    fn crash(&mut self, log_survivors: usize, storage_survivors: usize) {
        self.checkpoints += self.site.checkpoints();
        self.log = MemoryLog::manual().holding(self.log.crash(log_survivors));
        self.storage = self.storage.as_ref().map(|it| it.crash(storage_survivors));
        self.said.lock().unwrap().clear();
        self.outcomes.lock().unwrap().clear();
        // Of these the client hears nothing any more.
        self.perhaps += self.committing.len() as u64;
        self.committing.clear();
        self.locals.clear();
        self.working.clear();
        self.site = start(
            self.kind,
            &self.log,
            self.storage.as_ref(),
            &self.recorder,
            &self.said,
        );
        self.log.sync();
        self.site.handle(Input::LinkUp(C), Time(1));
        let hello = self.said.lock().unwrap().first().cloned();
        let Some(ToCoordinator::Hello { in_doubt, .. }) = hello else {
            panic!("{hello:?}");
        };
        // Presumed abort: whoever is not decided is aborted, unless it has voted again.
        let in_doubt: BTreeSet<u64> = in_doubt.iter().map(|gtid| gtid.0).collect();
        self.asked
            .retain(|gtid, one_phase| *one_phase || in_doubt.contains(gtid));
        for gtid in self.decided.keys() {
            let known = in_doubt.contains(gtid);
            assert!(
                known || !self.asked.contains_key(gtid),
                "G{gtid} was forgotten"
            );
        }
        // What the site refused when its log failed, and has on its disk nevertheless.
        for gtid in in_doubt {
            if !self.asked.contains_key(&gtid) && !self.decided.contains_key(&gtid) {
                let cause = AbortCause::LogFailure;
                self.say(ToParticipant::Decide {
                    gtid: Gtid(gtid),
                    decision: Decision::Abort { cause },
                });
            }
        }
        for gtid in std::mem::take(&mut self.one_phase) {
            self.say(ToParticipant::CommitOnePhase { gtid: Gtid(gtid) });
            self.one_phase.insert(gtid);
        }
        self.say_decisions();
        self.hear();
    }

    fn say(&self, message: ToParticipant) {
        self.site.handle(Input::Message(C, message), Time(2));
    }

    fn say_decisions(&self) {
        for (gtid, stamp) in &self.decided {
            let decision = Decision::Commit { stamp: *stamp };
            self.say(ToParticipant::Decide {
                gtid: Gtid(*gtid),
                decision,
            });
        }
    }

    fn hear(&mut self) {
        self.site.run(Time(2));
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        for message in said {
            match message {
                ToCoordinator::Vote {
                    gtid,
                    ballot: Ballot::Yes { stamp, .. },
                } => {
                    if self.asked.remove(&gtid.0).is_some() {
                        // Everybody else has voted with some stamp or other.
                        let stamp = Stamp(stamp.0 + self.random.below(3));
                        self.decided.insert(gtid.0, stamp);
                        self.sure += 1;
                    }
                }
                ToCoordinator::Vote { gtid, .. } => {
                    self.asked.remove(&gtid.0);
                }
                ToCoordinator::OnePhaseDone { gtid, decision, .. } => {
                    self.asked.remove(&gtid.0);
                    if self.one_phase.remove(&gtid.0) {
                        match decision {
                            Decision::Commit { .. } => self.sure += 1,
                            // It cannot know what it did before its last crash.
                            Decision::Abort {
                                cause: AbortCause::UnknownTransaction,
                            } => self.perhaps += 1,
                            Decision::Abort { .. } => {}
                        }
                    }
                }
                ToCoordinator::Ack { gtid } => {
                    self.decided.remove(&gtid.0);
                }
                ToCoordinator::Hello { .. }
                | ToCoordinator::Blocked { .. }
                | ToCoordinator::Inquire { .. } => {}
            }
        }
        for (name, outcome) in std::mem::take(&mut *self.outcomes.lock().unwrap()) {
            assert!(self.committing.remove(&name));
            match outcome {
                LocalOutcome::Committed { .. } => self.sure += 1,
                LocalOutcome::Aborted { .. } => {}
                LocalOutcome::Unknown => {
                    assert!(self.site.log_failed());
                    self.perhaps += 1;
                }
            }
        }
    }

    /// Runs one operation; a transaction that waits or aborts is given up.
    fn operate(&self, name: TxnName, operation: &Operation) -> bool {
        let mut running = self.site.participant().execute(name, operation);
        let done = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(running);
        let done = matches!(done, Poll::Ready(Ok(_)));
        if !done {
            self.site.abandon(name, AbortCause::Client);
        }
        done
    }

    fn begin(&mut self, name: TxnName, number: u64) -> bool {
        let priority = Priority(number);
        self.site.begin(Begin { name, priority }).unwrap();
        for _ in 0..self.random.below(3) {
            let some = key(self.random.below(6));
            let operation = match self.random.below(5) {
                0 => Operation::Get(some),
                1 => Operation::Put(some, Value::from(number.to_le_bytes().as_slice())),
                2 => Operation::Delete(some),
                3 => Operation::Increment(Key::from(b"n".as_slice()), 1),
                _ => Operation::Scan(KeyRange {
                    low: key(2),
                    high: Some(key(4)),
                }),
            };
            if !self.operate(name, &operation) {
                return false;
            }
        }
        // Every transaction that changes something counts itself.
        self.operate(name, &Operation::Increment(counter(), 1))
    }

    fn begin_global(&mut self) {
        let number = self.next();
        if self.begin(TxnName::Global(Gtid(number)), number) {
            self.working.push(number);
        }
    }

    fn begin_local(&mut self) {
        let number = self.next();
        if self.begin(TxnName::Local(number), number) {
            self.locals.push(number);
        }
    }

    /// A transaction that only reads: its history must hold whatever becomes of what it saw.
    fn read(&mut self) {
        let number = self.next();
        let name = TxnName::Local(number);
        let priority = Priority(number);
        self.site.begin(Begin { name, priority }).unwrap();
        let keys = [key(self.random.below(6)), key(self.random.below(6))];
        if keys
            .into_iter()
            .all(|key| self.operate(name, &Operation::Get(key)))
        {
            self.site.commit_local(number, Box::new(|_| {}));
            self.site.run(Time(2));
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=1 => self.begin_global(),
            2 => self.begin_local(),
            3..=4 if !self.working.is_empty() => {
                let gtid = self.working.swap_remove(0);
                self.asked.insert(gtid, false);
                self.say(ToParticipant::prepare(Gtid(gtid)));
            }
            5 if !self.working.is_empty() => {
                let gtid = self.working.swap_remove(0);
                self.asked.insert(gtid, true);
                self.one_phase.insert(gtid);
                self.say(ToParticipant::CommitOnePhase { gtid: Gtid(gtid) });
            }
            6 if !self.locals.is_empty() => {
                let name = self.locals.swap_remove(0);
                self.committing.insert(name);
                let outcomes = Arc::clone(&self.outcomes);
                let told = move |outcome| outcomes.lock().unwrap().push((name, outcome));
                self.site.commit_local(name, Box::new(told));
                self.site.run(Time(2));
            }
            7 => self.say_decisions(),
            8 => self.read(),
            9 => self.log.sync(),
            _ => self.hear(),
        }
    }

    /// Everything is decided; the counter says how often, and the checker what it thinks of the history.
    fn finish(mut self, case: &str) -> u64 {
        for _ in 0..200 {
            self.site.flush();
            self.log.sync();
            self.hear();
            self.say_decisions();
            for gtid in std::mem::take(&mut self.working) {
                let name = TxnName::Global(Gtid(gtid));
                assert!(self.site.abandon(name, AbortCause::Client));
            }
            for name in std::mem::take(&mut self.locals) {
                assert!(self.site.abandon(TxnName::Local(name), AbortCause::Client));
            }
            if self.decided.is_empty() && self.asked.is_empty() && self.committing.is_empty() {
                break;
            }
        }
        let left = (&self.decided, &self.asked, &self.committing);
        assert_eq!(self.site.participant().in_flight(), 0, "{case}: {left:?}");
        let read = |world: &mut Self| {
            let number = world.next();
            let name = TxnName::Local(number);
            let priority = Priority(number);
            world.site.begin(Begin { name, priority }).unwrap();
            let get = Operation::Get(counter());
            let mut running = world.site.participant().execute(name, &get);
            let reply = running
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            drop(running);
            world.site.commit_local(number, Box::new(|_| {}));
            world.site.run(Time(3));
            match &reply {
                Poll::Ready(Ok(Reply::Value(value))) => {
                    let value = value.as_deref();
                    value.map_or(0, |value| u64::from_le_bytes(value.try_into().unwrap()))
                }
                Poll::Ready(_) | Poll::Pending => panic!("{case}: {reply:?}"),
            }
        };
        let before = read(&mut self);
        let (sure, most) = (self.sure, self.sure + self.perhaps);
        assert!(
            (sure..=most).contains(&before),
            "{case}: {before} of {sure}..={most}"
        );
        // And once more after a last restart, with everything on the disk.
        self.crash(usize::MAX, usize::MAX);
        assert_eq!(read(&mut self), before, "{case}");
        self.checkpoints += self.site.checkpoints();
        self.recorder.finish().unwrap();
        let history = self.recorder.text().unwrap();
        assert_valid(case, &history, Level::CommitmentOrdering);
        self.checkpoints
    }
}

const STEPS: usize = 90;

/// How much of what was not durable survives: nothing, some of it, all.
const SURVIVORS: [(usize, usize); 5] = [
    (0, 0),
    (1, 0),
    (2, 1),
    (usize::MAX, 0),
    (usize::MAX, usize::MAX),
];

fn check(kind: EngineKind, durable: bool) {
    let mut checkpoints = 0;
    for seed in 1..=2 {
        for at in 0..STEPS {
            let (log, storage) = SURVIVORS[(at + usize::try_from(seed).unwrap()) % SURVIVORS.len()];
            let case = format!(
                "{kind} durable {durable} seed {seed} crash at {at} of {log:?}/{storage:?}"
            );
            let mut world = World::new(kind, durable, seed);
            world.log.sync();
            world.site.handle(Input::LinkUp(C), Time(0));
            for step in 0..STEPS {
                world.step();
                if step == at || step == at + 7 {
                    world.crash(log, storage);
                }
            }
            checkpoints += world.finish(&case);
        }
    }
    assert_eq!(
        checkpoints > 100,
        durable,
        "{kind}: {checkpoints} checkpoints"
    );
}

#[test]
fn ss2pl_survives_a_crash_anywhere() {
    check(EngineKind::Ss2pl, true);
}

#[test]
fn sco_survives_a_crash_anywhere() {
    check(EngineKind::Sco, true);
}

#[test]
fn optimistic_survives_a_crash_anywhere() {
    check(EngineKind::Optimistic, true);
}

#[test]
fn mvcc_survives_a_crash_anywhere() {
    check(EngineKind::Mvcc, true);
}

#[test]
fn a_store_in_memory_is_replayed_after_a_crash_anywhere() {
    for kind in EngineKind::ALL {
        check(kind, false);
    }
}

#[test]
fn a_storage_that_fails_stops_the_site_and_a_restart_loses_nothing() {
    for kind in EngineKind::ALL {
        for fails_after in 0..12 {
            let case = format!("{kind} fails after {fails_after}");
            let mut world = World::new(kind, true, 7);
            world.log.sync();
            world.site.handle(Input::LinkUp(C), Time(0));
            let storage = world.storage.clone().unwrap();
            storage.fail_after(fails_after);
            for _ in 0..3 * STEPS {
                if world.site.participant().stored().failure().is_some() {
                    break;
                }
                world.step();
            }
            let failure = world.site.participant().stored().failure();
            assert!(matches!(failure, Some(StorageError::NoSpace(_))), "{case}");
            world.site.handle(Input::Tick, Time(5));
            assert!(world.site.log_failed(), "{case}: S7");
            // Nothing is answered from now on: it is refused, or waits for what cannot end.
            let name = TxnName::Local(99_999);
            let priority = Priority(99_999);
            world.site.begin(Begin { name, priority }).unwrap();
            let get = Operation::Get(counter());
            let mut running = world.site.participant().execute(name, &get);
            let refused = running
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            let failed = Poll::Ready(Err(OperationError::StorageFailed));
            assert!(
                refused == failed || refused.is_pending(),
                "{case}: {refused:?}"
            );
            drop(running);
            world.hear();
            world.crash(usize::MAX, 0);
            world.finish(&case);
        }
    }
}
