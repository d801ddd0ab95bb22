//! # Find conflicts
//!
//! The scheduler orders what it is told about. The simplest way to tell it is a
//! [`LockTable`](crate::LockTable): every access asks for a lock first, and every conflict of two undecided
//! transactions becomes an edge of the scheduler's graph by itself. The locks of a transaction are its
//! [`LockSet`](crate::LockSet).
//!
//! With [`LockPolicy::Sco`](crate::LockPolicy::Sco) a write does not wait for readers: it overtakes them, and
//! the writer's vote will wait instead. This store keeps writes private until the commit, so whoever was
//! overtaken still reads the value before.
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
//!     fn lock(&self, txn: &Txn, key: &str, mode: LockMode) -> Result<(), AbortReason> {
//!         let request = match self.open.lock().unwrap().get_mut(&txn.id()) {
//!             Some(work) => self.locks.lock(&mut work.locks, &key.to_owned(), mode),
//!             None => return Err(txn.doomed().unwrap_or(AbortReason::Requested)), // it has ended
//!         };
//!         match request.wait() {
//!             Grant::Granted => Ok(()),
//!             Grant::Aborted(reason) => Err(reason),
//!         }
//!     }
//!
//!     fn get(&self, txn: &Txn, key: &str) -> Result<i64, AbortReason> {
//!         self.lock(txn, key, LockMode::Read)?;
//!         let open = self.open.lock().unwrap();
//!         let Some(work) = open.get(&txn.id()) else {
//!             return Err(AbortReason::Requested);
//!         };
//!         let own = work.writes.get(key).copied();
//!         Ok(own.or_else(|| self.data.lock().unwrap().get(key).copied()).unwrap_or(0))
//!     }
//!
//!     fn put(&self, txn: &Txn, key: &str, value: i64) -> Result<(), AbortReason> {
//!         self.lock(txn, key, LockMode::Write)?;
//!         if let Some(work) = self.open.lock().unwrap().get_mut(&txn.id()) {
//!             work.writes.insert(key.to_owned(), value); // private until the commit
//!         }
//!         Ok(())
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
//! assert_eq!(store.put(&writer, "x", 7), Ok(())); // does not wait
//! assert_eq!(store.get(&reader, "x"), Ok(0)); // nor does the reader
//! # store.end(&reader, Outcome::Abort)?;
//! # store.end(&writer, Outcome::Abort)?;
//! # Ok(())
//! # }
//! ```
//!
//! Contract item 2. An engine that validates instead of locking uses [`Validator`](crate::Validator), one with
//! versions [`VersionOrder`](crate::VersionOrder); see [`step_9_variants`](super::step_9_variants).
