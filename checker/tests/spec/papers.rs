//! The witnesses that the papers print, as histories, checked from the definitions alone.

use checker::spec::rows::registers::{Answer, Linearizable, Op};
use checker::spec::{
    Ack, Event, EventId, History, Options, Program, Specification, Universe, Witness, available,
    monotone, proper,
};

/// The history of section 2 of Complete CALM: both write, `q` tells `p`, and `p` reads cat.
fn first() -> History<Op, Answer> {
    let mut history = History::new(2);
    call(&mut history, 0, Op::Write("dog"), Answer::Done);
    call(&mut history, 1, Op::Write("cat"), Answer::Done);
    let from = history.push(1, Event::Send { to: 0 });
    history.push(0, Event::Receive { from });
    call(&mut history, 0, Op::Read, Answer::Value("cat"));
    history
}

/// Its future there: `p` tells `q`, and `q` reads dog.
fn second() -> History<Op, Answer> {
    let mut history = first();
    let from = history.push(0, Event::Send { to: 1 });
    history.push(1, Event::Receive { from });
    call(&mut history, 1, Op::Read, Answer::Value("dog"));
    history
}

fn call(history: &mut History<Op, Answer>, process: usize, op: Op, value: Answer) {
    let to = history.push(process, Event::Invoke(op));
    history.push(process, Event::Respond { to, value });
}

#[test]
fn the_register_of_section_2_is_a_witness() {
    let (before, after) = (first(), second());
    assert!(after.is_future_of(&before) && !before.is_future_of(&after));
    // The paper: o1 is the only admissible outcome, and no linearization explains both reads.
    let outcomes = Linearizable.outcomes(&before);
    let order = [(0, 0), (1, 0), (0, 3)].map(|(process, place)| EventId::new(process, place));
    assert_eq!(outcomes.len(), 1);
    assert_eq!(
        outcomes[0].iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        order
    );
    assert!(Linearizable.outcomes(&after).is_empty());
    let witness = Witness::<Linearizable> {
        before,
        outcome: outcomes[0].clone(),
        after,
        later: Vec::new(),
    };
    assert!(witness.is_sound(&Linearizable));
}

#[test]
fn what_is_found_is_smaller_than_what_the_paper_prints() {
    let decision = monotone(&Linearizable, &Options::default());
    let witness = decision.witness().expect("it needs coordination");
    assert!(witness.is_sound(&Linearizable));
    assert!(witness.after.len() < second().len());
}

#[test]
fn an_outcome_that_is_refined_is_no_witness() {
    // The other order of the writes survives when `q` reads cat as well.
    let before = first();
    let mut after = before.clone();
    call(&mut after, 1, Op::Read, Answer::Value("cat"));
    let witness = Witness::<Linearizable> {
        outcome: Linearizable.outcomes(&before).remove(0),
        later: Linearizable.outcomes(&after),
        before,
        after,
    };
    assert!(!witness.is_sound(&Linearizable));
}

/// A thing that one process may take: two that take it admit nothing. Or, if it is kept from `q`, whose calls nobody
/// answers, as soon as that one asks.
struct Exclusive {
    kept: bool,
}

impl Specification for Exclusive {
    type Op = ();
    type Value = Ack;
    type Outcome = Vec<EventId>;

    fn universe(&self) -> Universe<Self> {
        let take = || Program::script(&[()]);
        Universe::new(4).process("p", take()).process("q", take())
    }

    fn outcomes(&self, history: &History<(), Ack>) -> Vec<Vec<EventId>> {
        let taken: Vec<EventId> = history.invocations().map(|(id, ())| id).collect();
        let asks = self.kept && taken.iter().any(|call| call.process == 1);
        if asks || taken.len() > 1 {
            Vec::new()
        } else {
            vec![taken]
        }
    }

    fn refines(&self, earlier: &Vec<EventId>, later: &Vec<EventId>) -> bool {
        earlier.iter().all(|taken| later.contains(taken))
    }

    fn answer(&self, _: &Vec<EventId>, _: &History<(), Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }
}

#[test]
fn a_specification_that_fails_by_admitting_nothing_is_a_variant_of_itself() {
    // By the letter of the definition (section 4.1); which is why a variant has to be a rule of its own.
    let exclusive = Exclusive { kept: false };
    assert!(!monotone(&exclusive, &Options::default()).holds());
    assert!(proper(&exclusive, &exclusive, &Options::default()).is_proper());
}

#[test]
fn a_call_elsewhere_that_nobody_can_answer_is_no_availability() {
    let kept = Exclusive { kept: true };
    let witness = available(&kept, &Options::default());
    let witness = witness.witness().expect("q gets no answer");
    assert!(
        witness.is_sound(&kept),
        "{:?} {:?}",
        witness.before,
        witness.after
    );
    assert!(witness.after.has_pending(), "{:?}", witness.after);
}
