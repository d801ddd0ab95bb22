//! A participant over `co_core::Eco` or `co_core::Gco`: the two types decide, this keeps the values.
//!
//! Invariants:
//! - X1 Every operation is asked for first, and done only when it is granted.
//! - X2 Whoever meets an undecided write is aborted at once. To wait and go on would be the same as to ask after the
//!   writer's end, which other schedules do.
//! - X3 A transaction that the type dooms is undone before the call returns that doomed it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use co_core::{
    AbortReason, Access, Certification, Clock, CommitSeq, Eco, Gco, Gtid, Kind, Outcome, Priority, Reads,
    Scheduler, SiteTxn, Source, Stamp, Statistics, Vote, VoteFuture, VoteRule,
};
use participant::engine::Stored;
use participant::storage::{Batch, Cell, Mark, Storage, StorageError};
use participant::{
    Ballot, Begin, Blocked, BoxFuture, Change, Decision, Dependencies, Key, KeyRange, OnBallot, Operation,
    OperationError, Participant, Prepared, Recorder, Reply, TxnName, Value,
};

/// Which of the two types, and how it is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Eco {
        /// The trap of section 4.13: transactions of several sites are taken for local ones.
        all_local: bool,
    },
    Gco(Reads, Certification),
}

enum Subject {
    Eco(Eco<Key>),
    Gco(Gco<Key>),
}

struct Entry {
    handle: SiteTxn,
    reads: Vec<(Key, u64)>,
    writes: BTreeMap<Key, Value>,
    vote: Option<VoteFuture>,
    ballots: Vec<OnBallot>,
    stamp: Option<Stamp>,
}

/// Every version of a key, under its number.
type Versions = BTreeMap<Key, Vec<(u64, Value)>>;

#[derive(Default)]
struct State {
    entries: BTreeMap<TxnName, Entry>,
    versions: Versions,
    history: String,
    records: u64,
}

/// One site under `Eco` or `Gco`.
pub(crate) struct Extended {
    subject: Subject,
    all_local: bool,
    clock: Clock,
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    recorder: Recorder,
}

impl Extended {
    pub(crate) fn new(order: Order, storage: Arc<dyn Storage>) -> Self {
        let subject = match order {
            Order::Eco { .. } => Subject::Eco(Eco::new()),
            Order::Gco(reads, certification) => Subject::Gco(Gco::new(reads, certification)),
        };
        Self {
            subject,
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
        let text = format!("co-history 1 {site}\n{}end {}\n", state.history, state.records);
        let history = checker::parse::read_history(text.as_bytes(), &site.to_string());
        history.expect("the format is the checker's")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, name: TxnName, operation: &Operation) -> Result<Reply, OperationError> {
        let mut state = self.state();
        let entry = state.entries.get_mut(&name);
        let entry = entry.ok_or(OperationError::UnknownTransaction)?;
        let refused = match operation {
            Operation::Get(key) => {
                if let Some(own) = entry.writes.get(key) {
                    return Ok(Reply::Value(Some(Arc::clone(own))));
                }
                match self.subject.read(&entry.handle, key) {
                    Access::Granted(source) => return Ok(self.read(&mut state, name, key, source)),
                    Access::Busy(_) => AbortReason::Conflict,
                    Access::Doomed(reason) => reason,
                }
            }
            Operation::Put(key, value) => match self.subject.write(&entry.handle, key) {
                Access::Granted(()) => {
                    entry.writes.insert(Arc::clone(key), Arc::clone(value));
                    self.look_around(&mut state);
                    return Ok(Reply::Done);
                }
                Access::Busy(_) => AbortReason::Conflict,
                Access::Doomed(reason) => reason,
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

    fn read(&self, state: &mut State, name: TxnName, key: &Key, source: Source) -> Reply {
        let Source::AsOf(as_of) = source else {
            unreachable!("own writes are served before")
        };
        let versions = state.versions.get(key).map_or(&[][..], Vec::as_slice);
        let visible = versions.iter().rev().find(|(number, _)| *number <= as_of.0);
        let (number, value) = visible.map_or((0, None), |(number, value)| (*number, Some(Arc::clone(value))));
        let entry = state.entries.get_mut(&name).expect("it runs an operation");
        entry.reads.push((Arc::clone(key), number));
        self.look_around(state);
        Reply::Value(value)
    }

    /// Undoes what was doomed (X3) and answers the votes that were cast.
    fn look_around(&self, state: &mut State) {
        for handle in self.subject.take_doomed() {
            let mut entries = state.entries.iter();
            let name = entries.find(|(_, entry)| entry.handle == handle).map(|(name, _)| *name);
            if let Some(name) = name {
                let reason = handle.doomed().expect("it is doomed");
                self.abort(state, name, reason);
            }
        }
        for entry in state.entries.values_mut() {
            let cast = entry.vote.as_ref().and_then(VoteFuture::peek);
            if entry.stamp.is_none() && cast == Some(Vote::Yes) {
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
        self.subject.abort(&entry.handle);
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
        let version = self.subject.commit(&entry.handle, self.storage.mark().ordinal + 1, |version| {
            self.install(versions, &entry, version, stamp);
        });
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

/// The handles are this site's, and operations come before votes: nothing of this is a misuse.
const SOUND: &str = "the site calls in the order that the type asks for";

impl Subject {
    fn begin(&self, kind: Kind) -> SiteTxn {
        match self {
            Self::Eco(site) => site.begin(kind),
            Self::Gco(site) => site.begin(kind),
        }
    }

    fn read(&self, txn: &SiteTxn, key: &Key) -> Access<Source> {
        match self {
            Self::Eco(site) => match site.read(txn, key).expect(SOUND) {
                Access::Granted(()) => Access::Granted(Source::AsOf(CommitSeq(u64::MAX))),
                Access::Busy(holder) => Access::Busy(holder),
                Access::Doomed(reason) => Access::Doomed(reason),
            },
            Self::Gco(site) => site.read(txn, key).expect(SOUND),
        }
    }

    fn write(&self, txn: &SiteTxn, key: &Key) -> Access {
        match self {
            Self::Eco(site) => site.write(txn, key).expect(SOUND),
            Self::Gco(site) => site.write(txn, key).expect(SOUND),
        }
    }

    fn request_vote(&self, txn: &SiteTxn) -> VoteFuture {
        match self {
            Self::Eco(site) => site.request_vote(txn),
            Self::Gco(site) => site.request_vote(txn),
        }
    }

    fn take_doomed(&self) -> Vec<SiteTxn> {
        match self {
            Self::Eco(site) => site.take_doomed(),
            Self::Gco(site) => site.take_doomed(),
        }
    }

    fn blocked_by(&self, txn: &SiteTxn) -> Vec<(Gtid, Priority)> {
        match self {
            Self::Eco(site) => site.blocked_by(txn),
            Self::Gco(site) => site.blocked_by(txn),
        }
    }

    fn undecided(&self) -> usize {
        match self {
            Self::Eco(site) => site.undecided(),
            Self::Gco(site) => site.undecided(),
        }
    }

    fn abort(&self, txn: &SiteTxn) {
        match self {
            Self::Eco(site) => site.decided(txn, Outcome::Abort).expect(SOUND),
            Self::Gco(site) => site.decided(txn, Outcome::Abort).expect(SOUND),
        }
    }

    /// Commits; `install` makes the versions visible under the number that is returned: `next`, unless the type gives
    /// another.
    fn commit(&self, txn: &SiteTxn, next: u64, install: impl FnOnce(u64)) -> u64 {
        match self {
            Self::Eco(site) => {
                install(next);
                site.decided(txn, Outcome::Commit).expect(SOUND);
                next
            }
            Self::Gco(site) => {
                let mut given = 0;
                let number = |number: CommitSeq| {
                    given = number.0;
                    install(number.0);
                };
                site.decided_with(txn, Outcome::Commit, number).expect(SOUND);
                given
            }
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

impl Participant for Extended {
    fn engine(&self) -> &'static str {
        match self.subject {
            Subject::Eco(_) => "eco",
            Subject::Gco(_) => "gco",
        }
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
            handle: self.subject.begin(kind),
            reads: Vec::new(),
            writes: BTreeMap::new(),
            vote: None,
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
        entry.vote = Some(self.subject.request_vote(&entry.handle));
        self.look_around(&mut state);
    }

    fn prepared(&self, name: TxnName) -> Option<Prepared> {
        let state = self.state();
        let entry = state.entries.get(&name).filter(|entry| entry.stamp.is_some())?;
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
                self.abort(&mut self.state(), name, AbortReason::Requested);
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
        let waiting = state.entries.iter().filter(|(_, entry)| entry.vote.is_some() && entry.stamp.is_none());
        let reports = waiting.filter_map(|(name, entry)| {
            let TxnName::Global(gtid) = *name else {
                return None;
            };
            let by = self.subject.blocked_by(&entry.handle);
            let priority = entry.handle.kind().priority();
            (!by.is_empty()).then_some(Blocked { gtid, priority, by })
        });
        reports.collect()
    }

    fn recover(&self, gtid: Gtid, _: Priority, _: Stamp, _: Prepared) {
        unreachable!("{gtid}: these sites have no log, so nothing is in doubt when they start");
    }

    fn restore(&self, stamp: Stamp, changes: Vec<Change>) {
        assert!(changes.is_empty(), "these sites have no log, so nothing is restored");
        self.clock.raise(stamp);
    }

    fn stored(&self) -> &dyn Stored {
        self
    }

    fn in_flight(&self) -> usize {
        self.subject.undecided()
    }

    fn statistics(&self) -> Statistics {
        Scheduler::new(VoteRule::Withhold).statistics()
    }

    fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Stored for Extended {
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
