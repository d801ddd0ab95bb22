//! Which histories are looked at: programs of processes, and a bound on events.
//!
//! A universe is closed under taking back last steps: what a process may do next depends on what it did and
//! learned itself, and on nothing that it does not know. That is why every history of it is reached by adding steps
//! one at a time, in any order that agrees with happens-before.

use std::sync::Arc;

use super::history::Event;
use super::specification::Specification;

/// What a process may do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<Op> {
    /// A client asks for an operation here.
    Call(Op),
    /// Something happens inside.
    Internal(Op),
    /// A message with all that is known here leaves for a process.
    Send(usize),
}

/// What a process may do next, given what it did so far.
pub type Next<S> = dyn Fn(
        &[Event<<S as Specification>::Op, <S as Specification>::Value>],
    ) -> Vec<Action<<S as Specification>::Op>>
    + Send
    + Sync;

/// A program: what a process may do next, given what it did so far.
pub struct Program<S: Specification>(Arc<Next<S>>);

impl<S: Specification> std::fmt::Debug for Program<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

impl<S: Specification> Clone for Program<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Specification> Program<S> {
    /// A program by its rule.
    pub fn new(
        next: impl Fn(&[Event<S::Op, S::Value>]) -> Vec<Action<S::Op>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(next))
    }

    /// A process that does nothing but receive.
    #[must_use]
    pub fn idle() -> Self {
        Self::new(|_| Vec::new())
    }

    /// Calls from a menu in any order, each at most `each` times and all together at most `calls` times.
    #[must_use]
    pub fn menu(ops: &[S::Op], each: usize, calls: usize) -> Self {
        let ops = ops.to_vec();
        Self::new(move |done| {
            let asked = |op: &S::Op| done.iter().filter(|event| is_call(event, op)).count();
            if ops.iter().map(asked).sum::<usize>() >= calls {
                return Vec::new();
            }
            let open = ops.iter().filter(|op| asked(op) < each);
            open.cloned().map(Action::Call).collect()
        })
    }

    /// Calls one after another, in this order.
    #[must_use]
    pub fn script(ops: &[S::Op]) -> Self {
        let ops = ops.to_vec();
        Self::new(move |done| {
            let asked = done
                .iter()
                .filter(|event| matches!(event, Event::Invoke(_)))
                .count();
            ops.get(asked)
                .cloned()
                .map(Action::Call)
                .into_iter()
                .collect()
        })
    }

    /// The same program, which may also send up to `messages` messages to each of some processes. A message is sent only
    /// when something happened here since the last one to the same process: one that tells nothing new changes nothing.
    #[must_use]
    pub fn and_send(self, to: &[usize], messages: usize) -> Self {
        let to = to.to_vec();
        let next = self.0;
        Self::new(move |done| {
            let mut actions = next(done);
            for receiver in &to {
                let for_it = |event: &Event<S::Op, S::Value>| matches!(event, Event::Send { to } if usize::from(*to) == *receiver);
                let news = done
                    .iter()
                    .rev()
                    .take_while(|event| !for_it(event))
                    .any(|event| !matches!(event, Event::Send { .. }));
                if news && done.iter().filter(|event| for_it(event)).count() < messages {
                    actions.push(Action::Send(*receiver));
                }
            }
            actions
        })
    }

    pub(crate) fn next(&self, done: &[Event<S::Op, S::Value>]) -> Vec<Action<S::Op>> {
        (self.0)(done)
    }
}

fn is_call<Op: PartialEq, Value>(event: &Event<Op, Value>, op: &Op) -> bool {
    matches!(event, Event::Invoke(asked) if asked == op)
}

/// A process: its name, the node it runs on, and what it may do.
pub struct Process<S: Specification> {
    name: String,
    node: usize,
    pub(crate) program: Program<S>,
}

impl<S: Specification> Process<S> {
    /// What pictures call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node (the paper's process assignment). Partitions divide nodes, not the processes of one node.
    #[must_use]
    pub fn node(&self) -> usize {
        self.node
    }
}

impl<S: Specification> std::fmt::Debug for Process<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at node {}", self.name, self.node)
    }
}

/// Which answers a call may get.
#[derive(Debug)]
pub(crate) enum Answers<Value> {
    /// Those that the specification admits for what the answering process knows: what the causal-view protocol
    /// gives (Complete CALM, proof of operational Complete CALM).
    Admissible,
    /// All of these, whether the specification admits them or not.
    Any(Vec<Value>),
}

/// A renaming that changes nothing that matters: processes trade places, labels follow.
pub(crate) struct Symmetry<S: Specification> {
    /// The process that takes the place of each.
    pub(crate) places: Vec<usize>,
    /// What becomes of labels.
    pub(crate) op: fn(&S::Op) -> S::Op,
    /// What becomes of answers.
    pub(crate) value: fn(&S::Value) -> S::Value,
}

/// The bounded universe of a specification.
pub struct Universe<S: Specification> {
    pub(crate) processes: Vec<Process<S>>,
    pub(crate) events: usize,
    pub(crate) at_once: bool,
    pub(crate) waits: bool,
    pub(crate) answers: Answers<S::Value>,
    pub(crate) symmetries: Vec<Symmetry<S>>,
}

impl<S: Specification> std::fmt::Debug for Universe<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "up to {} events of {:?}", self.events, self.processes)
    }
}

impl<S: Specification> Universe<S> {
    /// No process yet, and histories of at most so many events.
    #[must_use]
    pub fn new(events: usize) -> Self {
        Self {
            processes: Vec::new(),
            events,
            at_once: true,
            waits: false,
            answers: Answers::Admissible,
            symmetries: Vec::new(),
        }
    }

    /// With a process on a node of its own.
    #[must_use]
    pub fn process(self, name: &str, program: Program<S>) -> Self {
        let node = self
            .processes
            .iter()
            .map(|process| process.node + 1)
            .max()
            .unwrap_or(0);
        self.process_at(node, name, program)
    }

    /// With a process on a node.
    #[must_use]
    pub fn process_at(mut self, node: usize, name: &str, program: Program<S>) -> Self {
        self.processes.push(Process {
            name: name.to_owned(),
            node,
            program,
        });
        self
    }

    /// A call and its answer become two steps, so that others may do something between them. Without this, a call is
    /// answered at once, as a process that needs no coordination can.
    #[must_use]
    pub fn answers_take_time(mut self) -> Self {
        self.at_once = false;
        self
    }

    /// Calls may wait: one to which no answer is admissible yet is made later, when there is one. A call is then the moment at which it is
    /// answered, as of a read that waits for a threshold. Without this, such a call is a history that admits nothing.
    #[must_use]
    pub fn calls_wait(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Calls get all of these answers, whether the specification admits them or not.
    #[must_use]
    pub fn any_answer(mut self, values: Vec<S::Value>) -> Self {
        self.answers = Answers::Any(values);
        self
    }

    /// Declares a renaming under which the specification does not change: neither programs nor outcomes, their order and
    /// the answers in them tell a history from its renamed copy, but for the names. Of histories that renamings turn into each
    /// other, one is looked at. That it is one is the author's promise; deciding without symmetry
    /// ([`Options::symmetry`](super::Options::symmetry)) is how it is tested.
    #[must_use]
    pub fn symmetric(
        mut self,
        places: &[usize],
        op: fn(&S::Op) -> S::Op,
        value: fn(&S::Value) -> S::Value,
    ) -> Self {
        self.symmetries.push(Symmetry {
            places: places.to_vec(),
            op,
            value,
        });
        self
    }

    /// The node of each process.
    pub(super) fn nodes(&self) -> Vec<usize> {
        self.processes.iter().map(Process::node).collect()
    }

    /// The processes.
    #[must_use]
    pub fn processes(&self) -> &[Process<S>] {
        &self.processes
    }

    /// The most events that a history has.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events
    }
}
