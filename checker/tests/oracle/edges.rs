//! The edges of the definition, all pairs, and the shortest cycle among them.

use std::collections::{BTreeMap, BTreeSet};

use checker::{SiteHistory, Step, Token, TxnRef};

use crate::replay::{Effect, committed, keys, sights, versions};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    from: TxnRef,
    to: TxnRef,
    site: Token,
    key: Token,
    kind: &'static str,
}

impl Edge {
    pub(crate) fn of(step: &Step) -> Self {
        Self {
            from: step.from.clone(),
            to: step.to.clone(),
            site: step.site.clone().unwrap(),
            key: step.key.clone().unwrap(),
            kind: step.reason.letters(),
        }
    }
}

pub(crate) fn all_reads_explained(sites: &[SiteHistory]) -> bool {
    sites
        .iter()
        .all(|site| committed(site).all(|record| sights(site, record).is_some()))
}

/// Every edge of the definition, ascending.
pub(crate) fn defined(sites: &[SiteHistory]) -> Vec<Edge> {
    let mut edges = BTreeSet::new();
    for site in sites {
        let name_at: BTreeMap<u64, TxnRef> = committed(site)
            .filter_map(|record| Some((record.seq?.0, TxnRef::new(record.txn, site.site()))))
            .collect();
        let mut add = |from: &TxnRef, to: &TxnRef, key: &Token, kind| {
            if from != to {
                let (from, to) = (from.clone(), to.clone());
                edges.insert(Edge {
                    from,
                    to,
                    site: site.site().clone(),
                    key: key.clone(),
                    kind,
                });
            }
        };
        for key in keys(site) {
            let versions = versions(site, &key);
            for (from, effect) in &versions {
                let commutes = *effect == Effect::Sum;
                for to in following(&versions, *from) {
                    if !(commutes && versions[&to] == Effect::Sum) {
                        add(&name_at[from], &name_at[&to], &key, "ww");
                    }
                }
            }
        }
        for record in committed(site) {
            let reader = TxnRef::new(record.txn, site.site());
            for (key, position) in sights(site, record).unwrap() {
                let versions = versions(site, &key);
                for from in included(&versions, position) {
                    add(&name_at[&from], &reader, &key, "wr");
                }
                for to in following(&versions, position) {
                    add(&reader, &name_at[&to], &key, "rw");
                }
            }
        }
    }
    edges.into_iter().collect()
}

/// The versions after a position up to and including the next one that is no increment.
fn following(versions: &BTreeMap<u64, Effect>, position: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for (&seq, effect) in versions.range(position + 1..) {
        found.push(seq);
        if *effect != Effect::Sum {
            break;
        }
    }
    found
}

/// The version at a position; when it is an increment, all of its run up to it.
fn included(versions: &BTreeMap<u64, Effect>, position: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for (&seq, effect) in versions.range(..=position).rev() {
        if *effect != Effect::Sum {
            if found.is_empty() {
                found.push(seq);
            }
            break;
        }
        found.push(seq);
    }
    found
}

/// The length of the shortest cycle, by breadth-first search from every transaction.
pub(crate) fn shortest_cycle(edges: &[Edge]) -> Option<usize> {
    let starts: BTreeSet<&TxnRef> = edges.iter().map(|edge| &edge.from).collect();
    let through = |start: &TxnRef| {
        let mut layer = BTreeSet::from([start]);
        let mut reached = BTreeSet::new();
        for length in 1..=edges.len() {
            let next: BTreeSet<&TxnRef> = edges
                .iter()
                .filter(|edge| layer.contains(&edge.from))
                .map(|edge| &edge.to)
                .collect();
            if next.contains(start) {
                return Some(length);
            }
            layer = next
                .into_iter()
                .filter(|txn| reached.insert(*txn))
                .collect();
        }
        None
    };
    starts.into_iter().filter_map(through).min()
}
