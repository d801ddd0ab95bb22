//! # See whether it holds
//!
//! The workspace has a kit, the crate `conformance`, that judges a store from outside. Implement its trait
//! `Engine` over the store, seven small calls, and it is driven with textbook schedules, over two sites with
//! the kit as their coordinator, with crashes, and with random schedules on one thread and on several; an
//! independent checker judges the histories. Three stores that pass it, an in-memory map among them, are in
//! `examples/embeddings`, made to be copied:
//!
//! ```sh
//! cargo run -p embeddings --bin embeddings -- --engine map
//! cargo run -p embeddings --bin embeddings -- --engine redb --only crash
//! ```
//!
//! The store of this guide is not yet one to keep: it scans no ranges
//! ([`LockTable::lock_range`](crate::LockTable::lock_range)), blocks its thread where the kit expects a future
//! (await [`LockFuture`](crate::LockFuture) and [`VoteFuture`](crate::VoteFuture) instead), and its disk is a
//! map.
