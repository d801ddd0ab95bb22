//! # Begin and end
//!
//! Every transaction begins at the [`Scheduler`](crate::Scheduler) and ends there, by
//! [`Scheduler::decided`](crate::Scheduler::decided), whatever happens to it. The store keeps what belongs to
//! it in between. The order of the three steps of an end matters: first the effects are visible or undone, then
//! the scheduler hears of it, then (from step 3 on) the locks go. A commit needs a vote; who has no predecessor
//! votes at once.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # use std::collections::{BTreeMap, BTreeSet};
//! # use std::sync::Mutex;
//! #
//! # use co_core::*;
//! struct Work {
//!     txn: Txn,
//!     writes: BTreeMap<String, i64>,
//! }
//!
//! struct Store {
//!     scheduler: Scheduler,
//!     open: Mutex<BTreeMap<TxnId, Work>>,
//!     data: Mutex<BTreeMap<String, i64>>,
//! }
//!
//! impl Store {
//! #     fn new() -> Self {
//! #         let scheduler = Scheduler::new(VoteRule::Withhold);
//! #         Self { scheduler, open: Mutex::default(), data: Mutex::default() }
//! #     }
//!     fn begin(&self, kind: Kind) -> Txn {
//!         let txn = self.scheduler.begin(kind);
//!         let work = Work { txn: txn.clone(), writes: BTreeMap::new() };
//!         self.open.lock().unwrap().insert(txn.id(), work);
//!         txn
//!     }
//!
//!     fn end(&self, txn: &Txn, outcome: Outcome) -> Result<(), Misuse> {
//!         let state = txn.state();
//!         if outcome == Outcome::Commit && state != State::Voted {
//!             return Err(Misuse::WrongState { state, attempted: "commit" });
//!         }
//!         let Some(work) = self.open.lock().unwrap().remove(&txn.id()) else {
//!             return Ok(()); // it has ended before
//!         };
//!         if outcome == Outcome::Commit {
//!             self.data.lock().unwrap().extend(work.writes);
//!         }
//!         self.scheduler.decided(txn, outcome)?;
//!         Ok(())
//!     }
//! }
//! # fn aged(age: u64) -> Kind {
//! #     Kind::Local { priority: Priority(age) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let store = Store::new();
//! let txn = store.begin(Kind::Local { priority: Priority(1) }); // the lower, the older
//! assert_eq!(store.scheduler.request_vote_blocking(&txn), Vote::Yes);
//! store.end(&txn, Outcome::Commit)?;
//! assert_eq!(store.scheduler.undecided(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! Contract items 1 and 6.
