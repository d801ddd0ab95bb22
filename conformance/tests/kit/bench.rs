//! A small multi-version engine that reports every conflict to the scheduler itself, and the ways to break
//! it. Operations never wait: a read sees what is committed and precedes every undecided writer, a write
//! follows every undecided reader and writer, and the votes come in that order.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use co_core::{
    AbortReason, EdgeKind, Gtid, Kind, Misuse, Outcome, Priority, Scheduler, State, Txn, TxnId,
    Vote, VoteRule,
};
use conformance::{Answer, Engine, Key, Place, Refusal, Value};

/// What is wrong with the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    None,
    /// Read marks end with the vote, as in an optimistic engine under plain two-phase commit.
    ForgetsReadsAtVote,
    /// A conflict is reported from the last accessor only.
    LastAccessorOnly,
    /// Scans leave no mark.
    ForgetsRanges,
    /// All marks end with the vote.
    ReleasesAtVote,
    /// The scheduler does not learn that a transaction without writes was aborted.
    LeaksAborted,
    /// The marks of an aborted transaction stay.
    LeaksMarks,
    /// YES is said while the scheduler withholds the vote.
    VotesEarly,
    /// Reads see what others have not committed yet.
    ReadsDirty,
    /// A second decision is accepted.
    DecidesTwice,
    /// A commit without a vote is accepted.
    CommitsUnvoted,
    /// Operations after the vote are accepted.
    WorksAfterVote,
    /// Deletes are lost at the commit.
    LosesDeletes,
    /// Reads do not see the transaction's own writes.
    MissesOwnWrites,
    /// Every vote is NO.
    AbortsAll,
    /// What is doomed is not cleaned up.
    NoCleanUp,
    /// Nothing is in the log before YES.
    NoRecord,
    /// The record is not removed with the decision.
    KeepsRecord,
    /// The record has no read marks.
    RecordWithoutReads,
    /// The record has no range marks.
    RecordWithoutRanges,
    /// A writer waits for the one before it, and the scheduler does not know.
    WaitsUnreported,
    Panics,
    BlocksThread,
}

#[derive(Clone, PartialEq, Eq)]
enum Access {
    Read(Key),
    Range(Key, Option<Key>),
    Write(Key),
}

type Writes = BTreeMap<Key, Option<Value>>;

/// What outlives a crash.
#[derive(Clone, Default)]
struct Disk {
    data: BTreeMap<Key, Value>,
    prepared: BTreeMap<u64, (Priority, Vec<Access>, Writes)>,
}

/// The disks of all places.
#[derive(Clone, Default)]
pub(crate) struct Disks(Arc<Mutex<BTreeMap<Place, Disk>>>);

#[derive(Default)]
struct Memory {
    marks: Vec<(Txn, Access)>,
    private: BTreeMap<TxnId, Writes>,
}

pub(crate) struct Bench {
    bug: Bug,
    scheduler: Scheduler,
    memory: Mutex<Memory>,
    disks: Disks,
    place: Place,
    in_doubt: Vec<Txn>,
}

impl Bench {
    pub(crate) fn open(bug: Bug, disks: Disks, place: Place) -> Self {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let mut memory = Memory::default();
        let mut in_doubt = Vec::new();
        let disk = disks.0.lock().unwrap().entry(place).or_default().clone();
        for (gtid, (age, marks, writes)) in disk.prepared {
            let txn = scheduler.recover(Gtid(gtid), age);
            let marks = marks.into_iter().map(|access| (txn.clone(), access));
            memory.marks.extend(marks);
            memory.private.insert(txn.id(), writes);
            in_doubt.push(txn);
        }
        Self {
            bug,
            scheduler,
            memory: Mutex::new(memory),
            disks,
            place,
            in_doubt,
        }
    }

    fn disk<T>(&self, act: impl FnOnce(&mut Disk) -> T) -> T {
        act(self.disks.0.lock().unwrap().entry(self.place).or_default())
    }

    /// Orders `txn` against every mark that conflicts, and leaves its own.
    fn mark(&self, memory: &mut Memory, txn: &Txn, access: Access) -> Answer<()> {
        let working = matches!(txn.state(), State::Active | State::Ready);
        if !working && self.bug != Bug::WorksAfterVote {
            let reason = txn.doomed().unwrap_or(AbortReason::Requested);
            return Err(Refusal::Aborted(reason));
        }
        if memory.marks.contains(&(txn.clone(), access.clone())) {
            return Ok(());
        }
        let others = memory.marks.iter().filter(|(other, _)| other != txn);
        let mut edges: Vec<_> = others
            .filter_map(|(other, theirs)| edge(other, theirs, txn, &access))
            .collect();
        if self.bug == Bug::LastAccessorOnly {
            edges.drain(..edges.len().saturating_sub(1));
        }
        for (from, to, kind) in edges {
            self.scheduler.edge(from, to, kind)?;
        }
        if !(self.bug == Bug::ForgetsRanges && matches!(access, Access::Range(..))) {
            memory.marks.push((txn.clone(), access));
        }
        Ok(())
    }

    fn free_to_write(&self, txn: &Txn, key: &[u8]) -> Poll<()> {
        let access = Access::Write(key.to_vec());
        let memory = self.memory.lock().unwrap();
        let mut marks = memory.marks.iter();
        if marks.any(|(other, theirs)| other != txn && *theirs == access) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn own(&self, memory: &Memory, txn: &Txn) -> Writes {
        let mut writes = Writes::new();
        if self.bug == Bug::ReadsDirty {
            writes.extend(
                memory
                    .private
                    .values()
                    .flatten()
                    .map(|(k, v)| (k.clone(), v.clone())),
            );
        }
        if self.bug != Bug::MissesOwnWrites {
            writes.extend(memory.private.get(&txn.id()).cloned().unwrap_or_default());
        }
        writes
    }

    fn force_record(&self, txn: &Txn, gtid: Gtid, age: Priority) {
        let memory = self.memory.lock().unwrap();
        let kept = |access: &Access| match access {
            Access::Read(_) => self.bug != Bug::RecordWithoutReads,
            Access::Range(..) => self.bug != Bug::RecordWithoutRanges,
            Access::Write(_) => true,
        };
        let own = memory.marks.iter().filter(|(other, _)| other == txn);
        let marks = own.map(|(_, access)| access.clone()).filter(kept).collect();
        let writes = memory.private.get(&txn.id()).cloned().unwrap_or_default();
        self.disk(|disk| disk.prepared.insert(gtid.0, (age, marks, writes)));
    }

    fn forget_at_vote(&self, txn: &Txn) {
        let keeps = |access: &Access| match self.bug {
            Bug::ReleasesAtVote => false,
            Bug::ForgetsReadsAtVote => !matches!(access, Access::Read(_)),
            _ => true,
        };
        let mut memory = self.memory.lock().unwrap();
        memory
            .marks
            .retain(|(other, access)| other != txn || keeps(access));
    }

    fn apply(&self, txn: &Txn, writes: Writes, outcome: Outcome) {
        self.disk(|disk| {
            for (key, value) in writes {
                match (outcome, value) {
                    (Outcome::Commit, Some(value)) => {
                        disk.data.insert(key, value);
                    }
                    (Outcome::Commit, None) if self.bug != Bug::LosesDeletes => {
                        disk.data.remove(&key);
                    }
                    _ => {}
                }
            }
            if let (Kind::Global { gtid, .. }, true) = (txn.kind(), self.bug != Bug::KeepsRecord) {
                disk.prepared.remove(&gtid.0);
            }
        });
    }
}

impl Engine for Bench {
    fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    async fn read(&self, txn: &Txn, key: &[u8]) -> Answer<Option<Value>> {
        if self.bug == Bug::BlocksThread {
            loop {
                std::thread::park();
            }
        }
        let mut memory = self.memory.lock().unwrap();
        let own = self.own(&memory, txn);
        if let Some(own) = own.get(key) {
            return Ok(own.clone());
        }
        self.mark(&mut memory, txn, Access::Read(key.to_vec()))?;
        Ok(self.disk(|disk| disk.data.get(key).cloned()))
    }

    async fn write(&self, txn: &Txn, key: &[u8], value: Option<&[u8]>) -> Answer<()> {
        assert!(self.bug != Bug::Panics, "deliberately");
        if self.bug == Bug::WaitsUnreported {
            poll_fn(|_| self.free_to_write(txn, key)).await;
        }
        let mut memory = self.memory.lock().unwrap();
        self.mark(&mut memory, txn, Access::Write(key.to_vec()))?;
        let own = memory.private.entry(txn.id()).or_default();
        own.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        Ok(())
    }

    async fn scan(&self, txn: &Txn, low: &[u8], high: Option<&[u8]>) -> Answer<Vec<(Key, Value)>> {
        let mut memory = self.memory.lock().unwrap();
        let range = Access::Range(low.to_vec(), high.map(<[u8]>::to_vec));
        self.mark(&mut memory, txn, range.clone())?;
        let mut rows = self.disk(|disk| disk.data.clone());
        for (key, value) in self.own(&memory, txn) {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        rows.retain(|key, _| range.covers(key));
        Ok(rows.into_iter().collect())
    }

    async fn request_vote(&self, txn: &Txn) -> Answer<()> {
        let vote = self.scheduler.request_vote(txn);
        if self.bug == Bug::AbortsAll {
            return Err(Refusal::Aborted(AbortReason::Conflict));
        }
        if self.bug != Bug::VotesEarly
            && let Vote::No(reason) = vote.await
        {
            return Err(Refusal::Aborted(reason));
        }
        if let (Kind::Global { gtid, priority }, true) = (txn.kind(), self.bug != Bug::NoRecord) {
            self.force_record(txn, gtid, priority);
        }
        self.forget_at_vote(txn);
        Ok(())
    }

    fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()> {
        let (state, attempted) = (txn.state(), "decide");
        if !state.is_undecided() && self.bug == Bug::DecidesTwice {
            return Ok(());
        }
        let unvoted = outcome == Outcome::Commit && state != State::Voted;
        if !state.is_undecided() || (unvoted && self.bug != Bug::CommitsUnvoted) {
            return Err(Misuse::WrongState { state, attempted }.into());
        }
        // One critical section: a reader sees the marks and the old value, or neither.
        let mut memory = self.memory.lock().unwrap();
        let writes = memory.private.remove(&txn.id()).unwrap_or_default();
        let leaks = self.bug == Bug::LeaksAborted && writes.is_empty();
        self.apply(txn, writes, outcome);
        if outcome == Outcome::Commit || self.bug != Bug::LeaksMarks {
            memory.marks.retain(|(other, _)| other != txn);
        }
        if !(leaks && outcome == Outcome::Abort) {
            self.scheduler.decided(txn, outcome)?;
        }
        Ok(())
    }

    fn clean_up(&self) -> Answer<()> {
        if self.bug == Bug::NoCleanUp {
            return Ok(());
        }
        for txn in self.scheduler.take_doomed() {
            if txn.state().is_undecided() {
                self.decide(&txn, Outcome::Abort)?;
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let memory = self.memory.lock().unwrap();
        memory.marks.is_empty() && memory.private.is_empty()
    }

    fn in_doubt(&self) -> Vec<Txn> {
        self.in_doubt.clone()
    }
}

/// The order of an earlier access of `other` and a new one of `txn`, if they conflict.
fn edge<'t>(
    other: &'t Txn,
    theirs: &Access,
    txn: &'t Txn,
    new: &Access,
) -> Option<(&'t Txn, &'t Txn, EdgeKind)> {
    match (theirs, new) {
        (Access::Write(key), Access::Write(own)) => {
            (key == own).then_some((other, txn, EdgeKind::WriteWrite))
        }
        (Access::Write(key), Access::Read(_) | Access::Range(..)) => {
            new.covers(key).then_some((txn, other, EdgeKind::Predicate))
        }
        (Access::Read(_) | Access::Range(..), Access::Write(key)) => theirs
            .covers(key)
            .then_some((other, txn, EdgeKind::Predicate)),
        (Access::Read(_) | Access::Range(..), Access::Read(_) | Access::Range(..)) => None,
    }
}

impl Access {
    fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Read(own) | Self::Write(own) => own == key,
            Self::Range(low, high) => low <= key && high.as_ref().is_none_or(|high| key < high),
        }
    }
}
