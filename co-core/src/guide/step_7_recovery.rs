//! # Come back from a crash
//!
//! A restart brings every transaction in doubt back under its number, with its locks, before new work begins.
//! Everything else that was undecided is gone and has aborted.
//!
//! ```
//! # #![allow(dead_code, unused_imports)]
//! # use std::collections::{BTreeMap, BTreeSet};
//! # use std::sync::Mutex;
//! #
//! # use co_core::*;
//! # #[derive(Clone)]
//! # struct Record {
//! #     priority: Priority,
//! #     reads: BTreeSet<String>,
//! #     writes: BTreeMap<String, i64>,
//! # }
//! # struct Work {
//! #     txn: Txn,
//! #     locks: LockSet,
//! #     reads: BTreeSet<String>,
//! #     writes: BTreeMap<String, i64>,
//! # }
//! # struct Store {
//! #     scheduler: Scheduler,
//! #     locks: LockTable<String>,
//! #     open: Mutex<BTreeMap<TxnId, Work>>,
//! #     data: Mutex<BTreeMap<String, i64>>,
//! #     prepared: Mutex<BTreeMap<Gtid, Record>>, // as durable as the data, and changed with it
//! # }
//! impl Store {
//! #     fn new() -> Self {
//! #         let scheduler = Scheduler::new(VoteRule::Withhold);
//! #         let locks = LockTable::new(scheduler.clone(), LockPolicy::Sco);
//! #         Self { scheduler, locks, open: Mutex::default(), data: Mutex::default(), prepared: Mutex::default() }
//! #     }
//! #     fn begin(&self, kind: Kind) -> Txn {
//! #         let txn = self.scheduler.begin(kind);
//! #         let work = Work { txn: txn.clone(), locks: self.locks.begin(&txn), reads: BTreeSet::new(), writes: BTreeMap::new() };
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
//! #         if let Kind::Global { gtid, .. } = txn.kind() {
//! #             self.prepared.lock().unwrap().remove(&gtid); // with the data, in one atomic write
//! #         }
//! #         self.scheduler.decided(txn, outcome)?;
//! #         self.locks.end(work.locks); // whoever waited for it goes on
//! #         Ok(())
//! #     }
//! #     fn clean_up(&self) {
//! #         for txn in self.scheduler.take_doomed() {
//! #             self.end(&txn, Outcome::Abort).expect("what is doomed has not voted");
//! #         }
//! #     }
//! #     fn lock(&self, txn: &Txn, key: &str, mode: LockMode) -> Result<(), AbortReason> {
//! #         let request = match self.open.lock().unwrap().get_mut(&txn.id()) {
//! #             Some(work) => self.locks.lock(&mut work.locks, &key.to_owned(), mode),
//! #             None => return Err(txn.doomed().unwrap_or(AbortReason::Requested)), // it has ended
//! #         };
//! #         self.clean_up();
//! #         match request.wait() {
//! #             Grant::Granted => Ok(()),
//! #             Grant::Aborted(reason) => Err(reason),
//! #         }
//! #     }
//! #     fn get(&self, txn: &Txn, key: &str) -> Result<i64, AbortReason> {
//! #         self.lock(txn, key, LockMode::Read)?;
//! #         let mut open = self.open.lock().unwrap();
//! #         let Some(work) = open.get_mut(&txn.id()) else {
//! #             return Err(AbortReason::Requested);
//! #         };
//! #         work.reads.insert(key.to_owned());
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
//! #     fn prepare(&self, txn: &Txn) -> Vote {
//! #         let vote = self.scheduler.request_vote(txn);
//! #         self.clean_up();
//! #         let vote = vote.wait();
//! #         if let (Vote::Yes, Kind::Global { gtid, priority }) = (vote, txn.kind()) {
//! #             let open = self.open.lock().unwrap();
//! #             let work = &open[&txn.id()];
//! #             let record =
//! #                 Record { priority, reads: work.reads.clone(), writes: work.writes.clone() };
//! #             self.prepared.lock().unwrap().insert(gtid, record); // and sync
//! #         }
//! #         vote // from here on only the coordinator's decision ends it
//! #     }
//! #     fn decide(&self, gtid: Gtid, outcome: Outcome) -> Result<(), Misuse> {
//! #         let named = |work: &&Work| matches!(work.txn.kind(), Kind::Global { gtid: g, .. } if g == gtid);
//! #         let txn = self.open.lock().unwrap().values().find(named).map(|work| work.txn.clone());
//! #         txn.map_or(Ok(()), |txn| self.end(&txn, outcome)) // a repeated decision changes nothing
//! #     }
//!     /// What a crash leaves is the data and the records.
//!     fn restart(self) -> Self {
//!         let store = Self { data: self.data, prepared: self.prepared, ..Self::new() };
//!         for (gtid, record) in store.prepared.lock().unwrap().clone() {
//!             let txn = store.scheduler.recover(gtid, record.priority);
//!             let mut locks = store.locks.begin(&txn);
//!             for key in &record.reads {
//!                 store.locks.reinstate_in(&mut locks, key, LockMode::Read);
//!             }
//!             for key in record.writes.keys() {
//!                 store.locks.reinstate_in(&mut locks, key, LockMode::Write);
//!             }
//!             let Record { reads, writes, .. } = record;
//!             store.open.lock().unwrap().insert(txn.id(), Work { txn, locks, reads, writes });
//!         }
//!         store
//!     }
//! }
//! # fn aged(age: u64) -> Kind {
//! #     Kind::Local { priority: Priority(age) }
//! # }
//! # fn global(number: u64) -> Kind {
//! #     Kind::Global { gtid: Gtid(number), priority: Priority(number) }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let store = Store::new();
//! let reader = store.begin(global(1));
//! assert_eq!(store.get(&reader, "x"), Ok(0));
//! assert_eq!(store.prepare(&reader), Vote::Yes);
//!
//! let store = store.restart();
//! let writer = store.begin(global(2));
//! assert_eq!(store.put(&writer, "x", 7), Ok(()));
//! let vote = store.scheduler.request_vote(&writer);
//! assert_eq!(vote.peek(), None); // the reader in doubt still precedes
//! store.decide(Gtid(1), Outcome::Commit)?; // the coordinator's answer
//! assert_eq!(vote.peek(), Some(Vote::Yes));
//! # store.decide(Gtid(2), Outcome::Commit)?;
//! # Ok(())
//! # }
//! ```
//!
//! Contract item 8.
