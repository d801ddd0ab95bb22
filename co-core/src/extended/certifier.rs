//! Certifies transactions over versions, by stamps.
//!
//! State: the [`Chains`] of versions, the [`Roster`], and a footprint for each undecided transaction.
//! Invariants: S1 to S3 for the stamps; from them E1 and E2 (proof in `docs/extended.md`), E3 by X3, E4 by S3.
//!
//! The order they prove: along each edge T → U of the site, `pi(T) < pi(U)`, or `pi(T) = pi(U)` and U voted
//! before T. A global transaction has `pi = v` and no edge to one that voted before it, so its successors
//! have a `pi` above its `c`.
//!
//! Deliberately not here: the mutex around it.

use std::collections::{BTreeMap, BTreeSet};

use super::txn::{Access, Roster, SiteTxn};
use super::versions::{Certification, Chains, CommitSeq, NEVER, Reads, Source};
use crate::graph::Kind;
use crate::id::{Outcome, TxnId};
use crate::order::Cell;
use crate::outcome::{AbortReason, State, Vote};
use crate::sync::Arc;

pub(super) struct Site<K> {
    reads: Reads,
    certification: Certification,
    pub(super) roster: Roster,
    pub(super) chains: Chains<K>,
    pub(super) footprints: BTreeMap<TxnId, Footprint<K>>,
    clock: u64,
    pub(super) commits: u64,
}

/// What an undecided transaction has done.
pub(super) struct Footprint<K> {
    /// Its snapshot, or the number at its first read of a newest version.
    since: Option<u64>,
    /// For each key that it read: what it was told, and the version's number.
    reads: BTreeMap<K, (u64, u64)>,
    writes: BTreeSet<K>,
    /// Once it has voted.
    pi: Option<u64>,
}

enum Verdict {
    Yes { pi: u64 },
    Wait,
    No(AbortReason),
}

impl<K: Ord + Clone> Site<K> {
    pub(super) fn new(reads: Reads, certification: Certification) -> Self {
        Self {
            reads,
            certification,
            roster: Roster::new(),
            chains: Chains::new(),
            footprints: BTreeMap::new(),
            clock: 0,
            commits: 0,
        }
    }

    pub(super) fn enter(&mut self, kind: Kind, state: State) -> SiteTxn {
        let txn = self.roster.enter(kind, state);
        self.footprints.insert(txn.id(), Footprint::new());
        txn
    }

    pub(super) fn recover<'a>(
        &mut self,
        kind: Kind,
        reads: impl IntoIterator<Item = &'a K>,
        writes: impl IntoIterator<Item = &'a K>,
    ) -> SiteTxn
    where
        K: 'a,
    {
        let txn = self.enter(kind, State::Voted);
        let mut footprint = Footprint::new();
        for key in writes {
            // It had the turn before its vote, so what it replaces was committed before that.
            let writer = self.chains.chain(key).writer.replace(txn.id());
            assert!(
                writer.is_none_or(|writer| writer == txn.id()),
                "S2: writers take turns, so two in doubt wrote no key both"
            );
            footprint.writes.insert(key.clone());
        }
        self.clock += 1;
        self.chains.raise_floor(self.clock);
        let reads: BTreeSet<&K> = reads.into_iter().collect();
        for key in reads {
            let chain = self.chains.chain(key);
            footprint
                .reads
                .insert(key.clone(), (0, chain.begin_read(0)));
            chain.voted_readers.insert(txn.id());
        }
        footprint.pi = Some(self.clock);
        self.footprints.insert(txn.id(), footprint);
        txn
    }

    pub(super) fn read(&mut self, id: TxnId, key: &K) -> Source {
        let commits = self.commits;
        let footprint = footprint_mut(&mut self.footprints, id);
        if footprint.writes.contains(key) {
            return Source::Own;
        }
        if let Some(&(as_of, _)) = footprint.reads.get(key) {
            return Source::AsOf(CommitSeq(as_of));
        }
        let since = *footprint.since.get_or_insert(commits);
        let as_of = match self.reads {
            Reads::Newest => commits,
            Reads::Snapshot => since,
        };
        let seq = self.chains.chain(key).begin_read(as_of);
        footprint.reads.insert(key.clone(), (as_of, seq));
        Source::AsOf(CommitSeq(as_of))
    }

    pub(super) fn write(&mut self, txn: &SiteTxn, key: &K) -> Access {
        let footprint = footprint_mut(&mut self.footprints, txn.id());
        let since = footprint.since.unwrap_or(self.commits);
        let chain = self.chains.chain(key);
        match chain.writer {
            Some(writer) if writer == txn.id() => return Access::Granted(()),
            Some(writer) => {
                let writer = self.roster.get(writer);
                return Access::Busy(writer.expect("a turn ends with its writer").ending());
            }
            None => {}
        }
        if self.reads == Reads::Snapshot && chain.newest().seq > since {
            self.roster.doom(txn, AbortReason::Conflict);
            return Access::Doomed(AbortReason::Conflict);
        }
        chain.writer = Some(txn.id());
        footprint.since = Some(since);
        footprint.writes.insert(key.clone());
        Access::Granted(())
    }

    pub(super) fn request(&mut self, txn: &SiteTxn) -> Arc<Cell<Vote>> {
        let (cell, first) = self.roster.ask(txn);
        if first {
            self.settle();
        }
        cell
    }

    /// Casts every withheld vote that can be cast, in the order in which they were asked for.
    fn settle(&mut self) {
        for txn in self.roster.withheld().to_vec() {
            match self.verdict(&txn) {
                Verdict::Wait => {}
                Verdict::No(reason) => {
                    self.roster.doom(&txn, reason);
                }
                Verdict::Yes { pi } => self.vote(&txn, pi),
            }
        }
    }

    fn vote(&mut self, txn: &SiteTxn, pi: u64) {
        self.clock += 1;
        assert!(pi <= self.clock, "S1: pi is at most v");
        let footprint = footprint_mut(&mut self.footprints, txn.id());
        footprint.pi = Some(pi);
        for key in footprint.reads.keys() {
            self.chains.chain(key).voted_readers.insert(txn.id());
        }
        self.roster.vote(txn);
    }

    fn verdict(&self, txn: &SiteTxn) -> Verdict {
        if txn.is_global() || self.certification == Certification::CommitOrder {
            self.commit_order(txn.id())
        } else {
            self.interval(txn.id())
        }
    }

    /// Rules A to C of §2.6.
    fn commit_order(&self, id: TxnId) -> Verdict {
        if self.overtaken(id) < NEVER {
            Verdict::No(AbortReason::Overtaken)
        } else if self.in_doubt_around(id).is_empty() {
            Verdict::Yes { pi: self.clock + 1 }
        } else {
            Verdict::Wait
        }
    }

    /// Interval certification (§2.8).
    fn interval(&self, id: TxnId) -> Verdict {
        if self.in_doubt_before(id).next().is_some() {
            return Verdict::Wait;
        }
        let after = self.in_doubt_after(id);
        let pi = after
            .filter_map(|other| self.footprint(other).pi)
            .fold(self.overtaken(id).min(self.clock + 1), u64::min);
        let footprint = self.footprint(id);
        let read = footprint.reads.iter().filter_map(|(key, &(_, seq))| {
            let version = self.chains.get(key)?.version(seq);
            Some(version.created)
        });
        let replaced = footprint.writes.iter().filter_map(|key| {
            let newest = self.chains.get(key)?.newest();
            Some(newest.read_until)
        });
        let eta = read.chain(replaced).max().unwrap_or(0);
        if pi > eta {
            Verdict::Yes { pi }
        } else {
            Verdict::No(AbortReason::Conflict)
        }
    }

    /// The smallest `overtaken` among the versions that `id` has read.
    fn overtaken(&self, id: TxnId) -> u64 {
        let reads = self.footprint(id).reads.iter();
        let stamps = reads.filter_map(|(key, &(_, seq))| {
            let version = self.chains.get(key)?.version(seq);
            Some(version.overtaken)
        });
        stamps.min().unwrap_or(NEVER)
    }

    /// Voted transactions that are about to replace what `id` has read: it precedes them.
    fn in_doubt_after(&self, id: TxnId) -> impl Iterator<Item = TxnId> {
        let reads = self.footprint(id).reads.keys();
        let writers = reads.filter_map(|key| self.chains.get(key)?.writer);
        writers.filter(move |&writer| writer != id && self.footprint(writer).pi.is_some())
    }

    /// Voted transactions that have read what `id` is about to replace: they precede it.
    fn in_doubt_before(&self, id: TxnId) -> impl Iterator<Item = TxnId> {
        let writes = self.footprint(id).writes.iter();
        let chains = writes.filter_map(|key| self.chains.get(key));
        let readers = chains.flat_map(|chain| chain.voted_readers.iter().copied());
        readers.filter(move |&reader| reader != id)
    }

    pub(super) fn in_doubt_around(&self, id: TxnId) -> Vec<TxnId> {
        let after = self.in_doubt_after(id);
        after.chain(self.in_doubt_before(id)).collect()
    }

    pub(super) fn end(&mut self, txn: &SiteTxn, outcome: Outcome) {
        let footprint = self.footprints.remove(&txn.id());
        let footprint = footprint.expect("an undecided transaction has a footprint");
        self.roster.leave(txn, outcome);
        self.clock += 1;
        let committed = (outcome == Outcome::Commit).then_some(self.clock);
        if committed.is_some() {
            self.commits += 1;
        }
        for (key, &(_, seq)) in &footprint.reads {
            let chain = self.chains.chain(key);
            chain.end_read(seq, committed);
            chain.voted_readers.remove(&txn.id());
        }
        for key in &footprint.writes {
            let chain = self.chains.chain(key);
            assert_eq!(chain.writer, Some(txn.id()), "S2: writers take turns");
            chain.writer = None;
            if let (Some(created), Some(pi)) = (committed, footprint.pi) {
                chain.install(self.commits, created, pi);
            }
        }
        let snapshots = self.snapshots();
        for key in footprint.reads.keys().chain(&footprint.writes) {
            self.chains.chain(key).prune(&snapshots);
        }
        self.settle();
        self.sweep(self.roster.undecided() == 0);
    }

    pub(super) fn sweep(&mut self, now: bool) {
        let votes = self.footprints.values().filter_map(|one| one.pi);
        let lowest_pi = votes.min().unwrap_or(NEVER);
        let snapshots = self.snapshots();
        self.chains.sweep(&snapshots, lowest_pi, now);
    }

    pub(super) fn oldest(&self) -> u64 {
        let since = self.footprints.values().filter_map(|one| one.since);
        since.min().unwrap_or(self.commits)
    }

    /// The snapshots in use, in ascending order.
    fn snapshots(&self) -> Vec<u64> {
        if self.reads == Reads::Newest {
            return Vec::new();
        }
        let since = self.footprints.values().filter_map(|one| one.since);
        let mut snapshots: Vec<_> = since.collect();
        snapshots.sort_unstable();
        snapshots
    }

    fn footprint(&self, id: TxnId) -> &Footprint<K> {
        self.footprints
            .get(&id)
            .expect("an undecided transaction has a footprint")
    }
}

fn footprint_mut<K>(
    footprints: &mut BTreeMap<TxnId, Footprint<K>>,
    id: TxnId,
) -> &mut Footprint<K> {
    footprints
        .get_mut(&id)
        .expect("an undecided transaction has a footprint")
}

impl<K> Footprint<K> {
    fn new() -> Self {
        Self {
            since: None,
            reads: BTreeMap::new(),
            writes: BTreeSet::new(),
            pi: None,
        }
    }
}
