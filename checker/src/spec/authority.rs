//! Any specification under an ordering authority (Complete CALM, section 4.1, theorem 4, and appendix D).
//!
//! The residual is an interface of its own (remark 4): clients submit requests, an ordering service puts them into a log, everybody
//! evaluates the specification over the prefix of the log that they know, and a client is told the result of its request when
//! it knows a prefix that contains it. Invariants:
//!
//! - the log of a history is a prefix of the log of each future of it, and of what each process knows of it;
//! - the log agrees with happens-before;
//! - the result of a request is a function of the log up to it.

use super::history::{Cut, Event, EventId, History, Label};
use super::specification::{HistoryOf, Specification};
use super::universe::{Action, Program, Universe};

/// A specification under an ordering authority: its residual.
///
/// The processes are those of the specification, and who they are is known to all; the first of them orders requests as it hears of
/// them. Outcomes are evaluations of prefixes of the log that have all answers in them that were given, and an
/// outcome is refined by those that it is a prefix of.
#[derive(Debug, Clone)]
pub struct Ordered<S> {
    spec: S,
    events: usize,
}

/// What happens in the residual.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request<Op> {
    /// A client submits an operation; an internal event of its process.
    Submit(Op),
    /// The client asks for the result of its next operation. It waits until that is in the part of the log that its process
    /// knows: the call is the moment at which it is told.
    Result,
}

/// The log with what it evaluates to: each operation with its result, if the specification admits one.
pub type Evaluation<Value> = Vec<(EventId, Option<Value>)>;

const AUTHORITY: usize = 0;

impl<S: Specification + 'static> Ordered<S> {
    /// A specification under an ordering authority, in histories of at most 14 events.
    #[must_use]
    pub fn new(spec: S) -> Self {
        Self::within(spec, 14)
    }

    /// The same in histories of at most so many events.
    #[must_use]
    pub fn within(spec: S, events: usize) -> Self {
        Self { spec, events }
    }

    /// The operations of a history in the order in which the authority heard of them. Those that it heard of at once
    /// follow happens-before, and then their names.
    #[must_use]
    pub fn log(&self, history: &HistoryOf<Self>) -> Vec<EventId> {
        let mut log: Vec<EventId> = Vec::new();
        let mut known = Cut::default();
        for place in 0..history.process(AUTHORITY).len() {
            let past = history.past(EventId::new(AUTHORITY, place));
            let new = history.operations().filter(|(id, op)| {
                let process = usize::from(id.process);
                (known[process]..past[process]).contains(&id.place)
                    && matches!(op, Request::Submit(_))
            });
            let mut new: Vec<EventId> = new.map(|(id, _)| id).collect();
            // What happens before an event has fewer events before it.
            new.sort_by_key(|id| {
                (
                    history
                        .past(*id)
                        .iter()
                        .map(|events| u16::from(*events))
                        .sum::<u16>(),
                    *id,
                )
            });
            log.extend(new);
            known = past;
        }
        log
    }

    /// What the specification says of the operations of a log, one after another: of the outcomes that it admits, the first counts.
    #[must_use]
    pub fn evaluate(&self, history: &HistoryOf<Self>, log: &[EventId]) -> Evaluation<S::Value> {
        let mut sequence = History::new(history.processes());
        let mut last = None;
        let mut evaluation = Evaluation::new();
        for id in log {
            let Some(Request::Submit(op)) = history.op(*id) else {
                continue;
            };
            let process = usize::from(id.process);
            follow(&mut sequence, last, process);
            let asked = sequence.push(process, Event::Invoke(op.clone()));
            let outcomes = self.spec.outcomes(&sequence);
            let answer = |outcome: &S::Outcome| self.spec.answer(outcome, &sequence, asked);
            let value = outcomes.first().and_then(answer);
            match value.clone() {
                Some(value) => {
                    sequence.push(process, Event::Respond { to: asked, value });
                    last = Some(process);
                }
                // The operation is impossible here; it is as if nobody had asked for it.
                None => sequence.pop(process),
            }
            evaluation.push((*id, value));
        }
        evaluation
    }

    /// The operation whose result an invocation asks for: a process asks for its results one after another.
    fn wanted(history: &HistoryOf<Self>, invocation: EventId) -> Option<EventId> {
        let events = history.process(usize::from(invocation.process));
        let asked = events[..usize::from(invocation.place)].iter();
        let earlier = asked
            .filter(|event| matches!(event, Event::Invoke(_)))
            .count();
        let mut submits = history.operations().filter(|(id, op)| {
            id.process == invocation.process && matches!(op, Request::Submit(_))
        });
        submits.nth(earlier).map(|(id, _)| id)
    }
}

/// Lets what a process does next happen after what another process did last.
fn follow<Op: Label, Value: Label>(
    sequence: &mut History<Op, Value>,
    last: Option<usize>,
    process: usize,
) {
    if let Some(last) = last.filter(|last| *last != process) {
        let to = EventId::new(process, 0).process;
        let from = sequence.push(last, Event::Send { to });
        sequence.push(process, Event::Receive { from });
    }
}

impl<S: Specification + 'static> Specification for Ordered<S> {
    type Op = Request<S::Op>;
    type Value = S::Value;
    type Outcome = Evaluation<S::Value>;

    /// Clients call what the specification lets them call, one operation after another, and send it to the authority; the authority sends
    /// each of them the log.
    fn universe(&self) -> Universe<Self> {
        let mut universe = Universe::new(self.events).calls_wait();
        let inner = self.spec.universe();
        let count = inner.processes().len();
        for (process, client) in inner.processes().iter().enumerate() {
            let others: Vec<usize> = if process == AUTHORITY {
                (1..count).collect()
            } else {
                vec![AUTHORITY]
            };
            let calls = client.program.clone();
            let program = Program::new(move |done| requests(&calls, done));
            let program = program.and_send(&others, 2);
            universe = universe.process_at(client.node(), client.name(), program);
        }
        universe
    }

    fn outcomes(&self, history: &HistoryOf<Self>) -> Vec<Self::Outcome> {
        let evaluation = self.evaluate(history, &self.log(history));
        // The shortest prefix has all results in it that were told.
        let mut shortest = 0;
        for (invocation, _) in history.invocations() {
            let wanted = Self::wanted(history, invocation);
            let Some(entry) = evaluation.iter().position(|(id, _)| Some(*id) == wanted) else {
                return Vec::new();
            };
            let result = evaluation[entry].1.as_ref();
            let told = history.response(invocation);
            if result.is_none() || told.is_some() && told != result {
                return Vec::new();
            }
            shortest = shortest.max(entry + 1);
        }
        (shortest..=evaluation.len())
            .map(|length| evaluation[..length].to_vec())
            .collect()
    }

    fn refines(&self, earlier: &Self::Outcome, later: &Self::Outcome) -> bool {
        later.starts_with(earlier)
    }

    fn answer(
        &self,
        outcome: &Self::Outcome,
        history: &HistoryOf<Self>,
        invocation: EventId,
    ) -> Option<S::Value> {
        let wanted = Self::wanted(history, invocation)?;
        outcome.iter().find(|(id, _)| *id == wanted)?.1.clone()
    }

    fn say_op(&self, op: &Self::Op) -> String {
        match op {
            Request::Submit(op) => format!("submit {}", self.spec.say_op(op)),
            Request::Result => "result".to_owned(),
        }
    }

    fn say_value(&self, value: &S::Value) -> String {
        self.spec.say_value(value)
    }

    fn say_outcome(&self, outcome: &Self::Outcome, history: &HistoryOf<Self>) -> String {
        let entries = outcome.iter().map(|(id, value)| {
            let op = history
                .op(*id)
                .map(|op| self.say_op(op))
                .unwrap_or_default();
            let value = value
                .as_ref()
                .map_or_else(|| "impossible".to_owned(), |value| self.say_value(value));
            format!("{op} \u{2192} {value}")
        });
        format!("\u{27e8}{}\u{27e9}", entries.collect::<Vec<_>>().join(", "))
    }
}

/// What a client may do next: what its program would call, if it has the result of what it submitted, and else ask for that.
fn requests<S: Specification>(
    program: &Program<S>,
    done: &[Event<Request<S::Op>, S::Value>],
) -> Vec<Action<Request<S::Op>>> {
    let submitted = |event: &Event<Request<S::Op>, S::Value>| match event {
        Event::Internal(Request::Submit(op)) => Some(Event::Invoke(op.clone())),
        Event::Internal(Request::Result)
        | Event::Invoke(_)
        | Event::Respond { .. }
        | Event::Send { .. }
        | Event::Receive { .. } => None,
    };
    let called: Vec<Event<S::Op, S::Value>> = done.iter().filter_map(submitted).collect();
    let told = done
        .iter()
        .filter(|event| matches!(event, Event::Invoke(_)))
        .count();
    if told < called.len() {
        return vec![Action::Call(Request::Result)];
    }
    let next = program.next(&called).into_iter();
    next.filter_map(|action| match action {
        Action::Call(op) | Action::Internal(op) => Some(Action::Internal(Request::Submit(op))),
        Action::Send(_) => None,
    })
    .collect()
}
