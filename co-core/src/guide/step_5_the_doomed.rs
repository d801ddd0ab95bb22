//! # Abort and clean up
//!
//! Two transactions that wait for each other are a cycle, and the scheduler dooms the younger one as soon as
//! the cycle is closed. Its client may be idle at that moment and not hear of it, while others wait for its
//! locks. So after each call that may doom, take what was doomed and abort it: before waiting, not after.
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
//!     fn clean_up(&self) {
//!         for txn in self.scheduler.take_doomed() {
//!             self.end(&txn, Outcome::Abort).expect("what is doomed has not voted");
//!         }
//!     }
//!
//!     fn lock(&self, txn: &Txn, key: &str, mode: LockMode) -> Result<(), AbortReason> {
//!         let request = match self.open.lock().unwrap().get_mut(&txn.id()) {
//!             Some(work) => self.locks.lock(&mut work.locks, &key.to_owned(), mode),
//!             None => return Err(txn.doomed().unwrap_or(AbortReason::Requested)), // it has ended
//!         };
//!         self.clean_up();
//!         match request.wait() {
//!             Grant::Granted => Ok(()),
//!             Grant::Aborted(reason) => Err(reason),
//!         }
//!     }
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
//! #     fn commit(&self, txn: &Txn) -> Result<(), AbortReason> {
//! #         let vote = self.scheduler.request_vote(txn);
//! #         self.clean_up();
//! #         let (outcome, answer) = match vote.wait() {
//! #             Vote::Yes => (Outcome::Commit, Ok(())),
//! #             Vote::No(reason) => (Outcome::Abort, Err(reason)),
//! #         };
//! #         self.end(txn, outcome).expect("it has voted, or it aborts");
//! #         answer
//! #     }
//! }
//! # fn aged(age: u64) -> Kind {
//! #     Kind::Local { priority: Priority(age) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let store = Store::new();
//! let [older, younger] = [1, 2].map(|age| store.begin(aged(age)));
//! for txn in [&older, &younger] {
//!     assert_eq!(store.get(txn, "x"), Ok(0)); // both are about to add one to it
//! }
//! assert_eq!(store.put(&younger, "x", 1), Ok(())); // after the older one, who read
//! assert_eq!(store.put(&older, "x", 1), Ok(())); // a cycle: the idle younger one is aborted
//! assert_eq!(younger.doomed(), Some(AbortReason::Cycle));
//! assert_eq!(store.put(&younger, "y", 1), Err(AbortReason::Cycle)); // its client begins anew
//! assert_eq!(store.commit(&older), Ok(()));
//! # Ok(())
//! # }
//! ```
//!
//! Contract items 3 and 7. `commit` of step 4 cleans up in the same place, between asking and waiting.
