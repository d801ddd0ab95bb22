//! The order of commits: their ordinals, when each is applied, and when the storage may have it (S4).
//!
//! Ordinals are given in the order of the records in the log. A decision may be applied at once, because its
//! coordinator keeps it; a commit that this site alone decides has to wait for its record (S5), and every commit
//! whose record is behind waits with it. So commits are applied in the order of their records, replaying the log
//! gives every version its number again, and nothing else has to be written.
//!
//! What is applied and not yet in the log would come back under another number after a crash, if others are
//! decided first then. Nobody must have seen it: what writes has its own record behind, and the vote of what
//! only reads is held back until the log has caught up ([`State::is_ahead`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use co_core::{Gtid, Stamp};
use coco::protocol::{Dependencies, InDoubt};

use super::inbox::Event;
use super::{Site, State};
use crate::error::OperationError;
use crate::participant::{Ballot, Decision, TxnName};

/// Where the commits of a site stand.
#[derive(Default)]
pub(super) struct Commits {
    /// The last ordinal that was given.
    pub(super) given: u64,
    /// The last commit that is applied.
    pub(super) applied: u64,
    /// The log is known to hold all up to this one. Written by the log's thread.
    logged: Arc<AtomicU64>,
    /// Up to here the storage may have them, and has been told.
    pub(super) settled: u64,
    /// Commits that wait: the first for its record, the others behind it.
    turns: VecDeque<Turn>,
    /// Votes that are held back until the log has these commits.
    held_back: VecDeque<(u64, Event)>,
    /// The global ones among them, until the voter hears of them: votes that depend on them come behind.
    unheard: BTreeSet<Gtid>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    name: TxnName,
    ordinal: u64,
    /// Its place in the order of all sites, once its decision is here; before, its own record is waited for.
    stamp: Option<Stamp>,
}

impl Commits {
    /// All commits up to `ordinal` are in the log.
    pub(super) fn replayed(ordinal: u64) -> Self {
        Self {
            given: ordinal,
            applied: ordinal,
            logged: Arc::new(AtomicU64::new(ordinal)),
            settled: ordinal,
            ..Self::default()
        }
    }

    /// The next append is a commit that changes something.
    pub(super) fn give(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// The next append is the commit of a transaction that this site alone decides.
    pub(super) fn give_alone(&mut self, name: TxnName) -> u64 {
        let ordinal = self.give();
        self.turns.push_back(Turn {
            name,
            ordinal,
            stamp: None,
        });
        ordinal
    }

    /// To be called when what is appended up to now is in the log.
    pub(super) fn on_logged(&self) -> impl FnOnce() + Send + 'static {
        let (logged, ordinal) = (Arc::clone(&self.logged), self.given);
        move || {
            logged.fetch_max(ordinal, Ordering::Release);
        }
    }

    /// Whether votes wait for the log to catch up.
    pub(super) fn is_awaited(&self) -> bool {
        !self.held_back.is_empty()
    }

    pub(super) fn logged(&self) -> u64 {
        self.logged.load(Ordering::Acquire)
    }
}

impl State {
    /// Whether the vote of a transaction depended on others: it is applied behind them, even if it changes nothing.
    fn has_depended(&self, name: TxnName) -> bool {
        let TxnName::Global(gtid) = name else {
            return false;
        };
        let doubt = self.doubts.all.get(&gtid);
        doubt.is_some_and(|doubt| doubt.has_depended)
    }

    /// Whether something is applied that the log does not hold.
    pub(super) fn is_ahead(&self) -> bool {
        self.durable && !self.log_failed && self.commits.logged() < self.commits.applied
    }

    /// Holds the vote of a transaction that only reads back while it may have read what is not in the log, and every
    /// vote that depends on one that is held back.
    pub(super) fn hold_back(&mut self, event: Event) -> Option<Event> {
        let (name, ballot) = match event {
            Event::HeldBack(event) => {
                if let Event::Released(gtid, _) = *event {
                    self.commits.unheard.remove(&gtid);
                }
                return Some(*event);
            }
            Event::Released(gtid, ref ballot) => (Some(gtid), ballot),
            Event::LocalReleased(_, ref ballot, _) => (None, ballot),
            Event::Durable(_)
            | Event::Alive
            | Event::LocalDurable(..)
            | Event::LocalLost(_)
            | Event::Checkpointed(..)
            | Event::ByHand(..)
            | Event::LogFailed => return Some(event),
        };
        let Ballot::Yes {
            read_only, depends, ..
        } = ballot
        else {
            return Some(event);
        };
        let until = if *read_only && self.is_ahead() {
            self.commits.applied
        } else if depends.iter().any(|it| self.commits.unheard.contains(&it)) {
            0
        } else {
            return Some(event);
        };
        self.commits.unheard.extend(name);
        self.commits.held_back.push_back((until, event));
        None
    }
}

impl Site {
    /// A commit of a transaction that has voted: applies it now, or in its turn. `ordinal` is zero if it changes
    /// nothing, or has no record.
    pub(super) fn commit(&self, state: &mut State, name: TxnName, ordinal: u64, stamp: Stamp) {
        let mut turns = state.commits.turns.iter_mut();
        if let Some(own) = turns.find(|turn| turn.name == name) {
            own.stamp = Some(stamp);
        } else if state.commits.turns.is_empty() || (ordinal == 0 && !state.has_depended(name)) {
            self.apply_commit(state, name, ordinal, stamp);
            return;
        } else {
            let stamp = Some(stamp);
            state.commits.turns.push_back(Turn {
                name,
                ordinal,
                stamp,
            });
        }
        while let Some(&Turn {
            name,
            ordinal,
            stamp: Some(stamp),
        }) = state.commits.turns.front()
        {
            state.commits.turns.pop_front();
            self.apply_commit(state, name, ordinal, stamp);
        }
    }

    /// The log has failed: what waits for its record stays as it is, what is decided is applied.
    pub(super) fn end_turns(&self, state: &mut State) {
        for turn in std::mem::take(&mut state.commits.turns) {
            if let Some(stamp) = turn.stamp {
                self.apply_commit(state, turn.name, turn.ordinal, stamp);
            }
        }
        self.release_held_back(state, u64::MAX);
    }

    fn apply_commit(&self, state: &mut State, name: TxnName, ordinal: u64, stamp: Stamp) {
        if state.has_depended(name) && self.participant.stored().failure().is_some() {
            // What its vote named may be a commit that could not be stored: it stays as that one does.
            self.inbox.push(Event::LogFailed);
            return;
        }
        match self.participant.decide(name, Decision::Commit(stamp)) {
            Ok(()) => {}
            Err(OperationError::StorageFailed) => {
                self.inbox.push(Event::LogFailed);
                return;
            }
            Err(error) => panic!("S2: only who voted here is committed, and once: {error}"),
        }
        if ordinal > 0 && !state.log_failed {
            let newest = self.participant.stored().newest();
            assert_eq!(newest, ordinal, "S4: commits in the order of the log");
            state.commits.applied = ordinal;
        }
        state.forget(name);
    }

    /// Gives the storage what the log holds, and lets those go on who waited for that. Says whether that brought
    /// new events.
    pub(super) fn settle(&self, state: &mut State) -> bool {
        let logged = state.commits.logged();
        let mut news = false;
        let through = logged.min(state.commits.applied);
        if state.durable && through > state.commits.settled && !state.log_failed {
            self.fails_at("site: settle");
            // The history first: what the storage has is never told to it again.
            self.participant.recorder().settled(through);
            let stored = self.participant.stored();
            stored.settle(through);
            state.commits.settled = through;
            if stored.failure().is_some() {
                self.inbox.push(Event::LogFailed);
                news = true;
            }
        }
        self.release_held_back(state, logged) || news
    }

    fn release_held_back(&self, state: &mut State, logged: u64) -> bool {
        let mut any = false;
        let held_back = &mut state.commits.held_back;
        while let Some((ordinal, _)) = held_back.front()
            && *ordinal <= logged
            && let Some((_, event)) = held_back.pop_front()
        {
            self.inbox.push(Event::HeldBack(Box::new(event)));
            any = true;
        }
        any
    }
}

/// A prepared transaction whose decision is not applied.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// What it has voted, and depends on as far as the log has not settled that.
    pub(super) vote: InDoubt,
    /// Its place among the votes: what it depends on comes before it.
    pub(super) order: u64,
    /// Whether its commit gets an ordinal.
    pub(super) changes: bool,
    /// Whether its vote depended on others when it was given.
    pub(super) has_depended: bool,
    /// Whose abort has made its commit impossible.
    pub(super) broken_by: Option<Gtid>,
    /// The ordinal of its commit, when its decision has been appended.
    pub(super) decided: Option<u64>,
}

impl Doubt {
    pub(super) fn new(vote: InDoubt, order: u64, changes: bool) -> Self {
        Self {
            has_depended: !vote.depends.is_empty(),
            vote,
            order,
            changes,
            broken_by: None,
            decided: None,
        }
    }

    /// The log says what was decided on a transaction that it may depend on.
    pub(super) fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) {
        let before = self.vote.broken;
        self.vote.settle(gtid, outcome);
        if self.vote.broken && !before {
            self.broken_by = Some(gtid);
        }
    }

    /// What its record says that it depends on: whoever has broken it is still named, and not found when the record
    /// is read.
    pub(super) fn depends(&self) -> Dependencies {
        let mut depends = self.vote.depends.clone();
        depends.if_committed.extend(self.broken_by);
        depends
    }
}

/// The transactions in doubt, and who depends on whom.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    pub(super) all: BTreeMap<Gtid, Doubt>,
    dependents: BTreeMap<Gtid, Vec<Gtid>>,
    last: u64,
}

impl Doubts {
    /// A vote is appended to the log, or read from it. One that is read again, because a torn checkpoint repeats it,
    /// keeps its place.
    pub(super) fn enter(&mut self, vote: InDoubt, changes: bool) {
        let order = match self.all.get(&vote.gtid) {
            Some(before) => before.order,
            None => {
                self.last += 1;
                self.last
            }
        };
        for named in vote.depends.iter() {
            self.dependents.entry(named).or_default().push(vote.gtid);
        }
        let doubt = Doubt::new(vote, order, changes);
        self.all.insert(doubt.vote.gtid, doubt);
    }

    /// A decision is appended to the log, or read from it: what depended on it is settled.
    pub(super) fn settle(&mut self, gtid: Gtid, outcome: Option<Stamp>) {
        for dependent in self.dependents.remove(&gtid).unwrap_or_default() {
            if let Some(doubt) = self.all.get_mut(&dependent) {
                doubt.settle(gtid, outcome);
            }
        }
    }

    /// In the order of the votes.
    pub(super) fn in_order(&self) -> Vec<&Doubt> {
        let mut doubts: Vec<&Doubt> = self.all.values().collect();
        doubts.sort_unstable_by_key(|doubt| doubt.order);
        doubts
    }

    /// What is named and is not in doubt was never voted here, or was aborted before the log begins.
    pub(super) fn settle_unknown(&mut self) {
        let named = self.dependents.keys();
        let unknown: Vec<Gtid> = named
            .copied()
            .filter(|gtid| !self.all.contains_key(gtid))
            .collect();
        for gtid in unknown {
            self.settle(gtid, None);
        }
    }

    /// Those that cannot be committed, because of an abort in the log, near or far: nothing of them is re-created.
    pub(super) fn undone(&self) -> BTreeSet<Gtid> {
        let mut undone = BTreeSet::new();
        for doubt in self.in_order() {
            let mut read = doubt.vote.depends.if_committed.iter();
            if doubt.vote.broken || read.any(|gtid| undone.contains(gtid)) {
                undone.insert(doubt.vote.gtid);
            }
        }
        undone
    }
}
