//! Votes that depend on predecessors which have voted here and are not decided.
//!
//! A transaction may vote so as soon as each of its predecessors is a global one that has given its own YES (P6).
//! Otherwise it is entered with the first that has not, and looked at again when that one gives its YES or ends.
//!
//! Why nothing comes to precede it afterwards: its operations are done, so it asks for no lock any more, and in the
//! engines that vote so only a request puts somebody before its transaction. By induction all that precede it, near
//! or far, have voted: no cycle passes through it, and only the abort of one whose data it has read dooms it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use co_core::{EdgeKind, Gtid, Kind, Priority, State, Txn, TxnId, Vote};

use super::{Engine, Shared};
use crate::participant::{Dependencies, TxnName};
use crate::registry::{Entry, Phase};
use crate::sync::Mutex;

/// Those that wait for somebody's YES, by that somebody.
pub(super) struct Watchers<P>(Mutex<BTreeMap<TxnId, Vec<Arc<Entry<P>>>>>);

impl<P> Default for Watchers<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> fmt::Debug for Watchers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watchers(..)")
    }
}

impl<P> Watchers<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn enter(&self, watched: TxnId, entry: &Arc<Entry<P>>) {
        let mut watchers = self.0.lock();
        watchers.entry(watched).or_default().push(Arc::clone(entry));
    }

    fn take(&self, watched: TxnId) -> Vec<Arc<Entry<P>>> {
        self.0.lock().remove(&watched).unwrap_or_default()
    }
}

/// What stands between a transaction and a vote that depends on others.
enum Ahead {
    /// Nothing: it depends on these.
    Nobody(Dependencies),
    /// This one has not given its YES.
    Silent(Txn),
}

impl<E: Engine> Shared<E> {
    /// Gives the vote of a transaction that has asked for it, if it may depend on what precedes it; and then those
    /// that waited for this vote.
    pub(super) fn try_dependent(&self, entry: Arc<Entry<E::Private>>) {
        let mut turn = VecDeque::from([entry]);
        while let Some(entry) = turn.pop_front() {
            if let Some(heard) = self.vote_or_watch(&entry) {
                turn.extend(self.watchers.take(heard));
            }
        }
    }

    /// A transaction has given its YES, or has ended: those that waited for that may vote.
    pub(super) fn look_after(&self, watched: TxnId) {
        for entry in self.watchers.take(watched) {
            self.try_dependent(entry);
        }
    }

    /// Gives the vote, or has the transaction wait for somebody's. Says whose watchers have to be looked at: its own
    /// if it has voted, or those of one that is silent no more, itself among them.
    fn vote_or_watch(&self, entry: &Arc<Entry<E::Private>>) -> Option<TxnId> {
        let txn = entry.handle().txn();
        let asks = {
            let inner = entry.lock();
            matches!(inner.phase, Phase::Preparing(_)) && inner.dependent
        };
        // Otherwise its ordinary vote is being told, or whoever doomed it undoes it.
        if !asks || txn.state() != State::Withheld {
            return None;
        }
        match self.ahead(txn) {
            Ahead::Silent(watched) => {
                self.watchers.enter(watched.id(), entry);
                // It may have given its YES, or ended, before it was watched.
                (!self.is_silent(&watched)).then(|| watched.id())
            }
            Ahead::Nobody(depends) => {
                if txn.state() != State::Withheld {
                    return None;
                }
                self.cast(entry, depends);
                Some(txn.id())
            }
        }
    }

    fn ahead(&self, txn: &Txn) -> Ahead {
        let mut depends = Dependencies::default();
        for predecessor in self.scheduler.predecessors(txn) {
            let state = predecessor.txn.state();
            if !state.is_undecided() && self.registry.by_txn(predecessor.txn.id()).is_none() {
                continue; // and has released this one, or doomed it
            }
            let named = match predecessor.txn.kind().gtid() {
                Some(gtid) if self.has_told(&predecessor.txn) => gtid,
                Some(_) | None => return Ahead::Silent(predecessor.txn),
            };
            if predecessor.is_read {
                depends.if_committed.insert(named);
            } else {
                depends.after.insert(named);
            }
        }
        Ahead::Nobody(depends)
    }

    /// Whether a transaction has given its YES, and is not being undone.
    fn has_told(&self, txn: &Txn) -> bool {
        let told = |entry: Arc<Entry<E::Private>>| entry.handle().has_told();
        matches!(txn.state(), State::Withheld | State::Voted)
            && self.registry.by_txn(txn.id()).is_some_and(told)
    }

    /// Whether whoever waits for its YES or its end has to go on waiting.
    fn is_silent(&self, txn: &Txn) -> bool {
        let names = txn.kind().gtid().is_some() && self.has_told(txn);
        !names && self.registry.by_txn(txn.id()).is_some()
    }

    /// The node of a transaction in doubt, behind those that its vote depends on.
    pub(super) fn recover_order(
        self: &Arc<Self>,
        gtid: Gtid,
        priority: Priority,
        depends: &Dependencies,
    ) -> Txn {
        if depends.is_empty() {
            return self.scheduler.recover(gtid, priority);
        }
        let txn = self.scheduler.begin(Kind::Global { gtid, priority });
        for named in depends.iter() {
            // Who is not there has ended: what depended on its commit is not recovered.
            if let Some(earlier) = self.registry.get(TxnName::Global(named)) {
                let kind = if depends.if_committed.contains(&named) {
                    EdgeKind::WriteRead
                } else {
                    EdgeKind::WriteWrite
                };
                let added = self.scheduler.edge(earlier.handle().txn(), &txn, kind);
                assert!(added.is_ok(), "P6: {gtid} has not voted in co-core yet");
            }
        }
        // Nobody asks for the answer: it was given in an earlier life.
        self.scheduler.request_vote_with(&txn, |_: Vote| {});
        txn
    }
}
