//! The enumerator against searches that are too simple to be wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use checker::spec::{
    Ack, Event, EventId, History, HistoryOf, Options, Specification, Verdict, distributed_monotone,
    each_history, monotone,
};

use crate::registers::Register;
use crate::sets::{Plan, Sets};

type SetHistory = History<u8, Ack>;

/// Every event of a history that has none before it that does not: the steps, from the plans alone.
fn steps(spec: &Sets, history: &SetHistory) -> Vec<(usize, Vec<Event<u8, Ack>>)> {
    let mut steps = Vec::new();
    for (process, plan) in spec.plans.iter().enumerate() {
        let done = history.process(process);
        let calls: Vec<(usize, u8)> = done
            .iter()
            .enumerate()
            .filter_map(|(place, event)| match event {
                Event::Invoke(op) => Some((place, *op)),
                Event::Respond { .. }
                | Event::Internal(_)
                | Event::Send { .. }
                | Event::Receive { .. } => None,
            })
            .collect();
        let answer = |place: usize| Event::Respond {
            to: EventId::new(process, place),
            value: Ack,
        };
        let open = calls
            .iter()
            .find(|(place, _)| !done.contains(&answer(*place)));
        if let Some((place, _)) = open {
            steps.push((process, vec![answer(*place)]));
        } else {
            let next: Vec<u8> = match plan.menu {
                None => plan.ops.get(calls.len()).copied().into_iter().collect(),
                Some((each, all)) => {
                    let asked = |op: u8| calls.iter().filter(|(_, asked)| *asked == op).count();
                    let left = plan.ops.iter().copied().filter(|op| asked(*op) < each);
                    left.filter(|_| calls.len() < all).collect()
                }
            };
            for op in next {
                let mut events = vec![Event::Invoke(op)];
                if !spec.answers_take_time {
                    events.push(answer(done.len()));
                }
                steps.push((process, events));
            }
        }
        for to in &plan.to {
            let send = Event::Send {
                to: u8::try_from(*to).unwrap(),
            };
            let sent = done.iter().filter(|event| **event == send).count();
            let last = done.iter().rposition(|event| *event == send);
            let since = &done[last.map_or(0, |last| last + 1)..];
            let news = since
                .iter()
                .any(|event| !matches!(event, Event::Send { .. }));
            if sent < plan.messages && news {
                steps.push((process, vec![send]));
            }
        }
        for (id, event) in history.events() {
            let mine = *event
                == Event::Send {
                    to: u8::try_from(process).unwrap(),
                };
            // Whether the send is in the past of something that happened here.
            let knows =
                (0..done.len()).any(|place| history.precedes(id, EventId::new(process, place)));
            if mine && !knows {
                steps.push((process, vec![Event::Receive { from: id }]));
            }
        }
    }
    steps
}

/// All histories, breadth first, with a set of those that were met.
fn all_histories(spec: &Sets) -> HashSet<SetHistory> {
    let mut met = HashSet::from([History::new(spec.plans.len())]);
    let mut front: Vec<SetHistory> = met.iter().cloned().collect();
    while let Some(history) = front.pop() {
        for (process, events) in steps(spec, &history) {
            let mut later = history.clone();
            for event in events {
                later.push(process, event);
            }
            if later.len() <= spec.events && met.insert(later.clone()) {
                front.push(later);
            }
        }
    }
    met
}

/// What the enumerator shows, and how often.
fn shown<S: Specification>(spec: &S, options: &Options<'_>) -> (HashMap<HistoryOf<S>, u32>, u64) {
    let all = Mutex::new(HashMap::new());
    let examined = each_history(spec, options, |history| {
        *all.lock().unwrap().entry(history.clone()).or_insert(0) += 1;
    });
    let all = all.into_inner().unwrap();
    assert_eq!(
        examined.histories,
        all.values().map(|n| u64::from(*n)).sum::<u64>()
    );
    (all, examined.copies)
}

fn universes() -> Vec<Sets> {
    let two = [
        Plan::menu(&[0, 1], 1, 2, &[1], 2),
        Plan::menu(&[2], 2, 2, &[0], 1),
    ];
    let scripts = [
        Plan::script(&[0, 1], &[1], 2),
        Plan::script(&[2, 3], &[0], 2),
    ];
    let three = [
        Plan::script(&[0], &[1, 2], 1),
        Plan::script(&[1], &[2], 1),
        Plan::menu(&[2, 3], 1, 1, &[0], 1),
    ];
    let silent = [Plan::script(&[0, 1, 2], &[], 0), Plan::script(&[3], &[], 0)];
    let mut all = vec![
        Sets::new(10, &two),
        Sets::new(11, &scripts),
        Sets::new(9, &three),
        Sets::new(20, &silent),
        Sets::new(5, &[Plan::menu(&[0, 1], 2, 3, &[], 0)]),
    ];
    for place in 0..3 {
        let slow = Sets {
            answers_take_time: true,
            events: 9,
            ..all[place].clone()
        };
        all.push(slow);
    }
    all
}

#[test]
fn every_history_is_shown_exactly_once_on_any_number_of_threads() {
    for spec in universes() {
        let expected = all_histories(&spec);
        for threads in [1, 2, 4] {
            let options = Options {
                threads,
                ..Options::default()
            };
            let (shown, _) = shown(&spec, &options);
            assert!(shown.values().all(|times| *times == 1), "{spec:?}");
            let shown: HashSet<SetHistory> = shown.into_keys().collect();
            assert_eq!(shown.len(), expected.len(), "{spec:?}");
            assert_eq!(shown, expected, "{spec:?}");
        }
    }
}

#[test]
fn a_smaller_bound_shows_the_smaller_histories() {
    for spec in universes() {
        let bound = spec.events - 2;
        let options = Options {
            events: Some(bound),
            ..Options::default()
        };
        let (fewer, _) = shown(&spec, &options);
        let mut expected = all_histories(&spec);
        expected.retain(|history| history.len() <= bound);
        assert_eq!(fewer.into_keys().collect::<HashSet<_>>(), expected);
    }
}

#[test]
fn one_of_each_set_of_renamed_copies_is_shown_and_the_copies_are_all() {
    let ring = |next: usize, all: usize| Plan::script(&[7], &[next % all], 2);
    for (processes, events) in [(2, 10), (3, 9)] {
        let plans: Vec<Plan> = (0..processes).map(|it| ring(it + 1, processes)).collect();
        let spec = Sets {
            turns: true,
            ..Sets::new(events, &plans)
        };
        let places: Vec<usize> = (0..processes).map(|it| (it + 1) % processes).collect();
        let (least, copies) = shown(&spec, &Options::default());
        let mut all = HashSet::new();
        for history in least.keys() {
            let mut copy = history.clone();
            let mut orbit = HashSet::new();
            while orbit.insert(copy.clone()) {
                copy = copy.renamed(&places, |op| *op, |answer| *answer);
            }
            assert_eq!(orbit.iter().min(), Some(history));
            assert!(orbit.is_disjoint(&all), "two representatives of one set");
            all.extend(orbit);
        }
        assert_eq!(all, all_histories(&spec));
        assert_eq!(copies, all.len() as u64);
        assert!(least.len() < all.len());
        let options = Options {
            symmetry: false,
            ..Options::default()
        };
        assert_eq!(shown(&spec, &options).0.len(), all.len());
    }
}

/// Monotone by the definition: all pairs of a history and a future of it. The size of the smallest future that refines some
/// outcome of the smaller history by nothing.
fn smallest_by_definition<S: Specification>(spec: &S) -> Option<usize> {
    let options = Options {
        symmetry: false,
        ..Options::default()
    };
    let (all, _) = shown(spec, &options);
    let all: Vec<_> = all
        .into_keys()
        .map(|history| (spec.outcomes(&history), history))
        .collect();
    let mut smallest = None;
    for (outcomes, before) in &all {
        for (later, after) in &all {
            let is_refined =
                |outcome: &S::Outcome| later.iter().any(|later| spec.refines(outcome, later));
            if after.is_future_of(before) && !outcomes.iter().all(is_refined) {
                let size = after.len();
                smallest = Some(smallest.map_or(size, |held: usize| held.min(size)));
            }
        }
    }
    smallest
}

#[test]
fn futures_of_one_step_decide_what_all_futures_do_and_witnesses_are_smallest() {
    let mut fails = 0;
    for spec in Register::all() {
        let expected = smallest_by_definition(&spec);
        let mut told: HashMap<bool, HashSet<String>> = HashMap::new();
        for (threads, symmetry) in [(1, true), (2, true), (4, true), (1, false), (2, false)] {
            let options = Options {
                threads,
                symmetry,
                ..Options::default()
            };
            let decision = monotone(&spec, &options);
            assert_eq!(decision.holds(), expected.is_none(), "{spec:?}");
            let Some(witness) = decision.witness() else {
                assert_eq!(decision.examined.complete, decision.examined.events);
                continue;
            };
            assert!(witness.is_sound(&spec), "{spec:?} {witness:?}");
            assert_eq!(Some(witness.after.len()), expected, "{spec:?}");
            assert_eq!(Some(decision.examined.complete), expected, "{spec:?}");
            let told = told.entry(symmetry).or_default();
            told.insert(format!("{witness:?}"));
            fails += 1;
        }
        for told in told.values() {
            assert_eq!(told.len(), 1, "the same whatever the threads: {told:?}");
        }
    }
    assert!(fails > 0);
    let set = Sets::new(
        8,
        &[Plan::script(&[0, 1], &[1], 1), Plan::script(&[2], &[0], 1)],
    );
    assert_eq!(smallest_by_definition(&set), None);
    assert!(monotone(&set, &Options::default()).holds());
    assert!(distributed_monotone(&set, &Options::default()).holds());
}

#[test]
fn what_is_no_future_under_any_partition_is_not_held_against_a_specification() {
    // Two nodes: no message may arrive, so a register that forgets at receipts is distributed-monotone.
    let spec = Register {
        forgets_at_receipt: true,
        ..Register::all()[0].clone()
    };
    let options = Options::default();
    assert!(!monotone(&spec, &options).holds());
    let Verdict::Fails(witness) = monotone(&spec, &options).verdict else {
        panic!("it forgets");
    };
    let receipt = |event: &Event<_, _>| matches!(event, Event::Receive { .. });
    assert!(witness.after.events().any(|(_, event)| receipt(event)));
    assert!(distributed_monotone(&spec, &options).holds());
}
