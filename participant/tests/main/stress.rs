//! Threads against one site: mixed operations on few keys, local commits, retries.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use checker::Level;
use co_core::{AbortReason, Priority, Stamp, VoteRule};
use participant::conformance::{block_on, key, number, range, value};
use participant::engine::{Engine, Host, Mvcc, Optimistic, Options, Shared, Ss2pl};
use participant::{
    Ballot, Begin, Change, Decision, Operation, OperationError, Participant, Recorder, Reply,
    TxnName,
};

use crate::judge::assert_valid;

const THREADS: u64 = 4;
const COMMITS: u64 = 1000;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

pub(crate) fn operation(random: &mut Random, name: u64) -> Operation {
    let hot = ["a", "b", "c", "d", "e"][random.below(5) as usize];
    let sum = ["m", "n"][random.below(2) as usize];
    match random.below(12) {
        0..=3 => Operation::Get(key(hot)),
        4..=5 => Operation::Put(key(hot), value(&format!("T{name}"))),
        6 => Operation::Delete(key(hot)),
        7..=8 => Operation::Increment(key(sum), 1),
        9 => Operation::Get(key(sum)),
        10 => Operation::Scan(range("b", Some("d"))),
        _ => Operation::Scan(range("", None)),
    }
}

fn attempt(
    site: &dyn Participant,
    begin: Begin,
    operations: &[Operation],
) -> Result<(), AbortReason> {
    let name = begin.name;
    site.begin(begin).unwrap();
    for operation in operations {
        match block_on(site.execute(name, operation)) {
            Ok(_) => {}
            Err(OperationError::Aborted(reason)) => {
                site.decide(name, Decision::Abort).unwrap();
                return Err(reason);
            }
            Err(error) => panic!("{error}"),
        }
    }
    let vote = vote(site, name);
    assert_eq!(site.prepared(name).is_some(), vote.is_ok());
    let decision = vote.map_or(Decision::Abort, Decision::Commit);
    site.decide(name, decision).unwrap();
    vote.map(drop)
}

/// One client: commits its share, retrying with the age of the first attempt; walks out now and then.
fn client(site: &dyn Participant, names: &AtomicU64, mut random: Random) -> i64 {
    let mut increments = 0;
    for _ in 0..COMMITS {
        let first = names.fetch_add(1, Ordering::Relaxed);
        let count = 1 + random.below(5);
        let operations: Vec<_> = (0..count).map(|_| operation(&mut random, first)).collect();
        let mut name = first;
        loop {
            let begin = Begin {
                name: TxnName::Local(name),
                priority: Priority(first),
            };
            if attempt(site, begin, &operations).is_ok() {
                let sums = operations.iter();
                increments += sums
                    .filter(|operation| matches!(operation, Operation::Increment(..)))
                    .count() as i64;
                break;
            }
            name = names.fetch_add(1, Ordering::Relaxed);
        }
        if random.below(10) == 0 {
            walk_out(site, names, &mut random);
        }
    }
    increments
}

/// A transaction that is given up after some operations, one of which may be waiting.
fn walk_out(site: &dyn Participant, names: &AtomicU64, random: &mut Random) {
    let number = names.fetch_add(1, Ordering::Relaxed);
    let name = TxnName::Local(number);
    let priority = Priority(number);
    site.begin(Begin { name, priority }).unwrap();
    for _ in 0..random.below(4) {
        let operation = operation(random, number);
        let mut running = site.execute(name, &operation);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        if !matches!(
            running.as_mut().poll(&mut context),
            std::task::Poll::Ready(Ok(_))
        ) {
            break;
        }
    }
    site.decide(name, Decision::Abort).unwrap();
}

fn check<E: Engine>(rule: VoteRule, level: Level, open: impl Fn(Options) -> Host<E>) {
    for seed in [1, 20_090_901, 0xC0C0] {
        let recorder = Recorder::memory("site");
        let site = Arc::new(open(Options {
            rule,
            recorder: recorder.clone(),
            ..Options::default()
        }));
        println!("{} {rule:?} seed {seed}", site.engine());
        let names = AtomicU64::new(1);
        let increments: i64 = thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let random = Random(seed * 1000 + thread);
                    scope.spawn(|| client(&*site, &names, random))
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .sum()
        });
        assert_eq!(site.in_flight(), 0);
        let total = total(&*site, u64::MAX);
        assert_eq!(
            total, increments,
            "the counters hold what was added to them"
        );
        assert!(site.is_idle(), "I7");
        recorder.finish().unwrap();
        let case = format!("{} {rule:?} seed {seed}", site.engine());
        let history = recorder.text().unwrap();
        assert_eq!(
            history
                .lines()
                .filter(|line| line.starts_with("c "))
                .count() as u64,
            THREADS * COMMITS + 1
        );
        assert_valid(&case, &history, level);
    }
}

/// Transfers keep the total; some are increments, some read and write.
fn transfer(site: &dyn Participant, age: u64, random: &mut Random) -> Option<Stamp> {
    let accounts = ["a", "b", "c", "d", "e"];
    let [from, to] = [0; 2].map(|_| accounts[random.below(5) as usize]);
    let amount = 1 + random.below(9) as i64;
    let name = TxnName::Local(age);
    let priority = Priority(age);
    site.begin(Begin { name, priority }).unwrap();
    let by_increments = random.below(2) == 0;
    let done = [(from, -amount), (to, amount)]
        .iter()
        .try_for_each(|(account, change)| {
            let account = key(account);
            if by_increments {
                let add = Operation::Increment(account, *change);
                return block_on(site.execute(name, &add)).map(drop);
            }
            let read = Operation::Get(Arc::clone(&account));
            let Reply::Value(Some(balance)) = block_on(site.execute(name, &read))? else {
                panic!("accounts are never closed");
            };
            let balance = i64::from_le_bytes((*balance).try_into().unwrap());
            let write = Operation::Put(account, number(balance + change));
            block_on(site.execute(name, &write)).map(drop)
        });
    let stamp = done.ok().and_then(|()| vote(site, name).ok());
    let decision = stamp.map_or(Decision::Abort, Decision::Commit);
    site.decide(name, decision).unwrap();
    stamp
}

fn vote(site: &dyn Participant, name: TxnName) -> Result<Stamp, AbortReason> {
    let (tell, told) = mpsc::channel();
    site.prepare(name, Box::new(move |ballot| tell.send(ballot).unwrap()));
    match told.recv().unwrap() {
        Ballot::Yes { stamp, .. } => Ok(stamp),
        Ballot::No(reason) => Err(reason),
    }
}

#[test]
fn queries_see_every_transfer_whole() {
    const TOTAL: i64 = 500;
    let recorder = Recorder::memory("site");
    let site = Mvcc::new(Options {
        rule: VoteRule::Withhold,
        recorder: recorder.clone(),
        ..Options::default()
    });
    let changes = ["a", "b", "c", "d", "e"].map(|account| Change::Increment(key(account), 100));
    site.restore(Stamp(1), changes.to_vec());
    let (names, newest, working) = (AtomicU64::new(1), AtomicU64::new(1), AtomicU64::new(3));
    let queries = thread::scope(|scope| {
        for thread in 0..3 {
            let (site, names, newest, working) = (&site, &names, &newest, &working);
            scope.spawn(move || {
                let mut random = Random(thread);
                for _ in 0..500 {
                    let name = names.fetch_add(1, Ordering::Relaxed);
                    if let Some(stamp) = transfer(site, name, &mut random) {
                        newest.fetch_max(stamp.0, Ordering::Relaxed);
                    }
                }
                working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut queries = 0;
        while working.load(Ordering::Relaxed) > 0 {
            // Sometimes in the past, sometimes ahead of everything that has voted.
            let stamp = Stamp(newest.load(Ordering::Relaxed) + 2 - queries % 5 % 3);
            let rows = block_on(site.query(stamp, &range("a", None))).unwrap();
            let balances = rows
                .iter()
                .map(|(_, balance)| i64::from_le_bytes((**balance).try_into().unwrap()));
            assert_eq!(balances.sum::<i64>(), TOTAL, "as of {stamp}: {rows:?}");
            queries += 1;
        }
        queries
    });
    assert!(queries > 0 && site.is_idle());
    recorder.finish().unwrap();
    assert_valid(
        "transfers",
        &recorder.text().unwrap(),
        Level::CommitmentOrdering,
    );
}

/// The sum of both counters, read by one more transaction.
pub(crate) fn total(site: &dyn Participant, number_of_reader: u64) -> i64 {
    let name = TxnName::Local(number_of_reader);
    let priority = Priority(number_of_reader);
    site.begin(Begin { name, priority }).unwrap();
    let mut sum = 0;
    for counter in ["m", "n"] {
        let read = Operation::Get(key(counter));
        let Reply::Value(found) = block_on(site.execute(name, &read)).unwrap() else {
            unreachable!("a read returns a value");
        };
        let found = found.unwrap_or_else(|| number(0));
        sum += i64::from_le_bytes((*found).try_into().unwrap());
    }
    let stamp = vote(site, name).expect("nobody else is there");
    site.decide(name, Decision::Commit(stamp)).unwrap();
    sum
}

#[test]
fn ss2pl_withstands_threads() {
    let open = Ss2pl::new;
    check(VoteRule::Withhold, Level::CommitmentOrdering, open);
    check(VoteRule::LocalOnly, Level::Serializability, open);
}

#[test]
fn sco_withstands_threads() {
    let open = Ss2pl::strict_commit_order;
    check(VoteRule::Withhold, Level::CommitmentOrdering, open);
    check(VoteRule::LocalOnly, Level::Serializability, open);
}

#[test]
fn optimistic_withstands_threads() {
    check(
        VoteRule::Withhold,
        Level::CommitmentOrdering,
        Optimistic::new,
    );
    check(VoteRule::LocalOnly, Level::Serializability, Optimistic::new);
}

#[test]
fn mvcc_withstands_threads() {
    check(VoteRule::Withhold, Level::CommitmentOrdering, Mvcc::new);
    check(VoteRule::LocalOnly, Level::Serializability, Mvcc::new);
}

#[test]
fn shared_withstands_threads() {
    check(VoteRule::Withhold, Level::CommitmentOrdering, Shared::new);
    check(VoteRule::LocalOnly, Level::Serializability, Shared::new);
}
