//! Queues (Complete CALM, appendix C.2).

use std::collections::VecDeque;

use super::super::history::{EventId, History};
use super::super::specification::Specification;
use super::super::universe::{Program, Universe};
use super::Row;
use super::answers::{Answered, answer_in, linearized};

pub(super) fn rows() -> Vec<Row> {
    const SOURCE: &str = "Complete CALM, appendix C.2";
    let queue = |order| Queue { order };
    vec![
        Row::new("fifo-as-defined", "strict FIFO, as appendix C.2 defines its outcomes", SOURCE)
            .remark(
                "Outcomes are prefixes of total orders of the enqueued values that agree with happens-before, whether or not \
                 anybody dequeued. Such a prefix stays one in every future, since what comes later is never put \
                 before it: as defined, strict FIFO is monotone. What needs coordination is that dequeues of all \
                 replicas are answered from one order: the next row.",
            )
            .monotone(Declared, false),
        Row::new("fifo", "a replicated queue with strict FIFO", SOURCE)
            .remark("One total order of all operations explains all dequeues; refinement is prefix extension.")
            .monotone(queue(Order::Total), false)
            .counted(queue(Order::Total), 12),
        Row::new("causal-fifo", "a replicated queue with causal FIFO", SOURCE)
            .remark(
                "What a replica dequeues, it has heard of and not dequeued before, and no value that it has heard of and not \
                 dequeued was enqueued before it.",
            )
            .monotone(queue(Order::Causal), true)
            .available(queue(Order::Causal), Some(true))
            .counted(queue(Order::Causal), 12),
        Row::new("fixed-fifo", "a replicated queue with a fixed order of concurrent enqueues", SOURCE)
            .remark("Causal FIFO, in which concurrent values leave every replica in the order of their names.")
            .monotone(queue(Order::Fixed), false),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Op {
    Enqueue(char),
    Dequeue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Answer {
    Done,
    Value(char),
    Empty,
}

type Seen = History<Op, Answer>;

fn universe<S: Specification<Op = Op> + 'static>() -> Universe<S> {
    let program = |value, other| {
        let script = [Op::Enqueue(value), Op::Dequeue, Op::Dequeue];
        Program::script(&script).and_send(&[other], 1)
    };
    Universe::new(16)
        .process("p", program('a', 1))
        .process("q", program('b', 0))
}

fn enqueues(history: &Seen) -> impl Iterator<Item = (EventId, char)> {
    history.invocations().filter_map(|(id, op)| match op {
        Op::Enqueue(value) => Some((id, *value)),
        Op::Dequeue => None,
    })
}

fn said(op: Op) -> String {
    match op {
        Op::Enqueue(value) => format!("enq({value})"),
        Op::Dequeue => "deq".to_owned(),
    }
}

fn told(answer: Answer) -> String {
    match answer {
        Answer::Done => "ok".to_owned(),
        Answer::Value(value) => value.to_string(),
        Answer::Empty => "empty".to_owned(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// One order explains all replicas.
    Total,
    /// Each replica dequeues in an order that agrees with happens-before.
    Causal,
    /// And concurrent values in the order of their names.
    Fixed,
}

/// A queue whose dequeues are answered.
#[derive(Debug, Clone, Copy)]
struct Queue {
    order: Order,
}

impl Queue {
    /// What a replica may answer to an operation, given what it answered before.
    fn answers(self, history: &Seen, before: &[(EventId, Answer)], id: EventId) -> Vec<Answer> {
        if let Some(Op::Enqueue(_)) = history.op(id) {
            return vec![Answer::Done];
        }
        let gone = |value: char| {
            before.iter().any(|(other, answer)| {
                other.process == id.process && *answer == Answer::Value(value)
            })
        };
        let here: Vec<(EventId, char)> = enqueues(history)
            .filter(|(enqueue, _)| history.precedes(*enqueue, id))
            .collect();
        let out_of_order = |(enqueue, value): &(EventId, char)| {
            here.iter().any(|(other, known)| {
                history.concurrent(*enqueue, *other) && (known < value) != gone(*known)
            })
        };
        let first = |it: &(EventId, char)| {
            let (enqueue, value) = *it;
            let before = |(other, value): &(EventId, char)| {
                history.precedes(*other, enqueue) && !gone(*value)
            };
            let fixed = self.order == Order::Fixed && out_of_order(it);
            !(gone(value) || here.iter().any(before) || fixed)
        };
        let values: Vec<Answer> = here
            .iter()
            .filter(|value| first(value))
            .map(|(_, value)| Answer::Value(*value))
            .collect();
        if here.iter().all(|(_, value)| gone(*value)) {
            return vec![Answer::Empty];
        }
        values
    }
}

impl Specification for Queue {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answered<Answer>;

    fn universe(&self) -> Universe<Self> {
        universe()
    }

    fn outcomes(&self, history: &Seen) -> Vec<Self::Outcome> {
        if self.order == Order::Total {
            return linearized(history, &VecDeque::new(), |queue, _, op| match op {
                Op::Enqueue(value) => {
                    queue.push_back(*value);
                    Answer::Done
                }
                Op::Dequeue => queue.pop_front().map_or(Answer::Empty, Answer::Value),
            });
        }
        let mut outcomes = vec![Vec::new()];
        for (id, _) in history.invocations() {
            let stands = |answer: &Answer| history.response(id).is_none_or(|given| given == answer);
            outcomes = outcomes
                .iter()
                .flat_map(|before: &Self::Outcome| {
                    let answers = self.answers(history, before, id).into_iter();
                    let with = |answer| [&before[..], &[(id, answer)]].concat();
                    answers.filter(stands).map(with).collect::<Vec<_>>()
                })
                .collect();
        }
        outcomes
    }

    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
        match self.order {
            Order::Total => later.starts_with(earlier),
            Order::Causal | Order::Fixed => earlier.iter().all(|answered| later.contains(answered)),
        }
    }

    fn answer(&self, outcome: &Self::Outcome, _: &Seen, invocation: EventId) -> Option<Answer> {
        answer_in(outcome, invocation)
    }

    fn say_op(&self, op: &Op) -> String {
        said(*op)
    }

    fn say_value(&self, value: &Answer) -> String {
        told(*value)
    }

    fn say_outcome(&self, outcome: &Self::Outcome, history: &Seen) -> String {
        let one = |(id, answer): &(EventId, Answer)| {
            let process = if id.process == 0 { 'p' } else { 'q' };
            let op = history.op(*id).copied().map(said).unwrap_or_default();
            match answer {
                Answer::Done => format!("{process}: {op}"),
                Answer::Value(_) | Answer::Empty => {
                    format!("{process}: {op} \u{2192} {}", told(*answer))
                }
            }
        };
        format!(
            "\u{27e8}{}\u{27e9}",
            outcome.iter().map(one).collect::<Vec<_>>().join(", ")
        )
    }
}

/// Strict FIFO with the outcomes that appendix C.2 gives it: no dequeue is an event, all that is shown is a sequence of values.
#[derive(Debug, Clone, Copy)]
struct Declared;

impl Specification for Declared {
    type Op = Op;
    type Value = Answer;
    type Outcome = String;

    fn universe(&self) -> Universe<Self> {
        let program = |values: [char; 2], other| {
            Program::script(&values.map(Op::Enqueue)).and_send(&[other], 1)
        };
        Universe::new(12)
            .process("p", program(['a', 'b'], 1))
            .process("q", program(['c', 'd'], 0))
    }

    fn outcomes(&self, history: &Seen) -> Vec<String> {
        let all: Vec<EventId> = enqueues(history).map(|(id, _)| id).collect();
        let value = |id: EventId| match history.op(id) {
            Some(Op::Enqueue(value)) => *value,
            Some(Op::Dequeue) | None => ' ',
        };
        let orders = history.all_orders(&all).into_iter();
        let sequences = orders.flat_map(|order| {
            let values: String = order.into_iter().map(value).collect();
            (0..=values.len()).map(move |length| values[..length].to_owned())
        });
        let prefixes: std::collections::BTreeSet<String> = sequences.collect();
        prefixes.into_iter().collect()
    }

    fn refines(&self, earlier: &String, later: &String) -> bool {
        later.starts_with(earlier)
    }

    fn answer(&self, _: &String, _: &Seen, _: EventId) -> Option<Answer> {
        Some(Answer::Done)
    }

    fn say_op(&self, op: &Op) -> String {
        said(*op)
    }

    fn say_value(&self, value: &Answer) -> String {
        told(*value)
    }
}
