//! A lock table for keys and key ranges, with the cells of strong strict two-phase locking, of strict commitment
//! ordering and of ordered sharing (§2.3, §2.4; Raz, DEC-TR 844; Agrawal, El Abbadi, Lang 1994). For the built-in
//! operations:
//!
//! | held \ requested | Read                                  | Write                                    | Increment    |
//! |------------------|---------------------------------------|------------------------------------------|--------------|
//! | Read             | grant                                 | SS2PL: wait. SCO, shared: holder → requester | as for Write |
//! | Write            | wait; shared: reads what is undecided | wait; shared: holder → requester         | as for Write |
//! | Increment        | wait; shared: reads what is undecided | wait; shared: holder → requester         | grant        |
//!
//! Locks are held until their transaction is decided. A request waits for every earlier request that is
//! incompatible with it, holders and waiters alike, and one that could pass a waiter only because their holders
//! can be overtaken stays behind it all the same; so the table is fair. Every wait is an edge of the augmented
//! conflict graph, so a deadlock is a cycle there.
//!
//! Who holds a key is noted by name only, in [`queue`]; the registry of the scheduler finds the transaction when
//! somebody else asks. Most keys are locked and released without anybody asking.
//!
//! Invariants:
//! - L1 Two requests of different transactions on overlapping keys whose cell says *wait* are never both granted.
//! - L2 `blocked_by` of a waiting request names exactly the transactions it has to outwait and that have not
//!   released; a request that names nobody is granted.
//! - L3 A transaction that holds a lock on a key does not wait for those that wait for it there: its
//!   further requests pass them (an upgrade would otherwise deadlock with its own waiters), and go before them in
//!   the queue.
//! - L4 A request on a key works under the mutex of the key's stripe, a request on a range under those of all
//!   stripes: so of a key request and a range request one sees the other. The list of ranges has a mutex of its
//!   own, taken after those; their number is raised under all stripes, so whoever holds one and reads zero need
//!   not look.
//! - L5 Waiters are told after all mutexes of the table are released.
//! - L6 Under ordered sharing a queue is in the order of the accesses: nothing is ordered after a request that was
//!   granted late before its owner shows, by asking for something else, that it has made the access.

mod future;
mod matrix;
mod queue;
mod range;
mod set;
mod table;

pub use future::LockFuture;
pub use matrix::{Commutativity, Effect, LockMode, LockPolicy, Operation, TooManyOperations};
pub use set::LockSet;
pub use table::LockTable;
