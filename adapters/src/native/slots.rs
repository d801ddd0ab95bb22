//! The transactions that have something in the database, and what each is about.
//!
//! ```text
//!             operation             ask for the vote        decision
//!   (none) ─► Busy ⇄ Idle ────────────► Preparing ─► Prepared ────► (none)
//!              │  ╲    ╲                   │            │
//!              │   ╲    ╲                  │ abort: rolled back when it is done
//!              │    ╲    └ abort: undone   ▼
//!              │     └ abort: interrupted, then undone by whoever is at it
//!              └ failed: undone; nothing is left to prepare
//! ```
//!
//! Invariants:
//! - S1 A session is used by one task at a time: it lies here while nobody uses it, and who takes it out gives it back
//!   here, or undoes what it holds if the transaction was dropped meanwhile.
//! - S2 An operation is taken to wait when the database has said so in a look that began after the last time that
//!   anything began or ended here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use participant::engine::Handle;
use participant::{Key, TxnName};
use tokio::sync::Notify;

use super::session::{Holder, SessionId, Wait};
use crate::branch::BranchName;

/// How long nothing moves before whoever wants to know has the database asked.
const STILL: Duration = Duration::from_millis(1);

/// What an operation and whoever watches it share.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Told when it waits for others than before, or its transaction is aborted.
    pub(super) news: Notify,
    /// Told when its transaction is aborted.
    pub(super) dropped: Notify,
}

#[derive(Debug)]
enum Stage<S> {
    Idle(S),
    Busy(Busy),
    /// It has failed, and is undone.
    Failed,
    Preparing,
    Prepared,
}

#[derive(Debug)]
struct Busy {
    since: Instant,
    /// The key that it is to write, if it is.
    writes: Option<Key>,
    /// Whom it waits for, if it waits. Nobody: for somebody who does not come through this site.
    waits: Option<BTreeSet<TxnName>>,
    watched: Arc<Watched>,
}

#[derive(Debug)]
struct Slot<S> {
    handle: Arc<Handle>,
    stage: Stage<S>,
    /// Known when it has begun in the database.
    session: Option<SessionId>,
    /// The transaction was aborted while somebody was at it.
    dropped: bool,
    /// Nobody has taken an operation's answer: what it did is not known.
    torn: bool,
}

#[derive(Debug)]
struct State<S> {
    slots: BTreeMap<TxnName, Slot<S>>,
    /// Ends of transactions that are on their way to the database.
    jobs: usize,
    /// Grows whenever something begins or ends.
    epoch: u64,
    /// In this epoch a look has found that all operations wait.
    at_rest: Option<u64>,
    /// Operations that are done, and whose answers are not given yet.
    answering: usize,
    /// Somebody wants to know now.
    asked: bool,
    /// Nobody wants to know any more.
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Slots<S> {
    state: Mutex<State<S>>,
    moved: Condvar,
    /// Told when there may be something to look at.
    look: Notify,
    /// Told when somebody wants a look at once.
    asks: Notify,
    /// Told when the engine is gone.
    gone: Notify,
    life: u64,
}

/// What there is to prepare.
pub(super) enum Ready<S> {
    /// Nothing in the database.
    Nothing,
    /// This.
    Session(S),
    /// Nobody knows what it has done.
    Unfit,
}

/// What is left of an aborted transaction, for whoever has aborted it to undo.
pub(super) enum Left<S> {
    /// Nothing, or somebody is at it who will.
    Nothing,
    /// A session.
    Session(S),
    /// A prepared branch.
    Branch,
}

/// The end of a transaction that is on its way, until it is dropped.
pub(super) struct Job<S>(Arc<Slots<S>>);

impl<S> Drop for Job<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.jobs -= 1;
        self.0.changed(state);
    }
}

impl<S> Slots<S> {
    pub(super) fn new(life: u64) -> Self {
        let state = State {
            slots: BTreeMap::new(),
            jobs: 0,
            epoch: 0,
            at_rest: None,
            answering: 0,
            asked: false,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            moved: Condvar::new(),
            look: Notify::new(),
            asks: Notify::new(),
            gone: Notify::new(),
            life,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, mut state: MutexGuard<'_, State<S>>) {
        state.epoch += 1;
        drop(state);
        self.moved.notify_all();
        self.look.notify_one();
    }

    pub(super) fn job(self: &Arc<Self>) -> Job<S> {
        let mut state = self.lock();
        state.jobs += 1;
        self.changed(state);
        Job(Arc::clone(self))
    }

    /// An operation begins, which is to write this key: its session, if the transaction has one; `None` if another
    /// operation is running, or nothing can run any more.
    pub(super) fn enter(
        &self,
        handle: &Arc<Handle>,
        writes: Option<Key>,
    ) -> Option<(Option<S>, Arc<Watched>)> {
        let watched = Arc::<Watched>::default();
        let busy = Stage::Busy(Busy {
            since: Instant::now(),
            writes,
            waits: None,
            watched: Arc::clone(&watched),
        });
        let mut state = self.lock();
        let session = match state.slots.get_mut(&handle.name()) {
            None => {
                let slot = Slot {
                    handle: Arc::clone(handle),
                    stage: busy,
                    session: None,
                    dropped: false,
                    torn: false,
                };
                state.slots.insert(handle.name(), slot);
                None
            }
            Some(slot) if matches!(slot.stage, Stage::Idle(_)) => {
                let Stage::Idle(session) = std::mem::replace(&mut slot.stage, busy) else {
                    unreachable!("it was idle");
                };
                Some(session)
            }
            Some(_) => return None,
        };
        self.changed(state);
        Some((session, watched))
    }

    /// The operation is at the database, in this session. Says whether it is still wanted.
    pub(super) fn at_work(&self, name: TxnName, id: SessionId) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&name) else {
            unreachable!("S1: {name:?} is busy");
        };
        slot.session = Some(id);
        !slot.dropped
    }

    /// The operation is done. Gives the session back to who called if it has to be undone (S1).
    pub(super) fn rest(&self, name: TxnName, session: S, failed: bool) -> Option<S> {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&name) else {
            unreachable!("S1: {name:?} is busy");
        };
        let undo = if slot.dropped {
            state.slots.remove(&name);
            Some(session)
        } else if failed {
            slot.stage = Stage::Failed;
            slot.session = None;
            Some(session)
        } else {
            slot.stage = Stage::Idle(session);
            None
        };
        state.answering += 1;
        self.changed(state);
        undo
    }

    /// The answer of an operation that is done is given.
    pub(super) fn answered(&self) {
        let mut state = self.lock();
        state.answering -= 1;
        self.changed(state);
    }

    /// The transaction could not begin in the database.
    pub(super) fn never_began(&self, name: TxnName) {
        let mut state = self.lock();
        state.slots.remove(&name);
        state.answering += 1;
        self.changed(state);
    }

    /// Nobody takes the answer of the operation.
    pub(super) fn tear(&self, name: TxnName) {
        if let Some(slot) = self.lock().slots.get_mut(&name) {
            slot.torn = true;
        }
    }

    /// The vote is asked for.
    pub(super) fn prepare(&self, name: TxnName) -> Ready<S> {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&name) else {
            return Ready::Nothing;
        };
        if slot.torn || !matches!(slot.stage, Stage::Idle(_)) {
            return Ready::Unfit;
        }
        let Stage::Idle(session) = std::mem::replace(&mut slot.stage, Stage::Preparing) else {
            unreachable!("it was idle");
        };
        self.changed(state);
        Ready::Session(session)
    }

    /// The database has prepared the branch. Says whether it is still wanted; if not it is forgotten here.
    pub(super) fn prepared(&self, name: TxnName) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&name) else {
            unreachable!("S1: {name:?} is being prepared");
        };
        let wanted = !slot.dropped;
        if wanted {
            slot.stage = Stage::Prepared;
        } else {
            state.slots.remove(&name);
        }
        self.changed(state);
        wanted
    }

    /// It has not: nothing is left, or somebody else sees to it.
    pub(super) fn not_prepared(&self, name: TxnName) {
        let mut state = self.lock();
        state.slots.remove(&name);
        self.changed(state);
    }

    /// The transaction is committed: its branch is the caller's. Says whether there is one.
    pub(super) fn take_prepared(&self, name: TxnName) -> bool {
        let mut state = self.lock();
        let slot = state.slots.remove(&name);
        self.changed(state);
        slot.is_some_and(|slot| matches!(slot.stage, Stage::Prepared))
    }

    /// The transaction is aborted.
    pub(super) fn abort(&self, name: TxnName) -> Left<S> {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&name) else {
            return Left::Nothing;
        };
        match &slot.stage {
            Stage::Busy(busy) => {
                slot.dropped = true;
                busy.watched.dropped.notify_one();
                busy.watched.news.notify_one();
                self.changed(state);
                return Left::Nothing;
            }
            Stage::Preparing => {
                slot.dropped = true;
                return Left::Nothing;
            }
            Stage::Idle(_) | Stage::Failed | Stage::Prepared => {}
        }
        let slot = state.slots.remove(&name);
        self.changed(state);
        match slot.map(|slot| slot.stage) {
            Some(Stage::Idle(session)) => Left::Session(session),
            Some(Stage::Prepared) => Left::Branch,
            Some(Stage::Busy(_) | Stage::Preparing | Stage::Failed) | None => Left::Nothing,
        }
    }

    /// It is in doubt since a former life.
    pub(super) fn recover(&self, handle: &Arc<Handle>) {
        let slot = Slot {
            handle: Arc::clone(handle),
            stage: Stage::Prepared,
            session: None,
            dropped: false,
            torn: false,
        };
        self.lock().slots.insert(handle.name(), slot);
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.slots.is_empty() && state.jobs == 0
    }

    /// Whether an operation of the transaction waits in the database, as far as is known.
    pub(super) fn is_waiting(&self, name: TxnName) -> bool {
        let state = self.lock();
        let stage = state.slots.get(&name).map(|slot| &slot.stage);
        matches!(stage, Some(Stage::Busy(busy)) if busy.waits.is_some())
    }

    /// The keys that others are to write who wait for this transaction, as far as is known.
    pub(super) fn wanted_from(&self, name: TxnName) -> BTreeSet<Key> {
        let state = self.lock();
        let wanted = state.slots.values().filter_map(|slot| match &slot.stage {
            Stage::Busy(busy) if busy.waits.as_ref()?.contains(&name) => busy.writes.clone(),
            Stage::Busy(_)
            | Stage::Idle(_)
            | Stage::Failed
            | Stage::Preparing
            | Stage::Prepared => None,
        });
        wanted.collect()
    }

    /// Whom an operation of the transaction waits for, as far as is known.
    pub(super) fn holders(&self, name: TxnName) -> Vec<Arc<Handle>> {
        let state = self.lock();
        let Some(Stage::Busy(busy)) = state.slots.get(&name).map(|slot| &slot.stage) else {
            return Vec::new();
        };
        let names = busy.waits.iter().flatten();
        names
            .filter_map(|name| state.slots.get(name))
            .map(|slot| Arc::clone(&slot.handle))
            .collect()
    }

    /// Nobody looks any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.look.notify_one();
        self.asks.notify_one();
        self.gone.notify_one();
    }

    /// Waits for [`Slots::close`].
    pub(super) async fn closed(&self) {
        self.gone.notified().await;
    }

    /// Waits so long, or until somebody wants a look at once.
    pub(super) async fn pause(&self, span: Duration) {
        // Either will do.
        let _which = tokio::time::timeout(span, self.asks.notified()).await;
    }

    /// Waits until an operation has taken so long, or somebody wants to know at once; the present epoch. `None` when
    /// nobody looks any more.
    pub(super) async fn worth_a_look(&self, after: Duration) -> Option<u64> {
        loop {
            let notified = self.look.notified();
            let wait = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                let busy = state.slots.values().filter_map(|slot| match &slot.stage {
                    Stage::Busy(busy) => Some(busy.since.elapsed()),
                    Stage::Idle(_) | Stage::Failed | Stage::Preparing | Stage::Prepared => None,
                });
                let longest = busy.max();
                if longest.is_some() && (state.asked || longest >= Some(after)) {
                    state.asked = false;
                    return Some(state.epoch);
                }
                longest.map(|longest| after.saturating_sub(longest))
            };
            match wait {
                None => notified.await,
                // Whichever comes first.
                Some(wait) => {
                    let _which = tokio::time::timeout(wait, notified).await;
                }
            }
        }
    }

    /// What the database said of waits, in a look that began in `epoch`; nothing if it could not be asked.
    pub(super) fn looked(&self, epoch: u64, waits: &[Wait]) {
        let mut state = self.lock();
        let found = state.waits(waits, self.life);
        let mut all_wait = state.jobs == 0 && state.answering == 0;
        for (name, slot) in &mut state.slots {
            match &mut slot.stage {
                Stage::Idle(_) | Stage::Failed | Stage::Prepared => {}
                Stage::Preparing => all_wait = false,
                Stage::Busy(busy) => {
                    let now = found.get(name);
                    // Who is interrupted does not wait for a lock.
                    all_wait &= now.is_some() && !slot.dropped;
                    if busy.waits.as_ref() != now {
                        busy.waits = now.cloned();
                        busy.watched.news.notify_one();
                    }
                }
            }
        }
        if all_wait && state.epoch == epoch {
            state.at_rest = Some(epoch);
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Waits until nothing is on its way, and every operation waits for a lock (S2). Says whether it had to wait.
    pub(super) fn quiesce(&self) -> bool {
        let mut state = self.lock();
        let mut had_to_wait = false;
        loop {
            let under_way = state.slots.values().any(|slot| slot.is_under_way());
            let quiet = state.jobs == 0 && state.answering == 0 && !under_way;
            if quiet || state.at_rest == Some(state.epoch) {
                return had_to_wait;
            }
            had_to_wait = true;
            let woken = self.moved.wait_timeout(state, STILL);
            let (guard, still) = woken.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if still.timed_out() {
                state.asked = true;
                self.look.notify_one();
                self.asks.notify_one();
            }
        }
    }
}

impl<S> Slot<S> {
    fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::Busy(_) | Stage::Preparing)
    }
}

impl<S> State<S> {
    /// Who of those at work waits, and for whom.
    fn waits(&self, waits: &[Wait], life: u64) -> BTreeMap<TxnName, BTreeSet<TxnName>> {
        let mut owners: BTreeMap<SessionId, TxnName> = BTreeMap::new();
        for (name, slot) in &self.slots {
            let uses = !matches!(slot.stage, Stage::Failed | Stage::Prepared);
            if let (true, Some(id)) = (uses, slot.session) {
                owners.insert(id, *name);
            }
        }
        let mut found: BTreeMap<TxnName, BTreeSet<TxnName>> = BTreeMap::new();
        for wait in waits {
            let Some(waiter) = owners.get(&wait.waiter) else {
                continue;
            };
            let holders = found.entry(*waiter).or_default();
            let holder = match wait.holder {
                Holder::Session(id) => owners.get(&id).copied(),
                Holder::Branch(BranchName::Global(gtid)) => Some(TxnName::Global(gtid)),
                Holder::Branch(BranchName::Local { life: of, number }) => {
                    (of == life).then_some(TxnName::Local(number))
                }
                Holder::Foreign => None,
            };
            holders.extend(holder.filter(|holder| holder != waiter));
        }
        found
    }
}
