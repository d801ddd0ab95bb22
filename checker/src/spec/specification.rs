//! What a specification is (Complete CALM, section 3.2).

use std::fmt::Debug;

use super::history::{EventId, History, Label};
use super::universe::Universe;

/// The histories of a specification.
pub type HistoryOf<S> = History<<S as Specification>::Op, <S as Specification>::Value>;

/// A specification: a bounded universe of histories, the outcomes that each of them admits, and when one outcome
/// refines another (Complete CALM, definition of a specification).
///
/// Its three parts are [`universe`](Self::universe), [`outcomes`](Self::outcomes) (the paper's `Obs`) and
/// [`refines`](Self::refines) (the paper's order on outcomes). [`answer`](Self::answer) says what an outcome has to do with the
/// responses that clients get (section 3.5), and is how a breach of that contract is found.
pub trait Specification: Sized + Sync {
    /// Labels of invocations and internal events.
    type Op: Label;
    /// Answers to clients; [`Ack`] if there is nothing to tell.
    type Value: Label;
    /// What a client may be shown of a history as a whole.
    type Outcome: Clone + PartialEq + Debug + Send + Sync;

    /// Which histories are looked at: the programs of the processes, and how many events.
    fn universe(&self) -> Universe<Self>;

    /// The outcomes that a history admits; none if it cannot come to be.
    ///
    /// Where an invocation has no response yet, every outcome supposes one, and answers that were given stand.
    fn outcomes(&self, history: &HistoryOf<Self>) -> Vec<Self::Outcome>;

    /// Whether `later` refines `earlier` without contradicting it: a partial order.
    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool;

    /// What an outcome answers to an invocation of its history. `None` is a breach of the contract with clients.
    fn answer(
        &self,
        outcome: &Self::Outcome,
        history: &HistoryOf<Self>,
        invocation: EventId,
    ) -> Option<Self::Value>;

    /// How a label is written in pictures.
    fn say_op(&self, op: &Self::Op) -> String {
        format!("{op:?}")
    }

    /// How an answer is written in pictures.
    fn say_value(&self, value: &Self::Value) -> String {
        format!("{value:?}")
    }

    /// How an outcome of a history is written.
    fn say_outcome(&self, outcome: &Self::Outcome, history: &HistoryOf<Self>) -> String {
        let _ = history;
        format!("{outcome:?}")
    }
}

/// The answer that says nothing but that the operation is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ack;

impl Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ok")
    }
}
