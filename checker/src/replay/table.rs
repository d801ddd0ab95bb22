//! The present state of one site's keys, and what transactions may do to it in the order of their stamps.
//!
//! - **R1** Transactions come with stamps that do not descend. So whatever was done to a key was decided before, or at
//!   the same time as, what is done to it now.
//! - **R2** `latest` is the highest position at which the key was installed; a read must have seen it.
//! - **R3** An install must be above `floor`: the last write, or the highest version (of a scan: position) that
//!   somebody saw. An increment may be below `latest`, since increments commute; a write may not.
//! - **R4** Transactions of one stamp must not conflict, so each key has the stamps of its last read and its last
//!   install, and whose they were.
//!
//! If all of this holds to the end, no conflict disagrees with the stamps: for a version order, a transaction that
//! installed before another is below it (R3), what was read was there, and what came after was not (R2, R3).

use crate::hashing::Hashing;
use crate::index::Install;

use super::Undecided;
use super::key::Key;

/// A transaction by its turn, from 1 on.
pub(super) type Turn = u32;

/// The turn of nobody.
const NOBODY: Turn = 0;
/// The turn of more than one.
const SEVERAL: Turn = Turn::MAX;
/// The last turn.
pub(super) const LAST_TURN: Turn = SEVERAL - 1;

/// Who does something, and when that was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor {
    pub(super) turn: Turn,
    pub(super) stamp: u64,
}

/// Whether the key was there before the history began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initially {
    NotKnown,
    Present,
    Absent,
}

/// A key. One line of the cache.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct State {
    // The parts of a `Key`, which would take more room in one.
    high: u64,
    middle: u64,
    low: u32,
    latest: u64,
    floor: u64,
    read_at: u64,
    installed_at: u64,
    read_by: Turn,
    installed_by: Turn,
    how: Install,
    initially: Initially,
    /// Scans that are no longer known may have missed it before it was installed.
    pub(super) perhaps_missed: bool,
}

const EMPTY: State = State {
    high: Key::NONE.high,
    middle: Key::NONE.middle,
    low: Key::NONE.low,
    latest: 0,
    floor: 0,
    read_at: 0,
    installed_at: 0,
    read_by: NOBODY,
    installed_by: NOBODY,
    how: Install::Write,
    initially: Initially::NotKnown,
    perhaps_missed: false,
};

const _: () = assert!(size_of::<State>() == 64);

impl State {
    #[inline]
    const fn key(&self) -> Key {
        Key {
            high: self.high,
            middle: self.middle,
            low: self.low,
        }
    }

    /// A read that saw a version.
    #[inline]
    pub(super) fn read(&mut self, version: u64, actor: Actor) -> Result<(), Undecided> {
        if version != self.latest {
            return Err(Undecided::Disagrees);
        }
        self.seen(version, actor)
    }

    /// R3, R4: somebody saw the state of the key at a position.
    #[inline]
    fn seen(&mut self, pos: u64, actor: Actor) -> Result<(), Undecided> {
        if self.installed_by != NOBODY && self.installed_at == actor.stamp {
            return Err(Undecided::Disagrees);
        }
        self.note_read(pos, actor);
        Ok(())
    }

    #[inline]
    fn note_read(&mut self, pos: u64, actor: Actor) {
        self.floor = self.floor.max(pos);
        let tied = self.read_by != NOBODY && self.read_at == actor.stamp;
        self.read_by = if tied && self.read_by != actor.turn {
            SEVERAL
        } else {
            actor.turn
        };
        self.read_at = actor.stamp;
    }

    /// An install at a position.
    #[inline]
    pub(super) fn install(
        &mut self,
        how: Install,
        seq: u64,
        actor: Actor,
    ) -> Result<(), Undecided> {
        if self.installed_by == actor.turn {
            return self.install_again(how);
        }
        let adds = how == Install::Increment;
        let both_add = adds && self.how == Install::Increment;
        let tied_install = self.installed_by != NOBODY && self.installed_at == actor.stamp;
        let tied_read =
            self.read_by != NOBODY && self.read_at == actor.stamp && self.read_by != actor.turn;
        let below = seq <= self.floor || (!adds && seq <= self.latest);
        if below || (tied_install && !both_add) || tied_read {
            return Err(Undecided::Disagrees);
        }
        self.latest = self.latest.max(seq);
        if !adds {
            self.floor = seq;
        }
        self.how = how;
        self.installed_at = actor.stamp;
        self.installed_by = actor.turn;
        Ok(())
    }

    /// Another install by the transaction that installed last: there is one version, which is what the last write or
    /// delete left, and an increment only if all of them are.
    #[cold]
    fn install_again(&mut self, how: Install) -> Result<(), Undecided> {
        match (self.how, how) {
            // It would have had to be compared with other increments.
            (Install::Increment, Install::Write | Install::Delete) => Err(Undecided::Disagrees),
            (Install::Increment, Install::Increment) => Ok(()),
            (Install::Write | Install::Delete, Install::Increment | Install::Write) => {
                self.how = Install::Write;
                Ok(())
            }
            (Install::Write | Install::Delete, Install::Delete) => {
                self.how = Install::Delete;
                Ok(())
            }
        }
    }

    /// A scan at a position that returned the key, or did not.
    pub(super) fn scan(
        &mut self,
        returned: Option<u64>,
        pos: u64,
        actor: Actor,
    ) -> Result<(), Undecided> {
        let is_initial = self.latest == 0;
        let explained = match returned {
            Some(version) if version != self.latest => false,
            Some(_) if is_initial => {
                let was_missed = self.initially == Initially::Absent || self.perhaps_missed;
                self.initially = Initially::Present;
                !was_missed
            }
            None if is_initial => {
                let was_present = self.initially == Initially::Present;
                self.initially = Initially::Absent;
                !was_present
            }
            Some(_) => self.how != Install::Delete,
            None => self.how == Install::Delete,
        };
        if !explained || self.latest > pos {
            return Err(Undecided::Disagrees);
        }
        self.seen(pos, actor)
    }

    /// A scan took place before the key was first named, and covers it.
    pub(super) fn was_missed(&mut self, pos: u64, actor: Actor) {
        self.initially = Initially::Absent;
        self.note_read(pos, actor);
    }

    /// Scans of which only the highest position and the latest stamp are known may have covered it.
    pub(super) fn may_have_been_missed(&mut self, pos: u64, stamp: u64) {
        self.perhaps_missed = true;
        let turn = SEVERAL;
        self.note_read(pos, Actor { turn, stamp });
    }
}

/// The keys of a site: open addressing, at most three quarters full.
#[derive(Debug)]
pub(super) struct Table {
    states: Vec<State>,
    used: usize,
    hashing: Hashing,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            states: vec![EMPTY; 1024],
            used: 0,
            hashing: Hashing::default(),
        }
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Makes room for so many keys: places stay what they are until as many were added.
    pub(super) fn reserve(&mut self, count: usize) {
        while (self.used + count) * 4 > self.states.len() * 3 {
            let larger = vec![EMPTY; self.states.len() * 2];
            for state in std::mem::replace(&mut self.states, larger) {
                if state.key() != Key::NONE {
                    let place = self.find(state.key());
                    self.states[place] = state;
                }
            }
        }
    }

    /// The place of a key, and whether it is new.
    #[inline]
    pub(super) fn place(&mut self, key: Key) -> (usize, bool) {
        let place = self.find(key);
        let state = &mut self.states[place];
        let is_new = state.key() == Key::NONE;
        if is_new {
            (state.high, state.middle, state.low) = (key.high, key.middle, key.low);
            self.used += 1;
        }
        (place, is_new)
    }

    #[inline]
    pub(super) fn at(&mut self, place: usize) -> &mut State {
        &mut self.states[place]
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let keys = self.states.iter().map(State::key);
        keys.filter(|key| *key != Key::NONE)
    }

    /// Where the key is, or where it belongs.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash will do"
    )]
    #[inline]
    fn find(&self, key: Key) -> usize {
        let mask = self.states.len() - 1;
        let mut place = self.hashing.of([key.high, key.middle, u64::from(key.low)]) as usize & mask;
        loop {
            let there = self.states[place].key();
            if there == key || there == Key::NONE {
                return place;
            }
            place = (place + 1) & mask;
        }
    }
}
