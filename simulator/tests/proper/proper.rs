//! Whether a set of admitted histories makes a properly coordinated variant of serializability (Complete CALM,
//! section 4.1): for the specification whose outcome at an admitted history is the set of its facts, and which has no
//! outcome at any other,
//!
//! 1. every outcome is one of serializability, too: `Obs'(H) ⊆ Obs(H)`;
//! 2. for all admitted `H1 ⊑ H2` the outcome at `H1` has a refinement at `H2`: no fact is taken back.
//!
//! A history is a sequence of events for each site, ordered by these sequences, by the programs of the transactions and
//! by the messages between them. All of that is the same for the same events, so `H1 ⊑ H2` holds of two admitted
//! histories exactly if each site's sequence in `H1` is a prefix of that in `H2`: the order of `H1` is then that of
//! `H2`, and `H1` is downward closed, since an event that was admitted without another one did not need it.
//! All pairs are looked at, not only those of one interleaving and not only those that differ in one event.

use std::collections::BTreeMap;

use crate::judge::{Facts, is_serializable};
use crate::play::Event;

/// A sequence of events of one site, by its place among all that were met. 0 is the empty one.
type Sequence = usize;

/// The admitted histories of one workload.
pub(crate) struct Admitted {
    /// For each site, the sequences that were met: all but their last event, and that one.
    sequences: Vec<Vec<(Sequence, usize)>>,
    known: BTreeMap<(usize, Sequence, usize), Sequence>,
    events: BTreeMap<Event, usize>,
    histories: Vec<History>,
    index: BTreeMap<Vec<Sequence>, usize>,
    facts: Vec<(Facts, bool)>,
    facts_index: BTreeMap<Facts, usize>,
}

/// An admitted history.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) sites: Vec<Sequence>,
    /// How many events it has.
    pub(crate) size: usize,
    facts: usize,
}

/// How much was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) histories: u64,
    /// Pairs `H1 ⊑ H2`, `H1 ≠ H2`.
    pub(crate) pairs: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.pairs += other.pairs;
    }
}

/// Why a set of histories is not proper; of several reasons, one with the least `H2`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// Condition 1: the facts of this history have no serial order.
    NoOutcome { at: usize },
    /// Condition 2: a fact of the earlier history is none at the later one.
    TakenBack { earlier: usize, later: usize },
}

impl Failure {
    /// The larger history.
    pub(crate) const fn at(&self) -> usize {
        match self {
            Self::NoOutcome { at } | Self::TakenBack { later: at, .. } => *at,
        }
    }
}

impl Admitted {
    pub(crate) fn new(sites: usize) -> Self {
        Self {
            sequences: vec![vec![(0, 0)]; sites],
            known: BTreeMap::new(),
            events: BTreeMap::new(),
            histories: Vec::new(),
            index: BTreeMap::new(),
            facts: Vec::new(),
            facts_index: BTreeMap::new(),
        }
    }

    /// The empty sequences.
    pub(crate) fn empty(&self) -> Vec<Sequence> {
        vec![0; self.sequences.len()]
    }

    /// The sequence of a site with one more event.
    pub(crate) fn extend(&mut self, site: usize, sequence: Sequence, event: Event) -> Sequence {
        let count = self.events.len();
        let event = *self.events.entry(event).or_insert(count);
        let sequences = &mut self.sequences[site];
        *self
            .known
            .entry((site, sequence, event))
            .or_insert_with(|| {
                sequences.push((sequence, event));
                sequences.len() - 1
            })
    }

    /// The place of a set of facts among all that were met.
    pub(crate) fn place_of(&mut self, facts: Facts) -> usize {
        *self.facts_index.entry(facts).or_insert_with_key(|facts| {
            self.facts.push((facts.clone(), is_serializable(facts)));
            self.facts.len() - 1
        })
    }

    /// Adds a history with the facts at this place; `None` if it is there already.
    ///
    /// # Panics
    /// If it is there with other facts: what was told would not follow from what has happened.
    pub(crate) fn add(&mut self, sites: Vec<Sequence>, size: usize, facts: usize) -> Option<usize> {
        if let Some(&known) = self.index.get(&sites) {
            let known = &self.histories[known];
            assert_eq!(known.facts, facts, "the facts follow from the history");
            return None;
        }
        let number = self.histories.len();
        self.index.insert(sites.clone(), number);
        self.histories.push(History { sites, size, facts });
        Some(number)
    }

    pub(crate) fn history(&self, number: usize) -> &History {
        &self.histories[number]
    }

    pub(crate) fn facts(&self, history: usize) -> &Facts {
        &self.facts[self.histories[history].facts].0
    }

    /// Whether serializability has an outcome at this history.
    pub(crate) fn has_outcome(&self, history: usize) -> bool {
        self.facts[self.histories[history].facts].1
    }

    /// Decides both conditions.
    pub(crate) fn decide(&self) -> Result<Counts, Failure> {
        let refines = self.refinements();
        let mut counts = Counts::default();
        let mut failure: Option<Failure> = None;
        for later in 0..self.histories.len() {
            let size = self.histories[later].size;
            let smaller = failure
                .as_ref()
                .is_none_or(|found| size < self.histories[found.at()].size);
            counts.histories += 1;
            if smaller && !self.has_outcome(later) {
                failure = Some(Failure::NoOutcome { at: later });
            }
            for earlier in self.below(later) {
                counts.pairs += 1;
                let kept = refines[self.histories[earlier].facts][self.histories[later].facts];
                if smaller && !kept {
                    failure.get_or_insert(Failure::TakenBack { earlier, later });
                }
            }
        }
        failure.map_or(Ok(counts), Err)
    }

    /// Which sets of facts are contained in which.
    fn refinements(&self) -> Vec<Vec<bool>> {
        let within = |one: &Facts| {
            self.facts
                .iter()
                .map(|(two, _)| one.is_subset(two))
                .collect()
        };
        self.facts.iter().map(|(one, _)| within(one)).collect()
    }

    /// The admitted histories that this one is a future of, but for itself.
    pub(crate) fn below(&self, history: usize) -> Vec<usize> {
        let mut cuts = vec![Vec::new()];
        for (site, &sequence) in self.histories[history].sites.iter().enumerate() {
            let prefixes = self.prefixes(site, sequence);
            let longer = |cut: &Vec<Sequence>| {
                let longer = prefixes
                    .iter()
                    .map(|prefix| [&cut[..], &[*prefix]].concat());
                longer.collect::<Vec<_>>()
            };
            cuts = cuts.iter().flat_map(longer).collect();
        }
        let admitted = cuts.iter().filter_map(|cut| self.index.get(cut).copied());
        admitted.filter(|&earlier| earlier != history).collect()
    }

    fn prefixes(&self, site: usize, mut sequence: Sequence) -> Vec<Sequence> {
        let mut all = vec![sequence];
        while sequence != 0 {
            sequence = self.sequences[site][sequence].0;
            all.push(sequence);
        }
        all
    }

    /// Every history with its events, and its facts.
    pub(crate) fn spelled(&self) -> BTreeMap<Vec<Vec<Event>>, (Facts, bool)> {
        let events: BTreeMap<usize, &Event> = self
            .events
            .iter()
            .map(|(event, number)| (*number, event))
            .collect();
        let spell = |(site, sequence): (usize, &Sequence)| {
            let mut spelled: Vec<Event> = self
                .prefixes(site, *sequence)
                .iter()
                .filter(|prefix| **prefix != 0)
                .map(|prefix| events[&self.sequences[site][*prefix].1].clone())
                .collect();
            spelled.reverse();
            spelled
        };
        let histories = self.histories.iter().map(|history| {
            let spelled = history.sites.iter().enumerate().map(spell).collect();
            (spelled, self.facts[history.facts].clone())
        });
        histories.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Fact;
    use crate::play::What;

    const fn event(txn: usize) -> Event {
        Event {
            what: What::Prepare { txn },
            then: Vec::new(),
        }
    }

    fn add(
        admitted: &mut Admitted,
        sites: &[Sequence],
        facts: impl IntoIterator<Item = Fact>,
    ) -> usize {
        let facts = admitted.place_of(facts.into_iter().collect());
        let size = sites.iter().filter(|site| **site != 0).count();
        admitted.add(sites.to_vec(), size, facts).unwrap()
    }

    fn commits(txns: &[usize]) -> impl Iterator<Item = Fact> {
        txns.iter().map(|&txn| Fact::Commit { txn })
    }

    #[test]
    fn what_only_grows_is_proper_and_all_pairs_are_counted() {
        let mut admitted = Admitted::new(2);
        let a = admitted.extend(0, 0, event(0));
        let b = admitted.extend(1, 0, event(1));
        for (sites, facts) in [
            (vec![0, 0], &[][..]),
            (vec![a, 0], &[0]),
            (vec![0, b], &[1]),
            (vec![a, b], &[0, 1]),
        ] {
            add(&mut admitted, &sites, commits(facts));
        }
        assert_eq!(
            admitted.decide(),
            Ok(Counts {
                histories: 4,
                pairs: 5
            })
        );
    }

    #[test]
    fn a_fact_that_is_taken_back_is_found_although_what_lies_between_is_not_admitted() {
        let mut admitted = Admitted::new(2);
        let a = admitted.extend(0, 0, event(0));
        let b = admitted.extend(1, 0, event(1));
        let c = admitted.extend(1, b, event(2));
        let earlier = add(&mut admitted, &[a, 0], commits(&[0]));
        let later = add(&mut admitted, &[a, c], commits(&[1]));
        assert_eq!(
            admitted.decide(),
            Err(Failure::TakenBack { earlier, later })
        );
        // Two histories of which neither is a future of the other may differ.
        let mut apart = Admitted::new(2);
        let a = apart.extend(0, 0, event(0));
        let b = apart.extend(0, 0, event(1));
        add(&mut apart, &[a, 0], commits(&[0]));
        add(&mut apart, &[b, 0], commits(&[1]));
        assert_eq!(
            apart.decide(),
            Ok(Counts {
                histories: 2,
                pairs: 0
            })
        );
    }

    #[test]
    fn facts_without_a_serial_order_are_no_outcome() {
        let mut admitted = Admitted::new(1);
        let facts = [
            Fact::Commit { txn: 0 },
            Fact::Read {
                txn: 0,
                key: 0,
                from: Some(1),
            },
        ];
        let a = admitted.extend(0, 0, event(0));
        add(&mut admitted, &[0], []);
        let at = add(&mut admitted, &[a], facts);
        assert_eq!(admitted.decide(), Err(Failure::NoOutcome { at }));
    }
}
