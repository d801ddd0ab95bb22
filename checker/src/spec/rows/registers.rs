//! Registers (Complete CALM, sections 2 and 8, appendix C.1).

use super::super::history::{EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Program, Universe};
use super::Row;
use super::answers::{Answers, answer_in, choices, included, linearized};

pub(super) fn rows() -> Vec<Row> {
    let is_write = |op: &Op| matches!(op, Op::Write(_));
    vec![
        Row::new("linearizable-register", "a linearizable register", "Complete CALM, section 2")
            .remark(
                "Outcomes are orders of all operations; an order is refined by those that it is a prefix of. The \
                 paper's witness has four operations and two messages. Where each process writes before it reads, as here, three \
                 operations and no message suffice; where it may begin with a read, two do.",
            )
            .monotone(Linearizable, false)
            .distributed(Linearizable, Some(false))
            .available(Linearizable, Some(false))
            .convergent(Linearizable, is_write, true)
            .counted(Linearizable, 12),
        Row::new(
            "register-frontier",
            "a linearizable register under any wider order",
            "Complete CALM, section 8 (register frontier)",
        )
        .remark(
            "The paper widens the order of the linearizable register and keeps its outcomes. But there are histories \
             that admit outcomes, and futures of them that admit none; no order helps there. What does help is another \
             interface, and that is what appendix C.1 goes on to define: the next row.",
        )
        .relaxable(Linearizable, true),
        Row::new(
            "causal-prefix-register",
            "a register whose outcomes are causal prefixes",
            "Complete CALM, appendix C.1",
        )
        .remark(
            "Outcomes are orders of all operations that agree with happens-before, in which each read returns some \
             write of its past; refinement is prefix extension.",
        )
        .monotone(CausalPrefix, true)
        .tight(CausalPrefix, true),
        Row::new("causal-register", "a causally consistent register", "Complete CALM, section 2")
            .remark("Outcomes say what each read returned; happens-before does not change in futures.")
            .monotone(Causal::default(), true)
            .available(Causal::default(), Some(true))
            .convergent(Causal::default(), is_write, false)
        .counted(Causal::default(), 12),
        Row::new(
            "causal-register-pending",
            "a causally consistent register whose answers take time",
            "Complete CALM, sections 2 and 3.5",
        )
        .remark(
            "The same, but others may act between a call and its answer. Response totality makes every outcome suppose an \
             answer to a call that has none yet; where two answers are admissible, the history in which the other \
             one is given refines no outcome that supposes the first. By the letter of the definitions no specification that leaves a \
             choice of answers is monotone; the paper's claims hold where a call is answered at once, which is how all \
             other rows are decided.",
        )
        .monotone(Causal { pending: true, ..Causal::default() }, true),
        Row::new(
            "causal-register-any-answer",
            "a causally consistent register, with any answer as an event",
            "Complete CALM, section 3.1",
        )
        .remark(
            "The same, but a read may be answered with any value, written or not. Then some futures admit \
             nothing, and no outcome before them is refined. By the letter of the definition the events of a universe are not tied to \
             what is admissible; the paper's claims hold where answers are those that the process that answers \
             finds admissible, which is how all other rows are decided.",
        )
        .monotone(Causal { any: true, ..Causal::default() }, true),
    ]
}

/// Operations of a register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Writes a value.
    Write(&'static str),
    /// Returns a value.
    Read,
}

/// What a register answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// It is written.
    Done,
    /// This is the value.
    Value(&'static str),
}

/// Operations with their answers.
pub type Answered = Vec<(EventId, Answer)>;

const NOTHING: &str = "nothing";

/// Two processes that each write and then read, and send each other a message.
fn writers_and_readers<S: Specification<Op = Op> + 'static>(events: usize) -> Universe<S> {
    let program =
        |value, other| Program::script(&[Op::Write(value), Op::Read]).and_send(&[other], 1);
    Universe::new(events)
        .process("p", program("dog", 1))
        .process("q", program("cat", 0))
}

fn said(op: &Op) -> String {
    match op {
        Op::Write(value) => format!("w({value})"),
        Op::Read => "r".to_owned(),
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Done => "ok".to_owned(),
        Answer::Value(value) => (*value).to_owned(),
    }
}

fn listed<'a>(
    answered: impl IntoIterator<Item = (EventId, &'a Answer)>,
    history: &History<Op, Answer>,
) -> String {
    let one = |(id, answer): (EventId, &Answer)| {
        let process = if id.process == 0 { 'p' } else { 'q' };
        match (history.op(id), answer) {
            (Some(Op::Write(value)), _) => format!("w{process}({value})"),
            (_, answer) => format!("r{process}\u{2192}{}", told(answer)),
        }
    };
    answered.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The linearizable register: outcomes are total orders of the operations that agree with happens-before and explain all reads; refinement is
/// prefix extension.
#[derive(Debug, Clone, Copy)]
pub struct Linearizable;

impl Specification for Linearizable {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answered;

    fn universe(&self) -> Universe<Self> {
        writers_and_readers(12)
    }

    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Answered> {
        linearized(history, &NOTHING, |register, _, op| match op {
            Op::Write(value) => {
                *register = value;
                Answer::Done
            }
            Op::Read => Answer::Value(register),
        })
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
        answer_in(outcome, invocation)
    }

    fn say_op(&self, op: &Op) -> String {
        said(op)
    }

    fn say_value(&self, value: &Answer) -> String {
        told(value)
    }

    fn say_outcome(&self, outcome: &Answered, history: &History<Op, Answer>) -> String {
        let answers = outcome.iter().map(|(id, answer)| (*id, answer));
        format!("\u{27e8}{}\u{27e9}", listed(answers, history))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Causal {
    pending: bool,
    any: bool,
}

impl Specification for Causal {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answers<Answer>;

    fn universe(&self) -> Universe<Self> {
        let universe = writers_and_readers(12);
        match self {
            Self { pending: true, .. } => universe.answers_take_time(),
            Self { any: true, .. } => {
                let values = [NOTHING, "dog", "cat"].map(Answer::Value);
                universe.any_answer([&[Answer::Done][..], &values].concat())
            }
            Self { .. } => universe,
        }
    }

    /// A read returns a write of its causal past that no other write of its past comes after; the initial value, if there is
    /// no write.
    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Self::Outcome> {
        choices(history, |id, op| {
            let known = |past: EventId| {
                let before = move |(write, op): (EventId, &Op)| match op {
                    Op::Write(value) if history.precedes(write, past) => Some((write, *value)),
                    Op::Write(_) | Op::Read => None,
                };
                history.invocations().filter_map(before)
            };
            let last = |write: EventId| !known(id).any(|(other, _)| history.precedes(write, other));
            let mut answers: Vec<Answer> = match op {
                Op::Write(_) => vec![Answer::Done],
                Op::Read => known(id)
                    .filter(|(write, _)| last(*write))
                    .map(|(_, value)| Answer::Value(value))
                    .collect(),
            };
            if answers.is_empty() {
                answers.push(Answer::Value(NOTHING));
            }
            answers
        })
    }

    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
        included(earlier, later)
    }

    fn answer(
        &self,
        outcome: &Self::Outcome,
        _: &History<Op, Answer>,
        invocation: EventId,
    ) -> Option<Answer> {
        outcome.get(&invocation).cloned()
    }

    fn say_op(&self, op: &Op) -> String {
        said(op)
    }

    fn say_value(&self, value: &Answer) -> String {
        told(value)
    }

    fn say_outcome(&self, outcome: &Self::Outcome, history: &History<Op, Answer>) -> String {
        let answers = outcome.iter().map(|(id, answer)| (*id, answer));
        format!("{{{}}}", listed(answers, history))
    }
}

/// The interface of appendix C.1: orders of the operations, reads that return some write of their past, prefix extension.
#[derive(Debug, Clone, Copy)]
struct CausalPrefix;

impl Specification for CausalPrefix {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answered;

    fn universe(&self) -> Universe<Self> {
        writers_and_readers(8)
    }

    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Answered> {
        let answers = choices(history, |id, op| {
            let past = history
                .invocations()
                .filter(|(write, _)| history.precedes(*write, id));
            let mut answers: Vec<Answer> = match op {
                Op::Write(_) => vec![Answer::Done],
                Op::Read => past
                    .filter_map(|(_, op)| match op {
                        Op::Write(value) => Some(Answer::Value(value)),
                        Op::Read => None,
                    })
                    .collect(),
            };
            if answers.is_empty() {
                answers.push(Answer::Value(NOTHING));
            }
            answers
        });
        let operations: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
        let answered = |order: &Vec<EventId>, answers: &Answers<Answer>| {
            let one = |id: &EventId| (*id, answers[id].clone());
            order.iter().map(one).collect::<Answered>()
        };
        let orders = history.all_orders(&operations);
        orders
            .iter()
            .flat_map(|order| answers.iter().map(|answers| answered(order, answers)))
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
        answer_in(outcome, invocation)
    }
}
