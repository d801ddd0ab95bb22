//! A witness or a history without its types: what pictures and JSON are made of.
//!
//! In all pictures, a process is a line, and what it did stands on it in its order; messages go from line to line. What only
//! the future has comes after all else: those events stand last, and none of the others depends on them.

mod dot;
mod page;
mod text;

use serde::Serialize;

use crate::spec::history::{Event, EventId};
use crate::spec::specification::{HistoryOf, Specification};
use crate::spec::universe::Process;
use crate::spec::well_formed::Breach;
use crate::spec::witness::Witness;

/// A space-time diagram: lanes of processes, events in an order that agrees with happens-before, messages between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagram {
    /// What is seen, in a few words.
    pub title: String,
    /// The processes, from the first.
    pub lanes: Vec<Lane>,
    /// The events, in an order in which no event comes before one that it depends on.
    pub events: Vec<Mark>,
    /// The messages that arrived: where in `events` they were sent, and where they were received.
    pub messages: Vec<[usize; 2]>,
    /// What the events that are not `later` admit: the outcome that is at stake, and what becomes of it.
    pub sentences: Vec<String>,
}

/// A process in a diagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// The node that it runs on.
    pub node: usize,
}

/// An event in a diagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Its process, from 0.
    pub lane: usize,
    /// Its kind.
    pub kind: Kind,
    /// What is written at it; of messages, where they go or come from.
    pub label: String,
    /// Whether it belongs to the future only.
    pub later: bool,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An invocation without an answer yet.
    Invoke,
    /// A response that did not follow its invocation at once.
    Respond,
    /// An invocation and its response, which followed at once.
    Call,
    /// Something inside a process.
    Internal,
    /// A message leaves.
    Send,
    /// A message arrives.
    Receive,
}

impl Diagram {
    /// For a terminal: a column for each process, time downwards. Messages are called by letters; a line divides the history
    /// from its future. Sentences are lines of their own, however long.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// The events in one line, those of the future after `then`.
    #[must_use]
    pub fn line(&self) -> String {
        text::line(self)
    }

    /// An SVG for light and dark pages, without fonts or scripts from elsewhere: a line for each process, time to the
    /// right. What only the future has is shaded.
    #[must_use]
    pub fn svg(&self) -> String {
        page::svg(self)
    }

    /// The same in the DOT language of Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        dot::dot(self)
    }

    /// How many events there are; a call and its answer are two.
    #[must_use]
    pub fn size(&self) -> usize {
        let calls = self.events.iter().filter(|event| event.kind == Kind::Call);
        self.events.len() + calls.count()
    }

    /// Whether there are events of the future, and the others end before it.
    fn has_future(&self) -> bool {
        self.events.iter().any(|event| event.later)
    }

    /// What a process is called, with its node if others run there, too.
    fn lane_name(&self, lane: usize) -> String {
        let Lane { name, node } = &self.lanes[lane];
        if self.lanes.iter().filter(|lane| lane.node == *node).count() > 1 {
            format!("{name} at node {node}")
        } else {
            name.clone()
        }
    }
}

impl Mark {
    /// What is written at it: a call without an answer says so.
    fn words(&self) -> String {
        let label = self.label.replace(char::is_control, " ");
        match self.kind {
            Kind::Invoke => format!("{label} \u{2192} ?"),
            Kind::Respond | Kind::Call | Kind::Internal | Kind::Send | Kind::Receive => label,
        }
    }

    fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Send | Kind::Receive)
    }
}

impl<S: Specification> Witness<S> {
    /// The witness as a diagram of its second history, in which the events that the first does not have are marked.
    #[must_use]
    pub fn diagram(&self, spec: &S, title: &str) -> Diagram {
        let mut sentences = vec![format!(
            "Admitted before: {}",
            spec.say_outcome(&self.outcome, &self.before)
        )];
        if self.later.is_empty() {
            sentences.push(
                "Afterwards nothing is admitted: no outcome explains these events.".to_owned(),
            );
        } else {
            sentences.push("Afterwards nothing that is admitted refines it:".to_owned());
            let later = self.later.iter().take(MOST_OUTCOMES);
            sentences.extend(
                later.map(|outcome| format!("  {}", spec.say_outcome(outcome, &self.after))),
            );
            if let Some(more @ 1..) = self.later.len().checked_sub(MOST_OUTCOMES) {
                sentences.push(format!("  and {more} more"));
            }
        }
        draw(spec, title, &self.before, &self.after, sentences)
    }
}

impl<S: Specification> Breach<S> {
    /// The breach as a diagram of the history that shows it.
    #[must_use]
    pub fn diagram(&self, spec: &S, title: &str) -> Diagram {
        let sentences = vec![format!("Not kept: {}", self.condition), self.words.clone()];
        draw(spec, title, &self.history, &self.history, sentences)
    }
}

/// How many outcomes of the future are listed.
const MOST_OUTCOMES: usize = 4;

/// A history as a diagram; the events that `before` does not have are marked as later.
pub(crate) fn draw<S: Specification>(
    spec: &S,
    title: &str,
    before: &HistoryOf<S>,
    history: &HistoryOf<S>,
    sentences: Vec<String>,
) -> Diagram {
    let universe = spec.universe();
    let lane = |process: &Process<S>| Lane {
        name: process.name().to_owned(),
        node: process.node(),
    };
    let name = |process: u8| universe.processes()[usize::from(process)].name();
    let order = history.told_after(before);
    let mut events: Vec<Mark> = Vec::new();
    let mut place: Vec<(EventId, usize)> = Vec::new();
    for id in order {
        let event = history.get(id).expect("it is told of an event");
        let later = before.get(id).is_none();
        if let Event::Respond { to, value } = event {
            let at_once = id.place == to.place + 1
                && place.last().is_some_and(|(last, _)| last == to)
                && events.last().is_some_and(|mark| mark.later == later);
            if let (true, Some(call)) = (at_once, events.last_mut()) {
                call.kind = Kind::Call;
                call.label = format!("{} \u{2192} {}", call.label, spec.say_value(value));
                continue;
            }
        }
        place.push((id, events.len()));
        let (kind, label) = match event {
            Event::Invoke(op) => (Kind::Invoke, spec.say_op(op)),
            Event::Respond { to, value } => {
                let asked = history
                    .op(*to)
                    .map(|op| spec.say_op(op))
                    .unwrap_or_default();
                (
                    Kind::Respond,
                    format!("{asked} \u{2192} {}", spec.say_value(value)),
                )
            }
            Event::Internal(op) => (Kind::Internal, spec.say_op(op)),
            Event::Send { to } => (Kind::Send, format!("to {}", name(*to))),
            Event::Receive { from } => (Kind::Receive, format!("from {}", name(from.process))),
        };
        events.push(Mark {
            lane: usize::from(id.process),
            kind,
            label,
            later,
        });
    }
    let at = |id: EventId| {
        place
            .iter()
            .find(|(other, _)| *other == id)
            .map(|(_, at)| *at)
    };
    let messages = history.events().filter_map(|(id, event)| match event {
        Event::Receive { from } => Some([at(*from)?, at(id)?]),
        Event::Invoke(_) | Event::Respond { .. } | Event::Internal(_) | Event::Send { .. } => None,
    });
    Diagram {
        title: title.to_owned(),
        lanes: universe.processes().iter().map(lane).collect(),
        messages: messages.collect(),
        events,
        sentences,
    }
}
