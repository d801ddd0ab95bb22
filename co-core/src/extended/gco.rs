//! Generalised commitment ordering over versions, by stamps.
//!
//! State: one mutex over the certifier ([`Site`]). What it proves is written there.

use std::fmt;

use super::certifier::Site;
use super::txn::{Access, SiteTxn};
use super::versions::{Certification, CommitSeq, Reads, Source};
use crate::graph::Kind;
use crate::id::{Gtid, Outcome, Priority};
use crate::order::VoteFuture;
use crate::outcome::{AbortReason, Misuse, State};
use crate::sync::{Arc, Mutex};

/// Generalised commitment ordering of one site with multi-version data.
///
/// The site keeps numbers, the engine keeps versions. A read is answered with the version to read
/// ([`Source`]), and never waits. Writers of a key take turns: a write that meets an undecided one of another
/// transaction is answered [`Access::Busy`]. Writes stay private until the commit, when
/// [`Gco::decided_with`] gives the number under which to install them. A read-modify-write is a read and a
/// write.
///
/// Global transactions are voted on by the order of commits: never once something that follows has committed,
/// and not while something that follows or precedes by a read is in doubt. Local transactions are certified by
/// [`Certification`].
///
/// Such sites work together with sites under any other rule of this crate that orders votes, and the whole is
/// serializable, with the global transactions in the order of their decisions. With
/// [`Certification::Interval`] it is not *strictly* serializable where local transactions are concerned: one
/// may be placed before another transaction whose commit was acknowledged before it began. With
/// [`Certification::CommitOrder`] it is.
///
/// A transaction has to be known to be local at its begin; begin it as global when in doubt. A
/// [`Kind::Query`] counts as local.
///
/// Clones share the site; every method may be called from any thread.
///
/// ```
/// use co_core::{Access, Certification, CommitSeq, Gco, Kind, Outcome, Priority, Reads, Source, Vote};
///
/// # fn main() -> Result<(), co_core::Misuse> {
/// let site = Gco::new(Reads::Snapshot, Certification::Interval);
/// let local = |age| site.begin(Kind::Local { priority: Priority(age) });
/// let (reader, writer) = (local(1), local(2));
///
/// assert!(site.read(&reader, &"x")?.is_granted());
/// assert!(site.write(&writer, &"x")?.is_granted());
/// assert_eq!(site.request_vote(&writer).wait(), Vote::Yes);
/// let mut store = Vec::new();
/// site.decided_with(&writer, Outcome::Commit, |number| store.push((number, "x", "new")))?;
/// assert_eq!(store, [(CommitSeq(1), "x", "new")]);
///
/// // The reader precedes a committed transaction. Commitment ordering would abort it.
/// let Access::Granted(source) = site.read(&reader, &"x")? else { panic!() };
/// assert_eq!(source, Source::AsOf(CommitSeq(0)));
/// assert_eq!(site.request_vote(&reader).wait(), Vote::Yes);
/// site.decided(&reader, Outcome::Commit)?;
/// assert!(site.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Gco<K> {
    site: Arc<Mutex<Site<K>>>,
}

impl<K: Ord + Clone> Gco<K> {
    /// A site without transactions, at commit number 0.
    #[must_use]
    pub fn new(reads: Reads, certification: Certification) -> Self {
        Self {
            site: Arc::new(Mutex::new(Site::new(reads, certification))),
        }
    }

    /// Begins a transaction. It has to be ended by [`Gco::decided`], whatever happens.
    #[must_use]
    pub fn begin(&self, kind: Kind) -> SiteTxn {
        self.with(|site| site.enter(kind, State::Active))
    }

    /// Re-creates a global transaction that was in doubt when the site went down, with what it had read and
    /// written: before new work begins, all of them. The engine's newest versions count as number 0.
    ///
    /// Until it is decided, a local transaction that reads what it is about to replace, and anything else of
    /// unknown age, is refused: the site cannot tell any more what was committed before its vote.
    ///
    /// # Panics
    /// When two of them are said to have written one key: no log of a site under this rule says so.
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
        self.with(|site| site.recover(Kind::Global { gtid, priority }, reads, writes))
    }

    /// Asks to read `key`; says which version. Asking again names the same version, unless `txn` has written
    /// the key since.
    ///
    /// # Errors
    /// [`Misuse::WrongState`] when the vote on `txn` was asked for, when it is decided, or when it belongs to
    /// another site.
    pub fn read(&self, txn: &SiteTxn, key: &K) -> Result<Access<Source>, Misuse> {
        self.with(|site| {
            if let Some(reason) = site.roster.operate(txn, "read")? {
                return Ok(Access::Doomed(reason));
            }
            Ok(Access::Granted(site.read(txn.id(), key)))
        })
    }

    /// Asks to write `key`: to set it or to remove it. Once this is granted `txn` may look at the newest
    /// committed value of the key without asking: nobody else can replace it, and the write alone places `txn`
    /// behind it.
    ///
    /// # Errors
    /// As [`Gco::read`].
    pub fn write(&self, txn: &SiteTxn, key: &K) -> Result<Access, Misuse> {
        self.with(|site| {
            if let Some(reason) = site.roster.operate(txn, "write")? {
                return Ok(Access::Doomed(reason));
            }
            Ok(site.write(txn, key))
        })
    }

    /// Asks for the vote on `txn`; its operations are done. Asking again returns the same vote. A YES of a
    /// global transaction must be in the site's log, with its writes *and its reads*, before it is sent. A
    /// handle of another site is answered NO.
    pub fn request_vote(&self, txn: &SiteTxn) -> VoteFuture {
        VoteFuture::new(self.with(|site| site.request(txn)))
    }

    /// `txn` is decided, and the engine has nothing to install under the commit's number.
    ///
    /// # Errors
    /// [`Misuse::WrongState`]: commit of a transaction that has not voted, a second decision, or a handle of
    /// another site.
    pub fn decided(&self, txn: &SiteTxn, outcome: Outcome) -> Result<(), Misuse> {
        self.decided_with(txn, outcome, |_| {})
    }

    /// `txn` is decided. On a commit `install` is called with its number, before anybody is told to read at
    /// this number: it makes the versions readable. It runs under the site's mutex and must not call back. If it
    /// panics, nothing was decided.
    ///
    /// # Errors
    /// As [`Gco::decided`]; `install` was not called then.
    pub fn decided_with(
        &self,
        txn: &SiteTxn,
        outcome: Outcome,
        install: impl FnOnce(CommitSeq),
    ) -> Result<(), Misuse> {
        self.with(|site| {
            site.roster.may_end(txn, outcome)?;
            if outcome == Outcome::Commit {
                install(CommitSeq(site.commits + 1));
            }
            site.end(txn, outcome);
            Ok(())
        })
    }

    /// Dooms `txn`: it must abort. Says whether this call doomed it; a transaction that is doomed already or
    /// has voted is left alone (I3).
    pub fn doom(&self, txn: &SiteTxn, reason: AbortReason) -> bool {
        self.with(|site| site.roster.doom(txn, reason))
    }

    /// The transactions doomed since the last call. An engine asks after each of its own calls and undoes what
    /// is still undecided.
    #[must_use]
    pub fn take_doomed(&self) -> Vec<SiteTxn> {
        self.with(|site| site.roster.take_doomed())
    }

    /// The global transactions that the withheld vote on `txn` waits for here: those in doubt that it precedes
    /// or follows by a read.
    #[must_use]
    pub fn blocked_by(&self, txn: &SiteTxn) -> Vec<(Gtid, Priority)> {
        self.with(|site| {
            if !site.roster.is_member(txn) {
                return Vec::new();
            }
            let names = site.in_doubt_around(txn.id()).into_iter().filter_map(|id| {
                let kind = site.roster.get(id)?.kind();
                Some((kind.gtid()?, kind.priority()))
            });
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            names.dedup();
            names
        })
    }

    /// How many transactions are undecided.
    #[must_use]
    pub fn undecided(&self) -> usize {
        self.with(|site| site.roster.undecided())
    }

    /// How many versions the site remembers, after it has forgotten all that it may forget.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.with(|site| {
            site.sweep(true);
            site.chains.versions()
        })
    }

    /// Whether nothing is remembered (I7: so it is when nothing is undecided).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.with(|site| {
            site.chains.is_empty() && site.footprints.is_empty() && site.roster.undecided() == 0
        })
    }

    /// The number that the oldest undecided reader reads at. A version that was replaced under this number or
    /// before it is read by nobody any more, and the engine may drop it.
    #[must_use]
    pub fn oldest_read(&self) -> CommitSeq {
        self.with(|site| CommitSeq(site.oldest()))
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

impl<K> Clone for Gco<K> {
    fn clone(&self) -> Self {
        Self {
            site: Arc::clone(&self.site),
        }
    }
}

impl<K> fmt::Debug for Gco<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gco").finish_non_exhaustive()
    }
}
