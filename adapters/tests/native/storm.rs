//! Threads that move money between two servers, and others that count it, with a coordinator that does no more than it has
//! to: one decision for each transaction, and an end to circles of waits over both servers. The histories of both sites
//! together go to the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use adapters::postgres::native::Mode;
use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use co_core::{Gtid, Priority, Stamp};
use participant::conformance::{block_on, get, number};
use participant::engine::Options;
use participant::{
    Ballot, Begin, Decision, Operation, Participant, Recorder, Reply, TxnName, Value,
};

use super::{Life, mariadb, options, server};

const THREADS: u64 = 4;
const EACH: u64 = 25;
const ACCOUNTS: u64 = 3;
/// How often the coordinator asks the sites who waits.
const ASK: Duration = Duration::from_millis(10);
/// Nobody commits for so long only where somebody is kept waiting for ever.
const STARVED: Duration = Duration::from_secs(60);

/// Whether a transaction may still be aborted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Aborted,
    Committed,
}

struct Storm {
    sites: [Arc<dyn Participant>; 2],
    fates: Mutex<BTreeMap<u64, Fate>>,
    next: AtomicU64,
    committed: AtomicU64,
    over: AtomicBool,
    starved: AtomicBool,
}

impl Storm {
    fn begin(&self, priority: u64) -> (u64, TxnName) {
        let starved = self.starved.load(Ordering::Relaxed);
        assert!(!starved, "nobody has committed for {STARVED:?}");
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = TxnName::Global(Gtid(number));
        self.fates.lock().unwrap().insert(number, Fate::Open);
        for site in &self.sites {
            // Or everybody would try again for ever.
            let failure = site.stored().failure();
            assert!(failure.is_none(), "{failure:?}");
            let priority = Priority(priority);
            site.begin(Begin { name, priority }).unwrap();
        }
        (number, name)
    }

    /// Ends the transaction by abort, unless it is decided.
    fn abort(&self, number: u64) {
        let mut fates = self.fates.lock().unwrap();
        if fates.get(&number) == Some(&Fate::Open) {
            fates.insert(number, Fate::Aborted);
            drop(fates);
            for site in &self.sites {
                let name = TxnName::Global(Gtid(number));
                assert_eq!(site.decide(name, Decision::Abort), Ok(()));
            }
        }
    }

    fn commit(&self, number: u64, name: TxnName) -> bool {
        let (sender, ballots) = mpsc::channel();
        for site in &self.sites {
            let sender = sender.clone();
            let told = move |ballot| drop(sender.send(ballot));
            site.prepare(name, Box::new(told));
        }
        let mut latest = Stamp(0);
        for _ in &self.sites {
            match ballots.recv().unwrap() {
                Ballot::Yes { stamp, .. } => latest = latest.max(stamp),
                Ballot::No(_) => {
                    self.abort(number);
                    return false;
                }
            }
        }
        {
            let mut fates = self.fates.lock().unwrap();
            if fates.get(&number) != Some(&Fate::Open) {
                return false;
            }
            fates.insert(number, Fate::Committed);
        }
        for site in &self.sites {
            assert_eq!(site.decide(name, Decision::Commit(latest)), Ok(()));
        }
        self.committed.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn run(&self, at: usize, name: TxnName, operation: &Operation) -> Option<Reply> {
        block_on(self.sites[at].execute(name, operation)).ok()
    }

    fn balance(&self, at: usize, name: TxnName, account: &str) -> Option<i64> {
        match self.run(at, name, &get(account))? {
            Reply::Value(Some(value)) => Some(i64::from_le_bytes((*value).try_into().unwrap())),
            Reply::Value(None) => Some(0),
            other @ (Reply::Rows(_) | Reply::Done | Reply::Table(_)) => panic!("{other:?}"),
        }
    }

    /// Makes the accounts: in MariaDB those who read what is not there pass who waits to insert it, and trying again at once
    /// they might do so for ever.
    fn open_accounts(&self) {
        let (id, name) = self.begin(0);
        for at in [0, 1] {
            for account in 0..ACCOUNTS {
                let key = format!("account {account}");
                let put = Operation::Put(key.as_bytes().into(), number(0));
                assert_eq!(self.run(at, name, &put), Some(Reply::Done));
            }
        }
        assert!(self.commit(id, name));
        self.committed.store(0, Ordering::Relaxed);
    }

    /// Moves money from one site to the other, or counts it; nothing if it was aborted.
    fn attempt(&self, name: TxnName, account: &str, order: [usize; 2], moves: bool) -> Option<i64> {
        let keys = Operation::Declare(vec![account.as_bytes().into()]);
        // In one order for all: locks that are asked for first need no search for circles.
        for at in [0, 1] {
            self.run(at, name, &keys)?;
        }
        let mut sum = 0;
        for at in order {
            let balance = self.balance(at, name, account)?;
            sum += balance;
            if moves {
                let by = if at == order[0] { -1 } else { 1 };
                let after: Value = number(balance + by);
                self.run(at, name, &Operation::Put(account.as_bytes().into(), after))?;
            }
        }
        Some(sum)
    }

    fn work(&self, thread: u64) {
        let mut random = generator(thread);
        for turn in 0..EACH {
            let account = format!("account {}", random() % ACCOUNTS);
            let order = if random().is_multiple_of(2) {
                [0, 1]
            } else {
                [1, 0]
            };
            let moves = !random().is_multiple_of(3);
            let priority = turn * THREADS + thread;
            loop {
                let (number, name) = self.begin(priority);
                let sum = self.attempt(name, &account, order, moves);
                if sum.is_none() {
                    self.abort(number);
                } else if self.commit(number, name) {
                    assert_eq!(sum, Some(0), "money is neither made nor lost");
                    break;
                }
            }
        }
    }

    /// Nobody tries again, and nobody waits any more.
    fn give_up(&self) {
        self.starved.store(true, Ordering::Relaxed);
        for (at, site) in self.sites.iter().enumerate() {
            eprintln!("at site {at}: {:?}", site.blocked());
        }
        let numbers: Vec<u64> = self.fates.lock().unwrap().keys().copied().collect();
        numbers.into_iter().for_each(|number| self.abort(number));
    }

    /// Ends circles of waits over both sites: of each one, the youngest.
    fn coordinate(&self) {
        let mut progress = (0, Instant::now());
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(ASK);
            let committed = self.committed.load(Ordering::Relaxed);
            if progress.0 != committed {
                progress = (committed, Instant::now());
            } else if progress.1.elapsed() > STARVED {
                self.give_up();
                return;
            }
            let mut waits: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
            let mut ages: BTreeMap<u64, Priority> = BTreeMap::new();
            for blocked in self.sites.iter().flat_map(|site| site.blocked()) {
                ages.insert(blocked.gtid.0, blocked.priority);
                let by = blocked.by.iter().map(|(gtid, _)| gtid.0);
                waits.entry(blocked.gtid.0).or_default().extend(by);
            }
            for start in waits.keys() {
                let mut reached = BTreeSet::new();
                let mut queue: Vec<u64> = waits[start].iter().copied().collect();
                while let Some(next) = queue.pop() {
                    if reached.insert(next) {
                        queue.extend(waits.get(&next).into_iter().flatten());
                    }
                }
                if reached.contains(start) {
                    let circle = reached.iter().filter(|it| ages.contains_key(it));
                    let youngest = circle.max_by_key(|it| ages[it]).copied();
                    self.abort(youngest.unwrap_or(*start));
                    break;
                }
            }
        }
    }
}

/// A small generator of its own for each thread.
fn generator(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// The options of two sites whose histories are kept.
fn hosts() -> [(Options, Recorder); 2] {
    ["A", "B"].map(|name| {
        let recorder = Recorder::memory(name);
        let host = Options {
            recorder: recorder.clone(),
            ..Options::default()
        };
        (host, recorder)
    })
}

fn of_postgres(mode: Mode) {
    let (Some(first), Some(second)) = (server(), server()) else {
        return;
    };
    let [a, b] = hosts();
    let lives = [(&first, a.0), (&second, b.0)]
        .map(|(server, host)| Life::of("site", 1, options(&server.url(), mode), host));
    let sites = lives.each_ref().map(|life| Arc::clone(&life.site));
    storm(mode.name(), sites, &[a.1, b.1]);
}

fn storm(what: &str, sites: [Arc<dyn Participant>; 2], recorders: &[Recorder; 2]) {
    sites.iter().for_each(|site| site.recovered());
    let storm = Storm {
        sites,
        fates: Mutex::default(),
        next: AtomicU64::new(1),
        committed: AtomicU64::new(0),
        over: AtomicBool::new(false),
        starved: AtomicBool::new(false),
    };
    if what.contains("mariadb") {
        storm.open_accounts();
    }
    std::thread::scope(|scope| {
        let coordinator = scope.spawn(|| storm.coordinate());
        let workers = (0..THREADS).map(|thread| {
            scope.spawn({
                let storm = &storm;
                move || storm.work(thread)
            })
        });
        let workers: Vec<_> = workers.collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        storm.over.store(true, Ordering::Relaxed);
        coordinator.join().unwrap();
        ended.into_iter().for_each(|end| end.unwrap());
    });
    let committed = storm.committed.load(Ordering::Relaxed);
    assert_eq!(committed, THREADS * EACH, "everybody gets through");
    let histories = storm.sites.iter().zip(recorders).map(|(site, recorder)| {
        site.quiesce();
        assert_eq!(site.in_flight(), 0);
        recorder.finish().unwrap();
        let history = recorder.text().unwrap();
        read_history(history.as_bytes(), what).unwrap()
    });
    let histories: Vec<_> = histories.collect();
    let report = judge(&histories, Level::CommitmentOrdering);
    assert!(
        matches!(report.verdict, Verdict::Valid { .. }),
        "{what}: {:?}",
        report.verdict
    );
    let attempts = storm.next.load(Ordering::Relaxed) - 1;
    eprintln!("{what}: {committed} of {attempts} attempts committed");
}

#[test]
fn money_is_kept_under_row_locks() {
    of_postgres(Mode::Lock);
}

#[test]
fn money_is_kept_under_declared_locks() {
    of_postgres(Mode::Advisory);
}

#[test]
fn money_is_kept_by_one_at_a_time() {
    of_postgres(Mode::Serial);
}

#[test]
fn money_is_kept_under_the_locks_of_mariadb() {
    let (Some(first), Some(second)) = (mariadb::server(), mariadb::server()) else {
        return;
    };
    let [a, b] = hosts();
    let lives = [(&first, a.0), (&second, b.0)]
        .map(|(server, host)| mariadb::Life::of(1, mariadb::options(&server.url()), host));
    let sites = lives.each_ref().map(|life| Arc::clone(&life.site));
    storm("mariadb-lock", sites, &[a.1, b.1]);
    for server in [&first, &second] {
        assert_eq!(mariadb::Foreign::to(&server.url()).prepared(), 0);
    }
}

#[test]
fn money_is_kept_between_the_locks_of_postgres_and_of_mariadb() {
    let (Some(first), Some(second)) = (server(), mariadb::server()) else {
        return;
    };
    let [a, b] = hosts();
    let one = Life::of("site", 1, options(&first.url(), Mode::Lock), a.0);
    let other = mariadb::Life::of(1, mariadb::options(&second.url()), b.0);
    let sites = [Arc::clone(&one.site), Arc::clone(&other.site)];
    storm("postgres-lock, mariadb-lock", sites, &[a.1, b.1]);
}
