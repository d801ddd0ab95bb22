//! The kit that shows whether a storage engine keeps its part of the bargain with co-core: schedules in,
//! verdict out.
//!
//! An engine's author implements [`Engine`] over the engine, seven small calls, and hands [`run`] a
//! function that opens stores. The kit drives them with textbook schedules, with transactions over two
//! sites whose coordinator it is, with crashes, and with random schedules on one thread and on several. It
//! judges from outside: every write carries a value of its own, so what a read returns says whose write it
//! saw, and the `checker` crate, which shares no code with co-core or with the kit's driver, judges the
//! recorded histories of all sites together.
//!
//! An engine may delay and abort as it likes; what commits has to be commitment ordered over all sites,
//! nobody may wait without a reason, and nothing may be left behind. An engine of a known [`Class`] is held
//! to the exact behaviour of the class as well. A failing engine gets a [`Report`] that says what was
//! seen and what to look at next; the kit does not panic.
//!
//! # An engine, whole
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Mutex;
//!
//! use co_core::{
//!     Grant, LockMode, LockPolicy, LockTable, Misuse, Outcome, Scheduler, State, Txn, TxnId, Vote, VoteRule,
//! };
//! use conformance::{Answer, Class, Engine, Key, Options, Refusal, Value, run};
//!
//! struct Tiny {
//!     scheduler: Scheduler,
//!     locks: LockTable<Key>,
//!     data: Mutex<BTreeMap<Key, Value>>,
//!     work: Mutex<BTreeMap<TxnId, BTreeMap<Key, Option<Value>>>>,
//! }
//!
//! impl Tiny {
//!     fn new() -> Self {
//!         let scheduler = Scheduler::new(VoteRule::Withhold);
//!         let locks = LockTable::new(scheduler.clone(), LockPolicy::Ss2pl);
//!         Self { scheduler, locks, data: Mutex::default(), work: Mutex::default() }
//!     }
//!
//!     fn seen(&self, txn: &Txn) -> BTreeMap<Key, Value> {
//!         let mut rows = self.data.lock().unwrap().clone();
//!         for (key, value) in self.work.lock().unwrap().get(&txn.id()).into_iter().flatten() {
//!             match value {
//!                 Some(value) => rows.insert(key.clone(), value.clone()),
//!                 None => rows.remove(key),
//!             };
//!         }
//!         rows
//!     }
//! }
//!
//! fn granted(grant: Grant) -> Answer<()> {
//!     match grant {
//!         Grant::Granted => Ok(()),
//!         Grant::Aborted(reason) => Err(Refusal::Aborted(reason)),
//!     }
//! }
//!
//! impl Engine for Tiny {
//!     fn scheduler(&self) -> &Scheduler {
//!         &self.scheduler
//!     }
//!
//!     async fn read(&self, txn: &Txn, key: &[u8]) -> Answer<Option<Value>> {
//!         granted(self.locks.acquire(txn, &key.to_vec(), LockMode::Read).await)?;
//!         Ok(self.seen(txn).get(key).cloned())
//!     }
//!
//!     async fn write(&self, txn: &Txn, key: &[u8], value: Option<&[u8]>) -> Answer<()> {
//!         granted(self.locks.acquire(txn, &key.to_vec(), LockMode::Write).await)?;
//!         let mut work = self.work.lock().unwrap();
//!         work.entry(txn.id()).or_default().insert(key.to_vec(), value.map(<[u8]>::to_vec));
//!         Ok(())
//!     }
//!
//!     async fn scan(&self, txn: &Txn, low: &[u8], high: Option<&[u8]>) -> Answer<Vec<(Key, Value)>> {
//!         let bounds = (low.to_vec(), high.map(<[u8]>::to_vec));
//!         granted(self.locks.acquire_range(txn, &bounds.0, bounds.1.as_ref()).await)?;
//!         let inside = |key: &Key| low <= key.as_slice() && high.is_none_or(|high| key.as_slice() < high);
//!         Ok(self.seen(txn).into_iter().filter(|(key, _)| inside(key)).collect())
//!     }
//!
//!     async fn request_vote(&self, txn: &Txn) -> Answer<()> {
//!         match self.scheduler.request_vote(txn).await {
//!             Vote::Yes => Ok(()),
//!             Vote::No(reason) => Err(Refusal::Aborted(reason)),
//!         }
//!     }
//!
//!     fn decide(&self, txn: &Txn, outcome: Outcome) -> Answer<()> {
//!         let state = txn.state();
//!         if !state.is_undecided() || (outcome == Outcome::Commit && state != State::Voted) {
//!             return Err(Misuse::WrongState { state, attempted: "decide" }.into());
//!         }
//!         if outcome == Outcome::Commit {
//!             let rows = self.seen(txn);
//!             *self.data.lock().unwrap() = rows;
//!         }
//!         self.work.lock().unwrap().remove(&txn.id());
//!         self.scheduler.decided(txn, outcome)?;
//!         self.locks.release(txn);
//!         Ok(())
//!     }
//!
//!     fn is_idle(&self) -> bool {
//!         self.locks.is_empty() && self.work.lock().unwrap().is_empty()
//!     }
//! }
//!
//! let options = Options { class: Some(Class::Rigorous), transactions: 50, threads: 0, ..Options::named("tiny") };
//! let report = run(|_place| Ok(Tiny::new()), options);
//! assert!(report.passed(), "{report}");
//! ```
//!
//! # Where things are
//!
//! [`Engine`], [`Refusal`] and [`Place`] are the engine's side; [`run`], [`Options`] and [`Report`] the
//! caller's. How often the kit prints, and in which colours, is the caller's: [`Options::progress`],
//! [`Report::coloured`], [`Report::to_json`].
#![forbid(unsafe_code)]

mod cases;
mod cluster;
mod context;
mod engine;
mod judge;
mod log;
mod notation;
mod options;
mod outcome;
mod report;
mod runner;
mod tape;

pub use engine::{Answer, Engine, Key, Place, Refusal, Value};
pub use options::{Class, Options, Progress};
pub use report::{CaseReport, Coloured, Finding, Report, Verdict};
pub use runner::run;
