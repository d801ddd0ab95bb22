//! Applications made of closures.

use std::fmt;

use super::application::{Application, ReplicaId, Semilattice};

type Body<S> = Box<dyn Fn(&S, ReplicaId) -> Option<S> + Send + Sync>;
type Check<S> = Box<dyn Fn(&S) -> Option<String> + Send + Sync>;

/// An [`Application`] made of closures: a few lines for each transaction and invariant.
pub struct Model<S> {
    initial: Vec<S>,
    transactions: Vec<(String, Body<S>)>,
    invariants: Vec<Check<S>>,
}

impl<S> Model<S> {
    /// A model that begins in this state, without transactions and without invariants.
    #[must_use]
    pub fn new(initial: S) -> Self {
        Self {
            initial: vec![initial],
            transactions: Vec::new(),
            invariants: Vec::new(),
        }
    }

    /// With one more state to begin in.
    #[must_use]
    pub fn or_from(mut self, initial: S) -> Self {
        self.initial.push(initial);
        self
    }

    /// With a transaction: its new state, or `None` if it aborts itself.
    #[must_use]
    pub fn transaction(
        mut self,
        name: impl Into<String>,
        body: impl Fn(&S, ReplicaId) -> Option<S> + Send + Sync + 'static,
    ) -> Self {
        self.transactions.push((name.into(), Box::new(body)));
        self
    }

    /// With a transaction that never aborts itself: it changes a copy of the replica's state.
    #[must_use]
    pub fn update(
        self,
        name: impl Into<String>,
        body: impl Fn(&mut S, ReplicaId) + Send + Sync + 'static,
    ) -> Self
    where
        S: Clone,
    {
        self.transaction(name, move |state, at| {
            let mut next = state.clone();
            body(&mut next, at);
            Some(next)
        })
    }

    /// With an invariant that has a name and holds or not.
    #[must_use]
    pub fn invariant(
        self,
        name: impl Into<String>,
        holds: impl Fn(&S) -> bool + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        self.explained(move |state| (!holds(state)).then(|| name.clone()))
    }

    /// With an invariant that says itself what is wrong.
    #[must_use]
    pub fn explained(
        mut self,
        broken: impl Fn(&S) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.invariants.push(Box::new(broken));
        self
    }
}

impl<S: Semilattice> Application for Model<S> {
    type State = S;

    fn initial_states(&self) -> Vec<S> {
        self.initial.clone()
    }

    fn transactions(&self) -> Vec<String> {
        let names = self.transactions.iter();
        names.map(|(name, _)| name.clone()).collect()
    }

    fn execute(&self, transaction: usize, state: &S, at: ReplicaId) -> Option<S> {
        (self.transactions[transaction].1)(state, at)
    }

    fn broken(&self, state: &S) -> Option<String> {
        self.invariants.iter().find_map(|broken| broken(state))
    }
}

impl<S: fmt::Debug> fmt::Debug for Model<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.transactions.iter().map(|(name, _)| name).collect();
        f.debug_struct("Model")
            .field("initial", &self.initial)
            .field("transactions", &names)
            .field("invariants", &self.invariants.len())
            .finish()
    }
}
