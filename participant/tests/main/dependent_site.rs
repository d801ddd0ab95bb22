//! A site whose votes depend on each other, restarted between any two steps: the votes come back in their order,
//! what the log has settled is settled, and the checker judges the history of all lives.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use checker::Level;
use co_core::{Gtid, Priority, Stamp, VoteRule};
use coco::log::MemoryLog;
use coco::protocol::{
    AbortCause, Ballot, CoordinatorId, Decision, Durability, Incarnation, SiteName, Time,
    ToCoordinator, ToParticipant, VoterConfig,
};
use participant::conformance::{get, put};
use participant::engine::{EngineKind, Options, open_with};
use participant::site::{Input, Parts, RecoverError, Site, SiteConfig};
use participant::storage::{Memory, SimStorage, Storage};
use participant::{Begin, Operation, Recorder, Reply, TxnName};

use crate::judge::assert_valid;

/// The coordinators whose ids are the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);
const D: CoordinatorId = CoordinatorId(1);

type Said = Arc<Mutex<Vec<ToCoordinator>>>;

pub(crate) struct Rig {
    pub(crate) site: Site,
    log: MemoryLog,
    storage: Option<SimStorage>,
    recorder: Recorder,
    said: Said,
}

fn start(
    kind: EngineKind,
    log: &MemoryLog,
    storage: Option<&SimStorage>,
    recorder: &Recorder,
    said: &Said,
) -> Result<Site, RecoverError> {
    let under: Arc<dyn Storage> = match storage {
        Some(storage) => Arc::new(storage.clone()),
        None => Arc::new(Memory::new()),
    };
    let options = Options {
        rule: VoteRule::Withhold,
        recorder: recorder.clone(),
        storage: under,
        kept_commits: 4,
    };
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter: VoterConfig {
            durability: Durability::Durable,
            dependent_votes: true,
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
    Site::open(config, parts, &log.durable(), Time(0))
}

impl Rig {
    pub(crate) fn new(storage: Option<SimStorage>) -> Self {
        let (log, recorder, said) = (MemoryLog::manual(), Recorder::memory("s"), Said::default());
        let site = start(EngineKind::Shared, &log, storage.as_ref(), &recorder, &said).unwrap();
        let rig = Self {
            site,
            log,
            storage,
            recorder,
            said,
        };
        rig.link();
        rig
    }

    fn link(&self) {
        self.sync();
        for coordinator in [C, D] {
            self.site.handle(Input::LinkUp(coordinator), Time(1));
        }
    }

    /// The machine stops; `unsynced` of the records that were not durable are on the disk all the same.
    pub(crate) fn restart(&mut self, unsynced: usize) {
        self.log = MemoryLog::manual().holding(self.log.crash(unsynced));
        self.storage = self.storage.as_ref().map(|it| it.crash(0));
        self.said.lock().unwrap().clear();
        let kind = EngineKind::Shared;
        let storage = self.storage.as_ref();
        self.site = start(kind, &self.log, storage, &self.recorder, &self.said).unwrap();
        self.link();
    }

    pub(crate) fn sync(&self) {
        self.site.flush();
        self.log.sync();
        self.site.run(Time(1));
    }

    /// What was said about a transaction since the last time.
    pub(crate) fn votes(&self, number: u64) -> Vec<Ballot> {
        let mut said = self.said.lock().unwrap();
        let mut votes = Vec::new();
        said.retain(|message| {
            if let ToCoordinator::Vote { gtid, ballot } = message
                && gtid.0 == number
            {
                votes.push(ballot.clone());
                return false;
            }
            true
        });
        votes
    }

    pub(crate) fn run(&self, number: u64, operations: &[Operation]) -> Vec<Reply> {
        let name = TxnName::Global(Gtid(number));
        let priority = Priority(number);
        self.site.begin(Begin { name, priority }).unwrap();
        let run = |operation: &Operation| {
            let mut running = self.site.participant().execute(name, operation);
            let mut context = Context::from_waker(Waker::noop());
            match running.as_mut().poll(&mut context) {
                Poll::Ready(reply) => reply.unwrap(),
                Poll::Pending => panic!("{operation:?} waits"),
            }
        };
        operations.iter().map(run).collect()
    }

    fn say(&self, message: ToParticipant) {
        let from = CoordinatorId(u8::try_from(message.gtid().0 >> 56).unwrap());
        self.site.handle(Input::Message(from, message), Time(2));
    }

    pub(crate) fn prepare(&self, number: u64) {
        let gtid = Gtid(number);
        let dependent = true;
        self.say(ToParticipant::Prepare { gtid, dependent });
    }

    pub(crate) fn commit(&self, number: u64, stamp: u64) {
        let stamp = Stamp(stamp);
        self.decide(number, Decision::Commit { stamp });
    }

    pub(crate) fn abort(&self, number: u64) {
        let cause = AbortCause::Client;
        self.decide(number, Decision::Abort { cause });
    }

    fn decide(&self, number: u64, decision: Decision) {
        let gtid = Gtid(number);
        self.say(ToParticipant::Decide { gtid, decision });
    }

    /// The records on their way are lost, and the log is.
    pub(crate) fn fail_log(&self) {
        self.log.fail_next_sync();
        self.sync();
    }

    /// Whether a commit was acknowledged since the last time.
    pub(crate) fn acknowledged(&self, number: u64) -> bool {
        let mut said = self.said.lock().unwrap();
        let before = said.len();
        said.retain(|it| *it != ToCoordinator::Ack { gtid: Gtid(number) });
        said.len() < before
    }

    /// Ends the run: nothing is left, `x` and `y` hold this, and the history is in order.
    pub(crate) fn ends_with(self, x: &str, y: &str) {
        self.sync();
        assert_eq!(self.site.participant().in_flight(), 0);
        let number = 999;
        let replies = self.run(number, &[get("x"), get("y")]);
        let text = |reply: &Reply| match reply {
            Reply::Value(Some(value)) => String::from_utf8(value.to_vec()).unwrap(),
            Reply::Value(None) => String::new(),
            Reply::Rows(_) | Reply::Done | Reply::Table(_) => panic!("{reply:?}"),
        };
        assert_eq!([text(&replies[0]), text(&replies[1])], [x, y]);
        self.abort(number);
        self.sync();
        self.recorder.finish().unwrap();
        let history = self.recorder.text().unwrap();
        for level in [Level::Serializability, Level::CommitmentOrdering] {
            assert_valid("restarted", &history, level);
        }
    }
}

/// The stamp of a YES, and whom it depends on: after these, and on these.
pub(crate) fn yes(votes: &[Ballot]) -> (u64, Vec<u64>, Vec<u64>) {
    let [Ballot::Yes { stamp, depends, .. }] = votes else {
        panic!("one YES: {votes:?}");
    };
    let numbers = |gtids: &std::collections::BTreeSet<Gtid>| gtids.iter().map(|it| it.0).collect();
    (
        stamp.0,
        numbers(&depends.after),
        numbers(&depends.if_committed),
    )
}

pub(crate) const REFUSED: Ballot = Ballot::No {
    cause: AbortCause::Cascade,
};

/// T1 writes `x`, T2 reads it and writes `y`, T3 overwrites `x`: all have voted.
pub(crate) fn three(storage: Option<SimStorage>) -> Rig {
    let rig = Rig::new(storage);
    rig.run(1, &[put("x", "1")]);
    let saw = rig.run(2, &[get("x"), put("y", "2")]);
    assert_eq!(saw[0], participant::conformance::found("1"));
    rig.run(3, &[put("x", "3")]);
    for number in [1, 2, 3] {
        rig.prepare(number);
    }
    rig
}

#[test]
fn a_restart_between_two_votes_keeps_the_first() {
    let mut rig = three(None);
    rig.restart(1);
    assert!(yes(&rig.votes(1)).1.is_empty());
    assert_eq!(rig.votes(2), []);
    rig.commit(1, 5);
    rig.ends_with("1", "");
}

#[test]
fn votes_come_back_with_what_they_depend_on_and_are_carried_out_in_order() {
    let mut rig = three(None);
    for lives in 0..2 {
        if lives > 0 {
            rig.restart(0);
        }
        rig.sync();
        assert!(yes(&rig.votes(1)).1.is_empty());
        assert_eq!(yes(&rig.votes(2)).2, [1]);
        assert_eq!(yes(&rig.votes(3)).1, [1, 2]);
    }
    rig.commit(3, 102);
    rig.commit(2, 101);
    assert_eq!(rig.site.participant().in_flight(), 3, "V7");
    rig.commit(1, 100);
    rig.ends_with("3", "2");
}

#[test]
fn what_the_log_has_decided_is_settled_after_a_restart() {
    let mut rig = three(None);
    rig.sync();
    rig.commit(1, 100);
    rig.sync();
    rig.restart(0);
    let (stamp, after, if_committed) = yes(&rig.votes(2));
    assert!(stamp > 100, "Y1");
    assert_eq!((after, if_committed), (vec![], vec![]));
    assert_eq!(yes(&rig.votes(3)).1, [2]);
    rig.commit(2, stamp);
    rig.abort(3);
    rig.ends_with("1", "2");
}

/// The word of the commit was not durable: both are in doubt again, and are told again, in another order than
/// somebody else's commit that comes between.
#[test]
fn a_decision_that_a_crash_has_lost_is_said_again() {
    let mut rig = three(None);
    rig.sync();
    rig.commit(1, 100);
    rig.commit(2, 101);
    rig.restart(0);
    rig.run(7, &[put("z", "7")]);
    rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(7) });
    rig.sync();
    rig.commit(1, 100);
    rig.commit(2, 101);
    rig.abort(3);
    rig.ends_with("1", "2");
}

#[test]
fn what_has_read_of_an_aborted_one_is_refused_before_and_after_a_restart() {
    for restarts in [false, true] {
        let mut rig = three(None);
        rig.sync();
        rig.votes(2);
        rig.abort(1);
        assert_eq!(rig.site.participant().in_flight(), 1, "T2 falls at once");
        assert_eq!(rig.votes(2), [REFUSED]);
        if restarts {
            rig.sync();
            rig.restart(0);
            assert_eq!(rig.votes(2), [REFUSED]);
            assert_eq!(rig.site.participant().in_flight(), 1);
        }
        rig.abort(2);
        rig.commit(3, 50);
        rig.ends_with("3", "");
    }
}

/// The checkpoint names what is not settled, and that T2 is broken though its data is gone.
#[test]
fn a_checkpoint_keeps_dependencies() {
    for aborts in [false, true] {
        let mut rig = three(Some(SimStorage::new()));
        rig.site.checkpoint_every(1);
        rig.sync();
        if aborts {
            rig.abort(1);
        } else {
            rig.commit(1, 100);
        }
        for _ in 0..3 {
            rig.sync();
        }
        assert!(rig.site.checkpoints() > 0);
        for _ in 0..2 {
            rig.restart(0);
            if aborts {
                assert_eq!(rig.votes(2), [REFUSED]);
            } else {
                let (stamp, after, if_committed) = yes(&rig.votes(2));
                assert!(stamp > 100);
                assert_eq!((after, if_committed), (vec![], vec![]));
            }
            assert_eq!(yes(&rig.votes(3)).1, [2]);
            rig.site.checkpoint_every(1);
            rig.site.run(Time(3));
            rig.sync();
        }
        if aborts {
            rig.abort(2);
            rig.commit(3, 200);
            rig.ends_with("3", "");
        } else {
            rig.commit(2, 150);
            rig.commit(3, 200);
            rig.ends_with("3", "2");
        }
    }
}

/// However much the lives after it have written behind a checkpoint that a crash has cut short, it counts for nothing.
#[test]
fn a_torn_checkpoint_is_never_taken_for_a_whole_one() {
    for survivors in 0..=4 {
        let mut rig = three(Some(SimStorage::new()));
        rig.sync();
        rig.site.checkpoint_every(1);
        // The checkpoint itself, and the three in doubt.
        rig.site.run(Time(3));
        for unsynced in [survivors, 0, 0] {
            rig.restart(unsynced);
            let in_doubt: Vec<u64> = rig.site.in_doubt().iter().map(|it| it.0).collect();
            assert_eq!(in_doubt, [1, 2, 3], "{survivors} records survived");
        }
        // They stand in the order of their votes: who comes now reads from the last.
        let saw = rig.run(4, &[get("x")]);
        assert_eq!(saw[0], participant::conformance::found("3"));
        rig.abort(4);
        rig.abort(1);
        assert_eq!(rig.votes(2).last(), Some(&REFUSED), "{survivors}");
        rig.abort(2);
        rig.commit(3, 200);
        rig.ends_with("3", "");
    }
}

/// The vote that waits for another coordinator's transaction is said again without it when that is decided.
#[test]
fn of_two_coordinators_the_second_hears_what_the_first_has_decided() {
    const FOREIGN: u64 = (1 << 56) | 2;
    for restarts in [false, true] {
        let mut rig = Rig::new(None);
        rig.run(1, &[put("x", "1")]);
        rig.run(FOREIGN, &[get("x"), put("y", "2")]);
        rig.prepare(FOREIGN);
        rig.sync();
        assert_eq!(rig.votes(FOREIGN), [], "T1 has not voted");
        rig.prepare(1);
        rig.sync();
        assert_eq!(yes(&rig.votes(FOREIGN)).2, [1]);
        if restarts {
            rig.restart(0);
            assert_eq!(yes(&rig.votes(FOREIGN)).2, [1]);
        }
        rig.commit(1, 100);
        let (stamp, _, if_committed) = yes(&rig.votes(FOREIGN));
        assert!(stamp > 100 && if_committed.is_empty());
        rig.commit(FOREIGN, stamp);
        rig.ends_with("1", "2");
    }
}

/// A one-phase commit whose record is on its way is named by nobody's record: it is before theirs in the log.
#[test]
fn who_decides_alone_is_depended_on_as_well() {
    for synced in [false, true] {
        let mut rig = Rig::new(None);
        rig.run(1, &[put("x", "1")]);
        rig.run(2, &[get("x"), put("y", "2")]);
        rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(1) });
        rig.prepare(2);
        if synced {
            rig.sync();
            assert!(yes(&rig.votes(2)).0 > 0);
        }
        rig.restart(2);
        let (stamp, after, if_committed) = yes(&rig.votes(2));
        assert_eq!((after, if_committed), (vec![], vec![]));
        rig.commit(2, stamp);
        rig.ends_with("1", "2");
    }
}

#[test]
fn another_engine_does_not_take_up_votes_that_depend_on_others() {
    let rig = three(None);
    rig.sync();
    let opened = start(EngineKind::Ss2pl, &rig.log, None, &rig.recorder, &rig.said);
    let Err(RecoverError::DependentVote { gtid, .. }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!(gtid, Gtid(2));
}

/// The commit that a reader depends on could not be stored, and stays as it is until a restart: so must the reader's, which
/// stores nothing. It was applied, and the engine found its predecessor undecided.
#[test]
fn a_reader_waits_with_the_commit_that_could_not_be_stored() {
    for restarts in [0, 4] {
        let mut rig = Rig::new(Some(SimStorage::new()));
        rig.run(1, &[put("x", "1")]);
        rig.run(2, &[get("x")]);
        rig.prepare(1);
        rig.prepare(2);
        rig.sync();
        assert_eq!(yes(&rig.votes(2)).2, [1]);
        rig.storage.as_ref().unwrap().fail_after(0);
        rig.run(3, &[put("y", "3")]);
        rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(3) });
        rig.sync();
        rig.commit(1, 100);
        rig.commit(2, 101);
        assert!(rig.site.log_failed());
        assert_eq!(rig.site.participant().in_flight(), 2);
        rig.restart(restarts);
        rig.commit(1, 100);
        rig.commit(2, 101);
        rig.ends_with("1", "3");
    }
}
