//! # Which variant
//!
//! | your engine | use | what waits | what aborts |
//! |---|---|---|---|
//! | locks, and is to behave as locking engines do | [`LockPolicy::Ss2pl`](crate::LockPolicy::Ss2pl) | every conflicting access | deadlocks |
//! | locks, with long readers beside writers | [`LockPolicy::Sco`](crate::LockPolicy::Sco) | accesses to what is being written; votes for readers | cycles |
//! | has one hot record, short transactions, few aborts | [`LockPolicy::OrderedSharing`](crate::LockPolicy::OrderedSharing) | votes only, up to the bound of the chain | cycles, and who read what aborted |
//! | has increments or sets | any of them with a [`Commutativity`](crate::Commutativity) | what does not commute | as above |
//! | validates at the end | [`Validator`](crate::Validator) | votes, while others are in doubt | stale reads |
//! | keeps versions | [`VersionOrder`](crate::VersionOrder) and [`Queries`](crate::Queries) | votes; a reader its turn | who read what was replaced |
//! | has mostly local transactions, one version | [`Eco`](crate::Eco) in place of the scheduler | votes of global ones | locals that would link global ones against their order |
//! | the same, with versions | [`Gco`](crate::Gco) | votes of global ones | locals without a place between others |
//!
//! When in doubt take `Sco`. All of them work together: sites of different variants are serializable with each
//! other, for each keeps its own part. What each guarantees, and which test shows it, is the first table of
//! `docs/theory.md`.
//!
//! A read-only transaction over a snapshot of all sites is a query (step 8), whatever the others use.
