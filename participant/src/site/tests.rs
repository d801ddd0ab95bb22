//! The site as one: engine, voter and log, every step by hand.

use std::sync::Arc;

use co_core::{Gtid, Priority, Stamp, VoteRule};
use coco::log::{Log as _, MemoryLog};
use coco::protocol::{
    AbortCause, Ballot as Voted, Decision as Decided, Durability, Incarnation, SiteName, Time,
    ToCoordinator, ToParticipant, VoterConfig,
};

use super::*;
use crate::engine::{EngineKind, open};
use crate::participant::{Operation, Reply};
use crate::{Key, Recorder};

/// The coordinator whose id is the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);

struct Rig {
    site: Site,
    log: MemoryLog,
    said: Arc<Mutex<Vec<ToCoordinator>>>,
    woken: Arc<Mutex<u32>>,
    recorder: Recorder,
}

fn rig(log: MemoryLog, recorder: Recorder) -> Rig {
    try_rig(log, recorder).unwrap()
}

fn try_rig(log: MemoryLog, recorder: Recorder) -> Result<Rig, RecoverError> {
    let said: Arc<Mutex<Vec<ToCoordinator>>> = Arc::default();
    let woken: Arc<Mutex<u32>> = Arc::default();
    let (out, wakes) = (Arc::clone(&said), Arc::clone(&woken));
    let voter = VoterConfig {
        durability: Durability::Durable,
        ..VoterConfig::default()
    };
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter,
        incarnation: Incarnation(0),
    };
    let parts = Parts {
        participant: open(EngineKind::Mvcc, VoteRule::Withhold, recorder.clone()),
        log: Arc::new(log.clone()),
        outbox: Box::new(move |_, message| out.lock().push(message)),
        wake: Box::new(move || *wakes.lock() += 1),
    };
    let site = Site::open(config, parts, &log.durable(), Time(0))?;
    Ok(Rig {
        site,
        log,
        said,
        woken,
        recorder,
    })
}

impl Rig {
    fn fresh() -> Self {
        let rig = rig(MemoryLog::manual(), Recorder::memory("s"));
        rig.sync();
        rig.site.handle(Input::LinkUp(C), Time(0));
        rig.said.lock().clear();
        rig
    }

    /// The site's machine stops and starts again; what is not durable is gone.
    fn restart(self) -> Self {
        let records = self.log.crash(0);
        rig(MemoryLog::manual().holding(records), self.recorder)
    }

    /// All that the site has to say to its log is on the disk, and it has heard of that.
    fn sync(&self) {
        self.site.flush();
        self.log.sync();
        self.site.run(Time(1));
    }

    fn say(&self, message: ToParticipant) {
        self.site.handle(Input::Message(C, message), Time(1));
    }

    fn said(&self) -> Vec<ToCoordinator> {
        std::mem::take(&mut *self.said.lock())
    }

    fn run(&self, name: TxnName, operation: &Operation) -> Reply {
        let mut running = self.site.participant().execute(name, operation);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match running.as_mut().poll(&mut context) {
            std::task::Poll::Ready(reply) => reply.unwrap(),
            std::task::Poll::Pending => panic!("{operation:?} waits"),
        }
    }

    fn write(&self, gtid: u64, name: &str, value: &str) {
        self.begin(gtid);
        let operation = Operation::Put(key(name), Arc::from(value.as_bytes()));
        self.run(TxnName::Global(Gtid(gtid)), &operation);
    }

    fn begin(&self, gtid: u64) {
        let name = TxnName::Global(Gtid(gtid));
        self.site
            .begin(Begin {
                name,
                priority: Priority(gtid),
            })
            .unwrap();
    }

    fn reads(&self, name: &str) -> Option<String> {
        let local = TxnName::Local(u64::from(*self.woken.lock()) + 1000);
        self.site
            .begin(Begin {
                name: local,
                priority: Priority(1 << 60),
            })
            .unwrap();
        let Reply::Value(value) = self.run(local, &Operation::Get(key(name))) else {
            panic!()
        };
        assert!(self.site.abandon(local, AbortCause::Client));
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }
}

fn key(name: &str) -> Key {
    Arc::from(name.as_bytes())
}

fn commit(gtid: u64, stamp: u64) -> ToParticipant {
    let decision = Decided::Commit {
        stamp: Stamp(stamp),
    };
    ToParticipant::Decide {
        gtid: Gtid(gtid),
        decision,
    }
}

fn is_yes(message: &ToCoordinator) -> bool {
    matches!(
        message,
        ToCoordinator::Vote {
            ballot: Voted::Yes { .. },
            ..
        }
    )
}

#[test]
fn the_hello_waits_for_the_record_of_this_life() {
    let rig = rig(MemoryLog::manual(), Recorder::off());
    rig.site.handle(Input::LinkUp(C), Time(0));
    assert_eq!(rig.said(), []);
    rig.log.sync();
    assert_eq!(*rig.woken.lock(), 1, "the owner is woken");
    rig.site.run(Time(1));
    assert!(matches!(
        rig.said()[..],
        [ToCoordinator::Hello {
            incarnation: Incarnation(1),
            ..
        }]
    ));
    let rig = rig.restart();
    assert_eq!(rig.site.incarnation(), Incarnation(2));
}

#[test]
fn a_yes_waits_for_its_record_and_an_ack_for_its_decision() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    assert_eq!(rig.said(), []);
    rig.sync();
    assert!(matches!(&rig.said()[..], [vote] if is_yes(vote)));
    assert!(
        !rig.site
            .abandon(TxnName::Global(Gtid(1)), AbortCause::Timeout),
        "S2"
    );
    rig.say(commit(1, 50));
    assert_eq!(rig.reads("x").as_deref(), Some("one"));
    assert_eq!(rig.said(), []);
    rig.sync();
    assert_eq!(rig.said(), [ToCoordinator::Ack { gtid: Gtid(1) }]);
    assert_eq!(rig.site.participant().in_flight(), 0);
}

#[test]
fn a_decision_waits_for_a_vote_or_for_time_and_costs_no_sync_of_its_own() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    rig.say(commit(1, 50));
    rig.said();
    let on_disk = |rig: &Rig| {
        rig.log.sync();
        rig.site.run(Time(1));
        rig.log.durable().len()
    };
    let before = on_disk(&rig);
    assert_eq!(rig.said(), [], "nothing was handed to the log");
    // A vote takes it along, in its order.
    rig.write(2, "y", "two");
    rig.say(ToParticipant::prepare(Gtid(2)));
    assert_eq!(on_disk(&rig), before + 2);
    assert!(matches!(
        &rig.said()[..],
        [ToCoordinator::Ack { gtid: Gtid(1) }, vote] if is_yes(vote)
    ));
    // So does time.
    rig.say(commit(2, 51));
    assert_eq!(on_disk(&rig), before + 2);
    let deadline = rig.site.next_deadline().unwrap();
    rig.site.handle(Input::Tick, deadline);
    assert_eq!(on_disk(&rig), before + 3);
    assert_eq!(rig.said(), [ToCoordinator::Ack { gtid: Gtid(2) }]);
    assert_eq!(rig.site.next_deadline(), None);
}

#[test]
fn a_vote_that_only_reads_does_not_wait_for_the_time_of_decisions() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    rig.say(commit(1, 50));
    rig.begin(2);
    rig.run(TxnName::Global(Gtid(2)), &Operation::Get(key("x")));
    rig.said();
    rig.say(ToParticipant::prepare(Gtid(2)));
    // The decision goes to the log for its sake, and its own record behind.
    for _ in 0..2 {
        rig.log.sync();
        rig.site.run(Time(1));
    }
    let said = rig.said();
    assert!(
        matches!(&said[..], [ToCoordinator::Ack { gtid: Gtid(1) }, vote] if is_yes(vote)),
        "{said:?}"
    );
}

#[test]
fn a_transaction_in_doubt_survives_and_holds_up_only_what_conflicts() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    let rig = rig.restart();
    assert_eq!(rig.site.participant().in_flight(), 1);
    rig.sync();
    rig.site.handle(Input::LinkUp(C), Time(1));
    let said = rig.said();
    assert!(
        matches!(&said[..], [ToCoordinator::Hello { in_doubt, .. }, vote]
            if *in_doubt == [Gtid(1)] && is_yes(vote)),
        "{said:?}"
    );
    rig.write(2, "y", "two");
    rig.say(ToParticipant::prepare(Gtid(2)));
    rig.sync();
    assert!(matches!(&rig.said()[..], [vote] if is_yes(vote)));
    rig.say(commit(1, 60));
    rig.say(commit(2, 61));
    assert_eq!(rig.reads("x").as_deref(), Some("one"));
    assert_eq!(rig.reads("y").as_deref(), Some("two"));
    rig.sync();
    // Decided before the crash, it is not in doubt after it, and its value is there.
    let rig = rig.restart();
    assert_eq!(rig.site.participant().in_flight(), 0);
    assert_eq!(rig.reads("x").as_deref(), Some("one"));
}

#[test]
fn a_commit_that_was_not_durable_is_in_doubt_again_and_an_unforced_vote_is_gone() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    rig.say(commit(1, 50));
    rig.write(2, "y", "two");
    rig.say(ToParticipant::prepare(Gtid(2)));
    let rig = rig.restart();
    assert_eq!(rig.site.participant().in_flight(), 1, "G1");
    rig.say(commit(1, 50));
    assert_eq!(rig.reads("x").as_deref(), Some("one"));
    assert_eq!(rig.reads("y"), None);
}

#[test]
fn a_local_commit_is_visible_when_it_is_durable_and_only_then() {
    let rig = Rig::fresh();
    let name = TxnName::Local(1);
    rig.site
        .begin(Begin {
            name,
            priority: Priority(1 << 60),
        })
        .unwrap();
    rig.run(name, &Operation::Put(key("x"), Arc::from(*b"local")));
    let outcome: Arc<Mutex<Option<LocalOutcome>>> = Arc::default();
    let told = Arc::clone(&outcome);
    rig.site
        .commit_local(1, Box::new(move |it| *told.lock() = Some(it)));
    rig.site.run(Time(1));
    assert_eq!(rig.reads("x"), None, "S5");
    assert!(!rig.site.abandon(name, AbortCause::Timeout), "S2");
    assert_eq!(*outcome.lock(), None);
    rig.sync();
    assert!(matches!(
        *outcome.lock(),
        Some(LocalOutcome::Committed { .. })
    ));
    assert_eq!(rig.reads("x").as_deref(), Some("local"));
    let rig = rig.restart();
    assert_eq!(rig.reads("x").as_deref(), Some("local"));
}

#[test]
fn stamps_grow_over_a_restart_even_if_nothing_was_written() {
    let commits = |rig: &Rig| {
        let name = TxnName::Local(1);
        rig.site
            .begin(Begin {
                name,
                priority: Priority(1 << 60),
            })
            .unwrap();
        rig.run(name, &Operation::Get(key("x")));
        let outcome: Arc<Mutex<Option<LocalOutcome>>> = Arc::default();
        let told = Arc::clone(&outcome);
        rig.site
            .commit_local(1, Box::new(move |it| *told.lock() = Some(it)));
        rig.site.run(Time(1));
        let outcome = *outcome.lock();
        let Some(LocalOutcome::Committed { stamp }) = outcome else {
            panic!("{outcome:?}")
        };
        stamp
    };
    let mut rig = Rig::fresh();
    let mut last = commits(&rig);
    for _ in 0..3 {
        rig = rig.restart();
        rig.sync();
        let stamp = commits(&rig);
        assert!(stamp > last, "{stamp} after {last}");
        last = stamp;
    }
}

#[test]
fn a_transaction_too_large_for_a_record_is_refused() {
    let rig = Rig::fresh();
    rig.begin(1);
    let name = TxnName::Global(Gtid(1));
    for number in 0..4u8 {
        let value = vec![number; 1024 * 1024];
        rig.run(name, &Operation::Put(Arc::from([number]), Arc::from(value)));
    }
    rig.say(ToParticipant::prepare(Gtid(1)));
    let no = Voted::No {
        cause: AbortCause::LogFailure,
    };
    assert_eq!(
        rig.said(),
        [ToCoordinator::Vote {
            gtid: Gtid(1),
            ballot: no
        }]
    );
    assert_eq!(rig.site.participant().in_flight(), 0);
    assert!(!rig.site.log_failed());
}

#[test]
fn the_cause_of_an_abandonment_is_in_the_vote() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    assert!(
        rig.site
            .abandon(TxnName::Global(Gtid(1)), AbortCause::Timeout)
    );
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.say(ToParticipant::prepare(Gtid(2)));
    let no = |gtid, cause| ToCoordinator::Vote {
        gtid: Gtid(gtid),
        ballot: Voted::No { cause },
    };
    let unknown = AbortCause::UnknownTransaction;
    assert_eq!(rig.said(), [no(1, AbortCause::Timeout), no(2, unknown)]);
}

#[test]
fn versions_keep_their_numbers_although_a_one_phase_commit_waits_for_its_record() {
    let recorder = Recorder::memory("s");
    let rig = rig(MemoryLog::manual(), recorder.clone());
    rig.sync();
    rig.site.handle(Input::LinkUp(C), Time(0));
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    // Its record comes before G1's decision, which therefore waits until it is visible.
    rig.write(2, "y", "two");
    rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(2) });
    rig.say(commit(1, 90));
    rig.sync();
    let versions = |rig: &Rig| {
        rig.begin(3);
        for name in ["x", "y", "z"] {
            rig.run(TxnName::Global(Gtid(3)), &Operation::Get(key(name)));
        }
        rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(3) });
        let text = rig.recorder.text().unwrap();
        let line = text.lines().find(|line| line.starts_with("c G3")).unwrap();
        line.split_once(" r:").unwrap().1.to_owned()
    };
    rig.write(4, "z", "three");
    rig.say(ToParticipant::prepare(Gtid(4)));
    rig.sync();
    rig.say(commit(4, 95));
    // The marker becomes durable with whatever comes after it.
    rig.sync();
    let rig = rig.restart();
    assert_eq!(versions(&rig), "x@2 r:y@1 r:z@3");
    drop(rig);
    let text = recorder.text().unwrap();
    assert_eq!(
        text.lines().filter(|line| line.starts_with("c ")).count(),
        4,
        "{text}"
    );
}

#[test]
fn a_commit_that_was_durable_and_not_yet_visible_keeps_its_place() {
    let rig = Rig::fresh();
    rig.write(1, "x", "one");
    rig.say(ToParticipant::prepare(Gtid(1)));
    rig.sync();
    rig.write(2, "y", "two");
    rig.say(ToParticipant::CommitOnePhase { gtid: Gtid(2) });
    rig.say(commit(1, 90));
    // On the disk; the site stops before it hears of that.
    rig.site.flush();
    rig.log.sync();
    let mut rig = rig.restart();
    for _ in 0..2 {
        rig.sync();
        assert_eq!(rig.reads("x").as_deref(), Some("one"));
        assert_eq!(rig.reads("y").as_deref(), Some("two"));
        rig = rig.restart();
    }
    let text = rig.recorder.text().unwrap();
    assert!(text.contains("c G2 2 1 w:y"), "{text}");
    assert!(text.contains("c G1 90 2 w:x"), "{text}");
}

#[test]
fn records_that_make_no_sense_are_refused_by_name() {
    let with = |records: Vec<Vec<u8>>| {
        try_rig(MemoryLog::manual().holding(records), Recorder::off()).map(drop)
    };
    let life = SiteRecord::Life {
        incarnation: Incarnation(1),
        clock: Stamp(0),
    }
    .encode();
    let decision = Decided::Commit { stamp: Stamp(5) };
    let lost = SiteRecord::Decision {
        gtid: Gtid(3),
        decision,
        ordinal: 1,
    }
    .encode();
    let error = with(vec![life.clone(), lost]).unwrap_err();
    assert!(
        matches!(error, RecoverError::NotInDoubt { index: 2, gtid } if gtid == Gtid(3)),
        "{error}"
    );
    let stray = SiteRecord::Applied { place: 1 }.encode();
    let error = with(vec![stray]).unwrap_err();
    assert!(
        matches!(error, RecoverError::NotWaiting { index: 1, place: 1 }),
        "{error}"
    );
    let skipped = SiteRecord::Local {
        stamp: Stamp(5),
        ordinal: 2,
        changes: vec![crate::Change::Delete(key("x"))],
    };
    let error = with(vec![life.clone(), skipped.encode()]).unwrap_err();
    assert!(
        matches!(
            error,
            RecoverError::OutOfOrder {
                index: 2,
                found: 2,
                expected: 1
            }
        ),
        "{error}"
    );
    let error = with(vec![life, vec![1, 99]]).unwrap_err();
    assert!(
        matches!(error, RecoverError::Record { index: 2, .. }),
        "{error}"
    );
    assert!(with(Vec::new()).is_ok());
}

#[test]
fn a_log_without_a_disk_says_at_once_that_it_is_done() {
    let log = NoLog::new();
    let done: Arc<Mutex<bool>> = Arc::default();
    let told = Arc::clone(&done);
    log.append(b"x", Box::new(move |result| *told.lock() = result.is_ok()));
    assert!(*done.lock());
}

#[test]
fn a_reader_of_what_is_not_in_the_log_yet_is_answered_when_it_is() {
    let rig = Rig::fresh();
    for (gtid, name) in [(1, "x"), (2, "y")] {
        rig.write(gtid, name, "new");
        rig.say(ToParticipant::prepare(Gtid(gtid)));
    }
    rig.sync();
    rig.say(commit(1, 50));
    let name = TxnName::Local(9);
    let priority = Priority(1 << 60);
    rig.site.begin(Begin { name, priority }).unwrap();
    let seen = rig.run(name, &Operation::Get(key("x")));
    assert_eq!(seen, Reply::Value(Some(Arc::from(*b"new"))));
    let outcome: Arc<Mutex<Option<LocalOutcome>>> = Arc::default();
    let told = Arc::clone(&outcome);
    rig.site
        .commit_local(9, Box::new(move |it| *told.lock() = Some(it)));
    rig.site.run(Time(1));
    assert_eq!(
        *outcome.lock(),
        None,
        "a crash now could give G2 the number that it has seen"
    );
    rig.sync();
    assert!(matches!(
        *outcome.lock(),
        Some(LocalOutcome::Committed { .. })
    ));
}
