//! What is decided: a database with a merge, transactions on one replica, and an invariant.
//!
//! An application is pure: the same call with the same arguments gives the same answer. Nothing here knows the search.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;

/// A database state, with the merge of "Coordination Avoidance in Database Systems", section 3.
///
/// `merge` must be commutative, associative and idempotent; the decider checks it on the states that it meets. The order
/// of the type (`Ord`) is any total order and has nothing to do with the merge: that one is [`Self::is_below`].
pub trait Semilattice: Clone + Eq + Hash + Ord + Debug + Display + Send + Sync {
    /// The least state that contains both.
    #[must_use]
    fn merge(&self, other: &Self) -> Self;

    /// Whether `other` contains this state: the merge order, in which outcomes of "Complete CALM", section 7.2, refine
    /// each other.
    fn is_below(&self, other: &Self) -> bool {
        self.merge(other) == *other
    }
}

/// A replica: who runs a transaction.
///
/// A transaction may put it into identifiers ("choose some value": uniqueness by replica ids).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub u8);

impl ReplicaId {
    /// Whoever wrote the initial state; no replica of a search has this number.
    pub const INITIAL: Self = Self(u8::MAX);
}

impl Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::INITIAL {
            return write!(f, "initial");
        }
        write!(f, "replica {}", self.0)
    }
}

/// An application in bounded form: finitely many transactions, one invariant.
///
/// Transactions are numbered from 0 in the order of [`Self::transactions`].
pub trait Application: Sync {
    /// The state of a replica.
    type State: Semilattice;

    /// The states that a search begins with, each a search of its own; all must be valid.
    fn initial_states(&self) -> Vec<Self::State>;

    /// The names of the transactions, as a reader of a witness knows them.
    fn transactions(&self) -> Vec<String>;

    /// Runs one transaction on a replica's state; `None` if it aborts itself.
    ///
    /// The new state must contain the old one ([`Semilattice::is_below`]). `transaction` is a position in
    /// [`Self::transactions`].
    fn execute(
        &self,
        transaction: usize,
        state: &Self::State,
        at: ReplicaId,
    ) -> Option<Self::State>;

    /// The state in words, for a witness: as it is, or what it has beyond one that the reader was shown already.
    fn describe(&self, state: &Self::State, beyond: Option<&Self::State>) -> String {
        let _ = beyond;
        state.to_string()
    }

    /// What is wrong with the state, as a sentence that names the invariant; `None` if it is valid (definition 1).
    fn broken(&self, state: &Self::State) -> Option<String>;
}

/// How a transaction ends at a replica that asks nobody (definition 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<S> {
    /// It committed; this is the replica's new state.
    Committed(S),
    /// It aborted itself.
    AbortedItself,
    /// It would have broken the invariant on the replica's own state, as this sentence says.
    Refused(String),
}

/// Runs a transaction at a replica and commits it, unless it aborts itself or would break the invariant there
/// (definition 2, transactional availability).
pub fn commit<A: Application + ?Sized>(
    application: &A,
    transaction: usize,
    state: &A::State,
    at: ReplicaId,
) -> Outcome<A::State> {
    let Some(next) = application.execute(transaction, state, at) else {
        return Outcome::AbortedItself;
    };
    match application.broken(&next) {
        None => Outcome::Committed(next),
        Some(why) => Outcome::Refused(why),
    }
}
