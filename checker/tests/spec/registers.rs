//! Small specifications of two or three processes that are monotone, or not, in several ways.

use checker::spec::{Ack, Event, EventId, History, Program, Specification, Universe};

/// Each process asks once; an outcome is what is known of who asked.
#[derive(Debug, Clone)]
pub(crate) struct Register {
    pub(crate) processes: usize,
    pub(crate) events: usize,
    pub(crate) answers_take_time: bool,
    /// Outcomes are orders of all calls, refined by what they are a prefix of; else the set of calls.
    pub(crate) ordered: bool,
    /// Only the last of the order is told, so that any call takes it back.
    pub(crate) last_only: bool,
    /// The outcome becomes nothing at the first message that arrives.
    pub(crate) forgets_at_receipt: bool,
    /// No outcome at all as soon as there are so many events.
    pub(crate) ends_at: usize,
}

impl Register {
    pub(crate) fn all() -> Vec<Self> {
        let sets = Self {
            processes: 2,
            events: 8,
            answers_take_time: false,
            ordered: false,
            last_only: false,
            forgets_at_receipt: false,
            ends_at: usize::MAX,
        };
        let mut all = vec![sets.clone()];
        for processes in [2, 3] {
            for answers_take_time in [false, true] {
                let events = if processes == 2 { 8 } else { 7 };
                let base = Self {
                    processes,
                    events,
                    answers_take_time,
                    ..sets.clone()
                };
                let ordered = Self {
                    ordered: true,
                    ..base.clone()
                };
                let last_only = Self {
                    last_only: true,
                    ..ordered.clone()
                };
                let forgets_at_receipt = Self {
                    forgets_at_receipt: true,
                    ..base.clone()
                };
                let ends_at = Self {
                    ends_at: 6,
                    ..base.clone()
                };
                all.extend([base, ordered, last_only, forgets_at_receipt, ends_at]);
            }
        }
        all
    }
}

impl Specification for Register {
    type Op = ();
    type Value = Ack;
    type Outcome = Vec<u8>;

    fn universe(&self) -> Universe<Self> {
        let mut universe = Universe::new(self.events);
        for process in 0..self.processes {
            let next = (process + 1) % self.processes;
            let program = Program::script(&[()]).and_send(&[next], 1);
            universe = universe.process(&format!("p{process}"), program);
        }
        if self.answers_take_time {
            universe = universe.answers_take_time();
        }
        let places: Vec<usize> = (0..self.processes)
            .map(|process| (process + 1) % self.processes)
            .collect();
        // Sets of processes are no sets of others when renamed, but as many; what is decided does not depend on it.
        universe.symmetric(&places, |()| (), |answer| *answer)
    }

    fn outcomes(&self, history: &History<(), Ack>) -> Vec<Vec<u8>> {
        let receipt = |event: &Event<(), Ack>| matches!(event, Event::Receive { .. });
        if history.len() >= self.ends_at {
            return Vec::new();
        }
        if self.forgets_at_receipt && history.events().any(|(_, event)| receipt(event)) {
            return vec![Vec::new()];
        }
        let calls: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
        if !self.ordered {
            return vec![calls.iter().map(|id| id.process).collect()];
        }
        let orders = history.all_orders(&calls).into_iter();
        let mut told: Vec<Vec<u8>> = orders
            .map(|order| order.iter().map(|id| id.process).collect())
            .collect();
        if self.last_only {
            for order in &mut told {
                order.drain(..order.len().saturating_sub(1));
            }
        }
        told
    }

    fn refines(&self, earlier: &Vec<u8>, later: &Vec<u8>) -> bool {
        if self.ordered {
            later.starts_with(earlier)
        } else {
            earlier.iter().all(|process| later.contains(process))
        }
    }

    fn answer(&self, _: &Vec<u8>, _: &History<(), Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }
}
