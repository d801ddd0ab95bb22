//! Invariant confluence, decided by search: which transactions may commit at a replica without asking the others, and
//! still no merge of replicas ever breaks an invariant.
//!
//! Source: Bailis, Fekete, Franklin, Ghodsi, Hellerstein and Stoica, "Coordination Avoidance in Database Systems",
//! definitions 1 to 6. An [`Application`] is a set of database states with a merge, transactions, and an invariant;
//! [`decide()`] runs the transactions at a few replicas in every order, lets the replicas exchange their states at every
//! moment, and looks for two valid states whose merge is not valid.
//!
//! # What is searched
//!
//! A *situation* is one state for each replica. At first all replicas hold the same initial state. Then, in any order,
//! a replica runs a transaction (which commits unless it aborts itself or would break the invariant on that replica's
//! own state: definition 2), or receives the state of another replica and merges it. Any two states that two replicas
//! hold at once are valid, are I-T-reachable and have a common I-T-reachable ancestor; definition 6 wants their merge
//! to be valid. A replica's own transactions follow one another, so that an identifier that a replica composes of its
//! own number and a count is indeed unique.
//!
//! # Invariants
//!
//! - **I1** A *yes* is given only if every situation within the [`Bounds`] was visited: at the cap the verdict is
//!   [`Verdict::Unknown`].
//! - **I2** A *no* carries a [`Witness`] with the fewest transactions of all witnesses within the bounds.
//! - **I3** No verdict is given over a merge that is seen not to be a join (commutative, idempotent and absorbing on all
//!   pairs that were merged, associative on triples of some states spread over those that were met), or over a transaction
//!   that takes something away from the state: that is [`Verdict::Breach`].
//! - **I4** Equal input gives equal output, to the letter.
//!
//! # Where things are
//!
//! [`Model`] makes an application of closures; [`lattice`] has states to make it of. [`table`] decides the rows of the
//! paper's Table 2 and the twelve consistency conditions of TPC-C (its Table 3).
//!
//! ```
//! use checker::spec::confluence::lattice::Counters;
//! use checker::spec::confluence::{Bounds, Model, Verdict, decide};
//!
//! let mut start = Counters::default();
//! start.add("stock", checker::spec::confluence::ReplicaId::INITIAL, 1);
//! let model = Model::new(start)
//!     .update("sell one", |stock: &mut Counters<&'static str>, at| stock.add("stock", at, -1))
//!     .invariant("stock is never below 0", |stock| stock.value(&"stock") >= 0);
//!
//! let Verdict::NotConfluent { witness, .. } = decide(&model, &Bounds::default()) else {
//!     panic!("two replicas can both sell the last one");
//! };
//! assert_eq!(witness.transactions, 2);
//! ```

mod application;
mod bounds;
mod catalogue;
mod decide;
mod enforced;
pub mod lattice;
mod laws;
mod model;
mod table2;
pub mod tpcc;
mod verdict;
mod witness;

pub use application::{Application, Outcome, ReplicaId, Semilattice, commit};
pub use bounds::{Bounds, BoundsError, MAX_REPLICAS};
pub use catalogue::{About, Claim, RowResult, Source, Visitor, table, visit_rows};
pub use decide::decide;
pub use enforced::{Answer, Converged, Enforced};
pub use model::Model;
pub use verdict::{Breach, Coverage, Law, TransactionUse, Verdict};
pub use witness::{Branch, Deed, Step, Witness};
