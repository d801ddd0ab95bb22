//! A lock table for keys and key ranges, with the cells of strong strict two-phase locking and of strict
//! commitment ordering. The two differ in one cell of the compatibility matrix (§2.3; Raz, DEC-TR 844):
//!
//! | held \ requested | Read  | Write                                   | Increment                        |
//! |------------------|-------|-----------------------------------------|----------------------------------|
//! | Read             | grant | SS2PL: wait. SCO: grant, holder → requester | SS2PL: wait. SCO: as for Write |
//! | Write            | wait  | wait                                    | wait                             |
//! | Increment        | wait  | wait                                    | grant                            |
//!
//! Locks are held until their transaction is decided. A request waits for every earlier request that is
//! incompatible with it, holders and waiters alike, so the table is fair without re-examining queues: a
//! request is granted when the last transaction it waits for is decided. Every such wait is an edge of the
//! augmented conflict graph, so a deadlock is a cycle there.
//!
//! Invariants:
//! - L1 Two incompatible requests of different transactions on overlapping keys are never both granted.
//! - L2 `blocked_by` of a waiting request names exactly the transactions that hold, or asked earlier for,
//!   something incompatible and have not released; it is empty when the request is granted.
//! - L3 A transaction that holds a lock on a key does not wait for those that wait for it there: its
//!   further requests pass them (an upgrade would otherwise deadlock with its own waiters).
//! - L4 A request on a key works under the shared latch of `scans` and the mutex of the key's shard, a
//!   request on a range under the exclusive latch: so a key request and a range request see each other.
//! - L5 Waiters are told after all mutexes of the table are released.

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
