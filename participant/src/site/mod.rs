//! One site without its transport: an engine, its voter and its log, driven by whoever owns a clock.
//!
//! The gRPC server drives a [`Site`] with tokio, the deterministic simulator with a virtual clock; both
//! run the same code. The owner calls [`Site::handle`] when something has arrived and [`Site::run`] after
//! it was woken; both do at once whatever the voter wants done. There are no threads, clocks or runtimes
//! in here: a vote that the engine releases, and a record that the log makes durable, arrive on whatever
//! thread they like, are put into an inbox, and wake the owner.
//!
//! Owned state: the voter, the inbox, the priorities of the global transactions that began here.
//!
//! Invariants:
//! - S1 Effects are carried out in the order in which the voter gave them, by one caller at a time.
//! - S2 Nobody but the voter ends a transaction whose vote was asked for: [`Site::abandon`] leaves it.
//! - S3 Nothing is said to the coordinator before the record of this life's incarnation is durable.
//! - S4 Commits are applied in the order of their records in the log, and numbered in it. Replaying the log
//!   therefore gives every version the number that it had (`commits`).
//! - S5 A local transaction is visible only after its record is durable.
//! - S6 A durable storage has no commit that the log does not hold, and the log loses none that the storage has
//!   not made durable (`checkpoint`).
//! - S8 A vote that depends on others is in the log behind theirs, and so is its decision behind theirs.
//! - S7 When log or storage has failed, nothing new is taken or promised before a restart.
//!
//! Lock order: the site's own lock, then the engine's, then the inbox. The callbacks that a site hands to
//! engine and log take the inbox alone.

mod batch;
mod by_hand;
mod checkpoint;
mod codec;
mod commits;
mod effects;
mod inbox;
mod local;
mod nolog;
mod recovery;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;

use co_core::{AbortReason, Gtid, Priority, Stamp};
use coco::log::Log;
use coco::protocol::{
    AbortCause, CoordinatorId, GtidParts, Incarnation, SiteName, Time, ToCoordinator,
    ToParticipant, Voter, VoterConfig, VoterStats,
};

use self::batch::Batch;
use self::by_hand::Asked;
use self::checkpoint::Checkpoints;
use self::commits::{Commits, Doubts};
use self::inbox::Inbox;
use crate::error::OperationError;
use crate::participant::{Begin, Decision, Participant, Prepared, TxnName};
use crate::sync::Mutex;

pub use by_hand::{ByHandError, DoneByHand, OnByHand};
pub use checkpoint::CHECKPOINT_BYTES;
pub use codec::{MAX_SITE_RECORD_BYTES, SiteRecord, SiteRecordError};
pub use local::{LocalOutcome, OnLocal};
pub use nolog::NoLog;
pub use recovery::RecoverError;

/// Takes a message to a coordinator; called in the order of the messages, with the site locked: it must
/// not call back into the site. Called while the link is down, it may drop the message.
pub type Outbox = Box<dyn Fn(CoordinatorId, ToCoordinator) + Send + Sync>;

/// Tells the owner to call [`Site::run`] soon. Called on any thread, with locks of the engine or the log
/// held: it must only note the fact.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// Something that the owner of a site reports to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A coordinator said something.
    Message(CoordinatorId, ToParticipant),
    /// The link to a coordinator has come up.
    LinkUp(CoordinatorId),
    /// The link to a coordinator has gone down.
    LinkDown(CoordinatorId),
    /// Some time has passed: timers are looked at, and the waits of the engine. Every few milliseconds.
    Tick,
}

/// What a site is called and how it votes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteConfig {
    /// The site's name, as histories and the coordinator know it.
    pub name: SiteName,
    /// How it votes. [`Durability::Volatile`](coco::protocol::Durability::Volatile) goes with [`NoLog`].
    pub voter: VoterConfig,
    /// The life of a volatile site: has to be larger than those before. A durable site ignores it and
    /// counts its lives in its log.
    pub incarnation: Incarnation,
}

/// What a site is made of and where it speaks.
pub struct Parts {
    /// The engine, on an empty storage or on the one it had: [`Site::open`] gives it from the records what is
    /// not there.
    pub participant: Arc<dyn Participant>,
    /// The log that `records` were read from.
    pub log: Arc<dyn Log>,
    /// Takes messages to the coordinators.
    pub outbox: Outbox,
    /// Tells the owner to call [`Site::run`].
    pub wake: Wake,
}

/// One site: an engine, its voter and its log.
pub struct Site {
    name: SiteName,
    participant: Arc<dyn Participant>,
    log: Arc<dyn Log>,
    outbox: Outbox,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
}

struct State {
    voter: Voter,
    incarnation: Incarnation,
    durable: bool,
    /// The record of this life is durable (S3).
    alive: bool,
    /// The links that came up before that.
    links_wait: BTreeSet<CoordinatorId>,
    log_failed: bool,
    /// Ages of the global transactions that began here.
    priorities: BTreeMap<Gtid, Priority>,
    /// Transactions whose vote was asked for (S2).
    ending: BTreeSet<TxnName>,
    /// What voted transactions have to log, between the vote and the append.
    prepared: BTreeMap<Gtid, Prepared>,
    /// Transactions with a `Prepared` record, until their decisions are applied.
    doubts: Doubts,
    commits: Commits,
    batch: Batch,
    checkpoints: Checkpoints,
    /// Operators that wait for their records.
    by_hand: Vec<Asked>,
    /// The largest stamp in the log, or given up to now.
    clock: Stamp,
    /// One-phase commits of late.
    outcomes: VecDeque<(Gtid, Stamp)>,
    /// The last global transactions that were aborted by decision: their clients may ask later.
    aborted: BTreeMap<Gtid, Aborted>,
    aborted_order: VecDeque<Gtid>,
}

/// What is remembered of a transaction that was aborted.
#[derive(Clone, Copy, Debug)]
struct Aborted {
    cause: AbortCause,
    /// It had begun here in this life.
    worked: bool,
}

/// How many aborts by decision are remembered for clients that come late.
const REMEMBERED_ABORTS: usize = 16 * 1024;

impl Site {
    /// Opens a site on what its log holds: fills the engine, re-creates the transactions in doubt, begins
    /// a new life. The first [`Input::LinkUp`] says hello as soon as that life is in the log.
    ///
    /// # Errors
    /// [`RecoverError`] when a record cannot be read, or the records contradict each other.
    pub fn open(
        config: SiteConfig,
        parts: Parts,
        records: &[Vec<u8>],
        now: Time,
    ) -> Result<Self, RecoverError> {
        recovery::open(config, parts, records, now)
    }

    /// Something has arrived. Does at once what follows from it.
    pub fn handle(&self, input: Input, now: Time) {
        self.handle_all(std::iter::once(input), now);
    }

    /// Several things have arrived together: what they have to log goes to the disk together.
    pub fn handle_all(&self, inputs: impl IntoIterator<Item = Input>, now: Time) {
        let mut state = self.state.lock();
        for input in inputs {
            self.take(&mut state, input, now);
        }
        self.drain(&mut state, now);
    }

    /// Takes what engine and log have reported since, and does what follows from it. Call it after every
    /// wake.
    pub fn run(&self, now: Time) {
        let mut state = self.state.lock();
        self.drain(&mut state, now);
    }

    /// When [`Input::Tick`] has something to do next, waits that should be reported apart.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let state = self.state.lock();
        let timer = state.voter.next_deadline();
        match (timer, state.batch.until()) {
            (Some(timer), Some(batch)) => Some(timer.min(batch)),
            (timer, batch) => timer.or(batch),
        }
    }

    /// Gives the log what has waited until now. For an owner that stops: what it has been told is then decided after
    /// a restart, too, and nobody has to be asked.
    pub fn flush(&self) {
        self.hand_over(&mut self.state.lock());
    }

    /// Begins a transaction at this site: global ones begin here and not at the engine, because their age
    /// goes into the log.
    ///
    /// # Errors
    /// As [`Participant::begin`]; and [`OperationError::Aborted`] when the coordinator has aborted it
    /// before it came here.
    pub fn begin(&self, begin: Begin) -> Result<(), OperationError> {
        let mut state = self.state.lock();
        if let TxnName::Global(gtid) = begin.name {
            if state.aborted.contains_key(&gtid) {
                return Err(OperationError::Aborted(AbortReason::Requested));
            }
            self.participant.begin(begin)?;
            state.priorities.insert(gtid, begin.priority);
            return Ok(());
        }
        self.participant.begin(begin)
    }

    /// Aborts a transaction whose client is gone or gives up, for this cause. Says whether it did: a
    /// transaction whose vote was asked for is left to its decision (S2).
    ///
    /// # Panics
    /// If the engine refuses to abort before the vote, against its contract.
    pub fn abandon(&self, name: TxnName, cause: AbortCause) -> bool {
        let mut state = self.state.lock();
        if state.ending.contains(&name) {
            return false;
        }
        if let TxnName::Global(gtid) = name
            && state.priorities.remove(&gtid).is_some()
        {
            let worked = true;
            effects::remember_abort(&mut state, gtid, Aborted { cause, worked });
        }
        self.participant
            .decide(name, Decision::Abort)
            .expect("P: an abort before the vote is always possible");
        true
    }

    /// Commits a transaction of this site alone, through the same gate as all others; `done` is called
    /// once, with its outcome. A second call for the same transaction gets an abort, the first one's
    /// outcome stands.
    pub fn commit_local(&self, name: u64, done: OnLocal) {
        let mut state = self.state.lock();
        self.start_local(&mut state, name, done);
    }

    /// Why a global transaction was aborted by decision or abandoned here, if it was of late.
    #[must_use]
    pub fn abort_cause(&self, gtid: Gtid) -> Option<AbortCause> {
        let state = self.state.lock();
        state.aborted.get(&gtid).map(|ended| ended.cause)
    }

    /// The log or the storage has failed: the site takes no more work, and a restart has to read what is on the
    /// disk.
    #[must_use]
    pub fn log_failed(&self) -> bool {
        self.state.lock().log_failed
    }

    /// Sets by how many bytes the log grows between two checkpoints; [`CHECKPOINT_BYTES`] otherwise. A site
    /// whose storage is volatile makes none.
    pub fn checkpoint_every(&self, bytes: u64) {
        self.state.lock().checkpoints.set_every(bytes);
    }

    /// How many checkpoints there were in this life.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.state.lock().checkpoints.done
    }

    /// Why the log could not be cut after the last checkpoint. It goes on growing until that is mended.
    #[must_use]
    pub fn cut_failure(&self) -> Option<Arc<io::Error>> {
        self.state.lock().checkpoints.failure.clone()
    }

    /// Transactions can begin: this life is in the log, and the log works.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let state = self.state.lock();
        state.alive && !state.log_failed
    }

    /// The transactions of a coordinator that have begun here and are not decided.
    #[must_use]
    pub fn working(&self, coordinator: CoordinatorId) -> Vec<Gtid> {
        let state = self.state.lock();
        let all = state.priorities.keys().copied();
        all.filter(|&gtid| GtidParts::coordinator_of(gtid) == coordinator)
            .collect()
    }

    /// The transactions in doubt here: voted YES, decision unknown.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<Gtid> {
        self.state.lock().voter.in_doubt().collect()
    }

    /// The site's name.
    #[must_use]
    pub fn name(&self) -> &SiteName {
        &self.name
    }

    /// The site's present life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.state.lock().incarnation
    }

    /// The engine.
    #[must_use]
    pub fn participant(&self) -> &Arc<dyn Participant> {
        &self.participant
    }

    /// What the voter has seen.
    #[must_use]
    pub fn stats(&self) -> VoterStats {
        self.state.lock().voter.stats().clone()
    }
}

impl State {
    /// The transaction has ended.
    fn forget(&mut self, name: TxnName) {
        self.ending.remove(&name);
        if let TxnName::Global(gtid) = name {
            self.priorities.remove(&gtid);
            self.prepared.remove(&gtid);
            self.doubts.all.remove(&gtid);
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.participant.engine();
        f.debug_struct("Parts")
            .field("engine", &engine)
            .finish_non_exhaustive()
    }
}

/// The cause that the protocol knows for a reason that the scheduler gave.
#[must_use]
pub fn cause_of(reason: AbortReason) -> AbortCause {
    match reason {
        AbortReason::Cycle => AbortCause::LocalCycle,
        AbortReason::Overtaken => AbortCause::StaleRead,
        AbortReason::Cascade => AbortCause::Cascade,
        AbortReason::Conflict => AbortCause::WriteConflict,
        AbortReason::Requested => AbortCause::Client,
        AbortReason::Unavailable => AbortCause::DatabaseAway,
    }
}

#[cfg(test)]
mod tests;
