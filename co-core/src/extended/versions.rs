//! Versions and their stamps: all that interval certification remembers.
//!
//! A site counts votes and learned commits on one clock. Of a transaction T, `v` is the count at its vote,
//! `c` the count when its commit was learned, and `pi` a bound from below on where it stands in the site's
//! serial order. Of a version: `created`, the `c` of its writer; `read_until`, the largest `c` of a committed
//! reader (and at least `created`); `overtaken`, the `pi` of the writer of the next version.
//!
//! Invariants:
//! - S1 Every vote has a larger `v` than all `v` and `c` before it, and `pi <= v < c`.
//! - S2 A chain is in the order of commits; `overtaken` is set on all versions but the last.
//! - S3 Whatever is not remembered behaves as if created, and read, at `floor`; what is forgotten was created
//!   and read before every `pi` still to come ([`Chains::sweep`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::id::TxnId;

/// The number of a commit at one site: versions are installed in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitSeq(pub u64);

impl fmt::Display for CommitSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for CommitSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which version a read gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Source {
    /// The newest one that was installed under this number or before it.
    AsOf(CommitSeq),
    /// The transaction's own write.
    Own,
}

/// Which versions a site's transactions read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Reads {
    /// The newest committed one, at the first read of each key.
    Newest,
    /// Those of one snapshot, taken at the first operation. Of two concurrent writers of a key the first one
    /// to update wins.
    #[default]
    Snapshot,
}

/// How local transactions are certified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Certification {
    /// By intervals: abort only if something that follows might precede.
    #[default]
    Interval,
    /// As global ones are, by the order of commits: abort if anything follows. More aborts; strictly
    /// serializable.
    CommitOrder,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) seq: u64,
    pub(super) created: u64,
    pub(super) read_until: u64,
    pub(super) overtaken: u64,
    /// Undecided transactions that have read it.
    readers: usize,
}

/// The versions of one key that can still matter, and who is about to add one.
pub(super) struct Chain {
    versions: Vec<Version>,
    pub(super) writer: Option<TxnId>,
    pub(super) voted_readers: BTreeSet<TxnId>,
}

/// `overtaken` of the last version.
pub(super) const NEVER: u64 = u64::MAX;

/// Below this many keys nothing is gained by a sweep.
const SMALL: usize = 64;

impl Chain {
    fn new(floor: u64) -> Self {
        Self {
            versions: vec![Version {
                seq: 0,
                created: floor,
                read_until: floor,
                overtaken: NEVER,
                readers: 0,
            }],
            writer: None,
            voted_readers: BTreeSet::new(),
        }
    }

    pub(super) fn newest(&self) -> &Version {
        self.versions
            .last()
            .expect("S2: the last version of a chain is never pruned")
    }

    pub(super) fn version(&self, seq: u64) -> &Version {
        let at = self.versions.partition_point(|version| version.seq <= seq);
        assert!(at > 0, "S3: a version that is read was pruned");
        &self.versions[at - 1]
    }

    fn version_mut(&mut self, seq: u64) -> &mut Version {
        let at = self.versions.partition_point(|version| version.seq <= seq);
        assert!(at > 0, "S3: a version that is read was pruned");
        &mut self.versions[at - 1]
    }

    /// Counts a reader of the newest version up to `as_of`; returns the version's number.
    pub(super) fn begin_read(&mut self, as_of: u64) -> u64 {
        let version = self.version_mut(as_of);
        version.readers += 1;
        version.seq
    }

    /// A reader of version `seq` is decided, at `committed` if it committed.
    pub(super) fn end_read(&mut self, seq: u64, committed: Option<u64>) {
        let version = self.version_mut(seq);
        assert!(version.readers > 0, "S3: a reader ended twice");
        version.readers -= 1;
        version.read_until = version.read_until.max(committed.unwrap_or(0));
    }

    pub(super) fn install(&mut self, seq: u64, created: u64, pi: u64) {
        let newest = self.versions.last_mut();
        let newest = newest.expect("S2: the last version of a chain is never pruned");
        assert!(
            newest.seq < seq && newest.created < created,
            "S2: installed out of order"
        );
        newest.overtaken = pi;
        self.versions.push(Version {
            seq,
            created,
            read_until: created,
            overtaken: NEVER,
            readers: 0,
        });
    }

    /// Drops the versions that nobody has read or can come to read: all but the last one, those read by an
    /// undecided transaction, and those that one of the `snapshots` in use, in ascending order, shows.
    pub(super) fn prune(&mut self, snapshots: &[u64]) {
        let mut replaced = NEVER;
        let mut kept = Vec::new();
        for version in self.versions.iter().rev() {
            let at = snapshots.partition_point(|&snapshot| snapshot < version.seq);
            let shown = snapshots
                .get(at)
                .is_some_and(|&snapshot| snapshot < replaced);
            if version.readers > 0 || shown || replaced == NEVER {
                kept.push(*version);
            }
            replaced = version.seq;
        }
        kept.reverse();
        self.versions = kept;
    }

    fn is_idle(&self) -> bool {
        self.versions.len() == 1
            && self.newest().readers == 0
            && self.writer.is_none()
            && self.voted_readers.is_empty()
    }

    fn lowest_overtaken(&self) -> u64 {
        let stamps = self.versions.iter().map(|version| version.overtaken);
        stamps.min().unwrap_or(NEVER)
    }
}

/// The chains of all keys that are remembered.
pub(super) struct Chains<K> {
    by_key: BTreeMap<K, Chain>,
    floor: u64,
    kept: usize,
}

impl<K: Ord + Clone> Chains<K> {
    pub(super) fn new() -> Self {
        Self {
            by_key: BTreeMap::new(),
            floor: 0,
            kept: 0,
        }
    }

    /// From now on a key that is not remembered counts as created and read at `floor`.
    pub(super) fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
    }

    pub(super) fn get(&self, key: &K) -> Option<&Chain> {
        self.by_key.get(key)
    }

    pub(super) fn chain(&mut self, key: &K) -> &mut Chain {
        let floor = self.floor;
        self.by_key
            .entry(key.clone())
            .or_insert_with(|| Chain::new(floor))
    }

    /// Forgets the keys whose stamps cannot matter any more, when the keys have doubled since the last sweep
    /// or `now` says so. `lowest_pi` is the smallest `pi` among voted transactions.
    ///
    /// Every `pi` still to come is the clock's next value, or one of the stamps looked at here, or comes from
    /// these by taking the smaller one. A key whose stamps are below all of them is in nobody's way.
    pub(super) fn sweep(&mut self, snapshots: &[u64], lowest_pi: u64, now: bool) {
        if !now && self.by_key.len() < SMALL.max(2 * self.kept) {
            return;
        }
        let mut low = lowest_pi;
        for chain in self.by_key.values_mut() {
            chain.prune(snapshots);
            low = low.min(chain.lowest_overtaken());
        }
        // A key whose last version is newer than some snapshot still has the version that this one shows.
        self.by_key
            .retain(|_, chain| !chain.is_idle() || chain.newest().read_until >= low);
        self.kept = self.by_key.len();
    }

    /// How many versions are remembered.
    pub(super) fn versions(&self) -> usize {
        self.by_key.values().map(|chain| chain.versions.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
