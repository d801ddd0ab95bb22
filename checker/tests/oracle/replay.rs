//! The oracle: runs an order of transactions on a naive store, and tries all orders.

use std::collections::{BTreeMap, BTreeSet};

use checker::{Committed, Op, Record, Scan, Seq, SiteHistory, Stamp, Token, TxnRef};

/// The contents of a key: the last write or delete, and the increments since. Versions are named by
/// their positions; position 0 is the initial state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) base: u64,
    pub(crate) increments: BTreeSet<u64>,
}

/// What a transaction does to a key in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Value,
    Tombstone,
    Sum,
}

pub(crate) fn committed(site: &SiteHistory) -> impl Iterator<Item = &Committed> {
    site.records().iter().filter_map(|record| match record {
        Record::Committed(committed) => Some(committed),
        Record::Aborted { .. } | Record::InDoubt { .. } => None,
    })
}

pub(crate) fn transactions(sites: &[SiteHistory]) -> Vec<TxnRef> {
    let name = |site: &SiteHistory, record: &Committed| TxnRef::new(record.txn, site.site());
    let names: BTreeSet<TxnRef> = sites
        .iter()
        .flat_map(|site| committed(site).map(move |record| name(site, record)))
        .collect();
    names.into_iter().collect()
}

pub(crate) fn stamp_order(sites: &[SiteHistory]) -> Vec<TxnRef> {
    let mut stamped: BTreeSet<(Stamp, TxnRef)> = BTreeSet::new();
    for site in sites {
        for record in committed(site) {
            stamped.insert((record.stamp.unwrap(), TxnRef::new(record.txn, site.site())));
        }
    }
    stamped.into_iter().map(|(_, txn)| txn).collect()
}

pub(crate) fn effect(record: &Committed, key: &Token) -> Option<Effect> {
    record
        .ops
        .iter()
        .filter(|op| op.installs() == Some(key))
        .fold(None, |before, op| {
            Some(match (before, op) {
                (_, Op::Delete { .. }) => Effect::Tombstone,
                (None | Some(Effect::Sum), Op::Increment { .. }) => Effect::Sum,
                _ => Effect::Value,
            })
        })
}

/// Every version of a key, by position.
pub(crate) fn versions(site: &SiteHistory, key: &Token) -> BTreeMap<u64, Effect> {
    committed(site)
        .filter_map(|record| Some((record.seq?.0, effect(record, key)?)))
        .collect()
}

/// What the versions at or before `position` amount to.
pub(crate) fn contents_at(versions: &BTreeMap<u64, Effect>, position: u64) -> Contents {
    let mut contents = Contents::default();
    for (&seq, effect) in versions.range(..=position) {
        if *effect == Effect::Sum {
            contents.increments.insert(seq);
        } else {
            contents = Contents {
                base: seq,
                increments: BTreeSet::new(),
            };
        }
    }
    contents
}

pub(crate) fn keys(site: &SiteHistory) -> BTreeSet<Token> {
    let of = |op: &Op| match op {
        Op::Read { key, .. } => vec![key.clone()],
        Op::Scan(scan) => scan.found.iter().map(|(key, _)| key.clone()).collect(),
        Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => {
            op.installs().into_iter().cloned().collect()
        }
    };
    committed(site)
        .flat_map(|record| record.ops.iter().flat_map(of))
        .collect()
}

/// What the record saw: keys with the position up to which their versions were visible. `None` when
/// nothing explains some read.
pub(crate) fn sights(site: &SiteHistory, record: &Committed) -> Option<Vec<(Token, u64)>> {
    let mut seen = Vec::new();
    let mut written: BTreeSet<&Token> = BTreeSet::new();
    for op in &record.ops {
        match op {
            Op::Read { key, version } => {
                let versions = versions(site, key);
                if version.0 != 0 && !versions.contains_key(&version.0) {
                    return None;
                }
                let own = record.seq == Some(*version);
                if own && !written.contains(key) {
                    return None;
                }
                if own && versions[&version.0] != Effect::Sum {
                    continue;
                }
                seen.push((key.clone(), version.0));
            }
            Op::Scan(scan) => seen.extend(scanned(site, record, scan)?),
            Op::Write { .. } | Op::Delete { .. } | Op::Increment { .. } => {
                written.extend(op.installs());
            }
        }
    }
    Some(seen)
}

fn scanned(site: &SiteHistory, record: &Committed, scan: &Scan) -> Option<Vec<(Token, u64)>> {
    let own = record.seq.map_or(0, |seq| seq.0);
    let from_start: BTreeSet<&Token> = committed(site)
        .flat_map(|record| &record.ops)
        .filter_map(|op| {
            if let Op::Scan(scan) = op {
                Some(&scan.found)
            } else {
                None
            }
        })
        .flatten()
        .filter(|(_, version)| *version == Seq::INITIAL)
        .map(|(key, _)| key)
        .collect();
    let mut expected = BTreeMap::new();
    let mut seen = Vec::new();
    for key in keys(site).into_iter().filter(|key| scan.covers(key)) {
        let versions = versions(site, &key);
        let mut before = versions
            .range(..=scan.pos.0)
            .rev()
            .filter(|(seq, _)| **seq != own);
        // The own version is left out only when it is the last: an older own version is history.
        let (latest, effect) = before
            .next()
            .map_or((0, None), |(seq, effect)| (*seq, Some(*effect)));
        let present = match effect {
            Some(effect) => effect != Effect::Tombstone,
            None => from_start.contains(&key),
        };
        if present {
            expected.insert(key.clone(), latest);
        }
        seen.push((key, latest));
    }
    let found: BTreeMap<Token, u64> = scan
        .found
        .iter()
        .map(|(key, version)| (key.clone(), version.0))
        .collect();
    (found == expected && found.len() == scan.found.len()).then_some(seen)
}

/// Whether the transactions, run in this order, see what they saw and install in version order.
pub(crate) fn replays(sites: &[SiteHistory], order: &[TxnRef]) -> bool {
    sites.iter().all(|site| {
        let mut store: BTreeMap<Token, Contents> = BTreeMap::new();
        order.iter().all(|txn| {
            let name = |record: &&Committed| TxnRef::new(record.txn, site.site()) == *txn;
            committed(site)
                .find(name)
                .is_none_or(|record| runs(site, record, &mut store))
        })
    })
}

fn runs(site: &SiteHistory, record: &Committed, store: &mut BTreeMap<Token, Contents>) -> bool {
    let Some(sights) = sights(site, record) else {
        return false;
    };
    let own = record.seq.map_or(0, |seq| seq.0);
    for (key, position) in sights {
        let mut expected = contents_at(&versions(site, &key), position);
        expected.increments.remove(&own);
        if store.get(&key).cloned().unwrap_or_default() != expected {
            return false;
        }
    }
    for key in keys(site) {
        let Some(effect) = effect(record, &key) else {
            continue;
        };
        let versions = versions(site, &key);
        let before = contents_at(&versions, own - 1);
        let now = store.entry(key).or_default();
        if effect == Effect::Sum {
            if now.base != before.base {
                return false;
            }
            now.increments.insert(own);
        } else {
            if *now != before {
                return false;
            }
            *now = Contents {
                base: own,
                increments: BTreeSet::new(),
            };
        }
    }
    true
}

pub(crate) fn any_order_replays(sites: &[SiteHistory]) -> bool {
    let mut order = transactions(sites);
    let count = order.len();
    permutations(&mut order, count, &mut |order| replays(sites, order))
}

/// Heap's algorithm; stops at the first order that passes.
pub(crate) fn permutations(
    order: &mut [TxnRef],
    count: usize,
    passes: &mut impl FnMut(&[TxnRef]) -> bool,
) -> bool {
    if count <= 1 {
        return passes(order);
    }
    for place in 0..count {
        if permutations(order, count - 1, passes) {
            return true;
        }
        order.swap(if count.is_multiple_of(2) { place } else { 0 }, count - 1);
    }
    false
}
