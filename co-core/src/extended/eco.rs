//! Extended commitment ordering over single-version data.
//!
//! State: one mutex over the [`Graph`] and the [`Roster`]. Invariants: E1 by H2, E2 by the guard after each
//! operation of a local transaction and by the rule at each vote of a global one, E3 by X3, E4 by H4.

use std::fmt;

use super::graph::{Graph, Mode, Refused, Verdict};
use super::txn::{Access, Roster, SiteTxn};
use crate::graph::Kind;
use crate::id::{Gtid, Outcome, Priority};
use crate::order::{Cell, VoteFuture};
use crate::outcome::{AbortReason, Misuse, State, Vote};
use crate::sync::{Arc, Mutex};

/// Extended commitment ordering of one site with single-version, strict data.
///
/// An engine asks before each operation, and does the operation when it is granted. Reads are of committed
/// data: an operation that meets an undecided write of another transaction is answered [`Access::Busy`].
/// A write goes past an undecided *reader*. Increments go past each other. So the engine may write in place
/// and undo, or keep writes back until the decision.
///
/// Global transactions are ordered: the vote on one is withheld until every global transaction that precedes
/// it here, directly or through local ones, is decided. A local transaction is voted on at once, whatever
/// precedes it, and may abort during its operations: on a cycle ([`AbortReason::Cycle`]), or when it would
/// link two global transactions against the order of their votes ([`AbortReason::Overtaken`]). A transaction
/// has to be known to be local at its begin; begin it as global when in doubt. A [`Kind::Query`] counts as
/// local.
///
/// A site under `Eco` works together with sites under any other rule of this crate that orders votes, and the
/// whole is serializable, with the global transactions in the order of their decisions. It is not *strictly*
/// serializable where local transactions are concerned: one may be placed before another transaction whose
/// commit was acknowledged before it began.
///
/// Clones share the site; every method may be called from any thread.
///
/// ```
/// use co_core::{Eco, Gtid, Kind, Outcome, Priority, Vote};
///
/// # fn main() -> Result<(), co_core::Misuse> {
/// let site = Eco::new();
/// let global = |number| site.begin(Kind::Global { gtid: Gtid(number), priority: Priority(number) });
/// let (first, second) = (global(1), global(2));
/// let local = site.begin(Kind::Local { priority: Priority(3) });
///
/// assert!(site.read(&first, &"a")?.is_granted());
/// assert!(site.write(&local, &"a")?.is_granted()); // overtakes the reader
/// assert!(site.write(&local, &"b")?.is_granted());
/// assert_eq!(site.request_vote(&local).wait(), Vote::Yes); // and commits before it
/// site.decided(&local, Outcome::Commit)?;
///
/// assert!(site.read(&second, &"b")?.is_granted()); // first → local → second
/// let vote = site.request_vote(&second);
/// assert_eq!(vote.peek(), None);
/// assert_eq!(site.blocked_by(&second), [(Gtid(1), Priority(1))]);
///
/// assert_eq!(site.request_vote(&first).wait(), Vote::Yes);
/// site.decided(&first, Outcome::Commit)?;
/// assert_eq!(vote.wait(), Vote::Yes);
/// site.decided(&second, Outcome::Commit)?;
/// assert!(site.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Eco<K> {
    site: Arc<Mutex<Site<K>>>,
}

struct Site<K> {
    roster: Roster,
    graph: Graph<K>,
}

impl<K: Ord + Clone> Eco<K> {
    /// A site without transactions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            site: Arc::new(Mutex::new(Site {
                roster: Roster::new(),
                graph: Graph::new(),
            })),
        }
    }

    /// Begins a transaction. It has to be ended by [`Eco::decided`], whatever happens.
    #[must_use]
    pub fn begin(&self, kind: Kind) -> SiteTxn {
        self.with(|site| {
            let txn = site.roster.enter(kind, State::Active);
            site.graph.insert(txn.id(), txn.is_global());
            txn
        })
    }

    /// Re-creates a global transaction that was in doubt when the site went down, with what it had read and
    /// written (an increment counts as a write): before new work begins, all of them. Everything else may be
    /// forgotten by a crash: there is no open transaction left through which an old one could gain a path.
    #[must_use]
    pub fn recover<'a>(
        &self,
        gtid: Gtid,
        priority: Priority,
        reads: impl IntoIterator<Item = &'a K>,
        writes: impl IntoIterator<Item = &'a K>,
    ) -> SiteTxn
    where
        K: 'a,
    {
        self.with(|site| {
            let kind = Kind::Global { gtid, priority };
            let txn = site.roster.enter(kind, State::Voted);
            site.graph.insert(txn.id(), true);
            for key in reads {
                site.graph.mark(txn.id(), key, Mode::Read);
            }
            for key in writes {
                site.graph.mark(txn.id(), key, Mode::Write);
            }
            site.graph.vote(txn.id());
            txn
        })
    }

    /// Asks to read `key`.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when the vote on `txn` was asked for, when it is decided, or when it belongs to
    /// another site.
    pub fn read(&self, txn: &SiteTxn, key: &K) -> Result<Access, Misuse> {
        self.access(txn, key, Mode::Read, "read")
    }

    /// Asks to write `key`: to set it or to remove it.
    ///
    /// # Errors
    /// As [`Eco::read`].
    pub fn write(&self, txn: &SiteTxn, key: &K) -> Result<Access, Misuse> {
        self.access(txn, key, Mode::Write, "write")
    }

    /// Asks to add to `key`, without looking at it: commutes with other increments.
    ///
    /// # Errors
    /// As [`Eco::read`].
    pub fn increment(&self, txn: &SiteTxn, key: &K) -> Result<Access, Misuse> {
        self.access(txn, key, Mode::Increment, "increment")
    }

    fn access(
        &self,
        txn: &SiteTxn,
        key: &K,
        mode: Mode,
        attempted: &'static str,
    ) -> Result<Access, Misuse> {
        self.with(|site| {
            if let Some(reason) = site.roster.operate(txn, attempted)? {
                return Ok(Access::Doomed(reason));
            }
            let reason = match site.graph.access(txn.id(), key, mode) {
                Ok(()) => return Ok(Access::Granted(())),
                Err(Refused::Busy(holder)) => {
                    let holder = site.roster.get(holder);
                    let holder = holder.expect("a mark that is in the way is of an undecided node");
                    return Ok(Access::Busy(holder.ending()));
                }
                Err(Refused::Cycle) => AbortReason::Cycle,
                Err(Refused::LatePath) => AbortReason::Overtaken,
            };
            site.doom(txn, reason);
            site.settle();
            Ok(Access::Doomed(reason))
        })
    }

    /// Asks for the vote on `txn`; its operations are done. Asking again returns the same vote. A YES of a
    /// global transaction must be in the site's log, with its writes *and its reads*, before it is sent. A
    /// handle of another site is answered NO.
    pub fn request_vote(&self, txn: &SiteTxn) -> VoteFuture {
        VoteFuture::new(self.with(|site| site.request(txn)))
    }

    /// `txn` is decided: call it when its effects are visible (commit) or undone (abort). Those who wait for
    /// its end, and the votes it held up, hear of it before this returns.
    ///
    /// # Errors
    /// [`Misuse::WrongState`]: commit of a transaction that has not voted, a second decision, or a handle of
    /// another site.
    pub fn decided(&self, txn: &SiteTxn, outcome: Outcome) -> Result<(), Misuse> {
        self.with(|site| {
            site.roster.may_end(txn, outcome)?;
            site.end(txn, outcome);
            Ok(())
        })
    }

    /// Dooms `txn`: it must abort. Says whether this call doomed it; a transaction that is doomed already or
    /// has voted is left alone (I3).
    pub fn doom(&self, txn: &SiteTxn, reason: AbortReason) -> bool {
        self.with(|site| {
            let doomed = site.doom(txn, reason);
            site.settle();
            doomed
        })
    }

    /// The transactions doomed since the last call. An engine asks after each of its own calls and undoes what
    /// is still undecided.
    #[must_use]
    pub fn take_doomed(&self) -> Vec<SiteTxn> {
        self.with(|site| site.roster.take_doomed())
    }

    /// The undecided global transactions that precede `txn` here, through local ones: what its withheld vote
    /// waits for.
    #[must_use]
    pub fn blocked_by(&self, txn: &SiteTxn) -> Vec<(Gtid, Priority)> {
        self.with(|site| {
            if !site.roster.is_member(txn) {
                return Vec::new();
            }
            let before = site.graph.undecided_before(txn.id());
            let kinds = before.iter().filter_map(|&id| site.roster.get(id));
            let names = kinds.filter_map(|txn| Some((txn.kind().gtid()?, txn.kind().priority())));
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names
        })
    }

    /// How many transactions are undecided.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.with(|site| site.roster.undecided())
    }

    /// How many transactions the site remembers, undecided ones included, after it has forgotten all that it
    /// may forget. Between such calls it remembers at most twice as many, and at least a few dozen.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.with(|site| {
            site.graph.forget();
            site.graph.len()
        })
    }

    /// Whether nothing is remembered (I7: so it is when nothing is undecided).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|site| site.graph.is_empty() && site.roster.undecided() == 0)
    }

    /// Runs `act` under the mutex, then tells what it left to be told (X2).
    fn with<R>(&self, act: impl FnOnce(&mut Site<K>) -> R) -> R {
        let mut site = self.site.lock();
        let result = act(&mut site);
        let notices = site.roster.take_notices();
        drop(site);
        for notice in notices {
            notice.tell();
        }
        result
    }
}

impl<K: Ord + Clone> Site<K> {
    fn request(&mut self, txn: &SiteTxn) -> Arc<Cell<Vote>> {
        let (cell, first) = self.roster.ask(txn);
        if first {
            self.settle();
        }
        cell
    }

    fn doom(&mut self, txn: &SiteTxn, reason: AbortReason) -> bool {
        let doomed = self.roster.doom(txn, reason);
        if doomed {
            self.graph.doom(txn.id());
        }
        doomed
    }

    fn end(&mut self, txn: &SiteTxn, outcome: Outcome) {
        self.roster.leave(txn, outcome);
        match outcome {
            Outcome::Abort => self.graph.remove(txn.id()),
            Outcome::Commit => {
                for overtaken in self.graph.commit(txn.id()) {
                    if let Some(overtaken) = self.roster.get(overtaken).cloned() {
                        self.doom(&overtaken, AbortReason::Overtaken);
                    }
                }
            }
        }
        self.settle();
        self.graph.forget_sometimes(self.roster.undecided());
    }

    /// Casts every withheld vote that can be cast. A NO takes a node out of the paths of others, so it looks
    /// again after one.
    fn settle(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for txn in self.roster.withheld().to_vec() {
                let verdict = if txn.is_global() {
                    self.graph.verdict(txn.id())
                } else {
                    Verdict::Yes
                };
                match verdict {
                    Verdict::Wait => {}
                    Verdict::Yes => {
                        self.graph.vote(txn.id());
                        self.roster.vote(&txn);
                    }
                    Verdict::Overtaken => {
                        again |= self.doom(&txn, AbortReason::Overtaken);
                    }
                }
            }
        }
    }
}

impl<K: Ord + Clone> Default for Eco<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Clone for Eco<K> {
    fn clone(&self) -> Self {
        Self {
            site: Arc::clone(&self.site),
        }
    }
}

impl<K> fmt::Debug for Eco<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eco").finish_non_exhaustive()
    }
}
