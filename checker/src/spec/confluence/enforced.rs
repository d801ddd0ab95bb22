//! An application's invariant as a specification (Complete CALM, section 7.2).
//!
//! Replicas run transactions on what they know and tell each other what they know. A history admits one outcome, the merge
//! of all updates in it, if that is valid, and none otherwise; outcomes are ordered by the merge. The paper's proposition
//! says that this specification is monotone exactly if the transactions are invariant confluent, which the decider of this module
//! finds in another way: it searches states, and knows no histories.

use super::application::{Application, Outcome, ReplicaId, Semilattice as _, commit};
use crate::spec::history::{Event, EventId, History};
use crate::spec::specification::Specification;
use crate::spec::universe::{Program, Universe};

/// What a replica tells a client of a transaction (definition 2 of "Coordination Avoidance in Database Systems").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// It committed at the replica.
    Committed,
    /// It aborted itself, or would have broken the invariant at the replica.
    Aborted,
}

/// The merge of all updates of a history, and what clients were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converged<State> {
    state: State,
    answers: Vec<(EventId, Answer)>,
}

/// The specification of an application: every history converges to a valid state.
#[derive(Debug)]
pub struct Enforced<'a, A> {
    application: &'a A,
    /// Which of the initial states histories begin with.
    initial: usize,
    replicas: usize,
    each: usize,
}

impl<'a, A: Application> Enforced<'a, A> {
    /// Histories from one of the initial states, in which each replica runs up to `each` transactions and sends one
    /// message to each other replica.
    #[must_use]
    pub fn new(application: &'a A, initial: usize, replicas: usize, each: usize) -> Self {
        Self {
            application,
            initial,
            replicas,
            each,
        }
    }
}

impl<A: Application> Specification for Enforced<'_, A> {
    /// A transaction by its number.
    type Op = usize;
    type Value = Answer;
    type Outcome = Converged<A::State>;

    fn universe(&self) -> Universe<Self> {
        let all: Vec<usize> = (0..self.application.transactions().len()).collect();
        let events = self.replicas * (2 * self.each + 2 * (self.replicas - 1));
        (0..self.replicas).fold(Universe::new(events), |universe, replica| {
            let others: Vec<usize> = (0..self.replicas)
                .filter(|other| *other != replica)
                .collect();
            let program = Program::menu(&all, self.each, self.each).and_send(&others, 1);
            universe.process(&format!("replica {replica}"), program)
        })
    }

    fn outcomes(&self, history: &History<usize, Answer>) -> Vec<Self::Outcome> {
        let initial = self.application.initial_states().swap_remove(self.initial);
        let mut states = vec![initial; self.replicas];
        let mut sent = Vec::new();
        let mut answers = Vec::new();
        for id in history.told_after(&History::new(self.replicas)) {
            let replica = usize::from(id.process);
            match history.get(id) {
                Some(Event::Invoke(transaction)) => {
                    let at = ReplicaId(id.process);
                    let answer = match commit(self.application, *transaction, &states[replica], at)
                    {
                        Outcome::Committed(next) => {
                            states[replica] = next;
                            Answer::Committed
                        }
                        Outcome::AbortedItself | Outcome::Refused(_) => Answer::Aborted,
                    };
                    answers.push((id, answer));
                }
                Some(Event::Send { .. }) => sent.push((id, states[replica].clone())),
                Some(Event::Receive { from }) => {
                    let message = sent.iter().find(|(id, _)| id == from);
                    states[replica] = message.map_or_else(
                        || states[replica].clone(),
                        |(_, state)| states[replica].merge(state),
                    );
                }
                Some(Event::Respond { .. } | Event::Internal(_)) | None => {}
            }
        }
        let told = |(id, answer): &(EventId, Answer)| {
            history.response(*id).is_none_or(|given| given == answer)
        };
        let state = states
            .iter()
            .skip(1)
            .fold(states[0].clone(), |all, state| all.merge(state));
        if self.application.broken(&state).is_some() || !answers.iter().all(told) {
            return Vec::new();
        }
        vec![Converged { state, answers }]
    }

    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
        let kept = |answer| later.answers.contains(answer);
        earlier.state.is_below(&later.state) && earlier.answers.iter().all(kept)
    }

    fn answer(
        &self,
        outcome: &Self::Outcome,
        _: &History<usize, Answer>,
        invocation: EventId,
    ) -> Option<Answer> {
        let answered = outcome.answers.iter().find(|(id, _)| *id == invocation);
        answered.map(|(_, answer)| *answer)
    }

    fn say_op(&self, op: &usize) -> String {
        self.application.transactions().swap_remove(*op)
    }

    fn say_value(&self, value: &Answer) -> String {
        match value {
            Answer::Committed => "committed".to_owned(),
            Answer::Aborted => "aborted".to_owned(),
        }
    }

    fn say_outcome(&self, outcome: &Self::Outcome, _: &History<usize, Answer>) -> String {
        self.application.describe(&outcome.state, None)
    }
}
