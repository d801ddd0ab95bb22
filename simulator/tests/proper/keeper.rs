//! A participant that keeps values and leaves every decision to one of the `orders`.
//!
//! Invariants:
//! - X1 Every operation is asked for first, and done only when it is granted.
//! - X2 Whoever meets an undecided write is aborted at once. To wait and go on would be the same as to ask after the
//!   writer's end, which other schedules do.
//! - X3 A transaction that the order dooms is undone before the call returns that doomed it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use co_core::{AbortReason, Clock, Gtid, Kind, Priority, Scheduler, Stamp, Statistics, VoteRule};
use participant::engine::Stored;
use participant::storage::{Batch, Cell, Mark, Storage, StorageError};
use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Key, KeyRange, OnBallot,
    Operation, OperationError, Participant, Prepared, Recorder, Reply, TxnName, Value,
};

use crate::orders::{Order, Orders, Ticket};

struct Entry {
    ticket: Ticket,
    priority: Priority,
    reads: Vec<(Key, u64)>,
    writes: BTreeMap<Key, Value>,
    asked: bool,
    ballots: Vec<OnBallot>,
    stamp: Option<Stamp>,
}

/// Every version of a key, under its number.
type Versions = BTreeMap<Key, Vec<(u64, Value)>>;

#[derive(Default)]
struct State {
    entries: BTreeMap<TxnName, Entry>,
    /// Aborted here, and their clients have not heard of it.
    fallen: BTreeMap<TxnName, AbortReason>,
    versions: Versions,
    history: String,
    records: u64,
}

/// One site under an order.
pub(crate) struct Keeper {
    orders: Box<dyn Orders>,
    all_local: bool,
    clock: Clock,
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    recorder: Recorder,
}

impl Keeper {
    pub(crate) fn new(order: Order, storage: Arc<dyn Storage>) -> Self {
        Self {
            orders: order.open(),
            all_local: order == Order::Eco { all_local: true },
            clock: Clock::new(),
            storage,
            state: Mutex::default(),
            recorder: Recorder::off(),
        }
    }

    /// What ended here, for the checker.
    pub(crate) fn history(&self, site: char) -> checker::SiteHistory {
        let state = self.state();
        let text = format!(
            "co-history 1 {site}\n{}end {}\n",
            state.history, state.records
        );
        let history = checker::parse::read_history(text.as_bytes(), &site.to_string());
        history.expect("the format is the checker's")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, name: TxnName, operation: &Operation) -> Result<Reply, OperationError> {
        let mut state = self.state();
        if let Some(reason) = state.fallen.get(&name) {
            return Err(OperationError::Aborted(*reason));
        }
        let entry = state.entries.get_mut(&name);
        let entry = entry.ok_or(OperationError::UnknownTransaction)?;
        let refused = match operation {
            Operation::Get(key) => {
                if let Some(own) = entry.writes.get(key) {
                    return Ok(Reply::Value(Some(Arc::clone(own))));
                }
                match self.orders.read(entry.ticket, key) {
                    Ok(as_of) => return Ok(self.read(&mut state, name, key, as_of)),
                    Err(reason) => reason,
                }
            }
            Operation::Put(key, value) => match self.orders.write(entry.ticket, key) {
                Ok(()) => {
                    entry.writes.insert(Arc::clone(key), Arc::clone(value));
                    self.look_around(&mut state);
                    return Ok(Reply::Done);
                }
                Err(reason) => reason,
            },
            Operation::Delete(_)
            | Operation::Scan(_)
            | Operation::Increment(..)
            | Operation::Declare(_)
            | Operation::Sql(_) => {
                return Err(OperationError::Unsupported {
                    engine: self.engine(),
                    what: "do more than read and write keys",
                });
            }
        };
        self.abort(&mut state, name, refused);
        Err(OperationError::Aborted(refused))
    }

    fn read(&self, state: &mut State, name: TxnName, key: &Key, as_of: u64) -> Reply {
        let versions = state.versions.get(key).map_or(&[][..], Vec::as_slice);
        let visible = versions.iter().rev().find(|(number, _)| *number <= as_of);
        let (number, value) = visible.map_or((0, None), |(number, value)| {
            (*number, Some(Arc::clone(value)))
        });
        let entry = state.entries.get_mut(&name).expect("it runs an operation");
        entry.reads.push((Arc::clone(key), number));
        self.look_around(state);
        Reply::Value(value)
    }

    /// Undoes what was doomed (X3) and answers the votes that were cast.
    fn look_around(&self, state: &mut State) {
        for (ticket, reason) in self.orders.take_doomed() {
            let mut entries = state.entries.iter();
            let doomed = entries.find(|(_, entry)| entry.ticket == ticket);
            if let Some(name) = doomed.map(|(name, _)| *name) {
                self.abort(state, name, reason);
            }
        }
        for entry in state.entries.values_mut() {
            if entry.stamp.is_none() && entry.asked && self.orders.has_voted(entry.ticket) {
                let stamp = self.clock.tick();
                entry.stamp = Some(stamp);
                for on_ballot in std::mem::take(&mut entry.ballots) {
                    on_ballot(entry.yes(stamp));
                }
            }
        }
    }

    fn abort(&self, state: &mut State, name: TxnName, reason: AbortReason) {
        let Some(entry) = state.entries.remove(&name) else {
            return;
        };
        self.orders.abort(entry.ticket);
        state.fallen.insert(name, reason);
        state.record(&format!("a {} {reason:?}", in_file(name)));
        for on_ballot in entry.ballots {
            on_ballot(Ballot::No(reason));
        }
        self.look_around(state);
    }

    fn commit(&self, name: TxnName, stamp: Stamp) -> Result<(), OperationError> {
        let mut state = self.state();
        let Some(entry) = state.entries.get(&name) else {
            return Ok(());
        };
        if entry.stamp.is_none() {
            return Err(OperationError::NotVoted);
        }
        let entry = state.entries.remove(&name).expect("it was there");
        self.clock.raise(stamp);
        let State { versions, .. } = &mut *state;
        let next = self.storage.mark().ordinal + 1;
        let mut install = |version| self.install(versions, &entry, version, stamp);
        let version = self.orders.commit(entry.ticket, next, &mut install);
        let mut line = format!("c {} {}", in_file(name), stamp.0);
        let text = |key: &Key| String::from_utf8_lossy(key).into_owned();
        // Writing to a string cannot fail.
        let _infallible = match entry.writes.is_empty() {
            true => write!(line, " -"),
            false => write!(line, " {version}"),
        };
        for (key, number) in &entry.reads {
            let _infallible = write!(line, " r:{}@{number}", text(key));
        }
        for key in entry.writes.keys() {
            let _infallible = write!(line, " w:{}", text(key));
        }
        state.record(&line);
        self.look_around(&mut state);
        Ok(())
    }

    fn install(&self, versions: &mut Versions, entry: &Entry, version: u64, stamp: Stamp) {
        let mut rows = Vec::new();
        for (key, value) in &entry.writes {
            let chain = versions.entry(Arc::clone(key)).or_default();
            chain.push((version, Arc::clone(value)));
            let cell = Cell {
                version,
                stamp,
                value: Some(Arc::clone(value)),
            };
            rows.push((Arc::clone(key), cell));
        }
        let mark = Mark {
            ordinal: version,
            stamp,
        };
        let stored = self.storage.apply(Batch { rows, mark });
        stored.expect("memory does not fail");
    }
}

impl State {
    fn record(&mut self, line: &str) {
        self.records += 1;
        self.history.push_str(line);
        self.history.push('\n');
    }
}

impl Entry {
    fn yes(&self, stamp: Stamp) -> Ballot {
        Ballot::Yes {
            stamp,
            read_only: self.writes.is_empty(),
            depends: Dependencies::default(),
        }
    }
}

/// A name as the checker's format has it.
fn in_file(name: TxnName) -> String {
    match name {
        TxnName::Global(gtid) => format!("G{}", gtid.0),
        TxnName::Local(number) => format!("L{number}"),
    }
}

impl Participant for Keeper {
    fn engine(&self) -> &'static str {
        self.orders.name()
    }

    fn begin(&self, begin: Begin) -> Result<(), OperationError> {
        let mut state = self.state();
        if state.entries.contains_key(&begin.name) {
            return Err(OperationError::DuplicateBegin);
        }
        let priority = begin.priority;
        let kind = match begin.name {
            TxnName::Global(gtid) if !self.all_local => Kind::Global { gtid, priority },
            TxnName::Global(_) | TxnName::Local(_) => Kind::Local { priority },
        };
        let entry = Entry {
            ticket: self.orders.begin(kind),
            priority,
            reads: Vec::new(),
            writes: BTreeMap::new(),
            asked: false,
            ballots: Vec::new(),
            stamp: None,
        };
        state.entries.insert(begin.name, entry);
        Ok(())
    }

    fn execute<'a>(
        &'a self,
        name: TxnName,
        operation: &'a Operation,
    ) -> BoxFuture<'a, Result<Reply, OperationError>> {
        Box::pin(async move { self.run(name, operation) })
    }

    fn prepare(&self, name: TxnName, on_ballot: OnBallot) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&name) else {
            on_ballot(Ballot::No(AbortReason::Requested));
            return;
        };
        if let Some(stamp) = entry.stamp {
            on_ballot(entry.yes(stamp));
            return;
        }
        entry.ballots.push(on_ballot);
        entry.asked = true;
        self.orders.ask(entry.ticket);
        self.look_around(&mut state);
    }

    fn prepared(&self, name: TxnName) -> Option<Prepared> {
        let state = self.state();
        let entry = state
            .entries
            .get(&name)
            .filter(|entry| entry.stamp.is_some())?;
        let changes = entry.writes.iter();
        Some(Prepared {
            changes: changes
                .map(|(key, value)| Change::Put(Arc::clone(key), Arc::clone(value)))
                .collect(),
            reads: entry.reads.iter().map(|(key, _)| Arc::clone(key)).collect(),
            scans: Vec::new(),
        })
    }

    fn decide(&self, name: TxnName, decision: Decision) -> Result<(), OperationError> {
        match decision {
            Decision::Commit(stamp) => self.commit(name, stamp),
            Decision::Abort => {
                let mut state = self.state();
                self.abort(&mut state, name, AbortReason::Requested);
                state.fallen.remove(&name);
                Ok(())
            }
        }
    }

    fn query<'a>(
        &'a self,
        _: Stamp,
        _: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(Key, Value)>, OperationError>> {
        let refused = OperationError::Unsupported {
            engine: self.engine(),
            what: "read as of a stamp",
        };
        Box::pin(std::future::ready(Err(refused)))
    }

    fn blocked(&self) -> Vec<Blocked> {
        let state = self.state();
        let waiting = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.asked && entry.stamp.is_none());
        let reports = waiting.filter_map(|(name, entry)| {
            let TxnName::Global(gtid) = *name else {
                return None;
            };
            let by = self.orders.blocked_by(entry.ticket);
            let priority = entry.priority;
            (!by.is_empty()).then_some(Blocked { gtid, priority, by })
        });
        reports.collect()
    }

    fn recover(&self, gtid: Gtid, _: Priority, _: Stamp, _: Prepared) {
        unreachable!("{gtid}: these sites have no log, so nothing is in doubt when they start");
    }

    fn restore(&self, stamp: Stamp, changes: Vec<Change>) {
        assert!(
            changes.is_empty(),
            "these sites have no log, so nothing is restored"
        );
        self.clock.raise(stamp);
    }

    fn stored(&self) -> &dyn Stored {
        self
    }

    fn in_flight(&self) -> usize {
        self.orders.undecided()
    }

    fn statistics(&self) -> Statistics {
        Scheduler::new(VoteRule::Withhold).statistics()
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Stored for Keeper {
    fn newest(&self) -> u64 {
        self.storage.mark().ordinal
    }

    fn settle(&self, _: u64) {}

    fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn persist(&self) -> Result<Mark, StorageError> {
        Ok(self.storage.mark())
    }

    fn failure(&self) -> Option<StorageError> {
        None
    }
}
