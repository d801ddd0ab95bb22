//! Small engines around one scheduler: what a storage engine does with co-core, without the storage.
//!
//! | mode | conflicts become edges | reads see |
//! |---|---|---|
//! | `Dirty` | all, nothing blocks | the newest write, committed or not |
//! | `Locks` | through [`LockTable`] | the newest committed write (under SCO: the one before an overtaking writer's) |
//! | `Optimistic` | at admission, through [`Validator`] | the newest committed write |
//! | `Versions` | by version order, as soon as an engine can know | the newest committed write, or an older one on demand |

use std::collections::{BTreeMap, BTreeSet};

use co_core::{
    AbortReason, EdgeKind, Footprint, Grant, Gtid, Kind, LockFuture, LockMode, LockPolicy,
    LockTable, Outcome, Priority, Scheduler, State, Txn, Validator, Vote, VoteFuture, VoteRule,
    WriteKind,
};

use crate::script::{Act, Op};

/// Which engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Dirty,
    Locks(LockPolicy),
    Optimistic,
    Versions,
}

/// One transaction as its client sees it.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) txn: Txn,
    /// A lock request that is not answered yet, and the operation it is for.
    pub(crate) lock: Option<(LockFuture, Op)>,
    pub(crate) vote: Option<VoteFuture>,
    pub(crate) operations: Vec<Op>,
}

impl Actor {
    pub(crate) fn is_idle(&self) -> bool {
        self.lock.is_none() && self.vote.is_none() && self.txn.state() == State::Active
    }
}

/// What became of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// It was executed, in this form, and made these edges.
    Executed(Op, Vec<(u32, u32)>),
    Blocked,
    Refused(AbortReason),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    mode: Mode,
    pub(crate) table: LockTable<char>,
    pub(crate) validator: Validator<char>,
    pub(crate) actors: BTreeMap<u32, Actor>,
    /// What was executed, ends included.
    pub(crate) history: Vec<Op>,
    /// Who wrote each item, in commit order, after transaction 0.
    versions: BTreeMap<char, Vec<u32>>,
}

impl World {
    /// An engine with transactions `1..=count`, all global and the first the oldest.
    pub(crate) fn new(mode: Mode, count: u32) -> Self {
        let scheduler = Scheduler::new(VoteRule::Withhold);
        let policy = match mode {
            Mode::Locks(policy) => policy,
            Mode::Dirty | Mode::Optimistic | Mode::Versions => LockPolicy::Ss2pl,
        };
        let begin = |number: u32| Actor {
            txn: scheduler.begin(Kind::Global {
                gtid: Gtid(number.into()),
                priority: Priority(number.into()),
            }),
            lock: None,
            vote: None,
            operations: Vec::new(),
        };
        Self {
            mode,
            table: LockTable::new(scheduler.clone(), policy),
            validator: Validator::new(scheduler.clone()),
            actors: (1..=count).map(|number| (number, begin(number))).collect(),
            scheduler,
            history: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    pub(crate) fn state(&self, number: u32) -> State {
        self.actors[&number].txn.state()
    }

    /// Which number a transaction has here.
    pub(crate) fn number(&self, txn: &Txn) -> u32 {
        let mut actors = self.actors.iter();
        *actors.find(|(_, actor)| actor.txn == *txn).unwrap().0
    }

    /// An operation arrives from a client that waits for nothing.
    pub(crate) fn operate(&mut self, mut op: Op) -> Step {
        let mut edges = Vec::new();
        match self.mode {
            Mode::Dirty => edges = self.dirty(&op),
            Mode::Locks(_) => {
                let mode = match op.act {
                    Act::Read => LockMode::Read,
                    Act::Write => LockMode::Write,
                    Act::Increment => LockMode::Increment,
                    Act::Commit | Act::Abort => {
                        unreachable!("the end of a transaction needs no lock")
                    }
                };
                let future = self
                    .table
                    .acquire(&self.actors[&op.txn].txn, &op.item, mode);
                match future.peek() {
                    Some(Grant::Granted) => {}
                    Some(Grant::Aborted(reason)) => return Step::Refused(reason),
                    None => {
                        let number = op.txn;
                        self.actors.get_mut(&number).unwrap().lock = Some((future, op));
                        return Step::Blocked;
                    }
                }
            }
            Mode::Optimistic => {
                if op.act == Act::Read {
                    op.version = Some(self.newest(op.item));
                }
            }
            Mode::Versions => edges = self.versioned(&mut op),
        }
        self.executed(op.clone());
        Step::Executed(op, edges)
    }

    fn executed(&mut self, op: Op) {
        let operations = &mut self.actors.get_mut(&op.txn).unwrap().operations;
        operations.push(op.clone());
        self.history.push(op);
    }

    /// A granted request takes effect where it stood in the queue. Under SCO a change that was asked for later
    /// may have been made already; the read sees what was there before (see [`LockPolicy::Sco`]).
    fn executed_late(&mut self, op: Op) {
        let overtakes = |other: &Op| {
            let undecided = self.actors[&other.txn].txn.state().is_undecided();
            other.conflicts(&op) && other.act.changes() && undecided
        };
        let position = match op.act {
            Act::Read => self.history.iter().position(overtakes),
            Act::Write | Act::Increment | Act::Commit | Act::Abort => None,
        };
        let operations = &mut self.actors.get_mut(&op.txn).unwrap().operations;
        operations.push(op.clone());
        let end = self.history.len();
        self.history.insert(position.unwrap_or(end), op);
    }

    /// The newest committed version of an item.
    fn newest(&self, item: char) -> u32 {
        let versions = self
            .versions
            .get(&item)
            .and_then(|versions| versions.last());
        versions.copied().unwrap_or(0)
    }

    /// How many committed transactions have written an item.
    pub(crate) fn versions_of(&self, item: char) -> &[u32] {
        self.versions.get(&item).map_or(&[], Vec::as_slice)
    }

    fn edge(&self, from: u32, to: u32, kind: EdgeKind) {
        let (from, to) = (&self.actors[&from].txn, &self.actors[&to].txn);
        self.scheduler.edge(from, to, kind).unwrap();
    }

    /// Every undecided earlier accessor, not only the last one.
    fn dirty(&self, op: &Op) -> Vec<(u32, u32)> {
        let mut edges = Vec::new();
        for earlier in self.history.iter().filter(|earlier| earlier.conflicts(op)) {
            if self.state(earlier.txn).is_undecided() {
                let kind = match (earlier.act, op.act) {
                    (Act::Read, _) => EdgeKind::ReadWrite,
                    (_, Act::Read) => EdgeKind::WriteRead,
                    _ => EdgeKind::WriteWrite,
                };
                self.edge(earlier.txn, op.txn, kind);
                edges.push((earlier.txn, op.txn));
            }
        }
        edges.dedup();
        edges
    }

    /// A read precedes whoever wrote, or is about to write, a version after the one it sees; a write follows
    /// whoever still stands on an older version.
    fn versioned(&self, op: &mut Op) -> Vec<(u32, u32)> {
        let mut edges = BTreeSet::new();
        let own = |other: &&Op| other.txn == op.txn && other.item == op.item && other.act.changes();
        if op.act == Act::Read && self.history.iter().any(|other| own(&other)) {
            op.version = Some(op.txn);
            return Vec::new();
        }
        if op.act == Act::Read {
            let versions = self.versions_of(op.item);
            let asked = op
                .version
                .filter(|asked| *asked == 0 || versions.contains(asked));
            let seen = asked.unwrap_or_else(|| self.newest(op.item));
            op.version = Some(seen);
            let newer = versions.iter().rev().take_while(|writer| **writer != seen);
            edges.extend(newer.map(|writer| (op.txn, *writer)));
        }
        for other in self
            .history
            .iter()
            .filter(|other| other.item == op.item && other.txn != op.txn)
        {
            if !self.state(other.txn).is_undecided() {
                continue;
            }
            match (op.act, other.act) {
                (Act::Read, Act::Write | Act::Increment) => edges.insert((op.txn, other.txn)),
                (Act::Write | Act::Increment, Act::Read) => edges.insert((other.txn, op.txn)),
                _ => false,
            };
        }
        for (from, to) in &edges {
            self.edge(*from, *to, EdgeKind::ReadWrite);
        }
        edges.into_iter().collect()
    }

    /// The client commits: all its operations are done. A refusal leaves the abort to the caller.
    pub(crate) fn request(&mut self, number: u32) -> Result<(), AbortReason> {
        let actor = &self.actors[&number];
        if self.mode == Mode::Optimistic {
            let current = || {
                let mut reads = actor.operations.iter().filter(|op| op.act == Act::Read);
                reads.all(|read| read.version == Some(self.newest(read.item)))
            };
            self.validator
                .admit(&actor.txn, actor.footprint(), current)?;
        }
        if self.mode == Mode::Versions {
            for other in self.writers_in_line(number) {
                self.edge(other, number, EdgeKind::WriteWrite);
            }
        }
        let vote = self.scheduler.request_vote(&self.actors[&number].txn);
        self.actors.get_mut(&number).unwrap().vote = Some(vote);
        Ok(())
    }

    /// Versions of one item are installed in the order in which their writers asked for the vote.
    pub(crate) fn writers_in_line(&self, number: u32) -> Vec<u32> {
        let written = |number: u32| -> BTreeSet<char> {
            let operations = self.actors[&number].operations.iter();
            operations
                .filter(|op| op.act.changes())
                .map(|op| op.item)
                .collect()
        };
        let own = written(number);
        let in_line = self.actors.iter().filter(|(other, actor)| {
            **other != number && actor.vote.is_some() && actor.txn.state().is_undecided()
        });
        in_line
            .map(|(other, _)| *other)
            .filter(|other| !own.is_disjoint(&written(*other)))
            .collect()
    }

    pub(crate) fn vote(&self, number: u32) -> Option<Vote> {
        self.actors[&number]
            .vote
            .as_ref()
            .and_then(VoteFuture::peek)
    }

    /// The decision arrives: install or undo, tell the scheduler, release.
    pub(crate) fn decide(&mut self, number: u32, outcome: Outcome) {
        let actor = self.actors.get_mut(&number).unwrap();
        actor.lock = None;
        if outcome == Outcome::Commit {
            let written = actor.operations.iter().filter(|op| op.act.changes());
            for item in written.map(|op| op.item).collect::<BTreeSet<_>>() {
                self.versions.entry(item).or_default().push(number);
            }
        }
        let txn = &self.actors[&number].txn;
        self.scheduler.decided(txn, outcome).unwrap();
        self.table.release(txn);
        self.validator.retire(txn);
        self.history.push(Op::end(
            match outcome {
                Outcome::Commit => Act::Commit,
                Outcome::Abort => Act::Abort,
            },
            number,
        ));
    }

    /// The lock requests that were granted meanwhile; in the order of `arrivals`.
    pub(crate) fn granted(&mut self, arrivals: &[u32]) -> Vec<Op> {
        let mut executed = Vec::new();
        for number in arrivals {
            let actor = self.actors.get_mut(number).unwrap();
            let answer = actor.lock.as_ref().and_then(|(future, _)| future.peek());
            if answer == Some(Grant::Granted) {
                let (_, op) = actor.lock.take().unwrap();
                self.executed_late(op.clone());
                executed.push(op);
            }
        }
        executed
    }
}

impl Actor {
    fn footprint(&self) -> Footprint<char> {
        let mut footprint = Footprint::default();
        for op in &self.operations {
            match op.act {
                Act::Read => footprint.reads.push(op.item),
                Act::Write => footprint.writes.push((op.item, WriteKind::Put)),
                Act::Increment => footprint.writes.push((op.item, WriteKind::Increment)),
                Act::Commit | Act::Abort => {}
            }
        }
        footprint
    }
}
