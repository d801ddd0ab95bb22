//! How much do local transactions gain when only global ones are ordered by their commits?
//!
//! Two sites in one process, a mix of local and global transactions, longish local readers. The same engine runs
//! twice: every transaction ordered by its commit (`Certification::CommitOrder`), then locals certified by
//! intervals (`Certification::Interval`).
//!
//! A transaction reads some accounts and moves an amount between two others: at one site if it is local, from one
//! site to the other if it is global. A transaction that aborts is tried again until it commits. Network and
//! thinking are pauses of a given length. After each run the sum over all accounts is checked, and the checker
//! judges the histories of both sites together.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use co_core::{
    Access, Certification, CommitSeq, Gco, Gtid, Kind, Misuse, Outcome, Priority, Reads, SiteTxn,
    Source, Vote,
};
use serde_json::json;

#[derive(Parser, Clone, Debug)]
#[command(
    about = "Local and global transactions at two sites, with and without interval certification"
)]
struct Options {
    /// Seconds for each of the two runs.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads that run local transactions.
    #[arg(long, default_value_t = 6)]
    locals: usize,
    /// Threads that run global transactions.
    #[arg(long, default_value_t = 2)]
    globals: usize,
    /// Accounts at each site.
    #[arg(long, default_value_t = 200)]
    accounts: usize,
    /// Accounts that a local transaction reads besides the two that it changes.
    #[arg(long, default_value_t = 12)]
    local_reads: usize,
    /// Accounts that a global transaction reads at each site besides the one that it changes.
    #[arg(long, default_value_t = 2)]
    global_reads: usize,
    /// Share of local transactions that only read, in percent.
    #[arg(long, default_value_t = 50)]
    read_only: u32,
    /// A local transaction thinks so long after each read, in microseconds.
    #[arg(long, default_value_t = 50)]
    think: u64,
    /// A message between coordinator and site takes so long, in microseconds.
    #[arg(long, default_value_t = 200)]
    message: u64,
    /// Which versions are read.
    #[arg(long, value_enum, default_value = "newest")]
    reads: Versions,
    /// Seed of the choice of accounts; the interleaving is the machine's.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Versions {
    Newest,
    Snapshot,
}

/// The versions of one account, oldest first.
type Account = Mutex<Vec<(CommitSeq, i64)>>;

/// One multi-version engine: the values are here, the order is in `Gco`.
struct Site {
    order: Gco<usize>,
    accounts: Vec<Account>,
    /// Committed transactions, in the checker's notation.
    history: Mutex<Vec<String>>,
}

/// One transaction at one site, with the changes it keeps to itself until it commits.
struct Part<'a> {
    site: &'a Site,
    txn: SiteTxn,
    changes: Vec<(usize, i64)>,
    /// Which versions it has seen.
    seen: RefCell<Vec<(usize, CommitSeq)>>,
}

/// A transaction must abort.
struct Aborted;

const INITIAL: i64 = 1_000;

impl Site {
    fn new(options: &Options, certification: Certification) -> Self {
        let reads = match options.reads {
            Versions::Newest => Reads::Newest,
            Versions::Snapshot => Reads::Snapshot,
        };
        let account = |_| Mutex::new(vec![(CommitSeq(0), INITIAL)]);
        Self {
            order: Gco::new(reads, certification),
            accounts: (0..options.accounts).map(account).collect(),
            history: Mutex::default(),
        }
    }

    fn begin(&self, kind: Kind) -> Part<'_> {
        Part {
            site: self,
            txn: self.order.begin(kind),
            changes: Vec::new(),
            seen: RefCell::default(),
        }
    }

    /// What a transaction that has the account's turn is about to replace: nobody else can, so it need not ask.
    fn newest(&self, account: usize) -> (CommitSeq, i64) {
        let versions = self.accounts[account].lock();
        let versions = versions.unwrap_or_else(PoisonError::into_inner);
        versions.last().copied().unwrap_or((CommitSeq(0), INITIAL))
    }
}

impl Part<'_> {
    fn read(&self, account: usize) -> Result<i64, Aborted> {
        let source = match self.site.order.read(&self.txn, &account).map_err(never)? {
            Access::Granted(source) => source,
            Access::Busy(_) | Access::Doomed(_) => return Err(Aborted),
        };
        let as_of = match source {
            Source::AsOf(number) => number,
            Source::Own => {
                let own = self.changes.iter().rfind(|change| change.0 == account);
                return own.map(|change| change.1).ok_or(Aborted);
            }
        };
        let versions = self.site.accounts[account].lock();
        let versions = versions.unwrap_or_else(PoisonError::into_inner);
        let at = versions.partition_point(|version| version.0 <= as_of);
        let (number, value) = versions[at - 1];
        drop(versions);
        self.seen.borrow_mut().push((account, number));
        Ok(value)
    }

    /// The value of an account whose turn it has.
    fn held(&self, account: usize) -> i64 {
        let (number, value) = self.site.newest(account);
        self.seen.borrow_mut().push((account, number));
        value
    }

    /// Takes the account's turn, waiting for it. All transactions take turns in one order (site, account), so
    /// these waits close no cycle.
    fn turn(&self, account: usize) -> Result<(), Aborted> {
        loop {
            match self.site.order.write(&self.txn, &account).map_err(never)? {
                Access::Granted(()) => return Ok(()),
                Access::Busy(holder) => {
                    holder.wait();
                }
                Access::Doomed(_) => return Err(Aborted),
            }
        }
    }

    fn vote(&self) -> Result<(), Aborted> {
        match self.site.order.request_vote(&self.txn).wait() {
            Vote::Yes => Ok(()),
            Vote::No(_) => Err(Aborted),
        }
    }

    fn end(self, outcome: Outcome) -> Result<(), Aborted> {
        let oldest = self.site.order.oldest_read();
        let position = Cell::new(None);
        let install = |number| {
            position.set(Some(number));
            for &(account, value) in &self.changes {
                let versions = self.site.accounts[account].lock();
                let mut versions = versions.unwrap_or_else(PoisonError::into_inner);
                versions.push((number, value));
                let unread = versions.partition_point(|version| version.0 <= oldest);
                versions.drain(..unread.saturating_sub(1));
            }
        };
        let order = &self.site.order;
        order
            .decided_with(&self.txn, outcome, install)
            .map_err(never)?;
        if outcome == Outcome::Commit {
            self.record(position.get());
        }
        Ok(())
    }

    fn record(&self, position: Option<CommitSeq>) {
        let name = match self.txn.kind() {
            Kind::Global { gtid, .. } => format!("G{}", gtid.0),
            Kind::Local { priority } => format!("L{}", priority.0),
            Kind::Query { .. } => return,
        };
        let position = position.filter(|_| !self.changes.is_empty());
        let position = position.map_or_else(|| "-".to_owned(), |number| number.0.to_string());
        let mut line = format!("c {name} - {position}");
        for (account, number) in self.seen.borrow().iter() {
            line += &format!(" r:{account}@{}", number.0);
        }
        for (account, _) in &self.changes {
            line += &format!(" w:{account}");
        }
        let history = self.site.history.lock();
        history.unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The calls below are in the order that the contract asks for.
fn never(misuse: Misuse) -> Aborted {
    unreachable!("{misuse}")
}

fn pause(micros: u64) {
    if micros > 0 {
        std::thread::sleep(Duration::from_micros(micros));
    }
}

/// What one thread did.
#[derive(Default)]
struct Tally {
    commits: u64,
    aborts: u64,
    /// From the first attempt to the commit.
    latencies: Vec<Duration>,
}

struct Run<'a> {
    options: &'a Options,
    sites: [Site; 2],
    stop: AtomicBool,
    age: AtomicU64,
}

/// The accounts that one transaction picks, the same in every attempt.
struct Choice {
    site: usize,
    reads: [Vec<usize>; 2],
    changes: Option<[usize; 2]>,
    amount: i64,
}

impl Run<'_> {
    fn local(&self, choice: &Choice, priority: Priority) -> Result<(), Aborted> {
        let mut part = self.sites[choice.site].begin(Kind::Local { priority });
        let done = self.local_work(&mut part, choice);
        let done = done.and_then(|()| part.vote());
        part.end(outcome(&done))?;
        done
    }

    fn local_work(&self, part: &mut Part<'_>, choice: &Choice) -> Result<(), Aborted> {
        for &account in &choice.reads[0] {
            part.read(account)?;
            pause(self.options.think);
        }
        let Some([first, second]) = choice.changes else {
            return Ok(());
        };
        part.turn(first.min(second))?;
        part.turn(first.max(second))?;
        let values = [first, second].map(|account| part.held(account));
        part.changes = vec![
            (first, values[0] - choice.amount),
            (second, values[1] + choice.amount),
        ];
        Ok(())
    }

    fn global(&self, choice: &Choice, priority: Priority) -> Result<(), Aborted> {
        let kind = Kind::Global {
            gtid: Gtid(priority.0),
            priority,
        };
        let mut parts = [0, 1].map(|site| self.sites[site].begin(kind));
        let done = self.global_work(&mut parts, choice);
        pause(self.options.message); // the decision
        let outcome = outcome(&done);
        for part in parts {
            part.end(outcome)?;
        }
        done
    }

    /// The sites are asked one after the other, so one that waits for another's decision at the second site waits
    /// for one that has all its votes.
    fn global_work(&self, parts: &mut [Part<'_>; 2], choice: &Choice) -> Result<(), Aborted> {
        let signs = [-choice.amount, choice.amount];
        let accounts = choice.changes.unwrap_or_default();
        for (at, part) in parts.iter_mut().enumerate() {
            for &account in &choice.reads[at] {
                part.read(account)?;
            }
            part.turn(accounts[at])?;
            let value = part.held(accounts[at]);
            part.changes = vec![(accounts[at], value + signs[at])];
        }
        pause(self.options.message); // the request to vote
        for part in parts.iter() {
            part.vote()?;
        }
        pause(self.options.message); // the votes
        Ok(())
    }

    fn work(&self, is_global: bool, seed: u64) -> Tally {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut tally = Tally::default();
        while !self.stop.load(Ordering::Relaxed) {
            let choice = self.choose(is_global, &mut dice);
            let priority = Priority(self.age.fetch_add(1, Ordering::Relaxed));
            let begun = Instant::now();
            while !self.stop.load(Ordering::Relaxed) {
                let result = if is_global {
                    self.global(&choice, priority)
                } else {
                    self.local(&choice, priority)
                };
                if result.is_ok() {
                    tally.commits += 1;
                    tally.latencies.push(begun.elapsed());
                    break;
                }
                tally.aborts += 1;
            }
        }
        tally
    }

    fn choose(&self, is_global: bool, dice: &mut fastrand::Rng) -> Choice {
        let accounts = 0..self.options.accounts;
        let mut some = |count: usize| (0..count).map(|_| dice.usize(accounts.clone())).collect();
        let reads = if is_global {
            [
                some(self.options.global_reads),
                some(self.options.global_reads),
            ]
        } else {
            [some(self.options.local_reads), Vec::new()]
        };
        let first = dice.usize(accounts.clone());
        // Two accounts of one site must differ.
        let second = (first + dice.usize(1..self.options.accounts)) % self.options.accounts;
        let reads_only = !is_global && dice.u32(0..100) < self.options.read_only;
        Choice {
            site: dice.usize(0..2),
            reads,
            changes: (!reads_only).then_some([first, second]),
            amount: dice.i64(1..10),
        }
    }
}

fn outcome(done: &Result<(), Aborted>) -> Outcome {
    match done {
        Ok(()) => Outcome::Commit,
        Err(Aborted) => Outcome::Abort,
    }
}

/// What one run did, locals and globals apart.
struct Summary {
    seconds: f64,
    locals: Tally,
    globals: Tally,
}

fn run(options: &Options, certification: Certification) -> Summary {
    let run = Run {
        options,
        sites: [0, 1].map(|_| Site::new(options, certification)),
        stop: AtomicBool::new(false),
        age: AtomicU64::new(1),
    };
    let begun = Instant::now();
    let tallies = std::thread::scope(|scope| {
        let threads = options.locals + options.globals;
        let work = |index: usize| {
            let run = &run;
            let is_global = index >= options.locals;
            let seed = options.seed.wrapping_mul(1_000).wrapping_add(index as u64);
            scope.spawn(move || (is_global, run.work(is_global, seed)))
        };
        let workers: Vec<_> = (0..threads).map(work).collect();
        std::thread::sleep(Duration::from_secs_f64(options.seconds));
        run.stop.store(true, Ordering::Relaxed);
        let results = workers.into_iter().map(|worker| {
            let result = worker.join();
            result.expect("a worker that panicked has said why")
        });
        results.collect::<Vec<_>>()
    });
    let mut summary = Summary {
        seconds: begun.elapsed().as_secs_f64(),
        locals: Tally::default(),
        globals: Tally::default(),
    };
    for (is_global, tally) in tallies {
        let sum = if is_global {
            &mut summary.globals
        } else {
            &mut summary.locals
        };
        sum.commits += tally.commits;
        sum.aborts += tally.aborts;
        sum.latencies.extend(tally.latencies);
    }
    summary.locals.latencies.sort_unstable();
    check(&run);
    summary
}

/// No money was lost, the sites have forgotten everything, and both together are serializable.
fn check(run: &Run<'_>) {
    let sites = run.sites.iter();
    let moved = sites.flat_map(|site| {
        let accounts = 0..site.accounts.len();
        accounts.map(|account| site.newest(account).1 - INITIAL)
    });
    assert_eq!(moved.sum::<i64>(), 0, "the sum over all accounts");
    assert!(run.sites.iter().all(|site| site.order.is_empty()), "I7");
    let histories: Vec<_> = run.sites.iter().zip(["A", "B"]).map(history).collect();
    let report = checker::judge(&histories, checker::Level::Serializability);
    let valid = matches!(report.verdict, checker::Verdict::Valid { .. });
    assert!(valid, "not serializable: {}", report.to_json());
}

fn history((site, name): (&Site, &str)) -> checker::SiteHistory {
    let lines = site.history.lock().unwrap_or_else(PoisonError::into_inner);
    let text = format!(
        "co-history 1 {name}\n{}\nend {}\n",
        lines.join("\n"),
        lines.len()
    );
    checker::parse::read_history(text.as_bytes(), name).expect("the lines above follow the format")
}

impl Tally {
    /// Aborts for each commit.
    fn abort_rate(&self) -> f64 {
        self.aborts as f64 / (self.commits as f64).max(1.0)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = self.latencies.len() * percent / 100;
        let latency = self
            .latencies
            .get(at.min(self.latencies.len().saturating_sub(1)));
        latency.copied().unwrap_or_default()
    }
}

impl Summary {
    fn commits_per_second(&self) -> f64 {
        (self.locals.commits + self.globals.commits) as f64 / self.seconds
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "seconds": self.seconds,
            "commits_per_second": self.commits_per_second(),
            "local_commits": self.locals.commits,
            "local_aborts": self.locals.aborts,
            "local_aborts_per_commit": self.locals.abort_rate(),
            "local_p50_us": self.locals.percentile(50).as_secs_f64() * 1e6,
            "local_p99_us": self.locals.percentile(99).as_secs_f64() * 1e6,
            "global_commits": self.globals.commits,
            "global_aborts": self.globals.aborts,
            "global_aborts_per_commit": self.globals.abort_rate(),
        })
    }

    fn row(&self, name: &str) -> String {
        format!(
            "{name:14} {:9.0} {:9} {:8} {:7.3} {:8.2} {:8.2} {:8} {:8} {:7.3}",
            self.commits_per_second(),
            self.locals.commits,
            self.locals.aborts,
            self.locals.abort_rate(),
            self.locals.percentile(50).as_secs_f64() * 1e3,
            self.locals.percentile(99).as_secs_f64() * 1e3,
            self.globals.commits,
            self.globals.aborts,
            self.globals.abort_rate(),
        )
    }
}

#[allow(clippy::print_stdout, reason = "a program's results")]
fn main() {
    let options = Options::parse();
    assert!(options.accounts >= 2, "a transfer needs two accounts");
    let order = run(&options, Certification::CommitOrder);
    let interval = run(&options, Certification::Interval);
    let fewer =
        1.0 - interval.locals.abort_rate() / order.locals.abort_rate().max(f64::MIN_POSITIVE);
    if options.json {
        let result = json!({
            "commit_order": order.json(),
            "interval": interval.json(),
            "fewer_local_aborts": fewer,
        });
        println!("{result}");
        return;
    }
    println!(
        "certification  commits/s    locals   aborts /commit   p50 ms   p99 ms  globals   aborts /commit"
    );
    println!("{}", order.row("commit order"));
    println!("{}", interval.row("interval"));
    println!("local aborts for each commit: {:.0} % fewer", fewer * 100.0);
}
