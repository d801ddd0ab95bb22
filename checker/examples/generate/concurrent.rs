//! A store that runs transactions beside each other, operation by operation, and what its clients saw of it.
//!
//! Each session runs one transaction after another; whose turn it is, is drawn for each operation. What keeps
//! transactions apart is the [`Discipline`]. A transaction that is aborted leaves no trace, and its session begins
//! another.
//!
//! - **C1** `versions[k]` has every value that was installed for key `k`, in the order of the moments of installation.
//! - **C2** Under locks, a key has one writer or any number of readers, and waiting for locks has no cycle: who would
//!   close one is aborted.
//! - **C3** Of serializable snapshots no committed transaction has an anti-dependency both in and out, among those that
//!   ran beside it (Cahill, Röhm and Fekete 2008).

use checker::observed::{Interval, Observed, ObservedBuilder, ObservedFault, Outcome, Value};
use clap::ValueEnum;

use crate::distribution::{Distribution, Keys};
use crate::planted::{self, Violation};
use crate::store::Random;

/// What keeps transactions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Discipline {
    /// Strict two-phase locking; deadlocks are found and one of them aborted. Serializable.
    TwoPhaseLocking,
    /// Reads are validated at the end. Serializable.
    Optimistic,
    /// Snapshots, and the first who commits a write wins. Snapshot isolation.
    Snapshot,
    /// The same, and what could be a dangerous structure is aborted. Serializable.
    SerializableSnapshot,
    /// Reads of what is committed at the time, and nothing else. Read committed.
    ReadCommitted,
}

/// In which order the transactions are listed; those of a session always in the order in which they ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lines {
    /// Session by session.
    Sessions,
    /// As they committed.
    Commits,
    /// As they began.
    Begins,
    /// Anyhow, and without saying of which session they are.
    Anyhow,
}

/// What to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) discipline: Discipline,
    pub(crate) txns: u32,
    pub(crate) sessions: u32,
    /// Operations of a transaction; a read-modify-write is two.
    pub(crate) ops: u32,
    pub(crate) keys: u32,
    pub(crate) distribution: Distribution,
    /// Of a hundred operations, how many are reads.
    pub(crate) reads: u32,
    /// Of a hundred writes, how many read the key before.
    pub(crate) modify: u32,
    /// Of a thousand transactions, how many only read, and eight times as much.
    pub(crate) long: u32,
    /// Of a hundred snapshots, how many are taken in the past, though after what the session saw last.
    pub(crate) stale: u32,
    pub(crate) violation: Violation,
    pub(crate) lines: Lines,
    /// Whether transactions have an interval in real time.
    pub(crate) timed: bool,
    pub(crate) seed: u64,
}

/// An operation that was done: key, what was read or written, whether it was written.
pub(crate) type Done = (u32, u64, bool);

/// A transaction that has committed.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) session: u32,
    pub(crate) ops: Vec<Done>,
    pub(crate) begin: u32,
    pub(crate) end: u32,
}

/// What an operation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Read(u32),
    Write(u32),
}

/// A transaction that runs.
#[derive(Debug)]
struct Running {
    wanted: Vec<Wanted>,
    next: usize,
    begin: u32,
    snapshot: u32,
    done: Vec<Done>,
}

/// Who holds a key.
#[derive(Debug, Clone, Default)]
struct Lock {
    readers: Vec<usize>,
    writer: Option<usize>,
}

/// A transaction that committed while others ran, and its anti-dependencies (C3).
#[derive(Debug)]
struct Beside {
    end: u32,
    reads: Vec<u32>,
    writes: Vec<u32>,
    into: bool,
    out: bool,
}

/// The store.
pub(crate) struct Store {
    workload: Workload,
    keys: Keys,
    pub(crate) random: Random,
    pub(crate) clock: u32,
    /// C1: the moment and the value.
    versions: Vec<Vec<(u32, u64)>>,
    next_value: u64,
    locks: Vec<Lock>,
    /// The keys that each session has locked.
    held: Vec<Vec<u32>>,
    beside: Vec<Beside>,
    sessions: Vec<Option<Running>>,
    /// When each session last committed.
    last: Vec<u32>,
    pub(crate) ran: Vec<Ran>,
}

impl Workload {
    /// Runs it.
    pub(crate) fn run(self) -> Result<Observed, ObservedFault> {
        let mut store = Store::new(self);
        let mut planted = self.violation == Violation::None;
        while store.ran.len() < self.txns as usize {
            if !planted && store.ran.len() >= self.txns as usize / 2 {
                planted = planted::plant(&mut store, self.violation);
            }
            let session = store.random.below(self.sessions) as usize;
            store.step(session);
        }
        store.history()
    }
}

impl Store {
    fn new(workload: Workload) -> Self {
        let keys = workload.keys.max(8 * workload.ops);
        let count = keys as usize;
        Self {
            workload,
            keys: Keys::new(workload.distribution, keys),
            random: Random(workload.seed),
            clock: 0,
            versions: vec![vec![(0, 0)]; count],
            next_value: 1,
            locks: vec![Lock::default(); count],
            held: vec![Vec::new(); workload.sessions as usize],
            beside: Vec::new(),
            sessions: (0..workload.sessions).map(|_| None).collect(),
            last: vec![0; workload.sessions as usize],
            ran: Vec::new(),
        }
    }

    /// Begins, does one operation, waits, or ends.
    fn step(&mut self, session: usize) {
        self.clock += 1;
        let Some(running) = self.sessions[session].take() else {
            self.sessions[session] = Some(self.begin(session));
            return;
        };
        match running.wanted.get(running.next).copied() {
            None => self.end(session, running),
            Some(wanted) => self.operate(session, running, wanted),
        }
    }

    fn begin(&mut self, session: usize) -> Running {
        let (random, work) = (&mut self.random, &self.workload);
        let is_long = random.below(1000) < work.long;
        let ops = if is_long { 8 * work.ops } else { work.ops } as usize;
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut used: Vec<u32> = Vec::new();
        while wanted.len() < ops {
            let key = self.keys.draw(random);
            if used.contains(&key) {
                continue;
            }
            used.push(key);
            if is_long || random.below(100) < work.reads {
                wanted.push(Wanted::Read(key));
                continue;
            }
            if random.below(100) < work.modify {
                wanted.push(Wanted::Read(key));
            }
            wanted.push(Wanted::Write(key));
        }
        let only_reads = wanted.iter().all(|it| matches!(it, Wanted::Read(_)));
        let mut snapshot = self.clock;
        if only_reads && self.random.below(100) < self.workload.stale {
            let after = self.last[session];
            snapshot = after + self.random.below(self.clock - after);
        }
        Running {
            wanted,
            next: 0,
            begin: self.clock,
            snapshot,
            done: Vec::new(),
        }
    }

    fn operate(&mut self, session: usize, mut running: Running, wanted: Wanted) {
        if self.workload.discipline == Discipline::TwoPhaseLocking && !self.lock(session, wanted) {
            self.sessions[session] = Some(running);
            if self.would_wait_for_itself(session) {
                self.sessions[session] = None;
                self.unlock(session);
            }
            return;
        }
        running.next += 1;
        running.done.push(match wanted {
            Wanted::Read(key) => {
                let snapshots = matches!(
                    self.workload.discipline,
                    Discipline::Snapshot | Discipline::SerializableSnapshot
                );
                let at = if snapshots {
                    running.snapshot
                } else {
                    self.clock
                };
                (key, self.value_at(key, at), false)
            }
            Wanted::Write(key) => (key, self.fresh(), true),
        });
        self.sessions[session] = Some(running);
    }

    fn end(&mut self, session: usize, running: Running) {
        let keeps = match self.workload.discipline {
            Discipline::TwoPhaseLocking | Discipline::ReadCommitted => true,
            Discipline::Optimistic => {
                let mut reads = running.done.iter().filter(|(.., write)| !write);
                reads.all(|(key, value, _)| self.value_at(*key, self.clock) == *value)
            }
            Discipline::Snapshot => self.wins(&running),
            Discipline::SerializableSnapshot => self.wins(&running) && self.is_safe(&running),
        };
        self.unlock(session);
        if keeps {
            let session = u32::try_from(session).expect("sessions are counted in 32 bits");
            self.commit(session, running.begin, running.done);
        }
    }

    /// Installs what a transaction wrote, now.
    pub(crate) fn commit(&mut self, session: u32, begin: u32, ops: Vec<Done>) {
        for (key, value, _) in ops.iter().filter(|(.., write)| *write) {
            self.versions[*key as usize].push((self.clock, *value));
        }
        self.last[session as usize] = self.clock;
        self.ran.push(Ran {
            session,
            ops,
            begin,
            end: self.clock,
        });
    }

    /// A value that nobody has written.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value - 1
    }

    /// What a key had at a moment.
    pub(crate) fn value_at(&self, key: u32, moment: u32) -> u64 {
        let versions = &self.versions[key as usize];
        let count = versions.partition_point(|(at, _)| *at <= moment);
        versions[count - 1].1
    }

    /// Keys that nobody has locked, and that were written before.
    pub(crate) fn free_keys(&mut self, count: usize) -> Vec<u32> {
        let mut free = Vec::new();
        for _ in 0..1000 * count {
            let key = self.random.below(self.keys.count());
            let lock = &self.locks[key as usize];
            let is_free = lock.readers.is_empty() && lock.writer.is_none();
            if is_free && self.versions[key as usize].len() > 1 && !free.contains(&key) {
                free.push(key);
            }
            if free.len() == count {
                break;
            }
        }
        free
    }

    /// Sessions that run nothing; their transactions are aborted.
    pub(crate) fn free_sessions(&mut self) -> u32 {
        for session in 0..self.sessions.len() {
            self.sessions[session] = None;
            self.unlock(session);
        }
        self.workload.sessions
    }

    /// Whether nobody has overwritten what a transaction writes, since its snapshot.
    fn wins(&self, running: &Running) -> bool {
        let mut writes = running.done.iter().filter(|(.., write)| *write);
        writes.all(|(key, ..)| {
            let last = self.versions[*key as usize].last();
            last.is_some_and(|(at, _)| *at <= running.snapshot)
        })
    }

    /// C3, and remembers the transaction if so.
    fn is_safe(&mut self, running: &Running) -> bool {
        let of = |write: bool| {
            let ops = running.done.iter().filter(|op| op.2 == write);
            ops.map(|op| op.0).collect::<Vec<u32>>()
        };
        let (reads, writes) = (of(false), of(true));
        let oldest = self.sessions.iter().flatten().map(|it| it.snapshot).min();
        let oldest = oldest.unwrap_or(self.clock).min(running.snapshot);
        self.beside.retain(|other| other.end > oldest);
        let meets = |some: &[u32], others: &[u32]| some.iter().any(|key| others.contains(key));
        let (mut into, mut out) = (false, false);
        let mut found = Vec::new();
        for (place, other) in self.beside.iter().enumerate() {
            if other.end <= running.snapshot {
                continue;
            }
            let (to_us, to_other) = (meets(&other.reads, &writes), meets(&reads, &other.writes));
            if (to_us && (other.into || to_other)) || (to_other && other.out) {
                return false;
            }
            (into, out) = (into || to_us, out || to_other);
            found.push((place, to_us, to_other));
        }
        if into && out {
            return false;
        }
        for (place, to_us, to_other) in found {
            self.beside[place].out |= to_us;
            self.beside[place].into |= to_other;
        }
        self.beside.push(Beside {
            end: self.clock,
            reads,
            writes,
            into,
            out,
        });
        true
    }

    /// C2: takes a lock if nobody is in the way.
    fn lock(&mut self, session: usize, wanted: Wanted) -> bool {
        if !self.in_the_way(session, wanted).is_empty() {
            return false;
        }
        let (Wanted::Read(key) | Wanted::Write(key)) = wanted;
        self.held[session].push(key);
        match wanted {
            Wanted::Read(key) => {
                let lock = &mut self.locks[key as usize];
                if !lock.readers.contains(&session) {
                    lock.readers.push(session);
                }
            }
            Wanted::Write(key) => self.locks[key as usize].writer = Some(session),
        }
        true
    }

    fn in_the_way(&self, session: usize, wanted: Wanted) -> Vec<usize> {
        let (Wanted::Read(key) | Wanted::Write(key)) = wanted;
        let lock = &self.locks[key as usize];
        let mut others: Vec<usize> = lock.writer.into_iter().collect();
        if matches!(wanted, Wanted::Write(_)) {
            others.extend(&lock.readers);
        }
        others.retain(|other| *other != session);
        others
    }

    fn would_wait_for_itself(&self, session: usize) -> bool {
        let waits_for = |waiting: usize| {
            let wanted = |running: &Running| running.wanted.get(running.next).copied();
            let wanted = self.sessions[waiting].as_ref().and_then(wanted);
            wanted.map_or_else(Vec::new, |wanted| self.in_the_way(waiting, wanted))
        };
        let mut seen = vec![false; self.sessions.len()];
        let mut open = waits_for(session);
        while let Some(other) = open.pop() {
            if other == session {
                return true;
            }
            if !std::mem::replace(&mut seen[other], true) {
                open.extend(waits_for(other));
            }
        }
        false
    }

    fn unlock(&mut self, session: usize) {
        for key in std::mem::take(&mut self.held[session]) {
            let lock = &mut self.locks[key as usize];
            lock.readers.retain(|reader| *reader != session);
            if lock.writer == Some(session) {
                lock.writer = None;
            }
        }
    }

    fn history(mut self) -> Result<Observed, ObservedFault> {
        let mut order: Vec<usize> = (0..self.ran.len()).collect();
        match self.workload.lines {
            Lines::Sessions => order.sort_by_key(|at| self.ran[*at].session),
            Lines::Begins => order.sort_by_key(|at| self.ran[*at].begin),
            Lines::Commits => {}
            Lines::Anyhow => {
                let mut key: Vec<u32> = Vec::new();
                key.resize_with(order.len(), || self.random.below(u32::MAX));
                order.sort_by_key(|at| key[*at]);
            }
        }
        let mut builder = ObservedBuilder::new("generated");
        for at in order {
            let ran = &self.ran[at];
            for (key, value, write) in &ran.ops {
                let key = builder.key(&key.to_string())?;
                let value = (*value > 0).then(|| Value::number(*value)).flatten();
                match (write, value) {
                    (true, Some(value)) => builder.write(key, value)?,
                    _ => builder.read(key, value)?,
                }
            }
            let interval = self.workload.timed.then_some(Interval {
                begin: ran.begin,
                end: ran.end,
            });
            let session = (self.workload.lines != Lines::Anyhow).then_some(ran.session);
            builder.end(session, Outcome::Committed, interval, 0)?;
        }
        Ok(builder.finish())
    }
}
