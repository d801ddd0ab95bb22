//! Consensus (Complete CALM, section 4.1, "Consensus as proper coordination", and appendix F).

use std::collections::BTreeSet;

use super::super::history::{Cut, Event, EventId, History};
use super::super::specification::{Ack, Specification};
use super::super::universe::{Action, Program, Universe};
use super::Row;
use super::answers::{Answers, choices, included, say, say_set};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("consensus-values", "values of consensus under a fixed authority", "Complete CALM, appendix F, table 1")
            .remark("The first process decides for the first proposal that it hears of; all others learn the decision.")
            .monotone(Decisions, true),
        Row::new("consensus", "consensus by majority of who is known to take part", "Complete CALM, section 4.1")
            .remark("Outcomes are decisions: what more than half of the participants voted for. Processes commit to participants \
                 as they like, and one who comes later can take a majority away.")
            .monotone(Majority { established: false }, false),
        Row::new("consensus-with-membership", "consensus with membership established", "Complete CALM, section 4.1")
            .remark("Only histories are admitted in which there is one set of participants, and every vote comes after it. Then votes only accumulate.")
            .proper(Majority { established: true }, Majority { established: false }, true),
    ]
}

/// What can be decided.
type Choice = &'static str;
type Outcome = Answers<Option<Choice>>;
type Known = History<Request, Option<Choice>>;

/// Values of consensus, decided by the first process.
struct Decisions;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Request {
    /// Something that could be decided; an internal event.
    Propose(Choice),
    /// Asks for the decision.
    Learn,
}

impl Decisions {
    const AUTHORITY: usize = 0;

    /// The decision that is known: for the first proposal that the authority heard of; of two at once, for that of
    /// the first process.
    fn decision(history: &Known, known: &Cut) -> Option<Choice> {
        let places = 0..usize::from(known[Self::AUTHORITY]);
        places
            .map(|place| history.past(EventId::new(Self::AUTHORITY, place)))
            .find_map(|past| {
                history.operations().find_map(|(id, op)| match op {
                    Request::Propose(value) if id.place < past[usize::from(id.process)] => {
                        Some(*value)
                    }
                    Request::Propose(_) | Request::Learn => None,
                })
            })
    }
}

impl Specification for Decisions {
    type Op = Request;
    type Value = Option<Choice>;
    type Outcome = Answers<Option<Choice>>;

    fn universe(&self) -> Universe<Self> {
        let program = |other: usize| {
            let program = Program::new(|done: &[Event<Request, Option<Choice>>]| {
                let count = |kind: fn(&Event<Request, Option<Choice>>) -> bool| {
                    done.iter().filter(|event| kind(event)).count()
                };
                let mut open = Vec::new();
                if count(|event| matches!(event, Event::Internal(_))) == 0 {
                    open.extend(
                        ["cat", "dog"].map(|value| Action::Internal(Request::Propose(value))),
                    );
                }
                if count(|event| matches!(event, Event::Invoke(_))) < 2 {
                    open.push(Action::Call(Request::Learn));
                }
                open
            });
            program.and_send(&[other], 2)
        };
        Universe::new(11)
            .process("p", program(1))
            .process("q", program(0))
            .symmetric(&[0, 1], other_request, other_value)
    }

    fn outcomes(&self, history: &Known) -> Vec<Outcome> {
        let mut outcomes = choices(history, |id, _| {
            vec![Self::decision(history, &history.past(id))]
        });
        outcomes.retain(agree);
        outcomes
    }

    fn refines(&self, earlier: &Outcome, later: &Outcome) -> bool {
        included(earlier, later)
    }

    fn answer(&self, outcome: &Outcome, _: &Known, asked: EventId) -> Option<Option<Choice>> {
        outcome.get(&asked).copied()
    }

    fn say_op(&self, op: &Request) -> String {
        match op {
            Request::Propose(value) => format!("propose({value})"),
            Request::Learn => "learn".to_owned(),
        }
    }

    fn say_value(&self, value: &Option<Choice>) -> String {
        value.unwrap_or("undecided").to_owned()
    }

    fn say_outcome(&self, outcome: &Outcome, history: &Known) -> String {
        format!("{{{}}}", say(self, history, outcome))
    }
}

fn other_request(request: &Request) -> Request {
    match request {
        Request::Propose(value) => Request::Propose(other_choice(value)),
        Request::Learn => Request::Learn,
    }
}

fn other_value(value: &Option<Choice>) -> Option<Choice> {
    value.as_ref().map(other_choice)
}

fn other_choice(choice: &Choice) -> Choice {
    if *choice == "cat" { "dog" } else { "cat" }
}

/// A majority of participants decides.
#[derive(Debug, Clone, Copy)]
struct Majority {
    /// Whether membership is established first.
    established: bool,
}

/// What happens inside a process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// These processes take part.
    Members(Vec<u8>),
    /// A vote of this process.
    Vote(Choice),
}

type Votes = History<Step, Ack>;

impl Majority {
    /// What more than half of the members voted for.
    fn decided(history: &Votes) -> BTreeSet<Choice> {
        let mut members = BTreeSet::new();
        for (_, step) in history.operations() {
            match step {
                Step::Members(some) => members.extend(some.iter().copied()),
                Step::Vote(_) => {}
            }
        }
        let votes = |choice: Choice| {
            let for_it = |(id, step): &(EventId, &Step)| {
                **step == Step::Vote(choice) && members.contains(&id.process)
            };
            history.operations().filter(for_it).count()
        };
        let majority = |choice: &Choice| 2 * votes(choice) > members.len();
        ["cat", "dog"].into_iter().filter(majority).collect()
    }

    /// Whether there is one set of participants, which everybody knew who voted.
    fn is_established(history: &Votes) -> bool {
        let is_commitment = |step: &Step| matches!(step, Step::Members(_));
        let mut commitments = history
            .operations()
            .filter(|(_, step)| is_commitment(step))
            .map(|(id, _)| id);
        let (first, second) = (commitments.next(), commitments.next());
        let knows = |id: EventId| first.is_some_and(|first| history.precedes(first, id));
        let in_order = |(id, step): (EventId, &Step)| is_commitment(step) || knows(id);
        second.is_none() && history.operations().all(in_order)
    }
}

impl Specification for Majority {
    type Op = Step;
    type Value = Ack;
    type Outcome = BTreeSet<Choice>;

    fn universe(&self) -> Universe<Self> {
        let program = |process: u8, other: usize| {
            let program = Program::new(move |done: &[Event<Step, Ack>]| {
                let did = |kind: fn(&Step) -> bool| {
                    let of_kind = |event: &Event<Step, Ack>| matches!(event, Event::Internal(step) if kind(step));
                    done.iter().any(of_kind)
                };
                let mut open = Vec::new();
                if !did(|step| matches!(step, Step::Members(_))) {
                    open.extend([vec![process], vec![0, 1]].map(Step::Members));
                }
                if !did(|step| matches!(step, Step::Vote(_))) {
                    open.extend(["cat", "dog"].map(Step::Vote));
                }
                open.into_iter().map(Action::Internal).collect()
            });
            program.and_send(&[other], 2)
        };
        Universe::new(12)
            .process("p", program(0, 1))
            .process("q", program(1, 0))
            .symmetric(&[0, 1], other_step, Ack::clone)
            .symmetric(&[1, 0], other_member, Ack::clone)
    }

    fn outcomes(&self, history: &Votes) -> Vec<BTreeSet<Choice>> {
        if self.established && !Self::is_established(history) {
            return Vec::new();
        }
        vec![Self::decided(history)]
    }

    fn refines(&self, earlier: &BTreeSet<Choice>, later: &BTreeSet<Choice>) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, _: &BTreeSet<Choice>, _: &Votes, _: EventId) -> Option<Ack> {
        Some(Ack)
    }

    fn say_op(&self, op: &Step) -> String {
        match op {
            Step::Members(members) => {
                let names = members
                    .iter()
                    .map(|member| ["p", "q"][usize::from(*member)]);
                format!("members {}", say_set(names))
            }
            Step::Vote(choice) => format!("vote({choice})"),
        }
    }

    fn say_outcome(&self, outcome: &BTreeSet<Choice>, _: &Votes) -> String {
        format!("decided {}", say_set(outcome))
    }
}

/// Whether all who know a decision know the same.
fn agree(decided: &Outcome) -> bool {
    decided.values().flatten().collect::<BTreeSet<_>>().len() <= 1
}

fn other_step(step: &Step) -> Step {
    match step {
        Step::Members(members) => Step::Members(members.clone()),
        Step::Vote(choice) => Step::Vote(other_choice(choice)),
    }
}

fn other_member(step: &Step) -> Step {
    match step {
        Step::Members(members) => {
            let mut others: Vec<u8> = members.iter().map(|member| 1 - member).collect();
            others.sort_unstable();
            Step::Members(others)
        }
        Step::Vote(choice) => Step::Vote(choice),
    }
}
