//! Happens-before, cuts and futures against their definitions, on small random histories (Complete CALM, section 3.1).

use std::collections::HashSet;

use checker::spec::{Ack, Cut, Event, EventId, History, MAX_PROCESSES};
use proptest::prelude::*;

type Small = History<u8, Ack>;

/// A history by numbers: each says whose turn it is and what happens there.
fn history(turns: &[(usize, u8)], processes: usize) -> Small {
    let mut history = History::new(processes);
    for (process, what) in turns {
        let process = process % processes;
        let other = (process + 1 + usize::from(what / 8) % (processes - 1)) % processes;
        let mut arrived = (0..processes)
            .flat_map(|it| history.process(it))
            .filter_map(|event| match event {
                Event::Receive { from } => Some(*from),
                Event::Invoke(_)
                | Event::Respond { .. }
                | Event::Internal(_)
                | Event::Send { .. } => None,
            });
        let mut waiting = history.events().map(|(id, _)| id).filter(|id| {
            let to = u8::try_from(process).unwrap();
            history.get(*id) == Some(&Event::Send { to }) && !arrived.any(|from| from == *id)
        });
        let next = match what % 4 {
            0 => Event::Internal(what / 4),
            1 => Event::Send {
                to: u8::try_from(other).unwrap(),
            },
            _ => match waiting.next() {
                Some(from) => Event::Receive { from },
                None => Event::Invoke(what / 4),
            },
        };
        drop(waiting);
        history.push(process, next);
    }
    history
}

fn histories() -> impl Strategy<Value = Small> {
    let turns = prop::collection::vec((0_usize..3, any::<u8>()), 0..9);
    (turns, 2_usize..4).prop_map(|(turns, processes)| history(&turns, processes))
}

/// The events and happens-before, as the closure of program order and messages.
fn definition(history: &Small) -> (Vec<EventId>, HashSet<(EventId, EventId)>) {
    let events: Vec<EventId> = history.events().map(|(id, _)| id).collect();
    let mut before = HashSet::new();
    for (id, event) in history.events() {
        if id.place > 0 {
            let previous = EventId {
                place: id.place - 1,
                ..id
            };
            before.insert((previous, id));
        }
        if let Event::Receive { from } = event {
            before.insert((*from, id));
        }
    }
    for middle in &events {
        for first in &events {
            for last in &events {
                if before.contains(&(*first, *middle)) && before.contains(&(*middle, *last)) {
                    before.insert((*first, *last));
                }
            }
        }
    }
    (events, before)
}

fn cut_of(events: &[EventId]) -> Cut {
    let mut cut = [0; MAX_PROCESSES];
    for id in events {
        cut[usize::from(id.process)] += 1;
    }
    cut
}

/// Sets of events that have all that happens before what they have.
fn closed_sets(history: &Small) -> Vec<Vec<EventId>> {
    let (events, before) = definition(history);
    let sets = (0_u32..1 << events.len()).map(|set| {
        let chosen = events.iter().enumerate();
        let chosen = chosen.filter(|(place, _)| set >> place & 1 == 1);
        chosen.map(|(_, id)| *id).collect::<Vec<_>>()
    });
    sets.filter(|set| {
        before
            .iter()
            .all(|(first, last)| !set.contains(last) || set.contains(first))
    })
    .collect()
}

/// A future by the definition: the events are there, with the same order, and nothing new is before them.
fn is_future(after: &Small, before: &Small) -> bool {
    let (old, order) = definition(before);
    let (new, later) = definition(after);
    let kept = old.iter().all(|id| after.get(*id) == before.get(*id));
    let among = |pair: &&(EventId, EventId)| old.contains(&pair.0) && old.contains(&pair.1);
    let restricted: HashSet<_> = later.iter().filter(among).copied().collect();
    let closed = later
        .iter()
        .all(|(first, last)| !old.contains(last) || old.contains(first));
    kept && old.iter().all(|id| new.contains(id)) && restricted == order && closed
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn happens_before_is_the_closure_of_program_order_and_messages(history in histories()) {
        let (events, before) = definition(&history);
        for one in &events {
            let past: Vec<EventId> =
                events.iter().copied().filter(|it| it == one || before.contains(&(*it, *one))).collect();
            prop_assert_eq!(history.past(*one), cut_of(&past));
            for other in &events {
                prop_assert_eq!(history.precedes(*one, *other), before.contains(&(*one, *other)));
                let concurrent =
                    one != other && !before.contains(&(*one, *other)) && !before.contains(&(*other, *one));
                prop_assert_eq!(history.concurrent(*one, *other), concurrent);
            }
        }
    }

    #[test]
    fn cuts_are_the_downward_closed_sets_and_restrictions_their_histories(history in histories()) {
        let sets = closed_sets(&history);
        let cuts: HashSet<Cut> = history.cuts().into_iter().collect();
        prop_assert_eq!(history.cuts().len(), cuts.len());
        prop_assert_eq!(&cuts, &sets.iter().map(|set| cut_of(set)).collect::<HashSet<_>>());
        for set in &sets {
            let part = history.restrict(&cut_of(set));
            prop_assert_eq!(part.len(), set.len());
            for id in set {
                prop_assert_eq!(part.get(*id), history.get(*id));
                prop_assert_eq!(part.past(*id), history.past(*id));
            }
            prop_assert!(history.is_future_of(&part));
            prop_assert!(is_future(&history, &part));
        }
    }

    #[test]
    fn futures_are_those_of_the_definition(one in histories(), other in histories()) {
        if one.processes() == other.processes() {
            prop_assert_eq!(other.is_future_of(&one), is_future(&other, &one));
            for cut in one.cuts() {
                for larger in one.cuts() {
                    let (before, after) = (one.restrict(&cut), one.restrict(&larger));
                    prop_assert_eq!(after.is_future_of(&before), is_future(&after, &before));
                }
            }
        }
    }

    #[test]
    fn orders_are_the_permutations_that_agree_with_happens_before(history in histories()) {
        let (events, before) = definition(&history);
        let some = &events[..events.len().min(6)];
        let mut orders = vec![Vec::new()];
        for _ in some {
            let longer = |order: &Vec<EventId>| {
                let order = order.clone();
                let rest = some.iter().filter(|id| !order.contains(id)).copied().collect::<Vec<_>>();
                rest.into_iter().map(move |id| [order.as_slice(), &[id]].concat())
            };
            orders = orders.iter().flat_map(longer).collect();
        }
        orders.retain(|order: &Vec<EventId>| {
            (0..order.len()).all(|later| order[..later].iter().all(|first| !before.contains(&(order[later], *first))))
        });
        let found: HashSet<_> = history.all_orders(some).into_iter().collect();
        prop_assert_eq!(found.len(), history.all_orders(some).len());
        prop_assert_eq!(found, orders.into_iter().collect::<HashSet<_>>());
    }
}
