//! # Ask for the vote, and wait
//!
//! When the operations are done, ask for the vote. It is cast when no transaction that precedes is undecided,
//! and until then it is *withheld*. [`VoteFuture`](crate::VoteFuture) is a future, can be waited for by a
//! thread, and can be looked at. A local transaction votes and decides in one step.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # use std::collections::{BTreeMap, BTreeSet};
//! # use std::sync::Mutex;
//! #
//! # use co_core::*;
//! # struct Work {
//! #     txn: Txn,
//! #     locks: LockSet,
//! #     writes: BTreeMap<String, i64>,
//! # }
//! # struct Store {
//! #     scheduler: Scheduler,
//! #     locks: LockTable<String>,
//! #     open: Mutex<BTreeMap<TxnId, Work>>,
//! #     data: Mutex<BTreeMap<String, i64>>,
//! # }
//! impl Store {
//! #     fn new() -> Self {
//! #         let scheduler = Scheduler::new(VoteRule::Withhold);
//! #         let locks = LockTable::new(scheduler.clone(), LockPolicy::Sco);
//! #         Self { scheduler, locks, open: Mutex::default(), data: Mutex::default() }
//! #     }
//! #     fn begin(&self, kind: Kind) -> Txn {
//! #         let txn = self.scheduler.begin(kind);
//! #         let work = Work { txn: txn.clone(), locks: self.locks.begin(&txn), writes: BTreeMap::new() };
//! #         self.open.lock().unwrap().insert(txn.id(), work);
//! #         txn
//! #     }
//! #     fn end(&self, txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
//! #         let state = txn.state();
//! #         if outcome == Outcome::Commit && state != State::Voted {
//! #             return Err(Misuse::WrongState { state, attempted: "commit" });
//! #         }
//! #         let Some(work) = self.open.lock().unwrap().remove(&txn.id()) else {
//! #             return Ok(()); // it has ended before
//! #         };
//! #         if outcome == Outcome::Commit {
//! #             self.data.lock().unwrap().extend(work.writes);
//! #         }
//! #         self.scheduler.decided(txn, outcome)?;
//! #         self.locks.end(work.locks); // whoever waited for it goes on
//! #         Ok(())
//! #     }
//! #     fn lock(&self, txn: &Txn, key: &str, mode: LockMode) -> Result<(), AbortReason> {
//! #         let request = match self.open.lock().unwrap().get_mut(&txn.id()) {
//! #             Some(work) => self.locks.lock(&mut work.locks, &key.to_owned(), mode),
//! #             None => return Err(txn.doomed().unwrap_or(AbortReason::Requested)), // it has ended
//! #         };
//! #         match request.wait() {
//! #             Grant::Granted => Ok(()),
//! #             Grant::Aborted(reason) => Err(reason),
//! #         }
//! #     }
//! #     fn get(&self, txn: &Txn, key: &str) -> Result<i64, AbortReason> {
//! #         self.lock(txn, key, LockMode::Read)?;
//! #         let open = self.open.lock().unwrap();
//! #         let Some(work) = open.get(&txn.id()) else {
//! #             return Err(AbortReason::Requested);
//! #         };
//! #         let own = work.writes.get(key).copied();
//! #         Ok(own.or_else(|| self.data.lock().unwrap().get(key).copied()).unwrap_or(0))
//! #     }
//! #     fn put(&self, txn: &Txn, key: &str, value: i64) -> Result<(), AbortReason> {
//! #         self.lock(txn, key, LockMode::Write)?;
//! #         if let Some(work) = self.open.lock().unwrap().get_mut(&txn.id()) {
//! #             work.writes.insert(key.to_owned(), value); // private until the commit
//! #         }
//! #         Ok(())
//! #     }
//!     fn commit(&self, txn: &Txn) -> Result<(), AbortReason> {
//!         let vote = self.scheduler.request_vote(txn);
//!         let (outcome, answer) = match vote.wait() {
//!             Vote::Yes => (Outcome::Commit, Ok(())),
//!             Vote::No(reason) => (Outcome::Abort, Err(reason)),
//!         };
//!         self.end(txn, outcome).expect("it has voted, or it aborts");
//!         answer
//!     }
//! }
//! # fn aged(age: u64) -> Kind {
//! #     Kind::Local { priority: Priority(age) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let store = Store::new();
//! let [reader, writer] = [1, 2].map(|age| store.begin(aged(age)));
//! assert_eq!(store.get(&reader, "x"), Ok(0));
//! assert_eq!(store.put(&writer, "x", 7), Ok(()));
//!
//! let vote = store.scheduler.request_vote(&writer);
//! assert_eq!(vote.peek(), None); // the reader precedes, and is undecided
//! assert_eq!(store.commit(&reader), Ok(()));
//! assert_eq!(vote.peek(), Some(Vote::Yes));
//! assert_eq!(store.commit(&writer), Ok(())); // asked again, the vote is the same
//! # Ok(())
//! # }
//! ```
//!
//! Contract items 4 and 5. This is all of commitment ordering: who precedes, commits first.
