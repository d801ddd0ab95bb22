//! A site on real files: its log stays short, its store opens again, and what is in doubt holds up nothing else.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use co_core::{Gtid, Priority, Stamp};
use coco::log::{FileLog, Options, Owner};
use coco::protocol::{
    Ballot, CoordinatorId, Decision, Durability, Incarnation, SiteName, Time, ToCoordinator,
    ToParticipant, VoterConfig,
};
use participant::engine::{EngineKind, open_with};
use participant::site::{Input, LocalOutcome, Parts, Site, SiteConfig};
use participant::storage::{FjallStore, Memory, Storage};
use participant::{Begin, Key, Operation, OperationError, Reply, TxnName, Value};

/// The coordinator whose id is the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);

struct Running {
    site: Site,
    log: Arc<FileLog>,
    store: Option<Arc<FjallStore>>,
    woken: Receiver<()>,
    said: Receiver<ToCoordinator>,
    next: u64,
}

fn start(folder: &Path, kind: EngineKind, on_disk: bool, segment_bytes: u64) -> Running {
    let options = Options {
        segment_bytes,
        ..Options::default()
    };
    let (log, records) = FileLog::open(folder, &Owner::participant("s"), options).unwrap();
    let log = Arc::new(log);
    let store = on_disk.then(|| Arc::new(FjallStore::open(&folder.join("store"), "s").unwrap()));
    let storage: Arc<dyn Storage> = match &store {
        Some(store) => Arc::clone(store) as Arc<dyn Storage>,
        None => Arc::new(Memory::new()),
    };
    let config = SiteConfig {
        name: SiteName::new("s"),
        voter: VoterConfig {
            durability: Durability::Durable,
            ..VoterConfig::default()
        },
        incarnation: Incarnation(0),
    };
    let ((wakes, woken), (says, said)) = (channel(), channel());
    let options = participant::engine::Options {
        storage,
        ..participant::engine::Options::default()
    };
    let parts = Parts {
        participant: open_with(kind, options),
        log: Arc::clone(&log) as Arc<dyn coco::log::Log>,
        // Errors mean that the test has ended.
        outbox: Box::new(move |_, message| says.send(message).unwrap_or_default()),
        wake: Box::new(move || wakes.send(()).unwrap_or_default()),
    };
    let site = Site::open(config, parts, &records, Time(0)).unwrap();
    site.checkpoint_every(2 * segment_bytes);
    let running = Running {
        site,
        log,
        store,
        woken,
        said,
        next: 1,
    };
    running.site.handle(Input::LinkUp(C), Time(0));
    running.hear(|message| matches!(message, ToCoordinator::Hello { .. }));
    running
}

fn key(text: &str) -> Key {
    Key::from(text.as_bytes())
}

impl Running {
    /// Runs the site until it says what is waited for.
    fn hear(&self, wanted: impl Fn(&ToCoordinator) -> bool) -> ToCoordinator {
        loop {
            if let Some(said) = self.said.try_iter().find(|message| wanted(message)) {
                return said;
            }
            self.woken.recv().unwrap();
            self.site.flush();
            self.site.run(Time(1));
        }
    }

    fn say(&self, message: ToParticipant) {
        self.site.handle(Input::Message(C, message), Time(1));
    }

    fn begin(&mut self) -> TxnName {
        self.next += 1;
        let name = TxnName::Local(self.next);
        let priority = Priority(self.next);
        self.site.begin(Begin { name, priority }).unwrap();
        name
    }

    fn run(&self, name: TxnName, operation: &Operation) -> Poll<Result<Reply, OperationError>> {
        let mut running = self.site.participant().execute(name, operation);
        running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    fn ask_commit(&self, name: TxnName, told: &std::sync::mpsc::Sender<LocalOutcome>) {
        let TxnName::Local(name) = name else { panic!() };
        let told = told.clone();
        self.site.commit_local(
            name,
            Box::new(move |outcome| told.send(outcome).unwrap_or_default()),
        );
    }

    /// Commits that many transactions, `at_once` of them at a time.
    fn commit(&mut self, count: u64, at_once: u64, keys: u64) {
        let (told, outcomes) = channel();
        let value = Value::from(vec![7; 100]);
        let (mut asked, mut done) = (0, 0);
        while done < count {
            while asked < count && asked - done < at_once {
                let name = self.begin();
                let own = key(&format!("key {:08}", asked * 7919 % keys));
                for operation in [
                    Operation::Put(own, Arc::clone(&value)),
                    Operation::Increment(key("counter"), 1),
                ] {
                    assert_eq!(self.run(name, &operation), Poll::Ready(Ok(Reply::Done)));
                }
                self.ask_commit(name, &told);
                asked += 1;
            }
            self.woken.recv().unwrap();
            self.site.run(Time(1));
            for outcome in outcomes.try_iter() {
                assert!(matches!(outcome, LocalOutcome::Committed { .. }));
                done += 1;
            }
        }
    }

    fn counter(&mut self) -> u64 {
        let name = self.begin();
        let Poll::Ready(Ok(Reply::Value(Some(value)))) =
            self.run(name, &Operation::Get(key("counter")))
        else {
            panic!()
        };
        let (told, _) = channel();
        self.ask_commit(name, &told);
        u64::from_le_bytes(value[..].try_into().unwrap())
    }
}

fn log_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let segments = files.filter(|file| file.path().extension().is_some_and(|it| it == "seg"));
    segments.map(|file| file.metadata().unwrap().len()).sum()
}

const SEGMENT: u64 = 32 * 1024;

#[test]
fn the_log_of_a_site_with_a_store_stays_short_over_lives() {
    let folder = tempfile::tempdir().unwrap();
    for life in 1..=3 {
        let mut running = start(folder.path(), EngineKind::Sco, true, SEGMENT);
        running.commit(1500, 16, 200);
        assert_eq!(running.counter(), life * 1500);
        assert!(
            running.site.checkpoints() >= 3,
            "{}",
            running.site.checkpoints()
        );
        assert!(running.site.cut_failure().is_none());
        assert!(running.log.stats().appended > 1500);
        // A checkpoint's worth, what came while it was written, and the segments at both ends.
        let size = log_bytes(folder.path());
        assert!(size <= 6 * SEGMENT, "{size} bytes in life {life}");
    }
    // Without the store nothing is left to start from, and the log says so.
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let options = Options {
        segment_bytes: SEGMENT,
        ..Options::default()
    };
    let (_log, records) = FileLog::open(folder.path(), &Owner::participant("s"), options).unwrap();
    assert!(records.len() < 1500);
}

#[test]
fn the_log_of_a_site_without_a_store_is_kept_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    for life in 1..=2 {
        let mut running = start(folder.path(), EngineKind::Mvcc, false, SEGMENT);
        running.commit(500, 16, 200);
        assert_eq!(running.counter(), life * 500);
        assert_eq!(running.site.checkpoints(), 0);
    }
    assert!(log_bytes(folder.path()) > 5 * SEGMENT);
}

/// A restart finds one transaction in doubt, and its coordinator stays away.
#[test]
fn what_is_in_doubt_holds_up_what_touches_it_and_nothing_else() {
    for kind in EngineKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let gtid = Gtid(77);
        let doubtful = TxnName::Global(gtid);
        {
            let mut running = start(folder.path(), kind, true, SEGMENT);
            running.commit(10, 1, 10);
            let priority = Priority(77);
            let name = doubtful;
            running.site.begin(Begin { name, priority }).unwrap();
            for operation in [
                Operation::Put(key("doubtful"), Value::from(b"new".as_slice())),
                Operation::Put(key("untouched"), Value::from(b"new".as_slice())),
                Operation::Get(key("seen")),
            ] {
                assert!(running.run(name, &operation).is_ready());
            }
            running.say(ToParticipant::prepare(gtid));
            running.hear(|message| {
                matches!(
                    message,
                    ToCoordinator::Vote {
                        ballot: Ballot::Yes { .. },
                        ..
                    }
                )
            });
            // What comes behind it in the log takes it over a checkpoint.
            running.commit(700, 16, 200);
            assert!(running.site.checkpoints() > 0);
        }
        let mut running = start(folder.path(), kind, true, SEGMENT);
        assert_eq!(running.site.participant().in_flight(), 1);
        running.site.handle(Input::LinkDown(C), Time(1));
        running.commit(50, 8, 10);
        assert_eq!(running.counter(), 760, "{kind}");

        // A writer of what it writes, a reader of it, a writer of what it has read.
        let (told, outcomes) = channel();
        let touching = [
            Operation::Put(key("doubtful"), Value::from(b"later".as_slice())),
            Operation::Get(key("doubtful")),
            Operation::Put(key("seen"), Value::from(b"later".as_slice())),
        ];
        for operation in &touching {
            let name = running.begin();
            if running.run(name, operation).is_ready() {
                running.ask_commit(name, &told);
                running.site.run(Time(2));
                assert!(
                    outcomes.try_recv().is_err(),
                    "{kind}: {operation:?} did not wait"
                );
            }
        }
        let stamp = Stamp(1 << 33);
        let decision = Decision::Commit { stamp };
        running.site.handle(Input::LinkUp(C), Time(3));
        running.say(ToParticipant::Decide { gtid, decision });
        running.hear(|message| matches!(message, ToCoordinator::Ack { .. }));
        let name = running.begin();
        let seen = running.run(name, &Operation::Get(key("counter")));
        assert!(matches!(seen, Poll::Ready(Ok(Reply::Value(Some(_))))));
        let stored = running.store.as_ref().unwrap();
        assert_eq!(
            stored.get(b"untouched").unwrap().value.as_deref(),
            Some(b"new".as_slice()),
            "{kind}"
        );
    }
}

#[test]
#[ignore = "measures: cargo test -p participant --release --test main -- --ignored --nocapture figures"]
fn figures() {
    const COUNT: u64 = 100_000;
    for on_disk in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut running = start(folder.path(), EngineKind::Sco, on_disk, 4 << 20);
        running.site.checkpoint_every(16 << 20);
        running.commit(1000, 256, 10_000);
        let started = Instant::now();
        running.commit(COUNT, 256, 10_000);
        let seconds = started.elapsed().as_secs_f64();
        let stats = running.log.stats();
        let store = running.store.as_ref().map(|it| it.disk_bytes().unwrap());
        println!(
            "{}: {:.0} commits/s, {} syncs, log {} KiB, store {:?} KiB, {} checkpoints",
            if on_disk { "fjall" } else { "memory" },
            COUNT as f64 / seconds,
            stats.syncs,
            log_bytes(folder.path()) >> 10,
            store.map(|bytes| bytes >> 10),
            running.site.checkpoints(),
        );
        drop(running);
        let started = Instant::now();
        let mut again = start(folder.path(), EngineKind::Sco, on_disk, 4 << 20);
        println!(
            "  a restart takes {:.0} ms",
            started.elapsed().as_secs_f64() * 1e3
        );
        assert_eq!(again.counter(), COUNT + 1000);
    }
}
