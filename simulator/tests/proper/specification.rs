//! The same question put to `checker::spec`, which shares no code with `proper`: the admitted histories of a workload as
//! a specification over the events of its sites.
//!
//! Its universe is larger: each site does whatever it did in some history, in every combination. What no run has led to
//! has no outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checker::spec::{
    Ack, Action, Coordination, Event as Happening, EventId, HistoryOf, Options, Program,
    Specification, Universe, proper,
};

use crate::judge::Facts;
use crate::play::Event;
use crate::proper::Admitted;

type Sequence = Vec<Event>;

/// What happened at the sites of one workload.
#[derive(Debug)]
struct Recorded {
    histories: BTreeMap<Vec<Sequence>, (Facts, bool)>,
    /// For each site, what may follow a sequence.
    next: Vec<Arc<BTreeMap<Sequence, BTreeSet<Event>>>>,
}

/// The facts of every history that is admitted.
#[derive(Debug)]
pub(crate) struct Variant(Arc<Recorded>);

/// The facts, where they are serializable.
#[derive(Debug)]
pub(crate) struct Serializability(Arc<Recorded>);

/// Decides by `checker::spec` whether what is admitted is a properly coordinated variant of serializability.
pub(crate) fn decide(admitted: &Admitted) -> Coordination<Serializability> {
    let histories = admitted.spelled();
    let sites = histories.keys().next().map_or(0, Vec::len);
    let mut next = vec![BTreeMap::<Sequence, BTreeSet<Event>>::new(); sites];
    for history in histories.keys() {
        for (site, sequence) in history.iter().enumerate() {
            if let Some((last, before)) = sequence.split_last() {
                next[site]
                    .entry(before.to_vec())
                    .or_default()
                    .insert(last.clone());
            }
        }
    }
    let next = next.into_iter().map(Arc::new).collect();
    let recorded = Arc::new(Recorded { histories, next });
    let options = Options {
        threads: 1,
        symmetry: false,
        ..Options::default()
    };
    proper(
        &Variant(Arc::clone(&recorded)),
        &Serializability(recorded),
        &options,
    )
}

impl Recorded {
    fn universe<S: Specification<Op = Event>>(&self) -> Universe<S> {
        let most = self
            .histories
            .keys()
            .map(|history| history.iter().map(Vec::len).sum::<usize>());
        let universe = Universe::new(most.max().unwrap_or(0));
        self.next
            .iter()
            .enumerate()
            .fold(universe, |universe, (site, next)| {
                let next = Arc::clone(next);
                let program = Program::new(move |done: &[Happening<Event, S::Value>]| {
                    let follows = next.get(&sequence(done));
                    follows
                        .into_iter()
                        .flatten()
                        .cloned()
                        .map(Action::Internal)
                        .collect()
                });
                universe.process(&site.to_string(), program)
            })
    }

    fn at(&self, history: &checker::spec::History<Event, Ack>) -> Option<&(Facts, bool)> {
        let sites = (0..history.processes()).map(|site| sequence(history.process(site)));
        self.histories.get(&sites.collect::<Vec<_>>())
    }
}

fn sequence<Value>(done: &[Happening<Event, Value>]) -> Sequence {
    let events = done.iter().map(|happening| match happening {
        Happening::Internal(event) => event.clone(),
        Happening::Invoke(_)
        | Happening::Respond { .. }
        | Happening::Send { .. }
        | Happening::Receive { .. } => {
            unreachable!("the sites' programs have internal events only")
        }
    });
    events.collect()
}

impl Specification for Variant {
    type Op = Event;
    type Value = Ack;
    type Outcome = Facts;

    fn universe(&self) -> Universe<Self> {
        self.0.universe()
    }

    fn outcomes(&self, history: &HistoryOf<Self>) -> Vec<Facts> {
        self.0
            .at(history)
            .map(|(facts, _)| facts.clone())
            .into_iter()
            .collect()
    }

    fn refines(&self, earlier: &Facts, later: &Facts) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, _: &Facts, _: &HistoryOf<Self>, _: EventId) -> Option<Ack> {
        None
    }
}

impl Specification for Serializability {
    type Op = Event;
    type Value = Ack;
    type Outcome = Facts;

    fn universe(&self) -> Universe<Self> {
        self.0.universe()
    }

    fn outcomes(&self, history: &HistoryOf<Self>) -> Vec<Facts> {
        let explained = self.0.at(history).filter(|(_, serializable)| *serializable);
        explained
            .map(|(facts, _)| facts.clone())
            .into_iter()
            .collect()
    }

    fn refines(&self, earlier: &Facts, later: &Facts) -> bool {
        earlier.is_subset(later)
    }

    fn answer(&self, _: &Facts, _: &HistoryOf<Self>, _: EventId) -> Option<Ack> {
        None
    }
}
