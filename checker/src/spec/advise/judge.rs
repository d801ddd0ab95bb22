//! Which types have to coordinate for an invariant, and how little of it will do.
//!
//! Types are taken out of those that run freely, as few as possible, until the rest is confluent, also from every state
//! that the types that were taken out can bring about. Of equally many, those that the application lists last are taken
//! out. Then an ordering point at one site is tried for them, and last the order across sites.
//!
//! - **I1** No split is returned that the decider did not call confluent, but for the one in which every type that touches
//!   the invariant is ordered across sites: its executions are serial, and none commits that breaks it.

use std::collections::BTreeSet;

use super::schema::Site;
use super::study::{Judged, Searched, Split, Study};
use crate::spec::confluence::Witness;

/// Why some types cannot all run freely.
#[derive(Debug, Clone)]
pub(super) enum Why {
    Broken(Box<Witness>),
    NotRecognised(String),
}

/// What an invariant asks for.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) split: Split,
    pub(super) site: Option<Site>,
    /// The search that found it confluent; none if nothing is left to run freely.
    pub(super) searched: Option<Searched>,
    /// Sets of types that cannot all run freely.
    pub(super) refused: Vec<(BTreeSet<usize>, Why)>,
    /// Types that could do with an ordering point if all of them had it, where the split orders across sites.
    pub(super) instead: Option<(BTreeSet<usize>, Site)>,
}

/// Decides what an invariant asks for, if these types are ordered across sites anyway.
pub(super) fn demand(study: &Study, ordered: &BTreeSet<usize>) -> Demand {
    let touching: BTreeSet<usize> = study.projection.types.iter().map(|it| it.0).collect();
    let always: BTreeSet<usize> = touching.intersection(ordered).copied().collect();
    let open: Vec<usize> = touching.difference(ordered).copied().collect();
    let mut refused = small_refusals(study, &open);
    for taken in subsets(&open) {
        let rest = open.iter().copied().filter(|it| !taken.contains(it));
        let free: BTreeSet<usize> = rest.collect();
        if refused.iter().any(|(set, _)| set.is_subset(&free)) {
            continue;
        }
        let mut across = Split {
            free,
            ordered: always.union(&taken).copied().collect(),
            ..Split::default()
        };
        let searched = if across.free.is_empty() {
            None
        } else {
            match study.judge(&across, false) {
                Judged::Confluent(searched) => Some(searched),
                Judged::Broken(witness) => {
                    refused.push((across.free, Why::Broken(witness)));
                    continue;
                }
                Judged::Unknown(why) => {
                    refused.push((across.free, Why::NotRecognised(why)));
                    continue;
                }
            }
        };
        let recognised = |(set, why): &(BTreeSet<usize>, Why)| {
            matches!(why, Why::Broken(_)) || set.is_disjoint(&taken)
        };
        let mut instead = None;
        if !taken.is_empty() && refused.iter().all(recognised) {
            if let Some((site, searched)) = at_point(study, &across.free, &taken, &always) {
                across.ordered = always;
                across.at_point = taken;
                return Demand {
                    split: across,
                    site: Some(site),
                    searched: Some(searched),
                    refused,
                    instead,
                };
            }
            instead = wider_point(study, &open, &taken, &always);
        }
        return Demand {
            split: across,
            site: None,
            searched,
            refused,
            instead,
        };
    }
    unreachable!("I1: the last subset leaves nothing to run freely")
}

/// The types that cannot run freely next to themselves, or next to one other: they give the shortest reasons.
fn small_refusals(study: &Study, open: &[usize]) -> Vec<(BTreeSet<usize>, Why)> {
    let mut refused: Vec<(BTreeSet<usize>, Why)> = Vec::new();
    let single = open.iter().map(|it| BTreeSet::from([*it]));
    let pairs = open.iter().enumerate().flat_map(|(place, one)| {
        let others = open[place + 1..].iter();
        others.map(move |other| BTreeSet::from([*one, *other]))
    });
    for free in single.chain(pairs) {
        if refused.iter().any(|(set, _)| set.is_subset(&free)) {
            continue;
        }
        let split = Split {
            free: free.clone(),
            ..Split::default()
        };
        match study.judge(&split, true) {
            Judged::Confluent(_) => {}
            Judged::Broken(witness) => refused.push((free, Why::Broken(witness))),
            Judged::Unknown(why) => refused.push((free, Why::NotRecognised(why))),
        }
    }
    refused
}

/// All subsets, the smallest first; of equally small ones, those of the last types first.
fn subsets(open: &[usize]) -> Vec<BTreeSet<usize>> {
    let mut masks: Vec<u32> = (0..1 << open.len()).collect();
    masks.sort_by_key(|mask| (mask.count_ones(), std::cmp::Reverse(*mask)));
    let subset = |mask: u32| {
        let chosen = open
            .iter()
            .enumerate()
            .filter(|(at, _)| mask & (1 << at) != 0);
        chosen.map(|(_, it)| *it).collect()
    };
    masks.into_iter().map(subset).collect()
}

/// Whether an ordering point at one site does for these types.
fn at_point(
    study: &Study,
    free: &BTreeSet<usize>,
    taken: &BTreeSet<usize>,
    always: &BTreeSet<usize>,
) -> Option<(Site, Searched)> {
    let its = study
        .projection
        .types
        .iter()
        .filter(|it| taken.contains(&it.0));
    let mut sites = its.map(|(_, operations)| study.projection.site(operations));
    let site = sites.next()??;
    if sites.any(|other| other.as_ref() != Some(&site)) {
        return None;
    }
    let split = Split {
        free: free.clone(),
        at_point: taken.clone(),
        ordered: always.clone(),
    };
    match study.judge(&split, false) {
        Judged::Confluent(searched) => Some((site, searched)),
        Judged::Broken(_) | Judged::Unknown(_) => None,
    }
}

/// The smallest larger set of types for which an ordering point at one site does.
fn wider_point(
    study: &Study,
    open: &[usize],
    taken: &BTreeSet<usize>,
    always: &BTreeSet<usize>,
) -> Option<(BTreeSet<usize>, Site)> {
    let wider = subsets(open);
    let mut wider = wider
        .into_iter()
        .filter(|it| it.len() > taken.len() && it.is_superset(taken));
    wider.find_map(|wider| {
        let rest = open.iter().copied().filter(|it| !wider.contains(it));
        let (site, _) = at_point(study, &rest.collect(), &wider, always)?;
        Some((wider, site))
    })
}
