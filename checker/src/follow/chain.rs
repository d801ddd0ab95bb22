//! The versions of one key, in order, and whether decisions agree with them.
//!
//! A conflict is between two accesses of a key, so it is checked here, by whichever of the two is fed second; the order
//! in which records come does not matter, nor does what other keys and other sites do.
//!
//! - **F1** `versions` ascend by position. The first is the initial state, or what is left in front of it after
//!   [`Chain::prune`].
//! - **F2** `readers` of a version holds the latest readers of it and of the versions before it back to the last that is
//!   no increment; `sum` the latest of these versions themselves. Both may hold readers and versions from further back:
//!   these precede whatever follows all the same.
//! - **F3** Of what was pruned, F2 keeps what a later access has to be compared with; an access *to* it is
//!   [`Fault::Late`], unless it clashes with what is there for certain.

use std::collections::VecDeque;

use crate::history::TxnId;
use crate::index::Install;

/// An access: when its transaction was decided, whose it is, and of which version (installed, or seen).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) stamp: u64,
    pub(super) txn: TxnId,
    pub(super) at: u64,
}

/// The latest (or earliest) access, and the latest (or earliest) of another transaction: a transaction does not
/// conflict with itself.
#[derive(Debug, Clone, Copy, Default)]
struct Extreme<const LATEST: bool> {
    first: Option<Mark>,
    second: Option<Mark>,
}

type Latest = Extreme<true>;
type Earliest = Extreme<false>;

impl<const LATEST: bool> Extreme<LATEST> {
    fn add(&mut self, mark: Mark) {
        let beats = |other: Option<Mark>| {
            other.is_none_or(|other| {
                if LATEST {
                    mark.stamp > other.stamp
                } else {
                    mark.stamp < other.stamp
                }
            })
        };
        let same = |other: Option<Mark>| other.is_some_and(|other| other.txn == mark.txn);
        if same(self.first) {
            return;
        }
        if beats(self.first) {
            self.second = self.first;
            self.first = Some(mark);
        } else if !same(self.second) && beats(self.second) {
            self.second = Some(mark);
        }
    }

    fn of_others(&self, txn: TxnId) -> Option<Mark> {
        if self.first.is_some_and(|first| first.txn == txn) {
            self.second
        } else {
            self.first
        }
    }
}

/// What an increment knows of the sum that it is part of.
#[derive(Debug, Default)]
struct Sum {
    versions: Latest,
    base: Option<Mark>,
    /// Who saw exactly this version.
    earliest_readers: Earliest,
}

#[derive(Debug)]
struct Version {
    seq: u64,
    stamp: Option<u64>,
    /// Nobody's in the initial state.
    txn: Option<TxnId>,
    how: Install,
    readers: Latest,
    /// Of increments.
    sum: Option<Box<Sum>>,
}

impl Version {
    fn mark(&self) -> Option<Mark> {
        Some(Mark {
            stamp: self.stamp?,
            txn: self.txn?,
            at: self.seq,
        })
    }

    /// The latest of the versions that a reader of this one depends on.
    fn included(&self, reader: TxnId) -> Option<Mark> {
        match &self.sum {
            Some(sum) => sum.versions.of_others(reader),
            None => self.mark().filter(|mark| mark.txn != reader),
        }
    }
}

/// How two accesses met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    WriteWrite,
    WriteRead,
    ReadWrite,
}

/// A conflict that disagrees with the decisions: `from` precedes `to`, and was not decided before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) from: Mark,
    pub(super) to: Mark,
    pub(super) meeting: Meeting,
}

/// Why an access is not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Clash(Clash),
    /// It is to a version that is no longer kept.
    Late,
    /// Nobody has installed the version that was read, so far.
    Unresolved,
}

/// An access to a key by a committed transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) txn: TxnId,
    pub(super) stamp: Option<u64>,
    /// The version that was installed, or seen.
    pub(super) at: u64,
}

impl Access {
    fn mark(self) -> Option<Mark> {
        Some(Mark {
            stamp: self.stamp?,
            txn: self.txn,
            at: self.at,
        })
    }
}

/// What a scan finds at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// The version that was the last one.
    Version { seq: u64, how: Install },
    /// It is no longer kept.
    Late,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Chain {
    versions: VecDeque<Version>,
    pruned: bool,
}

impl Chain {
    pub(super) fn new() -> Self {
        let initial = Version {
            seq: 0,
            stamp: None,
            txn: None,
            how: Install::Write,
            readers: Latest::default(),
            sum: None,
        };
        Self {
            versions: VecDeque::from([initial]),
            pruned: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.versions.len()
    }

    /// Installs a version, and compares it with what is there.
    pub(super) fn install(&mut self, access: Access, how: Install) -> Result<(), Fault> {
        let last = self.versions.len() - 1;
        let place = if self.versions[last].seq < access.at {
            last + 1
        } else {
            self.versions.partition_point(|one| one.seq < access.at)
        };
        if place == 0 {
            return Err(self.late(access, Meeting::WriteWrite));
        }
        let before = &self.versions[place - 1];
        let adds = how == Install::Increment;
        let base = match &before.sum {
            Some(sum) => sum.base,
            None => before.mark(),
        };
        let clash = access
            .mark()
            .and_then(|mark| self.clash_of_install(place, mark, adds, base));
        let sum = adds.then(|| {
            let mut versions = before
                .sum
                .as_ref()
                .map_or_else(Latest::default, |sum| sum.versions);
            before
                .mark()
                .into_iter()
                .chain(access.mark())
                .for_each(|mark| versions.add(mark));
            Box::new(Sum {
                versions,
                base,
                earliest_readers: Earliest::default(),
            })
        });
        let readers = if adds {
            before.readers
        } else {
            Latest::default()
        };
        let version = Version {
            seq: access.at,
            stamp: access.stamp,
            txn: Some(access.txn),
            how,
            readers,
            sum,
        };
        self.versions.insert(place, version);
        self.tell_following(place, access.mark(), adds);
        clash.map_or(Ok(()), |clash| Err(Fault::Clash(clash)))
    }

    /// Compares an install with the versions before it and behind it, and with their readers.
    fn clash_of_install(
        &self,
        place: usize,
        mark: Mark,
        adds: bool,
        base: Option<Mark>,
    ) -> Option<Clash> {
        let before = &self.versions[place - 1];
        let other = if adds {
            base.filter(|base| base.txn != mark.txn)
        } else {
            before.included(mark.txn)
        };
        let reader = before.readers.of_others(mark.txn);
        let clash = clash(other, Some(mark), Meeting::WriteWrite)
            .or_else(|| clash(reader, Some(mark), Meeting::ReadWrite));
        if clash.is_some() {
            return clash;
        }
        for later in self.versions.range(place..) {
            let is_last = later.how != Install::Increment;
            if is_last || !adds {
                let found = self::clash(Some(mark), later.mark(), Meeting::WriteWrite);
                if found.is_some() {
                    return found;
                }
            }
            if is_last {
                break;
            }
            let reader = later
                .sum
                .as_ref()
                .and_then(|sum| sum.earliest_readers.of_others(mark.txn));
            let found = self::clash(Some(mark), reader, Meeting::WriteRead);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The increments behind a new version are part of a sum with it (F2).
    fn tell_following(&mut self, place: usize, mark: Option<Mark>, adds: bool) {
        for later in self.versions.range_mut(place + 1..) {
            let Some(sum) = &mut later.sum else { break };
            mark.into_iter().for_each(|mark| sum.versions.add(mark));
            if !adds {
                sum.base = mark;
            }
        }
    }

    /// Notes a read, and compares it with what is there.
    pub(super) fn read(&mut self, access: Access) -> Result<(), Fault> {
        let last = self.versions.len() - 1;
        let place = if self.versions[last].seq == access.at {
            last
        } else {
            let found = self
                .versions
                .binary_search_by_key(&access.at, |version| version.seq);
            match found {
                Ok(place) => place,
                Err(0) => return Err(self.late(access, Meeting::ReadWrite)),
                Err(_) => return Err(Fault::Unresolved),
            }
        };
        let Some(mark) = access.mark() else {
            return Ok(());
        };
        let seen = &mut self.versions[place];
        let mut found = clash(seen.included(mark.txn), Some(mark), Meeting::WriteRead);
        seen.readers.add(mark);
        if let Some(sum) = &mut seen.sum {
            sum.earliest_readers.add(mark);
        }
        for later in self.versions.range_mut(place + 1..) {
            let other = later.mark().filter(|other| other.txn != mark.txn);
            found = found.or_else(|| clash(Some(mark), other, Meeting::ReadWrite));
            if later.how != Install::Increment {
                break;
            }
            later.readers.add(mark);
        }
        found.map_or(Ok(()), |clash| Err(Fault::Clash(clash)))
    }

    /// What to say of an access to what was pruned (F3): whatever it is, it precedes the next version that is no
    /// increment.
    fn late(&self, access: Access, meeting: Meeting) -> Fault {
        debug_assert!(
            self.pruned,
            "F1: the initial state is in front of everything"
        );
        let mut writes = self
            .versions
            .iter()
            .filter(|version| version.how != Install::Increment && version.txn != Some(access.txn));
        let next = writes.next().and_then(Version::mark);
        clash(access.mark(), next, meeting).map_or(Fault::Late, Fault::Clash)
    }

    /// The last version at a position, but for the transaction's own.
    pub(super) fn at(&self, pos: u64, own: TxnId) -> Sighting {
        let mut count = self.versions.partition_point(|version| version.seq <= pos);
        if count > 0 && self.versions[count - 1].txn == Some(own) {
            count -= 1;
        }
        match count.checked_sub(1).map(|last| &self.versions[last]) {
            Some(Version { seq, how, .. }) => Sighting::Version {
                seq: *seq,
                how: *how,
            },
            None => Sighting::Late,
        }
    }

    /// Whether the version is there.
    pub(super) fn holds(&self, seq: u64) -> bool {
        self.versions
            .binary_search_by_key(&seq, |version| version.seq)
            .is_ok()
    }

    /// Whether versions were dropped that may include this one.
    pub(super) fn may_have_held(&self, seq: u64) -> bool {
        self.pruned && seq < self.versions[0].seq
    }

    /// Drops the first version, unless it is the only one.
    pub(super) fn prune(&mut self) {
        if self.versions.len() > 1 {
            self.versions.pop_front();
            self.pruned = true;
        }
    }
}

fn clash(from: Option<Mark>, to: Option<Mark>, meeting: Meeting) -> Option<Clash> {
    let (from, to) = (from?, to?);
    (from.stamp >= to.stamp).then_some(Clash { from, to, meeting })
}
