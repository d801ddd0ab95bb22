//! Registers (Complete CALM, sections 2 and 8, appendix C.1).

use super::super::history::{EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Program, Universe};
use super::Row;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("linearizable-register", "a linearizable register", "Complete CALM, section 2")
            .remark("Outcomes are orders of all operations; an order is refined by those that it is a prefix of.")
            .monotone(Linearizable, false)
            .distributed(Linearizable, Some(false))
            .available(Linearizable, Some(false)),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Op {
    Write(&'static str),
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    Done,
    Value(&'static str),
}

type Answered = Vec<(EventId, Answer)>;

struct Linearizable;

impl Specification for Linearizable {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answered;

    fn universe(&self) -> Universe<Self> {
        let p = Program::script(&[Op::Write("dog"), Op::Read]).and_send(&[1], 1);
        let q = Program::script(&[Op::Write("cat"), Op::Read]).and_send(&[0], 1);
        Universe::new(12).process("p", p).process("q", q)
    }

    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Answered> {
        let operations: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
        let executed = history.all_orders(&operations).into_iter().map(|order| {
            let mut register = "nothing";
            let answered = order.into_iter().map(|id| match history.op(id) {
                Some(Op::Write(value)) => {
                    register = value;
                    (id, Answer::Done)
                }
                Some(Op::Read) | None => (id, Answer::Value(register)),
            });
            answered.collect::<Answered>()
        });
        let stands = |(id, answer): &(EventId, Answer)| {
            history.response(*id).is_none_or(|given| given == answer)
        };
        executed
            .filter(|outcome| outcome.iter().all(stands))
            .collect()
    }

    fn refines(&self, earlier: &Answered, later: &Answered) -> bool {
        later.starts_with(earlier)
    }

    fn answer(
        &self,
        outcome: &Answered,
        _: &History<Op, Answer>,
        invocation: EventId,
    ) -> Option<Answer> {
        let answered = outcome.iter().find(|(id, _)| *id == invocation);
        answered.map(|(_, answer)| answer.clone())
    }
}
