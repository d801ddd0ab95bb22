//! Replicated objects (Complete CALM, section 7.3 and appendix F, "Reading a CRDT").
//!
//! A state is a map from entries to numbers, and merging takes the larger number of each: every object here is a
//! join-semilattice by construction. Whether its updates only go up is what the rows ask.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Cut, Event, EventId, History};
use super::super::monotone::monotone;
use super::super::specification::{Ack, Specification};
use super::super::universe::{Program, Universe};
use super::answers::{Answers, alike, included, say, say_set};
use super::{Question, Row};

pub(super) fn rows() -> Vec<Row> {
    const SECTION: &str = "Complete CALM, section 7.3";
    const READING: &str = "Complete CALM, appendix F, \"Reading a CRDT\"";
    let states = |id, title, object, claim| {
        Row::new(id, title, SECTION)
            .remark("Outcomes are the states that replicas are in, and what merges of those give; the order is that of the lattice.")
            .monotone(States(object), claim)
    };
    let reads = |id, title, object, explained| {
        let reads = Reads {
            object,
            menu: &[Op::Read],
            explained,
        };
        Row::new(id, title, READING).monotone(reads, false)
    };
    let past = Reads {
        object: Object::GrowOnlySet,
        menu: &[Op::Read],
        explained: Explained::WhereItWasMade,
    };
    let thresholds = Reads {
        object: Object::GrowOnlySet,
        menu: &[Op::Await("milk"), Op::Await("eggs")],
        explained: Explained::Now,
    };
    vec![
        states("g-set", "a grow-only set", Object::GrowOnlySet, true),
        states("g-counter", "a grow-only counter", Object::GrowOnlyCounter, true),
        states("pn-counter", "a counter that goes up and down", Object::Counter, true),
        states("or-set", "an observed-remove set", Object::ObservedRemoveSet, true),
        states("two-phase-set", "a two-phase set", Object::TwoPhaseSet, true),
        states("reset-counter", "a counter with reset", Object::ResetCounter, false),
        reads("crdt-reads", "reads of a grow-only set", Object::GrowOnlySet, Explained::WhereItArrives)
            .remark("The paper's own reason, taken at its word: a read has to be what each replica that it is delivered to would \
                answer when it arrives, leaving out updates that came after the read. A merge that came first moves that replica past it."),
        reads("crdt-reads-of-now", "reads of the present state of a grow-only set", Object::GrowOnlySet, Explained::Now)
            .remark("The reading as in the transducer instantiation of section 6.1: a read has to be the state of all updates that there \
                are, leaving out those that came after the read. One update that the reader does not know of makes it wrong."),
        Row::new("crdt-reads-of-the-past", "reads of a grow-only set from what the reader knows", READING)
            .remark("The other reading: the responses are events, an answer is the state of the reader's causal past, and stands. A future \
                puts nothing before an event, so admitted answers only accumulate (lemma 1 of appendix F), and this is monotone. \
                It differs from the two rows above in one point: nobody but the reader has to explain a read.")
            .ask(Question::Monotone, past, None, monotone)
            .convergent(past, |op| *op != Op::Read, true),
        reads("lww-reads", "reads of a last-writer-wins register", Object::LastWriterWins, Explained::WhereItArrives)
            .remark("Explained where they arrive, as in crdt-reads: the later stamp may have got there first."),
        Row::new("threshold-reads", "threshold reads of a grow-only set", READING)
            .remark("A call is the moment at which the read returns: before the threshold is reached it waits. It has to be right of the present \
                state, the strictest of the three ways to explain reads.")
            .monotone(thresholds, true),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Op {
    Add(&'static str),
    Remove(&'static str),
    Up,
    Down,
    Reset,
    Write(&'static str),
    Read,
    /// Waits until an item is in the set.
    Await(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    Done,
    Items(BTreeSet<&'static str>),
    Reached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    GrowOnlySet,
    GrowOnlyCounter,
    Counter,
    ObservedRemoveSet,
    TwoPhaseSet,
    ResetCounter,
    LastWriterWins,
}

/// What a state counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Added(&'static str),
    Removed(&'static str),
    /// An item, and the update that added it. 1 if it is in the set, 2 if it was removed.
    Tag(&'static str, EventId),
    /// How often a replica went up.
    Ups(u8),
    Downs(u8),
    /// When a value was last written, by a Lamport clock. The latest wins; of two at once, the greater.
    Stamp(&'static str),
}

type State = BTreeMap<Entry, u8>;

fn merge(state: &mut State, other: &State) {
    for (entry, number) in other {
        let mine = state.entry(*entry).or_default();
        *mine = (*mine).max(*number);
    }
}

impl Object {
    fn menu(self) -> &'static [Op] {
        const ITEMS: [Op; 4] = [
            Op::Add("milk"),
            Op::Add("eggs"),
            Op::Remove("milk"),
            Op::Remove("eggs"),
        ];
        match self {
            Self::GrowOnlySet => &ITEMS[..2],
            Self::GrowOnlyCounter => &[Op::Up],
            Self::Counter => &[Op::Up, Op::Down],
            Self::ObservedRemoveSet | Self::TwoPhaseSet => &ITEMS,
            Self::ResetCounter => &[Op::Up, Op::Reset],
            Self::LastWriterWins => &[Op::Write("milk"), Op::Write("eggs")],
        }
    }

    fn update(self, state: &mut State, op: &Op, at: EventId) {
        match *op {
            Op::Add(item) if self == Self::ObservedRemoveSet => {
                state.insert(Entry::Tag(item, at), 1);
            }
            Op::Add(item) => {
                state.insert(Entry::Added(item), 1);
            }
            Op::Remove(item) if self == Self::ObservedRemoveSet => {
                let observed =
                    |entry: &Entry| matches!(entry, Entry::Tag(other, _) if *other == item);
                for (_, tag) in state.iter_mut().filter(|(entry, _)| observed(entry)) {
                    *tag = 2;
                }
            }
            Op::Remove(item) => {
                if state.contains_key(&Entry::Added(item)) {
                    state.insert(Entry::Removed(item), 1);
                }
            }
            Op::Up => *state.entry(Entry::Ups(at.process)).or_default() += 1,
            Op::Down => *state.entry(Entry::Downs(at.process)).or_default() += 1,
            Op::Reset => state.clear(),
            Op::Write(value) => {
                let clock = state.values().max().copied().unwrap_or_default();
                state.insert(Entry::Stamp(value), clock + 1);
            }
            Op::Read | Op::Await(_) => {}
        }
    }

    /// What a read returns in a state, if it does not have to wait.
    fn read(self, state: &State, op: &Op) -> Option<Answer> {
        let added = |entry: &Entry| match entry {
            Entry::Added(item) => Some(*item),
            Entry::Removed(_)
            | Entry::Tag(..)
            | Entry::Ups(_)
            | Entry::Downs(_)
            | Entry::Stamp(_) => None,
        };
        match op {
            Op::Await(item) => state
                .contains_key(&Entry::Added(item))
                .then_some(Answer::Reached),
            Op::Read if self == Self::LastWriterWins => {
                let last = state.iter().max_by_key(|(entry, stamp)| (**stamp, **entry));
                let value = last.and_then(|(entry, _)| match entry {
                    Entry::Stamp(value) => Some(*value),
                    Entry::Added(_)
                    | Entry::Removed(_)
                    | Entry::Tag(..)
                    | Entry::Ups(_)
                    | Entry::Downs(_) => None,
                });
                Some(Answer::Items(value.into_iter().collect()))
            }
            Op::Read => Some(Answer::Items(state.keys().filter_map(added).collect())),
            Op::Add(_) | Op::Remove(_) | Op::Up | Op::Down | Op::Reset | Op::Write(_) => {
                Some(Answer::Done)
            }
        }
    }

    /// The state of a replica after so many events, without some updates.
    fn state<Value: super::super::history::Label>(
        self,
        history: &History<Op, Value>,
        process: usize,
        events: usize,
        without: &dyn Fn(EventId) -> bool,
    ) -> State {
        let mut state = State::new();
        for (place, event) in history.process(process)[..events].iter().enumerate() {
            match event {
                Event::Invoke(op) => {
                    let at = EventId::new(process, place);
                    if !without(at) {
                        self.update(&mut state, op, at);
                    }
                }
                Event::Receive { from } => {
                    let sent = self.state(
                        history,
                        usize::from(from.process),
                        usize::from(from.place),
                        without,
                    );
                    merge(&mut state, &sent);
                }
                Event::Respond { .. } | Event::Internal(_) | Event::Send { .. } => {}
            }
        }
        state
    }
}

fn say_state(state: &State) -> String {
    say_set(state.iter().map(|(entry, number)| match entry {
        Entry::Added(item) => format!("{item} added"),
        Entry::Removed(item) => format!("{item} removed"),
        Entry::Tag(item, id) => {
            let place = ["added", "removed"][usize::from(*number > 1)];
            format!("{item} {place} (by {}.{})", id.process, id.place)
        }
        Entry::Ups(replica) => format!("replica {replica}: +{number}"),
        Entry::Downs(replica) => format!("replica {replica}: -{number}"),
        Entry::Stamp(value) => format!("{value} at {number}"),
    }))
}

/// The states of an object that is kept at three replicas.
struct States(Object);

impl Specification for States {
    type Op = Op;
    type Value = Ack;
    type Outcome = State;

    fn universe(&self) -> Universe<Self> {
        let program = Program::menu(self.0.menu(), 2, 2);
        // With twice as many operations there are as many histories of one event less.
        let events = if self.0.menu().len() > 2 { 8 } else { 9 };
        alike(events, &REPLICAS, &program, 1, other_item, Ack::clone)
    }

    fn outcomes(&self, history: &History<Op, Ack>) -> Vec<State> {
        let state = |replica| {
            self.0
                .state(history, replica, history.process(replica).len(), &|_| false)
        };
        let replicas: Vec<State> = (0..history.processes()).map(state).collect();
        let mut states = Vec::new();
        for some in 1..1_usize << replicas.len() {
            let mut merged = State::new();
            let chosen = replicas.iter().enumerate();
            for (_, state) in chosen.filter(|(replica, _)| some >> replica & 1 == 1) {
                merge(&mut merged, state);
            }
            if !states.contains(&merged) {
                states.push(merged);
            }
        }
        states
    }

    fn refines(&self, earlier: &State, later: &State) -> bool {
        let reached = |entry, number| later.get(entry).is_some_and(|later| later >= number);
        earlier.iter().all(|(entry, number)| reached(entry, number))
    }

    fn answer(&self, _: &State, _: &History<Op, Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, op: &Op) -> String {
        say_op(op)
    }

    fn say_outcome(&self, outcome: &State, _: &History<Op, Ack>) -> String {
        say_state(outcome)
    }
}

/// What has to explain a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Explained {
    /// The state of who reads.
    WhereItWasMade,
    /// The state of every replica that hears of it, when it does.
    WhereItArrives,
    /// The state of all updates that there are.
    Now,
}

/// Reads of an object, exposed as responses: the outcome is what all reads returned.
#[derive(Debug, Clone, Copy)]
struct Reads {
    object: Object,
    menu: &'static [Op],
    explained: Explained,
}

impl Reads {
    /// What is known where a read has to be explained; who reads comes first.
    fn places(&self, history: &History<Op, Answer>, read: EventId) -> Vec<Cut> {
        let mut places = vec![history.past(read)];
        match self.explained {
            Explained::WhereItWasMade => {}
            Explained::WhereItArrives => {
                let others = (0..history.processes())
                    .filter(|process| *process != usize::from(read.process));
                let arrival = |process| {
                    let all = 0..history.process(process).len();
                    let mut events = all.map(|place| EventId::new(process, place));
                    events.find(|event| history.precedes(read, *event))
                };
                places.extend(others.filter_map(arrival).map(|event| history.past(event)));
            }
            Explained::Now => places.push(history.whole()),
        }
        places
    }

    /// The answer to a read where this is known, leaving out updates that came after the read.
    fn read(&self, history: &History<Op, Answer>, known: &Cut, read: EventId) -> Option<Answer> {
        let mut state = State::new();
        for (process, events) in known.iter().enumerate().take(history.processes()) {
            let later = |update| history.precedes(read, update);
            let there = self
                .object
                .state(history, process, usize::from(*events), &later);
            merge(&mut state, &there);
        }
        self.object.read(&state, history.op(read)?)
    }

    fn explain(&self, history: &History<Op, Answer>, read: EventId) -> Option<Answer> {
        let places = self.places(history, read);
        let mut answers = places.iter().map(|known| self.read(history, known, read));
        let answer = answers.next().flatten()?;
        let stands = history.response(read).is_none_or(|given| *given == answer);
        (stands && answers.all(|other| other.as_ref() == Some(&answer))).then_some(answer)
    }
}

impl Specification for Reads {
    type Op = Op;
    type Value = Answer;
    type Outcome = Answers<Answer>;

    fn universe(&self) -> Universe<Self> {
        let menu = [self.object.menu(), self.menu].concat();
        let program = Program::menu(&menu, 1, 2);
        // Of two writes at once the greater wins: values of the register cannot trade places.
        let symmetric = self.object != Object::LastWriterWins;
        let item = if symmetric { other_item } else { Op::clone };
        let items = if symmetric {
            other_items
        } else {
            Answer::clone
        };
        alike(9, &REPLICAS, &program, 1, item, items).calls_wait()
    }

    fn outcomes(&self, history: &History<Op, Answer>) -> Vec<Answers<Answer>> {
        let asks = |op: &Op| matches!(op, Op::Read | Op::Await(_));
        let reads = history.invocations().filter(|(_, op)| asks(op));
        let explained = reads.map(|(read, _)| Some((read, self.explain(history, read)?)));
        explained.collect::<Option<_>>().into_iter().collect()
    }

    fn refines(&self, earlier: &Answers<Answer>, later: &Answers<Answer>) -> bool {
        included(earlier, later)
    }

    fn answer(
        &self,
        outcome: &Answers<Answer>,
        history: &History<Op, Answer>,
        asked: EventId,
    ) -> Option<Answer> {
        match history.op(asked)? {
            Op::Read | Op::Await(_) => outcome.get(&asked).cloned(),
            Op::Add(_) | Op::Remove(_) | Op::Up | Op::Down | Op::Reset | Op::Write(_) => {
                Some(Answer::Done)
            }
        }
    }

    fn say_op(&self, op: &Op) -> String {
        say_op(op)
    }

    fn say_value(&self, value: &Answer) -> String {
        match value {
            Answer::Done => "ok".to_owned(),
            Answer::Items(items) => say_set(items),
            Answer::Reached => "it is there".to_owned(),
        }
    }

    fn say_outcome(&self, outcome: &Answers<Answer>, history: &History<Op, Answer>) -> String {
        format!("{{{}}}", say(self, history, outcome))
    }
}

const REPLICAS: [&str; 3] = ["p", "q", "r"];

fn other(item: &'static str) -> &'static str {
    if item == "milk" { "eggs" } else { "milk" }
}

fn other_item(op: &Op) -> Op {
    match *op {
        Op::Add(item) => Op::Add(other(item)),
        Op::Remove(item) => Op::Remove(other(item)),
        Op::Write(item) => Op::Write(other(item)),
        Op::Await(item) => Op::Await(other(item)),
        Op::Up => Op::Up,
        Op::Down => Op::Down,
        Op::Reset => Op::Reset,
        Op::Read => Op::Read,
    }
}

fn other_items(answer: &Answer) -> Answer {
    match answer {
        Answer::Done => Answer::Done,
        Answer::Reached => Answer::Reached,
        Answer::Items(items) => Answer::Items(items.iter().map(|item| other(item)).collect()),
    }
}

fn say_op(op: &Op) -> String {
    match op {
        Op::Add(item) => format!("add({item})"),
        Op::Remove(item) => format!("remove({item})"),
        Op::Up => "up".to_owned(),
        Op::Down => "down".to_owned(),
        Op::Reset => "reset".to_owned(),
        Op::Write(value) => format!("write({value})"),
        Op::Read => "read".to_owned(),
        Op::Await(item) => format!("await({item})"),
    }
}
