//! What a specification has to keep, each condition broken by one that breaks nothing else; and proper coordination.

use checker::spec::{
    Ack, Condition, EventId, History, Options, Program, Proper, Specification, Universe, Verdict,
    monotone, proper,
};

/// Two processes that add to a set; outcomes are how much was added, and one more number.
#[derive(Debug, Clone, Copy)]
struct Broken(Option<Condition>);

impl Specification for Broken {
    type Op = u8;
    type Value = u8;
    type Outcome = (usize, u8);

    fn universe(&self) -> Universe<Self> {
        let p = Program::script(&[1, 2]).and_send(&[1], 1);
        let q = Program::script(&[3]).and_send(&[0], 1);
        let universe = Universe::new(7).process("p", p).process("q", q);
        match self.0 {
            // Answers are then no longer those that are admissible.
            Some(Condition::ConsistencyWithObservations) => universe.any_answer(vec![0, 1]),
            // What was answered stands then; what is supposed for a call that waits does not.
            Some(Condition::RefinementCoherence) => universe.answers_take_time(),
            Some(_) | None => universe,
        }
    }

    fn outcomes(&self, history: &History<u8, u8>) -> Vec<(usize, u8)> {
        let calls = history.invocations().count();
        let numbers = match self.0 {
            Some(Condition::Antisymmetry) => 0..2,
            Some(Condition::Transitivity) => 0..3,
            _ => 0..1,
        };
        numbers.map(|number| (calls, number)).collect()
    }

    fn refines(&self, earlier: &(usize, u8), later: &(usize, u8)) -> bool {
        match self.0 {
            Some(Condition::Reflexivity) => earlier.0 < later.0,
            // 0 is refined by 1, and 1 by 2, but not 0 by 2.
            Some(Condition::Transitivity) => {
                earlier.0 <= later.0 && (earlier.1 == later.1 || earlier.1 + 1 == later.1)
            }
            Some(Condition::Antisymmetry) => earlier.0 <= later.0,
            Some(_) | None => earlier.0 < later.0 || earlier == later,
        }
    }

    fn answer(
        &self,
        outcome: &(usize, u8),
        history: &History<u8, u8>,
        invocation: EventId,
    ) -> Option<u8> {
        match self.0 {
            Some(Condition::ResponseTotality) if invocation.process == 1 => None,
            Some(Condition::RefinementCoherence) => {
                let given = history.response(invocation).copied();
                Some(given.unwrap_or_else(|| u8::from(outcome.0 > 1)))
            }
            Some(_) | None => Some(0),
        }
    }
}

#[test]
fn each_breach_is_found_as_what_it_is_and_there_is_no_verdict() {
    let all = [
        Condition::ResponseTotality,
        Condition::ConsistencyWithObservations,
        Condition::RefinementCoherence,
        Condition::Reflexivity,
        Condition::Antisymmetry,
        Condition::Transitivity,
    ];
    for condition in all {
        let mut told = Vec::new();
        for threads in [1, 2] {
            let options = Options {
                threads,
                ..Options::default()
            };
            let decision = monotone(&Broken(Some(condition)), &options);
            assert!(!decision.holds() && decision.witness().is_none());
            let Verdict::IllFormed(breach) = decision.verdict else {
                panic!("{condition}: {:?}", decision.verdict);
            };
            assert_eq!(breach.condition, condition, "{breach:?}");
            // The laws of an order are broken where nothing has happened yet.
            let is_law = condition >= Condition::Reflexivity;
            assert_eq!(breach.history.is_empty(), is_law, "{breach:?}");
            told.push(format!("{breach:?}"));
        }
        assert_eq!(told[0], told[1]);
    }
    assert!(monotone(&Broken(None), &Options::default()).holds());
}

/// Orders of calls of two processes; a variant of it admits some of them in some histories.
#[derive(Debug, Clone, Copy)]
struct Orders(Variant);

#[derive(Debug, Clone, Copy)]
enum Variant {
    /// All orders.
    Whole,
    /// Also the order backwards, once there are two calls.
    New,
    /// The order by the number of the process, where a third call may come before a second.
    ByProcess,
    /// As before, but with histories of exactly two calls forbidden.
    MiddleForbidden,
    /// Calls of the first process only, one after another.
    OneProcess,
}

impl Specification for Orders {
    type Op = ();
    type Value = Ack;
    type Outcome = Vec<EventId>;

    fn universe(&self) -> Universe<Self> {
        let program = || Program::menu(&[()], 2, 2);
        Universe::new(8)
            .process("p", program())
            .process("q", program())
    }

    fn outcomes(&self, history: &History<(), Ack>) -> Vec<Vec<EventId>> {
        let calls: Vec<EventId> = history.invocations().map(|(id, _)| id).collect();
        let whole = history.all_orders(&calls);
        match self.0 {
            Variant::Whole => whole,
            Variant::New if calls.len() == 2 => {
                let backwards = |order: &Vec<EventId>| order.iter().rev().copied().collect();
                whole.iter().map(backwards).collect()
            }
            Variant::MiddleForbidden if calls.len() == 2 => Vec::new(),
            Variant::OneProcess if calls.iter().any(|id| id.process > 0) => Vec::new(),
            Variant::New | Variant::ByProcess | Variant::MiddleForbidden | Variant::OneProcess => {
                vec![calls]
            }
        }
    }

    fn refines(&self, earlier: &Vec<EventId>, later: &Vec<EventId>) -> bool {
        later.starts_with(earlier)
    }

    fn answer(&self, _: &Vec<EventId>, _: &History<(), Ack>, _: EventId) -> Option<Ack> {
        Some(Ack)
    }
}

#[test]
fn a_variant_with_a_new_outcome_is_not_proper() {
    for threads in [1, 2] {
        let options = Options {
            threads,
            ..Options::default()
        };
        let found = proper(&Orders(Variant::New), &Orders(Variant::Whole), &options);
        let Proper::New { history, outcome } = &found.verdict else {
            panic!("{:?}", found.verdict);
        };
        assert_eq!((history.len(), outcome.len()), (4, 2));
        let spec = Orders(Variant::Whole);
        assert!(!spec.outcomes(history).contains(outcome));
    }
}

#[test]
fn outcomes_that_are_lost_over_a_forbidden_history_are_found() {
    let spec = Orders(Variant::Whole);
    let options = Options::default();
    let one_step = proper(&Orders(Variant::ByProcess), &spec, &options);
    let Proper::NotMonotone(witness) = &one_step.verdict else {
        panic!("{:?}", one_step.verdict);
    };
    assert_eq!((witness.before.len(), witness.after.len()), (2, 4));
    // No admitted history is one call before or after another where the second call of three is missing.
    let variant = Orders(Variant::MiddleForbidden);
    let over = proper(&variant, &spec, &options);
    let Proper::NotMonotone(witness) = &over.verdict else {
        panic!("{:?}", over.verdict);
    };
    assert_eq!((witness.before.len(), witness.after.len()), (2, 6));
    assert_eq!(over.examined.complete, 6);
    assert!(witness.is_sound(&variant));
}

#[test]
fn a_variant_that_admits_one_process_only_is_proper() {
    let spec = Orders(Variant::Whole);
    let found = proper(&Orders(Variant::OneProcess), &spec, &Options::default());
    assert!(found.is_proper(), "{:?}", found.verdict);
    assert_eq!(found.admitted, 3, "nothing, one call, two");
    assert_eq!(found.pairs, 3);
}
