//! Histories and their futures (Complete CALM, section 3.1).
//!
//! A history is kept as what each process did, in its order. That is all of it: happens-before is program order and
//! messages, closed transitively, so two histories are equal when all their processes did the same and every receive
//! names the same send. Invariants:
//!
//! - a receive names a send to its own process that no other receive names, and comes after it;
//! - a response answers an invocation of its own process that has no other response;
//! - `clocks[p][i]` counts, for each process, the events that happen before the `i`-th of `p`, itself included.
//!
//! Because the past of an event never changes, an [`EventId`] means the same event in a history and in all its futures.

use std::fmt::{self, Debug};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

/// The most processes that a history has.
pub const MAX_PROCESSES: usize = 6;

/// How many events of each process there are: a set of events that has the earlier ones of every process in it.
pub type Cut = [u8; MAX_PROCESSES];

/// What labels of events have to be: compared, ordered, hashed and shown.
pub trait Label: Clone + Ord + Hash + Debug + Send + Sync + 'static {}

impl<T: Clone + Ord + Hash + Debug + Send + Sync + 'static> Label for T {}

/// The name of an event: its process, and how many events of that process come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The process, from 0.
    pub process: u8,
    /// The place in that process, from 0.
    pub place: u8,
}

impl EventId {
    /// The event of a process at a place.
    ///
    /// # Panics
    ///
    /// If either is over 255.
    #[must_use]
    #[inline]
    pub fn new(process: usize, place: usize) -> Self {
        let small = |number| u8::try_from(number).expect("histories here are small");
        Self {
            process: small(process),
            place: small(place),
        }
    }
}

/// One of the five kinds of events (Complete CALM, definition of an event universe).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event<Op, Value> {
    /// A client asks for an operation.
    Invoke(Op),
    /// The client is told the answer to what it asked.
    Respond {
        /// The invocation, of the same process.
        to: EventId,
        /// The answer.
        value: Value,
    },
    /// Something happens inside the process.
    Internal(Op),
    /// A message leaves for another process. It carries all that its sender knows.
    Send {
        /// The process that it is for.
        to: u8,
    },
    /// A message arrives.
    Receive {
        /// The send.
        from: EventId,
    },
}

/// What happened so far: events of processes, partially ordered by who could know of whom.
#[derive(Clone)]
pub struct History<Op, Value> {
    processes: Vec<Vec<Event<Op, Value>>>,
    clocks: Vec<Vec<Cut>>,
}

impl<Op: Label, Value: Label> History<Op, Value> {
    /// The history in which nothing has happened yet.
    ///
    /// # Panics
    ///
    /// If there are more processes than [`MAX_PROCESSES`].
    #[must_use]
    pub fn new(processes: usize) -> Self {
        assert!(
            processes <= MAX_PROCESSES,
            "{processes} processes are too many"
        );
        Self {
            processes: vec![Vec::new(); processes],
            clocks: vec![Vec::new(); processes],
        }
    }

    /// Lets an event happen at a process, after all that happened there; says its name.
    ///
    /// # Panics
    ///
    /// If a receive names no send to this process, or a response no invocation of this process.
    pub fn push(&mut self, process: usize, event: Event<Op, Value>) -> EventId {
        let id = EventId::new(process, self.processes[process].len());
        let mut clock = self.clocks[process].last().copied().unwrap_or_default();
        match &event {
            Event::Receive { from } => {
                let send = self.get(*from);
                assert!(
                    matches!(send, Some(Event::Send { to }) if usize::from(*to) == process),
                    "{from:?} is no message to process {process}: {send:?}"
                );
                let sent = &self.clocks[usize::from(from.process)][usize::from(from.place)];
                for (known, learned) in clock.iter_mut().zip(sent) {
                    *known = (*known).max(*learned);
                }
            }
            Event::Respond { to, .. } => {
                let asked = self.get(*to);
                assert!(
                    to.process == id.process && matches!(asked, Some(Event::Invoke(_))),
                    "{to:?} was not asked by process {process}: {asked:?}"
                );
            }
            Event::Invoke(_) | Event::Internal(_) | Event::Send { .. } => {}
        }
        clock[process] = id.place + 1;
        self.processes[process].push(event);
        self.clocks[process].push(clock);
        id
    }

    /// Takes the last event of a process back. Nothing that happened elsewhere may depend on it.
    pub(crate) fn pop(&mut self, process: usize) {
        self.processes[process].pop();
        self.clocks[process].pop();
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.iter().map(Vec::len).sum()
    }

    /// Whether nothing has happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.iter().all(Vec::is_empty)
    }

    /// How many processes there are, those that did nothing included.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// What a process did, in its order.
    #[must_use]
    pub fn process(&self, process: usize) -> &[Event<Op, Value>] {
        &self.processes[process]
    }

    /// An event by its name.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&Event<Op, Value>> {
        self.processes
            .get(usize::from(id.process))?
            .get(usize::from(id.place))
    }

    /// All events: those of the first process, then those of the next.
    pub fn events(&self) -> impl Iterator<Item = (EventId, &Event<Op, Value>)> {
        self.processes
            .iter()
            .enumerate()
            .flat_map(|(process, events)| {
                let numbered = events.iter().enumerate();
                numbered.map(move |(place, event)| (EventId::new(process, place), event))
            })
    }

    /// All invocations, with what was asked for.
    pub fn invocations(&self) -> impl Iterator<Item = (EventId, &Op)> {
        self.events().filter_map(|(id, event)| match event {
            Event::Invoke(op) => Some((id, op)),
            Event::Respond { .. }
            | Event::Internal(_)
            | Event::Send { .. }
            | Event::Receive { .. } => None,
        })
    }

    /// All invocations and internal events, with their labels: everything but messages and answers.
    pub fn operations(&self) -> impl Iterator<Item = (EventId, &Op)> {
        self.events().filter_map(|(id, event)| match event {
            Event::Invoke(op) | Event::Internal(op) => Some((id, op)),
            Event::Respond { .. } | Event::Send { .. } | Event::Receive { .. } => None,
        })
    }

    /// The label of an invocation or of an internal event.
    #[must_use]
    pub fn op(&self, id: EventId) -> Option<&Op> {
        match self.get(id)? {
            Event::Invoke(op) | Event::Internal(op) => Some(op),
            Event::Respond { .. } | Event::Send { .. } | Event::Receive { .. } => None,
        }
    }

    /// The answer to an invocation, if it was given.
    #[must_use]
    pub fn response(&self, invocation: EventId) -> Option<&Value> {
        match self.get(self.response_to(invocation)?)? {
            Event::Respond { value, .. } => Some(value),
            Event::Invoke(_) | Event::Internal(_) | Event::Send { .. } | Event::Receive { .. } => {
                None
            }
        }
    }

    /// The event that answers an invocation, if there is one.
    #[must_use]
    pub fn response_to(&self, invocation: EventId) -> Option<EventId> {
        let events = self.processes.get(usize::from(invocation.process))?;
        let next = usize::from(invocation.place) + 1;
        let answers = |event: &Event<Op, Value>| matches!(event, Event::Respond { to, .. } if *to == invocation);
        let after = events.get(next..)?.iter().position(answers)?;
        Some(EventId::new(usize::from(invocation.process), next + after))
    }

    /// The invocation of a process that has no answer yet. A process has at most one in a universe.
    #[must_use]
    pub fn pending(&self, process: usize) -> Option<EventId> {
        let asked = |event: &Event<Op, Value>| matches!(event, Event::Invoke(_));
        let place = self.processes[process].iter().rposition(asked)?;
        let id = EventId::new(process, place);
        self.response(id).is_none().then_some(id)
    }

    /// Whether some invocation has no answer yet.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        (0..self.processes.len()).any(|process| self.pending(process).is_some())
    }

    /// The receive of a message, if it arrived.
    #[must_use]
    pub fn receipt(&self, send: EventId) -> Option<EventId> {
        let Some(Event::Send { to }) = self.get(send) else {
            return None;
        };
        let receiver = usize::from(*to);
        let arrived =
            |event: &Event<Op, Value>| matches!(event, Event::Receive { from } if *from == send);
        let place = self.processes[receiver].iter().position(arrived)?;
        Some(EventId::new(receiver, place))
    }

    /// Whether one event happens before another. No event happens before itself.
    #[must_use]
    pub fn precedes(&self, first: EventId, second: EventId) -> bool {
        first != second && self.past(second)[usize::from(first.process)] > first.place
    }

    /// Whether neither of two different events happens before the other.
    #[must_use]
    pub fn concurrent(&self, one: EventId, other: EventId) -> bool {
        one != other && !self.precedes(one, other) && !self.precedes(other, one)
    }

    /// What happens before an event, itself included.
    ///
    /// # Panics
    ///
    /// If there is no such event.
    #[must_use]
    pub fn past(&self, event: EventId) -> Cut {
        self.clocks[usize::from(event.process)][usize::from(event.place)]
    }

    /// All that a process knows of.
    #[must_use]
    pub fn known_to(&self, process: usize) -> Cut {
        self.clocks[process].last().copied().unwrap_or_default()
    }

    /// All that there is.
    #[must_use]
    pub fn whole(&self) -> Cut {
        let mut whole = Cut::default();
        for (process, events) in self.processes.iter().enumerate() {
            whole[process] = EventId::new(process, events.len()).place;
        }
        whole
    }

    /// The history that a process knows: its causal view (Complete CALM, section 3.5).
    #[must_use]
    pub fn view(&self, process: usize) -> Self {
        self.restrict(&self.known_to(process))
    }

    /// The history of the events in a cut.
    ///
    /// # Panics
    ///
    /// If the cut is not downward closed, or has more events than there are.
    #[must_use]
    pub fn restrict(&self, cut: &Cut) -> Self {
        assert!(self.is_closed(cut), "{cut:?} is not downward closed");
        let kept = |process: usize| usize::from(cut[process]);
        let processes = self.processes.iter().enumerate();
        let clocks = self.clocks.iter().enumerate();
        Self {
            processes: processes
                .map(|(process, all)| all[..kept(process)].to_vec())
                .collect(),
            clocks: clocks
                .map(|(process, all)| all[..kept(process)].to_vec())
                .collect(),
        }
    }

    /// Whether a cut has with each event all that happens before it.
    #[must_use]
    pub fn is_closed(&self, cut: &Cut) -> bool {
        (0..self.processes.len()).all(|process| {
            let last = usize::from(cut[process]).checked_sub(1);
            last.is_none_or(|last| {
                let before = &self.clocks[process][last];
                before.iter().zip(cut).all(|(needed, kept)| needed <= kept)
            })
        })
    }

    /// All downward closed cuts, the empty one and the whole included.
    #[must_use]
    pub fn cuts(&self) -> Vec<Cut> {
        let mut cuts = vec![Cut::default()];
        for process in 0..self.processes.len() {
            let events = self.processes[process].len();
            let longer = |cut: &Cut| {
                let cut = *cut;
                (0..=events).map(move |kept| {
                    let mut cut = cut;
                    cut[process] = EventId::new(process, kept).place;
                    cut
                })
            };
            cuts = cuts.iter().flat_map(longer).collect();
        }
        cuts.retain(|cut| self.is_closed(cut));
        cuts
    }

    /// Whether this is a future of another history: that one's events are here, and nothing was put before them
    /// (Complete CALM, definition of a future). Every history is a future of itself.
    #[must_use]
    pub fn is_future_of(&self, earlier: &Self) -> bool {
        self.processes.len() == earlier.processes.len()
            && earlier
                .processes
                .iter()
                .zip(&self.processes)
                .all(|(before, after)| after.starts_with(before))
    }

    /// Shows every total order of some events that agrees with happens-before, until the visitor breaks; says whether
    /// it did.
    pub fn orders(
        &self,
        among: &[EventId],
        mut visit: impl FnMut(&[EventId]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut rest = among.to_vec();
        let mut order = Vec::with_capacity(rest.len());
        self.extend_order(&mut rest, &mut order, &mut visit)
    }

    /// All total orders of some events that agree with happens-before.
    #[must_use]
    pub fn all_orders(&self, among: &[EventId]) -> Vec<Vec<EventId>> {
        let mut orders = Vec::new();
        let flow = self.orders(among, |order| {
            orders.push(order.to_vec());
            ControlFlow::Continue(())
        });
        debug_assert!(flow.is_continue(), "nobody breaks");
        orders
    }

    fn extend_order(
        &self,
        rest: &mut Vec<EventId>,
        order: &mut Vec<EventId>,
        visit: &mut impl FnMut(&[EventId]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if rest.is_empty() {
            return visit(order);
        }
        for place in 0..rest.len() {
            let next = rest[place];
            if rest.iter().any(|other| self.precedes(*other, next)) {
                continue;
            }
            rest.remove(place);
            order.push(next);
            let flow = self.extend_order(rest, order, visit);
            order.pop();
            rest.insert(place, next);
            flow?;
        }
        ControlFlow::Continue(())
    }

    /// The same history with processes and labels renamed: process `p` becomes `places[p]`.
    #[must_use]
    pub fn renamed(
        &self,
        places: &[usize],
        mut op: impl FnMut(&Op) -> Op,
        mut value: impl FnMut(&Value) -> Value,
    ) -> Self {
        let mut renamed = Self::new(self.processes.len());
        for (process, events) in self.processes.iter().enumerate() {
            let new = places[process];
            let moved = |event| renamed_event(event, places, &mut op, &mut value);
            renamed.processes[new] = events.iter().map(moved).collect();
            renamed.clocks[new] = self.clocks[process]
                .iter()
                .map(|clock| {
                    let mut moved = Cut::default();
                    for (old, place) in places.iter().enumerate() {
                        moved[*place] = clock[old];
                    }
                    moved
                })
                .collect();
        }
        renamed
    }

    /// How the same history with processes and labels renamed compares to this one, without making it.
    pub(crate) fn cmp_renamed(
        &self,
        places: &[usize],
        mut op: impl FnMut(&Op) -> Op,
        mut value: impl FnMut(&Value) -> Value,
    ) -> std::cmp::Ordering {
        let mut differ = (0..self.processes.len()).map(|new| {
            let old = places.iter().position(|place| *place == new);
            let old = &self.processes[old.expect("a renaming is a permutation")];
            let moved = |event| renamed_event(event, places, &mut op, &mut value);
            old.iter()
                .map(moved)
                .cmp(self.processes[new].iter().cloned())
        });
        differ
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

fn renamed_event<Op, Value>(
    event: &Event<Op, Value>,
    places: &[usize],
    op: &mut impl FnMut(&Op) -> Op,
    value: &mut impl FnMut(&Value) -> Value,
) -> Event<Op, Value> {
    let elsewhere = |id: &EventId| EventId {
        process: EventId::new(places[usize::from(id.process)], 0).process,
        place: id.place,
    };
    match event {
        Event::Invoke(asked) => Event::Invoke(op(asked)),
        Event::Internal(done) => Event::Internal(op(done)),
        Event::Respond { to, value: answer } => Event::Respond {
            to: elsewhere(to),
            value: value(answer),
        },
        Event::Send { to } => Event::Send {
            to: EventId::new(places[usize::from(*to)], 0).process,
        },
        Event::Receive { from } => Event::Receive {
            from: elsewhere(from),
        },
    }
}

impl<Op: PartialEq, Value: PartialEq> PartialEq for History<Op, Value> {
    fn eq(&self, other: &Self) -> bool {
        self.processes == other.processes
    }
}

impl<Op: Eq, Value: Eq> Eq for History<Op, Value> {}

impl<Op: Ord, Value: Ord> PartialOrd for History<Op, Value> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<Op: Ord, Value: Ord> Ord for History<Op, Value> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.processes.cmp(&other.processes)
    }
}

impl<Op: Hash, Value: Hash> Hash for History<Op, Value> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.processes.hash(state);
    }
}

impl<Op: Debug, Value: Debug> Debug for History<Op, Value> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.processes).finish()
    }
}
