//! A store in memory that shows what ordering buys: the same code under SS2PL, SCO and ordered sharing, with one
//! line of the lock table changed.
//!
//! A record keeps its committed value and the undecided ones in the order of their requests. Request and access
//! happen under the record's latch, so that a read sees what stood before its own request; a request that has
//! to wait waits without the latch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use co_core::{
    AbortReason, Commutativity, Effect, Grant, Kind, LockMode, LockPolicy, LockSet, LockTable,
    Outcome, Priority, Scheduler, Txn, Vote, VoteRule,
};
use parking_lot::Mutex;

/// A value and who wrote it; zero for the initial one.
#[derive(Clone, Copy, Debug, Default)]
struct Version {
    value: u64,
    writer: u64,
}

#[derive(Debug, Default)]
struct Record {
    committed: Version,
    /// Undecided versions, in the order of the requests.
    undecided: Vec<Version>,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    scheduler: Scheduler,
    locks: LockTable<u64>,
    update: LockMode,
    records: Box<[Mutex<Record>]>,
    names: AtomicU64,
    commits: AtomicU64,
    history: Option<Mutex<Vec<Ended>>>,
}

/// A committed transaction, for the checker.
#[derive(Debug)]
struct Ended {
    name: u64,
    position: u64,
    reads: Vec<(u64, u64)>,
    writes: Vec<u64>,
}

/// A transaction of the store.
#[derive(Debug)]
pub struct Access {
    txn: Txn,
    name: u64,
    locks: LockSet,
    /// What it has read or written: the value it goes on with.
    own: BTreeMap<u64, u64>,
    reads: Vec<(u64, u64)>,
    writes: Vec<u64>,
}

impl Store {
    /// A store of `count` records, all zero. With `recording` it keeps its history for [`Store::judge`].
    ///
    /// # Panics
    /// Never: a new table of operations has room for one.
    #[must_use]
    pub fn new(policy: LockPolicy, count: u64, recording: bool) -> Self {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let mut operations = Commutativity::new();
        let update = operations
            .define(Effect::ObservesAndChanges)
            .expect("it is the first");
        Self {
            locks: LockTable::with_operations(scheduler.clone(), policy, operations),
            update,
            scheduler,
            records: (0..count).map(|_| Mutex::default()).collect(),
            names: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            history: recording.then(Mutex::default),
        }
    }

    /// The scheduler, for its statistics.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Begins a transaction of this age; a retry keeps its age.
    pub fn begin(&self, age: u64) -> Access {
        let txn = self.scheduler.begin(Kind::Local {
            priority: Priority(age),
        });
        Access {
            locks: self.locks.begin(&txn),
            txn,
            name: self.names.fetch_add(1, Ordering::Relaxed) + 1,
            own: BTreeMap::new(),
            reads: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Why the transaction must abort.
    pub fn read(&self, access: &mut Access, key: u64) -> Result<u64, AbortReason> {
        if let Some(own) = access.own.get(&key) {
            return Ok(*own);
        }
        let record = self.enter(access, key, LockMode::Read)?;
        let version = self.visible(&record);
        drop(record);
        access.own.insert(key, version.value);
        access.reads.push((key, version.writer));
        Ok(version.value)
    }

    /// Reads and changes a record: one request for both.
    ///
    /// # Errors
    /// Why the transaction must abort.
    pub fn update(
        &self,
        access: &mut Access,
        key: u64,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<(), AbortReason> {
        let name = access.name;
        let mut record = self.enter(access, key, self.update)?;
        let value = if let Some(own) = access.own.get(&key) {
            change(*own)
        } else {
            let version = self.visible(&record);
            access.reads.push((key, version.writer));
            change(version.value)
        };
        match record.undecided.iter_mut().find(|own| own.writer == name) {
            Some(own) => own.value = value,
            None => {
                access.writes.push(key);
                let writer = name;
                record.undecided.push(Version { value, writer });
            }
        }
        drop(record);
        access.own.insert(key, value);
        Ok(())
    }

    /// Asks for the vote, and commits on a YES.
    ///
    /// # Errors
    /// Why the transaction must abort.
    pub fn commit(&self, access: Access) -> Result<(), (Box<Access>, AbortReason)> {
        match self.scheduler.request_vote_blocking(&access.txn) {
            Vote::Yes => {
                let position = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
                self.end(&access, Outcome::Commit);
                self.locks.end(access.locks);
                if let Some(history) = &self.history {
                    history.lock().push(Ended {
                        name: access.name,
                        position,
                        reads: access.reads,
                        writes: access.writes,
                    });
                }
                Ok(())
            }
            Vote::No(reason) => Err((Box::new(access), reason)),
        }
    }

    /// Undoes a transaction.
    pub fn abort(&self, access: Access) {
        self.end(&access, Outcome::Abort);
        self.locks.end(access.locks);
    }

    /// Judges what was recorded: serializability and commitment ordering.
    ///
    /// # Errors
    /// What the checker says when either does not hold.
    pub fn judge(&self) -> Result<usize, String> {
        let Some(history) = &self.history else {
            return Err("nothing was recorded".to_owned());
        };
        let history = history.lock();
        let positions: BTreeMap<u64, u64> = history
            .iter()
            .map(|ended| (ended.name, ended.position))
            .collect();
        let mut text = "co-history 1 store\n".to_owned();
        for ended in history.iter() {
            let seq = if ended.writes.is_empty() {
                "-".to_owned()
            } else {
                ended.position.to_string()
            };
            text += &format!("c L{} {} {seq}", ended.name, ended.position);
            for (key, writer) in &ended.reads {
                // Nobody's name: a read of what never was, which the checker is to find.
                let missing = u64::MAX * u64::from(*writer != 0);
                let version = positions.get(writer).copied().unwrap_or(missing);
                text += &format!(" r:{key}@{version}");
            }
            for key in &ended.writes {
                text += &format!(" w:{key}");
            }
            text.push('\n');
        }
        text += &format!("end {}\n", history.len());
        let site = checker::parse::read_history(text.as_bytes(), "store")
            .map_err(|error| error.to_string())?;
        for level in [
            checker::Level::Serializability,
            checker::Level::CommitmentOrdering,
        ] {
            let report = checker::judge(std::slice::from_ref(&site), level);
            if !matches!(report.verdict, checker::Verdict::Valid { .. }) {
                return Err(checker_words(&report));
            }
        }
        Ok(history.len())
    }

    /// The sum of all committed values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.records
            .iter()
            .map(|record| record.lock().committed.value)
            .sum()
    }

    /// What a request that was just granted sees.
    fn visible(&self, record: &Record) -> Version {
        match self.locks.policy() {
            LockPolicy::OrderedSharing { .. } => {
                *record.undecided.last().unwrap_or(&record.committed)
            }
            LockPolicy::Ss2pl | LockPolicy::Sco => record.committed,
        }
    }

    fn enter(
        &self,
        access: &mut Access,
        key: u64,
        mode: LockMode,
    ) -> Result<parking_lot::MutexGuard<'_, Record>, AbortReason> {
        let index = usize::try_from(key).unwrap_or(usize::MAX);
        let latch = &self.records[index];
        let record = latch.lock();
        let asked = self.locks.lock(&mut access.locks, &key, mode);
        let (record, grant) = match asked.peek() {
            Some(grant) => (record, grant),
            None => {
                drop(record);
                let grant = asked.wait();
                (latch.lock(), grant)
            }
        };
        match grant {
            Grant::Granted => Ok(record),
            Grant::Aborted(reason) => Err(reason),
        }
    }

    fn end(&self, access: &Access, outcome: Outcome) {
        for key in &access.writes {
            let index = usize::try_from(*key).unwrap_or(usize::MAX);
            let mut record = self.records[index].lock();
            let own = record
                .undecided
                .iter()
                .position(|version| version.writer == access.name);
            if let Some(own) = own {
                let version = record.undecided.remove(own);
                if outcome == Outcome::Commit {
                    record.committed = version;
                }
            }
        }
        let decided = self.scheduler.decided(&access.txn, outcome);
        decided.expect("a transaction that voted commits, and any undecided one may abort");
        // Its owner is told by its own next call; nobody else has to undo it.
        drop(self.scheduler.take_doomed());
    }
}

/// What is wrong, in the checker's words.
fn checker_words(report: &checker::Report) -> String {
    report.cycle().map_or_else(
        || report.to_json().to_string(),
        |cycle| {
            let steps = cycle.steps.iter().map(ToString::to_string);
            steps.collect::<Vec<_>>().join("; ")
        },
    )
}
