//! Growing sets on processes that tell each other what they know: the universe of the tests, in all shapes.

use checker::spec::{Ack, EventId, History, Program, Specification, Universe};

/// What one process does: calls from a menu or in a script, and messages.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<u8>,
    /// How often each operation of a menu may be called, and all together; a script if there is none.
    pub(crate) menu: Option<(usize, usize)>,
    pub(crate) to: Vec<usize>,
    /// How many messages go to each process.
    pub(crate) messages: usize,
}

impl Plan {
    pub(crate) fn script(ops: &[u8], to: &[usize], messages: usize) -> Self {
        let (ops, to) = (ops.to_vec(), to.to_vec());
        Self {
            ops,
            menu: None,
            to,
            messages,
        }
    }

    pub(crate) fn menu(
        ops: &[u8],
        each: usize,
        calls: usize,
        to: &[usize],
        messages: usize,
    ) -> Self {
        Self {
            menu: Some((each, calls)),
            ..Self::script(ops, to, messages)
        }
    }
}

/// Which element a call adds; the answer says that it is there.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    pub(crate) plans: Vec<Plan>,
    pub(crate) events: usize,
    pub(crate) answers_take_time: bool,
    /// How many processes trade places with the next one.
    pub(crate) turns: bool,
}

impl Sets {
    pub(crate) fn new(events: usize, plans: &[Plan]) -> Self {
        Self {
            plans: plans.to_vec(),
            events,
            answers_take_time: false,
            turns: false,
        }
    }
}

impl Specification for Sets {
    type Op = u8;
    type Value = Ack;
    type Outcome = u64;

    fn universe(&self) -> Universe<Self> {
        let mut universe = Universe::new(self.events);
        for (number, plan) in self.plans.iter().enumerate() {
            let program = match plan.menu {
                Some((each, calls)) => Program::menu(&plan.ops, each, calls),
                None => Program::script(&plan.ops),
            };
            let program = program.and_send(&plan.to, plan.messages);
            universe = universe.process(&format!("p{number}"), program);
        }
        if self.answers_take_time {
            universe = universe.answers_take_time();
        }
        if self.turns {
            let all = self.plans.len();
            let places: Vec<usize> = (0..all).map(|place| (place + 1) % all).collect();
            universe = universe.symmetric(&places, |op| *op, |answer| *answer);
        }
        universe
    }

    fn outcomes(&self, history: &History<u8, Ack>) -> Vec<u64> {
        vec![history.invocations().fold(0, |set, (_, op)| set | 1 << op)]
    }

    fn refines(&self, earlier: &u64, later: &u64) -> bool {
        earlier & later == *earlier
    }

    fn answer(&self, _: &u64, _: &History<u8, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }
}
