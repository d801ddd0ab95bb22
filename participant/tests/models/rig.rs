//! A real site with a real engine, and a coordinator that is played by the test: it decides what its clients want,
//! keeps to what the votes name, and says its decisions again after a restart.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use checker::parse::read_history;
use checker::{Level, Verdict, judge};
use co_core::{Gtid, Priority, Stamp, VoteRule};
use coco::log::MemoryLog;
use coco::protocol::{
    AbortCause, Ballot, CoordinatorId, Decision, Durability, Incarnation, SiteName, Time,
    ToCoordinator, ToParticipant, VoterConfig,
};
use participant::engine::{Options, open_with};
use participant::site::{Input, LocalOutcome, Parts, Site, SiteConfig, SiteRecord};
use participant::storage::{
    Batch, Cell as Row, FjallStore, Mark, Memory, Storage, StorageError, Visit,
};
use participant::{
    Begin, Change, Dependencies, Key, KeyRange, Operation, OperationError, Recorder, Reply, TxnName,
};

use crate::machine::{CLIENTS, Disk, Lie, Setup, Step, number as value};
use crate::oracle::Oracle;

/// The coordinator whose id is the first byte of the gtids here.
const C: CoordinatorId = CoordinatorId(0);

/// By how many bytes the log of a site on a disk grows between two checkpoints.
const CHECKPOINT_BYTES: u64 = 500;

type Running = Pin<Box<dyn Future<Output = Result<Reply, OperationError>> + Send>>;
type Said = Arc<Mutex<Vec<ToCoordinator>>>;
type Outcomes = Arc<Mutex<Vec<(u64, LocalOutcome)>>>;

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Working,
    /// The vote, or a local commit, was asked for.
    Asked,
    /// It has said YES.
    Voted(Stamp, Dependencies),
    /// Its commit was decided and is not acknowledged.
    Committed(Stamp),
}

struct Txn {
    local: bool,
    dependent: bool,
    state: State,
    /// What its client wants, once that is known.
    wish: Option<bool>,
    work: Vec<(Operation, Reply)>,
    running: Option<(Operation, Running)>,
}

/// What has happened in the cases of a test.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    /// Votes that named others, as they arrived.
    pub(crate) dependent: u64,
    /// Transactions in doubt after restarts.
    pub(crate) in_doubt: u64,
    /// Local commits that a restart has found, and their clients had not heard of.
    pub(crate) survivors: u64,
    pub(crate) checkpoints: u64,
}

thread_local! {
    static TALLY: Cell<Tally> = const {
        Cell::new(Tally { commits: 0, aborts: 0, dependent: 0, in_doubt: 0, survivors: 0, checkpoints: 0 })
    };
}

fn tally(count: impl FnOnce(&mut Tally)) {
    let mut tally = TALLY.get();
    count(&mut tally);
    TALLY.set(tally);
}

/// What has happened in this thread since it was last asked.
pub(crate) fn take_tally() -> Tally {
    TALLY.take()
}

/// A site under test.
pub(crate) struct Rig {
    setup: Setup,
    /// Of the store on a disk.
    folder: Option<tempfile::TempDir>,
    site: Option<Site>,
    log: MemoryLog,
    recorder: Recorder,
    said: Said,
    outcomes: Outcomes,
    oracle: Oracle,
    clients: [Option<u64>; CLIENTS],
    txns: BTreeMap<u64, Txn>,
    /// Everything decided so far: the stamp of a commit, or nothing.
    fates: BTreeMap<u64, Option<Stamp>>,
    last: u64,
    syncs: u64,
}

/// A storage that keeps what was deleted.
#[derive(Debug, Default)]
struct DeletesIgnored(Memory);

impl Storage for DeletesIgnored {
    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }
    fn mark(&self) -> Mark {
        self.0.mark()
    }
    fn get(&self, key: &[u8]) -> Result<Row, StorageError> {
        self.0.get(key)
    }
    fn scan(&self, range: &KeyRange, visit: Visit<'_>) -> Result<(), StorageError> {
        self.0.scan(range, &mut |key, cell| -> ControlFlow<()> {
            visit(key, cell)
        })
    }
    fn apply(&self, mut batch: Batch) -> Result<(), StorageError> {
        batch.rows.retain(|(_, cell)| cell.value.is_some());
        self.0.apply(batch)
    }
    fn persist(&self) -> Result<(), StorageError> {
        self.0.persist()
    }
}

/// The key that tells a local transaction's record from all others; no other transaction touches it.
fn marker(number: u64) -> Key {
    Key::from([b"z".as_slice(), &number.to_be_bytes()].concat())
}

/// A folder for a store: nobody here loses power, so that memory is as good as a disk, where there is such a folder.
fn folder() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

impl Rig {
    pub(crate) fn new(setup: Setup) -> Self {
        let on_disk = setup.disk == Disk::Fjall;
        let mut rig = Self {
            setup,
            folder: on_disk.then(folder),
            site: None,
            log: MemoryLog::manual(),
            recorder: Recorder::memory("s"),
            said: Said::default(),
            outcomes: Outcomes::default(),
            oracle: Oracle::default(),
            clients: [None; CLIENTS],
            txns: BTreeMap::new(),
            fates: BTreeMap::new(),
            last: 0,
            syncs: 0,
        };
        rig.open();
        rig
    }

    fn site(&self) -> &Site {
        self.site.as_ref().expect("it is open between steps")
    }

    fn open(&mut self) {
        let storage: Arc<dyn Storage> = match &self.folder {
            Some(folder) => Arc::new(FjallStore::open(folder.path(), "s").unwrap()),
            None if self.setup.lie == Lie::DeletesIgnored => Arc::new(DeletesIgnored::default()),
            None => Arc::new(Memory::new()),
        };
        let options = Options {
            rule: VoteRule::Withhold,
            recorder: self.recorder.clone(),
            storage,
            kept_commits: 4,
        };
        let config = SiteConfig {
            name: SiteName::new("s"),
            voter: VoterConfig {
                durability: Durability::Durable,
                dependent_votes: true,
                ..VoterConfig::default()
            },
            incarnation: Incarnation(0),
        };
        let said = Arc::clone(&self.said);
        let parts = Parts {
            participant: open_with(self.setup.kind, options),
            log: Arc::new(self.log.clone()),
            outbox: Box::new(move |_, message| said.lock().unwrap().push(message)),
            wake: Box::new(|| {}),
        };
        let site = Site::open(config, parts, &self.log.durable(), Time(0)).unwrap();
        site.checkpoint_every(CHECKPOINT_BYTES);
        self.site = Some(site);
        self.log.sync();
        self.site().handle(Input::LinkUp(C), Time(1));
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Begin {
                client,
                local,
                dependent,
            } => self.begin(client, local, dependent),
            Step::Operate { client, operation } => self.operate(client, operation),
            Step::Ask { client } => self.ask(client),
            Step::Decide { client, commit } => {
                if let Some(number) = self.clients[client].take() {
                    self.wish(number, commit);
                }
            }
            Step::Leave { client } => {
                if let Some(number) = self.clients[client].take() {
                    self.leave(number);
                }
            }
            Step::Sync => {
                self.site().flush();
                self.log.sync();
                self.syncs += 1;
                self.end_orphans(4);
            }
            Step::Restart { survivors } => self.restart(survivors),
        }
        self.settle();
    }

    fn begin(&mut self, client: usize, local: bool, dependent: bool) {
        self.last += 1;
        let number = self.last;
        let priority = Priority(number);
        let name = name(number, local);
        self.site().begin(Begin { name, priority }).unwrap();
        self.clients[client] = Some(number);
        let txn = Txn {
            local,
            dependent,
            state: State::Working,
            wish: None,
            work: Vec::new(),
            running: None,
        };
        self.txns.insert(number, txn);
    }

    fn operate(&mut self, client: usize, operation: Operation) {
        let participant = Arc::clone(self.site().participant());
        let Some((number, txn)) = self.working(client) else {
            return;
        };
        // One operation at a time.
        if txn.running.is_none() {
            let name = name(number, txn.local);
            let asked = operation.clone();
            let running = async move { participant.execute(name, &asked).await };
            txn.running = Some((operation, Box::pin(running)));
        }
    }

    /// The client's transaction, if that is still at work.
    fn working(&mut self, client: usize) -> Option<(u64, &mut Txn)> {
        let number = self.clients[client]?;
        let txn = self.txns.get_mut(&number)?;
        (txn.state == State::Working).then_some((number, txn))
    }

    fn ask(&mut self, client: usize) {
        let Some((number, txn)) = self.working(client) else {
            return;
        };
        if txn.running.is_some() {
            // Its client does not wait any longer.
            self.leave(number);
            return;
        }
        let reads = |(operation, _): &(Operation, Reply)| {
            matches!(operation, Operation::Get(_) | Operation::Scan(_))
        };
        if txn.local && !txn.work.iter().all(reads) {
            self.operate(client, Operation::Put(marker(number), value(1)));
            self.settle();
        }
        let Some((_, txn)) = self.working(client) else {
            return;
        };
        txn.state = State::Asked;
        let (local, dependent) = (txn.local, txn.dependent);
        if local {
            let outcomes = Arc::clone(&self.outcomes);
            let done = move |outcome| outcomes.lock().unwrap().push((number, outcome));
            self.site().commit_local(number, Box::new(done));
        } else {
            let gtid = Gtid(number);
            self.say(ToParticipant::Prepare { gtid, dependent });
        }
    }

    fn wish(&mut self, number: u64, commit: bool) {
        let Some(txn) = self.txns.get_mut(&number).filter(|txn| !txn.local) else {
            return;
        };
        txn.wish = Some(commit);
        if !commit {
            self.abort(number);
        }
    }

    /// Of the transactions in doubt that no client stands behind, one in so many is decided: some of them were wanted.
    fn end_orphans(&mut self, one_in: u64) {
        let orphans = self.txns.iter().filter(|(number, txn)| {
            let is_due = (*number + self.syncs).is_multiple_of(one_in);
            let asked = !txn.local && txn.state != State::Working && txn.wish.is_none();
            asked && is_due && !self.clients.contains(&Some(**number))
        });
        let orphans: Vec<u64> = orphans.map(|(number, _)| *number).collect();
        for number in orphans {
            self.wish(number, number % 3 != 0);
        }
    }

    fn abort(&mut self, number: u64) {
        tally(|it| it.aborts += 1);
        self.txns.remove(&number);
        self.fates.insert(number, None);
        self.say_abort(number);
    }

    fn say_abort(&self, number: u64) {
        let cause = AbortCause::Client;
        self.say(ToParticipant::Decide {
            gtid: Gtid(number),
            decision: Decision::Abort { cause },
        });
    }

    fn leave(&mut self, number: u64) {
        if let Some(txn) = self.txns.remove(&number) {
            assert!(
                self.site()
                    .abandon(name(number, txn.local), AbortCause::Client)
            );
            self.fates.insert(number, None);
        }
    }

    fn say(&self, message: ToParticipant) {
        self.site().handle(Input::Message(C, message), Time(2));
    }

    /// Lets everything happen that can.
    fn settle(&mut self) {
        loop {
            self.site().run(Time(2));
            let moved = self.poll() | self.hear() | self.hear_locals() | self.decide();
            if !moved {
                return;
            }
        }
    }

    fn poll(&mut self) -> bool {
        let mut moved = false;
        let mut context = Context::from_waker(Waker::noop());
        let mut gone = Vec::new();
        for (number, txn) in &mut self.txns {
            let Some((operation, mut running)) = txn.running.take() else {
                continue;
            };
            match running.as_mut().poll(&mut context) {
                Poll::Pending => txn.running = Some((operation, running)),
                Poll::Ready(Ok(reply)) => {
                    moved = true;
                    txn.work.push((operation, reply));
                }
                Poll::Ready(Err(OperationError::Aborted(_))) => gone.push(*number),
                Poll::Ready(Err(OperationError::UnknownTransaction)) => gone.push(*number),
                Poll::Ready(Err(error)) => panic!("{operation:?} was refused: {error}"),
            }
        }
        for number in gone {
            moved = true;
            self.txns.remove(&number);
            self.fates.insert(number, None);
        }
        moved
    }

    fn hear(&mut self) -> bool {
        let said = std::mem::take(&mut *self.said.lock().unwrap());
        let moved = !said.is_empty();
        for message in said {
            match message {
                ToCoordinator::Vote {
                    gtid,
                    ballot: Ballot::Yes { stamp, depends, .. },
                } => {
                    if let Some(txn) = self.txns.get_mut(&gtid.0)
                        && matches!(txn.state, State::Asked | State::Voted(..))
                    {
                        tally(|it| it.dependent += u64::from(!depends.is_empty()));
                        txn.state = State::Voted(stamp, depends);
                    }
                }
                ToCoordinator::Vote { gtid, .. } => {
                    if let Some(txn) = self.txns.get(&gtid.0) {
                        let committed = matches!(txn.state, State::Committed(_));
                        assert!(!committed, "T{} says NO and is committed", gtid.0);
                        self.abort(gtid.0);
                    }
                }
                ToCoordinator::Ack { gtid } => drop(self.txns.remove(&gtid.0)),
                ToCoordinator::Hello { in_doubt, .. } => self.hello(&in_doubt),
                ToCoordinator::Blocked { .. }
                | ToCoordinator::Inquire { .. }
                | ToCoordinator::OnePhaseDone { .. } => {}
            }
        }
        moved
    }

    fn hear_locals(&mut self) -> bool {
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap());
        let moved = !outcomes.is_empty();
        for (number, outcome) in outcomes {
            let txn = self.txns.remove(&number).expect("told once");
            match outcome {
                LocalOutcome::Committed { .. } => {
                    tally(|it| it.commits += 1);
                    self.oracle.commit(number, &txn.work);
                }
                LocalOutcome::Aborted { .. } => {}
                LocalOutcome::Unknown => panic!("the log works"),
            }
        }
        moved
    }

    /// Decides who has voted YES and is wanted, as soon as all that it names is decided (Y1, Y2).
    fn decide(&mut self) -> bool {
        let ready = self.txns.iter().find_map(|(number, txn)| {
            let State::Voted(stamp, depends) = &txn.state else {
                return None;
            };
            let decided = |gtid: Gtid| self.fates.get(&gtid.0).copied();
            let mut stamp = *stamp;
            let mut broken = false;
            for named in depends.iter() {
                match decided(named)? {
                    Some(before) => stamp = stamp.max(Stamp(before.0 + 1)),
                    None => broken |= depends.if_committed.contains(&named),
                }
            }
            (txn.wish == Some(true)).then_some((*number, stamp, broken))
        });
        let Some((number, stamp, broken)) = ready else {
            return false;
        };
        if broken {
            self.abort(number);
            return true;
        }
        let txn = self.txns.get_mut(&number).expect("it was found");
        txn.state = State::Committed(stamp);
        tally(|it| it.commits += 1);
        self.oracle.commit(number, &txn.work);
        self.fates.insert(number, Some(stamp));
        self.say_commit(number, stamp);
        true
    }

    fn say_commit(&self, number: u64, stamp: Stamp) {
        self.say(ToParticipant::Decide {
            gtid: Gtid(number),
            decision: Decision::Commit { stamp },
        });
    }

    fn restart(&mut self, survivors: usize) {
        self.clients = [None; CLIENTS];
        let checkpoints = self.site().checkpoints();
        tally(|it| it.checkpoints += checkpoints);
        let mut found = self.log.crash(survivors);
        match self.setup.lie {
            Lie::None | Lie::DeletesIgnored => {}
            Lie::LastRecordLost => drop(found.pop()),
            Lie::ReadsForgotten => found = found.into_iter().map(without_reads).collect(),
            Lie::IncrementsDoubled => found = found.into_iter().map(doubled).collect(),
        }
        let locals = self.survivors(&found);
        // Its operations and its vote are lost, unless it has voted and that is in the log.
        self.txns.retain(|_, txn| {
            txn.running = None;
            !txn.local && txn.state != State::Working
        });
        self.site = None;
        self.log = MemoryLog::manual().holding(found);
        self.said.lock().unwrap().clear();
        self.outcomes.lock().unwrap().clear();
        for (number, work) in locals {
            tally(|it| it.survivors += 1);
            self.oracle.commit(number, &work);
        }
        self.open();
    }

    /// Local transactions whose outcome was under way and whose records are there: they are committed.
    fn survivors(&self, found: &[Vec<u8>]) -> Vec<(u64, Vec<(Operation, Reply)>)> {
        let mut survivors = Vec::new();
        for bytes in found {
            let Ok(SiteRecord::Local { changes, .. }) = SiteRecord::decode(bytes) else {
                continue;
            };
            let own = |(number, txn): &(&u64, &Txn)| {
                let marker = marker(**number);
                txn.local && changes.iter().any(|change| *change.key() == marker)
            };
            if let Some((number, txn)) = self.txns.iter().find(own) {
                survivors.push((*number, txn.work.clone()));
            }
        }
        survivors
    }

    /// The site has come back with these in doubt.
    fn hello(&mut self, in_doubt: &[Gtid]) {
        tally(|it| it.in_doubt += in_doubt.len() as u64);
        let in_doubt: BTreeSet<u64> = in_doubt.iter().map(|gtid| gtid.0).collect();
        let mut lost = Vec::new();
        let mut again = Vec::new();
        for (number, txn) in &mut self.txns {
            match txn.state {
                // It works on, in this life.
                State::Working => {}
                State::Committed(stamp) => again.push((*number, stamp)),
                State::Voted(..) => assert!(
                    in_doubt.contains(number),
                    "T{number} had said YES, and is forgotten"
                ),
                State::Asked if in_doubt.contains(number) => {}
                State::Asked => lost.push(*number),
            }
        }
        for number in lost {
            self.txns.remove(&number);
            self.fates.insert(number, None);
        }
        for number in in_doubt {
            let gtid = Gtid(number);
            match self.txns.get(&number) {
                None => {
                    let committed = self.fates.get(&number).copied().flatten();
                    match committed {
                        // Acknowledged, so that it is in the log.
                        Some(_) => panic!("T{number} was acknowledged, and is in doubt again"),
                        None => self.say_abort(number),
                    }
                }
                Some(txn) if txn.wish == Some(false) => self.abort(number),
                Some(txn) if txn.state == State::Asked => {
                    let dependent = txn.dependent;
                    self.say(ToParticipant::Prepare { gtid, dependent });
                }
                Some(_) => {}
            }
        }
        for (number, stamp) in again {
            self.say_commit(number, stamp);
        }
    }

    /// Ends everything, and compares what is there.
    pub(crate) fn end(mut self) {
        for client in 0..CLIENTS {
            if let Some((number, _)) = self.working(client) {
                self.leave(number);
            } else if let Some(number) = self.clients[client] {
                self.wish(number, true);
            }
        }
        self.end_orphans(1);
        for _ in 0..64 {
            self.settle();
            self.site().flush();
            self.log.sync();
        }
        self.settle();
        let left: Vec<_> = self.txns.iter().map(|(it, txn)| (it, &txn.state)).collect();
        assert!(left.is_empty(), "never decided: {left:?}");
        assert_eq!(self.site().participant().in_flight(), 0);
        let rows = self.rows();
        assert_eq!(rows, self.oracle.rows(), "what is stored");
        self.restart(0);
        self.settle();
        let rows = self.rows();
        assert_eq!(rows, self.oracle.rows(), "what a restart finds");
        self.site = None;
        self.judge();
    }

    fn rows(&mut self) -> Vec<(Key, participant::Value)> {
        self.last += 1;
        let name = TxnName::Local(self.last);
        let priority = Priority(0);
        self.site().begin(Begin { name, priority }).unwrap();
        let participant = self.site().participant();
        let operation = Operation::Scan(KeyRange {
            low: Key::from(b"a".as_slice()),
            high: None,
        });
        let mut running = participant.execute(name, &operation);
        let polled = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop(running);
        let Poll::Ready(Ok(Reply::Rows(rows))) = polled else {
            panic!("nobody holds anything: {polled:?}");
        };
        assert!(self.site().abandon(name, AbortCause::Client));
        rows
    }

    fn judge(&self) {
        self.recorder.finish().unwrap();
        let text = self.recorder.text().expect("it is in memory");
        let history = read_history(text.as_bytes(), "s").unwrap();
        let history = [history];
        for level in [Level::Serializability, Level::CommitmentOrdering] {
            let report = judge(&history, level);
            match report.verdict {
                Verdict::Valid { .. } => {}
                Verdict::Unknown { .. } if report.statistics.committed == 0 => {}
                verdict @ (Verdict::Invalid { .. } | Verdict::Unknown { .. }) => {
                    panic!("{level:?}: {verdict:?}\n{text}")
                }
            }
        }
    }
}

fn name(number: u64, local: bool) -> TxnName {
    if local {
        TxnName::Local(number)
    } else {
        TxnName::Global(Gtid(number))
    }
}

fn without_reads(bytes: Vec<u8>) -> Vec<u8> {
    match SiteRecord::decode(&bytes) {
        Ok(SiteRecord::Prepared {
            gtid,
            priority,
            stamp,
            read_only,
            mut prepared,
            after,
            if_committed,
        }) => {
            prepared.reads.clear();
            prepared.scans.clear();
            let record = SiteRecord::Prepared {
                gtid,
                priority,
                stamp,
                read_only,
                prepared,
                after,
                if_committed,
            };
            record.encode()
        }
        Ok(_) | Err(_) => bytes,
    }
}

fn doubled(bytes: Vec<u8>) -> Vec<u8> {
    match SiteRecord::decode(&bytes) {
        Ok(SiteRecord::Local {
            stamp,
            ordinal,
            mut changes,
        }) => {
            for change in &mut changes {
                if let Change::Increment(_, by) = change {
                    *by *= 2;
                }
            }
            let record = SiteRecord::Local {
                stamp,
                ordinal,
                changes,
            };
            record.encode()
        }
        Ok(_) | Err(_) => bytes,
    }
}
