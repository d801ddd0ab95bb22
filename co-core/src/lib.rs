//! A local scheduler that releases commits in an order every site of a distributed transaction can agree on.
//!
//! Two databases that are each serializable are not serializable together: one may put T1 before T2 and the
//! other T2 before T1. Commitment ordering (Raz 1992) removes that without any exchange about conflicts: if
//! every site commits conflicting transactions in the order of their conflicts, the order of the commit
//! decisions is a serial order of all sites. This crate keeps one site's part of the bargain. The site's
//! storage engine says which transaction precedes which; the scheduler holds a transaction's vote back until
//! every transaction that precedes it there is decided. Why that suffices, and under which assumptions, is in
//! `docs/theory.md`.
//!
//! There is no I/O here, no clock, no thread and no async runtime. Keys and values stay in the engine.
//!
//! # A first program
//!
//! ```
//! use co_core::{EdgeKind, Kind, Outcome, Priority, Scheduler, Vote, VoteRule};
//!
//! # fn main() -> Result<(), co_core::Misuse> {
//! let scheduler = Scheduler::new(VoteRule::Withhold);
//! let [reader, writer] =
//!     [1, 2].map(|age| scheduler.begin(Kind::Local { priority: Priority(age) }));
//! // The engine saw `reader` read a record that `writer` then overwrote, and blocked neither.
//! scheduler.edge(&reader, &writer, EdgeKind::ReadWrite)?;
//!
//! let vote = scheduler.request_vote(&writer);
//! assert_eq!(vote.peek(), None); // the reader is undecided
//!
//! assert_eq!(scheduler.request_vote_blocking(&reader), Vote::Yes);
//! scheduler.decided(&reader, Outcome::Commit)?;
//! assert_eq!(vote.wait(), Vote::Yes);
//! scheduler.decided(&writer, Outcome::Commit)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The contract
//!
//! What an engine owes the scheduler, in the order of a transaction's life:
//!
//! 1. [`Scheduler::begin`] every transaction, and end every one by [`Scheduler::decided`], whatever happens.
//! 2. [`Scheduler::edge`] for every conflict, from *every* undecided earlier accessor and not only the last
//!    one, before the later of the two is asked to vote. [`LockTable`] and [`Validator`] do it for engines
//!    that use them.
//! 3. [`Scheduler::wait`] for every wait in a queue of the engine's own, all waits of one request, then
//!    [`Scheduler::blocked`] once: that is where deadlocks are found. [`Scheduler::unwait`] when a wait ends
//!    before the transaction that was waited for does.
//! 4. [`Scheduler::ready`] when the operations at this site are done; asking for the vote implies it.
//! 5. [`Scheduler::request_vote`], and wait: as a future, as a blocked thread, by a callback. Before a YES of
//!    a global transaction is sent, its writes *and its read marks* are in the site's log.
//! 6. [`Scheduler::decided`] when the effects are visible or undone; after it, release the locks
//!    ([`LockTable::release`]) or marks ([`Validator::retire`]). Until then a voted transaction belongs to its
//!    coordinator: nothing at the site may abort it.
//! 7. [`Scheduler::take_doomed`] after each call that may doom, and abort what it returns, so that nobody
//!    waits for a transaction whose client is idle. [`Scheduler::doom`] asks for it from outside, after a
//!    timeout for instance.
//! 8. After a restart, [`Scheduler::recover`] every transaction in doubt and restore its locks or marks
//!    before new work begins.
//!
//! In return: votes are cast in an order that all sites can agree on (I1), a voted transaction is never
//! doomed (I3), a cycle of conflicts and waits at this site is broken as soon as its last member waits, and
//! [`Scheduler::blocked_by`] tells a coordinator what a withheld vote waits for.
//!
//! # The driving loop
//!
//! One site under two-phase commit. `prepare` and `decide` are what the coordinator's messages call;
//! `clean_up` runs after every step.
//!
//! ```
//! use co_core::{
//!     AbortReason, Grant, Gtid, Kind, LockMode, LockPolicy, LockTable, Misuse, Outcome, Priority, Scheduler, Txn,
//!     Vote, VoteFuture, VoteRule,
//! };
//!
//! struct Site {
//!     scheduler: Scheduler,
//!     locks: LockTable<&'static str>,
//! }
//!
//! impl Site {
//!     fn write(&self, txn: &Txn, key: &'static str) -> Result<(), AbortReason> {
//!         match self.locks.acquire(txn, &key, LockMode::Write).wait() {
//!             Grant::Granted => Ok(()), // now change the record
//!             Grant::Aborted(reason) => Err(reason),
//!         }
//!     }
//!
//!     fn prepare(&self, txn: &Txn) -> VoteFuture {
//!         self.scheduler.request_vote(txn) // force the log before a YES leaves
//!     }
//!
//!     fn decide(&self, txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
//!         // make the effects visible, or undo them
//!         self.scheduler.decided(txn, outcome)?;
//!         self.locks.release(txn);
//!         Ok(())
//!     }
//!
//!     fn clean_up(&self) -> Result<(), Misuse> {
//!         for txn in self.scheduler.take_doomed() {
//!             if txn.state().is_undecided() {
//!                 self.decide(&txn, Outcome::Abort)?;
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Misuse> {
//! let scheduler = Scheduler::new(VoteRule::Withhold);
//! let locks = LockTable::new(scheduler.clone(), LockPolicy::Sco);
//! let site = Site { scheduler, locks };
//! let begin = |number| site.scheduler.begin(Kind::Global { gtid: Gtid(number), priority: Priority(number) });
//!
//! let (older, younger) = (begin(1), begin(2));
//! assert_eq!(site.locks.acquire(&older, &"a", LockMode::Read).wait(), Grant::Granted);
//! assert_eq!(site.write(&younger, "a"), Ok(())); // overtakes the reader; its vote will wait
//! assert_eq!(site.write(&older, "b"), Ok(()));
//!
//! let vote = site.prepare(&younger);
//! assert_eq!(site.scheduler.blocked_by(&younger), [(Gtid(1), Priority(1))]);
//! assert_eq!(site.prepare(&older).wait(), Vote::Yes);
//! site.decide(&older, Outcome::Commit)?; // the coordinator's word
//! assert_eq!(vote.wait(), Vote::Yes);
//! site.decide(&younger, Outcome::Commit)?;
//!
//! site.clean_up()?;
//! assert_eq!(site.scheduler.undecided(), 0);
//! assert!(site.locks.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Contents
//!
//! | to | use |
//! |---|---|
//! | order commits | [`Scheduler`], [`VoteRule`], [`Txn`], [`Kind`], [`EdgeKind`], [`Predecessor`] |
//! | wait for a vote | [`VoteFuture`], [`Vote`] |
//! | find conflicts by locking: SS2PL, SCO, ordered sharing | [`LockTable`], [`LockPolicy`], [`LockSet`], [`LockMode`], [`LockFuture`], [`Grant`] |
//! | say which operations commute | [`Commutativity`], [`Effect`], [`Operation`], [`TooManyOperations`] |
//! | find conflicts by validation | [`Validator`], [`Footprint`], [`WriteKind`] |
//! | find conflicts by versions, reading from snapshots | [`VersionOrder`], [`Snapshot`], [`Reading`], [`Turn`], [`Position`] |
//! | query the past without a vote | [`Queries`], [`Query`], [`Settled`], [`TooOld`], [`Clock`], [`Stamp`] |
//! | let local transactions commit out of order | [`Eco`], [`Gco`], [`Certification`], [`Reads`], [`SiteTxn`], [`Access`], [`Source`], [`Ending`], [`CommitSeq`] |
//! | name and age transactions | [`Gtid`], [`Priority`], [`TxnId`] |
//! | read what happened | [`State`], [`Outcome`], [`AbortReason`], [`Misuse`], [`Statistics`] |
#![forbid(unsafe_code)]

mod extended;
mod graph;
pub mod guide;
mod id;
mod lock;
mod order;
mod outcome;
mod sync;
mod validate;
mod versions;

pub use extended::{Access, Certification, CommitSeq, Eco, Ending, Gco, Reads, SiteTxn, Source};
pub use graph::{EdgeKind, Kind};
pub use id::{Gtid, Outcome, Priority, Stamp, TxnId};
pub use lock::{
    Commutativity, Effect, LockFuture, LockMode, LockPolicy, LockSet, LockTable, Operation,
    TooManyOperations,
};
pub use order::{Clock, Predecessor, Scheduler, Statistics, Txn, VoteFuture, VoteRule};
pub use outcome::{AbortReason, Grant, Misuse, State, Vote};
pub use validate::{Footprint, Validator, WriteKind};
pub use versions::{
    Position, Queries, Query, Reading, Settled, Snapshot, TooOld, Turn, VersionOrder,
};
