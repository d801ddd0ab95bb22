//! The augmented conflict graph of one site, restricted to undecided transactions.
//!
//! A node is an undecided transaction. An edge a → b says *a must end before b can vote*. It is either
//! materialized (an operation of a conflicts with a later one of b) or not (b waits for a, in a lock
//! queue for instance). Both kinds are kept in one structure, so one search sees serialization cycles
//! and lock deadlocks alike (`docs/theory.md`; Raz 2009, "augmented conflict graph").
//!
//! There is no lock over the graph. Each node has one word and three short lists, most of them never used;
//! the word says which are, so that a transaction nobody conflicts with takes no lock at all:
//!
//! | field          | who touches it                                             | holding            |
//! |----------------|------------------------------------------------------------|--------------------|
//! | `word`         | everybody, by compare-and-swap                             | nothing            |
//! | `successors`   | whoever adds an edge *from* the node; the decision          | its mutex          |
//! | `predecessors` | whoever adds an edge *to* the node; its decision; reports   | its mutex (leaf)   |
//! | `waiting`      | whoever starts or ends a wait of the node                   | its mutex (leaf)   |
//!
//! Lock order: `successors` of one node, then `predecessors` of one node. No two `successors` locks are
//! ever held together, and nothing of the embedder runs under any of them.
//!
//! Invariants:
//! - G1 `word` packs the state, the abort reason and the number of pending predecessors, so *"no
//!   predecessor is undecided"* and *"the vote is YES"* are one compare-and-swap: an edge that comes in
//!   at the same instant is either counted before the vote or sees that the vote is cast.
//! - G2 A decided node's `successors` take nothing any more: the word says that it is decided, and whoever
//!   adds looks at the word while holding the list's lock. Every entry of the list stands for exactly one
//!   count in the successor's `pending`.
//! - G3 A voted node has no pending predecessor (the voted nodes form an antichain), so it is on no
//!   cycle and is never a victim.
//! - G4 Edges among undecided transactions only grow, except when a node leaves; so a cycle that a search
//!   has seen is there until one of its nodes is doomed or decided.
//! - G5 Nodes that have edges stand in a total order, and every edge against it is counted before it can be
//!   seen and until it is gone. A cycle contains one; so without any nobody searches.

mod cycle;
mod edge;
mod node;

pub use edge::EdgeKind;
pub(crate) use edge::{EdgeEffect, Tie, Turns, add_edge, remove_wait};
pub use node::Kind;
pub(crate) use node::{Ended, Node, Released};

pub(crate) use cycle::{chain_length, find_cycle, is_alive};
