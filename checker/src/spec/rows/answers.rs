//! Outcomes that are made of answers, and universes of processes that are all alike: what many rows share.

use std::collections::BTreeMap;

use super::super::history::{EventId, History, Label};
use super::super::specification::{HistoryOf, Specification};
use super::super::universe::{Program, Universe};

/// Invocations with their answers. Refined by those that have the same answers and more (set inclusion).
pub(super) type Answers<Value> = BTreeMap<EventId, Value>;

/// Operations in an order, with their answers. Refined by those that it is a prefix of.
pub(super) type Answered<Value> = Vec<(EventId, Value)>;

/// Every way to answer all invocations with what may be chosen for each. Answers that were given stand.
pub(super) fn choices<Op: Label, Value: Label>(
    history: &History<Op, Value>,
    mut choose: impl FnMut(EventId, &Op) -> Vec<Value>,
) -> Vec<Answers<Value>> {
    let mut all = vec![Answers::new()];
    for (id, op) in history.invocations() {
        let mut values = choose(id, op);
        if let Some(given) = history.response(id) {
            values.retain(|value| value == given);
        }
        let longer = |answers: &Answers<Value>| {
            let answers = answers.clone();
            let with = move |value: &Value| {
                let mut longer = answers.clone();
                longer.insert(id, value.clone());
                longer
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// Whether all answers are there later, too.
pub(super) fn included<Value: PartialEq>(earlier: &Answers<Value>, later: &Answers<Value>) -> bool {
    earlier
        .iter()
        .all(|(id, answer)| later.get(id) == Some(answer))
}

/// Every order of all invocations that agrees with happens-before, with the answers of an object that meets them in this
/// order. Answers that were given stand.
pub(super) fn linearized<Op: Label, Value: Label, Object: Clone>(
    history: &History<Op, Value>,
    start: &Object,
    apply: impl Fn(&mut Object, EventId, &Op) -> Value,
) -> Vec<Answered<Value>> {
    let operations: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
    let run = |order: Vec<EventId>| {
        let mut object = start.clone();
        let answer = |id: EventId| {
            let op = history.op(id).expect("it is an invocation");
            let answer = apply(&mut object, id, op);
            let given = history.response(id);
            given
                .is_none_or(|given| *given == answer)
                .then_some((id, answer))
        };
        order.into_iter().map(answer).collect::<Option<_>>()
    };
    history
        .all_orders(&operations)
        .into_iter()
        .filter_map(run)
        .collect()
}

/// The answer to an invocation in an order.
pub(super) fn answer_in<Value: Clone>(order: &Answered<Value>, id: EventId) -> Option<Value> {
    let answered = order.iter().find(|(other, _)| *other == id);
    answered.map(|(_, answer)| answer.clone())
}

/// Answers in words: `p: read → dog, q: write(cat) → ok`.
pub(super) fn say<'a, S: Specification>(
    spec: &S,
    history: &HistoryOf<S>,
    answers: impl IntoIterator<Item = (&'a EventId, &'a S::Value)>,
) -> String
where
    S::Value: 'a,
{
    let universe = spec.universe();
    let said = answers.into_iter().map(|(id, value)| {
        let name = universe.processes()[usize::from(id.process)].name();
        let op = history.op(*id).map(|op| spec.say_op(op));
        let op = op.unwrap_or_default();
        format!("{name}: {op} \u{2192} {}", spec.say_value(value))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A set in words: `{eggs, milk}`.
pub(super) fn say_set<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(", "))
}

/// Processes that may all do the same, and send each other so many messages each way. They may trade places, and labels
/// may be renamed.
pub(super) fn alike<S: Specification + 'static>(
    events: usize,
    names: &[&str],
    program: &Program<S>,
    messages: usize,
    op: fn(&S::Op) -> S::Op,
    value: fn(&S::Value) -> S::Value,
) -> Universe<S> {
    let count = names.len();
    let mut universe = Universe::new(events);
    for (process, name) in names.iter().enumerate() {
        let others: Vec<usize> = (0..count).filter(|other| *other != process).collect();
        universe = universe.process(name, program.clone().and_send(&others, messages));
    }
    let same: Vec<usize> = (0..count).collect();
    let around: Vec<usize> = (0..count).map(|process| (process + 1) % count).collect();
    let mut swapped = same.clone();
    swapped.swap(0, 1);
    universe
        .symmetric(&same, op, value)
        .symmetric(&around, S::Op::clone, S::Value::clone)
        .symmetric(&swapped, S::Op::clone, S::Value::clone)
}
